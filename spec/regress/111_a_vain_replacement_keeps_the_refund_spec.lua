--- What a retry had cost was not given back by success where a hedge failed meanwhile and no line could replace it.

local sim = require "spec.support.sim"

local WARM = 60

describe("a failed hedge that no other line can take the place of", function()
  after_each(sim.settled)

  it("leaves the cost of the retry beside it to be given back by its success", function()
    local bad = { after = 0.1, status = 500 }
    local lab = sim.lab({
      a = function(n)
        return n <= WARM and { after = 0.1, text = "ok" } or bad
      end,
      b = { after = 1, text = "late" },
      c = bad,
    }, { hedge = { min_delay = 0.5 } })
    for _ = 1, WARM do
      assert(lab.client:chat "Hi")
    end
    assert.equal(500, lab:balance())
    local result = assert(lab.client:chat "Hi")
    assert.same({ "late", "a server, b ok, c server" }, { result.text, sim.trail(result) })
    assert.equal(500, lab:balance())
  end)
end)
