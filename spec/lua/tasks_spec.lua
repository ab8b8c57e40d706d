local core = require "surefoot.core"
local errors = require "surefoot.errors"
local schedulers = require "surefoot.scheduler"

-- A scheduler on a virtual clock: everything below is exact.
local function make()
  return schedulers.new(core.simulation(1), function(engine, seconds)
    if not engine:advance(seconds or math.huge) and not seconds then
      error "nothing is due"
    end
  end)
end

describe("a scheduler", function()
  local s, log

  before_each(function()
    s, log = make(), {}
  end)

  local function note(text)
    log[#log + 1] = ("%g %s"):format(s.engine:now(), text)
  end

  it("runs a function as a task and returns what it returns", function()
    assert.same({ 1, nil, 3, n = 3 }, (function(...) return { n = select("#", ...), ... } end)(
      s:run(function(a, b, c) return a, b, c end, 1, nil, 3)))
  end)

  it("lets tasks sleep side by side", function()
    s:run(function()
      for i = 3, 1, -1 do
        s:spawn(function() s:sleep(i) note("t" .. i) end)
      end
      note "spawned"
      s:sleep(1.5)
      note "main"
    end)
    assert.same({ "0 spawned", "1 t1", "1.5 main", "2 t2", "3 t3" }, log)
  end)

  it("hands out results, to whoever waits and whenever", function()
    local late
    s:run(function()
      local task = s:spawn(function(x) s:sleep(1) return x, nil, "z" end, "x")
      late = task
      assert.is_false(task:done())
      local a, b, c = task:wait()
      note(tostring(a) .. tostring(b) .. tostring(c))
      assert.is_true(task:done())
      assert.equal("x", (task:wait()))
    end)
    assert.equal("x", (late:wait()))
    assert.same({ "1 xnilz" }, log)
  end)

  it("bounds a wait, and lets the task go on", function()
    s:run(function()
      local task = s:spawn(function() s:sleep(5) note "done" end)
      local value, err = task:wait(2)
      assert.is_nil(value)
      assert.equal("timeout", err.kind)
      assert.equal("timeout: the task has not ended within 2 s", tostring(err))
      note "gave up"
      assert.same({}, { task:wait(100) })
    end)
    assert.same({ "2 gave up", "5 done" }, log)
    assert.equal(5, s.engine:now())
  end)

  it("rethrows what its function threw, after all tasks have ended, with the traceback", function()
    local ok, message = pcall(s.run, s, function()
      s:spawn(function() s:sleep(3) note "other" end)
      local function named_function() error "boom" end
      named_function()
    end)
    assert.is_false(ok)
    assert.matches("tasks_spec%.lua:%d+: boom", message)
    assert.matches("named_function", message)
    assert.same({ "3 other" }, log)
    local object = {}
    ok, message = pcall(s.run, s, function() error(object) end)
    assert.is_false(ok)
    assert.equal(object, message)
  end)

  it("does not lose the error of a task that nobody waits for", function()
    local ok, message = pcall(s.run, s, function()
      s:spawn(function() error "lost" end)
      s:sleep(1)
      note "main"
      return 1
    end)
    assert.is_false(ok)
    assert.matches("lost", message)
    assert.same({ "1 main" }, log)
    assert.equal(2, s:run(function() return 2 end))
  end)

  it("gives the error of a task to who waits for it, and to nobody else", function()
    s:run(function()
      local task = s:spawn(function() error { code = 7 } end)
      local value, err = task:wait()
      assert.is_nil(value)
      assert.is_true(errors.is(err))
      assert.equal("error", err.kind)
      assert.equal(7, err.cause.code)
      assert.matches("tasks_spec", err.traceback)
    end)
  end)

  it("cancels a sleep, once", function()
    s:run(function()
      local task = s:spawn(function()
        local slept, err = s:sleep(100)
        note(tostring(slept) .. " " .. err.kind)
        note(tostring(s:sleep(1)))
        return "end"
      end)
      s:sleep(2)
      task:cancel()
      assert.equal("end", (task:wait()))
      task:cancel()
    end)
    assert.same({ "2 nil cancelled", "3 true" }, log)
    assert.equal(3, s.engine:now())
  end)

  it("cancels a wait for a task, but not that task", function()
    s:run(function()
      local slow = s:spawn(function() s:sleep(10) note "slow" end)
      local waits = s:spawn(function()
        local _, err = slow:wait()
        note(err.kind)
      end)
      s:sleep(1)
      waits:cancel()
    end)
    assert.same({ "1 cancelled", "10 slow" }, log)
  end)

  it("never begins a task that was cancelled before", function()
    s:run(function()
      local task = s:spawn(function() note "never" end)
      task:cancel()
      local value, err = task:wait()
      assert.is_nil(value)
      assert.equal("cancelled", err.kind)
    end)
    assert.same({}, log)
  end)

  it("tells a task that is not waiting at its next wait", function()
    s:run(function()
      local task
      task = s:spawn(function()
        task:cancel()
        local slept, err = s:sleep(50)
        note(tostring(slept) .. " " .. err.kind)
      end)
    end)
    assert.same({ "0 nil cancelled" }, log)
  end)

  it("lets others run on a bare yield", function()
    s:run(function()
      local flag = false
      s:spawn(function() flag = true end)
      local turns = 0
      while not flag do
        coroutine.yield()
        turns = turns + 1
      end
      assert.equal(1, turns)
    end)
  end)

  it("blocks a coroutine that is no task, and keeps what arrives for others", function()
    s:run(function()
      s:spawn(function() s:sleep(1) note "task" end)
      coroutine.yield()
      local foreign = coroutine.wrap(function()
        s:sleep(2)
        note "foreign"
        return "value"
      end)
      assert.equal("value", foreign())
      note "main"
    end)
    assert.same({ "2 foreign", "2 main", "2 task" }, log)
  end)

  it("refuses to wait for tasks where they stand still", function()
    s:run(function()
      local task = s:spawn(function() s:sleep(1) end)
      local ok, message = coroutine.wrap(function() return pcall(task.wait, task) end)()
      assert.is_false(ok)
      assert.matches("coroutine that is no task", message)
    end)
  end)

  it("sees when every task waits for another", function()
    assert.error_matches(function()
      s:run(function()
        local a, b
        a = s:spawn(function() b:wait() end)
        b = s:spawn(function() a:wait() end)
      end)
    end, "every task waits for another task")
    assert.equal(1, s:run(function() return 1 end))
    assert.error_matches(function()
      s:run(function()
        local me
        me = s:spawn(function() me:wait() end)
      end)
    end, "cannot wait for itself")
  end)

  it("survives an engine that fails", function()
    local failing = schedulers.new(core.simulation(1), function() error("interrupted!", 0) end)
    local ok, message = pcall(failing.run, failing, function() failing:sleep(1) end)
    assert.is_false(ok)
    assert.equal("interrupted!", message)
    assert.is_false(failing.running)
    assert.equal(5, failing:run(function() return 5 end))
  end)

  it("is driven by waiting for a task outside of it", function()
    local task = s:spawn(function() s:sleep(4) return "late" end)
    local value, err = task:wait(1)
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    assert.equal(1, s.engine:now())
    assert.equal("late", (task:wait()))
    assert.equal(4, s.engine:now())
  end)

  it("checks what it is given", function()
    local task = s:spawn(function() end)
    assert.error_matches(function() task:wait(-1) end, "expected seconds, got %-1")
    assert.error_matches(function() task:wait "x" end, "expected seconds, got x")
    task:wait()
  end)
end)

describe("a loop that is not ours", function()
  it("runs tasks by stepping when the engine says so", function()
    local s = make()
    s.foreign = true
    local log = {}
    s:spawn(function()
      log[#log + 1] = "begun"
      s:sleep(1)
      log[#log + 1] = "slept"
      coroutine.yield()
      log[#log + 1] = "again"
    end)
    assert.same({}, log)
    assert.equal(1, s.engine:pending(), "a bell makes the engine's fd readable")
    s:step()
    assert.same({ "begun" }, log)
    s:step()
    assert.same({ "begun" }, log)
    assert.is_true(s.engine:advance(5))
    s:step()
    assert.same({ "begun", "slept" }, log)
    assert.equal(1, s.engine:pending(), "a task that only yielded wants to run")
    s:step()
    assert.same({ "begun", "slept", "again" }, log)
    assert.equal(0, s.engine:pending())
  end)

  it("throws from step what a task threw", function()
    local s = make()
    s.foreign = true
    s:spawn(function() error "boom" end)
    assert.error_matches(function() s:step() end, "boom")
    s:step()
  end)

  it("waits with coroutines of its own", function()
    local s = make()
    local waiting, ready = {}, {}
    s.adapter = {
      wait = function(token) waiting[token] = coroutine.running() coroutine.yield() end,
      wake = function(token) ready[#ready + 1] = waiting[token] waiting[token] = nil end,
      spawn = function(f) ready[#ready + 1] = coroutine.create(f) end,
    }
    local log, failures = {}, {}
    local function loop()
      while #ready > 0 or next(waiting) do
        while #ready > 0 do
          local ok, message = coroutine.resume(table.remove(ready, 1))
          if not ok then
            failures[#failures + 1] = message
          end
        end
        if next(waiting) then
          s.engine:advance(100)
          s:deliver()
        end
      end
    end
    s.adapter.spawn(function()
      local task = s:spawn_adapted(s.adapter, function(x) s:sleep(2) return x end, "v")
      local lost = s:spawn_adapted(s.adapter, function() error "lost" end)
      local slow = s:spawn_adapted(s.adapter, function()
        local _, err = s:sleep(50)
        log[#log + 1] = err.kind .. s.engine:now()
      end)
      assert(s:sleep(1))
      log[#log + 1] = "slept" .. s.engine:now()
      log[#log + 1] = task:wait() .. s.engine:now()
      slow:cancel()
      slow:wait()
      log[#log + 1] = tostring(lost:done())
    end)
    loop()
    assert.matches("lost", failures[1])
    assert.equal(1, #failures)
    for i, text in ipairs(log) do
      log[i] = text:gsub("%.0", "")
    end
    assert.same({ "slept1", "v2", "cancelled2", "true" }, log)
  end)
end)
