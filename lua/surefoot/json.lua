--- JSON as an API client needs it: what is written is exactly what was meant, or a message says which field is at
-- fault.
--
-- Reading is a private lua-cjson instance: bounded depth, no NaN, no hex. On every Lua version and every release of
-- lua-cjson, `[]` is read as a marked empty array (so that it is written back as `[]`) and, where Lua has integers,
-- whole numbers are read as integers.
-- Writing: lua-cjson prints 14 digits of a number, cannot write an empty array in its older releases, and lets invalid
-- UTF-8 pass, which providers refuse with a bare 400. So `quick` leaves to it what it writes exactly (core.is_plain
-- says so), and `encode` writes the rest here: every digit, marks, a path in every problem, keys in order, so that the
-- same tool schema is the same bytes in every process (providers cache prompts by them).

local found, cjson = pcall(require, "cjson")
if not found then
  error("surefoot needs lua-cjson (Debian: apt install lua-cjson; elsewhere: luarocks install lua-cjson)\n" .. cjson, 0)
end

local core = require "surefoot.binding"

local M = {}

local byte, find, format, gsub, match, sub = string.byte, string.find, string.format, string.gsub, string.match,
  string.sub
local concat, sort = table.concat, table.sort
local math_type, to_integer = math.type, math.tointeger
local WHOLE = 2 ^ 53 -- beyond it a double no longer holds every whole number
local WRITE_DEPTH = 1000

--- JSON's null: what `null` is read as, and what to put where a request needs one.
M.null = cjson.null

local array_mt = cjson.array_mt or { __name = "surefoot.array" }
local object_mt = { __name = "surefoot.object" }
local array_marks = { [array_mt] = true }
if cjson.empty_array_mt then
  array_marks[cjson.empty_array_mt] = true
end

local function marked(name, mark, t)
  if t == nil then
    t = {}
  end
  if type(t) ~= "table" then
    error(format("surefoot.%s: a table expected, got %s", name, type(t)), 3)
  end
  local old = getmetatable(t)
  if old ~= nil and old ~= object_mt and not array_marks[old] then
    error(format("surefoot.%s: the table has a metatable of its own", name), 3)
  end
  return setmetatable(t, mark)
end

--- Marks a table as a JSON array, so that it is written as one even when it is empty.
---@generic T: table
---@param t T? the table to mark; nil makes a new one
---@return T
function M.array(t)
  return marked("array", array_mt, t)
end

--- Whether a table is marked as a JSON array.
---@param t table
---@return boolean
function M.is_array(t)
  return array_marks[getmetatable(t)] == true
end

--- Marks a table as a JSON object: integer keys become names.
---@generic T: table
---@param t T?
---@return T
function M.object(t)
  return marked("object", object_mt, t)
end

-- ---------------------------------------------------------------------------------------------------------- writing

local MUST_ESCAPE = '[%z\1-\31"\\]'
local BIG_STRING = 2 ^ 20
local LONG_STRING = 24 -- from here on lua-cjson quotes faster than a pattern looks

-- Quoting strings is what lua-cjson does well. It keeps a buffer of six times the longest string it has seen, so those
-- that are very long have an instance that lets go.
local function quoter(keep)
  local writer = cjson.new()
  writer.encode_keep_buffer(keep)
  if writer.encode_escape_forward_slash then
    writer.encode_escape_forward_slash(false)
  end
  return writer.encode
end
local quote, quote_big = quoter(true), quoter(false)

--- Where a string stops being well-formed UTF-8 (RFC 3629).
---@type fun(s: string): integer? position of the first byte at fault, nil when the whole string is well-formed
M.invalid_utf8 = core.utf8_error

--- A string as well-formed UTF-8: what is none in it is replaced as the web's decoders do it, one replacement for each
--- maximal subpart of a character.
---@param s string
---@param replacement string?  default: U+FFFD
---@return string
function M.well_formed(s, replacement)
  return core.well_formed(s, replacement or "\239\191\189")
end

local Problem = {}

local function path_text(w, depth)
  local parts = {}
  for level = 1, depth do
    local key = w.path[level]
    if type(key) == "string" and match(key, "^[%a_][%w_]*$") then
      parts[level] = (level > 1 and "." or "") .. key
    else
      parts[level] = type(key) == "string" and format("[%q]", key) or format("[%s]", tostring(key))
    end
  end
  return concat(parts)
end

local function refuse(w, depth, message)
  error(setmetatable({ path = path_text(w, depth), message = message }, Problem), 0)
end

local function put_string(w, s, depth)
  local bad = M.invalid_utf8(s)
  if bad then
    refuse(w, depth, format("invalid UTF-8 at byte %d of %d (0x%02X)", bad, #s, byte(s, bad)))
  end
  local n = w.n
  if #s > LONG_STRING or find(s, MUST_ESCAPE) then
    w[n + 1], w.n = (#s > BIG_STRING and quote_big or quote)(s), n + 1
  else
    w[n + 1], w[n + 2], w[n + 3], w.n = '"', s, '"', n + 3
  end
end

local function number_text(w, x, depth)
  if math_type and math_type(x) == "integer" then
    return format("%d", x)
  end
  if x ~= x or x == math.huge or x == -math.huge then
    refuse(w, depth, x ~= x and "NaN is no JSON number" or "infinity is no JSON number")
  end
  if x % 1 == 0 then
    if x < WHOLE and x > -WHOLE then
      return format("%.0f", x)
    elseif not math_type then
      refuse(w, depth, format("%.0f is beyond 2^53, where a number no longer holds every digit; pass it as a string",
        x))
    end
  end
  local text = format("%.14g", x)
  if tonumber(text) ~= x then
    text = format("%.17g", x)
  end
  return (gsub(text, ",", "."))
end

local put -- below

-- The number of elements when every key is a position of a list without holes; else nil.
local function list_length(w, t, depth)
  local count, largest, named = 0, 0, nil
  for key in pairs(t) do
    if type(key) == "number" and key >= 1 and key % 1 == 0 then
      count, largest = count + 1, key > largest and key or largest
    else
      named = key
    end
  end
  if count == 0 then
    return nil
  elseif named ~= nil then
    refuse(w, depth, format("mixes list elements with the key %q; surefoot.object{} writes it as an object",
      tostring(named)))
  elseif largest ~= count then
    local hole = 1
    while t[hole] ~= nil do
      hole = hole + 1
    end
    refuse(w, depth, format("a list with a hole at [%d] (%d elements, the last at [%.0f]); put surefoot.null there, "
      .. "or use string keys for an object", hole, count, largest))
  end
  return count
end

local function put_list(w, t, length, depth)
  w.n = w.n + 1
  w[w.n] = "["
  for i = 1, length do
    if i > 1 then
      w.n = w.n + 1
      w[w.n] = ","
    end
    w.path[depth + 1] = i
    put(w, t[i], depth + 1)
  end
  w.n = w.n + 1
  w[w.n] = "]"
end

local function put_object(w, t, depth)
  local names, n, given = {}, 0, nil
  for key in pairs(t) do
    local name = key
    if type(key) == "number" then
      given = given or {}
      name = number_text(w, key, depth)
      if t[name] ~= nil then
        refuse(w, depth, format("has both the key %s and the key %q", name, name))
      end
      given[name] = key
    elseif type(key) ~= "string" then
      refuse(w, depth, format("a %s as a key", type(key)))
    end
    n = n + 1
    names[n] = name
  end
  if n > 1 then
    sort(names)
  end
  w.n = w.n + 1
  w[w.n] = "{"
  for i = 1, n do
    local name = names[i]
    if i > 1 then
      w.n = w.n + 1
      w[w.n] = ","
    end
    w.path[depth + 1] = name
    put_string(w, name, depth + 1)
    w.n = w.n + 1
    w[w.n] = ":"
    put(w, t[given and given[name] or name], depth + 1)
  end
  w.n = w.n + 1
  w[w.n] = "}"
end

local function put_table(w, t, depth)
  if w.open[t] then
    refuse(w, depth, "contains itself")
  elseif depth >= WRITE_DEPTH then
    refuse(w, 3, "nested too deeply")
  end
  w.open[t] = true
  local mark = getmetatable(t)
  local length = mark ~= object_mt and list_length(w, t, depth) or nil
  if length or array_marks[mark] and next(t) == nil then
    put_list(w, t, length or 0, depth)
  else
    if array_marks[mark] then
      refuse(w, depth, "marked as an array, but has named keys")
    end
    put_object(w, t, depth)
  end
  w.open[t] = nil
end

local plain = { ["true"] = "true", ["false"] = "false" }

function put(w, value, depth)
  local kind = type(value)
  if kind == "string" then
    return put_string(w, value, depth)
  elseif kind == "table" then
    return put_table(w, value, depth)
  end
  local text
  if kind == "number" then
    text = number_text(w, value, depth)
  elseif kind == "boolean" then
    text = plain[tostring(value)]
  elseif value == M.null then
    text = "null"
  elseif kind == "cdata" then -- LuaJIT's 64-bit integers
    text = match(tostring(value), "^(-?%d+)U?LL$")
  end
  if not text then
    refuse(w, depth, format("a %s cannot be written as JSON", kind))
  end
  w.n = w.n + 1
  w[w.n] = text
end

--- Writes a value as JSON.
---@param value any
---@return string? text
---@return string? problem what is wrong and where ("messages[2].content: invalid UTF-8 at byte 3 of 9 (0xFF)")
function M.encode(value)
  local writer = { n = 0, path = {}, open = {} }
  local ok, problem = pcall(put, writer, value, 0)
  if ok then
    return concat(writer, "", 1, writer.n)
  elseif getmetatable(problem) ~= Problem then
    error(problem, 0)
  end
  return nil, problem.path == "" and problem.message or problem.path .. ": " .. problem.message
end

local quick_write = cjson.new()
quick_write.encode_keep_buffer(false)
quick_write.encode_max_depth(WRITE_DEPTH)
local is_plain, cjson_encode = core.is_plain, quick_write.encode

--- Writes a value as JSON, its keys in any order: several times faster where the value is plain data.
---@param value any
---@return string? text
---@return string? problem
function M.quick(value)
  if is_plain(value) then
    return cjson_encode(value)
  end
  return M.encode(value)
end

-- ---------------------------------------------------------------------------------------------------------- reading

local EMPTY_ARRAY = "\0surefoot: empty array"
local EMPTY_ARRAY_TEXT = '["\\u0000surefoot: empty array"]'

-- The text with every `[]` outside of strings replaced by a token that survives the decoder.
local function mark_empty_arrays(text)
  local bracket = find(text, "[", 1, true)
  while bracket and not find(text, "^%s*%]", bracket + 1) do
    bracket = find(text, "[", bracket + 1, true)
  end
  if not bracket then
    return text
  end
  local parts, n, from, at = {}, 0, 1, 1
  while true do
    local start = find(text, '["%[]', at)
    if not start then
      break
    elseif byte(text, start) == 91 then
      at = match(text, "^%[[ \t\r\n]*%]()", start)
      if at then
        parts[n + 1], parts[n + 2], n = sub(text, from, start - 1), EMPTY_ARRAY_TEXT, n + 2
        from = at
      else
        at = start + 1
      end
    else
      at = start + 1
      local stop = find(text, '["\\]', at)
      while stop and byte(text, stop) == 92 do
        stop = find(text, '["\\]', stop + 2)
      end
      if not stop then
        break
      end
      at = stop + 1
    end
  end
  if n == 0 then
    return text
  end
  parts[n + 1] = sub(text, from)
  return concat(parts), true
end

local function restore(t, integers)
  for key, value in next, t do
    local kind = type(value)
    if kind == "table" then
      if value[1] == EMPTY_ARRAY then
        t[key] = setmetatable({}, array_mt)
      else
        restore(value, integers)
      end
    elseif integers and kind == "number" and value % 1 == 0 and value < WHOLE and value > -WHOLE then
      t[key] = to_integer(value)
    end
  end
end

-- Whether a text that does not decode is the beginning of one that would.
local function ends_early(text, message)
  if find(message, "T_END", 1, true) or find(message, "unexpected end", 1, true) then
    return true
  elseif find(message, "Expected the end", 1, true) then
    return false
  end
  local at = tonumber(match(message, "at character (%d+)$"))
  return at ~= nil and find(text, "^%s*[%[{]") ~= nil and find(text, "^\\?[%w.+-]*$", at) ~= nil and #text - at < 16
end

-- Why a text is no JSON where the decoder stopped at a NUL byte, which it takes for the end. Some servers add one
-- behind the end of a whole document, and that will do.
local function nul_problem(text, is_whole)
  local at = find(text, "\0", 1, true)
  if at and not (is_whole and not find(text, "[^%s%z]", at)) then
    return format("a NUL byte at byte %d of %d, where JSON has none", at, #text)
  end
end

-- Whether whole numbers have to be made integers.
local INTEGERS = math_type ~= nil and math_type(cjson.decode "1") == "float"

--- Finishes what a codec's `read` gave, in place: whole numbers become integers, marked places empty arrays.
---@param value any
---@return any
function M.finish(value)
  local box = { value }
  restore(box, INTEGERS)
  return box[1]
end

---@class surefoot.Codec
---@field encode fun(value: any): string?, string?         text | nil, problem
---@field quick fun(value: any): string?, string?          the same, keys in any order
---@field decode fun(text: string): any, string?, string?  value | nil, "malformed" | "truncated", message
---@field read fun(text: string): any, string?, string?    the same, but to be finished before users see it
---@field finish fun(value: any): any                      whole numbers become integers
---@field is_ours boolean?                                  it reads as JSON says; no function of the user's

--- Makes a reader of its own depth limit; writing is the same for all.
---@param depth integer? how deeply a text may be nested (default 128)
---@return surefoot.Codec
function M.new(depth)
  local reader = cjson.new()
  reader.decode_invalid_numbers(false)
  reader.decode_max_depth(depth or 128)
  local marks = reader.decode_array_with_array_mt
  if marks then
    marks(true)
  end

  local function read(text)
    local marked_text, has_marks = text, false
    if not marks then
      marked_text, has_marks = mark_empty_arrays(text)
    end
    local ok, value = pcall(reader.decode, marked_text)
    local nul = nul_problem(text, ok)
    if nul then
      return nil, "malformed", nul
    elseif not ok then
      if not find(text, "%S") then
        return nil, "malformed", "an empty document"
      end
      return nil, ends_early(marked_text, value) and "truncated" or "malformed", value
    end
    return has_marks and M.finish(value) or value
  end

  local function decode(text)
    local value, problem, message = read(text)
    if INTEGERS and value ~= nil then
      value = M.finish(value)
    end
    return value, problem, message
  end

  return { encode = M.encode, quick = M.quick, decode = decode, read = read, finish = INTEGERS and M.finish or nil,
    is_ours = true }
end

--- A codec made of the user's own functions, which may throw or return nil and a message.
---@param functions { encode: (fun(value: any): string)?, decode: (fun(text: string): any)? }
---@param depth integer?
---@return surefoot.Codec
function M.custom(functions, depth)
  local codec = M.new(depth)
  local own_encode, own_decode = functions.encode, functions.decode
  if own_encode then
    function codec.encode(value)
      local ok, text, problem = pcall(own_encode, value)
      if ok and type(text) == "string" then
        return text
      end
      return nil, tostring(not ok and text or problem or "the configured encoder gave no string")
    end
    codec.quick = codec.encode
  end
  if own_decode then
    local check = codec.decode
    function codec.decode(text)
      local ok, value, problem = pcall(own_decode, text)
      if ok and value ~= nil then
        return value
      end
      local _, kind, message = check(text)
      return nil, kind or "malformed", tostring(not ok and value or problem or message
        or "the configured decoder gave nothing")
    end
    codec.read, codec.finish, codec.is_ours = codec.decode, nil, nil
  end
  return codec
end

local shared = M.new()

--- Reads JSON with the default depth limit.
---@param text string
---@return any value nil when the text is no JSON
---@return "malformed" | "truncated" | nil problem
---@return string? message
function M.decode(text)
  return shared.decode(text)
end

return M
