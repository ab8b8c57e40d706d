--- On LuaJIT every task stayed for ever, with all that it had returned: the weak table of coroutines held tasks that
--- held their coroutine.

local surefoot = require "surefoot"

describe("a task that has ended", function()
  it("is collected, with what it returned", function()
    local returned = setmetatable({}, { __mode = "v" })
    surefoot.run(function()
      for i = 1, 20 do
        surefoot.spawn(function()
          local value = { i }
          returned[i] = value
          return value
        end)
      end
      surefoot.sleep(0)
    end)
    for _ = 1, 4 do
      collectgarbage()
    end
    assert.is_nil(next(returned))
  end)
end)
