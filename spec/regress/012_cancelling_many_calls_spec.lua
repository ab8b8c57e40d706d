-- A canceller ended its calls one by one; each end freed a slot, and a call that was to be cancelled next was
-- sent first.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

describe("a canceller of many calls", function()
  after_each(sim.settled)

  it("sends none of those that wait", function()
    local lab = sim.lab({ a = { fault = "hang" } }, { concurrency = { limit = 5 } })
    local switch = surefoot.canceller()
    for _ = 1, 100 do
      lab:start { cancel = switch }
    end
    lab:pass(1)
    switch:cancel()
    lab.sim:run()
    assert.equal(5, lab.client:stats().attempts)
  end)

  it("lets others have the slots", function()
    local lab = sim.lab({ a = function(n) return n <= 5 and { fault = "hang" } or { text = "ok" } end },
      { concurrency = { limit = 5 } })
    local switch, others = surefoot.canceller(), {}
    for i = 1, 10 do
      lab:start { cancel = switch }
      others[i] = lab:start { deadline = 20 }
    end
    lab:pass(1)
    switch:cancel()
    lab.sim:run()
    local answered = 0
    for i = 1, 10 do
      answered = answered + (others[i].result and 1 or 0)
    end
    assert.is_true(answered >= 7)
  end)
end)
