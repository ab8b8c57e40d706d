-- Attempts beside slow ones: when they are sent, who wins, what they cost, what is learned from those that lose.
-- Every laboratory has 60 answers behind it, so that its usual time is known; min_delay makes it 500 ms. HE: the
-- vectors of the hedging literature.
local env = require "spec.support.env"
local sim = require "spec.support.sim"
local json = require "surefoot.json"
local surefoot = require "surefoot"

local WARM = 60
local ok, bad, hang = { after = 0.1, text = "ok" }, { after = 0.2, status = 500 }, { fault = "hang" }

local function merged(defaults, given)
  for key, value in pairs(given or {}) do
    defaults[key] = value
  end
  return defaults
end

-- Lines as sim.lab takes them, of which the first answers the calls before.
local function lab_of(lines, config)
  config = merged({ hedge = { min_delay = 0.5, max = 5 }, retry = { max_attempts = 4 } }, config)
  local after = lines.a
  lines.a = function(n, ...)
    if n <= WARM then
      return ok
    elseif type(after) == "function" then
      return after(n - WARM, ...)
    end
    return after[1] and (after[n - WARM] or after[#after]) or after
  end
  local lab = sim.lab(lines, config)
  for _ = 1, WARM do
    assert(lab.client:chat "Hi")
  end
  lab.log, lab.zero = {}, lab.sim:now()
  return lab
end

local function sent(lab)
  local words = {}
  for i, entry in ipairs(lab.log) do
    words[i] = entry.line .. " " .. sim.time(entry.at - lab.zero)
  end
  return table.concat(words, ", ")
end

local function ask(lines, config, options)
  local lab = lab_of(lines, config)
  local result, err = lab.client:chat("Hi", options)
  return lab, result, err, sim.time(lab.sim:now() - lab.zero)
end

describe("a hedge", function()
  after_each(sim.settled)

  it("HE1 goes to the next line after each delay while nobody answers", function()
    local lab, _, err = ask({ a = hang, b = hang, c = hang, d = hang }, { timeout = { total = 5, first_byte = 60 } })
    assert.equal("a 0, b 0.5, c 1, d 1.5", sent(lab)) -- min_delay is the least, for further ones, too
    assert.equal("deadline", err.kind)
    assert.same({ false, true, true, true }, { err.attempts[1].hedge, err.attempts[2].hedge, err.attempts[3].hedge,
      err.attempts[4].hedge })
  end)

  it("HE2 a failure is followed by another line at once, and the next hedge counts from there", function()
    local lab = ask({ a = bad, b = hang, c = hang, d = hang }, { timeout = { total = 5 } })
    assert.equal("a 0, b 0.2, c 0.7, d 1.2", sent(lab))
  end)

  it("HE3 a request that is wrong is wrong everywhere: the others are cancelled", function()
    local lab, _, err, at = ask { a = { after = 0.7, status = 400 }, b = hang, c = ok }
    assert.same({ "a 0, b 0.5", "invalid_request", "0.7" }, { sent(lab), err.kind, at })
    assert.equal("a invalid_request, b cancelled", sim.trail(err))
  end)

  it("HE5 a server that says not to try again is obeyed; what runs may still answer", function()
    local lab, result, _, at = ask { a = { after = 0.7, status = 503, headers = { ["x-should-retry"] = "false" } },
      b = { after = 1, text = "late" }, c = ok }
    assert.same({ "a 0, b 0.5", "late", "1.5" }, { sent(lab), result.text, at })
  end)

  it("HE6 is not sent when the retry budget is spent", function()
    local lab, result = ask({ a = { after = 2, text = "slow" }, b = ok }, {
      retry = { budget = { capacity = 10, floor_per_second = 0 } } })
    assert.same({ "a 0", "slow" }, { sent(lab), result.text })
  end)

  it("HE7 is not sent before 50 answers are known", function()
    local lab = sim.lab({ a = { after = 2, text = "slow" }, b = ok }, { hedge = { min_delay = 0.1 } })
    for _ = 1, 3 do
      assert.equal("slow", lab.client:chat("Hi").text)
    end
    assert.equal(0, lab.client:stats().hedges)
  end)

  it("HE9 that fails first leaves the first attempt alone", function()
    local lab, result, _, at = ask { a = { after = 1, text = "first" }, b = bad }
    assert.same({ "a 0, b 0.5", "first", "1" }, { sent(lab), result.text, at })
    assert.equal("a ok, b server", sim.trail(result))
  end)

  it("HE10 when all fail the error is the first attempt's", function()
    local _, _, err = ask({ a = { after = 0.6, status = 503 }, b = { after = 0.7, status = 500 } },
      { retry = { max_attempts = 2 } })
    assert.same({ "overloaded", 503, "a overloaded, b server" }, { err.kind, err.status, sim.trail(err) })
    _, _, err = ask({ a = { after = 1.5, status = 503 }, b = { after = 0.1, status = 500 } },
      { retry = { max_attempts = 2 } })
    assert.same({ "overloaded", 503 }, { err.kind, err.status })
  end)

  it("wins, and the slow line is cancelled at once", function()
    local lab, result, _, at = ask { a = hang, b = ok }
    assert.same({ "a 0, b 0.5", "ok", "0.6" }, { sent(lab), result.text, at })
    assert.same({ "b", "a cancelled, b ok" }, { result.endpoint, sim.trail(result) })
    assert.same({ false, true, "0.5" }, { result.attempts[1].hedge, result.attempts[2].hedge,
      sim.time(result.attempts[2].waited) })
    local stats = lab.client:stats()
    assert.same({ 1, 1, 0, WARM + 2 }, { stats.hedges, stats.endpoints.b.hedges, stats.retries, stats.attempts })
  end)

  it("is paid for from the retry budget, which success refills whoever wins", function()
    local lab, result = ask { a = { after = 0.7, text = "first" }, b = hang }
    assert.same({ "first", 500 }, { result.text, lab:balance() })
    lab = ask({ a = hang, b = hang }, { timeout = { total = 1 } })
    assert.equal(500 - 14, lab:balance())
  end)

  it("has a bucket of its own: budget per call, burst at most, max per call", function()
    local function hedges(hedge, calls)
      local lab = lab_of({ a = { after = 0.7, text = "slow" }, b = hang, c = hang }, { hedge = hedge, breaker = false })
      for _ = 1, calls do
        assert.equal("slow", lab.client:chat("Hi").text)
      end
      return lab.client:stats().hedges
    end
    assert.equal(3, hedges({ min_delay = 0.5, budget = 0.001, burst = 3 }, 10))
    assert.equal(3 + 2, hedges({ min_delay = 0.5, budget = 0.25, burst = 3 }, 10))
    assert.equal(2, hedges({ min_delay = 0.3, max = 1 }, 2))
    assert.equal(4, hedges({ min_delay = 0.3, max = 2 }, 2))
  end)

  it("is off unless asked for, and a call may say otherwise", function()
    local lab, result = ask({ a = { after = 2, text = "slow" }, b = ok }, { hedge = false })
    assert.same({ "a 0", "slow" }, { sent(lab), result.text })
    lab.log, lab.zero = {}, lab.sim:now()
    assert.equal("ok", lab.client:chat("Hi", { hedge = { min_delay = 0.3 } }).text)
    assert.equal("a 0, b 0.3", sent(lab))
    lab, result = ask({ a = { after = 2, text = "slow" }, b = ok }, nil, { hedge = false })
    assert.same({ "a 0", "slow" }, { sent(lab), result.text })
    lab = ask({ a = hang, b = hang, c = ok }, { hedge = { min_delay = 0.4, max = 1 } }, { hedge = { max = 2 } })
    assert.equal("a 0, b 0.4, c 0.8", sent(lab))
  end)

  it("goes to no line whose circuit is not closed, and to none twice", function()
    local lab = lab_of({ a = { after = 1.2, text = "slow" }, b = bad }, { breaker = { failure_threshold = 2 } })
    for _ = 1, 4 do
      lab.client:chat "Hi"
    end
    assert.equal("a 0, b 0.5, a 1.2, b 1.7, a 2.4, a 3.6", sent(lab))
  end)

  it("waits for nothing: no slot, no hedge", function()
    local lab, result = ask({ a = { after = 2, text = "slow" }, b = ok }, { concurrency = { limit = 1 } })
    assert.same({ "a 0", "slow" }, { sent(lab), result.text })
  end)

  it("stays on the route that is being asked", function()
    local lab, result = ask({ a = { after = 1.2, text = "slow" }, b = ok },
      { endpoints = { { name = "a" }, { name = "b", models = { "other" } } }, model = "m", fallbacks = { "other" } })
    assert.same({ "a 0", "slow" }, { sent(lab), result.text })
  end)

  it("counts against max_attempts", function()
    local lab = ask({ a = hang, b = hang, c = hang },
      { retry = { max_attempts = 2 }, timeout = { total = 5 } })
    assert.equal("a 0, b 0.5", sent(lab))
  end)

  it("is encoded for its line: another provider, another model name", function()
    local lab, result = ask({ a = hang, b = function(_, request)
      assert.equal("other-name", request.json.model)
      return ok
    end }, { endpoints = { { name = "a" }, { name = "b", models = { m = "other-name" } } }, model = "m" })
    assert.same({ "a 0, b 0.5", "ok" }, { sent(lab), result.text })
  end)

  it("is told to observers, and by its line's latency", function()
    local events = {}
    ask({ a = hang, b = ok }, nil, { on_event = function(name, data)
      events[#events + 1] = name .. (data.endpoint and " " .. data.endpoint or "")
    end })
    assert.equal("attempt_started a, hedged b, attempt_started b, first_token b, settled b",
      table.concat(events, ", "))
  end)

  it("lets the line that lost unheard look worse, but not one that had hardly begun", function()
    local lab = lab_of({ a = hang, b = ok }, { routing = "latency", breaker = { failure_threshold = 5 } })
    for _ = 1, 12 do
      assert.equal("ok", lab.client:chat("Hi").text)
    end
    assert.is_true(lab:line("a").attempts - WARM < 8)
    lab = lab_of({ a = { after = 0.55, text = "first" }, b = { after = 0.1, text = "b" } },
      { breaker = { failure_threshold = 2 } })
    for _ = 1, 6 do
      assert.equal("first", lab.client:chat("Hi").text)
    end
    assert.equal("closed", lab:line("b").breaker)
  end)

  it("silent losers open the circuit of a dead line", function()
    local lab = lab_of({ a = hang, b = ok }, { breaker = { failure_threshold = 3 } })
    for _ = 1, 6 do
      assert.equal("ok", lab.client:chat("Hi").text)
    end
    assert.equal("a 0, b 0.5, a 0.6, b 1.1, a 1.2, b 1.7, b 1.8, b 1.9, b 2", sent(lab))
    assert.equal("open", lab:line("a").breaker)
  end)

  it("a line that stays silent for half as long again is treated as failing, whatever the bucket says", function()
    local lab, result = ask({ a = hang, b = hang, c = ok }, { hedge = { min_delay = 0.5, budget = 0.001, burst = 1 } })
    assert.same({ "a 0, b 0.5, c 1.25", "ok" }, { sent(lab), result.text })
    assert.same({ 1, 1 }, { lab.client:stats().hedges, lab.client:stats().retries })
  end)

  it("what is sent for that is owed by the bucket: no hedge until it is earned", function()
    local hung = 0
    local lab = lab_of({ a = function() return hung > 0 and hang or ok end, b = ok, c = ok },
      { hedge = { min_delay = 0.5, budget = 0.1, burst = 1 }, breaker = false })
    local function calls(count)
      for _ = 1, count do
        assert(lab.client:chat "Hi")
      end
    end
    hung = 1
    calls(2) -- a hedge; then none is left: treated as failing
    assert.equal("a 0, b 0.5, a 0.6, b 1.35", sent(lab))
    hung = 0
    calls(12) -- 1.4 earned, 1 of it owed
    hung, lab.log, lab.zero = 1, {}, lab.sim:now()
    calls(1)
    assert.equal("a 0, b 0.75", sent(lab))
  end)

  it("a line that is busy once the request is written for it is asked when it is free", function()
    if not env.yields_everywhere then
      env.skip "PUC Lua 5.1 cannot wait in an encoder"
    end
    local written = 0
    local function encode(value)
      written = written + (value.model == "other-name" and 1 or 0)
      if written == 2 then
        surefoot.sleep(2)
      end
      return assert(json.encode(value))
    end
    local lab = lab_of({ a = hang, b = { after = 5, text = "late" } }, {
      hedge = { min_delay = 0.5, budget = 0.001, burst = 1 }, model = "m", json = { encode = encode },
      endpoints = { { name = "a" }, { name = "b", models = { m = "other-name" }, concurrency = { limit = 1 } } },
    })
    lab:start()
    lab:pass(0.6)
    local second = lab:start() -- the bucket is empty: a is treated as failing
    lab.sim:run()
    assert.equal("late", second.result and second.result.text)
    assert.matches("^a 0, b 0.5, a 0.6, a 1.25, b 5.%d+$", sent(lab))
  end)

  it("where every line has been asked in vain, a silent one is asked anew, once", function()
    local lab, result = ask({ a = { hang, ok }, b = hang }, { hedge = { min_delay = 0.5 } })
    assert.same({ "a 0, b 0.5, a 1.25", "ok" }, { sent(lab), result.text })
    lab = ask({ a = hang, b = hang },
      { hedge = { min_delay = 0.5 }, timeout = { total = 9 }, retry = { max_attempts = 9 } })
    assert.equal("a 0, b 0.5, a 1.25", sent(lab))
  end)

  it("of two lines the first is not asked anew while the second takes its usual time", function()
    local usual = { after = 1, text = "ok" }
    local function asked(second)
      local lab = sim.lab({ a = function(n) return n <= WARM and usual or hang end, b = second }, { hedge = true })
      for _ = 1, WARM do assert(lab.client:chat "Hi") end
      lab.log, lab.zero = {}, lab.sim:now()
      lab.client:chat("Hi", { deadline = 9 })
      local times = {}
      for i, entry in ipairs(lab.log) do
        times[i] = entry.line .. (" %.1f"):format(entry.at - lab.zero)
      end
      return table.concat(times, ", ")
    end
    assert.equal("a 0.0, b 1.0", asked(usual))
    assert.equal("a 0.0, b 1.0", asked { after = 1.4, text = "ok" })
    assert.equal("a 0.0, b 1.0, a 2.5", asked(hang))
  end)

  it("an only line is asked once, however long it takes", function()
    local lab, result = ask({ a = { after = 9, text = "long" } }, { retry = { max_attempts = 9 } })
    assert.same({ "a 0", "long" }, { sent(lab), result.text })
  end)

  it("what is usual is learned for each purpose, model, and for streams by themselves", function()
    local function script(_, request)
      local long = request.json and (request.json.model == "large" or request.json.stream)
      return { after = long and 2 or 0.05, text = "ok", body = nil }
    end
    local lab = sim.lab({ a = script, b = script, c = script }, { hedge = { min_delay = 0.1 }, model = "small" })
    for i = 1, 400 do
      assert(lab.client:chat("Hi"))
      if i % 10 == 0 then
        local result = assert(lab.client:chat { model = "large", messages = { { role = "user", content = "Hi" } } })
        assert.equal(1, #result.attempts)
      end
    end
    assert.same({ 440, 440 }, { lab.client:stats().requests, lab.client:stats().attempts })
    assert(lab.client:stream "Hi"):result()
    assert.equal(441, lab.client:stats().attempts)
  end)

  it("further ones of a call wait less than half as long, since it is late already", function()
    local usual = { after = 1, text = "ok" }
    local lab = sim.lab({ a = function(n) return n <= WARM and usual or hang end, b = hang, c = hang, d = ok },
      { hedge = { min_delay = 0.1, max = 3 } })
    for _ = 1, WARM do
      assert(lab.client:chat "Hi")
    end
    lab.log, lab.zero = {}, lab.sim:now()
    assert.equal("ok", lab.client:chat("Hi").text)
    local at = {}
    for i, entry in ipairs(lab.log) do
      at[i] = entry.at - lab.zero
    end
    assert.near(1, at[2], 0.02)
    assert.near(1.4, at[3], 0.02)
    assert.near(1.8, at[4], 0.02)
  end)

  it("is sent, too, of a call that began before the usual time was known", function()
    local lab = sim.lab({ a = function(n) return n == 1 and hang or ok end, b = ok }, { hedge = { min_delay = 0.3 } })
    local first = lab:start()
    lab:pass(0.2)
    for _ = 1, WARM do
      assert(lab.client:chat("Hi", { deadline = 5 }))
    end
    lab:pass(20)
    assert.equal("ok", first.result.text)
    assert.is_true(first.at < 7.5, first.at)
  end)

  it("an answer that has begun is no silence", function()
    local whole = json.encode { choices = { { index = 0, finish_reason = "stop",
      message = { role = "assistant", content = "slow but sure" } } } }
    local script = { after = 0.2, headers = { ["content-type"] = "application/json" }, events = {} }
    for i = 1, #whole do
      script.events[i] = { at = 0.2 + i * 0.05, data = whole:sub(i, i) }
    end
    local lab, result = ask { a = script, b = ok }
    assert.same({ "a 0", "slow but sure" }, { sent(lab), result.text })
    script.events[20].at, script.events[21].at = 30, 30.1 -- and one that has stopped is
    for i = 22, #whole do
      script.events[i].at = 30.2
    end
    lab, result = ask { a = script, b = ok }
    assert.same({ "a 0, b 1.65", "ok" }, { sent(lab), result.text })
  end)

  it("is sent of a request that may have effects only where the call asks for it", function()
    local lab = lab_of { b = { after = 0.1, body = "{}" }, a = function(n)
      return { after = n <= WARM and 0.1 or 2, body = "{}" }
    end }
    for _ = 1, WARM do
      assert(lab.client:request { path = "/files" })
    end
    lab.log, lab.zero = {}, lab.sim:now()
    assert(lab.client:request { path = "/files", json = {} })
    assert.equal("a 0", sent(lab))
    lab.log, lab.zero = {}, lab.sim:now()
    assert(lab.client:request({ path = "/files", json = {} }, { hedge = true }))
    assert.equal("a 0, b 0.5", sent(lab))
    lab.log, lab.zero = {}, lab.sim:now()
    assert(lab.client:request { path = "/files" })
    assert.equal("a 0, b 0.5", sent(lab))
  end)

  it("leaves alone what goes to a file", function()
    local path = os.tmpname()
    local lab = lab_of { a = { after = 2, body = "abc" }, b = { after = 0.1, body = "def" } }
    assert(lab.client:request { path = "/file", output = { file = path } })
    assert.equal("a 0", sent(lab))
    os.remove(path)
  end)
end)

describe("a hedged stream", function()
  after_each(sim.settled)

  local SSE = { ["content-type"] = "text/event-stream" }

  local function event(delta, reason)
    return "data: " .. json.encode { choices = { { index = 0, delta = delta, finish_reason = reason or json.null } } }
      .. "\n\n"
  end

  -- Its role at once, its words when they come.
  local function stream(at, text, rest)
    return { after = 0.1, headers = SSE, events = { { at = 0.1, data = event { role = "assistant", content = "" } },
      { at = at, data = event { content = text } },
      { at = at + (rest or 0.1), data = event({ content = "!" }, "stop") .. "data: [DONE]\n\n" } } }
  end

  local function read(lines, config)
    local after = lines.a
    lines.a = function(n)
      return n <= WARM and stream(0.1, "ok") or after
    end
    local lab = sim.lab(lines, merged({ hedge = { min_delay = 0.5 } }, config))
    for _ = 1, WARM do
      local s = assert(lab.client:stream "Hi")
      assert.equal("ok!", s:result().text)
    end
    lab.log, lab.zero = {}, lab.sim:now()
    local s, err = lab.client:stream "Hi"
    local result
    if s then
      result, err = s:result()
    end
    return lab, result, err
  end

  it("races to the first token, and the loser's words are never seen", function()
    local lab, result = read { a = stream(2, "slow"), b = stream(0.2, "fast") }
    assert.same({ "fast!", "b", "a cancelled, b ok" }, { result.text, result.endpoint, sim.trail(result) })
    assert.equal("a 0, b 0.5", sent(lab)) -- its role, or a ping, is no content
    assert.equal("0.7", sim.time(result.time_to_first_token))
  end)

  it("HE11 is not hedged once something was shown, however slowly it goes on", function()
    local lab, result = read { a = stream(0.3, "begun", 10), b = stream(0.2, "fast") }
    assert.same({ "begun!", "a 0" }, { result.text, sent(lab) })
  end)

  it("goes on alone when the other fails", function()
    local lab, result = read { a = stream(1.5, "slow"), b = { after = 0.1, status = 500 } }
    assert.same({ "slow!", "a 0, b 0.5" }, { result.text, sent(lab) })
  end)
end)
