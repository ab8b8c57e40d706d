--- Lines that hung more often than hedges were allowed emptied the retry budget: failures were not retried any more.

local sim = require "spec.support.sim"

local WARM = 60
local HEDGE = { min_delay = 0.5, budget = 0.001, burst = 1 }

local function lab_of(a, b)
  local lab = sim.lab({
    a = function(n)
      return n <= WARM and { after = 0.1, text = "ok" } or a
    end,
    b = b,
  }, { hedge = HEDGE, breaker = false, retry = { budget = { capacity = 500, floor_per_second = 0 } } })
  for _ = 1, WARM do
    assert(lab.client:chat "Hi")
  end
  return lab
end

describe("what is sent because a line is silent", function()
  after_each(sim.settled)

  it("is given back where the line was failing", function()
    local lab = lab_of({ fault = "hang" }, { after = 0.1, text = "from b" })
    for _ = 1, 100 do
      assert.equal("from b", lab.client:chat("Hi").text)
    end
    assert.equal(500, lab:balance())
  end)

  it("stays paid where it was only slow, and leaves half of the budget to failures", function()
    local lab = lab_of({ after = 2, text = "slow" }, { after = 2, text = "slow" })
    local first = lab.client:stats().attempts
    for _ = 1, 50 do
      assert.equal("slow", lab.client:chat("Hi").text)
    end
    assert.is_true(lab.client:stats().attempts - first < 50 + 1 + 20 + 5, lab.client:stats().attempts - first)
    assert.is_true(lab:balance() >= 500 / 2 - 14, lab:balance())
  end)
end)
