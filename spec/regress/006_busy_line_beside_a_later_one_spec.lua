-- A call was refused at once when the one line was shut until after its deadline and the other merely had no free slot.
local sim = require "spec.support.sim"

describe("a line without a free slot", function()
  after_each(sim.settled)

  it("is waited for, though the other one is shut until after the deadline", function()
    local lab = sim.lab({ a = { status = 500 }, b = { after = 2, text = "ok" } }, {
      retry = { max_attempts = 1 },
      endpoints = {
        { name = "a", breaker = { failure_threshold = 1, recovery_timeout = 60, jitter = 0 } },
        { name = "b", concurrency = { limit = 1 } },
      },
    })
    lab.client:chat "Hi"
    assert.equal("open", lab:line("a").breaker)
    local first, second = lab:start(), lab:start { deadline = 10 }
    lab.sim:run()
    assert.equal(2, first.at)
    assert.equal(4, second.at)
    assert.equal("ok", second.result and second.result.text)
  end)
end)
