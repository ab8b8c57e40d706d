--- As long as a call waited for one line, no call was hedged on the others.

local sim = require "spec.support.sim"

local WARM = 60

describe("a call that waits for a line of its own", function()
  after_each(sim.settled)

  it("keeps no hedge from another", function()
    local quick = { after = 0.1, text = "ok" }
    local lab = sim.lab({
      a = function(n)
        return n <= WARM and quick or { after = 5, text = "slow" }
      end,
      b = { after = 0.1, text = "hedged" }, c = quick,
    }, {
      hedge = { min_delay = 0.5 }, model = "m",
      endpoints = { { name = "a", models = { "m" } }, { name = "b", models = { "m" } },
        { name = "c", models = { "other" }, rate = { requests_per_second = 0.02, burst = 1 } } },
    })
    for _ = 1, WARM do
      assert(lab.client:chat "Hi")
    end
    for _ = 1, 2 do -- the second has to wait
      lab:start(nil, { model = "other", messages = { { role = "user", content = "Hi" } } })
    end
    lab:pass(0.2)
    assert.equal(1, lab.client:stats().queue)
    local outcome = lab:start()
    lab:pass(100)
    assert.same({ "hedged", "a cancelled, b ok" }, { outcome.result.text, sim.trail(outcome.result) })
  end)
end)
