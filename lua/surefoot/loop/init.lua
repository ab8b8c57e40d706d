--- How a waiting call waits: chosen at every wait by the context that it is in.
--
-- * In a task (surefoot.run, surefoot.spawn) the task yields and others run.
-- * In a coroutine of nginx, cqueues, copas, luv or Neovim it waits by that loop's means, and the loop goes on.
-- * In a coroutine of your own loop likewise, once surefoot.use(adapter) has told how.
-- * Anywhere else the thread blocks until the answer is there.
--
-- Two ways to bring a loop of your own:
--
-- 1. Let surefoot run the tasks. Watch surefoot.pollfd() for readability, with any poll, select or epoll; when it is
--    readable, call surefoot.step(). step() never blocks, and runs the tasks of surefoot.spawn as far as they go. No
--    timers are needed: they are inside the fd. An error of a task that nobody waits for comes out of step().
--
-- 2. Let your loop run its coroutines. In addition to the above, call surefoot.use with a table of:
--    wait(token)    called in the coroutine that has to wait; suspends it, and returns when it was resumed. Returning
--                   early is harmless.
--    wake(token)    called once inside step(), when what that token waits for has come: make its coroutine runnable.
--                   Resume it there and then, or later.
--    spawn(f)       optional, for surefoot.spawn, all, batch and each: run f() in a new coroutine, now or later.
--    sleep(seconds) optional, for surefoot.sleep: your own sleep instead of the engine's timer.
--    On the main thread calls still block. surefoot.use(nil) takes the adapter away.

local check = require "surefoot.config.check"
local core = require "surefoot.binding"
local failures = require "surefoot.loop.failures"
local guard = require "surefoot.guard"
local native = require "surefoot.loop.native"
local tasks = require "surefoot.tasks"

local M = {}

---@class surefoot.Adapter
---@field wait fun(token: table)
---@field wake fun(token: table)
---@field spawn? fun(f: fun())
---@field sleep? fun(seconds: number)

local KEYS = { wait = true, wake = true, spawn = true, sleep = true }

--- Tells how coroutines of your own loop wait. See the head of this file.
---@param adapter surefoot.Adapter?
function M.use(adapter)
  if adapter ~= nil then
    if type(adapter) ~= "table" then
      error("surefoot.use: expected a table of functions, got a " .. type(adapter), 2)
    end
    for key, value in pairs(adapter) do
      if not KEYS[key] then
        error(("surefoot.use: unknown key %q; known are wait, wake, spawn and sleep"):format(tostring(key)), 2)
      elseif type(value) ~= "function" then
        error(("surefoot.use: %s: expected a function, got a %s"):format(key, type(value)), 2)
      end
    end
    if not adapter.wait or not adapter.wake then
      error("surefoot.use: wait and wake are required", 2)
    end
  end
  native.scheduler().adapter = adapter
end

--- The scheduler that the running code belongs to: its task's, else the native one.
---@return surefoot.Scheduler
function M.scheduler()
  local task = tasks.current()
  return task and task.scheduler or native.scheduler()
end

--- A file descriptor that is readable whenever step() has work. From now on tasks may be spawned without surefoot.run.
---@return integer fd
function M.pollfd()
  local scheduler = native.scheduler()
  scheduler.foreign = true
  return scheduler.engine:fd()
end

--- One turn: takes what has arrived, runs due timers and tasks. Never blocks.
---@return integer count of waiters that had news
function M.step()
  return native.scheduler():step()
end

--- Waits for a time.
---@async
---@param seconds number
---@return true? slept
---@return surefoot.Error? err kind "cancelled": the task was cancelled
function M.sleep(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 or seconds == math.huge then
    error("surefoot.sleep: expected seconds, 0 or more, got " .. check.show(seconds), 2)
  end
  local scheduler = M.scheduler()
  local task, adapter = tasks.current(), scheduler.adapter
  if adapter and adapter.sleep and not (task and task.native) and not scheduler:blocks() then
    guard.outside(adapter.sleep, seconds)
    return true
  end
  local refusal = scheduler:refusal()
  if refusal then
    error("surefoot.sleep: " .. refusal, 2)
  end
  return scheduler:sleep(seconds)
end

--- Monotonic seconds; inside a simulation its virtual clock.
---@return number
function M.now()
  local task = tasks.current()
  return task and task.scheduler.engine:now() or core.now()
end

--- Runs f as a task until it and all tasks that it has begun have ended, and returns what f returned: in the loop that
--- the caller's coroutine belongs to, or in one of its own, which blocks the thread. Rethrows f's error, else that of a
--- task that nobody waited for.
---@async
---@param f function
---@param ... any what f is called with
---@return any ...
function M.run(f, ...)
  if type(f) ~= "function" then
    error("surefoot.run: expected a function, got a " .. type(f), 2)
  end
  local scheduler = native.scheduler()
  if scheduler.running then
    error("surefoot.run: it runs already; use surefoot.spawn inside of it", 2)
  elseif tasks.current() then
    error("surefoot.run: called inside a task; use surefoot.spawn", 2)
  end
  local refusal = scheduler:refusal()
  if refusal then
    error("surefoot.run: " .. refusal, 2)
  end
  local adapter = scheduler:host()
  if adapter and adapter.spawn then
    return scheduler:run_adapted(adapter, f, ...)
  end
  return scheduler:run(f, ...)
end

-- A task where it will run: beside the running one, or in the user's loop; false where nothing can wait; nil and what
-- the loop threw where it cannot begin it.
local function spawn(scheduler, f, ...)
  local task = tasks.current()
  if task and task.native then
    return task.scheduler:spawn(f, ...)
  elseif not scheduler.running then
    local adapter = scheduler:spawner()
    if adapter then
      return scheduler:spawn_adapted(adapter, f, ...)
    end
  end
  return (scheduler.running or scheduler.foreign or not scheduler:refusal()) and scheduler:spawn(f, ...)
end

--- Begins a task. Where no loop turns it begins when one does: in surefoot.run, or while somebody waits for a task.
---@param f function
---@param ... any what f is called with
---@return surefoot.Task
function M.spawn(f, ...)
  if type(f) ~= "function" then
    error("surefoot.spawn: expected a function, got a " .. type(f), 2)
  end
  local scheduler = M.scheduler()
  local task, problem = spawn(scheduler, f, ...)
  if task == false then
    error("surefoot.spawn: " .. scheduler:refusal(), 2)
  end
  return task or error(problem, 0)
end

--- Begins a task for each function; where no loop turns, tasks that wait to be driven.
---@param scheduler surefoot.Scheduler
---@param functions function[]
---@return surefoot.Task[]? list nil in a coroutine that is no task, and where nothing waits: nothing can run beside it
function M.begin(scheduler, functions)
  local beside = scheduler:can_spawn()
  if not beside and (scheduler.running or scheduler:refusal()) then
    return nil
  end
  local list = {}
  for i, f in ipairs(functions) do
    local task, problem = false, nil
    if beside then
      task, problem = spawn(scheduler, f)
    end
    if task == nil then
      for _, begun in ipairs(list) do
        begun:cancel()
      end
      error(problem, 0)
    end
    list[i] = task or scheduler:spawn(f)
    failures.see(list[i]) -- whoever begins them looks at how they end
  end
  return list
end

-- Waits for all of them. When the waiting task is cancelled, they are too.
local function join(list)
  for _, task in ipairs(list) do
    while not task:done() do
      local _, err = task:wait()
      if not task:done() and err and err.kind == "cancelled" then
        for _, other in ipairs(list) do
          other:cancel()
        end
      end
    end
  end
end

--- Runs functions side by side, in tasks of their own, until all have ended.
---@async
---@param scheduler surefoot.Scheduler
---@param functions function[]
---@return surefoot.Task[] ended
function M.together(scheduler, functions)
  local list = M.begin(scheduler, functions)
  if list then
    join(list)
    return list
  end
  list = {}
  for i, f in ipairs(functions) do
    list[i] = tasks.inline(scheduler, f)
  end
  return list
end

-- A list whose count can be asked for, and is no element of it.
local function counted(values)
  local count = values.n
  values.n = nil
  return setmetatable(values, { __index = { n = count } })
end

--- Runs functions side by side and waits for all of them.
---@async
---@param functions function[]
---@return table[] outcomes in order: the list of values a function returned (`n` of them), or an error where it threw
function M.all(functions)
  if type(functions) ~= "table" then
    error("surefoot.all: expected a list of functions, got a " .. type(functions), 2)
  end
  local ok, problem = pcall(check.list, functions, "surefoot.all", function(f, path)
    if type(f) ~= "function" then
      check.fail(path, "expected a function, got a %s", type(f))
    end
    return f
  end)
  if not ok then
    error(problem, 2)
  end
  local outcomes = {}
  for i, task in ipairs(M.together(M.scheduler(), functions)) do
    outcomes[i] = task.thrown or counted(task.values)
  end
  return outcomes
end

return M
