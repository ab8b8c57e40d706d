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

local function check_list(request, name, item, path)
  local list, at = request[name], check.join(path, name)
  if list == nil or list == null then
    return
  elseif type(list) ~= "table" or list[1] == nil and next(list) ~= nil then
    refuse(at, "a list of " .. name, list)
  end
  for i, one in ipairs(list) do
    if type(one) ~= "table" then
      refuse(check.join(at, i), item .. " (a table)", one)
    end
  end
end

local function check_chat(request, path)
  check_list(request, "messages", "a message", path)
  check_list(request, "tools", "a tool", path)
  local format = request.response_format
  if format ~= nil and format ~= null and type(format) ~= "table" then
    refuse(check.join(path, "response_format"), 'a table like { type = "json_object" }', format)
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
    check_chat(request, "")
  end
end

--- Throws a message without a position where what a fallback replaces has not the form that it must have in a request.
---@param changes table
---@param path string
function M.check_changes(changes, path)
  for name in pairs(changes) do
    if type(name) ~= "string" then
      check.fail(check.join(path, name), "expected a field of the request, by its name")
    end
  end
  if changes.stream ~= nil then
    check.fail(check.join(path, "stream"), "whether there is a stream is the caller's to say")
  end
  check_chat(changes, path)
end

--- Throws a message without a position where that is more than JSON can hold.
---@param changes table
---@param path string
function M.check_writable(changes, path)
  local text, problem = json.encode(changes)
  if not text then
    error(path .. (problem:find "^%[" and "" or ".") .. problem, 0)
  end
end

return M
