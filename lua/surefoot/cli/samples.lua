--- What came of many calls, in little memory: counts, and latencies in buckets that are one per cent wide.

local M = {}

local LEAST = 1e-6 -- seconds: the first bucket
local GROWTH = math.log(1.01)

-- ---------------------------------------------------------------------------------------------------------- durations

---@class surefoot.Histogram
---@field count integer
---@field sum number
---@field max number
---@field private buckets table<integer, integer>
---@field private top integer
local Histogram = {}
Histogram.__index = Histogram

---@return surefoot.Histogram
function M.histogram()
  return setmetatable({ count = 0, sum = 0, max = 0, buckets = {}, top = 0 }, Histogram)
end

--- Counts a time.
---@param seconds number
function Histogram:add(seconds)
  local bucket = math.max(0, math.floor(math.log(math.max(seconds, LEAST) / LEAST) / GROWTH))
  self.buckets[bucket] = (self.buckets[bucket] or 0) + 1
  self.top = math.max(self.top, bucket)
  self.count, self.sum, self.max = self.count + 1, self.sum + seconds, math.max(self.max, seconds)
end

-- The middle of a bucket; nothing was longer than the longest.
local function middle(self, bucket)
  return math.min(self.max, LEAST * math.exp((bucket + 0.5) * GROWTH))
end

--- The time that a share of them took at most, to half a per cent.
---@param share number 0 to 1
---@return number? seconds nil: there are none
function Histogram:quantile(share)
  local wanted, seen = math.max(1, math.ceil(share * self.count)), 0
  for bucket = 0, self.top do
    seen = seen + (self.buckets[bucket] or 0)
    if seen >= wanted then
      return middle(self, bucket)
    end
  end
end

--- How many took at most so long, for each time that occurs.
---@return number[][] points { seconds, count }
function Histogram:cumulated()
  local points, seen = {}, 0
  for bucket = 0, self.top do
    local count = self.buckets[bucket]
    if count then
      seen = seen + count
      points[#points + 1] = { middle(self, bucket), seen }
    end
  end
  return points
end

--- Count, mean, quantiles and the longest.
---@return table
function Histogram:numbers()
  return {
    count = self.count, mean = self.count > 0 and self.sum / self.count or nil, p50 = self:quantile(0.5),
    p90 = self:quantile(0.9), p95 = self:quantile(0.95), p99 = self:quantile(0.99), p999 = self:quantile(0.999),
    max = self.count > 0 and self.max or nil,
  }
end

-- -------------------------------------------------------------------------------------------------------------- calls

---@class surefoot.Samples
---@field began integer            calls
---@field calls integer            that have ended
---@field succeeded integer
---@field errors table<string, integer>
---@field attempts integer
---@field throttled integer        attempts that were refused with 429
---@field latency surefoot.Histogram     of the successes
---@field first_token surefoot.Histogram
---@field tokens { input: integer, output: integer }
---@field cost number
---@field lines table<string, integer> answers of each line
---@field seconds table<integer, table> what ended in each second
local Samples = {}
Samples.__index = Samples

---@return surefoot.Samples
function M.new()
  return setmetatable({
    began = 0, calls = 0, succeeded = 0, errors = {}, attempts = 0, throttled = 0, latency = M.histogram(),
    first_token = M.histogram(), tokens = { input = 0, output = 0 }, cost = 0, lines = {}, seconds = {},
  }, Samples)
end

local function add(counts, name, by)
  counts[name] = (counts[name] or 0) + by
end

local function count_attempts(self, attempts)
  local throttled = 0
  for _, attempt in ipairs(attempts) do
    throttled = throttled + (attempt.status == 429 and 1 or 0)
  end
  self.attempts, self.throttled = self.attempts + #attempts, self.throttled + throttled
  return throttled
end

local function count_answer(self, result, latency, is_stream)
  self.succeeded = self.succeeded + 1
  self.latency:add(latency)
  if is_stream and result.time_to_first_token then
    self.first_token:add(result.time_to_first_token)
  end
  add(self.lines, result.endpoint, 1)
  if result.usage then
    self.tokens.input = self.tokens.input + result.usage.input_tokens
    self.tokens.output = self.tokens.output + result.usage.output_tokens
  end
  self.cost = self.cost + (result.cost or 0)
end

--- Counts a call that has ended.
---@param at number        seconds since the beginning
---@param latency number   seconds that the caller waited
---@param result surefoot.Result?
---@param err surefoot.Error?
---@param is_stream boolean?
function Samples:add(at, latency, result, err, is_stream)
  self.calls = self.calls + 1
  local throttled = count_attempts(self, (result or err).attempts or {})
  local second = math.floor(at) + 1
  local row = self.seconds[second] or { calls = 0, succeeded = 0, throttled = 0 }
  self.seconds[second] = row
  row.calls, row.throttled = row.calls + 1, row.throttled + throttled
  if result then
    row.succeeded = row.succeeded + 1
    count_answer(self, result, latency, is_stream)
  else
    add(self.errors, err.kind, 1)
  end
end

--- The share of the calls that succeeded; nil before one has ended.
---@return number?
function Samples:success_rate()
  return self.calls > 0 and self.succeeded / self.calls or nil
end

--- Attempts per call.
---@return number?
function Samples:attempts_per_call()
  return self.calls > 0 and self.attempts / self.calls or nil
end

--- Calls a second that ended of late.
---@param at number seconds since the beginning
---@return number
function Samples:recent_rate(at)
  local last = math.floor(at)
  local count, from = 0, math.max(1, last - 4)
  for second = from, last do
    count = count + (self.seconds[second] and self.seconds[second].calls or 0)
  end
  return last >= 1 and count / (last - from + 1) or self.calls / math.max(at, 0.1)
end

return M
