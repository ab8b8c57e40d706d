local guard = require "surefoot.guard"

-- The values of f in a coroutine of its own, and what it yielded on the way; `answers` are what it is resumed with.
local function drive(f, answers)
  local co, yielded = coroutine.create(f), {}
  local result = { coroutine.resume(co) }
  while coroutine.status(co) == "suspended" do
    yielded[#yielded + 1] = result[2]
    result = { coroutine.resume(co, answers and answers[#yielded]) }
  end
  return result, yielded
end

local function count(...)
  return select("#", ...)
end

describe("a guard", function()
  for where, within in pairs {
    ["on the main thread"] = function(f) f() end,
    ["in a coroutine"] = function(f)
      local co = coroutine.create(f)
      assert(coroutine.resume(co))
      assert.equal("dead", coroutine.status(co))
    end,
    ["in a guard"] = function(f) assert(guard.call(f)) end,
    ["in a guard in a coroutine"] = function(f) assert(coroutine.wrap(guard.call)(f)) end,
  } do
    it("is pcall " .. where, function()
      within(function()
        assert.same({ true, 1, nil, 3 }, { guard.call(function(...) return ... end, 1, nil, 3) })
        assert.equal(1, count(guard.call(function() end)))
        assert.equal(3, count(guard.call(function() return nil, nil end)))
        assert.same({ true, 7 }, { guard.call(math.max, 3, 7) })
        assert.same({ true, "x" }, { guard.call(setmetatable({}, { __call = function(_, x) return x end }), "x") })
        local thrown = {}
        assert.same({ false, thrown }, { guard.call(error, thrown) })
        assert.same({ false, "plain" }, { guard.call(error, "plain", 0) })
        assert.matches("guard_spec%.lua:%d+: here$", select(2, guard.call(function() error "here" end)))
        assert.is_false((guard.call(5)))
      end)
    end)
  end

  it("lets its function yield, and gives it what its caller was resumed with", function()
    local result, yielded = drive(function()
      local ok, a = guard.call(function(x)
        local first = coroutine.yield(x)
        local _, second = guard.call(coroutine.yield, first .. "2")
        return second .. "3"
      end, "1")
      return ok, a, coroutine.yield "after"
    end, { "one", "two", "end" })
    assert.same({ "1", "one2", "after" }, yielded)
    assert.same({ true, true, "two3", "end" }, result)
  end)

  it("catches what is thrown after a yield, and nothing of its caller's", function()
    local result = drive(function()
      local ok, problem = guard.call(function()
        coroutine.yield()
        error("late", 0)
      end)
      return ok, problem, (guard.call(guard.call, function()
        coroutine.yield()
        error "inside"
      end))
    end)
    assert.same({ true, false, "late", true }, result)
    result = drive(function()
      guard.call(coroutine.yield)
      error("mine", 0)
    end)
    assert.same({ false, "mine" }, result)
  end)

  it("tells who is running, and goes outside to where that one runs", function()
    local me, seen, inner
    local result, yielded = drive(function()
      me = coroutine.running()
      return guard.call(guard.call, function()
        inner = guard.running()
        return guard.outside(function(...)
          seen = coroutine.running()
          return coroutine.yield(...), "back"
        end, "out")
      end)
    end, { "in" })
    assert.same({ "out" }, yielded)
    assert.same({ true, true, true, "in", "back" }, result)
    assert.equal(me, inner)
    assert.equal(me, seen)
    assert.same({ 3 }, { guard.outside(function(x) return x end, 3) })
    assert.same({ guard.running() }, { coroutine.running() })
  end)

  it("goes on when who asked coroutine.running() is resumed, in whose place its caller does", function()
    local waiting, seen
    local function wait()
      waiting = coroutine.running()
      return coroutine.yield()
    end
    local co = coroutine.create(function()
      seen = { guard.call(guard.call, function()
        local first = wait()
        return first, guard.outside(wait), guard.call(wait)
      end) }
      seen[#seen + 1] = wait()
      error("the end", 0)
    end)
    assert(coroutine.resume(co))
    for _, value in ipairs { "a", "b", "c", "d" } do
      assert.is_not_equal("dead", coroutine.status(waiting))
      local ok, problem = coroutine.resume(waiting, value)
      assert.equal(value ~= "d", ok)
      assert.equal(value == "d" and "the end" or nil, problem)
    end
    assert.same({ true, true, "a", "b", true, "c", "d" }, seen)
    assert.equal("dead", coroutine.status(co))
  end)

  it("does not keep a coroutine that nobody resumes", function()
    local dropped = setmetatable({}, { __mode = "k" })
    for _ = 1, 3 do
      local co = coroutine.create(function()
        guard.call(guard.call, function(held)
          dropped[held] = true
          coroutine.yield()
        end, {})
      end)
      assert(coroutine.resume(co))
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(dropped))
  end)
end)
