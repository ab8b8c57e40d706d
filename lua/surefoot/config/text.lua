--- Words about the schema: what a spec allows, which known key is nearest, and the whole as a Markdown reference.

local M = {}

local format = string.format

local function number_text(x, bytes)
  if bytes and x >= 1024 and x % 1024 == 0 then
    for power, unit in ipairs { "KiB", "MiB", "GiB", "TiB" } do
      local count = x / 1024 ^ power
      if count < 1024 then
        return format("%.4g %s", count, unit)
      end
    end
  end
  return format("%.14g", x)
end

local function range(spec, noun)
  local bytes = spec.type == "bytes"
  local low, high = number_text(spec.min or spec.above, bytes), spec.max and number_text(spec.max, bytes)
  local text
  if not high then
    text = format(spec.min and "%s, %s or more" or "%s above %s", noun, low)
  else
    text = format(spec.above and "%s above %s, up to %s" or "%s from %s to %s", noun, low, high)
  end
  return spec.none and text .. " (math.huge: none)" or text
end

local function quoted(values)
  local parts = {}
  for i, value in ipairs(values) do
    parts[i] = type(value) == "string" and format("%q", value) or tostring(value)
  end
  return table.concat(parts, ", ")
end

local words = {
  seconds = function(spec) return range(spec, "seconds") end,
  number = function(spec) return range(spec, "a number") end,
  integer = function(spec) return range(spec, "a whole number") end,
  bytes = function(spec) return range(spec, "bytes") end,
  boolean = function() return "true or false" end,
  string = function(spec)
    return (spec.empty and "a string" or "a string that is not empty") .. (spec.off and ", or false" or "")
  end,
  enum = function(spec) return "one of " .. quoted(spec.values) end,
  header_map = function(spec) return format("a table of at most %d header names and values", spec.max) end,
  key = function() return "a string, a list of strings, or a function" end,
  models = function() return "a table of model names" end,
  endpoint = function() return "an endpoint table" end,
  fallback = function() return "a model name, or { model =, endpoint =, request = {...} }" end,
  proxy = function() return "a proxy's URL, or \"\" for none" end,
  address = function() return "an IP address" end,
  prices = function() return "true (the built-in table), or false, or a table of model names, each with a table" end,
  doh_url = function() return "an https URL" end,
  trace = function() return "a traceparent, or { traceparent =, tracestate = }, or true" end,
  log = function() return 'a function, or true or false, or a level ("debug", "info", "warn", "error"), or a table' end,
  canceller = function() return "a surefoot.canceller()" end,
  any = function() return "any value" end,
  gateway_keys = function() return "a list of keys" end,
  gateway_model = function() return "true, a model name, a table, or a list of those" end,
  ["function"] = function() return "a function" end,
}

--- What a spec allows, as the end of "expected ...".
---@param spec table
---@return string
function M.describe(spec)
  if words[spec.type] then
    return words[spec.type](spec)
  elseif spec.type == "either" then
    local parts = {}
    for i, alternative in ipairs(spec) do
      parts[i] = M.describe(alternative)
    end
    return table.concat(parts, ", or ")
  elseif spec.type == "list" then
    return (spec.max and format("a list of at most %d, each ", spec.max) or "a list, each ") .. M.describe(spec.of)
  elseif spec.type == "map" then
    return "a table of names, each with " .. M.describe(spec.of)
  end
  local parts = { "a table" }
  if spec.short then
    for _, field in ipairs(spec.fields) do
      if field.name == spec.short then
        parts[#parts + 1] = M.describe(field)
      end
    end
  end
  parts[#parts + 1] = spec.on and "true (the defaults)" or nil
  parts[#parts + 1] = spec.off and "false" or nil
  return table.concat(parts, ", or ")
end

-- Optimal string alignment distance: edits and swaps of neighbours.
local function distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

--- The known name nearest to what was written.
---@param given string
---@param names any[] only strings are looked at
---@return string?
function M.nearest(given, names)
  local best, best_distance
  for _, name in ipairs(names) do
    if type(name) == "string" then
      local d = distance(given:sub(1, 64):lower(), name:lower())
      if not best or d < best_distance then
        best, best_distance = name, d
      end
    end
  end
  return best
end

local SLIP = 0.4 -- of the letters: what differs in more of them was hardly meant

--- The known name that was probably meant, if there is one.
---@param given string
---@param names any[] only strings are looked at
---@return string?
function M.meant(given, names)
  for _, name in ipairs(#given > 1 and names or {}) do
    if type(name) == "string" and name:sub(1, #given):lower() == given:lower() then
      return name
    end
  end
  local near, letters = M.nearest(given, names), given:sub(1, 64):lower()
  if near and distance(letters, near:lower()) <= SLIP * math.max(#letters, #near) then
    return near
  end
end

--- The same as the end of a sentence, which may be empty.
---@param given any
---@param names any[]
---@return string
function M.hint(given, names)
  local near = type(given) == "string" and M.meant(given, names)
  return near and format("; did you mean %q?", near) or ""
end

local function default_text(field)
  local default = field.default
  if default == nil then
    return ""
  elseif type(default) == "table" then
    return ""
  elseif type(default) == "number" then
    return number_text(default, field.type == "bytes")
  elseif default == true and field.on then
    return "on"
  end
  return type(default) == "string" and format("%q", default) or tostring(default)
end

local function rows(out, fields, prefix)
  for _, field in ipairs(fields) do
    local mark = field.endpoint and "*" or ""
    out[#out + 1] = format("| `%s%s`%s | %s | %s | %s |", prefix, field.name, mark,
      M.describe(field):gsub("|", "\\|"), default_text(field), (field.doc:gsub("|", "\\|")))
    local inner = field.fields or field.of and field.of.fields
    if inner then
      rows(out, inner, prefix .. field.name .. (field.of and "[]." or "."))
    end
  end
end

--- A Markdown table of every key in `fields`.
---@param fields table[]
---@return string
function M.reference(fields)
  local out = { "| key | value | default | meaning |", "|---|---|---|---|" }
  rows(out, fields, "")
  return table.concat(out, "\n") .. "\n"
end

return M
