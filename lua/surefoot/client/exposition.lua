--- Metrics as text: Prometheus' exposition format, version 0.0.4.
--
--   local out = exposition.new { "service", "bot" }          -- labels of every sample
--   out:counter("surefoot_attempts_total", "HTTP exchanges that began.")
--   out:add("surefoot_attempts_total", 3, "endpoint", "hk")
--   out:text()
--
-- A family is written where it is declared, with all of its samples, and only if it has any. A label whose value is
-- "" is left out. Whatever a name holds, the text stays well-formed.

local buckets = require "surefoot.client.buckets"
local json = require "surefoot.json"

local M = {}

---@class surefoot.Exposition
---@field private common string[]
---@field private families table[]
---@field private by_name table<string, table>
local Exposition = {}
Exposition.__index = Exposition

--- Begins a text.
---@param common string[]? labels of every sample: name, value, name, value ...
---@return surefoot.Exposition
function M.new(common)
  return setmetatable({ common = common or {}, families = {}, by_name = {} }, Exposition)
end

local function declare(self, kind, name, help)
  local family = self.by_name[name]
  if not family then
    family = { name = name, kind = kind, help = help, lines = {} }
    self.by_name[name], self.families[#self.families + 1] = family, family
  end
end

--- Declares a counter.
---@param name string
---@param help string
function Exposition:counter(name, help)
  declare(self, "counter", name, help)
end

--- Declares a gauge.
---@param name string
---@param help string
function Exposition:gauge(name, help)
  declare(self, "gauge", name, help)
end

--- Declares a histogram.
---@param name string
---@param help string
function Exposition:histogram(name, help)
  declare(self, "histogram", name, help)
end

local escapes = { ["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"' }

local function append_labels(parts, labels)
  for i = 1, #labels, 2 do
    local value = tostring(labels[i + 1])
    if value ~= "" then
      if value:find '[\\\n"\128-\255]' then
        value = json.well_formed(value, "?"):gsub('[\\\n"]', escapes)
      end
      parts[#parts + 1] = ('%s="%s"'):format(labels[i], value)
    end
  end
end

-- "{...}", or "". `le` comes last.
local function label_text(self, labels, le)
  local parts = {}
  append_labels(parts, labels)
  append_labels(parts, self.common)
  if le then
    parts[#parts + 1] = ('le="%s"'):format(le)
  end
  return #parts > 0 and "{" .. table.concat(parts, ",") .. "}" or ""
end

local function number(value)
  if value ~= value then
    return "NaN"
  elseif value == math.huge or value == -math.huge then
    return value > 0 and "+Inf" or "-Inf"
  elseif value % 1 == 0 and value > -2 ^ 53 and value < 2 ^ 53 then
    return ("%.0f"):format(value)
  end
  return ("%.15g"):format(value)
end

--- Adds a sample of a counter or a gauge; nil adds none.
---@param name string of a family that was declared
---@param value number?
---@param ... string labels: name, value, name, value ...
function Exposition:add(name, value, ...)
  if value ~= nil then
    local lines = self.by_name[name].lines
    lines[#lines + 1] = name .. label_text(self, { ... }) .. " " .. number(value)
  end
end

--- Adds a histogram; one that is empty, or nil, adds none.
---@param name string of a family that was declared
---@param histogram surefoot.Buckets?
---@param scale surefoot.Grid
---@param places integer[] which of the grid's bounds are shown
---@param ... string labels
function Exposition:distribution(name, histogram, scale, places, ...)
  if not histogram or histogram.count == 0 then
    return
  end
  local lines, labels = self.by_name[name].lines, { ... }
  for i, count in ipairs(buckets.cumulative(histogram, scale, places)) do
    local le = label_text(self, labels, number(scale.bounds[places[i]]))
    lines[#lines + 1] = name .. "_bucket" .. le .. " " .. number(count)
  end
  local total = number(histogram.count)
  lines[#lines + 1] = name .. "_bucket" .. label_text(self, labels, "+Inf") .. " " .. total
  lines[#lines + 1] = name .. "_sum" .. label_text(self, labels) .. " " .. number(histogram.sum * scale.unit)
  lines[#lines + 1] = name .. "_count" .. label_text(self, labels) .. " " .. total
end

--- The text.
---@return string
function Exposition:text()
  local parts = {}
  for _, family in ipairs(self.families) do
    if #family.lines > 0 then
      local help = family.help:gsub("[\\\n]", escapes)
      parts[#parts + 1] = ("# HELP %s %s\n# TYPE %s %s\n"):format(family.name, help, family.name, family.kind)
      parts[#parts + 1] = table.concat(family.lines, "\n") .. "\n"
    end
  end
  return table.concat(parts)
end

return M
