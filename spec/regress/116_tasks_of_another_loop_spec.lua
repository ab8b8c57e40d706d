-- surefoot.run on the main thread waited for tasks that another loop runs, which stood still meanwhile. When it failed,
-- whoever waited by that loop was forgotten, and its own tasks stayed, with their calls, where nobody would resume
-- them.

local native = require "surefoot.loop.native"
local surefoot = require "surefoot"

describe("surefoot.run on the main thread, while another loop has tasks", function()
  local runnable, running

  -- A loop of coroutines that turns when it is told to.
  before_each(function()
    runnable = {}
    surefoot.use {
      spawn = function(f) runnable[#runnable + 1] = coroutine.create(f) end,
      wait = function(token)
        token.co = running
        coroutine.yield()
      end,
      wake = function(token) runnable[#runnable + 1] = token.co end,
    }
  end)

  after_each(function() surefoot.use(nil) end)

  local function turn()
    while runnable[1] do
      running = table.remove(runnable, 1)
      assert(coroutine.resume(running))
    end
  end

  local function turn_until(check)
    local deadline = surefoot.now() + 5
    turn()
    while not check() do
      assert(surefoot.now() < deadline, "a wake-up was lost")
      surefoot.step()
      turn()
    end
  end

  it("ends with its own", function()
    local one = surefoot.spawn(function() return "begun later" end)
    local two = surefoot.spawn(function() return surefoot.sleep(0.02) and "slept" end)
    running = table.remove(runnable, 2)
    assert(coroutine.resume(running))
    assert.equal(7, surefoot.run(function()
      surefoot.sleep(0.03)
      return 7
    end))
    assert.is_false(one:done() or two:done())
    turn_until(function() return one:done() and two:done() end)
    assert.same({ "begun later", "slept" }, { one:wait(), two:wait() })
    assert.equal(8, surefoot.run(function() return 8 end))
  end)

  it("wakes them still, after it was interrupted", function()
    local slept = false
    surefoot.spawn(function() slept = surefoot.sleep(0.02) end)
    turn()
    local scheduler = native.scheduler()
    local wait_for = scheduler.wait_for
    function scheduler.wait_for()
      scheduler.wait_for = wait_for
      error("interrupted", 0)
    end
    local one, two
    assert.has_error(function()
      surefoot.run(function()
        one = surefoot.spawn(surefoot.sleep, 5)
        two = surefoot.spawn(function() return one:wait() end)
        two:wait()
      end)
    end, "interrupted")
    assert.equal("cancelled", select(2, one:wait()).kind)
    assert.equal("cancelled", select(2, two:wait()).kind)
    turn_until(function() return slept end)
    assert.equal(8, surefoot.run(function() return 8 end))
  end)
end)
