-- A surefoot.run in somebody else's loop kept all of its tasks until it ended, and one of its own all that threw.

local surefoot = require "surefoot"

-- Runs f in surefoot's loop, and in one that is not.
local homes = { ["a loop of its own"] = surefoot.run }

homes["a loop of the user's"] = function(f)
  local ready = {}
  surefoot.use {
    wait = function(token)
      token.co = coroutine.running()
      coroutine.yield()
    end,
    wake = function(token) ready[#ready + 1] = token.co end,
    spawn = function(g) ready[#ready + 1] = coroutine.create(g) end,
  }
  ready[1] = coroutine.create(function() return surefoot.run(f) end)
  local main = ready[1]
  while coroutine.status(main) ~= "dead" do
    local ok, problem = coroutine.resume((assert(table.remove(ready, 1), "nobody can go on")))
    if not ok then
      error(problem, 0)
    end
  end
end

local function quits(message)
  return function() error(message, 0) end
end

for name, run in pairs(homes) do
  describe("a run in " .. name, function()
    after_each(function() surefoot.use(nil) end)

    -- How many of so many tasks are there at the end of the run that has begun them.
    local function kept_of(count, f, look)
      local kept = setmetatable({}, { __mode = "k" })
      local left = 0
      pcall(run, function()
        for i = 1, count do
          kept[look(surefoot.spawn(f, i))] = true
        end
        for _ = 1, 3 do
          collectgarbage()
        end
        for _ in pairs(kept) do
          left = left + 1
        end
      end)
      return left
    end

    local function waited(task)
      task:wait()
      return task
    end

    local function ended(task)
      local other = surefoot.spawn(function() end)
      other:wait()
      return task
    end

    it("keeps no task that has ended", function()
      assert.is_true(kept_of(200, function() return "x" end, waited) < 5)
      assert.is_true(kept_of(200, function() return "x" end, ended) < 5)
    end)

    it("keeps none that threw", function()
      assert.is_true(kept_of(200, quits "boom", waited) < 5)
      assert.is_true(kept_of(200, quits "boom", ended) < 5)
    end)

    it("keeps few of the errors that nobody has seen, and rethrows the first", function()
      local errors = setmetatable({}, { __mode = "k" })
      local ok, problem = pcall(run, function()
        for i = 1, 300 do
          ended(surefoot.spawn(function()
            local err = { number = i }
            errors[err] = true
            error(err, 0)
          end))
          if i % 50 == 0 then
            collectgarbage()
            collectgarbage()
          end
        end
        collectgarbage()
        local left = 0
        for _ in pairs(errors) do
          left = left + 1
        end
        assert(left < 150, left .. " errors are kept")
      end)
      assert.is_false(ok)
      assert.equal(1, problem.number)
    end)

    it("rethrows the first that nobody has seen by then, whatever was before it", function()
      local ok, problem = pcall(run, function()
        local list = {}
        for i = 1, 100 do
          list[i] = surefoot.spawn(quits("number " .. i))
          ended(list[i])
        end
        for i = 1, 100 do
          if i ~= 70 then
            list[i]:wait()
          end
        end
        list = nil -- luacheck: ignore 311
        for _ = 1, 100 do
          waited(surefoot.spawn(quits "one that is seen"))
        end
        collectgarbage()
      end)
      assert.is_false(ok)
      assert.matches("^number 70", tostring(problem))
    end)
  end)
end
