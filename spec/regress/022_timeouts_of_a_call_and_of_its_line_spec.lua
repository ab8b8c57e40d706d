--- A call's own timeouts replaced all of a line's, also those that the call did not name: the client's came instead.

local sim = require "spec.support.sim"

describe("a call's own timeout", function()
  after_each(sim.settled)

  local function outcome(timeout)
    local lab = sim.lab({ a = { fault = "hang" } }, {
      endpoints = { { name = "a", timeout = { attempt = 2 } } }, retry = { max_attempts = 1 },
    })
    local call = lab:start { timeout = timeout }
    lab.sim:run()
    return call
  end

  it("leaves the line its own where it says only how long all may take", function()
    local call = outcome { total = 200 }
    assert.equal("timeout", call.err.kind)
    assert.equal("attempt", call.err.phase)
    assert.near(2, call.at, 1e-6)
  end)

  it("leaves the line the others", function()
    local call = outcome { idle = 50 }
    assert.equal("attempt", call.err.phase)
    assert.near(2, call.at, 1e-6)
    assert.matches("attempt after 2 s", call.err.message, 1, true)
  end)

  it("replaces the line's of the same name", function()
    local call = outcome { attempt = 3 }
    assert.near(3, call.at, 1e-6)
    assert.matches("attempt after 3 s", call.err.message, 1, true)
  end)
end)
