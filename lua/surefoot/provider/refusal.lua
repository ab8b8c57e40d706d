--- Ends a translation at what cannot be translated: `refuse` raises it wherever it is met, `guarded`, around the whole,
--- makes of it nil and a text that begins with the path of the field at fault. Other errors go on.

local common = require "surefoot.provider.common"

local M = {}

local Refusal = {}

--- Ends the translation. Paths are spelled in the way of the API that the request is of: messages[1].content,
--- messages.0.content, input[0].content.
---@param path string of the field at fault
---@param message string a format
---@param ... any
function M.refuse(path, message, ...)
  error(setmetatable({ text = path .. ": " .. message:format(...), path = path }, Refusal), 0)
end

--- Calls a function: what it returns, or nil, what was refused, and the path of the field.
---@param f function
---@param ... any
---@return any
---@return string? problem
---@return string? path
function M.guarded(f, ...)
  local ok, result = pcall(f, ...)
  if ok then
    return result
  elseif getmetatable(result) ~= Refusal then
    error(result, 0)
  end
  return nil, result.text, result.path
end

--- What stands in a field, for a message.
---@param value any
---@return string
function M.shown(value)
  if type(value) == "string" then
    return common.beginning(value)
  elseif common.some(value) == nil then
    return "nothing"
  end
  return "a " .. (type(value) == "table" and value[1] ~= nil and "list" or type(value))
end

return M
