-- Probes: which endpoints are asked, when, what follows from it, and that nobody else notices.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local MODELS = { data = { { id = "m" } } }

-- A line that answers calls and probes, as long as `is_well(now)`.
local function line(is_well, fault)
  return function(_, request, now)
    if is_well and not is_well(now) then
      return fault or { after = 0.1, status = 500 }
    elseif request.method == "GET" then
      return { after = 0.1, body = MODELS }
    end
    return { after = 0.1, text = "ok" }
  end
end

local function at_all_times()
  return true
end

local function until_second(t)
  return function(now) return now < t end
end

local function from_second(t)
  return function(now) return now >= t end
end

local function never()
  return false
end

local function lab_of(lines, config)
  config = config or {}
  config.health = config.health or true
  return sim.lab(lines, config)
end

-- What was sent since `from`: calls and probes apart, as "a 30.2, b 31".
local function sent(lab, method, from)
  local words = {}
  for _, entry in ipairs(lab.log) do
    if entry.request.method == method and entry.at >= (from or 0) then
      words[#words + 1] = ("%s %.1f"):format(entry.line, entry.at)
    end
  end
  return table.concat(words, ", ")
end

local function probes(lab, name)
  local times = {}
  for _, entry in ipairs(lab.log) do
    if entry.request.method == "GET" and entry.line == name then
      times[#times + 1] = entry.at
    end
  end
  return times
end

local function finish(lab)
  for _, client in ipairs(lab.clients) do
    client:close()
  end
  sim.settled()
end

-- A call of the user's every second, from the next one on.
local function call_every_second(lab, count)
  local outcomes = {}
  lab.sim:spawn(function()
    for i = 1, count do
      surefoot.sleep(1)
      outcomes[i] = lab:start()
    end
  end)
  return outcomes
end

describe("an idle endpoint", function()
  it("is probed after the interval, give or take a tenth, and again", function()
    local lab = lab_of({ a = line() })
    assert(lab.client:chat "Hi")
    lab:pass(200)
    local times = probes(lab, "a")
    assert.is_true(#times >= 5 and #times <= 7, #times .. " probes")
    local before, pauses = 0.1, {}
    for i, at in ipairs(times) do
      local pause = at - before
      -- Traffic is noticed when it is looked for, at the latest after breaker.recovery_timeout.
      assert.is_true(pause >= 27 and pause <= 33.1 + (i == 1 and 5 or 0), pause)
      before, pauses[i] = at, pause
    end
    table.sort(pauses)
    assert.is_true(pauses[#pauses - 1] - pauses[1] > 1, "they are spread")
    finish(lab)
  end)

  it("is asked for its models, with its key, in one small request", function()
    local lab = lab_of({ a = line() }, { api_key = "key-1" })
    assert(lab.client:chat "Hi")
    lab:pass(40)
    local request = lab.log[2].request
    assert.same({ "GET", "/v1/models", "Bearer key-1" }, { request.method, request.path,
      request.headers.authorization })
    assert.is_nil(request.body)
    assert.is_not_equal(lab.log[1].request.headers["x-request-id"], request.headers["x-request-id"])
    finish(lab)
  end)

  it("may be asked something else", function()
    local lab = lab_of({ a = function(_, request)
      return request.path == "/v1/health?deep=1" and { after = 0.1, body = "fine", headers = {
        ["content-type"] = "text/plain" } } or { after = 0.1, text = "ok" }
    end }, { health = { path = "/health?deep=1", interval = 10 } })
    assert(lab.client:chat "Hi")
    lab:pass(17)
    assert.equal("/v1/health?deep=1", lab.log[2].request.path)
    assert.same({ requests = 1, successes = 1, errors = {}, in_flight = 0 }, lab:line "a".probes)
    finish(lab)
  end)

  it("is one without traffic: the others are left alone", function()
    local lab = lab_of({ a = line(), b = line() })
    call_every_second(lab, 100)
    lab:pass(101)
    assert.same({}, probes(lab, "a"))
    assert.is_true(#probes(lab, "b") >= 3)
    finish(lab)
  end)

  it("is none while a long answer is on its way", function()
    local lab = lab_of({ a = { { after = 0.1, text = "ok" }, { after = 100, text = "ok" }, { after = 0.1,
      body = MODELS } } })
    assert(lab.client:chat "Hi")
    lab:start()
    lab:pass(100)
    assert.same({}, probes(lab, "a"))
    lab:pass(40)
    assert.equal(1, #probes(lab, "a"))
    finish(lab)
  end)

  it("is known to be dead before a call has to try it", function()
    local lab = lab_of({ a = line(until_second(60)), b = line(until_second(10)) })
    call_every_second(lab, 59)
    lab:pass(80)
    assert.equal("open", lab:line "b".breaker)
    assert.equal(0, lab:line "b".attempts)
    local times = probes(lab, "b")
    assert.is_true(times[1] > 27 and times[6] == nil or times[6] - times[5] > 4, #times .. " probes")
    for i = 2, 5 do -- sooner than after the interval, since the first one failed
      assert.is_true(times[i] - times[i - 1] < 6)
    end
    finish(lab)
  end)

  it("is asked once at a time, and for no longer than it may take", function()
    local lab = lab_of({ a = line(), b = { fault = "hang" } }, { health = { timeout = 4, interval = 20 } })
    assert(lab.client:chat "Hi")
    lab:pass(22)
    assert.equal(1, #probes(lab, "b"))
    assert.equal(1, lab:line "b".probes.in_flight)
    lab:pass(4)
    assert.same({ timeout = 1 }, lab:line "b".probes.errors)
    assert.equal("timeout: attempt after 4 s from b (attempt 1 of 1, request X)",
      (lab:line "b".probes.last_error:gsub("0000[%x-]+", "X")))
    assert.same({ {}, {} }, { lab:line "b".errors, lab.client:stats().errors })
    lab:pass(60)
    assert.equal("open", lab:line "b".breaker)
    finish(lab)
  end)

  it("is probed where circuit breakers are off, too", function()
    local lab = lab_of({ a = line(never) }, { breaker = false, retry = { max_attempts = 1 } })
    assert.is_nil((lab.client:chat "Hi"))
    lab:pass(100)
    assert.is_true(#probes(lab, "a") >= 2)
    assert.is_nil(lab:line "a".breaker)
    finish(lab)
  end)

  it("is asked by each client for itself, not at the same moment", function()
    local lab = lab_of({ a = line(), b = line() })
    lab:another { health = true }
    for _, client in ipairs(lab.clients) do
      assert(client:chat "Hi")
    end
    lab:pass(60)
    local seen = {}
    for _, name in ipairs { "a", "b" } do
      for _, at in ipairs(probes(lab, name)) do
        assert.is_nil(seen[at])
        seen[at] = true
      end
    end
    finish(lab)
  end)

  it("tells its latency", function()
    local lab = lab_of({ a = line(), b = { after = 2, body = MODELS } })
    assert(lab.client:chat "Hi")
    assert.is_nil(lab:line "b".ewma)
    lab:pass(36)
    assert.is_true(lab:line "b".ewma > 1)
    finish(lab)
  end)
end)

describe("an endpoint whose circuit is open", function()
  it("is probed as soon as it is half-open, and found again without a call", function()
    local lab = lab_of({ a = line(from_second(12)), b = line() }, { retry = { jitter = "none" } })
    local outcomes = call_every_second(lab, 60)
    lab:pass(61)
    local from
    for i, outcome in ipairs(outcomes) do
      assert.equal("ok", outcome.result.text)
      if i > 5 then -- the circuit is open: nobody is sent there until it is closed
        assert.equal(1, #outcome.result.attempts)
        from = from or outcome.result.endpoint == "a" and i
      end
    end
    assert.equal("closed", lab:line "a".breaker)
    local times = probes(lab, "a")
    assert.equal(2, #times) -- one in vain, one that found it
    assert.is_true(from - times[2] < 1.1, "the line is used again at once")
    finish(lab)
  end)

  it("is left to a call that was first", function()
    local lab = lab_of({ a = { { after = 0.1, status = 500 }, { after = 20, text = "ok" }, { after = 0.1,
      body = MODELS } } }, { breaker = { failure_threshold = 1, jitter = 0 }, retry = { max_attempts = 1 } })
    assert.is_nil((lab.client:chat "Hi"))
    local outcome = lab:start() -- it waits until the circuit is half-open
    lab:pass(15)
    assert.same({ "half_open", 1 }, { lab:line "a".breaker, lab:line "a".in_flight })
    lab:pass(15)
    assert.same({ "ok", "closed" }, { outcome.result.text, lab:line "a".breaker })
    assert.same({}, probes(lab, "a"))
    finish(lab)
  end)

  it("is probed as often as it takes", function()
    local lab = lab_of({ a = line(from_second(3)) }, { breaker = { half_open_requests = 3, failure_threshold = 1 },
      retry = { max_attempts = 1 } })
    assert.is_nil((lab.client:chat "Hi"))
    lab:pass(7)
    assert.equal(3, #probes(lab, "a"))
    assert.equal("closed", lab:line "a".breaker)
    finish(lab)
  end)

  for status, pause in pairs { [404] = 27, [401] = 27 } do
    it(("is not taken for well because of a %d, nor asked without a pause"):format(status), function()
      local lab = lab_of({ a = function(_, request)
        return { after = 0.1, status = request.method == "GET" and status or 500 }
      end }, { breaker = { failure_threshold = 1 }, retry = { max_attempts = 1 } })
      assert.is_nil((lab.client:chat "Hi"))
      lab:pass(100)
      assert.equal("half_open", lab:line "a".breaker)
      local times = probes(lab, "a")
      assert.is_true(#times >= 3 and #times <= 5, #times .. " probes")
      for i = 2, #times do
        assert.is_true(times[i] - times[i - 1] >= pause)
      end
      finish(lab)
    end)
  end
end)

describe("a probe", function()
  it("is in no number of the user's, and has its own", function()
    local lab = lab_of({ a = line(), b = line(until_second(40)), c = { fault = "hang" } })
    for _ = 1, 4 do
      assert(lab.client:chat "Hi")
    end
    local before = lab.client:stats()
    lab:pass(34)
    assert.equal(0, lab.client:stats().in_flight + lab:line "a".in_flight + lab:line "c".in_flight)
    lab:pass(100)
    local after = lab.client:stats()
    for _, name in ipairs { "requests", "successes", "errors", "success_rate", "attempts", "retries", "timeouts",
      "in_flight", "queue", "latency", "time_to_first_token", "tokens", "cost", "retry_budget" } do
      assert.same(before[name], after[name], name)
      for _, endpoint in ipairs { "a", "b", "c" } do
        assert.same(before.endpoints[endpoint][name], after.endpoints[endpoint][name], endpoint .. " " .. name)
      end
    end
    assert.is_true(after.endpoints.a.probes.successes >= 3)
    assert.is_true(after.endpoints.b.probes.errors.server >= 3)
    assert.matches("^server: HTTP 500 from b", after.endpoints.b.probes.last_error)
    assert.is_nil(after.endpoints.a.probes.last_error)
    for _, endpoint in ipairs { "a", "b", "c" } do
      local own, failed = after.endpoints[endpoint].probes, 0
      for _, count in pairs(own.errors) do
        failed = failed + count
      end
      assert.equal(own.requests, own.successes + failed + own.in_flight)
      assert.equal(#probes(lab, endpoint), own.requests)
    end
    assert.is_nil(sim.lab({ a = line() }).client:stats().endpoints.a.probes)
    finish(lab)
  end)

  it("is in none while it is on its way, either", function()
    local lab = lab_of({ a = { { after = 0.1, text = "ok" }, { after = 3, body = MODELS } } })
    assert(lab.client:chat "Hi")
    local before = lab.client:stats()
    repeat
      lab:pass(1)
    until #probes(lab, "a") == 1
    local after = lab.client:stats()
    assert.same({ 1, 1 }, { after.endpoints.a.probes.in_flight, after.endpoints.a.probes.requests })
    for _, name in ipairs { "requests", "attempts", "in_flight", "queue", "errors" } do
      assert.same(before[name], after[name], name)
      assert.same(before.endpoints.a[name], after.endpoints.a[name], name)
    end
    finish(lab)
  end)

  it("is one attempt at one line, whatever comes of it", function()
    local lab = lab_of({ a = line(until_second(10)), b = line() }, { retry = { max_attempts = 5, base_delay = 0.1 },
      health = { interval = 100 } })
    assert(lab.client:chat "Hi")
    repeat
      lab:pass(1)
    until #probes(lab, "a") > 0
    local of_b = #probes(lab, "b")
    lab:pass(3)
    assert.same({ 1, of_b }, { #probes(lab, "a"), #probes(lab, "b") })
    finish(lab)
  end)

  it("does not teach hedging what is usual", function()
    local chat, probe = { after = 1, text = "ok" }, { after = 0.01, body = MODELS }
    local function either(_, request)
      return request.method == "GET" and probe or chat
    end
    local lab = lab_of({ a = either, b = either }, { hedge = true, health = { interval = 1 }, breaker = false })
    for _ = 1, 60 do
      assert(lab.client:chat "Hi")
    end
    local before = lab.client:stats().attempts
    lab:pass(600)
    for _ = 1, 20 do
      assert(lab.client:chat "Hi")
    end
    assert.equal(before + 20, lab.client:stats().attempts)
    finish(lab)
  end)

  it("waits for rate no longer than twice its time, and then says nothing of the line", function()
    local lab = lab_of({ a = line() }, { rate = { requests_per_second = 0.02, burst = 1 }, health = { interval = 20,
      timeout = 4 } })
    assert(lab.client:chat "Hi")
    lab:pass(35)
    assert.same({ deadline = 1 }, lab:line "a".probes.errors)
    assert.same({ "closed", {}, 0 }, { lab:line "a".breaker, lab.client:stats().errors, lab.client:stats().queue })
    finish(lab)
  end)

  it("goes behind the calls of the user", function()
    local lab = lab_of({ a = { { after = 0.1, text = "ok" }, { after = 50, text = "ok" }, { after = 0.1,
      text = "ok" }, { after = 0.1, body = MODELS } }, b = line() }, { concurrency = { limit = 1 },
      health = { interval = 20, timeout = 60 }, timeout = { attempt = 60 } })
    assert(lab.client:chat "Hi")
    lab:start() -- all there is, for 50 seconds; the other line is due meanwhile
    lab:pass(40)
    assert.equal(1, lab:line "b".probes.in_flight)
    assert.equal(0, lab.client:stats().queue)
    local outcome = lab:start()
    lab:pass(20)
    assert.same({ "ok", 1 }, { outcome.result.text, #probes(lab, "b") })
    assert.is_true(outcome.at <= probes(lab, "b")[1])
    finish(lab)
  end)

  it("takes the key that a function gave last, and asks no function", function()
    local asked = 0
    local lab = lab_of({ a = line() }, { api_key = function()
      asked = asked + 1
      surefoot.sleep(0.1)
      return "key-" .. asked
    end })
    lab.sim:spawn(function() assert(lab.client:chat "Hi") end)
    lab.sim:run()
    lab:pass(80)
    assert.equal(1, asked)
    assert.is_true(#probes(lab, "a") >= 2)
    assert.equal("Bearer key-1", lab.log[#lab.log].request.headers.authorization)
    finish(lab)
  end)

  it("draws no random number of the user's, and comes at the same times in every run", function()
    local function times()
      local lab = lab_of({ a = line(), b = line() })
      assert(lab.client:chat "Hi")
      lab:pass(300)
      finish(lab)
      return sent(lab, "GET")
    end
    math.randomseed(7)
    local expected = math.random()
    math.randomseed(7)
    local first = times()
    assert.equal(expected, math.random())
    assert.equal(first, times())
  end)
end)

describe("probing", function()
  it("begins with the first call", function()
    local lab = lab_of({ a = line() })
    lab:pass(100)
    assert.same({ 0, 0 }, { #lab.log, lab.sim.engine:pending() })
    assert(lab.client:chat "Hi")
    lab:pass(40)
    assert.equal(1, #probes(lab, "a"))
    finish(lab)
  end)

  it("keeps no run from ending, and none from seeing that nothing can go on", function()
    local lab = lab_of({ a = line() })
    lab.sim:spawn(function() assert(lab.client:chat "Hi") end)
    lab.sim:run()
    assert.equal(0.1, lab.sim:now())
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = lab.sim:spawn(function() tasks[3 - i]:wait() end)
    end
    assert.error_matches(function() lab.sim:run() end, "every task waits for another task")
    lab:pass(40)
    assert.equal(1, #probes(lab, "a"))
    finish(lab)
  end)

  it("goes on while the main thread waits for something else", function()
    local lab = lab_of({ a = { { after = 0.1, text = "ok" }, { after = 100, text = "ok" } }, b = line() })
    assert(lab.client:chat "Hi")
    assert(lab.client:chat "Hi")
    assert.is_true(#probes(lab, "b") >= 2)
    finish(lab)
  end)

  it("ends with the client, probe and all, and is not waited for", function()
    local lab = lab_of({ a = line(), b = { fault = "hang" } }, { health = { timeout = 50 } })
    assert(lab.client:chat "Hi")
    lab:pass(40)
    assert.equal(1, lab:line "b".probes.in_flight)
    local at = lab.sim:now()
    lab.client:close { drain = 10 }
    assert.same({ at, 0, 0 }, { lab.sim:now(), lab.sim.engine:pending(), lab.sim.engine:in_flight() })
    assert.same({ { cancelled = 1 }, 0 }, { lab:line "b".probes.errors, lab.client:stats().requests - 1 })
    lab:pass(100)
    assert.equal(2, #probes(lab, "a") + #probes(lab, "b"))
    sim.settled()
  end)

  it("ends with a client that nobody has any more", function()
    local lab = lab_of({ a = line(), b = { fault = "hang" } }, { health = { timeout = 50 } })
    assert(lab.client:chat "Hi")
    lab:pass(40) -- one probe is out
    local weak = setmetatable({ [lab.client] = true }, { __mode = "k" })
    lab.client, lab.clients = nil, {}
    for _ = 1, 4 do
      collectgarbage()
    end
    assert.is_nil(next(weak))
    assert.equal(0, lab.sim.engine:in_flight())
    assert.is_nil(next(lab.sim.scheduler.background))
    local count = #lab.log
    lab:pass(300)
    assert.same({ count, 0 }, { #lab.log, lab.sim.engine:pending() })
  end)

  it("is configured by few words", function()
    local s = surefoot.simulate { endpoints = { a = line(at_all_times) } }
    local function refused(health, message)
      assert.error_matches(function() s:client { health = health } end, message, nil, true)
    end
    refused({ intervall = 5 }, 'health.intervall: unknown key; did you mean "interval"?')
    refused({ interval = 0 }, "health.interval: expected seconds above 0")
    refused({ timeout = math.huge }, "health.timeout: expected seconds above 0")
    refused({ path = "models" }, "health.path: expected a path that begins with /")
    refused("x", 'health: expected a table, or true (the defaults), or false, got "x"')
    assert.same({ interval = 30, timeout = 5 }, s:client({ health = true }).config.health)
    assert.is_nil(s:client({ health = false }).config.health)
  end)
end)
