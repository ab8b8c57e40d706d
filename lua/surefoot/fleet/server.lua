-- A model of one provider's endpoint: `slots` servers behind one queue in order of arrival, at most `queue` waiting
-- (one more is told 503 at once); work of prefill + tokens * itl seconds; a limiter of requests and tokens per minute
-- that answers 429 with Retry-After. A client that gives up frees nothing: its work is done to the end.
--
-- Since work is never taken back, everything is known when a request arrives: its start is the earliest time that a
-- slot is free, its end follows from the work and the speed from then on. So a server needs no events of its own.

local M = {}

local Server = {}
Server.__index = Server

local REFUSED = { ["content-type"] = "application/json" }
local OVERLOADED = '{"error":{"message":"overloaded","type":"server_error"}}'
local THROTTLED = '{"error":{"message":"rate limit reached","type":"requests","code":"rate_limit_exceeded"}}'

local bodies = {}

local function answer(tokens)
  local body = bodies[tokens]
  if not body then
    body = ('{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"ok"}}],'
      .. '"usage":{"prompt_tokens":0,"completion_tokens":%d,"total_tokens":%d}}'):format(tokens, tokens)
    bodies[tokens] = body
  end
  return body
end

M.answer = answer

---@class surefoot.fleet.ServerOptions
---@field slots integer
---@field queue integer?             may wait (default: any number)
---@field prefill number?            seconds before the first token
---@field itl number                 seconds per token
---@field speed { from: number, factor: number }[]? changes of speed, in order of time
---@field refuse number?             seconds until a refusal is there (0.005)
---@field requests_per_minute number?
---@field tokens_per_minute number?
---@field burst number?              minutes' worth that may come at once (1)
---@field tells boolean?             sends x-ratelimit headers

--- Makes a server.
---@param options surefoot.fleet.ServerOptions
---@return table
function M.new(options)
  local free = {}
  for i = 1, options.slots do
    free[i] = 0
  end
  return setmetatable({
    free = free, capacity = options.queue or math.huge, prefill = options.prefill or 0, itl = options.itl,
    speed = options.speed or {}, refuse = options.refuse or 0.005,
    limits = {
      options.requests_per_minute and { name = "requests", rate = options.requests_per_minute / 60,
        burst = options.requests_per_minute * (options.burst or 1), full_at = 0 } or nil,
      options.tokens_per_minute and { name = "tokens", rate = options.tokens_per_minute / 60,
        burst = options.tokens_per_minute * (options.burst or 1), full_at = 0 } or nil,
    },
    tells = options.tells, starts = {}, first = 1, last = 0,
    accepted = 0, overloaded = 0, throttled = 0, tokens = 0, busy = 0,
  }, Server)
end

-- The earliest free slot is at the top of the heap; it is busy until `at` now.
local function occupy(free, at)
  local n, i = #free, 1
  while true do
    local child = 2 * i
    if child > n then
      break
    end
    if child < n and free[child + 1] < free[child] then
      child = child + 1
    end
    if free[child] >= at then
      break
    end
    free[i] = free[child]
    i = child
  end
  free[i] = at
end

-- When work that starts now is done, at the speeds to come.
local function finish(speed, start, work)
  local at, factor = start, 1
  for _, change in ipairs(speed) do
    if change.from > at then
      local done = (change.from - at) * factor
      if done >= work then
        break
      end
      work, at = work - done, change.from
    end
    factor = change.factor
  end
  return at + work / factor
end

--- How many wait for a slot.
---@param now number
---@return integer
function Server:waiting(now)
  local starts = self.starts
  while self.first <= self.last and starts[self.first] <= now do
    starts[self.first] = nil
    self.first = self.first + 1
  end
  return self.last - self.first + 1
end

-- Seconds until the limit admits `cost`; 0: now. full_at: when the bucket is full again.
local function limit_wait(limit, now, cost)
  local full_at = math.max(limit.full_at, now) + cost / limit.rate
  return math.max(0, full_at - now - limit.burst / limit.rate)
end

local function throttle(self, now, cost)
  local wait = 0
  for _, limit in pairs(self.limits) do
    wait = math.max(wait, limit_wait(limit, now, limit.name == "tokens" and cost or 1))
  end
  if wait > 1e-9 then
    return wait
  end
  for _, limit in pairs(self.limits) do
    limit.full_at = math.max(limit.full_at, now) + (limit.name == "tokens" and cost or 1) / limit.rate
  end
end

local function told(self, now, headers)
  for _, limit in pairs(self.tells and self.limits or {}) do
    local reset = math.max(0, limit.full_at - now)
    headers["x-ratelimit-limit-" .. limit.name] = ("%.0f"):format(math.floor(limit.burst))
    headers["x-ratelimit-remaining-" .. limit.name] = ("%.0f"):format(
      math.floor(math.max(0, limit.burst - reset * limit.rate)))
    headers["x-ratelimit-reset-" .. limit.name] = ("%dms"):format(math.ceil(reset * 1000))
  end
  return headers
end

--- Serves a request: what happens, as a script of the simulation.
---@param now number
---@param tokens integer
---@return table script
---@return number? start  when a slot takes it; nil: it was refused
function Server:serve(now, tokens)
  local wait = throttle(self, now, tokens)
  if wait then
    self.throttled = self.throttled + 1
    local headers = told(self, now, { ["retry-after"] = ("%d"):format(math.ceil(wait)) })
    return { after = self.refuse, status = 429, headers = headers, body = THROTTLED }
  elseif self.free[1] > now and self:waiting(now) >= self.capacity then
    self.overloaded = self.overloaded + 1
    return { after = self.refuse, status = 503, headers = REFUSED, body = OVERLOADED }
  end
  local start = math.max(now, self.free[1])
  local done = finish(self.speed, start, self.prefill + tokens * self.itl)
  occupy(self.free, done)
  if start > now then
    self.last = self.last + 1
    self.starts[self.last] = start
  end
  self.accepted, self.tokens, self.busy = self.accepted + 1, self.tokens + tokens, self.busy + done - start
  local headers = self.tells and told(self, now, {}) or nil
  return { after = done - now, headers = headers, body = answer(math.ceil(tokens)) }, start
end

return M
