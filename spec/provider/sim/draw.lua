-- Chance that repeats: request number n of a line with a given seed always meets the same latency and the same fault,
-- whichever worker serves it. SplitMix64 over (seed, n); each purpose draws from its own place in the stream.

local ffi = require "ffi"

local M = {}

local u64 = ffi.typeof "uint64_t"
local rshift, bxor = bit.rshift, bit.bxor
local GOLDEN = 0x9E3779B97F4A7C15ULL

local function uniform(seed, n, place)
  local z = u64(seed) * 0xD1342543DE82EF95ULL + (u64(n) * 8 + u64(place)) * GOLDEN
  z = bxor(z, rshift(z, 30)) * 0xBF58476D1CE4E5B9ULL
  z = bxor(z, rshift(z, 27)) * 0x94D049BB133111EBULL
  z = bxor(z, rshift(z, 31))
  return (tonumber(rshift(z, 11)) + 0.5) / 9007199254740992
end

---Lognormal body with a Pareto tail.
---@param latency { median: number, sigma: number, tail: table|nil }
---@return number seconds
function M.latency(latency, seed, n)
  local tail = latency.tail
  if tail and uniform(seed, n, 1) < tail.p then
    local seconds = tail.min * uniform(seed, n, 2) ^ (-1 / tail.alpha)
    return math.min(seconds, tail.cap or seconds)
  end
  local normal = math.sqrt(-2 * math.log(uniform(seed, n, 3))) * math.cos(2 * math.pi * uniform(seed, n, 4))
  return latency.median * math.exp((latency.sigma or 0) * normal)
end

---@param faults { name: string, code: integer|nil, share: number }[]
---@return string|nil fault, integer|nil code
function M.fault(faults, seed, n)
  local u = uniform(seed, n, 5)
  for i = 1, #faults do
    u = u - faults[i].share
    if u < 0 then
      return faults[i].name, faults[i].code
    end
  end
end

return M
