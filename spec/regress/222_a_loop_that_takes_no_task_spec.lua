-- Where the loop of an adapter could not begin a coroutine, surefoot.run waited for ever for the task that had none,
-- and surefoot.all left those that it had begun before.

local guarded = require "surefoot.guard".call
local surefoot = require "surefoot"

describe("where a loop cannot begin a coroutine", function()
  local ready, fails_at, problem

  before_each(function()
    ready, fails_at, problem = {}, nil, "no more coroutines"
    surefoot.use {
      wait = function(token)
        token.co = coroutine.running()
        coroutine.yield()
      end,
      wake = function(token) ready[#ready + 1] = token.co end,
      spawn = function(f)
        fails_at = fails_at and fails_at - 1
        if fails_at == 0 then
          error(problem, 0)
        end
        ready[#ready + 1] = coroutine.create(f)
      end,
    }
  end)

  after_each(function() surefoot.use(nil) end)

  -- Turns the loop until f, in a coroutine of its own, has ended.
  local function in_loop(f)
    local ended, deadline = false, surefoot.now() + 5
    ready[1] = coroutine.create(function()
      f()
      ended = true
    end)
    while not ended do
      assert(surefoot.now() < deadline, "it waits for ever")
      local co = table.remove(ready, 1)
      if co then
        assert(coroutine.resume(co))
      else
        surefoot.step()
      end
    end
  end

  it("surefoot.spawn throws, and surefoot.run ends", function()
    in_loop(function()
      local value = surefoot.run(function()
        fails_at = 1
        assert.same({ false, problem }, { guarded(surefoot.spawn, print) })
        return surefoot.spawn(function() return "the next one" end):wait()
      end)
      assert.equal("the next one", value)
      problem = { code = 7 }
      fails_at = 1
      assert.same({ false, problem }, { guarded(surefoot.run, print) })
    end)
  end)

  it("surefoot.all throws, and what it has begun is cancelled", function()
    local began = false
    in_loop(function()
      surefoot.run(function()
        fails_at = 3
        local function f() began = true end
        assert.same({ false, problem }, { guarded(surefoot.all, { f, f, f, f }) })
      end)
    end)
    for _, co in ipairs(ready) do
      assert(coroutine.resume(co))
    end
    assert.is_false(began)
  end)
end)
