-- Who hears which outcome: every row of the matrix for whole answers, seen through a whole call. Each row is played
-- once for what the caller sees and once for each policy that listens, with nothing but that policy able to react.
local sim = require "spec.support.sim"

local HINT = { ["retry-after"] = "20" }
local json_error = function(code)
  return { error = { code = code, message = "no" } }
end

-- The limiter of slots hears the status and not the verdict on the body, since a slot is freed when the bytes end.
--
-- kind; attempts of three on one line (default 1); class of the wait between them; cost of asking another line; run,
-- ratio: does one such outcome count in the breaker's run and ratio; slots 2 become; ewma in seconds (nil: no sample)
local rows = {
  { "200, whole", { text = "ok" }, kind = "ok", slots = 3, ewma = 0.1 },
  { "400", { status = 400 }, kind = "invalid_request" },
  { "405", { status = 405 }, kind = "invalid_request" },
  { "410", { status = 410 }, kind = "invalid_request" },
  { "413", { status = 413 }, kind = "too_large" },
  { "422", { status = 422 }, kind = "invalid_request" },
  { "501", { status = 501 }, kind = "invalid_request" },
  { "content filter", { status = 400, body = json_error "content_filter" }, kind = "content_filter" },
  { "context length", { status = 400, body = json_error "context_length_exceeded" }, kind = "context_length" },
  { "404", { status = 404 }, kind = "not_found", cost = 14 },
  { "401", { status = 401 }, kind = "unauthorized", cost = 0 },
  { "402", { status = 402 }, kind = "quota", cost = 0 },
  { "403", { status = 403 }, kind = "forbidden", cost = 0 },
  { "429, account spent", { status = 429, body = json_error "insufficient_quota" }, kind = "quota", cost = 0,
    slots = 1 },
  { "408", { status = 408 }, kind = "server", attempts = 3, cost = 14, run = true, ratio = true, ewma = 5 },
  { "409", { status = 409 }, kind = "server", attempts = 3, cost = 14, run = true, ratio = true, ewma = 5 },
  { "429", { status = 429 }, kind = "rate_limited", attempts = 3, throttled = true, cost = 5, ratio = true, slots = 1,
    ewma = 5 },
  { "429, Retry-After", { status = 429, headers = HINT }, kind = "rate_limited", attempts = 3, throttled = true,
    cost = 5,
    hinted = true, ratio = true, slots = 1, ewma = 20 },
  { "503", { status = 503 }, kind = "overloaded", attempts = 3, throttled = true, cost = 14, run = true, ratio = true,
    slots = 1, ewma = 5 },
  { "503, Retry-After", { status = 503, headers = HINT }, kind = "overloaded", attempts = 3, throttled = true, cost = 5,
    hinted = true, run = true, ratio = true, slots = 1, ewma = 20 },
  { "529", { status = 529 }, kind = "overloaded", attempts = 3, throttled = true, cost = 14, run = true, ratio = true,
    slots = 1, ewma = 5 },
  { "reset before the answer", { fault = "reset" }, kind = "network", phase = "first_byte", attempts = 3, cost = 14,
    run = true, ratio = true,
    ewma = 5 },
  { "cut body", { fault = "cut", body = '{"choices":[' }, kind = "truncated", phase = "idle", attempts = 3, cost = 14,
    run = true, ratio = true, ewma = 5 },
  { "cut JSON in whole framing", { body = '{"choices":[{"message":{"conte' }, kind = "truncated", attempts = 3,
    cost = 14,
    run = true, ratio = true, slots = 3, ewma = 5 },
  { "a page instead of JSON", { body = "<html>Sorry</html>" }, kind = "malformed", attempts = 3, cost = 14, run = true,
    ratio = true, slots = 3, ewma = 5 },
  { "JSON of another kind", { body = "{}" }, kind = "malformed", attempts = 3, cost = 14, run = true, ratio = true,
    slots = 3, ewma = 5 },
  { "an empty body", { body = "" }, kind = "malformed", attempts = 3, cost = 14, run = true, ratio = true, slots = 3,
    ewma = 5 },
  { "a redirect", { status = 302 }, kind = "server", cost = 14, run = true, ratio = true, ewma = 5 },
  { "no first byte", { fault = "hang" }, kind = "timeout", phase = "attempt", attempts = 3, lasts = 8, cost = 14,
    run = true, ratio = true, slots = 1, ewma = 8 },
  { "no connection", { connect = 1000 }, kind = "timeout", phase = "connect", attempts = 3, lasts = 4, cost = 14,
    run = true, ratio = true, ewma = 5 },
  { "silence in the body", { events = { { at = 0.1, data = "{" }, { at = 90, data = "}" } } }, kind = "timeout",
    phase = "idle", attempts = 3, lasts = 6.1, cost = 14, run = true, ratio = true, slots = 1, ewma = 6.1 },
}
for _, status in ipairs { 500, 502, 504, 520, 521, 522, 523, 524, 599 } do
  rows[#rows + 1] = { tostring(status), { status = status }, kind = "server", attempts = 3, cost = 14, run = true,
    ratio = true, ewma = 5 }
end
for _, fail in ipairs { "resolve", "connect", "tls" } do
  rows[#rows + 1] = { fail .. " failed", { fail = fail }, kind = fail == "tls" and "tls" or "network",
    phase = "connect",
    attempts = 3, lasts = 0, cost = 14, run = true, ratio = true, ewma = 5 }
end

local timeout = { connect = 4, attempt = 8, idle = 6 }

local function script_of(row)
  local script = { after = 0.1 }
  for key, value in pairs(row[2]) do
    script[key] = value
  end
  return script
end

local function ask(row, config)
  config.timeout = config.timeout or timeout
  local lab = sim.lab({ a = script_of(row) }, config)
  local result, err = lab.client:chat "Hi"
  return lab, result, err
end

local function check_row(row)
  local attempts = row.attempts or 1

  it("the caller sees it", function()
    local lab, result, err = ask(row, { retry = { max_attempts = 3 }, breaker = false })
    local outcome = result or err
    assert.equal(row.kind, err and err.kind or "ok")
    assert.equal(attempts, #outcome.attempts)
    assert.equal(attempts, #lab.log)
    for _, attempt in ipairs(outcome.attempts) do
      assert.same({ "a", row.kind }, { attempt.endpoint, attempt.kind })
      assert.near(row.lasts or 0.1, attempt.latency, 1e-9)
    end
    if err then
      assert.equal(row.phase, err.phase)
      assert.equal(row[2].status, err.status ~= 200 and err.status or nil)
      assert.equal("a", err.endpoint)
    end
  end)

  if attempts == 3 then
    it("it is asked again after its backoff", function()
      local lab = ask(row, { retry = { max_attempts = 3 }, breaker = false })
      local base, lasts = row.throttled and 1 or 0.5, row.lasts or 0.1
      local hint = row.hinted and 20 or 0
      local second = lasts + hint + base
      assert.near(second, lab.log[2].at, 1e-6)
      assert.near(second + lasts + hint + 2 * base, lab.log[3].at, 1e-6)
    end)
  end

  it("another line costs what it should", function()
    local lab = sim.lab({ a = script_of(row), b = { status = 400 } }, { timeout = timeout, breaker = false })
    local _, err = lab.client:chat "Hi"
    if row.cost then
      assert.equal(("a 0, b %s"):format(sim.time(row.lasts or 0.1)), lab:sent())
      assert.equal("invalid_request", err.kind)
    else
      assert.equal("a 0", lab:sent())
    end
    assert.equal(500 - (row.cost or 0), lab:balance())
  end)

  it("the cost comes back when the other line answers", function()
    local lab = sim.lab({ a = script_of(row), b = { text = "ok" } }, { timeout = timeout, breaker = false })
    lab.client:chat "Hi"
    assert.equal(500, lab:balance())
  end)

  it("the breaker counts it", function()
    local by_run = ask(row, { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, min_calls = 1000 } })
    assert.equal(row.run and "open" or "closed", by_run:line("a").breaker)
    local by_ratio = ask(row, { retry = { max_attempts = 1 },
      breaker = { failure_threshold = 1000, min_calls = 1, failure_ratio = 1 } })
    assert.equal(row.ratio and "open" or "closed", by_ratio:line("a").breaker)
  end)

  it("the adaptive limit hears it", function()
    local lab = ask(row, { retry = { max_attempts = 1 }, breaker = false, concurrency = { limit = 2,
      adaptive = true } })
    assert.equal(row.slots or 2, lab.client:stats().limit)
  end)

  it("routing learns from it", function()
    local lab = ask(row, { retry = { max_attempts = 1 }, breaker = false })
    if row.ewma then
      assert.near(row.ewma, lab:line("a").ewma, 1e-3)
    else
      assert.is_nil(lab:line("a").ewma)
    end
  end)
end

describe("an outcome:", function()
  after_each(sim.settled)
  for _, row in ipairs(rows) do
    describe(row[1] .. ":", function()
      check_row(row)
    end)
  end
end)

describe("a half-open probe that ends with", function()
  after_each(sim.settled)

  local probes = {
    { "200", { text = "ok" }, "closed" }, { "500", { status = 500 }, "open" }, { "429", { status = 429 }, "open" },
    { "401", { status = 401 }, "half_open" }, { "400", { status = 400 }, "half_open" }, { "reset",
      { fault = "reset" }, "open" },
  }
  for _, probe in ipairs(probes) do
    it(("%s leaves the circuit %s"):format(probe[1], probe[3]), function()
      local lab = sim.lab({ a = { { status = 500 }, probe[2] } },
        { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, jitter = 0 } })
      lab.client:chat "Hi"
      assert.equal("open", lab:line("a").breaker)
      lab.client:chat "Hi"
      assert.equal("a 0, a 5", lab:sent())
      assert.equal(probe[3], lab:line("a").breaker)
    end)
  end
end)

describe("the caller's own end of an attempt", function()
  after_each(sim.settled)
  local settings = { breaker = { failure_threshold = 1, min_calls = 1, failure_ratio = 1 },
    concurrency = { limit = 2, adaptive = true } }

  it("a deadline is not the line's failure, but routing learns how long it was silent", function()
    local lab = sim.lab({ a = { fault = "hang" } }, settings)
    local _, err = lab.client:chat("Hi", { deadline = 3 })
    assert.same({ "deadline", 1, true }, { err.kind, #err.attempts, err.sent })
    assert.same({ "deadline", 3 }, { err.attempts[1].kind, err.attempts[1].latency })
    local line = lab:line "a"
    assert.near(3, line.ewma, 1e-3)
    assert.same({ "closed", 2, 500 }, { line.breaker, lab.client:stats().limit, lab:balance() })
  end)

  it("a cancelled call is reported to nobody but routing, and only if it was slow", function()
    local lab = sim.lab({ a = { { after = 2, text = "ok" }, { fault = "hang" } } }, settings)
    assert(lab.client:chat "Hi")
    local limit, ewma = lab.client:stats().limit, lab:line("a").ewma
    local quick = lab:start()
    lab:pass(0.001)
    quick.task:cancel()
    lab.sim:run()
    assert.equal("cancelled", quick.err.kind)
    assert.near(ewma, lab:line("a").ewma, 1e-2)
    local slow = lab:start()
    lab:pass(7)
    slow.task:cancel()
    lab.sim:run()
    assert.near(7, lab:line("a").ewma, 1e-3)
    assert.same({ "closed", limit, 500 }, { lab:line("a").breaker, lab.client:stats().limit, lab:balance() })
  end)

  it("gives a probe's permit back", function()
    local lab = sim.lab({ a = { { status = 500 }, { fault = "hang" }, { text = "ok" } } },
      { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, jitter = 0 } })
    lab.client:chat "Hi"
    local probe, waiting = lab:start(), lab:start()
    lab:pass(6)
    probe.task:cancel()
    lab.sim:run()
    assert.equal("a 0, a 5, a 6", lab:sent())
    assert.same({ 6, "ok" }, { waiting.at, waiting.result.text })
    assert.equal("closed", lab:line("a").breaker)
  end)
end)

describe("the retry budget", function()
  after_each(sim.settled)
  local bad, ok = { status = 500 }, { text = "ok" }

  it("V-RQ1 gives back the last cost only", function()
    local lab = sim.lab { a = { bad, bad, ok } }
    local seen = {}
    assert(lab.client:chat("Hi", { on_event = function(name)
      if name == "retried" then seen[#seen + 1] = lab:balance() end
    end }))
    assert.same({ 486, 472 }, seen)
    assert.equal(486, lab:balance())
  end)

  it("V-RQ2 takes five for a throttled retry, and gives it back", function()
    local lab = sim.lab { a = { { status = 429 }, ok } }
    local during
    assert(lab.client:chat("Hi", { on_event = function(name)
      if name == "retried" then during = lab:balance() end
    end }))
    assert.same({ 495, 500 }, { during, lab:balance() })
  end)

  it("V-RQ3 V-RQ4 grows by one with a clean answer, up to its capacity", function()
    local lab = sim.lab({ a = { { fault = "hang" }, { status = 400 }, ok } }, { timeout = { attempt = 1 } })
    lab.client:chat "Hi"
    assert.equal(486, lab:balance())
    for i = 1, 20 do
      assert(lab.client:chat "Hi")
      assert.equal(math.min(500, 486 + i), lab:balance())
    end
  end)

  it("V-RQ5 gets nothing back from a call that fails", function()
    local lab = sim.lab { a = { bad, bad, { status = 400 } } }
    lab.client:chat "Hi"
    assert.equal(472, lab:balance())
  end)

  it("V-RQ6 refuses what it cannot pay, without a charge", function()
    local lab = sim.lab({ a = bad }, { retry = { budget = { capacity = 14, floor_per_second = 0 } } })
    local _, err = lab.client:chat "Hi"
    assert.equal(2, #err.attempts)
    assert.equal(0, lab:balance())
    assert.matches("budget is spent", err.message)
    local _, again = lab.client:chat "Hi"
    assert.equal(1, #again.attempts)
    assert.equal(0, lab:balance())
  end)

  it("lets one retry a second through when it is empty", function()
    local lab = sim.lab({ a = bad }, { retry = { budget = { capacity = 1, floor_per_second = 1 }, base_delay = 0.25 },
      breaker = false })
    local _, err = lab.client:chat "Hi"
    assert.equal("a 0, a 0.25", lab:sent())
    assert.equal("server", err.kind)
  end)

  it("is charged before the wait", function()
    local lab = sim.lab { a = bad }
    local call = lab:start()
    lab:pass(0.1)
    assert.equal(486, lab:balance())
    call.task:cancel()
    lab.sim:run()
    assert.equal(486, lab:balance())
  end)

  it("V-DL3 is not touched with one attempt", function()
    local lab = sim.lab({ a = bad }, { retry = { max_attempts = 1 } })
    lab.client:chat "Hi"
    assert.same({ "a 0", 500 }, { lab:sent(), lab:balance() })
  end)

  it("bounds the retries of many calls on a dead line: 35 at once, then the floor", function()
    local lab = sim.lab({ a = bad }, { breaker = false, retry = { max_attempts = 3, base_delay = 0 } })
    for _ = 1, 200 do
      lab:start()
    end
    lab.sim:run()
    assert.equal(200 + 35 + 1, #lab.log)
  end)
end)
