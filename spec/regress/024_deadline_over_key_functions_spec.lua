--- The time that a function of api_key took did not count against the call's deadline.

local sim = require "spec.support.sim"
local surefoot = require "surefoot"

describe("the deadline of a call whose key comes from a function", function()
  after_each(sim.settled)

  local function laboratory(line)
    return sim.lab({ a = line }, {
      endpoints = { { name = "a", api_key = function()
        surefoot.sleep(5)
        return "a-key"
      end } },
    })
  end

  it("is over when the function took it all", function()
    local lab = laboratory { after = 1, text = "x" }
    local call = lab:start { deadline = 2 }
    lab.sim:run()
    assert.equal("deadline", call.err and call.err.kind)
    assert.is_false(call.err.sent)
    assert.equal("", lab:sent())
  end)

  it("leaves the attempts what is left", function()
    local lab = laboratory { fault = "hang" }
    local call = lab:start { deadline = 7 }
    lab.sim:run()
    assert.equal("deadline", call.err.kind)
    assert.is_true(call.err.sent)
    assert.near(7, call.at, 1e-6)
  end)
end)
