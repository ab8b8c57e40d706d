-- Waiting: the bounded queue, priorities, rate, tokens, slots; all or none, and each acquire released once.
local sim = require "spec.support.sim"

local ok, hang = { after = 1, text = "ok" }, { fault = "hang" }

local function ends(calls)
  local times = {}
  for i, call in ipairs(calls) do
    times[i] = sim.time(call.at)
  end
  return table.concat(times, " ")
end

-- Every slot of the laboratory can still be taken, and not one more.
local function assert_slots(lab, limit)
  local before, attempts = lab.client:stats().in_flight, lab.client:stats().attempts
  assert.equal(0, before)
  for _ = 1, limit + 3 do
    lab:start { deadline = 0.5 }
  end
  lab:pass(0.1)
  assert.equal(limit, lab.client:stats().attempts - attempts)
  lab.sim:run()
end

describe("the queue", function()
  after_each(sim.settled)

  it("is first in, first out", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 2 } })
    local calls = {}
    for i = 1, 7 do
      calls[i] = lab:start()
    end
    lab.sim:run()
    assert.equal("1 1 2 2 3 3 4", ends(calls))
  end)

  it("puts a higher priority first, and keeps the order within one", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 1 } })
    local calls = { lab:start() }
    for i, priority in ipairs { "low", "normal", "high", "low", "normal", "high" } do
      calls[i + 1] = lab:start { priority = priority }
    end
    lab.sim:run()
    assert.equal("1 6 4 2 7 5 3", ends(calls))
  end)

  it("is bounded; the bound does not count what runs", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 2, queue = 3 } })
    local calls = {}
    for i = 1, 7 do
      calls[i] = lab:start()
    end
    lab.sim:run()
    for i = 6, 7 do
      assert.same({ "queue_full", 0, false, 0, true },
        { calls[i].err.kind, calls[i].at, calls[i].err.sent, #calls[i].err.attempts, calls[i].err.retryable })
      calls[i] = nil
    end
    assert.equal("1 1 2 2 3", ends(calls))
  end)

  it("of length 0 refuses what cannot run at once", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 1, queue = 0 } })
    local first, second = lab:start(), lab:start()
    lab.sim:run()
    assert.same({ "ok", "queue_full" }, { first.result.text, second.err.kind })
  end)

  it("takes a retry back though it is full, and before younger calls", function()
    local lab = sim.lab({ a = function(n) return n == 1 and { after = 1, status = 500 } or ok end },
      { concurrency = { limit = 1, queue = 2 }, retry = { base_delay = 0.5 } })
    local calls = { lab:start(), lab:start(), lab:start() }
    lab:pass(1.2)
    calls[4] = lab:start()
    lab:pass(0.5)
    assert.equal(3, lab.client:stats().queue)
    lab.sim:run()
    assert.equal("3 2 4 5", ends(calls))
  end)

  it("does not let a blocked route block another one", function()
    local lab = sim.lab({ a = hang, b = ok }, { retry = { max_attempts = 1 }, endpoints = {
      { name = "a", models = { "slow" }, concurrency = { limit = 1 } }, { name = "b", models = { "fast" } } } })
    lab:start({ deadline = 50 }, { model = "slow", messages = {} })
    lab:start({ deadline = 50 }, { model = "slow", messages = {} })
    local fast = lab:start(nil, { model = "fast", messages = {} })
    lab:pass(2)
    assert.same({ "ok", 1 }, { fast.result.text, fast.at })
    lab.sim:run()
  end)

  it("does not let a high priority that is blocked block a low one elsewhere", function()
    local lab = sim.lab({ a = hang, b = ok }, { endpoints = {
      { name = "a", models = { "slow" }, rate = { requests_per_second = 0.01, burst = 1 } }, { name = "b",
        models = { "fast" } } } })
    lab:start({ deadline = 150, priority = "high" }, { model = "slow", messages = {} })
    local waiting = lab:start({ deadline = 150, priority = "high" }, { model = "slow", messages = {} })
    local fast = lab:start({ priority = "low" }, { model = "fast", messages = {} })
    lab.sim:run()
    assert.near(1, fast.at, 1e-9)
    assert.near(100, lab.log[#lab.log].at, 1e-6)
    assert.equal("deadline", waiting.err.kind)
  end)

  it("reports its length", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 2 } })
    for _ = 1, 6 do
      lab:start()
    end
    lab:pass(0.5)
    local stats = lab.client:stats()
    assert.same({ 4, 2, 2 }, { stats.queue, stats.in_flight, stats.endpoints.a.in_flight })
    lab.sim:run()
    assert.same({ 2, 2 }, { lab.client:stats().peak_in_flight, lab:line("a").peak_in_flight })
  end)
end)

describe("slots", function()
  after_each(sim.settled)

  local fates = {
    success = ok, refusal = { after = 1, status = 400 }, failure = { after = 1, status = 500 },
      reset = { fault = "reset" },
    cut = { fault = "cut", body = "{" }, damage = { body = "<" }, timeout = hang,
      ["no connection"] = { fail = "connect" },
    ["a bad key"] = { status = 401 },
  }
  for name, script in pairs(fates) do
    it("are given back after " .. name, function()
      local fate = script
      local lab = sim.lab({ a = function() return fate end }, { concurrency = { limit = 3 }, timeout = { attempt = 2 },
        breaker = false, retry = { budget = false, max_attempts = 3 } })
      for _ = 1, 12 do
        lab:start()
      end
      lab.sim:run()
      assert.equal(3, lab:line("a").peak_in_flight)
      fate = hang
      assert_slots(lab, 3)
    end)
  end

  it("are given back after deadlines, cancellations and a close", function()
    local lab = sim.lab({ a = hang }, { concurrency = { limit = 3 }, breaker = false })
    local calls = {}
    for i = 1, 9 do
      calls[i] = lab:start { deadline = i % 3 == 0 and 2 or 50 }
    end
    lab:pass(3)
    for i = 1, 9 do
      calls[i].task:cancel()
    end
    lab.sim:run()
    assert_slots(lab, 3)
  end)

  it("V-BH1 of both limits, the line's and the client's", function()
    local lab = sim.lab({ a = hang, b = hang }, { concurrency = { limit = 5 }, breaker = false,
      retry = { max_attempts = 1 },
      routing = "round_robin", endpoints = { { name = "a", concurrency = { limit = 2 } }, { name = "b" } } })
    for _ = 1, 9 do
      lab:start { deadline = 1 }
    end
    lab.sim:run()
    assert.is_true(lab:line("a").peak_in_flight <= 2)
    assert.equal(5, lab:line("a").peak_in_flight + lab:line("b").peak_in_flight)
    assert_slots(lab, 5)
  end)

  it("are not held while a call waits for rate", function()
    local lab = sim.lab({ a = ok, b = ok }, { concurrency = { limit = 1 }, endpoints = {
      { name = "a", models = { "scarce" }, rate = { requests_per_second = 0.1, burst = 1 } }, { name = "b",
        models = { "plain" } } } })
    lab:start(nil, { model = "scarce", messages = {} })
    lab:start(nil, { model = "scarce", messages = {} })
    lab:pass(2)
    local plain = lab:start(nil, { model = "plain", messages = {} })
    lab.sim:run()
    assert.near(3, plain.at, 1e-9)
    assert.near(10, lab.log[3].at, 1e-6)
  end)

  it("are free while Lua judges", function()
    local lab = sim.lab({ a = ok }, { concurrency = { limit = 1 } })
    local first = lab:start { validate = function()
      lab.sim.scheduler:sleep(10)
      return true
    end }
    local second = lab:start()
    lab.sim:run()
    assert.same({ 11, 2 }, { first.at, second.at })
  end)

  it("keep to their limit with hundreds of tasks and failures", function()
    local lab = sim.lab({ a = function(n) return n % 7 == 0 and { after = 0.2, status = 500 } or { after = 0.3,
      text = "ok" } end },
      { concurrency = { limit = 10 }, breaker = false, retry = { budget = false } })
    local calls = {}
    for i = 1, 500 do
      calls[i] = lab:start()
    end
    lab.sim:run()
    assert.equal(10, lab:line("a").peak_in_flight)
    for i = 1, 500 do
      assert.same({ "ok", 1 }, { calls[i].result and calls[i].result.text, calls[i].times })
    end
  end)

  it("shrink with 429 and grow back with use", function()
    local lab = sim.lab({ a = function(_, _, now)
      return now < 1 and { after = 0.5, status = 429 } or { after = 0.5, text = "ok" }
    end }, { concurrency = { limit = 20, adaptive = true, min = 2, max = 30 }, breaker = false,
      retry = { budget = false } })
    for _ = 1, 40 do
      lab:start()
    end
    lab:pass(0.6)
    assert.equal(18, lab.client:stats().limit)
    lab.sim:run()
    assert.is_true(lab.client:stats().limit > 18)
  end)
end)

describe("rate", function()
  after_each(sim.settled)

  it("T1 lets fifty calls pass at exactly its pace", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 20, burst = 1 } })
    for _ = 1, 50 do
      lab:start()
    end
    lab.sim:run()
    for i, entry in ipairs(lab.log) do
      assert.near((i - 1) / 20, entry.at, 1e-6)
    end
  end)

  it("starts with its burst", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 10, burst = 5 } })
    for _ = 1, 20 do
      lab:start()
    end
    lab.sim:run()
    for i, entry in ipairs(lab.log) do
      assert.near(math.max(0, i - 5) / 10, entry.at, 1e-6)
    end
  end)

  it("counts retries too", function()
    local lab = sim.lab({ a = { { status = 500 }, ok } }, { rate = { requests_per_second = 0.1, burst = 1 },
      retry = { base_delay = 0 } })
    assert(lab.client:chat "Hi")
    assert.near(10, lab.log[2].at, 1e-6)
  end)

  it("of a line sends others nowhere else: a busy line is waited for", function()
    local lab = sim.lab({ a = ok, b = ok }, { endpoints = { { name = "a", rate = { requests_per_second = 1,
      burst = 1 } },
      { name = "b", priority = 2 } } })
    local first, second = lab:start(), lab:start()
    lab.sim:run()
    assert.same({ "a", "b" }, { first.result.endpoint, second.result.endpoint })
  end)

  it("is kept per key", function()
    local lab = sim.lab({ a = ok }, { api_key = { "first-key", "second-key" },
      endpoints = { { name = "a", rate = { requests_per_second = 1, burst = 1 } } } })
    for _ = 1, 4 do
      lab:start()
    end
    lab.sim:run()
    assert.same({ 0, 0, 1, 1 }, { lab.log[1].at, lab.log[2].at, math.floor(lab.log[3].at + 0.5),
      math.floor(lab.log[4].at + 0.5) })
  end)

  it("takes nothing from one bucket when another refuses", function()
    local answer = { body = { choices = { { message = { content = "x" }, finish_reason = "stop" } },
      usage = { prompt_tokens = 80, completion_tokens = 10, total_tokens = 90 } } }
    local lab = sim.lab({ a = answer }, { rate = { requests_per_second = 0.01, burst = 2, tokens_per_minute = 600,
      token_burst = 100 } })
    assert(lab.client:chat("Hi", { estimate = 90 }))
    local big = lab:start { estimate = 100, deadline = 3 }
    lab.sim:run()
    assert.equal("deadline", big.err.kind)
    local small = lab:start { estimate = 1 }
    lab.sim:run()
    assert.equal("a 0, a 0", lab:sent())
    assert.equal("x", small.result.text)
  end)

  it("settles the estimate of tokens with the usage", function()
    local function usage(tokens)
      return { after = 0.001, body = { choices = { { message = { content = "x" }, finish_reason = "stop" } },
        usage = { prompt_tokens = 0, completion_tokens = tokens, total_tokens = tokens } } }
    end
    local lab = sim.lab({ a = { usage(10), usage(500), usage(10) } },
      { rate = { tokens_per_minute = 6000, token_burst = 100 } })
    assert(lab.client:chat("Hi", { estimate = 100 }))
    assert(lab.client:chat("Hi", { estimate = 90 })) -- 90 are left of the first estimate
    assert.near(0.001, lab.log[2].at, 1e-3)
    assert(lab.client:chat("Hi", { estimate = 10 })) -- 400 tokens of debt, 100 a second
    assert.near(4.1, lab.log[3].at, 0.2)
  end)

  it("gives the estimate back when nothing was used", function()
    for _, script in ipairs { { status = 429 }, { status = 400 }, { status = 401 }, { fail = "connect" },
      { status = 503 } } do
      local lab = sim.lab({ a = { script, ok } },
        { rate = { tokens_per_minute = 60, token_burst = 100, adaptive = false }, retry = { max_attempts = 1 } })
      lab.client:chat("Hi", { estimate = 100 })
      assert(lab.client:chat("Hi", { estimate = 100 }))
      assert.near(0, lab.log[2].at, 1e-6)
    end
  end)

  it("an estimate above the burst passes when the bucket is full", function()
    local lab = sim.lab({ a = ok }, { rate = { tokens_per_minute = 600, token_burst = 100 } })
    assert(lab.client:chat("Hi", { estimate = 100000, deadline = 60 }))
    assert.equal("a 0", lab:sent())
  end)

  it("a head with a large estimate is not starved by small ones", function()
    local lab = sim.lab({ a = ok }, { rate = { tokens_per_minute = 600, token_burst = 100 } })
    assert(lab.client:chat("Hi", { estimate = 100 }))
    local big = lab:start { estimate = 100 }
    local small = {}
    for i = 1, 5 do
      small[i] = lab:start { estimate = 10 }
    end
    lab.sim:run()
    assert.is_table(big.result)
    for i = 1, 5 do
      assert.is_true(small[i].at >= big.at)
    end
  end)

  it("adapts to 429 without a server's word", function()
    local lab = sim.lab({ a = function(n) return n == 10 and { status = 429 } or { after = 0.05, text = "ok" } end },
      { rate = { requests_per_second = 1000, burst = 1000 }, retry = { max_attempts = 1 } })
    local changed
    for _ = 1, 12 do
      lab.client:chat("Hi", { on_event = function(name, data)
        if name == "rate_changed" then changed = data.rate end
      end })
    end
    assert.is_true(changed > 0 and changed < 20)
  end)
end)
