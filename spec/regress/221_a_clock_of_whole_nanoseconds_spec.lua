-- A simulation that ran for 0.37 s for the seventh time never ended: 4e-16 s were left to it, and its clock moves in
-- whole nanoseconds.

local surefoot = require "surefoot"

describe("a simulation", function()
  it("runs for any number of seconds, any number of times", function()
    local sim = surefoot.simulate { seed = 1, endpoints = { a = function() return { after = 1, text = "x" } end } }
    local scheduler, moves = sim.scheduler, 0
    local wait_for = scheduler.wait_for
    function scheduler.wait_for(...)
      moves = moves + 1
      assert(moves < 1000, "the clock stands still")
      return wait_for(...)
    end
    for i = 1, 100 do
      sim:run(0.37)
      assert.near(0.37 * i, sim:now(), 1e-6)
    end
  end)
end)
