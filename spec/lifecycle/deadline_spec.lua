-- One deadline over everything; cancellation at every point of a call's life; the end of a client.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local bad, ok, hang = { after = 0.1, status = 500 }, { after = 0.1, text = "ok" }, { fault = "hang" }

describe("the deadline", function()
  after_each(sim.settled)

  it("ends an attempt", function()
    local lab = sim.lab { a = hang }
    local _, err = lab.client:chat("Hi", { deadline = 2.5 })
    assert.same({ "deadline", 2.5, true, true }, { err.kind, lab.sim:now(), err.sent, err.retryable })
  end)

  it("covers several attempts", function()
    local lab = sim.lab({ a = hang, b = hang }, { timeout = { attempt = 4 } })
    local _, err = lab.client:chat("Hi", { deadline = 10 })
    assert.same({ "a 0, b 4, a 8.5", "deadline", 10 }, { lab:sent(), err.kind, lab.sim:now() })
  end)

  it("is timeout.total where the call names none", function()
    local lab = sim.lab({ a = hang }, { timeout = { total = 7 } })
    local _, err = lab.client:chat "Hi"
    assert.same({ "deadline", 7 }, { err.kind, lab.sim:now() })
    _, err = lab.client:chat("Hi", { timeout = { total = 2 } })
    assert.same({ "deadline", 9 }, { err.kind, lab.sim:now() })
  end)

  it("V-DL1 fails at once when the backoff would pass it", function()
    local lab = sim.lab({ a = { after = 0.7, status = 500 } }, { retry = { base_delay = 0.4 } })
    local _, err = lab.client:chat("Hi", { deadline = 1 })
    assert.same({ "server", 0.7, "a 0" }, { err.kind, lab.sim:now(), lab:sent() })
    assert.near(0.4, err.retry_after, 1e-9)
    assert.equal(500, lab:balance())
  end)

  it("does not hinder an untried line", function()
    local lab = sim.lab({ a = { after = 0.7, status = 500 }, b = ok }, { retry = { base_delay = 0.4 } })
    assert(lab.client:chat("Hi", { deadline = 1 }))
    assert.equal("a 0, b 0.7", lab:sent())
  end)

  it("ends a call in the queue, which nobody has seen", function()
    local lab = sim.lab({ a = { after = 9, text = "ok" } }, { concurrency = { limit = 1 } })
    local first, second = lab:start(), lab:start { deadline = 3 }
    lab.sim:run()
    assert.same({ "deadline", 3, false, 0 }, { second.err.kind, second.at, second.err.sent, #second.err.attempts })
    assert.same({ 9, 1 }, { first.at, #lab.log })
  end)

  it("ends a call that waits for rate before it waits in vain", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 0.1, burst = 1 } })
    assert(lab.client:chat "Hi")
    local _, err = lab.client:chat("Hi", { deadline = 5 })
    assert.same({ "deadline", false, 0.1 }, { err.kind, err.sent, lab.sim:now() })
    assert.near(9.9, err.retry_after, 1e-6)
  end)

  it("sheds at the door what the queue before it would make late", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 1, burst = 1 } })
    local calls = {}
    for i = 1, 10 do
      calls[i] = lab:start { deadline = 4.5 }
    end
    lab.sim:run()
    for i = 1, 10 do
      if i <= 5 then
        assert.near(i - 1 + 0.1, calls[i].at, 1e-6)
      else
        assert.same({ 0, "deadline", false }, { calls[i].at, calls[i].err.kind, calls[i].err.sent })
      end
    end
  end)

  it("is not prolonged by hooks: their time counts to it, and to nothing else", function()
    local lab = sim.lab({ a = ok }, { timeout = { attempt = 1 } })
    local call = lab:start({ deadline = 5, validate = function()
      lab.sim.scheduler:sleep(3)
      return true
    end })
    lab.sim:run()
    assert.equal("ok", call.result.text)
    assert.near(3.1, call.result.latency, 1e-9)
    assert.near(0.1, call.result.attempts[1].latency, 1e-9)
    assert.near(0.1, lab:line("a").ewma, 1e-4)
    assert.near(0.1, lab:line("a").latency.max, 1e-3)
    local late = lab:start { deadline = 2, validate = function()
      lab.sim.scheduler:sleep(3)
      return true
    end }
    lab.sim:run()
    assert.same({ "deadline", nil }, { late.err.kind, late.result })
    assert.equal("closed", lab:line("a").breaker)
  end)

  it("holds for a thousand calls at once", function()
    local lab = sim.lab({ a = hang }, { concurrency = { limit = 2000 }, breaker = false })
    local calls = {}
    for i = 1, 1000 do
      calls[i] = lab:start { deadline = i / 100 }
    end
    lab.sim:run()
    for i = 1, 1000 do
      assert.equal("deadline", calls[i].err.kind)
      assert.near(i / 100, calls[i].at, 1e-9)
    end
  end)
end)

describe("timers of an attempt", function()
  after_each(sim.settled)

  local function fails(timeout, script, options)
    local lab = sim.lab({ a = script }, { timeout = timeout, retry = { max_attempts = 1 } })
    local _, err = lab.client:chat("Hi", options)
    return { err.kind, err.phase, lab.sim:now() }
  end

  it("connect", function()
    assert.same({ "timeout", "connect", 10 }, fails({}, { connect = 50 }))
    assert.same({ "timeout", "connect", 2 }, fails({ connect = 2 }, { connect = 50 }))
  end)

  it("first byte: as long as the attempt, unless given", function()
    assert.same({ "timeout", "attempt", 120 }, fails({}, { fault = "hang" }))
    assert.same({ "timeout", "first_byte", 30 }, fails({ first_byte = 30 }, { fault = "hang" }))
  end)

  it("the attempt as a whole", function()
    local drops = {}
    for i = 1, 100 do
      drops[i] = { at = i, data = " " }
    end
    assert.same({ "timeout", "attempt", 20 }, fails({ attempt = 20 }, { events = drops }))
  end)

  it("per call", function()
    assert.same({ "timeout", "attempt", 3 }, fails({ attempt = 20 }, { fault = "hang" }, { timeout = { attempt = 3 } }))
  end)

  it("per line", function()
    local lab = sim.lab({ a = hang, b = hang }, { retry = { max_attempts = 2 }, timeout = { attempt = 9 },
      endpoints = { { name = "a", timeout = { attempt = 2 } }, { name = "b" } } })
    lab.client:chat "Hi"
    assert.same({ "a 0, b 2", 11 }, { lab:sent(), lab.sim:now() })
  end)
end)

describe("a call is cancelled", function()
  after_each(sim.settled)

  local function cancelled(outcome, at, attempts)
    assert.is_nil(outcome.result)
    assert.same({ "cancelled", at, attempts, false },
      { outcome.err.kind, outcome.at, #outcome.err.attempts, outcome.err.retryable })
  end

  it("in flight, and frees its slot for the next", function()
    local lab = sim.lab({ a = { hang, ok } }, { concurrency = { limit = 1 } })
    local first, second = lab:start(), lab:start()
    lab:pass(2)
    first.task:cancel()
    lab.sim:run()
    cancelled(first, 2, 1)
    assert.same({ "cancelled", true }, { first.err.attempts[1].kind, first.err.sent })
    assert.near(2.1, second.at, 1e-9)
  end)

  it("in the queue, and those behind it move up", function()
    local lab = sim.lab({ a = { after = 5, text = "ok" } }, { concurrency = { limit = 1 } })
    local first, second, third = lab:start(), lab:start(), lab:start()
    lab:pass(2)
    second.task:cancel()
    lab.sim:run()
    cancelled(second, 2, 0)
    assert.is_false(second.err.sent)
    assert.same({ 5, 10 }, { first.at, third.at })
  end)

  it("in its backoff", function()
    local lab = sim.lab { a = bad }
    local call = lab:start()
    lab:pass(0.3)
    call.task:cancel()
    lab.sim:run()
    cancelled(call, 0.3, 1)
    assert.equal("a 0", lab:sent())
  end)

  it("while it waits for rate", function()
    local lab = sim.lab({ a = ok }, { rate = { requests_per_second = 1, burst = 1 } })
    local first, second, third = lab:start(), lab:start(), lab:start()
    lab:pass(0.5)
    second.task:cancel()
    lab.sim:run()
    cancelled(second, 0.5, 0)
    assert.near(0.1, first.at, 1e-9)
    assert.near(1.1, third.at, 1e-6)
  end)

  it("while it waits for a probe", function()
    local lab = sim.lab({ a = bad }, { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, jitter = 0 } })
    lab.client:chat "Hi"
    local call = lab:start()
    lab:pass(1.9)
    call.task:cancel()
    lab.sim:run()
    cancelled(call, 2, 0)
  end)

  it("inside validate, while the question is open", function()
    local lab = sim.lab({ a = ok }, { breaker = { failure_threshold = 1 } })
    local switch = surefoot.canceller()
    local _, err = lab.client:chat("Hi", { cancel = switch, validate = function()
      switch:cancel()
      return true
    end })
    assert.same({ "cancelled", "cancelled" }, { err.kind, err.attempts[1].kind })
    assert.same({ "closed", 0 }, { lab:line("a").breaker, lab.client:stats().successes })
  end)

  for _, event in ipairs { "attempt_started", "first_token", "retried", "queued" } do
    it("inside on_event, at " .. event, function()
      local lab = sim.lab({ a = { bad, ok } }, { concurrency = { limit = 1 } })
      local holder = event == "queued" and lab:start() or nil
      local switch = surefoot.canceller()
      local call = lab:start { cancel = switch, on_event = function(name)
        if name == event then switch:cancel() end
      end }
      lab.sim:run()
      assert.equal("cancelled", call.err.kind)
      assert.equal(1, call.times)
      assert(not holder or holder.result)
    end)
  end

  it("while it is asked for another encoding", function()
    local lab = sim.lab { a = { after = 0.1, status = 404 } }
    local switch = surefoot.canceller()
    local _, err = lab.client:chat("Hi", { cancel = switch, fallbacks = { "other" }, on_event = function(name, data)
      if name == "attempt_started" and data.attempt == 1 then
        lab.sim:spawn(function() switch:cancel() end)
      end
    end })
    assert.is_true(err.kind == "cancelled" or err.kind == "not_found")
  end)

  it("before it begins", function()
    local lab = sim.lab { a = ok }
    local switch = surefoot.canceller()
    switch:cancel()
    local _, err = lab.client:chat("Hi", { cancel = switch })
    assert.same({ "cancelled", false, 0 }, { err.kind, err.sent, #lab.log })
  end)

  it("with all the others of its canceller, once", function()
    local lab = sim.lab({ a = hang }, { concurrency = { limit = 5 } })
    local switch, calls = surefoot.canceller(), {}
    for i = 1, 20 do
      calls[i] = lab:start { cancel = switch }
    end
    lab:pass(1)
    switch:cancel()
    switch:cancel()
    lab.sim:run()
    for i = 1, 20 do
      cancelled(calls[i], 1, i <= 5 and 1 or 0)
    end
  end)

  it("after it has settled, without effect", function()
    local lab = sim.lab { a = ok }
    local switch = surefoot.canceller()
    local result = assert(lab.client:chat("Hi", { cancel = switch }))
    switch:cancel()
    assert.equal("ok", result.text)
    assert.equal(1, lab.client:stats().successes)
  end)

  it("with the coroutine that nobody holds any more", function()
    local lab = sim.lab({ a = { hang, ok } }, { concurrency = { limit = 1 } })
    local engine = lab.sim.engine
    local client = lab.client
    client.core:submit(engine, 1 > 0 and client.core:plan { { route = 1, endpoint = 1, variant = 1,
      model = "m" } } or 0,
      { deadline = 100, variant = 1, method = "GET", path = "/" })
    assert.equal(1, engine:in_flight())
    collectgarbage()
    collectgarbage()
    assert.equal(0, engine:in_flight())
  end)
end)

describe("a client that closes", function()
  after_each(sim.settled)

  it("ends its calls wherever they are", function()
    local lab = sim.lab({ a = { bad, hang } }, { concurrency = { limit = 2 }, retry = { base_delay = 50 } })
    local calls = { lab:start(), lab:start(), lab:start(), lab:start() }
    lab:pass(1)
    lab.client:close()
    lab.sim:run()
    for i = 1, 4 do
      assert.same({ "closed", 1 }, { calls[i].err.kind, calls[i].at })
    end
    local _, err = lab.client:chat "Hi"
    assert.same({ "closed", false }, { err.kind, err.sent })
  end)

  it("drains: what was asked ends, nothing new begins", function()
    local lab = sim.lab({ a = { after = 3, text = "ok" } }, { concurrency = { limit = 1 } })
    local first, second = lab:start(), lab:start()
    lab:pass(1)
    local closed_at
    lab.sim:spawn(function()
      lab.client:close { drain = 60 }
      closed_at = lab.sim:now()
    end)
    lab:pass(1)
    local _, err = lab.client:chat "Hi"
    assert.equal("closed", err.kind)
    lab.sim:run()
    assert.same({ 3, 6, 6 }, { first.at, second.at, closed_at })
  end)

  it("drains at most so long", function()
    local lab = sim.lab { a = hang }
    local call = lab:start()
    lab:pass(1)
    lab.client:close { drain = 5 }
    lab.sim:run()
    assert.same({ "closed", 6 }, { call.err.kind, call.at })
  end)

  it("leaves another client on the same lines alone", function()
    local lab = sim.lab { a = { after = 2, text = "ok" } }
    local other = lab:another()
    local mine, theirs = lab:start(), lab:start(nil, nil, other)
    lab:pass(1)
    lab.client:close()
    lab.sim:run()
    assert.equal("closed", mine.err.kind)
    assert.same({ "ok", 2 }, { theirs.result.text, theirs.at })
  end)
end)
