-- While a patient call waited for the first probe, a call behind it whose deadline came before that probe was not told
-- circuit_open at once but left to its deadline.
local sim = require "spec.support.sim"

describe("a call that cannot wait for the first probe", function()
  after_each(sim.settled)

  it("is refused at once, behind one that can", function()
    local lab = sim.lab({ a = { { status = 500 }, { text = "ok" } } },
      { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1, jitter = 0, recovery_timeout = 30 } })
    lab.client:chat "Hi"
    local patient, hasty = lab:start(), lab:start { deadline = 10 }
    lab.sim:run()
    assert.same({ 30, "ok" }, { patient.at, patient.result.text })
    assert.same({ 0, "circuit_open", false }, { hasty.at, hasty.err.kind, hasty.err.sent })
    assert.near(30, hasty.err.retry_after, 1e-9)
  end)
end)
