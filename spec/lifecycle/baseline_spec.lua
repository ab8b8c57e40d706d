-- What widely copied clients get wrong, shown right in whole calls: one test for each defect, named by its number in
-- the list of defects that such code was measured to have (C client, T limiter, B breaker, V order of guards,
-- A adaptive limiter, R failover, K key check, J parsing). What the policies alone can show is in
-- spec/policy/baseline_spec.lua; R4 (a connection per call) needs sockets and is shown on a real server.
local sim = require "spec.support.sim"

local bad, ok = { after = 0.05, status = 500 }, { after = 0.05, text = "ok" }
local cut_json = { after = 0.05, body = '{"choices":[{"message":{"content":"half an ans' }

local function collect(lab, count, options)
  local calls = {}
  for i = 1, count do
    calls[i] = lab:start(options)
  end
  lab.sim:run()
  return calls
end

local function count(calls, kind)
  local found = 0
  for _, call in ipairs(calls) do
    found = found + ((call.result and "ok" or call.err.kind) == kind and 1 or 0)
  end
  return found
end

describe("against naive clients:", function()
  after_each(sim.settled)

  it("C1 a refused key is counted like any other failure", function()
    local lab = sim.lab { a = { status = 401 } }
    lab.client:chat "Hi"
    local stats = lab.client:stats()
    assert.same({ 1, 0, 0, { unauthorized = 1 } }, { stats.requests, stats.successes, stats.success_rate,
      stats.errors })
  end)

  it("C2 requests are calls, attempts are attempts", function()
    local lab = sim.lab({ a = bad }, { breaker = false })
    lab.client:chat "Hi"
    local stats = lab.client:stats()
    assert.same({ 1, 5, 4, 0 }, { stats.requests, stats.attempts, stats.retries, stats.success_rate })
  end)

  it("C3 J1 cut JSON is no success: it is fetched again, not parsed again", function()
    local lab = sim.lab { a = { cut_json, ok } }
    local result = assert(lab.client:chat "Hi")
    assert.same({ "ok", "a truncated, a ok", 2 }, { result.text, sim.trail(result), #lab.log })
    local stats = lab.client:stats()
    assert.same({ 1, 1, 1, 1 }, { stats.requests, stats.successes, stats.success_rate,
      stats.endpoints.a.errors.truncated })
  end)

  it("C4 a page of HTML with status 200 is a failure, once", function()
    local lab = sim.lab({ a = { body = "<html><title>Maintenance</title></html>" } }, { breaker = false })
    local _, err = lab.client:chat "Hi"
    local stats = lab.client:stats()
    assert.same({ "malformed", 1, 0, { malformed = 1 } }, { err.kind, stats.requests, stats.successes, stats.errors })
    assert.same({ 5, 0, { malformed = 5 } },
      { stats.endpoints.a.attempts, stats.endpoints.a.successes, stats.endpoints.a.errors })
  end)

  it("C5 a stream asked of a plain call is refused before anything is paid for", function()
    local lab = sim.lab { a = ok }
    assert.error_matches(function() lab.client:chat { messages = {}, stream = true } end, "stream")
    assert.equal(0, #lab.log)
  end)

  it("C6 Retry-After is obeyed", function()
    local lab = sim.lab { a = { { status = 429, headers = { ["retry-after"] = "3" } }, ok } }
    assert(lab.client:chat "Hi")
    assert.is_true(lab.log[2].at >= 3)
  end)

  it("C7 the latency is what the caller waited: to the last byte, with every wait", function()
    local answer = { events = { { at = 0.01, data = '{"choices":[{"finish_reason":"stop",' },
      { at = 1, data = '"message":{"content":"x"}}]}' } }, headers = { ["content-type"] = "application/json" } }
    local lab = sim.lab { a = { bad, answer } }
    local result = assert(lab.client:chat "Hi")
    assert.near(1.55, result.latency, 1e-9)
    assert.near(0.56, result.time_to_first_token, 1e-9)
    assert.near(1.55, lab.client:stats().latency.mean, 0.02)
  end)

  it("C8 max_delay is a cap, and the first linear delay is base_delay", function()
    local lab = sim.lab({ a = bad }, { retry = { strategy = "linear", base_delay = 1, max_delay = 2 },
      breaker = false })
    lab.client:chat "Hi"
    assert.equal("a 0, a 1.05, a 3.1, a 5.15, a 7.2", lab:sent())
  end)

  it("C9 max_attempts says how many, and none is refused", function()
    for most = 1, 3 do
      local lab = sim.lab({ a = bad }, { retry = { max_attempts = most } })
      lab.client:chat "Hi"
      assert.equal(most, #lab.log)
    end
    assert.has_error(function() sim.lab({ a = bad }, { retry = { max_attempts = 0 } }) end)
  end)

  it("C10 a client works as soon as it is made, and until it is closed", function()
    local lab = sim.lab { a = ok }
    assert(lab.client:chat "Hi")
    assert(lab.client:chat "Hi")
  end)

  it("C11 529 and 520 to 524 are tried again; an empty account is not", function()
    for _, status in ipairs { 529, 520, 521, 522, 523, 524 } do
      local lab = sim.lab { a = { { status = status }, ok } }
      assert(lab.client:chat "Hi")
    end
    local lab = sim.lab { a = { status = 429, body = { error = { code = "insufficient_quota",
      message = "quota exhausted" } } } }
    local _, err = lab.client:chat "Hi"
    assert.same({ "quota", 1 }, { err.kind, #lab.log })
  end)

  it("C12 fifty clients that fail together come back apart", function()
    local lab = sim.lab({ a = function(_, _, now) return now < 0.1 and bad or ok end }, { retry = { jitter = "full" } })
    local clients = { lab.client }
    for i = 2, 50 do
      clients[i] = lab:another { retry = { jitter = "full" } }
    end
    for i = 1, 50 do
      lab:start(nil, nil, clients[i])
    end
    lab.sim:run()
    local first, last = math.huge, 0
    for i = 51, #lab.log do
      first, last = math.min(first, lab.log[i].at), math.max(last, lab.log[i].at)
    end
    assert.is_true(last - first > 0.35)
  end)

  it("C13 one id for all attempts of a call, another for the next call", function()
    local lab = sim.lab({ a = { bad, bad, ok, ok } }, { breaker = false })
    assert(lab.client:chat "Hi")
    assert(lab.client:chat "Hi")
    local ids, keys = {}, {}
    for i, entry in ipairs(lab.log) do
      ids[i], keys[i] = entry.request.headers["x-request-id"], entry.request.headers["idempotency-key"]
    end
    assert.same({ ids[1], ids[1], ids[1] }, { ids[2], ids[3], keys[3] })
    assert.not_equal(ids[1], ids[4])
  end)

  it("C14 a host that never accepts costs the connect timeout", function()
    local lab = sim.lab { a = { connect = 3600 }, b = ok }
    local result = assert(lab.client:chat "Hi")
    assert.same({ "a 0, b 10", "b" }, { lab:sent(), result.endpoint })
    assert.equal("connect", result.attempts[1].phase)
  end)

  it("C15 the size of an answer is bounded, while it arrives", function()
    local pieces = {}
    for i = 1, 100 do
      pieces[i] = { at = i, data = ("x"):rep(1000) }
    end
    local lab = sim.lab({ a = { events = pieces } }, { limits = { response_bytes = 10000 } })
    local _, err = lab.client:chat "Hi"
    assert.same({ "too_large", 11 }, { err.kind, lab.sim:now() })
  end)

  it("C16 one deadline over everything", function()
    local lab = sim.lab({ a = { fault = "hang" } }, { timeout = { attempt = 1, total = 3 } })
    local _, err = lab.client:chat "Hi"
    assert.is_true(lab.sim:now() <= 3)
    assert.is_true(err.kind == "timeout" or err.kind == "deadline")
  end)

  it("J2 a lost connection is asked again", function()
    local lab = sim.lab { a = { { fault = "reset" }, { fault = "cut", body = "{" }, ok } }
    assert.equal("a network, a truncated, a ok", sim.trail(assert(lab.client:chat "Hi")))
  end)
end)

describe("against naive guards:", function()
  after_each(sim.settled)

  it("T1 the rate under load is the nominal one", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 50, burst = 1 }, concurrency = { limit = 1000 } })
    collect(lab, 500)
    assert.near(499 / 50, lab.log[500].at, 1e-6)
  end)

  it("T2 a call that waits for tokens does not hold the deadline of another", function()
    local lab = sim.lab({ a = ok, b = ok }, { endpoints = {
      { name = "a", models = { "scarce" }, rate = { tokens_per_minute = 60, token_burst = 25 } },
      { name = "b", models = { "plain" } } } })
    local scarce = function(tokens)
      return lab:start({ estimate = tokens }, { model = "scarce", messages = {} })
    end
    scarce(25)
    scarce(25)
    local plain = lab:start({ deadline = 1 }, { model = "plain", messages = {} })
    lab.sim:run()
    assert.equal("ok", plain.result.text)
  end)

  it("B1 one failure in a hundred never opens a circuit", function()
    local lab = sim.lab({ a = function(n) return n % 100 == 0 and { status = 500 } or { text = "ok" } end },
      { retry = { max_attempts = 1 } })
    for i = 1, 1500 do
      lab.client:chat "Hi"
      assert.equal("closed", lab:line("a").breaker, i)
    end
  end)

  it("B2 of fifty calls at the end of the open time one is the probe", function()
    local lab = sim.lab({ a = { { status = 500 }, { after = 1, text = "probe" }, ok } },
      { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, jitter = 0 } })
    lab.client:chat "Hi"
    for _ = 1, 50 do
      lab:start()
    end
    lab:pass(5.5)
    assert.equal(2, #lab.log)
    lab.sim:run()
    assert.equal(51, #lab.log)
  end)

  it("B5 a bad key does not block the calls with a good one", function()
    local lab = sim.lab({ a = function(_, request)
      return request.headers.authorization == "Bearer good-key" and ok or { status = 401 }
    end }, { api_key = { "bad-key", "good-key" }, breaker = { failure_threshold = 2 } })
    assert.equal(20, count(collect(lab, 20), "ok"))
    assert.equal("closed", lab:line("a").breaker)
  end)

  it("V1 what is reported as done was done", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 30, burst = 30 } })
    local calls = collect(lab, 50)
    assert.same({ 50, 50 }, { #lab.log, count(calls, "ok") })
    for _, call in ipairs(calls) do
      assert.equal("ok", call.result.text)
    end
    assert.near(20 / 30, lab.log[50].at, 1e-6)
  end)

  it("V2 a batch outlives half a second without an upstream", function()
    local lab = sim.lab({ a = function(_, _, now) return now < 0.5 and { after = 0.01, status = 503 } or ok end },
      { retry = { jitter = "full" }, concurrency = { limit = 20 } })
    local requests = {}
    for i = 1, 200 do
      requests[i] = "question " .. i
    end
    local _, summary = lab.client:batch(requests)
    assert.equal(200, summary.succeeded)
  end)

  it("V3 what an open circuit refuses costs neither rate nor time", function()
    local lab = sim.lab({ a = { { status = 500 }, ok } }, { retry = { max_attempts = 1 },
      breaker = { failure_threshold = 1, jitter = 0 }, rate = { requests_per_second = 1, burst = 2 } })
    lab.client:chat "Hi"
    local calls = collect(lab, 40, { deadline = 0.5 })
    assert.equal(40, count(calls, "circuit_open"))
    assert.equal(0, lab.sim:now())
    lab:pass(5)
    local after = { lab:start(), lab:start() }
    lab:pass(0.15)
    assert.same({ "ok", "ok" }, { after[1].result.text, after[2].result.text })
  end)

  it("V4 cancelled calls are no successes", function()
    local lab = sim.lab { a = { fault = "hang" } }
    local calls = { lab:start(), lab:start(), lab:start() }
    lab:pass(1)
    for _, call in ipairs(calls) do
      call.task:cancel()
    end
    lab.sim:run()
    local stats = lab.client:stats()
    assert.same({ 3, 0, { cancelled = 3 } }, { stats.requests, stats.successes, stats.errors })
  end)

  it("A3 fifty eager tasks on a line of thirty a second arrive, without a storm of 429s", function()
    local window = {}
    local lab = sim.lab({ a = function(_, _, now)
      local kept = {}
      for _, at in ipairs(window) do
        if at > now - 1 then kept[#kept + 1] = at end
      end
      window = kept
      if #window >= 30 then
        return { after = 0.02, status = 429, headers = { ["retry-after"] = "1" } }
      end
      window[#window + 1] = now
      return ok
    end }, { rate = { requests_per_second = 100, burst = 1 }, retry = { jitter = "full", max_attempts = 10 } })
    local calls = collect(lab, 300)
    assert.equal(300, count(calls, "ok"))
    assert.is_true((#lab.log - 300) / #lab.log < 0.2)
    assert.is_true(lab.sim:now() < 25)
  end)

  it("A4 a 500 is returned as a failure, and no rate grows by it", function()
    local lab, changes = sim.lab({ a = bad }, { rate = { requests_per_second = 10 }, retry = { max_attempts = 2 } }), 0
    local _, err = lab.client:chat("Hi", { on_event = function(name)
      changes = changes + (name == "rate_changed" and 1 or 0)
    end })
    assert.same({ "server", 500, 0 }, { err.kind, err.status, changes })
  end)

  it("A5 a date in Retry-After is obeyed, and the cause is not lost", function()
    local lab = sim.lab({ a = { status = 429, headers = { date = "Fri, 29 Sep 2023 16:26:37 GMT",
      ["retry-after"] = "Fri, 29 Sep 2023 16:26:57 GMT" } } }, { retry = { max_attempts = 2 } })
    local _, err = lab.client:chat "Hi"
    assert.same({ "rate_limited", 429 }, { err.kind, err.status })
    assert.is_true(lab.log[2].at >= 20)
  end)
end)

describe("against naive failover:", function()
  after_each(sim.settled)

  it("R1 R2 refusals are no answers: another line is asked", function()
    for _, status in ipairs { 401, 429 } do
      local lab = sim.lab { a = { status = status }, b = ok }
      for _ = 1, 20 do
        assert.equal("ok", assert(lab.client:chat "Hi").text)
      end
    end
  end)

  it("R3 one 503 does not remove a line", function()
    local lab = sim.lab({ a = { { status = 503 }, ok }, b = ok, c = ok }, { routing = "round_robin" })
    for _ = 1, 300 do
      assert(lab.client:chat "Hi")
    end
    assert.is_true(lab:line("a").successes > 90)
  end)

  it("R3 a line that was down comes back by itself", function()
    local lab = sim.lab({ a = function(_, _, now) return now < 20 and { after = 0.05, status = 503 } or ok end,
      b = ok },
      { routing = "round_robin" })
    for _ = 1, 1200 do
      assert(lab.client:chat "Hi")
    end
    assert.is_true(lab:line("a").successes > 100)
    assert.equal("closed", lab:line("a").breaker)
  end)

  it("R5 cut JSON goes to another line at once", function()
    local lab = sim.lab { a = cut_json, b = ok }
    assert.equal("b", assert(lab.client:chat "Hi").endpoint)
    assert.equal("a 0, b 0.05", lab:sent())
  end)

  it("R6 any number of lines", function()
    for n = 1, 12 do
      local lines = {}
      for i = 1, n do
        lines["line" .. i] = ok
      end
      for _, routing in ipairs { "latency", "weighted", "round_robin", "priority" } do
        local lab = sim.lab(lines, { routing = routing })
        assert(lab.client:chat "Hi")
      end
    end
  end)

  it("R7 K2 health is asked at the right place, and 404 is not health", function()
    local lab = sim.lab { a = { status = 404, body = { error = { message = "no such page" } } },
      b = { body = { data = { { id = "m" } } } } }
    local report = lab.client:verify()
    assert.is_false(report.ok)
    local by_name = {}
    for _, line in ipairs(report.endpoints) do
      by_name[line.endpoint] = line
    end
    assert.same({ false, "not_found", true }, { by_name.a.ok, by_name.a.kind, by_name.b.ok })
    assert.equal("/v1/models", lab.log[1].request.path)
  end)

  it("R8 there is no sleep between different lines", function()
    local lab = sim.lab { a = bad, b = bad, c = bad, d = ok }
    assert.near(0.2, assert(lab.client:chat "Hi").latency, 1e-9)
  end)

  it("R9 routing by latency follows the latency", function()
    local slow = "a"
    local function line(name)
      return function() return { after = name == slow and 0.5 or 0.05, text = "ok" } end
    end
    local lab = sim.lab({ a = line "a", b = line "b", c = line "c" }, { routing = "latency" })
    local function share(calls)
      local before = lab:line("a").requests
      for _ = 1, calls do
        assert(lab.client:chat "Hi")
      end
      return (lab:line("a").requests - before) / calls
    end
    share(50)
    assert.is_true(share(300) < 0.15)
    slow = "b"
    lab:pass(30)
    share(100)
    assert.is_true(share(300) > 0.3)
  end)

  it("R10 the line that failed last is not the next one", function()
    for seed = 1, 30 do
      local lab = sim.lab({ a = bad, b = bad, c = bad }, { breaker = false, routing = "latency",
        retry = { max_attempts = 9 } }, seed)
      lab.client:chat "Hi"
      for i = 2, #lab.log do
        assert.not_equal(lab.log[i - 1].line, lab.log[i].line)
      end
    end
  end)
end)

describe("against naive key checks:", function()
  after_each(sim.settled)
  local secret = "sk-9f8e7d6c5b4a39281706"

  it("K3 a key shows nowhere", function()
    local lab = sim.lab({ a = { status = 401,
      body = { error = { message = "Incorrect API key provided: " .. secret } } } },
      { api_key = secret })
    local _, err = lab.client:chat "Hi"
    local report = lab.client:verify()
    local texts = { tostring(err), err.message, tostring(lab.client), report.endpoints[1].message }
    for i = 1, 4 do
      assert.is_nil(texts[i]:find("9f8e7d", 1, true))
    end
    assert.is_nil((type(err.body) == "table" and err.body.error.message or tostring(err.body)):find("9f8e7d", 1, true))
  end)

  it("K2 only a list of models verifies", function()
    for _, script in ipairs { { status = 404 }, { status = 401 }, { body = "{}" }, { body = "<html>" },
      { status = 500 } } do
      assert.is_false(sim.lab({ a = script }).client:verify().ok)
    end
    assert.is_true(sim.lab({ a = { body = { data = {} } } }).client:verify().ok)
  end)

  it("K a line that hangs does not hang the check", function()
    local lab = sim.lab({ a = { fault = "hang" }, b = { body = { data = {} } } }, { timeout = { attempt = 5 } })
    local report = lab.client:verify()
    assert.is_false(report.ok)
    assert.is_true(lab.sim:now() <= 5)
  end)
end)
