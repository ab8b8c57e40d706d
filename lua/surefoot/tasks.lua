--- Tasks: functions that run in coroutines of their own, and wait for calls, timers and each other while others run.
-- A native task is resumed by its scheduler (surefoot.scheduler); the others by the loop that somebody else brought.

local errors = require "surefoot.errors"
local failures = require "surefoot.loop.failures"
local guard = require "surefoot.guard"

local M = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack
local running, yield = guard.running, coroutine.yield

--- pcall under which tasks may wait.
M.guarded = guard.call

local owner = setmetatable({}, { __mode = "k" }) -- coroutine -> task

--- What a native task yields while it waits.
local PARKED = {}
M.PARKED = PARKED

--- The task that runs this code, if any, and its coroutine.
---@return surefoot.Task?
---@return thread?
local function current()
  local co = running()
  return co and owner[co], co
end

M.current = current

--- The error of whoever waits in a task that is cancelled.
---@return surefoot.Error
local function cancelled()
  return errors.new { kind = "cancelled", message = "the task was cancelled" }
end

M.cancelled = cancelled

-- ------------------------------------------------------------------------------------------------------------- tasks

---@class surefoot.Task
---@field private co thread
---@field private scheduler surefoot.Scheduler
---@field private state "new" | "started" | "done"
---@field private values table?            what its function returned
---@field private thrown surefoot.Error?   or what it threw
---@field private observed boolean?        somebody has seen, or will see, how it ended
---@field private joiners table            waiters of those who wait for it
---@field private waiting table?           its own waiter, while it waits
---@field private id integer?              as the waiter of an id of the engine: that id
---@field private holder table?             while it waits: what is cancelled should it not be able to
---@field call table?                      the call it waits for: cancelling the task cancels that. Calls may be nested
---@field private interrupted boolean?     cancelled, and not told yet
---@field private cancels integer?         how often it was cancelled
---@field private native boolean?          its scheduler resumes it
---@field private adapter surefoot.Adapter? or else this one's loop
---@field private failure table?           what it threw, as nobody has waited for it
---@field private group table?             the run in a loop of somebody else that it belongs to
local Task = {}
Task.__index, Task.__name = Task, "surefoot.task"

---@param scheduler surefoot.Scheduler
---@return surefoot.Task
function M.new(scheduler)
  return setmetatable({ scheduler = scheduler, state = "new", joiners = {} }, Task)
end

--- Makes a coroutine the one that the task runs in.
---@param task surefoot.Task
---@param co thread
function M.settle(task, co)
  task.co = co
  owner[co] = task
end

function Task.suspend()
  yield(PARKED)
end

function Task:wake()
  self.scheduler:enqueue(self)
end

--- True once after a cancel() of the task that no call has told of.
---@param task surefoot.Task?
---@return boolean
local function take_interrupt(task)
  if task and task.interrupted then
    task.interrupted = nil
    return true
  end
  return false
end

M.take_interrupt = take_interrupt

--- The task of a coroutine, if it has one.
---@param co thread
---@return surefoot.Task?
function M.of(co)
  return owner[co]
end

--- How often the task has been cancelled.
---@param task surefoot.Task?
---@return integer
function M.cancels(task)
  return task and task.cancels or 0
end

--- Rethrows what a task threw; the traceback goes with what is a string.
---@param err surefoot.Error
function M.raise(err)
  if err.kind == "error" and type(err.cause) == "string" then
    error(err.cause .. (err.traceback and "\n" .. err.traceback or ""), 0)
  end
  error(err.kind == "error" and err.cause or err, 0)
end

-- A wait that threw, since there was no yielding where it stood: what the task waited for is given up.
local function forsake(task)
  local waiter, holder = task.waiting, task.holder
  if task.call == holder then
    task.call = nil
  end
  waiter.holder = holder
  if waiter.give_up then
    waiter:give_up()
  else
    task.scheduler:abandon(waiter)
  end
  task.waiting, task.holder = nil, nil
end

M.forsake = forsake

--- Ends a task, and wakes who waits for it.
---@param task surefoot.Task
---@param ok boolean whether its function returned
---@param ... any what it returned, or threw
local function finish(task, ok, ...)
  if task.waiting then
    forsake(task)
  end
  task.state, task.call = "done", nil
  if ok then
    task.values = pack(...)
  else
    task.thrown = errors.thrown(guard.explain((...)), task.co and debug.traceback(task.co))
  end
  if task.co then -- LuaJIT and 5.1 have no ephemerons: a task that holds its key would stay for ever
    owner[task.co], task.co = nil, nil
  end
  local joiners = task.joiners
  task.joiners = {}
  for waiter in pairs(joiners) do
    task.observed = true
    waiter:wake()
  end
  task.scheduler:ended(task)
end

M.finish = finish

--- Ends a task that another loop ran, and whose coroutine nobody will ever resume; who waits for it goes on.
---@param task surefoot.Task?
function M.bury(task)
  if task and not task.native and task.state ~= "done" then
    task.waiting, task.holder = nil, nil
    finish(task, true, nil, cancelled())
  end
end

--- Cancels what the task waits for: it sees nil and an error of kind "cancelled" there and may go on. A task that has
--- not begun never does; one that is not waiting is told at its next wait.
function Task:cancel()
  if self.state == "new" then
    self.co, self.observed = nil, true
    finish(self, true, nil, cancelled())
  elseif self.state ~= "done" then
    self.interrupted, self.cancels = true, (self.cancels or 0) + 1
    if self.call then
      self.call:cancel "cancelled" -- in vain where it has just settled: then the interrupt is left
    elseif self.waiting then
      self.waiting:wake()
    end
  end
end

--- Whether the task has ended.
---@return boolean
function Task:done()
  return self.state == "done"
end

-- Waits, and lets the running task be cancelled meanwhile.
local function suspend(waiter, task, holder)
  if task then
    if task.waiting then
      forsake(task)
    end
    task.waiting, task.holder = waiter, holder
  end
  waiter.holder = waiter.is_watched and holder or nil
  waiter:suspend()
  waiter.holder = nil
  if task then
    task.waiting, task.holder = nil, nil
  end
end

--- Waits until the waiter is woken, or the task cancelled.
---@async
---@param waiter table     as Scheduler:waiter gave it
---@param task surefoot.Task?
---@param holder { cancel: fun(self: table) }? what is cancelled should the coroutine be killed while it waits
M.suspend = suspend

-- Waits until `task` has ended: true, or nil and why not.
local function join(task, seconds)
  local scheduler, engine = task.scheduler, task.scheduler.engine
  local waiter, me = scheduler:waiter()
  local timer = seconds and seconds < math.huge and engine:timer(seconds)
  task.joiners[waiter] = true
  if timer then
    scheduler.parked[timer], waiter.id = waiter, timer
  end
  local problem
  while task.state ~= "done" and not problem do
    suspend(waiter, me)
    if task.state == "done" then
      break
    elseif take_interrupt(me) then
      problem = cancelled()
    elseif timer and not scheduler.parked[timer] then
      problem = errors.new { kind = "timeout", message = "the task has not ended within " .. errors.seconds(seconds) }
    end
  end
  task.joiners[waiter] = nil
  if timer and scheduler.parked[timer] then
    scheduler.parked[timer] = nil
    engine:cancel_timer(timer)
  end
  return not problem, problem
end

--- Waits for the task to end.
---@async
---@param seconds number? at most so long (kind "timeout"); the task goes on
---@return any ... what its function returned; nil and an error when it threw
function Task:wait(seconds)
  if seconds ~= nil and (type(seconds) ~= "number" or seconds ~= seconds or seconds < 0) then
    error("task:wait: expected seconds, got " .. tostring(seconds), 2)
  end
  if self == current() then
    error("task:wait: a task cannot wait for itself", 2)
  end
  if self.state ~= "done" then
    local scheduler = self.scheduler
    if scheduler:blocks() then
      local ended, refusal = scheduler:turn(self, function() return self.state == "done" end, seconds)
      if refusal then
        error("task:wait: " .. refusal, 2)
      elseif not ended then
        return nil, errors.new { kind = "timeout", message = "the task has not ended within "
          .. errors.seconds(seconds) }
      end
    else
      local ok, problem = join(self, seconds)
      if not ok then
        return nil, problem
      end
    end
  end
  failures.see(self)
  if self.thrown then
    return nil, self.thrown
  end
  return unpack(self.values, 1, self.values.n)
end

--- Wakes the waiter when one of the tasks ends.
---@param list surefoot.Task[]
---@param waiter table
function M.watch(list, waiter)
  for _, task in ipairs(list) do
    task.joiners[waiter] = true
  end
end

--- A task that has ended before anybody could wait for it: f, run here and now.
---@param scheduler surefoot.Scheduler
---@param f function
---@param ... any what f is called with
---@return surefoot.Task
function M.inline(scheduler, f, ...)
  local task = M.new(scheduler)
  task.state, task.observed = "started", true
  finish(task, pcall(f, ...))
  return task
end

return M
