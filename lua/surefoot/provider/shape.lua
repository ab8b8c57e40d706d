--- What stands in an answer where something else belongs, in words: such an answer is malformed, however well it is
--- written.
--
-- null and nothing are never wrong here, nor is an empty object where a list belongs: servers written in Lua send it
-- for an empty list. Each function gives nil where all is well.

local json = require "surefoot.json"

local M = {}

local null = json.null
local NAMES = { number = "a number", string = "a text", boolean = "true or false" }

--- A value in words.
---@param value any
---@return string
function M.name(value)
  if type(value) == "boolean" then
    return tostring(value)
  elseif type(value) == "table" then
    return (value[1] ~= nil or json.is_array(value)) and "a list" or "an object"
  end
  return NAMES[type(value)] or "something odd"
end

local function wrong(value, path)
  return path .. " is " .. M.name(value)
end

--- Where a text belongs.
---@param value any
---@param path string
---@return string? fault
function M.text(value, path)
  if type(value) ~= "string" and value ~= nil and value ~= null then
    return wrong(value, path)
  end
end

--- Where an object belongs.
---@param value any
---@param path string
---@return string? fault
function M.object(value, path)
  if type(value) ~= "table" and value ~= nil and value ~= null or type(value) == "table" and value[1] ~= nil then
    return wrong(value, path)
  end
end

--- Where a text belongs, or an object in its place.
---@param value any
---@param path string
---@return string? fault
function M.text_or_object(value, path)
  if type(value) ~= "table" then
    return M.text(value, path)
  end
  return M.object(value, path)
end

--- Where a list belongs, of whatever.
---@param value any
---@param path string
---@return string? fault
function M.any_list(value, path)
  local is_none = value == nil or value == null
  if not is_none and (type(value) ~= "table" or value[1] == nil and next(value) ~= nil) then
    return wrong(value, path)
  end
end

--- Where a list of objects belongs, each as `check` wants it.
---@param value any
---@param path string
---@param check fun(item: table, path: string): string?
---@return string? fault
function M.list(value, path, check)
  local problem = M.any_list(value, path)
  if problem or type(value) ~= "table" then
    return problem
  end
  for i = 1, #value do
    local item, place = value[i], ("%s[%d]"):format(path, i)
    local fault = type(item) ~= "table" and wrong(item, place) or type(item) == "table" and check(item, place)
    if fault then
      return fault
    end
  end
end

--- An object in a text's place, as the text.
---@param value table
---@param codec surefoot.Codec
---@return string?
function M.written(value, codec)
  return (codec.encode(next(value) == nil and json.object {} or value))
end

--- The empty object where no list of Lua's makes sense of it. Only surefoot's own reader tells it from an empty list.
---@param value any
---@param path string
---@param codec surefoot.Codec
---@return string? fault
function M.no_empty_object(value, path, codec)
  if codec.is_ours and type(value) == "table" and next(value) == nil and not json.is_array(value) then
    return wrong(value, path)
  end
end

return M
