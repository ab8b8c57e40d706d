-- The timer of an attempt was set for the connect phase and looked at again only when it fired, so that a shorter phase
-- after it (the first byte, the silence between bytes) was noticed as late as the connect timeout would have been.
local surefoot = require "surefoot"

local function ask(timeout, script)
  local sim = surefoot.simulate { seed = 1, endpoints = { a = function() return script end } }
  local client = sim:client { timeout = timeout, retry = { max_attempts = 1 } }
  local _, err = client:chat "Hello"
  return err, sim:now()
end

describe("a phase that is shorter than the one before", function()
  it("ends in time: the first byte", function()
    local err, now = ask({ first_byte = 1 }, { fault = "hang" })
    assert.same({ "timeout", "first_byte", 1 }, { err.kind, err.phase, now })
  end)

  it("is counted from its own beginning", function()
    local err, now = ask({ first_byte = 1 }, { connect = 3, fault = "hang" })
    assert.same({ "timeout", "first_byte", 4 }, { err.kind, err.phase, now })
  end)

  it("ends in time: silence between bytes", function()
    local err, now = ask({ first_byte = 8, idle = 2 }, { events = { { at = 1, data = "{" }, { at = 20, data = "}" } } })
    assert.same({ "timeout", "idle", 3 }, { err.kind, err.phase, now })
  end)
end)
