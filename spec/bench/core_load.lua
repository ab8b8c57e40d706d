-- The load of raw_curl.c through surefoot's core, driven from Lua without JSON: every policy of a client is on
-- (retries, budget, deadline, breaker, concurrency limit, routing), the answer's bytes are handed over and accepted.
--
--   lua5.4 -l spec.helper spec/bench/core_load.lua URL BODY_FILE REQUESTS IN_FLIGHT [SUBMITTED_AT_ONCE]
--
-- With more submitted at once than may be in flight, the rest waits in surefoot's queue, which is kept that long.

local core = require "surefoot.binding"
local load = require "spec.bench.load"

local options = load.arguments()
local engine = core.engine()

local function new_client()
  return core.client {
    max_attempts = 5, strategy = "exponential", base_delay = 0.5, throttled_base_delay = 1, max_delay = 60,
    jitter = "full", hint_cap = 120,
    budget = { capacity = 500, transient_cost = 14, throttled_cost = 5, floor_per_second = 1 },
    concurrency = { limit = options.in_flight, queue = 1000000 },
    routing = { strategy = "latency", decay = 10, slow_start = 60, penalty = 5, explore = 0.02 },
    limits = { response_bytes = 64 * 2 ^ 20, header_bytes = 256 * 2 ^ 10 },
    endpoints = { {
      name = "bench", url = options.url, weight = 1, priority = 1,
      keys = { "authorization: Bearer sk-0123456789abcdef" }, headers = "user-agent: surefoot/0.1.0\n",
      timeout = { connect = 10, first_token = 60, idle = 30, attempt = 120 },
      breaker = {
        failure_threshold = 5, failure_ratio = 0.5, min_calls = 20, window = 30, slow_ratio = 0.5, recovery_timeout = 5,
        max_recovery_timeout = 60, half_open_requests = 1, lease = 120, jitter = 0.1,
      },
      http_version = "1.1", keepalive = { idle = 50, age = 600 },
    } },
  }
end

-- True when the call has settled.
local function look(call, counted)
  local question, attempt, _, _, status, _, body = call:next()
  if question == "response" then
    local good = status == 200 and #body > 1000
    call:answer(attempt, good and "accept" or nil, nil, nil, nil, good and 212 or nil)
    question, attempt = call:next()
  end
  if question ~= "settled" then
    return false
  elseif attempt then -- it is `ok` now
    counted.good = counted.good + 1
    call:free()
  else
    load.bad(counted, "a call failed: " .. tostring(select(3, call:next())) .. " " .. tostring(call:info().message))
  end
  return true
end

local function run(client, requests, at_once)
  local plan = client:plan { { route = 1, endpoint = 1, variant = 1, model = "sim-large" } }
  local calls = {}
  local function submit()
    local call = client:submit(engine, plan, {
      deadline = 300, variant = 1, method = "POST", path = "", variant_headers = "content-type: application/json\n",
      body = options.body,
    })
    calls[call:id()] = call
  end
  local counted, left, open = load.begin(), requests - at_once, at_once
  for _ = 1, at_once do
    submit()
  end
  while open > 0 do
    engine:wait(10)
    local id = engine:ready()
    while id do
      local call = calls[id]
      if call and look(call, counted) then
        calls[id], open = nil, open - 1
        if left > 0 then
          left, open = left - 1, open + 1
          submit()
        end
      end
      id = engine:ready()
    end
  end
  return counted
end

run(new_client(), 2 * options.in_flight, options.in_flight) -- warms connections up
local client = new_client()
local counted = run(client, options.requests, math.min(options.submitted, options.requests))
load.report(counted, client:stats().latency)
