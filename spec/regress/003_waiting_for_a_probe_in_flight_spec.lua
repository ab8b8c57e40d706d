-- A call that found the circuit half-open with the probe out was told circuit_open at once when its deadline came
-- before the end of the probe's lease (120 s by default), though the probe's answer was a moment away.
local sim = require "spec.support.sim"

local config = { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, jitter = 0 } }

describe("calls that wait while a probe is out", function()
  after_each(sim.settled)

  it("go on when it succeeds", function()
    local lab = sim.lab({ a = { { status = 500 }, { after = 2, text = "probe" }, { text = "ok" } } }, config)
    lab.client:chat "Hi"
    local calls = {}
    for i = 1, 4 do
      calls[i] = lab:start { deadline = 20 }
    end
    lab.sim:run()
    assert.equal("a 0, a 5, a 7, a 7, a 7", lab:sent())
    for i = 1, 4 do
      assert.is_table(calls[i].result)
    end
  end)

  it("wait again, or are refused, when it fails", function()
    local lab = sim.lab({ a = { { status = 500 }, { after = 2, status = 500 }, { text = "ok" } } }, config)
    lab.client:chat "Hi"
    local probe, patient, hasty = lab:start { deadline = 60 }, lab:start { deadline = 60 }, lab:start { deadline = 15 }
    lab.sim:run()
    assert.equal("a 0, a 5, a 17", lab:sent())
    assert.equal("server", probe.err.kind)
    assert.is_table(patient.result)
    assert.same({ "circuit_open", 7, false }, { hasty.err.kind, hasty.at, hasty.err.sent })
    assert.near(10, hasty.err.retry_after, 1e-9)
  end)

  it("end with their deadline", function()
    local lab = sim.lab({ a = { { status = 500 }, { fault = "hang" } } }, config)
    lab.client:chat "Hi"
    local probe, waiting = lab:start { deadline = 60 }, lab:start { deadline = 20 }
    lab.sim:run()
    assert.same({ "deadline", 60 }, { probe.err.kind, probe.at })
    assert.same({ "deadline", 20, false }, { waiting.err.kind, waiting.at, waiting.err.sent })
  end)
end)
