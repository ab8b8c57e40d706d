--- What a request must look like, whoever serves it: what no format could write is refused here, in the same words for
--- all. The rest is the provider's to judge.

local check = require "surefoot.config.check"
local json = require "surefoot.json"

local M = {}

local null = json.null

local function refuse(path, wanted, value)
  local shown = type(value) == "table" and "a table with names" or check.show(value)
  error(("%s: expected %s, got %s"):format(path, wanted, shown), 0)
end

local function check_list(request, name, item)
  local list = request[name]
  if list == nil or list == null then
    return
  elseif type(list) ~= "table" or list[1] == nil and next(list) ~= nil then
    refuse(name, "a list of " .. name, list)
  end
  for i, one in ipairs(list) do
    if type(one) ~= "table" then
      refuse(("%s[%d]"):format(name, i), item .. " (a table)", one)
    end
  end
end

local function check_chat(request)
  check_list(request, "messages", "a message")
  check_list(request, "tools", "a tool")
  local format = request.response_format
  if format ~= nil and format ~= null and type(format) ~= "table" then
    refuse("response_format", 'a table like { type = "json_object" }', format)
  end
end

--- Throws a message without a position where a request has not the form that it must have.
---@param request any
---@param work surefoot.Work
function M.check(request, work)
  if type(request) ~= "table" then
    error("expected a request table, got " .. check.show(request), 0)
  elseif request.stream == false and work.streams then
    error("stream: this call streams; use client:chat for a whole answer", 0)
  elseif request.stream and request.stream ~= null and not work.streams then
    error("stream: this call returns whole answers; use client:stream", 0)
  elseif work.name == "chat" then
    check_chat(request)
  end
end

return M
