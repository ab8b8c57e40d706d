-- What the policies' functions and methods are called with is checked: each argument by its name, at the caller's line.

local policy = require "surefoot.policy"

local nan, huge = 0 / 0, math.huge

local function refused(message, f, ...)
  local ok, problem = pcall(function(...)
    local _ = f(...)
  end, ...)
  assert.is_false(ok, message)
  assert.is_truthy(problem:find(message, 1, true), problem)
  assert.matches("arguments_spec.lua:%d+: ", problem)
end

local function limiter() return policy.rate_limiter { rate = 5 } end
local function balancer() return policy.balancer { endpoints = { {}, {} } } end
local function permit() return (policy.circuit_breaker():allow()) end

local METHODS = {
  { policy.backoff, "delay", {}, "n: a finite number, 1 or more, expected, got nothing" },
  { policy.backoff, "delay", { 0.5 }, "n: a finite number, 1 or more, expected, got 0.5" },
  { policy.backoff, "delay", { nan }, "n: a finite number, 1 or more, expected, got NaN" },
  { limiter, "try", { "1" }, 'cost: a finite number, 0 or more, expected, got "1"' },
  { limiter, "reserve", { -1 }, "cost: a finite number, 0 or more, expected, got -1" },
  { limiter, "reserve", { huge }, "cost: a finite number, 0 or more, expected, got inf" },
  { limiter, "settle", { true, 1 }, "reserved: a finite number, 0 or more, expected, got true" },
  { limiter, "settle", { 1, {} }, "actual: a finite number, 0 or more, expected, got a table" },
  { permit, "success", { -1 }, "first_token_seconds: a finite number, 0 or more, expected, got -1" },
  { permit, "failure", { 500 }, "kind: a string expected, got 500" },
  { policy.retry_budget, "withdraw", { "often" },
    'what: one of "transient" "throttled" expected, got "often"' },
  { policy.retry_budget, "success", { {} }, "cost: a number, true or false expected, got a table" },
  { policy.retry_budget, "success", { -1 }, "cost: a finite number, 0 or more, expected, got -1" },
  { policy.adaptive_rate, "throttled", { "5" }, 'retry_after: a finite number, 0 or more, expected, got "5"' },
  { policy.adaptive_rate, "headers", {}, "headers: expected a table of names and values, got nothing" },
  { policy.adaptive_rate, "headers", { { "a: b" } }, "headers[1]: expected the name of a header as the key" },
  { policy.adaptive_rate, "headers", { { a = true } },
    "headers.a: expected a string, a number, or a list of those, got true" },
  { balancer, "pick", { 1 }, "excluded: a table { [line] = true } expected, got 1" },
  { balancer, "pick", { { 2 } }, "excluded: { [line] = true }, no list, expected" },
  { balancer, "started", { 3 }, "i: a line from 1 to 2 expected, got 3" },
  { balancer, "started", { 1.5 }, "i: a line from 1 to 2 expected, got 1.5" },
  { balancer, "finished", { 1, "x" }, 'seconds: a finite number, 0 or more, expected, got "x"' },
  { balancer, "finished", { 1, 1, 0 }, "failed: true or false expected, got 0" },
  { policy.hedge, "answered", { nan }, "seconds: a finite number, 0 or more, expected, got NaN" },
  { policy.hedge, "censored", {}, "seconds: a finite number, 0 or more, expected, got nothing" },
  { policy.histogram, "record", { print }, "seconds: a finite number, 0 or more, expected, got a function" },
  { policy.histogram, "quantile", { 1.5 }, "q: a number from 0 to 1 expected, got 1.5" },
}

local FUNCTIONS = {
  { "retry_after", { 5 }, "retry_after.headers: expected a table of names and values, got 5" },
  { "retry_after", { { "Retry-After: 5" } }, "retry_after.headers[1]: expected the name of a header as the key" },
  { "retry_after", { { ["Retry-After"] = true } },
    'retry_after.headers["Retry-After"]: expected a string, a number, or a list of those, got true' },
  { "retry_after", { {}, 5 }, "retry_after: expected a table of options, got 5" },
  { "retry_after", { {}, false }, "retry_after: expected a table of options, got false" },
  { "retry_after", { {}, { boby = "" } }, 'retry_after.boby: unknown key; did you mean "body"?' },
  { "retry_after", { {}, { body = 5 } }, "retry_after.body: expected a string or a table, got 5" },
  { "retryable", {}, "retryable.status: expected a whole number from 100 to 999, got a nil" },
  { "retryable", { "500" }, 'retryable.status: expected a whole number from 100 to 999, got "500"' },
  { "retryable", { -1 }, "retryable.status: expected a whole number from 100 to 999, got -1" },
  { "retryable", { 500.5 }, "retryable.status: expected a whole number from 100 to 999, got 500.5" },
  { "retryable", { 500, "x" }, 'retryable.headers: expected a table of names and values, got "x"' },
  { "retryable", { 500, { a = { {} } } },
    "retryable.headers.a: expected a string, a number, or a list of those, got a table" },
  { "retryable", { 500, nil, 5 }, "retryable.body: expected a string or a table, got 5" },
}

local unpack = unpack or table.unpack

describe("an argument of the wrong kind is refused by its name:", function()
  for _, row in ipairs(METHODS) do
    local make, method, arguments, message = unpack(row, 1, 4)

    it(method .. ": " .. message, function()
      local object = make()
      if method == "finished" then
        object:started(1)
      end
      refused(message, function(...) return (object[method](object, ...)) end, unpack(arguments, 1, 3))
    end)
  end

  for _, row in ipairs(FUNCTIONS) do
    local name, arguments, message = unpack(row, 1, 3)

    it(message, function()
      refused(message, function(...) return (policy[name](...)) end, unpack(arguments, 1, 3))
    end)
  end
end)
