-- Of those who wait in one loop one turns the engine for all. When it left it named another, which could be one that
-- had just been woken, too, and would leave without turning anything: the rest waited for ever.
local crews = require "surefoot.loop.crew"

local MEMBERS, CREWS = 12, 50

-- A small generator of its own: the same orders on every interpreter.
local state = 20
local function draw(n)
  state = state * 16807 % 2147483647
  return state % n + 1
end

describe("of those who wait in one loop", function()
  local members, crew, turning

  local function rouse(token)
    token.roused = true
  end

  local function lead(token)
    turning = token
    coroutine.yield()
  end

  local function resume(token)
    token.roused = false
    assert(coroutine.resume(token.co))
  end

  local function gather()
    members, turning = {}, nil
    crew = crews.new({ lost = function() end }, rouse)
    for i = 1, MEMBERS do
      local token = { name = i }
      token.co = coroutine.create(function() crew:wait(token, lead, coroutine.yield) end)
      members[i] = token
      resume(token)
    end
    assert.equal(members[1], turning)
  end

  -- Takes some of them, in any order.
  local function take(count)
    local taken = {}
    for i = 1, count do
      taken[i] = table.remove(members, draw(#members))
    end
    return taken
  end

  -- Some are woken in one turn, and go on.
  local function turn()
    local done, roused = take(draw(#members)), 0
    for _, token in ipairs(done) do
      token.woken = true
      crew:release(token)
    end
    for _, token in ipairs(done) do
      assert.is_true(token.roused)
      resume(token)
      assert.equal("dead", coroutine.status(token.co))
    end
    for _, token in ipairs(members) do
      if token.roused then
        roused = roused + 1
        resume(token)
      end
    end
    assert.is_true(roused <= 1, "one heir is enough")
    assert(#members == 0 or not turning.woken, "nobody turns the engine any more")
  end

  it("one that still waits leads, whoever is done in whatever order", function()
    for _ = 1, CREWS do
      gather()
      while #members > 0 do
        turn()
      end
    end
  end)
end)
