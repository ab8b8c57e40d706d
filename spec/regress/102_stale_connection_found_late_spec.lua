-- A kept connection that died after the connect timeout had passed was asked again on a new one, as it should be; but
-- the connect phase of the new one was counted from the start of the old one: it was over before it began.
local surefoot = require "surefoot"

describe("a kept connection that dies late", function()
  it("gives its successor a connect phase of its own", function()
    local seen = 0
    local sim = surefoot.simulate { seed = 1, endpoints = { a = function()
      seen = seen + 1
      if seen == 1 then
        return { reused = true, after = 12, fault = "reset" }
      end
      return { connect = 1, after = 2, text = "whole" }
    end } }
    local client = sim:client { timeout = { connect = 10 }, retry = { max_attempts = 1 } }
    local result = assert(client:chat "Hello")
    assert.equal("whole", result.text)
    assert.equal(1, #result.attempts)
    assert.equal(2, seen)
    assert.equal(14, sim:now())
  end)
end)
