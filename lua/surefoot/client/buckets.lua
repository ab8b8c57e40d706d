--- Histograms that can be added up over processes: how many values lie in which bucket of a grid.
--
-- A histogram is plain data that JSON can carry: { count, sum, buckets = { ["7"] = 3 } }. Buckets without a value are
-- not there; bucket i holds what lies above bounds[i - 1] and up to bounds[i]. `sum` is a whole number of the grid's
-- units, so that sums do not depend on the order in which they were added.

local M = {}

---@class surefoot.Grid
---@field bounds number[]  ascending; one more bucket holds what is above the last
---@field names string[]   of the buckets
---@field unit number      of sums
---@field package first number
---@field package last number
---@field package log_first number
---@field package per_log number
---@field package per_unit number

---@class surefoot.Buckets
---@field count integer
---@field sum integer        in units of the grid
---@field buckets table<string, integer>

local log = math.log

-- Bounds at base x 2 ^ (step / per_octave), for the steps first to last.
local function grid(base, per_octave, first, last, unit)
  local bounds, names = {}, {}
  for step = first, last do
    bounds[#bounds + 1] = base * 2 ^ (step / per_octave)
  end
  for i = 1, #bounds + 1 do
    names[i] = tostring(i)
  end
  return {
    bounds = bounds, names = names, unit = unit, per_log = per_octave / log(2), per_unit = 1 / unit,
    first = bounds[1], last = bounds[#bounds], log_first = log(bounds[1]),
  }
end

local PER_OCTAVE, BELOW, ABOVE = 8, 5, 15 -- octaves below and above 10 ms

--- Durations from 0.3 ms to 5.5 minutes, in steps of 9 %.
---@type surefoot.Grid
M.seconds = grid(0.01, PER_OCTAVE, -BELOW * PER_OCTAVE, ABOVE * PER_OCTAVE, 1e-6)

--- Tokens, with the bounds that OpenTelemetry recommends: 1, 4, 16 ... 67108864.
---@type surefoot.Grid
M.tokens = grid(1, 0.5, 0, 13, 1)

-- Where the bounds lie that are `per_octave` in each of the octaves first to last, counted from 10 ms.
local function places(first, last, per_octave)
  local list, step = {}, PER_OCTAVE / per_octave
  for at = (BELOW + first) * PER_OCTAVE, (BELOW + last) * PER_OCTAVE, step do
    list[#list + 1] = math.floor(at) + 1
  end
  return list
end

--- The places in M.seconds of the bounds that OpenTelemetry recommends: 0.01, 0.02, 0.04 ... 81.92.
---@type integer[]
M.otel_places = places(0, 13, 1)

--- The places in M.seconds of bounds for people's eyes: two an octave, from 1.25 ms to 164 s.
---@type integer[]
M.coarse_places = places(-3, 14, 2)

--- The places of all bounds of M.tokens.
---@type integer[]
M.token_places = {}
for i = 1, #M.tokens.bounds do
  M.token_places[i] = i
end

--- An empty histogram.
---@return surefoot.Buckets
function M.new()
  return { count = 0, sum = 0, buckets = {} }
end

local floor = math.floor

-- The first bucket whose bound is not below x. The logarithm may be off by a little, which matters at the bounds: there
-- it is two steps away at most. No loop, which LuaJIT would not compile into what calls this.
local function place_of(scale, x)
  if x <= scale.first then
    return 1
  elseif x > scale.last then
    return #scale.names
  end
  local bounds, place = scale.bounds, floor((log(x) - scale.log_first) * scale.per_log) + 1
  if bounds[place] < x then
    place = place + 1
    if bounds[place] < x then
      place = place + 1
    end
  end
  return place
end

--- Counts a value.
---@param histogram surefoot.Buckets
---@param scale surefoot.Grid
---@param x number
function M.record(histogram, scale, x)
  local buckets, name = histogram.buckets, scale.names[place_of(scale, x)]
  buckets[name] = (buckets[name] or 0) + 1
  histogram.count = histogram.count + 1
  histogram.sum = histogram.sum + floor(x * scale.per_unit + 0.5)
end

--- What the core counted between the bounds of a grid.
---@param scale surefoot.Grid
---@param counted { count: integer, sum: number, counts: table<integer, integer> }?
---@return surefoot.Buckets
function M.of_core(scale, counted)
  if not counted then
    return M.new()
  end
  local buckets = {}
  for place, count in pairs(counted.counts) do
    buckets[scale.names[place]] = count
  end
  return { count = counted.count, sum = floor(counted.sum / scale.unit + 0.5), buckets = buckets }
end

--- How many values are not above the bounds at these places.
---@param histogram surefoot.Buckets
---@param scale surefoot.Grid
---@param at integer[] ascending
---@return integer[]
function M.cumulative(histogram, scale, at)
  local counts, seen, place = {}, 0, 0
  for i, bound in ipairs(at) do
    while place < bound do
      place = place + 1
      seen = seen + (histogram.buckets[scale.names[place]] or 0)
    end
    counts[i] = seen
  end
  return counts
end

--- A quantile, or nil of nothing. Off by less than a bucket.
---@param histogram surefoot.Buckets
---@param scale surefoot.Grid
---@param q number
---@return number?
function M.quantile(histogram, scale, q)
  if histogram.count == 0 then
    return nil
  end
  local bounds, rank, seen = scale.bounds, q * histogram.count, 0
  for place, bound in ipairs(bounds) do
    local count = histogram.buckets[scale.names[place]] or 0
    if count > 0 and seen + count >= rank then
      local below, share = place > 1 and bounds[place - 1] or bound / 2, (rank - seen) / count
      return below * (bound / below) ^ share
    end
    seen = seen + count
  end
  return bounds[#bounds]
end

--- The mean, or nil of nothing.
---@param histogram surefoot.Buckets
---@param scale surefoot.Grid
---@return number?
function M.mean(histogram, scale)
  return histogram.count > 0 and histogram.sum * scale.unit / histogram.count or nil
end

return M
