--- Reads values against the specs of the schema: says where a value stands, what it is and what would be right.
--
-- check(spec, value, path) gives the value back, tables as copies without defaults; fill(spec, value) adds defaults.
-- What is wrong is thrown as a string without a position; whoever is called by the user rethrows it at the user's line.

local binding = require "surefoot.binding"
local words = require "surefoot.config.text"

local M = {}

local floor, huge = math.floor, math.huge
local format = string.format

local function fail(path, message, ...)
  error(path .. ": " .. format(message, ...), 0)
end
M.fail = fail

local function show(value)
  if type(value) == "string" then
    return #value > 60 and format("%q...", value:sub(1, 57)) or format("%q", value)
  elseif type(value) == "number" then
    return value ~= value and "NaN" or format("%.14g", value)
  elseif type(value) == "boolean" then
    return tostring(value)
  end
  return "a " .. type(value)
end
M.show = show

local function expected(spec, value, path)
  fail(path, "expected %s, got %s", words.describe(spec), show(value))
end

local function join(path, key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then
    return path == "" and key or path .. "." .. key
  end
  return path .. "[" .. (type(key) == "string" and format("%q", key) or tostring(key)) .. "]"
end
M.join = join

local function in_range(spec, value)
  return not (value ~= value or spec.min and value < spec.min or spec.max and value > spec.max
    or spec.above and value <= spec.above)
end

local types = {}

local function check(spec, value, path)
  return types[spec.type](spec, value, path)
end
M.check = check

function types.seconds(spec, value, path)
  local endless = value == huge and not spec.none
  if type(value) ~= "number" or not in_range(spec, value) or endless then
    expected(spec, value, path)
  end
  return value
end
types.number = types.seconds

function types.integer(spec, value, path)
  if type(value) ~= "number" or not in_range(spec, value) or value == huge or floor(value) ~= value then
    expected(spec, value, path)
  end
  return floor(value)
end

types.bytes = types.integer

function types.boolean(spec, value, path)
  if type(value) ~= "boolean" then
    expected(spec, value, path)
  end
  return value
end

types["function"] = function(spec, value, path)
  local mt = type(value) == "table" and getmetatable(value)
  if type(value) ~= "function" and not (mt and mt.__call) then
    expected(spec, value, path)
  end
  return value
end

function types.any(_, value)
  return value
end

function types.string(spec, value, path)
  if value == false and spec.off then
    return value
  elseif type(value) ~= "string" or value == "" and not spec.empty then
    expected(spec, value, path)
  elseif not spec.raw and value:find "[%z\r\n]" then
    fail(path, "contains a line break or a NUL byte")
  end
  local bad = spec.utf8 and binding.utf8_error(value)
  if bad then
    fail(path, "invalid UTF-8 at byte %d of %d (0x%02X)", bad, #value, value:byte(bad))
  end
  return value
end

function types.enum(spec, value, path)
  for _, allowed in ipairs(spec.values) do
    if value == allowed then
      return value
    end
  end
  fail(path, "expected %s, got %s%s", words.describe(spec), show(value), words.hint(value, spec.values))
end

function types.either(spec, value, path)
  for _, alternative in ipairs(spec) do
    local ok, result = pcall(check, alternative, value, path)
    if ok then
      return result
    end
  end
  expected(spec, value, path)
end

-- A switched table: true, false, or a plain value for its one main field.
local function switched(spec, value, path)
  if value == true and spec.on or value == false and spec.off then
    return true, value
  elseif spec.short and type(value) ~= "table" then
    for _, field in ipairs(spec.fields) do
      if field.name == spec.short then
        return true, { [spec.short] = check(field, value, path) }
      end
    end
  end
  return false
end

--- Throws where something was given that nothing is done with.
---@param ... any
function M.nothing(...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if value ~= nil then
      error("takes no argument, got " .. show(value), 0)
    end
  end
end

local indexes = setmetatable({}, { __mode = "k" })

-- The specs by their names, made once: fields do not change any more when they are read by.
local function index_of(fields)
  local index = indexes[fields]
  if not index then
    index = {}
    for _, field in ipairs(fields) do
      index[field.name] = field
    end
    indexes[fields] = index
  end
  return index
end

local function unknown_key(fields, key, path)
  local names = {}
  for i, field in ipairs(fields) do
    names[i] = field.name
  end
  local near = type(key) == "string" and words.meant(key, names)
  fail(join(path, key), "unknown key; %s", near and format("did you mean %q?", near)
    or "known are " .. table.concat(names, ", "))
end

--- Reads a table of named fields.
---@param fields table[] specs with names
---@param given table
---@param path string
---@param open boolean? fields of other names are left alone
---@return table copy
function M.fields(fields, given, path, open)
  if type(given) ~= "table" then
    error(format("%sexpected a table, got %s", path == "" and "" or path .. ": ", show(given)), 0)
  end
  local by_name, copy = index_of(fields), {}
  for key, value in pairs(given) do
    local field = by_name[key]
    if not field and not open then
      unknown_key(fields, key, path)
    end
    copy[key] = field and check(field, value, join(path, key))
  end
  for _, field in ipairs(fields) do
    if field.required and copy[field.name] == nil then
      fail(join(path, field.name), "is required: %s", field.doc)
    end
  end
  return copy
end

function types.table(spec, value, path)
  local is_switch, result = switched(spec, value, path)
  if is_switch then
    return result
  elseif type(value) ~= "table" then
    expected(spec, value, path)
  end
  return spec.fields and M.fields(spec.fields, value, path, spec.open) or value
end

--- Reads a list, without holes and without named keys.
---@param value any
---@param path string
---@param read fun(item: any, path: string): any
---@return table copy
function M.list(value, path, read)
  local count, copy = 0, {}
  for key in pairs(value) do
    if type(key) ~= "number" or key < 1 or floor(key) ~= key then
      fail(join(path, key), "a list is expected here, without names")
    end
    count = count + 1
  end
  for i = 1, count do
    if value[i] == nil then
      fail(join(path, i), "the list has a hole here")
    end
    copy[i] = read(value[i], join(path, i))
  end
  return copy
end

function types.list(spec, value, path)
  if type(value) ~= "table" then
    expected(spec, value, path)
  elseif spec.max and #value > spec.max then
    fail(path, "at most %d, got %d", spec.max, #value)
  end
  return M.list(value, path, function(item, item_path)
    return check(spec.of, item, item_path)
  end)
end

function types.map(spec, value, path)
  if type(value) ~= "table" then
    expected(spec, value, path)
  end
  local copy = {}
  for key, item in pairs(value) do
    if type(key) ~= "string" or key == "" then
      fail(join(path, key), "a name is expected as the key")
    end
    copy[key] = check(spec.of, item, join(path, key))
  end
  return copy
end

local own_headers = { ["content-length"] = true, ["transfer-encoding"] = true, host = true, connection = true,
  expect = true }

--- Fails when `headers` are more than `most`.
---@param headers table<string, string>
---@param most integer
---@param path string
---@param whose string? more about them
function M.bound_headers(headers, most, path, whose)
  local count = 0
  for _ in pairs(headers) do
    count = count + 1
  end
  if count > most then
    fail(path, "at most %d headers%s, got %d", most, whose or "", count)
  end
end

-- Values may be secrets: no message shows one.
function types.header_map(spec, value, path)
  if type(value) ~= "table" then
    expected(spec, value, path)
  end
  local copy = {}
  for name, text in pairs(value) do
    local at = join(path, name)
    if type(name) ~= "string" or not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
      fail(at, "is no header name")
    elseif own_headers[name:lower()] then
      fail(at, "is set by surefoot itself")
    elseif type(text) ~= "string" and type(text) ~= "number" then
      fail(at, "expected a string, got a %s", type(text))
    end
    text = tostring(text):gsub("^[ \t]+", ""):gsub("[ \t]+$", "")
    if text:find "[%z\1-\8\10-\31\127]" then
      fail(at, "contains a line break or a control character")
    end
    copy[name:lower()] = text
  end
  M.bound_headers(copy, spec.max, path)
  return copy
end

local function key_string(value, path)
  if type(value) ~= "string" or value == "" then
    fail(path, "expected a key (a string that is not empty), got %s",
      value == "" and "an empty string" or "a " .. type(value))
  elseif value:find "[%z\1-\31\127]" then
    fail(path, "contains a line break or a control character: was it read from a file with its end of line?")
  elseif value:find "^ " or value:find " $" then
    fail(path, "begins or ends with a space")
  end
  return value
end
M.key_string = key_string

function types.key(_, value, path)
  if type(value) == "function" then
    return value
  elseif type(value) == "table" then
    local keys = M.list(value, path, key_string)
    if #keys == 0 then
      fail(path, "the list of keys is empty")
    elseif #keys > 64 then
      fail(path, "at most 64 keys, got %d", #keys)
    end
    return keys
  end
  return { key_string(value, path) }
end

local MODEL = { type = "string", utf8 = true }

function types.models(_, value, path)
  if type(value) ~= "table" then
    fail(path, "expected a table of model names, got %s", show(value))
  end
  local only, rename = {}, {}
  for key, name in pairs(value) do
    if type(name) ~= "string" or name == "" then
      fail(join(path, key), "expected a model name, got %s", show(name))
    end
    types.string(MODEL, name, join(path, key))
    if type(key) == "number" and key >= 1 and floor(key) == key then
      only[name] = true
    elseif type(key) == "string" then
      rename[key] = name
    else
      fail(join(path, key), "a model name is expected as the key")
    end
  end
  return { only = next(only) and only or nil, rename = rename }
end

function types.canceller(_, value, path)
  if not require("surefoot.canceller").is(value) then
    fail(path, "expected a surefoot.canceller(), got %s", show(value))
  end
  return value
end

--- Lets another part of the configuration read values of a type of its own.
---@param name string
---@param read fun(spec: table, value: any, path: string): any
function M.define(name, read)
  types[name] = read
end

local fill

local function fill_fields(fields, given)
  local copy = {}
  for _, field in ipairs(fields) do
    local value = given[field.name]
    if value == nil and not field.keep_nil then
      value = field.default
    end
    if value ~= nil then
      copy[field.name] = fill(field, value)
    end
  end
  return copy
end

--- Adds the defaults to a value that has been read.
function fill(spec, value)
  if spec.type == "table" and spec.fields then
    if value == true then
      value = {}
    end
    return type(value) == "table" and fill_fields(spec.fields, value) or value
  elseif spec.type == "map" and spec.of.fields then
    local copy = {}
    for key, item in pairs(value) do
      copy[key] = fill(spec.of, item)
    end
    return copy
  end
  return value
end
M.fill = fill
M.fill_fields = fill_fields

return M
