--- A function under guard. Order, outside in: deadline, retry and its budget, breaker, concurrency, rate.
--
-- A local refusal (breaker open, no slot, no cells) is no attempt: it costs nothing, teaches nothing, and holds nothing
-- while it waits for the rate. Retries are paid before the wait. A server's own wait is never cut short: over 120 s, or
-- over the deadline, the failure is returned at once.

local check = require "surefoot.config.check"
local core = require "surefoot.binding"
local errors = require "surefoot.errors"
local guarded = require("surefoot.guard").call
local schema = require "surefoot.config.schema"

local LONGEST_WAIT = 120

local unpack = table.unpack or unpack
local huge = math.huge

local throttled = { rate_limited = true, overloaded = true }
local dropped = { rate_limited = true, overloaded = true, timeout = true }

local retry_fields, budget_field = {}, nil
for _, top in ipairs(schema.top) do
  for _, field in ipairs(top.name == "retry" and top.fields or {}) do
    if field.name == "budget" then
      budget_field = field
    elseif field.name ~= "on_status" then
      retry_fields[#retry_fields + 1] = field
    end
  end
end

-- A part of the guard is a policy object: something with this method.
check.define("policy", function(spec, value, path)
  local ok, method = pcall(function()
    return value[spec.method]
  end)
  if not ok or type(method) ~= "function" then
    check.fail(path, "expected a %s, got %s", spec.what, check.show(value))
  end
  return value
end)

local fields = {
  { name = "retry", type = "table", on = true, off = true,
    doc = "as `retry` of the configuration; absent: one attempt" },
  { name = "breaker", type = "policy", method = "allow", what = "policy.circuit_breaker",
    doc = "asked before each attempt" },
  { name = "concurrency", type = "policy", method = "acquire", what = "policy.concurrency_limiter",
    doc = "no slot: queue_full" },
  { name = "rate", type = "policy", method = "try", what = "policy.rate_limiter",
    doc = "waited for, within the deadline" },
  { name = "deadline", type = "seconds", above = 0, none = true, default = huge, doc = "seconds for the whole call" },
  { name = "clock", type = "function", default = core.now, doc = "returns seconds" },
  { name = "random", type = "function", default = core.random, doc = "returns a number in [0, 1)" },
}

local budget_policy = { type = "policy", method = "withdraw", what = "policy.retry_budget" }

local function sleep(seconds)
  require("surefoot").sleep(seconds)
end

-- Sleeps unless that would miss the deadline.
local function pause(guard, seconds, ends_at)
  if seconds == huge or guard.clock() + seconds >= ends_at then
    return false
  end
  sleep(seconds)
  return true
end

local function refused(kind, message, retry_after)
  return errors.new { kind = kind, message = message, retry_after = retry_after, sent = false }
end

-- Permit and slot for one attempt, or nil and the refusal. All or none.
local function admit(guard, ends_at)
  while true do
    local permit, slot, retry_in
    if guard.breaker then
      permit, retry_in = guard.breaker:allow()
      if not permit then
        return nil, refused("circuit_open", "the circuit breaker is open", retry_in)
      end
    end
    if guard.concurrency then
      slot = guard.concurrency:acquire()
      if not slot then
        if permit then permit:cancel() end
        return nil, refused("queue_full", "all slots are taken")
      end
    end
    local go, wait = true, nil
    if guard.rate then
      go, wait = guard.rate:try(1)
    end
    if go then
      return { permit = permit, slot = slot }
    end
    if slot then slot:release "ignored" end
    if permit then permit:cancel() end
    if not pause(guard, wait, ends_at) then
      return nil, refused("deadline", "the rate limit would make it wait past the deadline", wait)
    end
  end
end

local function report(admission, kind)
  local permit, slot = admission.permit, admission.slot
  if permit and kind then
    permit:failure(kind)
  elseif permit then
    permit:success()
  end
  if slot then
    slot:release(not kind and "ok" or dropped[kind] and "dropped" or "ignored")
  end
end

local function is_retryable(err, kind)
  if type(err) == "table" and err.retryable ~= nil then
    return err.retryable
  end
  return errors.kinds[kind] ~= nil and errors.kinds[kind].retryable
end

-- Seconds before retry n, or nil when there shall be none. A server's wait comes first, our own jitter on top of it.
local function wait_before(guard, err, kind, n)
  local told = type(err) == "table" and tonumber(err.retry_after) or 0
  if n >= guard.max_attempts or not is_retryable(err, kind) or told > LONGEST_WAIT then
    return nil
  end
  local backoff = throttled[kind] and guard.throttled_backoff or guard.backoff
  return told + backoff:delay(n)
end

-- Pays for a retry and waits. The cost, or nil when the failure stands.
local function prepare_retry(guard, err, kind, n, ends_at)
  local wait = wait_before(guard, err, kind, n)
  if not wait or guard.clock() + wait >= ends_at then
    return nil
  end
  local cost = 0
  if guard.budget then
    cost = guard.budget:withdraw(throttled[kind] and "throttled" or "transient")
  end
  return cost and pause(guard, wait, ends_at) and cost or nil
end

local function settle(guard, cost)
  if guard.budget then
    guard.budget:success(cost or false)
  end
end

local function pack(...)
  return select("#", ...), { ... }
end

-- A refusal of a retry: the function has run, and may have done its work.
local function after_failure(refusal, failure)
  local words = type(failure) == "string" and failure or errors.is(failure) and failure.message
  refusal.sent, refusal.cause = true, failure
  if words then
    refusal.message = refusal.message .. "; before that: " .. words
  end
  return refusal
end

local function call(guard, f, count, arguments)
  local ends_at = guard.clock() + guard.deadline
  local attempt, cost, failure = 0, nil, nil
  while true do
    local admission, refusal = admit(guard, ends_at)
    if not admission then
      return 2, { nil, attempt > 0 and after_failure(refusal, failure) or refusal }
    end
    attempt = attempt + 1
    local result_count, results = pack(guarded(f, unpack(arguments, 1, count)))
    if not results[1] then
      report(admission, "server")
      error(results[2], 0)
    end
    local err = results[2] == nil and results[3]
    if err == nil or err == false then
      report(admission)
      settle(guard, cost)
      return result_count - 1, { unpack(results, 2, result_count) }
    end
    local kind = type(err) == "table" and type(err.kind) == "string" and err.kind or "server"
    report(admission, kind)
    failure, cost = err, prepare_retry(guard, err, kind, attempt, ends_at)
    if not cost then
      return result_count - 1, { unpack(results, 2, result_count) }
    end
  end
end

-- The retry table: checked here, the budget may be a table or a policy of its own, shared by several guards.
local function add_retry(guard, given, policy)
  if not given then
    guard.max_attempts = 1
    return
  end
  local budget, rest = nil, {}
  for key, value in pairs(given == true and {} or given) do
    if key == "budget" then
      budget = value
    else
      rest[key] = value
    end
  end
  local retry = check.fill_fields(retry_fields, check.fields(retry_fields, rest, "wrap.retry"))
  if type(budget) == "userdata" then
    guard.budget = check.check(budget_policy, budget, "wrap.retry.budget")
  elseif budget ~= false then
    budget = check.check(budget_field, budget == nil and true or budget, "wrap.retry.budget")
    local config = budget == true and {} or budget
    config.clock, config.random = guard.clock, guard.random
    guard.budget = policy.retry_budget(config)
  end
  local function backoff(base_delay)
    return policy.backoff {
      strategy = retry.strategy, base_delay = base_delay, max_delay = retry.max_delay, jitter = retry.jitter,
      clock = guard.clock, random = guard.random,
    }
  end
  guard.max_attempts = retry.max_attempts
  guard.backoff, guard.throttled_backoff = backoff(retry.base_delay), backoff(retry.throttled_base_delay)
end

local function make_guard(f, options, policy)
  if type(f) ~= "function" and not (type(f) == "table" and (getmetatable(f) or {}).__call) then
    check.fail("wrap", "expected a function, got %s", check.show(f))
  elseif options ~= nil and type(options) ~= "table" then
    check.fail("wrap", "expected a table of options, got %s", check.show(options))
  end
  local guard = check.fill_fields(fields, check.fields(fields, options or {}, "wrap"))
  add_retry(guard, guard.retry, policy)
  return guard
end

return function(f, options, policy)
  local ok, guard = pcall(make_guard, f, options, policy)
  if not ok then
    error(guard, 3)
  end
  return function(...)
    local count, results = call(guard, f, pack(...))
    return unpack(results, 1, count)
  end
end
