-- Every response header forgave the breaker's run of failures, so a line that answered each request with 500 (or with a
-- cut body) never opened its circuit by failure_threshold.
local sim = require "spec.support.sim"

local function state_after(lines, calls)
  local lab = sim.lab({ a = lines }, { retry = { max_attempts = 1 }, breaker = { failure_threshold = 5 } })
  for _ = 1, calls do
    lab.client:chat "Hi"
  end
  return lab:line("a").breaker
end

describe("the breaker's run of failures", function()
  after_each(sim.settled)

  for name, script in pairs {
    ["500"] = { status = 500 }, ["cut bodies"] = { fault = "cut", body = "{" },
      ["pages instead of JSON"] = { body = "<html>" },
  } do
    it("grows with " .. name, function()
      assert.equal("closed", state_after(script, 4))
      assert.equal("open", state_after(script, 5))
    end)
  end

  it("is neither grown nor forgiven by 429 and 400", function()
    local bad = { status = 500 }
    assert.equal("closed", state_after({ bad, bad, bad, bad, { status = 429 }, { status = 400 } }, 6))
    assert.equal("open", state_after({ bad, bad, bad, bad, { status = 429 }, { status = 400 }, bad }, 7))
  end)

  it("is forgiven by a whole answer", function()
    local bad = { status = 500 }
    assert.equal("closed", state_after({ bad, bad, bad, bad, { text = "ok" }, bad, bad, bad, bad }, 9))
  end)
end)
