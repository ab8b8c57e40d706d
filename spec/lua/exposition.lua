-- Prometheus' text format 0.0.4, read by its specification alone: whatever is not exactly that throws, with the line.
-- https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format

local env = require "spec.support.env"
local process = require "spec.support.process"

local M = {}

local KINDS = { counter = true, gauge = true, histogram = true, summary = true, untyped = true }
local ESCAPED = { ["\\"] = "\\", ['"'] = '"', n = "\n" }

-- The labels between the braces, as a map.
local function labels_of(text, where)
  local labels, at = {}, 1
  while at <= #text do
    local name, next_at = text:match('^([%a_][%w_]*)="()', at)
    assert(name and not labels[name], where)
    local value = {}
    at = next_at
    while true do
      local plain, stop = text:match('^([^\\"\n]*)()', at)
      value[#value + 1] = plain
      local c = text:sub(stop, stop)
      if c == '"' then
        at = stop + 1
        break
      end
      assert(c == "\\", where)
      value[#value + 1] = assert(ESCAPED[text:sub(stop + 1, stop + 1)], where)
      at = stop + 2
    end
    labels[name] = table.concat(value)
    if at <= #text then
      assert(text:sub(at, at) == ",", where)
      at = at + 1
    end
  end
  return labels
end

local function number_of(text, where)
  local special = { ["+Inf"] = math.huge, ["-Inf"] = -math.huge, NaN = 0 / 0 }
  return assert(special[text] or text:find "^-?[%d.]+[eE]?[+-]?%d*$" and tonumber(text), where)
end

local function key_of(labels, except)
  local parts = {}
  for name, value in pairs(labels) do
    if name ~= except then
      parts[#parts + 1] = ("%s=%q"):format(name, value)
    end
  end
  table.sort(parts)
  return table.concat(parts, ",")
end

local SUFFIXES = { _bucket = true, _sum = true, _count = true }

local function family_of(families, name)
  local family = families[name]
  if family then
    return family, family.kind == "histogram" and "bare" or ""
  end
  local base, suffix = name:match "^(.*)(_%l+)$"
  family = base and SUFFIXES[suffix] and families[base]
  return family, suffix
end

local function check_histogram(family)
  local groups = {}
  for _, sample in ipairs(family.samples) do
    local key = key_of(sample.labels, "le")
    local group = groups[key] or { buckets = {} }
    groups[key] = group
    if sample.suffix == "_bucket" then
      local le = number_of(assert(sample.labels.le, family.name), family.name)
      group.buckets[#group.buckets + 1] = { le, sample.value }
    else
      group[sample.suffix] = sample.value
    end
  end
  for key, group in pairs(groups) do
    local where, bound, count = family.name .. "{" .. key .. "}", -math.huge, 0
    for _, bucket in ipairs(group.buckets) do
      assert(bucket[1] > bound, where .. ": bounds ascend")
      assert(bucket[2] >= count, where .. ": counts do not fall")
      bound, count = bucket[1], bucket[2]
    end
    assert(bound == math.huge, where .. ": +Inf is there")
    assert(group._count == count, where .. ": _count is that of +Inf")
    assert(group._sum, where .. ": _sum is there")
  end
end

local function check_counter(family)
  assert(family.name:find "_total$", family.name .. ": a counter's name ends in _total")
  for _, sample in ipairs(family.samples) do
    assert(sample.value >= 0 and sample.value < math.huge, family.name .. ": a counter is a count")
  end
end

---Reads a text.
---@param text string
---@return table<string, { name: string, kind: string, help: string, samples: table[] }> families
function M.parse(text)
  assert(text == "" or text:sub(-1) == "\n", "the last line ends, too")
  local families, seen, current = {}, {}, nil
  for line in text:gmatch "([^\n]*)\n" do
    local name, help = line:match "^# HELP ([%a_:][%w_:]*) (.+)$"
    local typed, kind = line:match "^# TYPE ([%a_:][%w_:]*) (%l+)$"
    if name then
      assert(not families[name], line)
      current = { name = name, help = help, samples = {} }
      families[name] = current
    elseif typed then
      assert(current and current.name == typed and not current.kind and KINDS[kind] and #current.samples == 0, line)
      current.kind = kind
    else
      local metric, labels, value = line:match "^([%a_:][%w_:]*){(.*)} (%S+)$"
      if not metric then
        metric, value = line:match "^([%a_:][%w_:]*) (%S+)$"
      end
      local family, suffix = family_of(families, assert(metric, line))
      assert(family and family == current and family.kind and suffix ~= "bare", line)
      local sample = { labels = labels_of(labels or "", line), value = number_of(value, line), suffix = suffix }
      local key = metric .. "{" .. key_of(sample.labels) .. "}"
      assert(not seen[key], "twice: " .. key)
      seen[key] = true
      family.samples[#family.samples + 1] = sample
    end
  end
  for _, family in pairs(families) do
    assert(#family.samples > 0, family.name .. " has no samples")
    if family.kind == "histogram" then
      check_histogram(family)
    elseif family.kind == "counter" then
      check_counter(family)
    end
  end
  return families
end

---The value of the one sample with these labels (it may have more); nil where there is none.
---@param families table
---@param name string with _bucket, _sum or _count, of a histogram
---@param labels? table<string, string>
---@return number?
function M.value(families, name, labels)
  local family, suffix = family_of(families, name)
  local found
  for _, sample in ipairs(family and family.samples or {}) do
    local fits = sample.suffix == suffix
    for label, value in pairs(labels or {}) do
      fits = fits and sample.labels[label] == value
    end
    if fits then
      assert(not found, "several samples of " .. name .. " have these labels")
      found = sample
    end
  end
  return found and found.value
end

---What Prometheus' own checker says of a text; leaves the test out where it is not installed.
---@param text string
---@return string complaints "" where there are none
function M.promtool(text)
  env.need("promtool", "prometheus")
  local path = os.tmpname()
  process.write(path, text)
  local result = env.run("promtool check metrics <" .. process.quote(path) .. " 2>&1")
  os.remove(path)
  return result.status == 0 and result.stdout or ("status %d: %s"):format(result.status, result.stdout)
end

return M
