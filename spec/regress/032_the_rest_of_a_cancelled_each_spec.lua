-- client:each ended after a cancel without a word about the requests that had not begun; batch tells of all.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local requests = { "a", "b", "c", "d", "e", "f" }

local function read(lab)
  local switch, told, kinds = surefoot.canceller(), {}, {}
  local next_result = lab.client:each(requests, { concurrency = 2, cancel = switch })
  local i, result, err = next_result()
  while i do
    told[#told + 1] = i
    kinds[i] = result and "ok" or err.kind
    switch:cancel()
    i, result, err = next_result()
  end
  table.sort(told)
  assert.same({ 1, 2, 3, 4, 5, 6 }, told)
  assert.equal("ok", kinds[1])
  for j = 3, 6 do
    assert.equal("cancelled", kinds[j])
  end
end

describe("client:each, cancelled", function()
  after_each(sim.settled)

  it("tells of every request once", function()
    local lab = sim.lab { a = { after = 1, text = "x" } }
    read(lab)
    assert.is_true(#lab.log <= 4)
  end)

  it("does so in a task", function()
    local lab, done = sim.lab { a = { after = 1, text = "x" } }, false
    lab.sim:spawn(function()
      read(lab)
      done = true
    end)
    lab.sim:run()
    assert.is_true(done)
  end)
end)
