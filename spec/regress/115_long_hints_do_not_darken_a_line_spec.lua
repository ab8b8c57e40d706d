--- A Retry-After of years became the line's latency as it stood: for hours after the server was well again, every other
--- line looked faster, and twice the number did not fit its type.

local sim = require "spec.support.sim"

describe("a Retry-After beyond the cap", function()
  after_each(sim.settled)

  for _, hint in ipairs { "31536000", "9000000000" } do
    it(("of %s s weighs no more than the cap in the line's latency"):format(hint), function()
      local lab = sim.lab({
        a = { { status = 429, headers = { ["retry-after"] = hint } }, { text = "ok" } },
        b = { text = "ok" },
      })
      assert(lab.client:chat "Hi")
      assert.equal("a 0, b 0", lab:sent())
      local ewma = lab:line("a").ewma
      assert.is_true(ewma > 119 and ewma <= 120, ewma)
    end)
  end
end)
