-- A line counted an attempt as in flight until Lua had judged it: statistics showed more than the limit, and routing
-- took a line for busy because its caller was slow.
local sim = require "spec.support.sim"

describe("attempts in flight on a line", function()
  after_each(sim.settled)

  it("are those whose bytes are still to come", function()
    local lab = sim.lab({ a = { after = 1, text = "ok" } }, { concurrency = { limit = 2 } })
    for _ = 1, 4 do
      lab:start { validate = function()
        lab.sim.scheduler:sleep(10)
        return true
      end }
    end
    lab:pass(5)
    assert.equal(0, lab:line("a").in_flight)
    lab.sim:run()
    assert.equal(2, lab:line("a").peak_in_flight)
  end)
end)
