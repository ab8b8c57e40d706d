-- Random clients on random lines: whatever happens, the invariants hold. SUREFOOT_SEEDS and SUREFOOT_FIRST_SEED choose
-- the runs; a failure names its seed. In every third run all times are halves of a second, so that events coincide; in
-- every fourth calls are hedged. The fastest interpreter plays most of them.
local errors = require "surefoot.errors"
local guard = require "surefoot.guard"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local CALLS, HEDGED_CALLS = 40, 120 -- of one run
local seeds = tonumber(os.getenv "SUREFOOT_SEEDS") or os.getenv "SUREFOOT_GC" and 10
  or rawget(_G, "jit") and 1700 or 260
local first_seed = tonumber(os.getenv "SUREFOOT_FIRST_SEED") or 1

-- The same numbers on every interpreter.
local function dice(seed)
  local state = seed * 7919 % 2147483647
  local function unit()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
  for _ = 1, 5 do
    unit()
  end
  local function between(a, b)
    return a + unit() * (b - a)
  end
  local function seconds(a, b)
    local time = between(a, b)
    return seed % 3 ~= 0 and time or math.max(a > 0 and 0.5 or 0, math.floor(time * 2 + 0.5) / 2)
  end
  return {
    seed = seed, unit = unit, between = between, seconds = seconds,
    chance = function(p) return unit() < p end,
    integer = function(a, b) return a + math.floor(unit() * (b - a + 1)) end,
    one_of = function(list) return list[1 + math.floor(unit() * #list)] end,
  }
end

local names = { "a", "b", "c", "d" }

local function random_breaker(d)
  return d.chance(0.8) and {
    failure_threshold = d.integer(1, 5), failure_ratio = d.between(0.2, 1), min_calls = d.integer(2, 20),
    recovery_timeout = d.seconds(0.1, 5), max_recovery_timeout = 8, half_open_requests = d.integer(1, 3), lease = 5000,
    slow_call = d.chance(0.2) and d.seconds(0.1, 2) or nil,
    jitter = d.seed % 3 == 0 and 0 or d.between(0, 0.5),
  } or false
end

local function random_endpoint(d, name)
  return {
    name = name, weight = d.integer(1, 4), priority = d.integer(1, 2), breaker = random_breaker(d),
    api_key = d.chance(0.3) and { name .. "-key-one", name .. "-key-two", name .. "-key-three" } or nil,
    concurrency = d.chance(0.3) and { limit = d.integer(1, 5), adaptive = d.chance(0.5), max = 6 } or nil,
    rate = d.chance(0.2) and { requests_per_second = d.between(0.5, 20), burst = d.integer(1, 5),
      tokens_per_minute = d.chance(0.5) and d.between(1000, 100000) or nil, adaptive = d.chance(0.5) } or nil,
    models = d.chance(0.2) and { "first", "second" } or nil,
  }
end

local function random_config(d)
  local endpoints, hedged = {}, d.seed % 4 == 0
  for i = 1, hedged and 4 or d.integer(1, 4) do
    endpoints[i] = random_endpoint(d, names[i])
  end
  return {
    hedge = hedged and { quantile = d.between(0.3, 0.95), budget = d.between(0.01, 1), burst = d.integer(1, 50),
      min_delay = d.seconds(0, 1), max = d.integer(1, 3) } or nil,
    model = "first", endpoints = endpoints, fallbacks = d.one_of { {}, { "second" }, { "second", "third" } },
    routing = d.one_of { "latency", "weighted", "round_robin", "priority" },
    retry = { max_attempts = d.integer(1, 7), base_delay = d.seconds(0, 1), throttled_base_delay = d.seconds(0, 1),
      jitter = d.seed % 3 == 0 and "none" or d.one_of { "full", "equal", "none" },
      strategy = d.one_of { "exponential", "linear", "fibonacci", "decorrelated" },
      budget = d.chance(0.9) and { capacity = d.integer(1, 200), floor_per_second = d.between(0, 2) } or false },
    concurrency = { limit = d.integer(hedged and 10 or 1, 20), queue = d.integer(0, 40), adaptive = d.chance(0.3),
      max = 20 },
    rate = not hedged and d.chance(0.3) and { requests_per_second = d.between(1, 50), burst = d.integer(1, 10),
      adaptive = d.chance(0.5) } or nil,
    timeout = { connect = d.seconds(0.5, 3), attempt = d.seconds(1, 8), idle = d.seconds(0.5, 3), total = 300 },
  }
end

local statuses = { 400, 401, 403, 404, 408, 409, 413, 422, 429, 429, 429, 500, 500, 502, 503, 503, 504, 529, 302, 501 }
local codes = { "context_length_exceeded", "content_filter", "insufficient_quota", "rate_limit_exceeded",
  "unsupported_country_region_territory" }

local function random_failure(d)
  local after = d.seconds(0, 2)
  local roll = d.integer(1, 10)
  if roll == 1 then
    return { fault = "hang" }
  elseif roll == 2 then
    return { fault = "reset", after = after }
  elseif roll == 3 then
    return { fault = "cut", after = after, body = '{"choices":[' }
  elseif roll == 4 then
    return { fail = d.one_of { "resolve", "connect", "tls" }, connect = d.seconds(0, 4) }
  elseif roll == 5 then
    return { after = after, body = d.one_of { "", "<html>", "{}", "null", "[1]" } }
  end
  local headers = {}
  if d.chance(0.2) then headers["retry-after"] = tostring(d.integer(0, 200)) end
  if d.chance(0.1) then headers["x-should-retry"] = d.one_of { "true", "false" } end
  return {
    after = after, status = d.one_of(statuses), headers = headers, connect = d.chance(0.2) and d.seconds(0, 2) or nil,
    body = d.chance(0.2) and { error = { code = d.one_of(codes), message = "no" } } or nil,
  }
end

-- Everything that one run needs to be judged by.
local function new_run(seed)
  local d = dice(seed)
  local run = { d = d, seed = seed, config = random_config(d), calls = {}, restarts = 0, probes = {}, hedges = 0 }
  run.trouble = d.between(0, run.config.hedge and 0.4 or 0.9)
  run.count = run.config.hedge and HEDGED_CALLS or CALLS
  return run
end

local function note_request(run, lab, name, request, now)
  local id = tonumber(request.body:match "question (%d+)!")
  local call = run.calls[id]
  assert.is_true(now < call.deadline_at, "sent after the deadline")
  assert.is_nil(call.outcome, "sent after the call had settled")
  call.requests = call.requests + 1
  local stats = lab.client:stats()
  local balance = stats.retry_budget
  if run.config.retry.budget then
    assert.is_true(balance >= 0 and balance <= run.config.retry.budget.capacity, "the budget's bounds")
  end
  local live = 0
  for _, line in pairs(stats.endpoints) do
    live = live + line.in_flight
  end
  assert.is_true(live <= 20 and (run.config.concurrency.adaptive or live <= run.config.concurrency.limit), "the limit")
  if stats.endpoints[name].breaker == "half_open" then
    run.probes[#run.probes + 1] = { call = call, line = name, at = now }
  end
  return id
end

local function script_for(run, name)
  return function(_, request, now)
    local d, id = run.d, note_request(run, run.lab, name, request, now)
    if d.chance(run.trouble) then
      return random_failure(d)
    elseif not run.config.rate and d.chance(0.05) then
      run.restarts = run.restarts + 1
      return { fault = "reset", reused = true, after = d.seconds(0, 0.2) }
    end
    return { after = d.seconds(0, 3), connect = d.chance(0.2) and d.seconds(0, 0.4) or nil, text = "answer " .. id }
  end
end

local function random_options(run, call)
  local d, switch = run.d, nil
  local options = {
    deadline = d.one_of { d.seconds(0.01, 2), d.seconds(1, 20), 300 },
    priority = d.one_of { "high", "normal", "low" },
  }
  if d.chance(0.2) then
    switch = surefoot.canceller()
    options.cancel = switch
  end
  if d.chance(0.2) then
    local pause, verdict = d.chance(0.5) and d.seconds(0, 3), d.chance(0.7)
    options.validate = function(result)
      call.paused = true
      if pause then run.lab.sim.scheduler:sleep(pause) end
      if d.chance(0.05) then error "mine" end
      return verdict or #result.attempts > 1
    end
  end
  if d.chance(0.2) then
    call.events = {}
    options.on_event = function(name)
      call.events[#call.events + 1] = name
      if switch and d.chance(0.1) then switch:cancel() end
    end
  end
  return options, switch
end

local function begin(run, id)
  local d, lab = run.d, run.lab
  local call = { id = id, requests = 0, settled = 0, deadline_at = math.huge }
  run.calls[id] = call
  local options, switch = random_options(run, call)
  local start, cancel_after = d.seconds(0, 20), d.seconds(0, 6)
  call.task = lab.sim:spawn(function()
    lab.sim.scheduler:sleep(start)
    call.began = lab.sim:now()
    call.deadline_at = call.began + options.deadline
    local ok, result, err = guard.call(lab.client.chat, lab.client, "question " .. id .. "!", options)
    call.settled, call.at = call.settled + 1, lab.sim:now()
    call.outcome = ok and (result or err) or { kind = "thrown", attempts = {} }
    call.result, call.threw = ok and result, not ok and result
  end)
  if switch then
    lab.sim:spawn(function()
      lab.sim.scheduler:sleep(start + cancel_after)
      switch:cancel()
    end)
  elseif d.chance(0.1) then
    lab.sim:spawn(function()
      lab.sim.scheduler:sleep(start + cancel_after)
      call.task:cancel()
    end)
  end
end

-- Hedges stay within their number; of all attempts one at most is the answer; who lost was cancelled.
local function check_hedges(run, call)
  local answers, hedges = 0, 0
  for _, attempt in ipairs(call.outcome.attempts) do
    answers = answers + (attempt.kind == "ok" and 1 or 0)
    hedges = hedges + (attempt.hedge and 1 or 0)
  end
  call.hedged, run.hedges = hedges > 0, run.hedges + hedges
  assert.is_true(hedges <= (run.config.hedge and run.config.hedge.max or 0), "hedges")
  assert.equal(call.result and 1 or 0, answers, "one answer")
end

local function check_call(run, call)
  local outcome = call.outcome
  assert.equal(1, call.settled, "settles once")
  assert.is_true(#outcome.attempts <= run.config.retry.max_attempts, "attempts")
  if call.threw then
    assert.matches("mine", call.threw)
  elseif call.result then
    assert.equal("answer " .. call.id, call.result.text)
  else
    assert(errors.kinds[outcome.kind], outcome.kind)
    assert.is_true(outcome.sent == true or outcome.sent == false)
  end
  if not call.paused then
    assert.is_true(call.at <= call.deadline_at + 1e-9, "settles by its deadline")
  end
  if not call.threw and #outcome.attempts == 0 then
    assert.equal(0, call.requests)
  end
  check_hedges(run, call)
  if call.events then
    local settled = 0
    for _, name in ipairs(call.events) do
      settled = settled + (name == "settled" and 1 or 0)
    end
    assert.equal(1, settled, "one event of settling")
    assert.equal("settled", call.events[#call.events])
  end
end

-- Nowhere more than burst + rate * time.
local function check_rate(run)
  local rate, log = run.config.rate, run.lab.log
  for i = 1, rate and #log or 0 do
    for j = i, #log do
      assert.is_true(j - i + 1 <= rate.burst + rate.requests_per_second * (log[j].at - log[i].at) + 1e-6, "the rate")
    end
  end
end

-- With one probe at a time, the attempts that began half-open do not overlap. Their ends are in the trails. An attempt
-- that begins anew on a fresh connection is still the same one. Hedges go to closed circuits only.
local function check_probes(run)
  local last, seen = {}, {}
  for _, probe in ipairs(run.probes) do
    local breaker
    for _, endpoint in ipairs(run.config.endpoints) do
      breaker = endpoint.name == probe.line and endpoint.breaker or breaker
    end
    local began, at, own = probe.call.began, nil, nil
    for _, attempt in ipairs(probe.call.outcome.attempts) do
      began = began + attempt.waited
      if attempt.endpoint == probe.line and math.abs(began - probe.at) < 1e-9 then
        at, own = began + attempt.latency, attempt
      end
      began = began + attempt.latency
    end
    if breaker.half_open_requests == 1 and at and not probe.call.hedged and not probe.call.paused and not seen[own] then
      assert.is_true(probe.at >= (last[probe.line] or 0) - 1e-9, "one probe at a time")
      last[probe.line], seen[own] = at, true
    end
  end
end

local function play(seed)
  local run = new_run(seed)
  local lines = {}
  for _, endpoint in ipairs(run.config.endpoints) do
    lines[endpoint.name] = script_for(run, endpoint.name)
  end
  run.lab = sim.lab(lines, run.config, seed)
  for id = 1, run.count do
    begin(run, id)
  end
  run.lab.sim:run()
  for id = 1, run.count do
    check_call(run, run.calls[id])
  end
  check_rate(run)
  check_probes(run)
  for _, endpoint in ipairs(run.config.endpoints) do
    local limit = endpoint.concurrency and (endpoint.concurrency.adaptive and 6 or endpoint.concurrency.limit)
    assert.is_true(not limit or run.lab:line(endpoint.name).peak_in_flight <= limit, "the line's limit")
  end
  sim.settled()
  return run
end

describe("random calls on random lines", function()
  local calls = 0
  for seed = first_seed, first_seed + seeds - 1 do
    calls = calls + (seed % 4 == 0 and HEDGED_CALLS or CALLS)
  end

  it(("keep every promise (%d calls)"):format(calls), function()
    local answered, failed, hedges = 0, {}, 0
    for seed = first_seed, first_seed + seeds - 1 do
      local ok, run = pcall(play, seed)
      if not ok then
        error(("seed %d: %s"):format(seed, type(run) == "table" and (run.message or tostring(run)) or tostring(run)), 0)
      end
      hedges = hedges + run.hedges
      for id = 1, run.count do
        local call = run.calls[id]
        if call.result then
          answered = answered + 1
        else
          failed[call.outcome.kind] = (failed[call.outcome.kind] or 0) + 1
        end
      end
    end
    -- The runs mean something only if all of life occurs in them.
    if seeds >= 200 then
      assert.is_true(answered > calls / 10)
      assert.is_true(hedges > seeds / 2, hedges)
      for _, kind in ipairs { "deadline", "cancelled", "timeout", "network", "server", "rate_limited", "overloaded",
        "queue_full", "circuit_open", "truncated", "malformed", "rejected", "unauthorized", "not_found", "quota",
        "content_filter", "thrown" } do
        assert.is_true((failed[kind] or 0) > 0, kind)
      end
    end
  end)
end)
