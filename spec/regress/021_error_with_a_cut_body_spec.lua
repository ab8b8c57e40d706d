--- An error's answer whose body ended early was taken for any broken answer: a refused key was asked again and again.
--- The status had come, and it decides.

local sim = require "spec.support.sim"

describe("an error's answer that is cut", function()
  after_each(sim.settled)

  for status, expected in pairs {
    [401] = { "unauthorized", 1 }, [400] = { "invalid_request", 1 }, [429] = { "rate_limited", 3 },
    [500] = { "server", 3 },
  } do
    it("is judged by its status " .. status, function()
      local line = { after = 0.1, status = status, body = '{"error":{"message":"so it is"', fault = "cut" }
      local lab = sim.lab({ a = line },
        { retry = { budget = false, base_delay = 0.01, throttled_base_delay = 0.01, max_attempts = 3 } })
      local call = lab:start()
      lab:pass(10)
      assert.equal(expected[1], call.err.kind)
      assert.equal(status, call.err.status)
      assert.equal(expected[2], #call.err.attempts)
    end)
  end

  it("leaves an answer that was to be accepted truncated", function()
    local lab = sim.lab({ a = { after = 0.1, text = "well", fault = "cut" } }, { retry = { max_attempts = 1 } })
    local call = lab:start()
    lab:pass(10)
    assert.equal("truncated", call.err.kind)
  end)
end)
