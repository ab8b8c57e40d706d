-- Random numbers that are the same on every interpreter: L'Ecuyer's two combined generators (1988), exact in doubles,
-- period 2.3e18. Streams of one seed are independent: arrivals do not change when the servers draw more often.

local M = {}

local Random = {}
Random.__index = Random

local M1, M2 = 2147483563, 2147483399

--- Makes a generator.
---@param seed integer
---@param stream integer? of the same seed: 0, 1, 2, ...
---@return table
function M.new(seed, stream)
  local mixed = seed * 7919 + (stream or 0) * 104729
  local self = setmetatable({ a = mixed % (M1 - 1) + 1, b = (mixed * 16807 + 12345) % (M2 - 1) + 1 }, Random)
  for _ = 1, 10 do
    self:unit()
  end
  return self
end

--- Between 0 and 1, both excluded.
---@return number
function Random:unit()
  local a, b = self.a * 40014 % M1, self.b * 40692 % M2
  self.a, self.b = a, b
  local difference = a - b
  if difference < 1 then
    difference = difference + M1 - 1
  end
  return difference / M1
end

--- From 1 to n.
---@param n integer
---@return integer
function Random:integer(n)
  return 1 + math.floor(self:unit() * n)
end

--- Exponentially distributed.
---@param mean number
---@return number
function Random:exponential(mean)
  return -mean * math.log(self:unit())
end

--- Normally distributed (Box and Muller; one of the two is not kept, so that draws stay in step).
---@return number
function Random:normal()
  return math.sqrt(-2 * math.log(self:unit())) * math.cos(2 * math.pi * self:unit())
end

return M
