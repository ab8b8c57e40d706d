-- A line that comes back while calls wait for it: they go on a ramp, not all at once, and in an order that helps.
local env = require "spec.support.env"
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local bad, late_bad, ok = { status = 500 }, { after = 0.9, status = 500 }, { after = 1, text = "ok" }
local one = { failure_threshold = 1, jitter = 0 }
local once = { max_attempts = 1 }

-- Attempts by the time of their start: "1 1 2 4".
local function rounds(lab, from, count)
  local sent = {}
  for i = from, count and from + count - 1 or #lab.log do
    local at = sim.time(lab.log[i].at)
    if sent.at ~= at then
      sent.at, sent[#sent + 1] = at, 0
    end
    sent[#sent] = sent[#sent] + 1
  end
  return table.concat(sent, " ")
end

-- Its circuit opened at 0, for 5 s; so many calls wait.
local function held(lab, calls, options)
  lab.client:chat "Hi"
  local list = {}
  for i = 1, calls do
    list[i] = lab:start(options)
  end
  return list
end

describe("a line that comes back", function()
  after_each(sim.settled)

  it("gets those who waited a few at first, then twice as many with each round trip", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one })
    held(lab, 64)
    lab.sim:run()
    assert.equal("1 1 2 4 8 16 32", rounds(lab, 2))
    assert.equal(64, lab.client:stats().successes)
  end)

  it("begins with as many as there were probes", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = { failure_threshold = 1, jitter = 0,
      half_open_requests = 3 } })
    held(lab, 30)
    lab.sim:run()
    assert.equal("3 3 6 12 6", rounds(lab, 2))
  end)

  it("gets but one more with each round trip when its answers take longer than a quarter of their time", function()
    for _, timeout in ipairs { { attempt = 3.9 }, { first_byte = 3.9 }, { attempt = 4 } } do
      local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one, timeout = timeout })
      held(lab, 12)
      lab.sim:run()
      assert.equal(timeout.attempt == 4 and "1 1 2 4 4" or "1 1 2 2 3 3", rounds(lab, 2))
    end
  end)

  it("counts the call's deadline as the end of that time", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one })
    held(lab, 8, { deadline = 9.5 })
    lab.sim:run()
    assert.equal("1 1 2 2", rounds(lab, 2, 6))
  end)

  it("gets half as many after a failure", function()
    local lab = sim.lab({ a = function(n) return n == 1 and bad or n == 9 and late_bad or ok end }, { retry = once,
      breaker = { failure_threshold = 1000, failure_ratio = 0.5, min_calls = 1, jitter = 0 } })
    held(lab, 20)
    lab.sim:run()
    assert.equal("1 1 2 4 2 4 6", rounds(lab, 2))
  end)

  it("is not held back when nobody waited", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one })
    lab.client:chat "Hi"
    lab:pass(10)
    assert(lab.client:chat "Hi")
    for _ = 1, 50 do
      lab:start()
    end
    lab.sim:run()
    assert.equal("1 50", rounds(lab, 2))
  end)

  it("is not held back any more when those who waited are gone", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one })
    held(lab, 4)
    lab:pass(60)
    for _ = 1, 50 do
      lab:start()
    end
    lab.sim:run()
    assert.equal("1 1 2 50", rounds(lab, 2))
  end)

  it("is not held back later, though calls waited for something else in between", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one, concurrency = { limit = 10 } })
    held(lab, 2, { deadline = 4 })
    lab:pass(10)
    assert(lab.client:chat "Hi")
    for _ = 1, 30 do
      lab:start()
    end
    lab.sim:run()
    assert.equal("1 10 10 10", rounds(lab, 2))
  end)

  it("that goes away again begins anew", function()
    local lab = sim.lab({ a = function(n) return n == 1 and bad or n == 5 and late_bad or ok end }, { retry = once,
      breaker = one })
    held(lab, 20)
    lab.sim:run()
    assert.equal("1 1 2", rounds(lab, 2, 4))
    assert.equal("1 1 2 4", rounds(lab, 6, 8))
  end)

  it("is asked anew when the first token comes, however long a stream goes on", function()
    local function token(at)
      return { at = at, data = { choices = { { index = 0, delta = { content = "x" } } } } }
    end
    local long = { events = { token(0.5), token(20), { at = 20, data = { choices = { { index = 0,
      finish_reason = "stop", delta = {} } } } }, { at = 20, data = "[DONE]" } } }
    local lab = sim.lab({ a = { bad, ok, long } }, { retry = once, breaker = one })
    lab.client:chat "Hi"
    lab:start()
    for _ = 1, 31 do
      lab.sim:spawn(function()
        assert(assert(lab.client:stream "Hi"):result())
      end)
    end
    lab.sim:run()
    assert.equal("1 1 2 4 8 16", rounds(lab, 2))
    assert.equal(28, lab.sim:now()) -- the last went at 8
  end)

  it("gets no more of those whose request has yet to be written for it", function()
    local lab = sim.lab({ a = bad, b = { bad, ok } }, { retry = { max_attempts = 2 }, breaker = one, model = "x",
      endpoints = { { name = "a", breaker = { recovery_timeout = 60 } }, { name = "b", models = { x = "y" } } } })
    held(lab, 1)
    lab:pass(5.5) -- the probe is out: these are not written for b while they come
    for _ = 1, 32 do
      lab:start()
    end
    lab.sim:run()
    assert.equal("1 1 2 4 8 16 1", rounds(lab, 3))
    assert.equal(33, lab.client:stats().successes)
  end)

  it("waits for no request that takes long to be written for it", function()
    if not env.yields_everywhere then
      env.skip "PUC Lua 5.1 cannot wait in an encoder"
    end
    local function encode(value)
      local text = assert(json.encode(value))
      if value.model == "y" and text:find "late" then
        surefoot.sleep(40)
      end
      return text
    end
    local lab = sim.lab({ a = bad, b = { bad, ok } }, { retry = { max_attempts = 2 }, breaker = one, model = "x",
      json = { encode = encode },
      endpoints = { { name = "a", breaker = { recovery_timeout = 60 } }, { name = "b", models = { x = "y" } } } })
    held(lab, 1)
    lab:pass(5.5)
    local late = lab:start(nil, "late")
    for _ = 1, 7 do
      lab:start()
    end
    lab.sim:run()
    assert.equal("b 5, b 7, b 8, b 8, b 9, b 9, b 9, b 9, b 46", lab:sent():match "b 5.*")
    assert.equal("ok", late.result.text)
  end)

  it("leaves what it may not have yet to the next route", function()
    local lab = sim.lab({ a = { bad, ok }, b = ok }, { retry = once, breaker = one, model = "x", fallbacks = { "y" },
      endpoints = { { name = "a", models = { "x" } }, { name = "b", models = { "y" }, concurrency = { limit = 2 } } } })
    held(lab, 20)
    lab.sim:run()
    assert.same({ 20, true }, { lab.client:stats().successes, lab:line("b").successes > 5 })
    assert.is_true(lab:line("b").peak_in_flight <= 2)
  end)

  it("has a ramp in each client that shares nothing with the others", function()
    local lab = sim.lab({ a = { bad, bad, ok } }, { retry = once, breaker = one })
    local other = lab:another { retry = once, breaker = one }
    lab.client:chat "Hi"
    other:chat "Hi"
    for _ = 1, 8 do
      lab:start()
      lab:start(nil, nil, other)
    end
    lab.sim:run()
    assert.equal("2 2 4 8", rounds(lab, 3))
  end)
end)

describe("calls that an open circuit has held", function()
  after_each(sim.settled)

  local function order(deadline)
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one })
    lab.client:chat "Hi"
    local calls = {}
    for i = 1, 4 do
      calls[i] = lab:start { deadline = deadline }
      lab:pass(0.5)
    end
    lab.sim:run()
    local ends = {}
    for i, call in ipairs(calls) do
      ends[i] = call.result and sim.time(call.at) or call.err.kind
    end
    return table.concat(ends, " ")
  end

  it("go the oldest first while the oldest has half of its time left", function()
    assert.equal("6 7 8 8", order(30))
  end)

  it("go the newest first when it has not", function()
    assert.equal("8 8 7 6", order(9))
  end)

  it("so that a line that serves fewer than ask serves those who can wait for it", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = once, breaker = one, concurrency = { limit = 2 } })
    lab.client:chat "Hi"
    for _ = 1, 120 do
      for _ = 1, 3 do
        lab:start { deadline = 8 }
      end
      lab:pass(1)
    end
    lab.sim:run()
    local answered, sent = lab.client:stats().successes, #lab.log
    assert.is_true(answered >= 2 * 110, "answered: " .. answered)
    assert.is_true(sent <= answered + 10, ("sent %d, answered %d"):format(sent, answered))
  end)
end)
