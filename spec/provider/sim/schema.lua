-- A value that satisfies a JSON schema (or Gemini's, whose types are in capitals): the smallest one, with the text that
-- the model has to say in its strings.

local cjson = require "cjson.safe"
local text = require "sim.text"

local M = {}

local DEPTH = 32
local make

local function resolved(schema, root)
  local path = text.given(schema["$ref"])
  local found = root
  if type(path) ~= "string" then
    return schema
  end
  for name in path:gsub("^#/?", ""):gmatch "[^/]+" do
    found = text.object(text.object(found)[name])
  end
  return found
end

local function object(schema, said, root, depth)
  local properties = text.object(schema.properties)
  local names = type(schema.required) == "table" and schema.required or nil
  local value = {}
  if names then
    for _, name in ipairs(names) do
      value[name] = make(text.object(properties[name]), said, root, depth + 1)
    end
  else
    for name, property in pairs(properties) do
      value[name] = make(text.object(property), said, root, depth + 1)
    end
  end
  return value
end

local MAKE = {
  object = object,
  string = function(_, said)
    return said
  end,
  number = function(schema)
    return tonumber(schema.minimum) or 0
  end,
  integer = function(schema)
    return math.ceil(tonumber(schema.minimum) or 0)
  end,
  boolean = function()
    return true
  end,
  null = function()
    return cjson.null
  end,
  array = function(schema, said, root, depth)
    local items = {}
    for i = 1, math.max(1, tonumber(schema.minItems) or 1) do
      items[i] = make(text.object(schema.items), said, root, depth + 1)
    end
    return items
  end,
}

function make(schema, said, root, depth)
  schema = resolved(schema, root)
  local options = text.given(schema.anyOf) or text.given(schema.oneOf) or text.given(schema.allOf)
  local kind = schema.type
  if type(kind) == "table" then
    kind = kind[1]
  end
  if depth > DEPTH then
    return cjson.null
  elseif schema.const ~= nil then
    return schema.const
  elseif type(schema.enum) == "table" then
    return schema.enum[1]
  elseif type(options) == "table" and options[1] then
    return make(options[1], said, root, depth + 1)
  end
  kind = type(kind) == "string" and kind:lower() or (schema.properties and "object") or "string"
  return (MAKE[kind] or MAKE.string)(schema, said, root, depth)
end

---@param schema any anything but a schema with properties stands for { echo: string }
---@param said string
---@return string json
function M.instance(schema, said)
  local known = type(schema) == "table"
    and (schema.properties or schema.type or schema["$ref"] or schema.anyOf or schema.oneOf)
  if not known or (not schema.properties and tostring(schema.type):lower() == "object") then
    return cjson.encode { echo = said }
  end
  return cjson.encode(make(schema, said, schema, 0))
end

return M
