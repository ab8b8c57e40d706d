-- The circuit breaker in a call's life: leases, probes, waiting for them, and where calls go meanwhile.
local sim = require "spec.support.sim"

local bad, ok = { status = 500 }, { after = 0.1, text = "ok" }
local one = { failure_threshold = 1, jitter = 0 }

describe("a line whose circuit is open", function()
  after_each(sim.settled)

  it("is passed over at no cost", function()
    local lab = sim.lab({ a = bad, b = ok }, { breaker = one })
    assert(lab.client:chat "Hi")
    local result = assert(lab.client:chat "Hi")
    assert.equal("a 0, b 0, b 0.1", lab:sent())
    assert.equal(1, #result.attempts)
    assert.equal(500, lab:balance())
  end)

  it("is asked again when it may be, one call first", function()
    local lab = sim.lab({ a = { bad, { after = 1, text = "probe" }, ok }, b = ok }, { breaker = one })
    assert(lab.client:chat "Hi")
    lab:pass(5)
    local calls = {}
    for i = 1, 6 do
      calls[i] = lab:start()
    end
    lab.sim:run()
    local probes = 0
    for i = 1, 6 do
      probes = probes + (calls[i].result.text == "probe" and 1 or 0)
    end
    assert.equal(1, probes)
    assert.equal("closed", lab:line("a").breaker)
    assert.equal("a", lab.client:chat("Hi").endpoint)
  end)

  it("lets half_open_requests probes out at a time, never more", function()
    for permits = 1, 4 do
      local lab = sim.lab({ a = function(n)
        if n == 1 then return bad end
        return { after = 2, status = 500 }
      end }, { retry = { max_attempts = 1 },
        breaker = { failure_threshold = 1, jitter = 0, half_open_requests = permits } })
      lab.client:chat "Hi"
      for _ = 1, 20 do
        lab:start { deadline = 6.5 }
      end
      lab:pass(5.5)
      assert.same({ permits, permits }, { #lab.log - 1, lab:line("a").peak_in_flight })
      lab.sim:run()
      assert.equal(permits, #lab.log - 1)
    end
  end)

  it("stays shut longer each time its probe fails", function()
    local lab = sim.lab({ a = bad }, { retry = { max_attempts = 1 }, breaker = one })
    for _ = 1, 7 do
      lab.client:chat "Hi"
    end
    assert.equal("a 0, a 5, a 15, a 35, a 75, a 135, a 195", lab:sent())
  end)

  it("alone: calls wait for the probe, in order, if their deadline allows", function()
    local lab = sim.lab({ a = { bad, ok } }, { retry = { max_attempts = 1 }, breaker = one })
    lab.client:chat "Hi"
    local waiting, hasty = lab:start { deadline = 30 }, lab:start { deadline = 4 }
    lab.sim:run()
    assert.near(5.1, waiting.at, 1e-9)
    assert.same({ "circuit_open", 0, false, 0 }, { hasty.err.kind, hasty.at, hasty.err.sent, #hasty.err.attempts })
    assert.near(5, hasty.err.retry_after, 1e-9)
    assert.near(5, hasty.err.retry_at, 1e-9)
    assert.is_true(hasty.err.retryable)
    assert.matches("circuit", hasty.err.message)
  end)

  it("alone, as the last line left: a retry waits for the probe too", function()
    local lab = sim.lab({ a = { bad, ok } }, { breaker = one })
    local result = assert(lab.client:chat "Hi")
    assert.near(5.5, lab.log[2].at, 1e-6)
    assert.equal("a server, a ok", sim.trail(result))
  end)

  it("a retry that cannot wait says what its own failure was", function()
    local lab = sim.lab({ a = bad }, { breaker = one })
    local _, err = lab.client:chat("Hi", { deadline = 3 })
    assert.same({ "server", 0, 500 }, { err.kind, lab.sim:now(), lab:balance() })
    assert.is_true(err.retry_after >= 5)
  end)

  it("all lines: the earliest probe counts", function()
    local lab = sim.lab({ a = { bad, ok }, b = { bad, ok } }, { retry = { max_attempts = 2 }, endpoints = {
      { name = "a", breaker = { failure_threshold = 1, jitter = 0, recovery_timeout = 20 } },
      { name = "b", breaker = { failure_threshold = 1, jitter = 0, recovery_timeout = 8 } },
    } })
    lab.client:chat "Hi"
    local result = assert(lab.client:chat "Hi")
    assert.same({ "b", "a 0, b 0, b 8" }, { result.endpoint, lab:sent() })
  end)

  it("B3 a call begun before the trip does not close it", function()
    local lab = sim.lab({ a = { { after = 3, text = "late" }, bad, ok } }, { retry = { max_attempts = 1 },
      breaker = one })
    local late = lab:start()
    lab:start()
    lab:pass(4)
    assert.equal("late", late.result.text)
    assert.equal("open", lab:line("a").breaker)
    lab.sim:run()
  end)

  it("B4 late failures do not push the recovery", function()
    local lab = sim.lab({ a = { { after = 3, status = 500 }, bad, ok } }, { retry = { max_attempts = 1 },
      breaker = one })
    lab:start()
    lab:start()
    lab:pass(4)
    assert.near(1, lab:line("a").breaker_seconds_left, 1e-6)
    assert(lab.client:chat "Hi")
    assert.equal("a 0, a 0, a 5", lab:sent())
    lab.sim:run()
  end)

  it("opens by the ratio as well", function()
    local lab = sim.lab({ a = function(n) return n % 2 == 0 and bad or ok end }, { retry = { max_attempts = 1 } })
    for i = 1, 20 do
      assert.equal("closed", lab:line("a").breaker, i)
      lab.client:chat "Hi"
    end
    assert.equal("open", lab:line("a").breaker)
  end)

  it("opens for slowness alone", function()
    local lab = sim.lab({ a = { after = 2, text = "ok" }, b = ok }, { breaker = { slow_call = 2, min_calls = 5 } })
    for i = 1, 5 do
      assert.equal("closed", lab:line("a").breaker, i)
      assert(lab.client:chat "Hi")
    end
    assert.equal("open", lab:line("a").breaker)
  end)

  it("does not open for slowness when it is the last that is closed", function()
    local slow = { after = 2, text = "ok" }
    local lab = sim.lab({ a = slow, b = slow, c = slow }, { breaker = { slow_call = 2, min_calls = 2 } })
    for _ = 1, 40 do
      assert(lab.client:chat("Hi", { deadline = 3 }))
    end
    assert.same({ "open", "open", "closed" }, { lab:line("a").breaker, lab:line("b").breaker, lab:line("c").breaker })
  end)

  it("recovers a probe that never answers, by its lease", function()
    local lab = sim.lab({ a = { bad, { fault = "hang" }, ok } }, { timeout = { attempt = 3 },
      retry = { max_attempts = 1 },
      breaker = one })
    lab.client:chat "Hi"
    local probe, waiting = lab:start { timeout = { attempt = 50 } }, lab:start()
    lab.sim:run()
    assert.equal("a 0, a 5, a 8", lab:sent())
    assert.equal("ok", waiting.result.text)
    assert.equal("timeout", probe.err.kind)
    assert.equal("closed", lab:line("a").breaker)
  end)

  it("tells observers when it changes", function()
    local lab = sim.lab({ a = { bad, bad, ok } }, { retry = { max_attempts = 1 }, breaker = one })
    local seen = {}
    for _ = 1, 3 do
      lab.client:chat("Hi", { on_event = function(name, data)
        if name == "breaker_changed" then seen[#seen + 1] = data.breaker .. " " .. sim.time(data.at) end
      end })
    end
    assert.same({ "open 0", "open 5", "closed 15.1" }, seen)
  end)

  it("does not exist with breaker = false", function()
    local lab = sim.lab({ a = bad }, { retry = { max_attempts = 1 }, breaker = false })
    for _ = 1, 50 do
      lab.client:chat "Hi"
    end
    assert.equal(50, #lab.log)
    assert.is_nil(lab:line("a").breaker)
  end)
end)
