--- After one 429 with a long Retry-After so few requests were taken for the limit of a window so long, for minutes.

local sim = require "spec.support.sim"

describe("a refusal that asks for a long wait", function()
  after_each(sim.settled)

  it("is waited for, and the pace comes back", function()
    local lab = sim.lab({ a = function(n)
      return n == 15 and { after = 0.1, status = 429, headers = { ["retry-after"] = "20" } }
        or { after = 0.2, text = "ok" }
    end }, { rate = {}, concurrency = { limit = 5 } })
    for _ = 1, 300 do
      lab:start()
    end
    lab:pass(60)
    assert.equal(301, #lab.log)
    assert.is_true(lab.log[301].at < 40, lab.log[301].at)
  end)
end)
