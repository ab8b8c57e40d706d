-- What the formats share about text and JSON. A token is four bytes.

local cjson = require "cjson.safe"

local M = {}

---@param content any a string, or a list of parts that have a text
---@return string
function M.content(content)
  if type(content) ~= "table" then
    return type(content) == "string" and content or ""
  end
  local parts = {}
  for _, part in ipairs(content) do
    parts[#parts + 1] = type(part) == "table" and type(part.text) == "string" and part.text or nil
  end
  return table.concat(parts)
end

---@param bytes integer
---@return integer
function M.tokens(bytes)
  return math.ceil(bytes / 4)
end

-- lua-cjson writes an empty table as {}; this stands for [] until the text is made.
M.empty_list = "\1[]"

---@param list any[]
---@return any[]|string
function M.list(list)
  return #list > 0 and list or M.empty_list
end

---@param value table
---@return string json
function M.encode(value)
  return (cjson.encode(value):gsub('"\\u0001%[%]"', "[]"))
end

---@param value any what cjson gave for null is nothing
---@return any
function M.given(value)
  if value == cjson.null then
    return nil
  end
  return value
end

---@param value any
---@return table value itself, or an empty table
function M.object(value)
  return type(value) == "table" and value or {}
end

return M
