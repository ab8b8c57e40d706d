-- On LuaJIT the tasks of a loop that was given up stayed for ever, with the calls they waited for: the weak table of
-- coroutines held tasks that held their coroutine.

local surefoot = require "surefoot"

describe("a task that another loop runs", function()
  after_each(function() surefoot.use(nil) end)

  it("is collected with its coroutine, should the loop be given up", function()
    local runnable, kept = {}, setmetatable({}, { __mode = "k" })
    surefoot.use {
      spawn = function(f) runnable[#runnable + 1] = coroutine.create(f) end,
      wait = coroutine.yield,
      wake = function() end,
    }
    for _ = 1, 3 do
      surefoot.spawn(function() surefoot.spawn(print):wait() end)
    end
    for i = 1, 3 do
      assert(coroutine.resume(runnable[i]))
      assert.equal("suspended", coroutine.status(runnable[i]))
      kept[runnable[i]] = true
    end
    runnable = {}
    for _ = 1, 4 do
      collectgarbage()
    end
    assert.is_nil(next(kept))
  end)
end)
