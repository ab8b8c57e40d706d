-- A connection that took too long shrank the adaptive limit like an answer that took too long; it says nothing about
-- load.
local sim = require "spec.support.sim"

local function limit_after(script)
  local lab = sim.lab({ a = script }, { retry = { max_attempts = 1 }, timeout = { connect = 1, attempt = 5 },
    concurrency = { limit = 10, adaptive = true } })
  lab.client:chat "Hi"
  return lab.client:stats().limit
end

describe("the adaptive concurrency limit", function()
  after_each(sim.settled)

  it("holds after a connect timeout", function()
    assert.equal(10, limit_after { connect = 100 })
  end)

  it("shrinks after a timeout of the answer", function()
    assert.equal(9, limit_after { fault = "hang" })
  end)
end)
