--- The only attempt of a call failed while its hedge waited to be encoded: the same variant was asked for, for ever.

local sim = require "spec.support.sim"

local WARM = 60

describe("a first attempt that fails at the moment at which its hedge is to be encoded", function()
  after_each(sim.settled)

  it("is followed by that line, as after any failure", function()
    local lab = sim.lab({
      a = function(n)
        return n <= WARM and { after = 0.1, text = "ok" } or { after = 0.5, fault = "reset" }
      end,
      b = { after = 0.1, text = "from b" },
    }, {
      hedge = { min_delay = 0.5 }, model = "m",
      endpoints = { { name = "a" }, { name = "b", models = { m = "n" } } },
    })
    for _ = 1, WARM do
      assert(lab.client:chat "Hi")
    end
    local outcome = lab:start()
    lab:pass(60)
    assert.same({ "from b", "a network, b ok" }, { outcome.result.text, sim.trail(outcome.result) })
  end)
end)
