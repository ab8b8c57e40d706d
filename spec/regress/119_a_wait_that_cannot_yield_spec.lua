-- A task that waits where Lua cannot yield (in a function that string.gsub calls, on 5.1 also under pcall) gets an
-- error. What it had begun to wait for went on unseen until its deadline, and a cancel of the task went to that.

local sim = require "spec.support.sim"
local surefoot = require "surefoot"

-- Makes a wait fail by waiting inside of a C function that cannot be yielded across; gives back the message.
local function within_c(f)
  local ok, problem = pcall(string.gsub, "x", "x", f)
  assert.is_false(ok)
  return problem
end

describe("a wait that cannot yield", function()
  after_each(sim.settled)

  local function slow(_, request)
    return { after = request.json.messages[1].content == "slow" and 100 or 1, text = "ok" }
  end

  it("throws, and its call ends with the task", function()
    local lab = sim.lab { a = slow }
    local problem
    lab.sim:spawn(function()
      problem = within_c(function() lab.client:chat "slow" end)
    end)
    lab.sim:run()
    assert.matches("attempt to yield across", problem)
    assert.same({ 0, 0 }, { lab.sim:now(), lab.client:stats().in_flight })
    assert.equal(1, lab.client:stats().errors.cancelled)
  end)

  it("also where the task dies of it", function()
    local lab = sim.lab { a = slow }
    lab.sim:spawn(function()
      return (("x"):gsub("x", function() lab.client:chat "slow" end))
    end)
    local ok, problem = pcall(lab.sim.run, lab.sim)
    assert.is_false(ok)
    assert.matches("attempt to yield across", problem)
    assert.same({ 0, 0 }, { lab.sim:now(), lab.client:stats().in_flight })
  end)

  it("throws, and its call ends with the next wait, whatever that is", function()
    local lab = sim.lab { a = slow }
    for _, wait in ipairs {
      function() assert(lab.client:chat "x") end,
      function() assert(surefoot.sleep(1)) end,
      function() assert(assert(lab.client:stream "x"):result()) end,
      function() assert(lab.sim:spawn(function() surefoot.sleep(1) return 1 end):wait()) end,
    } do
      local before = lab.sim:now()
      lab.sim:spawn(function()
        within_c(function() lab.client:chat "slow" end)
        wait()
        assert.equal(0, lab.client:stats().in_flight)
        assert(surefoot.sleep(1))
      end)
      lab.sim:run()
      assert.equal(2, lab.sim:now() - before)
    end
  end)

  it("leaves the task to be cancelled where it really waits", function()
    local lab = sim.lab { a = slow }
    local slept, err
    local task = lab.sim:spawn(function()
      within_c(function() lab.client:chat "slow" end)
      slept, err = surefoot.sleep(50)
    end)
    lab.sim:spawn(function()
      surefoot.sleep(2)
      task:cancel()
    end)
    lab.sim:run()
    assert.is_nil(slept)
    assert.same({ "cancelled", 2 }, { err.kind, lab.sim:now() })
  end)

  it("throws also for a sleep, a task and a stream, and the next wait is none the worse", function()
    local lab = sim.lab { a = slow }
    lab.sim:spawn(function()
      local other = lab.sim:spawn(function() surefoot.sleep(3) return "other" end)
      within_c(function() surefoot.sleep(1) end)
      within_c(function() other:wait() end)
      within_c(function() lab.client:stream "slow" end)
      assert.equal("ok", assert(lab.client:chat "x").text)
      assert.equal(1, lab.sim:now())
      assert.equal("other", (other:wait()))
    end)
    lab.sim:run()
    assert.equal(3, lab.sim:now())
  end)
end)
