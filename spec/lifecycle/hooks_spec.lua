-- What a caller is told and asked: validate, events, the trail, the numbers.
local sim = require "spec.support.sim"

local bad, ok = { after = 0.1, status = 500 }, { after = 0.1, text = "ok" }

local function listener(into)
  return function(name, data)
    local words = { name, sim.time(data.at) }
    if data.endpoint then words[#words + 1] = data.endpoint end
    if name == "retried" or name == "failed_over" or name == "settled" then words[#words + 1] = data.kind end
    into[#into + 1] = table.concat(words, " ")
  end
end

describe("validate", function()
  after_each(sim.settled)
  local function picky(word)
    return function(result)
      return result.text == word, "wanted " .. word
    end
  end

  it("sends the call on, another line first, at the price of a retry", function()
    local lab = sim.lab({ a = { after = 0.1, text = "no" }, b = { after = 0.1, text = "yes" } },
      { breaker = { failure_threshold = 1 } })
    local result = assert(lab.client:chat("Hi", { validate = picky "yes" }))
    assert.same({ "a 0, b 0.1", "yes", "a rejected, b ok" }, { lab:sent(), result.text, sim.trail(result) })
    assert.equal("closed", lab:line("a").breaker)
    assert.equal(500, lab:balance())
  end)

  it("costs 14 when nobody pleases it, and says so", function()
    local lab = sim.lab({ a = { after = 0.1, text = "no" } }, { retry = { max_attempts = 3 } })
    local _, err = lab.client:chat("Hi", { validate = picky "yes" })
    assert.same({ "rejected", "wanted yes", 3, 200, true },
      { err.kind, err.message, #err.attempts, err.status, err.retryable })
    assert.same({ 472, "a 0, a 0.6, a 1.7" }, { lab:balance(), lab:sent() })
    assert.same({ 1, 0 }, { lab.client:stats().errors.rejected, lab.client:stats().successes })
  end)

  it("sees the whole result, with what came before", function()
    local lab, seen = sim.lab({ a = bad, b = ok }), nil
    assert(lab.client:chat("Hi", { validate = function(result)
      seen = { result.text, result.endpoint, #result.attempts, result.attempts[1].kind, sim.time(result.latency) }
      return true
    end }))
    assert.same({ "ok", "b", 2, "server", "0.2" }, seen)
  end)

  it("is asked once for each answer", function()
    local lab, count = sim.lab { a = { { after = 0.1, text = "1" }, { status = 500 }, { text = "2" },
      { text = "3" } } }, 0
    assert(lab.client:chat("Hi", { validate = function(result)
      count = count + 1
      return result.text == "3"
    end }))
    assert.equal(3, count)
  end)

  it("that throws ends the call, once, and releases all", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 1 } })
    assert.error_matches(function()
      lab.client:chat("Hi", { validate = function() error "mine" end })
    end, "mine")
    assert.same({ 1, 0 }, { lab.client:stats().errors.cancelled, lab.client:stats().in_flight })
    assert(lab.client:chat "Hi")
  end)
end)

describe("events", function()
  after_each(sim.settled)

  it("of a plain call", function()
    local lab, seen = sim.lab { a = ok }, {}
    assert(lab.client:chat("Hi", { on_event = listener(seen) }))
    assert.same({ "attempt_started 0 a", "first_token 0.1 a", "settled 0.1 a ok" }, seen)
  end)

  it("of a call that waits, fails over and retries", function()
    local lab, seen = sim.lab({ a = { ok, bad, ok }, b = bad }, { concurrency = { limit = 1 } }), {}
    local first = lab:start()
    lab:start { on_event = listener(seen) }
    lab.sim:run()
    assert.equal("ok", first.result.text)
    assert.same({
      "queued 0", "attempt_started 0.1 a", "failed_over 0.2 b server", "attempt_started 0.2 b",
      "failed_over 0.8 a server", "attempt_started 0.8 a", "first_token 0.9 a", "settled 0.9 a ok",
    }, seen)
  end)

  it("of a retry on the same line", function()
    local lab, seen = sim.lab { a = { bad, ok } }, {}
    assert(lab.client:chat("Hi", { on_event = listener(seen) }))
    assert.same({ "attempt_started 0 a", "retried 0.6 a server", "attempt_started 0.6 a", "first_token 0.7 a",
      "settled 0.7 a ok" }, seen)
  end)

  it("of a call that is refused", function()
    local lab, seen = sim.lab({ a = ok }, { concurrency = { limit = 1, queue = 0 } }), {}
    lab:start()
    lab:start { on_event = listener(seen) }
    lab.sim:run()
    assert.same({ "settled 0 queue_full" }, seen)
  end)

  it("end with one settled, whatever happens", function()
    local kinds = {}
    for name, script in pairs { ok = ok, server = bad, hang = { fault = "hang" }, cut = { fault = "cut",
      body = "{" } } do
      local lab, count = sim.lab({ a = script }, { retry = { max_attempts = 2 }, timeout = { attempt = 2 } }), 0
      lab.client:chat("Hi", { on_event = function(event, data)
        if event == "settled" then
          count = count + 1
          kinds[name] = data.kind
        end
      end })
      assert.equal(1, count)
    end
    assert.same({ ok = "ok", server = "server", hang = "timeout", cut = "truncated" }, kinds)
  end)

  it("carry the request's id", function()
    local lab, ids = sim.lab { a = { bad, ok } }, {}
    local result = assert(lab.client:chat("Hi", { on_event = function(_, data) ids[data.request_id] = true end }))
    assert.same({ [lab.log[1].request.headers["x-request-id"]] = true }, ids)
    assert.equal(lab.log[1].request.headers["x-request-id"], lab.log[2].request.headers["x-request-id"])
    assert.equal(2, #result.attempts)
  end)

  it("cannot disturb with an error that has no words", function()
    local lab = sim.lab { a = ok }
    local wordless = setmetatable({}, { __tostring = function() error "no words" end })
    assert(lab.client:chat("Hi", { on_event = function() error(wordless) end }))
    assert.same({ 3, "on_event failed", 0 }, { lab.client:stats().event_errors, lab.client:stats().last_event_error,
      lab.client:stats().in_flight })
  end)

  it("cannot disturb: what an observer throws or yields is counted", function()
    local lab = sim.lab { a = ok }
    assert(lab.client:chat("Hi", { on_event = function() error "mine" end }))
    assert.equal(3, lab.client:stats().event_errors)
    assert.matches("mine", lab.client:stats().last_event_error)
    local call = lab:start { on_event = function() coroutine.yield() end }
    lab.sim:run()
    assert.is_table(call.result)
    assert.equal(6, lab.client:stats().event_errors)
  end)
end)

describe("the trail", function()
  after_each(sim.settled)

  it("tells every attempt", function()
    local lab = sim.lab({ a = { { after = 0.1, status = 503, body = { error = { message = "busy" } } }, ok },
      b = { fault = "hang" } }, { timeout = { attempt = 2 }, fallbacks = {}, api_key = { "first-key", "second-key" } })
    local result = assert(lab.client:chat "Hi")
    local trail = {}
    for i, attempt in ipairs(result.attempts) do
      trail[i] = { attempt.endpoint, attempt.status or 0, attempt.kind, attempt.phase or "", sim.time(attempt.waited),
        sim.time(attempt.latency), attempt.model, attempt.hedge, attempt.reused }
    end
    assert.same({
      { "a", 503, "overloaded", "", "0", "0.1", "simulated", false, false },
      { "b", 0, "timeout", "attempt", "0", "2", "simulated", false, false },
      { "a", 200, "ok", "", "0.5", "0.1", "simulated", false, false },
    }, trail)
    assert.equal("busy", result.attempts[1].message)
    assert.near(0.1, result.attempts[3].first_byte, 1e-9)
    assert.near(2.7, result.latency, 1e-9)
    assert.near(2.7, result.time_to_first_token, 1e-9)
  end)

  it("adds up: waits and attempts make the latency", function()
    for seed = 1, 20 do
      local lab = sim.lab({ a = { bad, bad, ok }, b = { bad, { fault = "reset" }, bad } },
        { retry = { jitter = "full" }, breaker = false, routing = "latency" }, seed)
      local result, err = lab.client:chat "Hi"
      local sum = 0
      for _, attempt in ipairs((result or err).attempts) do
        sum = sum + attempt.waited + attempt.latency
      end
      assert.near(lab.sim:now(), sum, 1e-6)
    end
  end)

  it("is never longer than max_attempts", function()
    for most = 1, 8 do
      local lab = sim.lab({ a = bad, b = { status = 401 }, c = { status = 404 } },
        { retry = { max_attempts = most }, breaker = false, fallbacks = { "x", "y" } })
      local _, err = lab.client:chat "Hi"
      assert.is_true(#err.attempts <= most)
      assert.equal(#err.attempts, #lab.log)
    end
  end)
end)

describe("the numbers", function()
  after_each(sim.settled)

  it("tell calls from attempts", function()
    local lab = sim.lab({ a = { bad, ok, { status = 400 }, ok }, b = { ok } }, { breaker = false })
    assert(lab.client:chat "Hi") -- a fails, b answers
    assert(lab.client:chat "Hi") -- a
    lab.client:chat "Hi" -- a refuses
    assert(lab.client:chat "Hi") -- a
    local stats = lab.client:stats()
    assert.same({ 4, 3, 0.75, 5, 1, 0, 0 }, { stats.requests, stats.successes, stats.success_rate, stats.attempts,
      stats.retries, stats.timeouts, stats.hedges })
    assert.same({ invalid_request = 1 }, stats.errors)
    local a, b = stats.endpoints.a, stats.endpoints.b
    assert.same({ 4, 2, 4, 0 }, { a.requests, a.successes, a.attempts, a.retries })
    assert.same({ server = 1, invalid_request = 1 }, a.errors)
    assert.same({ 1, 1, 1, 1 }, { b.requests, b.successes, b.attempts, b.retries })
  end)

  it("hold the latency of calls as callers felt it, waits included", function()
    local lab = sim.lab({ a = { bad, { after = 1, text = "ok" } } }, { breaker = false })
    assert(lab.client:chat "Hi")
    local stats = lab.client:stats()
    assert.near(1.6, stats.latency.max, 0.02)
    assert.near(1, stats.endpoints.a.latency.max, 0.01)
    assert.equal(1, stats.latency.count)
  end)

  it("count timeouts by line", function()
    local lab = sim.lab({ a = { fault = "hang" }, b = ok }, { timeout = { attempt = 2 } })
    assert(lab.client:chat "Hi")
    assert.same({ 1, 1, 0 }, { lab.client:stats().timeouts, lab:line("a").timeouts, lab:line("b").timeouts })
  end)

  it("are the same in every run of the same seed", function()
    local function run()
      local lab = sim.lab({ a = function(n) return n % 3 == 0 and bad or { after = 0.1 * (n % 5), text = "ok" } end,
        b = ok },
        { routing = "latency", retry = { jitter = "full" }, concurrency = { limit = 4 } }, 42)
      for _ = 1, 60 do
        lab:start()
      end
      lab.sim:run()
      return lab:sent()
    end
    assert.equal(run(), run())
  end)
end)
