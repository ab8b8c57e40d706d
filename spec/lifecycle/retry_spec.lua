-- When, where and how often a call is asked again.
local sim = require "spec.support.sim"

local bad, ok = { after = 0.1, status = 500 }, { after = 0.1, text = "ok" }

local function error_body(code, message)
  return { error = { code = code, message = message or "no" } }
end

-- What was sent, the kind, and the kinds of the trail.
local function ask(lines, config, options)
  local lab = sim.lab(lines, config)
  local result, err = lab.client:chat("Hi", options)
  return lab, result, err
end

describe("the order of attempts:", function()
  after_each(sim.settled)

  it("an untried line is asked at once, a round later after backoff, the line of the last failure last", function()
    local lab, _, err = ask({ a = bad, b = bad, c = bad }, { retry = { max_attempts = 8 }, breaker = false })
    assert.equal("a 0, b 0.1, c 0.2, a 0.8, b 0.9, c 1, a 2.1, b 2.2", lab:sent())
    assert.same({ "server", 500, 8 }, { err.kind, err.status, #err.attempts })
  end)

  it("delay(n) counts rounds: two lines", function()
    local lab = ask({ a = bad, b = bad }, { retry = { max_attempts = 7 }, breaker = false })
    assert.equal("a 0, b 0.1, a 0.7, b 0.8, a 1.9, b 2, a 4.1", lab:sent())
  end)

  for strategy, times in pairs {
    exponential = "a 0, a 0.6, a 1.7, a 3.8, a 7.9", linear = "a 0, a 0.6, a 1.7, a 3.3, a 5.4",
    fibonacci = "a 0, a 0.6, a 1.2, a 2.3, a 3.9",
  } do
    it("one line, " .. strategy, function()
      local lab = ask({ a = bad }, { retry = { strategy = strategy }, breaker = false })
      assert.equal(times, lab:sent())
    end)
  end

  it("max_delay caps the backoff", function()
    local lab = ask({ a = bad }, { retry = { max_delay = 1.5 }, breaker = false })
    assert.equal("a 0, a 0.6, a 1.7, a 3.3, a 4.9", lab:sent())
  end)

  it("jitter only shortens", function()
    local seen = {}
    for seed = 1, 40 do
      local lab = sim.lab({ a = bad }, { retry = { jitter = "full", max_attempts = 2 } }, seed)
      lab.client:chat "Hi"
      local wait = lab.log[2].at - 0.1
      assert.is_true(wait >= 0 and wait <= 0.5)
      seen[wait] = true
    end
    local different = 0
    for _ in pairs(seen) do
      different = different + 1
    end
    assert.is_true(different > 35)
  end)

  it("C9 one attempt is one attempt", function()
    local lab, _, err = ask({ a = bad, b = ok }, { retry = { max_attempts = 1 } })
    assert.same({ "a 0", "server", 500 }, { lab:sent(), err.kind, lab:balance() })
  end)

  it("a round prefers a line that did not fail last", function()
    local lab = ask({ a = bad, b = bad }, { retry = { max_attempts = 3 }, breaker = false, routing = "round_robin" })
    assert.equal("a", lab.log[3].line)
  end)

  it("a line that recovers in the next round answers", function()
    local lab, result = ask({ a = { bad, ok }, b = bad }, { breaker = false })
    assert.equal("a 0, b 0.1, a 0.7", lab:sent())
    assert.equal("a server, b server, a ok", sim.trail(result))
  end)

  it("lower tiers are asked when the higher ones failed, without backoff", function()
    local lab = ask({ a = ok, b = bad }, { endpoints = { { name = "a", priority = 2 }, { name = "b" } } })
    assert.equal("b 0, a 0.1", lab:sent())
  end)

  it("ONE timeout, then the other line", function()
    local lab, result = ask({ a = { fault = "hang" }, b = ok }, { timeout = { attempt = 3 } })
    assert.equal("a 0, b 3", lab:sent())
    assert.near(3.1, result.latency, 1e-9)
  end)
end)

describe("where a refusal leads:", function()
  after_each(sim.settled)
  local lines = function(script)
    return { a = { script }, b = ok }
  end

  it("401 402 403 and a spent account: to another line, free and at once", function()
    for _, script in ipairs {
      { status = 401 }, { status = 402 }, { status = 403 }, { status = 429, body = error_body "insufficient_quota" },
      { status = 400, body = error_body("invalid_api_key", "bad key") },
    } do
      local lab, result = ask(lines(script))
      assert.same({ "a 0, b 0", "b" }, { lab:sent(), result.endpoint })
      assert.equal(500, lab:balance())
    end
  end)

  it("401: to another key of the same line, each key once", function()
    local lab, _, err = ask({ a = { status = 401 } }, { api_key = { "first-key", "second-key", "third-key" } })
    assert.equal("a 0, a 0, a 0", lab:sent())
    local seen = {}
    for i, entry in ipairs(lab.log) do
      seen[i] = entry.request.headers.authorization
    end
    table.sort(seen)
    assert.same({ "Bearer first-key", "Bearer second-key", "Bearer third-key" }, seen)
    assert.same({ "unauthorized", 3, false }, { err.kind, #err.attempts, err.retryable })
    assert.same({ 500, "closed" }, { lab:balance(), lab:line("a").breaker })
  end)

  it("a refused key cools: later calls take the good one first", function()
    local lab = sim.lab({ a = function(_, request)
      return request.headers.authorization == "Bearer good-key" and ok or { status = 401 }
    end }, { api_key = { "bad-key", "good-key" } })
    for _ = 1, 5 do
      assert(lab.client:chat "Hi")
    end
    assert.equal(6, #lab.log)
  end)

  it("keys take turns", function()
    local lab = sim.lab({ a = ok }, { api_key = { "first-key", "second-key" } })
    local turns = {}
    for i = 1, 4 do
      assert(lab.client:chat "Hi")
      turns[i] = lab.log[i].request.headers.authorization:match "Bearer (%a+)"
    end
    assert.same({ "first", "second", "first", "second" }, turns)
  end)

  it("a throttled key gives way to the other one at once", function()
    local lab, result = ask({ a = function(_, request)
      return request.headers.authorization == "Bearer good-key" and ok or
        { status = 429, headers = { ["retry-after"] = "30" } }
    end }, { api_key = { "bad-key", "good-key" } })
    assert.is_table(result)
    assert.is_true(lab.log[2].at < 1.2)
  end)

  it("404: to another line, never the same one, and the breaker does not mind", function()
    local lab, result = ask(lines { status = 404 }, { breaker = { failure_threshold = 1 } })
    assert.same({ "a 0, b 0", "b", "closed" }, { lab:sent(), result.endpoint, lab:line("a").breaker })
    local alone, _, err = ask { a = { status = 404 } }
    assert.same({ "a 0", "not_found" }, { alone:sent(), err.kind })
  end)

  it("404 on every line: to the next model", function()
    local lab, result = ask({ a = function(_, request)
      return request.json.model == "other" and ok or { status = 404 }
    end }, { fallbacks = { "other" } })
    assert.same({ "a 0, a 0", "other" }, { lab:sent(), result.model })
    assert.equal(1, lab.client:stats().fallbacks)
  end)

  it("context length: to the next route only, past the other lines of this one, free", function()
    local lab, result = ask({ a = function(_, request)
      return request.json.model == "longer" and ok or { status = 400, body = error_body "context_length_exceeded" }
    end, b = ok }, { fallbacks = { "longer" } })
    assert.same({ "a 0, b 0", "simulated", "longer" },
      { lab:sent(), lab.log[1].request.json.model, lab.log[2].request.json.model })
    assert.same({ "longer", 500 }, { result.model, lab:balance() })
  end)

  it("context length without another route: the end", function()
    local lab, _, err = ask { a = { status = 400, body = error_body "context_length_exceeded" }, b = ok }
    assert.same({ "a 0", "context_length", false }, { lab:sent(), err.kind, err.retryable })
  end)

  it("content filter: nowhere", function()
    local lab, _, err = ask({ a = { status = 400, body = error_body "content_filter" }, b = ok },
      { fallbacks = { "other" } })
    assert.same({ "a 0", "content_filter" }, { lab:sent(), err.kind })
  end)

  it("an error inside a 200: as the error says", function()
    local lab, result = ask(lines { status = 200, body = error_body("rate_limit_exceeded", "slow down") })
    assert.same({ "a 0, b 0", "a rate_limited, b ok" }, { lab:sent(), sim.trail(result) })
  end)

  it("too large an answer: the end, and nobody's fault", function()
    local lab, _, err = ask({ a = { body = ("x"):rep(5000) }, b = ok },
      { limits = { response_bytes = 4096 }, breaker = { failure_threshold = 1 } })
    assert.same({ "a 0", "too_large", "closed", 500 }, { lab:sent(), err.kind, lab:line("a").breaker, lab:balance() })
  end)

  it("too large a header block: the end", function()
    local lab, _, err = ask({ a = { text = "ok", headers = { ["x-long"] = ("x"):rep(5000) } } },
      { limits = { header_bytes = 4096 } })
    assert.same({ "a 0", "too_large" }, { lab:sent(), err.kind })
  end)

  it("a line without that model is not asked for it", function()
    local lab, result = ask({ a = bad, b = ok }, { model = "big", fallbacks = { "small" }, breaker = false,
      endpoints = { { name = "a", models = { "big", "small" } }, { name = "b", models = { "small" } } } })
    assert.equal("b", result.endpoint)
    assert.equal("small", result.model)
    assert.equal("a 0, b 0.1", lab:sent())
  end)

  it("fallbacks of the call replace those of the client, with their changes", function()
    local lab, result = ask({ a = function(_, request)
      return request.json.model == "mine" and ok or bad
    end }, { fallbacks = { "theirs" }, breaker = false },
      { fallbacks = { { model = "mine", request = { temperature = 0.5 } } } })
    assert.same({ "mine", 0.5 }, { result.model, lab.log[2].request.json.temperature })
    assert.equal("a 0, a 0.1", lab:sent())
  end)

  it("a route whose circuits are open gives way to the next", function()
    local lab = sim.lab({ a = bad, b = ok }, { model = "big", fallbacks = { "small" }, retry = { max_attempts = 1 },
      breaker = { failure_threshold = 1 }, endpoints = { { name = "a", models = { "big" } }, { name = "b",
        models = { "small" } } } })
    lab.client:chat "Hi"
    local result = assert(lab.client:chat "Hi")
    assert.same({ "b", 0.1 }, { result.endpoint, result.latency })
  end)
end)

describe("the server's word on whether", function()
  after_each(sim.settled)
  local function sends(script, config)
    return #ask({ a = script }, config or { retry = { max_attempts = 3 } }).log
  end

  it("x-should-retry: false ends what would be tried again", function()
    for _, status in ipairs { 408, 409, 429, 500, 503, 529 } do
      assert.equal(1, sends { status = status, headers = { ["x-should-retry"] = "false" } })
    end
  end)

  it("x-should-retry: true tries again what would end", function()
    for _, status in ipairs { 400, 405, 410, 413, 422, 501 } do
      assert.equal(3, sends { status = status, headers = { ["x-should-retry"] = "true" } })
    end
  end)

  it("never opens a place that is closed", function()
    assert.equal(1, sends { status = 401, headers = { ["x-should-retry"] = "true" } })
    assert.equal(1, sends { status = 404, headers = { ["x-should-retry"] = "true" } })
  end)

  it("other values say nothing", function()
    assert.equal(3, sends { status = 500, headers = { ["x-should-retry"] = "no" } })
    assert.equal(1, sends { status = 400, headers = { ["x-should-retry"] = "1" } })
  end)

  it("stands above on_status", function()
    local config = { retry = { max_attempts = 3, on_status = { 500 } } }
    assert.equal(1, sends({ status = 500, headers = { ["x-should-retry"] = "false" } }, config))
    assert.equal(3, sends({ status = 400, headers = { ["x-should-retry"] = "true" } }, config))
  end)
end)

describe("on_status", function()
  after_each(sim.settled)
  local config = { retry = { max_attempts = 3, on_status = { 418, 500 } }, breaker = false }

  it("is the whole rule for statuses", function()
    for status, count in pairs { [418] = 3, [500] = 3, [503] = 1, [429] = 1, [404] = 1, [400] = 1 } do
      assert.equal(count, #ask({ a = { status = status } }, config).log, status)
    end
  end)

  it("says nothing of transport failures and damaged bodies", function()
    assert.equal(3, #ask({ a = { fail = "connect" } }, config).log)
    assert.equal(3, #ask({ a = { body = "<html>" } }, config).log)
  end)
end)

describe("Retry-After", function()
  after_each(sim.settled)
  local date = "Fri, 29 Sep 2023 16:26:37 GMT"

  -- header lines -> when the second attempt begins (base 0.5); nil: it never does
  local waits = {
    { "V-RA1", { ["retry-after"] = "20" }, 20 },
    { "V-RA2 zero is no wait", { ["retry-after"] = "0" }, 0 },
    { "V-RA3 a negative one is none", { ["retry-after"] = "-10" }, 0 },
    { "V-RA4", { ["retry-after"] = "120" }, 120 },
    { "V-RA5 beyond the cap", { ["retry-after"] = "121" }, nil },
    { "V-RA6 a date, against Date", { ["retry-after"] = "Fri, 29 Sep 2023 16:26:57 GMT", date = date }, 20 },
    { "V-RA6 RFC 850", { ["retry-after"] = "Friday, 29-Sep-23 16:26:57 GMT", date = date }, 20 },
    { "V-RA6 asctime", { ["retry-after"] = "Fri Sep 29 16:26:57 2023", date = date }, 20 },
    { "V-RA7 a date that has passed", { ["retry-after"] = "Fri, 29 Sep 2023 16:26:27 GMT", date = date }, 0 },
    { "V-RA10 with blanks", { ["retry-after"] = " 120 " }, 120 },
    { "V-RA11", { ["retry-after"] = "Fri, 29 Sep 2023 16:28:37 GMT", date = date }, 120 },
    { "V-RA12", { ["retry-after"] = "Fri, 29 Sep 2023 16:28:38 GMT", date = date }, nil },
    { "V-RA13", { ["retry-after"] = ("9"):rep(35) }, nil },
    { "V-RA14 inf", { ["retry-after"] = "inf" }, 0 },
    { "V-RA14 nan", { ["retry-after"] = "nan" }, 0 },
    { "V-RA17 empty", { ["retry-after"] = "" }, 0 },
    { "V-RA18 milliseconds first", { ["retry-after-ms"] = "1500", ["retry-after"] = "9" }, 1.5 },
    { "V-RA18 Azure's next", { ["x-ms-retry-after-ms"] = "2500", ["retry-after"] = "9" }, 2.5 },
    { "V-RA19 fractions", { ["retry-after"] = "1.5" }, 1.5 },
    { "V-RA20 +5", { ["retry-after"] = "+5" }, 0 },
    { "V-RA20 5s", { ["retry-after"] = "5s" }, 0 },
    { "V-RA23 two values: the larger", { ["retry-after"] = "3, 7" }, 7 },
  }
  for _, row in ipairs(waits) do
    it(row[1], function()
      local lab, _, err = ask({ a = { { status = 429, headers = row[2] }, { status = 400 } } })
      if row[3] then
        assert.equal(2, #lab.log)
        assert.near(row[3] + 1, lab.log[2].at, 1e-6)
      else
        assert.same({ 1, 0, "rate_limited" }, { #lab.log, lab.sim:now(), err.kind })
        assert.is_true(err.retry_after == nil or err.retry_after > 120)
        assert.equal(err.retry_after, err.retry_at)
        assert.matches("longer wait", err.message)
      end
    end)
  end

  it("in the body counts where no header speaks", function()
    local lab = ask { a = { { status = 429, body = error_body("rate_limit_exceeded", "Please try again in 7.5s.") },
      ok } }
    assert.equal("a 0, a 8.5", lab:sent())
    local both = ask { a = { { status = 429, headers = { ["retry-after"] = "3" },
      body = error_body("rate_limit_exceeded", "Please try again in 7.5s.") }, ok } }
    assert.equal("a 0, a 4", both:sent())
  end)

  it("sends the call elsewhere first, however long it is", function()
    local lab, result = ask { a = { status = 429, headers = { ["retry-after"] = "3600" } }, b = ok }
    assert.same({ "a 0, b 0", "b" }, { lab:sent(), result.endpoint })
  end)

  it("of one line does not hold the other one back in the next round", function()
    local lab = ask({ a = { status = 429, headers = { ["retry-after"] = "50" } }, b = { bad, ok } },
      { breaker = false })
    assert.equal("a 0, b 0, b 0.6", lab:sent())
  end)

  it("is kept by calls that come later", function()
    local lab = sim.lab { a = { { status = 429, headers = { ["retry-after"] = "20" } }, ok }, b = ok }
    assert(lab.client:chat "Hi")
    assert.equal("b", lab.client:chat("Hi").endpoint)
    lab:pass(20)
    assert.equal("a", lab.client:chat("Hi").endpoint)
  end)

  it("V-RA24 over the deadline: fails now, and says when to come back", function()
    local lab, _, err = ask({ a = { status = 429, headers = { ["retry-after"] = "30" } } }, nil, { deadline = 20 })
    assert.same({ "a 0", "rate_limited", 0 }, { lab:sent(), err.kind, lab.sim:now() })
    assert.near(30, err.retry_after, 1e-6)
    assert.near(30, err.retry_at, 1e-6)
    assert.is_true(err.retryable)
  end)

  it("V-RA26 spreads a herd over the backoff after it, nobody before it", function()
    local lab = sim.lab({ a = function(_, _, now)
      return now < 20 and { status = 429, headers = { ["retry-after"] = "20" } } or ok
    end }, { retry = { jitter = "full", budget = false }, breaker = false, concurrency = { limit = 1000 } })
    for _ = 1, 500 do
      lab:start()
    end
    lab.sim:run()
    local buckets = {}
    for i = 501, #lab.log do
      local after = lab.log[i].at - 20
      assert.is_true(after >= 0 and after <= 1)
      local bucket = math.min(9, math.floor(after * 10))
      buckets[bucket] = (buckets[bucket] or 0) + 1
    end
    for bucket = 0, 9 do
      assert.is_true(buckets[bucket] > 20 and buckets[bucket] < 85)
    end
  end)
end)

describe("a kept connection that died", function()
  after_each(sim.settled)
  local stale = { after = 0.1, fault = "reset", reused = true }

  it("is replaced at once, free of charge, within the same attempt", function()
    local lab, result = ask({ a = { stale, ok } }, { retry = { max_attempts = 1 },
      breaker = { failure_threshold = 1 } })
    assert.equal("a 0, a 0.1", lab:sent())
    assert.same({ 1, "ok", 500, "closed" }, { #result.attempts, result.text, lab:balance(), lab:line("a").breaker })
    assert.is_true(result.attempts[1].restarted)
    assert.equal(1, lab.client:stats().attempts)
  end)

  it("once: a second one is a failure like any other", function()
    local lab, _, err = ask({ a = stale }, { retry = { max_attempts = 1 } })
    assert.same({ 2, "network", 1 }, { #lab.log, err.kind, #err.attempts })
  end)

  it("is not replaced after a byte of the answer", function()
    local lab, _, err = ask({ a = { { body = "{", fault = "cut", reused = true }, ok } },
      { retry = { max_attempts = 1 } })
    assert.same({ 1, "truncated" }, { #lab.log, err.kind })
  end)

  it("a fresh one that dies is a failure", function()
    local lab, _, err = ask({ a = { { fault = "reset" }, ok } }, { retry = { max_attempts = 1 } })
    assert.same({ 1, "network" }, { #lab.log, err.kind })
  end)
end)
