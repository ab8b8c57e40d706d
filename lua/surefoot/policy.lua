--- The policies alone: small objects without transport, for whoever has a client already.
--
-- Every constructor checks its options (what is wrong throws, and says what is right), and takes `clock` (a function
-- that returns seconds) and `random` (one that returns a number in [0, 1)), so that tests run on a time of their own.
-- Nothing here waits, except what `wrap` makes.

local check = require "surefoot.config.check"
local classify = require "surefoot.classify"
local copy = require "surefoot.copy"
local core = require "surefoot.binding"
local schema = require "surefoot.config.schema"

local M = {}

local native = core.policy
local max = math.max

---@class surefoot.policy.Options
---@field clock? fun(): number   seconds, monotonic (default: surefoot's own clock)
---@field random? fun(): number  in [0, 1)

-- Fields by name out of a list of the schema.
local function pick(fields, names)
  local by_name, picked = {}, {}
  for _, field in ipairs(fields) do
    by_name[field.name] = field
  end
  for name in names:gmatch "%S+" do
    picked[#picked + 1] = assert(by_name[name], name)
  end
  return picked
end

local function fields_of(list, name)
  return pick(list, name)[1].fields
end

local function with_test_seams(fields)
  fields[#fields + 1] = { name = "clock", type = "function", default = core.now, doc = "returns seconds" }
  fields[#fields + 1] = { name = "random", type = "function", default = core.random,
    doc = "returns a number from 0 to 1" }
  return fields
end

local timeout, retry = fields_of(schema.top, "timeout"), fields_of(schema.top, "retry")

local specs = {
  backoff = with_test_seams(pick(retry, "strategy base_delay max_delay jitter")),
  rate_limiter = with_test_seams {
    { name = "rate", type = "number", above = 0, max = 1e9, required = true, doc = "cells per second" },
    { name = "burst", type = "number", min = 1, max = 1e12, doc = "cells at once (default: one second's worth)" },
  },
  circuit_breaker = with_test_seams(pick(fields_of(schema.top, "breaker"), [[failure_threshold failure_ratio min_calls
    window slow_call slow_ratio recovery_timeout max_recovery_timeout half_open_requests lease jitter]])),
  retry_budget = with_test_seams {},
  concurrency_limiter = with_test_seams(pick(fields_of(schema.top, "concurrency"), "limit adaptive min max")),
  adaptive_rate = with_test_seams {
    { name = "beta", type = "number", above = 0, max = 1, default = 0.7, doc = "what a throttle leaves of the rate" },
    { name = "scale", type = "number", above = 0, max = 1e6, default = 0.4, doc = "how fast the rate grows back" },
    { name = "min_rate", type = "number", above = 0, max = 1e9, default = 0.5, doc = "never less per second" },
    { name = "max_rate", type = "number", above = 0, max = 1e9, doc = "never more per second (default: no ceiling)" },
  },
  balancer = with_test_seams(pick(fields_of(schema.top, "routing"), "strategy decay penalty")),
  hedge = with_test_seams(pick(fields_of(schema.top, "hedge"), "quantile budget burst min_delay")),
  histogram = with_test_seams {},
}
for _, field in ipairs(fields_of(retry, "budget")) do
  local least = field.name == "capacity" and 0 or field.min
  table.insert(specs.retry_budget, 1, copy(field, { min = least }))
end
for i, field in ipairs(specs.circuit_breaker) do
  if field.name == "lease" then
    specs.circuit_breaker[i] = copy(field, { default = pick(timeout, "attempt")[1].default })
  end
end
table.insert(specs.balancer, { name = "explore", type = "number", min = 0, max = 1, default = 0,
  doc = "share of picks that ignore latency (one that is not renewed is forgotten: such a line is found anyway)" })
table.insert(specs.balancer, { name = "endpoints", type = "list", required = true, doc = "the lines to choose from",
  of = { type = "table", fields = pick(schema.endpoint, "weight priority") } })

-- Misuse is the fault of the line that called the constructor.
local function blame(ok, ...)
  if not ok then
    error((...), 4)
  end
  return ...
end

local function checked(reader, ...)
  local value = blame(pcall(reader, ...))
  return value
end

local function read(name, options, fields)
  if options == nil then
    options = {}
  elseif type(options) ~= "table" then
    error(("%s: expected a table of options, got %s"):format(name, check.show(options)), 3)
  end
  fields = fields or specs[name]
  return check.fill_fields(fields, blame(pcall(check.fields, fields, options, name)))
end

local function is_value(value)
  return type(value) == "string" or type(value) == "number"
end

-- A function from a name in lower case to all values of that header, whatever the case they were given in. Throws
-- messages without a position.
local function lookup(headers, path)
  if headers == nil then
    return nil
  elseif type(headers) ~= "table" then
    check.fail(path, "expected a table of names and values, got %s", check.show(headers))
  end
  local by_name = {}
  for name, value in pairs(headers) do
    if type(name) ~= "string" then
      check.fail(check.join(path, name), "expected the name of a header as the key")
    end
    local lower = name:lower()
    local values = by_name[lower] or {}
    by_name[lower] = values
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if not is_value(one) then
        check.fail(check.join(path, name), "expected a string, a number, or a list of those, got %s", check.show(one))
      end
      values[#values + 1] = one
    end
  end
  return function(name)
    return by_name[name]
  end
end

---@class surefoot.policy.Backoff
---@field delay fun(self, n: integer): number  seconds before retry n (1, 2, ...); decorrelated: 1 starts anew

--- How long to wait before a retry.
---@param options? surefoot.policy.Options strategy, base_delay, max_delay, jitter: as in `retry` of the configuration
---@return surefoot.policy.Backoff
function M.backoff(options)
  local config = read("backoff", options)
  return native.backoff(config)
end

---@class surefoot.policy.RateLimiter
---@field try fun(self, cost?: number): boolean, number?  true | false, seconds to wait | false, math.huge: never fits
---@field reserve fun(self, cost?: number): number        granted, into debt: seconds to wait; math.huge: never
---@field settle fun(self, reserved: number, actual: number)  gives back or charges the difference
---@field remaining fun(self): integer                    whole cells left now

--- A rate limit with weighted cost (GCRA).
---@param options surefoot.policy.Options rate (per second), burst (default: one second's worth)
---@return surefoot.policy.RateLimiter
function M.rate_limiter(options)
  local config = read("rate_limiter", options)
  config.burst = config.burst or max(1, config.rate)
  return native.rate_limiter(config)
end

---@class surefoot.policy.Permit
---@field success fun(self, first_token_seconds?: number)
---@field failure fun(self, kind?: string)  kinds outside the outcome matrix only release (default "server")
---@field cancel fun(self)                  released, nothing learned

---@class surefoot.policy.CircuitBreaker
---@field allow fun(self): surefoot.policy.Permit?, number?  a permit | nil, seconds to wait
---@field state fun(self): string, number                    "closed" "open" "half_open", seconds left of open

--- A circuit breaker: consecutive failures, failure ratio or slow calls open it; probes on a lease close it.
---@param options? surefoot.policy.Options as `breaker` of the configuration
---@return surefoot.policy.CircuitBreaker
function M.circuit_breaker(options)
  local config = read("circuit_breaker", options)
  return native.circuit_breaker(config)
end

---@class surefoot.policy.RetryBudget
---@field withdraw fun(self, what: "transient" | "throttled"): integer | false  the cost (0: by the floor)
---@field success fun(self, cost?: number | boolean)  refunds this cost; true: the last cost; false: a clean success, +1
---@field balance fun(self): integer

--- A quota that bounds retries to a share of the successes.
---@param options? surefoot.policy.Options capacity, transient_cost, throttled_cost, floor_per_second
---@return surefoot.policy.RetryBudget
function M.retry_budget(options)
  local config = read("retry_budget", options)
  return native.retry_budget(config)
end

---@class surefoot.policy.Slot
---@field release fun(self, how?: "ok" | "dropped" | "ignored")  once; later calls do nothing (default "ok")

---@class surefoot.policy.ConcurrencyLimiter
---@field acquire fun(self): surefoot.policy.Slot?
---@field limit fun(self): integer
---@field in_flight fun(self): integer
---@field peak fun(self): integer

--- How many may be out at once: fixed, or adaptive (AIMD on "dropped").
---@param options? surefoot.policy.Options limit, adaptive, min, max: as in `concurrency` of the configuration
---@return surefoot.policy.ConcurrencyLimiter
function M.concurrency_limiter(options)
  local config = read("concurrency_limiter", options)
  if config.min > config.max then
    error(("concurrency_limiter.min: is above max (%d > %d)"):format(config.min, config.max), 2)
  end
  return native.concurrency_limiter(config)
end

---@class surefoot.policy.AdaptiveRate
---@field acquire fun(self): number                       0: go, else seconds to wait
---@field success fun(self)
---@field throttled fun(self, retry_after?: number)
---@field headers fun(self, headers: table)               a response's rate-limit headers
---@field rate fun(self): number                          per second; math.huge while nothing is learned

--- The rate that a provider really admits: its headers, else CUBIC after the first throttle.
---@param options? surefoot.policy.Options beta, scale, min_rate, max_rate
---@return surefoot.policy.AdaptiveRate
function M.adaptive_rate(options)
  local config = read("adaptive_rate", options)
  return native.adaptive_rate(config)
end

function native.adaptive_methods:headers(headers)
  if headers == nil then
    error("headers: expected a table of names and values, got nothing", 2)
  end
  checked(lookup, headers, "headers")
  self:quota(classify.block(headers), os.time())
end

---@class surefoot.policy.Balancer
---@field pick fun(self, excluded?: table<integer, boolean>): integer?  nil when all are excluded
---@field started fun(self, i: integer)
---@field finished fun(self, i: integer, seconds?: number, failed?: boolean)  seconds until the first token

--- Which of several lines to ask.
---@param options surefoot.policy.Options endpoints (list of { weight, priority }), strategy, decay, penalty, explore
---@return surefoot.policy.Balancer
function M.balancer(options)
  local config = read("balancer", options)
  for i, endpoint in ipairs(config.endpoints) do
    config.endpoints[i] = { weight = endpoint.weight or 1, priority = endpoint.priority or 1 }
  end
  if #config.endpoints == 0 then
    error("balancer.endpoints: is empty", 2)
  end
  return native.balancer(config)
end

---@class surefoot.policy.Hedge
---@field answered fun(self, seconds: number)  an attempt answered (first token) so long after its own start
---@field censored fun(self, seconds: number)  one was given up unanswered by then: a loser, a timeout (not: a failure)
---@field delay fun(self): number?             seconds from an attempt's start; nil: fewer than 50 answers
---@field began fun(self)                      a first attempt: earns `budget` hedges, up to `burst`
---@field withdraw fun(self): boolean          takes one hedge; false: none left
---@field refund fun(self)                     gives one back that was not sent
---@field balance fun(self): number            hedges left

--- When to ask a second time without waiting for the first answer, and how often that is allowed.
---@param options? surefoot.policy.Options quantile, budget, burst, min_delay: as in `hedge` of the configuration
---@return surefoot.policy.Hedge
function M.hedge(options)
  local config = read("hedge", options)
  return native.hedge(config)
end

---@class surefoot.policy.Histogram
---@field record fun(self, seconds: number)
---@field quantile fun(self, q: number): number
---@field mean fun(self): number
---@field max fun(self): number
---@field count fun(self): integer

--- Durations from 1 us to 1 h: quantiles off by at most 1 %, constant memory.
---@param options? surefoot.policy.Options none of its own
---@return surefoot.policy.Histogram
function M.histogram(options)
  read("histogram", options)
  return native.histogram()
end

check.define("answer_body", function(_, value, path)
  if type(value) ~= "string" and type(value) ~= "table" then
    check.fail(path, "expected a string or a table, got %s", check.show(value))
  end
  return value
end)

local hint_fields = {
  { name = "now", type = "number", min = 0, doc = "unix seconds, for dates without a Date header" },
  { name = "cap", type = "seconds", min = 0, none = true, default = schema.hint_cap,
    doc = "a longer wait is too long" },
  { name = "body", type = "answer_body", doc = "of the answer" },
}
local BODY = { type = "answer_body" }
local STATUS = { type = "integer", min = 100, max = 999 }

--- When a server wants to be asked again: its headers, else what the body says.
---@param headers table<string, string | string[]> | nil names in any case
---@param options? { now: number?, cap: number?, body: string | table | nil }
---@return number? seconds
---@return "too_long"? problem the wait is above the cap
function M.retry_after(headers, options)
  local config = read("retry_after", options, hint_fields)
  local body, find = config.body, checked(lookup, headers, "retry_after.headers")
  local seconds = classify.header_hint(find, config.now) or body and classify.body_hint(body)
  if seconds and seconds > config.cap then
    return nil, "too_long"
  end
  return seconds or nil
end

local again = { transient = true, throttled = true, overloaded = true }

--- Whether the same request may be asked again, and what kind of failure the answer is ("ok" for none).
---@param status integer
---@param headers? table<string, string | string[]>
---@param body? string | table
---@return boolean
---@return surefoot.Kind
function M.retryable(status, headers, body)
  checked(check.check, STATUS, status, "retryable.status")
  local find = checked(lookup, headers, "retryable.headers")
  local document = body ~= nil and checked(check.check, BODY, body, "retryable.body") or nil
  if type(body) == "string" and body:find "^%s*[{%[]" then
    local found, json = pcall(require, "surefoot.json")
    document = found and json.decode(body) or body
  end
  local class, kind = classify.classify(status, find, document)
  return again[class] or false, kind
end

--- Guards a function: deadline, then retries within a budget, then breaker, concurrency and rate.
---@param f fun(...): ... `nil, err` is a failure of err.kind (else "server"); a throw counts, and is thrown on
---@param options? table retry, breaker, rate, concurrency, deadline, clock, random
---@return fun(...): ...
function M.wrap(f, options)
  local guarded = require("surefoot.policy.wrap")(f, options, M)
  return guarded
end

return M
