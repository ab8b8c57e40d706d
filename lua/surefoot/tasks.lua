--- Tasks: coroutines that wait for calls, timers and each other while others run; and the scheduler that runs them.
--
-- A scheduler belongs to one engine, real or simulated. Whoever waits for an id of the engine (a call's or a timer's)
-- does so through a waiter, made for the context it is in:
--   a task of this scheduler yields, and is resumed by the scheduler;
--   a coroutine of the user's own loop (surefoot.use) waits by that loop's means;
--   everything else, the main thread or a coroutine that nobody here owns, blocks on the engine. What arrives for
--   others meanwhile is only noted; they run when their loop turns again.
-- Tasks are never resumed from inside the engine.

local errors = require "surefoot.errors"

local M = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack
local resume, running, status, yield = coroutine.resume, coroutine.running, coroutine.status, coroutine.yield

-- PUC Lua 5.1 cannot yield across pcall: there an error of such a task goes to the user's loop as it is.
local probe = coroutine.create(function() pcall(yield) end)
resume(probe)
local guarded = status(probe) == "suspended" and pcall or function(f, ...) return true, f(...) end

--- pcall where it can be yielded across; elsewhere a plain call, whose errors pass.
M.guarded = guarded

local owner = setmetatable({}, { __mode = "k" }) -- coroutine -> task
local PARKED = {} -- what a task yields while it waits

--- The task that runs this code, if any, and its coroutine.
---@return surefoot.Task?
---@return thread?
local function current()
  local co = running()
  return co and owner[co], co
end

M.current = current

local function on_main_thread()
  local co, is_main = running()
  return co == nil or is_main == true
end

local function cancelled()
  return errors.new { kind = "cancelled", message = "the task was cancelled" }
end

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
---@field call table?                      the call it waits for: cancelling the task cancels that. Calls may be nested
---@field private interrupted boolean?     cancelled, and not told yet
---@field private cancels integer?         how often it was cancelled
local Task = {}
Task.__index, Task.__name = Task, "surefoot.task"

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

--- How often the task has been cancelled.
---@param task surefoot.Task?
---@return integer
function M.cancels(task)
  return task and task.cancels or 0
end

-- Rethrows what a task threw; the traceback goes with what is a string.
local function raise(err)
  if err.kind == "error" and type(err.cause) == "string" then
    error(err.cause .. (err.traceback and "\n" .. err.traceback or ""), 0)
  end
  error(err.kind == "error" and err.cause or err, 0)
end

local function finish(task, ok, ...)
  task.state, task.call = "done", nil
  if ok then
    task.values = pack(...)
  else
    task.thrown = errors.thrown((...), task.co and debug.traceback(task.co))
  end
  if task.co then -- LuaJIT and 5.1 have no ephemerons: a task that holds its key would stay for ever
    owner[task.co], task.co = nil, nil
  end
  task.scheduler:ended(task)
  local joiners = task.joiners
  task.joiners = {}
  for waiter in pairs(joiners) do
    task.observed = true
    waiter:wake()
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
local function suspend(waiter, task)
  if task then
    task.waiting = waiter
  end
  waiter:suspend()
  if task then
    task.waiting = nil
  end
end

--- Waits until the waiter is woken, or the task cancelled.
---@async
---@param waiter table     as Scheduler:waiter gave it
---@param task surefoot.Task?
M.suspend = suspend

-- Waits until `task` has ended: true, or nil and why not.
local function join(task, seconds)
  local scheduler, engine = task.scheduler, task.scheduler.engine
  local waiter, me = scheduler:waiter()
  local timer = seconds and seconds < math.huge and engine:timer(seconds)
  task.joiners[waiter] = true
  if timer then
    scheduler.parked[timer] = waiter
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
      if scheduler.running then
        error("task:wait: called from a coroutine that is no task: tasks stand still while it waits", 2)
      elseif not scheduler:drive(function() return self.state == "done" end, seconds) then
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
  self.observed = true
  if self.thrown then
    return nil, self.thrown
  end
  return unpack(self.values, 1, self.values.n)
end

---@param value any
---@return boolean
function M.is(value)
  return getmetatable(value) == Task
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
  local task = setmetatable({ scheduler = scheduler, state = "started", joiners = {}, observed = true }, Task)
  scheduler.alive = scheduler.alive + 1
  finish(task, pcall(f, ...))
  return task
end

-- ----------------------------------------------------------------------------------------------------------- waiters

-- Blocks on the engine until it is woken.
local Blocking = {}
Blocking.__index = Blocking

function Blocking:suspend()
  while not self.woken do
    self.scheduler:pump(nil)
  end
  self.woken = false
end

function Blocking:wake()
  self.woken = true
end

-- Waits by the means of the user's loop.
local Adapted = {}
Adapted.__index = Adapted

function Adapted:suspend()
  while not self.woken do
    self.adapter.wait(self)
  end
  self.woken = false
end

function Adapted:wake()
  if not self.woken then
    self.woken = true
    self.adapter.wake(self)
  end
end

-- --------------------------------------------------------------------------------------------------------- scheduler

---@class surefoot.Scheduler
---@field engine table
---@field running boolean        a loop of ours is turning
---@field foreign boolean        somebody else's loop calls step()
---@field adapter surefoot.Adapter?
---@field parked table<integer, table>  id -> waiter
---@field background table<integer, table>  id -> waiter of what nobody waits for, whose wake() does the work itself and
--- never waits. Held weakly: it belongs to whoever set it up, and keeps no loop from ending
---@field private wait_for fun(engine: table, seconds: number?)
---@field private queue table
---@field private first integer
---@field private last integer
---@field private alive integer
---@field private failures surefoot.Task[]
local Scheduler = {}
Scheduler.__index = Scheduler

--- Makes the scheduler of an engine.
---@param engine table
---@param wait_for fun(engine: table, seconds: number?) lets time pass: until there is news, at most so long
---@return surefoot.Scheduler
function M.scheduler(engine, wait_for)
  return setmetatable({
    engine = engine, wait_for = wait_for, running = false, foreign = false, turning = false,
    parked = {}, background = setmetatable({}, { __mode = "v" }), queue = {}, first = 1, last = 0, alive = 0,
    failures = {},
  }, Scheduler)
end

-- A loop that is not ours learns from the engine's fd that tasks want to run.
function Scheduler:ring()
  if not (self.turning or self.running or self.bell) then
    self.bell = self.engine:timer(0)
  end
end

function Scheduler:enqueue(task)
  if not task.queued and task.state ~= "done" then
    local last = self.last + 1
    task.queued, self.last, self.queue[last] = true, last, task
    if self.foreign then
      self:ring()
    end
  end
end

--- Makes a task that begins when the scheduler turns.
---@param f function
---@param ... any what f is called with
---@return surefoot.Task
function Scheduler:spawn(f, ...)
  local arguments = pack(...)
  local task = setmetatable({ scheduler = self, state = "new", joiners = {}, native = true }, Task)
  task.co = coroutine.create(function()
    return f(unpack(arguments, 1, arguments.n))
  end)
  owner[task.co] = task
  self.alive = self.alive + 1
  self:enqueue(task)
  return task
end

--- Makes a task that a loop of the user's runs.
---@param adapter surefoot.Adapter
---@param f function
---@param ... any what f is called with
---@return surefoot.Task
function Scheduler:spawn_adapted(adapter, f, ...)
  local arguments = pack(...)
  local task = setmetatable({ scheduler = self, state = "new", joiners = {} }, Task)
  self.alive = self.alive + 1
  adapter.spawn(function()
    if task.state == "done" then
      return
    end
    task.state, task.co = "started", running()
    owner[task.co] = task
    finish(task, guarded(f, unpack(arguments, 1, arguments.n)))
    if task.thrown and not task.observed then
      raise(task.thrown)
    end
  end)
  return task
end

function Scheduler:ended(task)
  self.alive = self.alive - 1
  if task.thrown and task.native then
    self.failures[#self.failures + 1] = task
  end
end

local function resumed(self, task, ok, what, ...)
  if what == PARKED then
    return
  elseif status(task.co) == "dead" then
    finish(task, ok, what, ...)
  else
    self:enqueue(task) -- a bare yield lets the others run
  end
end

-- Runs the tasks that are runnable now, each once.
function Scheduler:run_tasks()
  local stop = self.last
  self.turning = true
  while self.first <= stop do
    local task = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    task.queued = false
    if task.state ~= "done" then
      task.state = "started"
      resumed(self, task, resume(task.co))
    end
  end
  self.turning = false
end

--- Wakes whoever waits for the ids that have news.
---@return integer count
function Scheduler:deliver()
  local engine, parked, background, count = self.engine, self.parked, self.background, 0
  local id = engine:ready()
  while id do
    local waiter = parked[id]
    if waiter then
      parked[id] = nil
      waiter:wake()
      count = count + 1
    elseif id == self.bell then
      self.bell = nil
    elseif background[id] then
      waiter = background[id]
      background[id] = nil
      waiter:wake()
    end
    id = engine:ready()
  end
  return count
end

--- Lets time pass until there is news, at most so long.
---@param seconds number?
function Scheduler:pump(seconds)
  self.wait_for(self.engine, seconds)
  self:deliver()
end

--- A waiter for the context of the caller, and the task that is running, if any.
---@return table waiter
---@return surefoot.Task? task
function Scheduler:waiter()
  local task = current()
  if task and task.native and task.scheduler == self then
    return task, task
  elseif self.adapter and not on_main_thread() then
    return setmetatable({ adapter = self.adapter, woken = false }, Adapted), task
  end
  return setmetatable({ scheduler = self, woken = false }, Blocking), task
end

--- Whether waiting here would block the thread.
---@return boolean
function Scheduler:blocks()
  return getmetatable(self:waiter()) == Blocking
end

--- Whether tasks that are spawned here will run while the caller waits for them.
---@return boolean
function Scheduler:can_spawn()
  return not self:blocks() and (not self.adapter or self.adapter.spawn ~= nil or current() ~= nil)
end

--- Waits until the id has news.
---@async
---@param id integer
---@param task surefoot.Task? the running one
---@return boolean came false: woken for another reason
function Scheduler:wait(id, task)
  local parked = self.parked
  if task and task.native and task.scheduler == self then
    parked[id], task.waiting = task, task
    yield(PARKED)
    task.waiting = nil
  else
    local waiter = self:waiter()
    parked[id] = waiter
    suspend(waiter, task)
  end
  if parked[id] then
    parked[id] = nil
    return false
  end
  return true
end

--- Waits for a time.
---@async
---@param seconds number
---@return true? slept
---@return surefoot.Error? err kind "cancelled"
function Scheduler:sleep(seconds)
  local task = current()
  if take_interrupt(task) then
    return nil, cancelled()
  end
  local timer = self.engine:timer(seconds)
  while not self:wait(timer, task) do
    if take_interrupt(task) then
      self.engine:cancel_timer(timer)
      return nil, cancelled()
    end
  end
  return true
end

-- Rethrows the first error of a task that nobody waited for.
function Scheduler:raise_failures()
  local failures = self.failures
  self.failures = {}
  for _, task in ipairs(failures) do
    if not task.observed then
      raise(task.thrown)
    end
  end
end

local function turn_until(self, finished, deadline)
  while true do
    self:run_tasks()
    if finished() then
      return true
    end
    local left = deadline and deadline - self.engine:now()
    if left and left <= 0 then
      return false
    elseif self.first <= self.last then
      self:pump(0)
    elseif next(self.parked) == nil and not left then
      error("every task waits for another task: none of them can go on", 0)
    else
      self:pump(left)
    end
  end
end

--- Turns until `finished()`; the caller blocks.
---@param finished fun(): boolean
---@param seconds number? at most so long
---@return boolean finished
function Scheduler:drive(finished, seconds)
  self.running = true
  local deadline = seconds and seconds < math.huge and self.engine:now() + seconds or nil
  local ok, result = pcall(turn_until, self, finished, deadline)
  self.running, self.turning = false, false
  if not ok then -- the engine failed, or the user interrupted: the tasks cannot go on
    self.queue, self.first, self.last, self.alive = {}, 1, 0, 0
    self.parked, self.failures = {}, {}
    error(result, 0)
  end
  return result
end

--- Runs f as a task, and turns until all tasks have ended. Rethrows what f threw, else what a task threw that nobody
--- waited for.
---@param f function
---@param ... any what f is called with
---@return any ... what f returned
function Scheduler:run(f, ...)
  local main = self:spawn(f, ...)
  main.observed = true
  self:drive(function() return self.alive == 0 end)
  if main.thrown then
    self.failures = {}
    raise(main.thrown)
  end
  self:raise_failures()
  return unpack(main.values, 1, main.values.n)
end

--- One turn for a loop that is not ours: never blocks.
---@return integer count of waiters that had news
function Scheduler:step()
  self.turning = true -- who is woken now runs in this turn
  self.engine:step()
  local count = self:deliver()
  self:run_tasks()
  if self.foreign and self.first <= self.last then
    self:ring()
  end
  self:raise_failures()
  return count
end

return M
