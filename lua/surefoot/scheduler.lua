--- The scheduler of an engine, real or simulated: runs native tasks, and wakes whoever waits for an id of the engine (a
-- call's or a timer's). Each waits through a waiter, made for the context it is in:
--   a task of this scheduler yields, and is resumed by the scheduler;
--   a coroutine of another loop waits by that loop's means: of the user's own (surefoot.use), or of one that surefoot
--   knows (surefoot.loop.hosts);
--   everything else, the main thread or a coroutine that nobody here owns, blocks. What arrives for others meanwhile is
--   only noted; they run when their loop turns again.
-- Tasks are never resumed from inside the engine.

local all_failures = require "surefoot.loop.failures"
local guard = require "surefoot.guard"
local tasks = require "surefoot.tasks"

local M = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack
local resume, status, yield = coroutine.resume, coroutine.status, coroutine.yield
local outside, running = guard.outside, guard.running
-- What is less is over: clocks move in whole nanoseconds, and what is left of a difference may be far below.
local INSTANT = 1e-9

local current, finish, suspend, PARKED = tasks.current, tasks.finish, tasks.suspend, tasks.PARKED

local function on_main_thread()
  local co, is_main = running()
  return co == nil or is_main == true
end

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

local waiter_of = setmetatable({}, { __mode = "kv" }) -- coroutine -> what it waits by

-- The wait threw, since there was no yielding where it stood.
function Adapted:give_up()
  local leave = not self.is_over and self.adapter.leave
  self.is_over = true
  if leave then
    leave(self)
  end
  self.scheduler:abandon(self)
end

function Adapted:suspend()
  local co = running()
  if waiter_of[co] then
    waiter_of[co]:give_up()
  end
  waiter_of[co] = self
  while not self.woken do
    outside(self.adapter.wait, self)
  end
  self.woken, waiter_of[co] = false, nil
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
---@field adapter surefoot.Adapter? of the user's own loop
---@field hosts surefoot.Hosts?     the loops that surefoot knows
---@field parked table<integer, table>  id -> waiter
---@field background table<integer, table>  id -> waiter of what nobody waits for, whose wake() does the work itself and
--- never waits. Held weakly: it belongs to whoever set it up, and keeps no loop from ending
---@field private wait_for fun(engine: table, seconds: number?)
---@field private ids integer[]  what the last turn of the engine has told: `given` of them, `told` of which were woken
---@field private queue table
---@field private first integer
---@field private last integer
---@field alive integer         native tasks that have not ended
---@field private failures surefoot.Failures of native tasks
local Scheduler = {}
Scheduler.__index = Scheduler

--- Makes the scheduler of an engine.
---@param engine table
---@param wait_for fun(engine: table, seconds: number?) lets time pass: until there is news, at most so long
---@return surefoot.Scheduler
function M.new(engine, wait_for)
  return setmetatable({
    engine = engine, wait_for = wait_for, running = false, foreign = false, turning = false,
    parked = {}, background = setmetatable({}, { __mode = "v" }), queue = {}, first = 1, last = 0, alive = 0,
    failures = all_failures.new(), ids = {}, told = 0, given = 0,
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
  local task = tasks.new(self)
  task.native, self.alive = true, self.alive + 1
  tasks.settle(task, coroutine.create(function()
    return f(unpack(arguments, 1, arguments.n))
  end))
  self:enqueue(task)
  return task
end

-- A run in the loop of an adapter: its tasks that have not ended, by their numbers.
local function new_group()
  return { alive = 0, count = 0, members = {}, failures = all_failures.new() }
end

local function join(task, group)
  task.group = group
  if group then
    group.alive, group.count = group.alive + 1, group.count + 1
    group.members[task] = group.count
  end
end

local function cancel_members(group)
  local list, number = {}, group.members
  for task in pairs(number) do
    list[#list + 1] = task
  end
  table.sort(list, function(a, b) return number[a] < number[b] end)
  for _, task in ipairs(list) do
    task:cancel()
  end
end

-- A loop may go on with a coroutine that it had given up: its task has ended by then.
local function conclude(task, ...)
  if task.state ~= "done" then
    finish(task, ...)
  end
end

-- Lets the adapter begin it: true, or false and what that threw. A task that has no coroutine then has ended.
local function begin(task, adapter, f, ...)
  local arguments = pack(...)
  local ok, problem = outside(pcall, adapter.spawn, function()
    if task.state == "done" then
      return
    end
    task.state = "started"
    tasks.settle(task, (running()))
    task.co = nil -- its loop holds it: should that be gone, so is the task (LuaJIT and 5.1 have no ephemerons)
    conclude(task, tasks.guarded(f, unpack(arguments, 1, arguments.n)))
    if task.thrown and not task.observed and not task.group then
      tasks.raise(task.thrown)
    end
  end)
  if not ok and task.state == "new" then
    finish(task, true, nil, tasks.cancelled())
  end
  return ok, problem
end

--- Makes a task that the loop of an adapter runs. It belongs to the run of the task that spawns it.
---@param adapter surefoot.Adapter
---@param f function
---@param ... any what f is called with
---@return surefoot.Task? task nil where the loop cannot begin a coroutine
---@return any problem what it threw
function Scheduler:spawn_adapted(adapter, f, ...)
  local task, parent = tasks.new(self), current()
  task.adapter = adapter
  join(task, parent and parent.group)
  local ok, problem = begin(task, adapter, f, ...)
  if ok then
    return task
  end
  return nil, problem
end

function Scheduler:ended(task)
  local group = task.group
  if task.thrown and not task.observed and (task.native or group) then
    (group or self).failures:add(task)
  end
  if task.native then
    self.alive = self.alive - 1
  elseif group then
    group.alive, group.members[task] = group.alive - 1, nil
    if group.alive == 0 and group.waiter then
      group.waiter:wake()
    end
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

-- Wakes whoever waits for the id: how many.
local function tell(self, id)
  local parked, background = self.parked, self.background
  local waiter = parked[id]
  if waiter then
    parked[id] = nil
    waiter:wake()
    return 1
  elseif id == self.bell then
    self.bell = nil
  elseif background[id] then
    waiter = background[id]
    background[id] = nil
    waiter:wake()
  end
  return 0
end

--- Wakes whoever waits for the ids that have news. Waking is the loop's: where it throws, the next time goes on.
---@return integer count
function Scheduler:deliver()
  local engine, ids, count = self.engine, self.ids, 0
  while self.told < self.given do
    self.told = self.told + 1
    count = count + tell(self, ids[self.told])
  end
  local id = engine:ready()
  while id do
    count = count + tell(self, id)
    id = engine:ready()
  end
  return count
end

--- Lets time pass until there is news, at most so long.
---@param seconds number?
function Scheduler:pump(seconds)
  self.wait_for(self.engine, self.told < self.given and 0 or seconds)
  self:deliver()
end

--- The adapter of the loop that resumes the running coroutine, if it is one that surefoot was told of or knows.
---@return surefoot.Adapter?
function Scheduler:host()
  local on_main = on_main_thread()
  if self.adapter then
    return not on_main and self.adapter or nil
  end
  return self.hosts and outside(self.hosts.owner, self.hosts, on_main)
end

--- The adapter of a loop that can begin a coroutine here.
---@return surefoot.Adapter?
function Scheduler:spawner()
  if self.adapter then
    return self.adapter.spawn and self.adapter
  end
  return self.hosts and outside(self.hosts.spawner, self.hosts, on_main_thread())
end

--- Why nothing can wait in this place, in words for people; nil where it can.
---@return string?
function Scheduler:refusal()
  return self.hosts and not self.adapter and outside(self.hosts.refusal, self.hosts) or nil
end

--- A waiter for the context of the caller, and the task that is running, if any.
---@return table waiter
---@return surefoot.Task? task
function Scheduler:waiter()
  local task = current()
  if task and task.native and task.scheduler == self then
    return task, task
  end
  local adapter = self:host()
  if adapter then
    -- A loop of the user's does not tell of a coroutine that was dropped: the collector does, if nothing is held.
    return setmetatable({ scheduler = self, adapter = adapter, woken = false, is_watched = not self.adapter,
      task = task }, Adapted), task
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
  local waiter = self:waiter()
  local kind = getmetatable(waiter)
  return kind ~= Blocking and (kind ~= Adapted or waiter.adapter.spawn ~= nil)
end

--- Waits until the id has news.
---@async
---@param id integer
---@param task surefoot.Task? the running one
---@param holder { cancel: fun(self: table) }? as tasks.suspend takes it
---@return boolean came false: woken for another reason
function Scheduler:wait(id, task, holder)
  local parked = self.parked
  if task and task.native and task.scheduler == self then
    if task.waiting then
      tasks.forsake(task)
    end
    parked[id], task.waiting, task.id, task.holder = task, task, id, holder
    yield(PARKED)
    task.waiting, task.holder = nil, nil
  else
    local waiter = self:waiter()
    parked[id], waiter.id = waiter, id
    suspend(waiter, task, holder)
  end
  if parked[id] then
    parked[id] = nil
    return false
  end
  return true
end

--- Who waits by this waiter does not any more: gives up what it holds.
---@param waiter table
function Scheduler:abandon(waiter)
  if waiter.id and self.parked[waiter.id] == waiter then
    self.parked[waiter.id] = nil
  end
  local holder = waiter.holder
  waiter.holder = nil
  if holder then
    holder:cancel "cancelled"
  end
end

--- Nobody will ever resume the coroutine that waits by this waiter: gives up what it holds, and ends its task.
---@param waiter table
function Scheduler:lost(waiter)
  self:abandon(waiter)
  tasks.bury(waiter.task)
end

--- Waits for a time.
---@async
---@param seconds number
---@return true? slept
---@return surefoot.Error? err kind "cancelled"
function Scheduler:sleep(seconds)
  local task = current()
  if tasks.take_interrupt(task) then
    return nil, tasks.cancelled()
  end
  local timer = self.engine:timer(seconds)
  while not self:wait(timer, task) do
    if tasks.take_interrupt(task) then
      self.engine:cancel_timer(timer)
      return nil, tasks.cancelled()
    end
  end
  return true
end

-- Rethrows the first error of a task that nobody waited for.
function Scheduler:raise_failures()
  local thrown = self.failures.last > 0 and self.failures:take()
  if thrown then
    tasks.raise(thrown)
  end
end

--- Runs f as a task in the loop of an adapter, and waits until it and all that it has begun have ended. Rethrows what f
--- threw, else what a task threw that nobody waited for.
---@async
---@param adapter surefoot.Adapter
---@param f function
---@param ... any what f is called with
---@return any ... what f returned
function Scheduler:run_adapted(adapter, f, ...)
  local waiter, me = self:waiter()
  local group, main = new_group(), tasks.new(self)
  main.observed = true
  join(main, group)
  local ok, refusal = begin(main, adapter, f, ...)
  if not ok then
    error(refusal, 0)
  end
  group.waiter = waiter
  while group.alive > 0 do
    suspend(waiter, me)
    if tasks.take_interrupt(me) then
      cancel_members(group)
    end
  end
  local lost = group.failures:take()
  local problem = main.thrown or lost
  if problem then
    tasks.raise(problem)
  end
  return unpack(main.values, 1, main.values.n)
end

local function turn_until(self, finished, deadline)
  while true do
    self:run_tasks()
    if finished() then
      return true
    end
    local left = deadline and deadline - self.engine:now()
    if left and left < INSTANT then
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

-- The tasks cannot go on, and end as cancelled; so do, in turn, those that wait for them. Other loops' can.
function Scheduler:drop_tasks()
  for id, waiter in pairs(self.parked) do
    if getmetatable(waiter) ~= Adapted then
      self.parked[id] = nil
    end
    if waiter.native then
      self:enqueue(waiter)
    end
  end
  while self.first <= self.last do
    local task = self.queue[self.first]
    self.queue[self.first], self.first = nil, self.first + 1
    if task.call then
      task.call:cancel "cancelled"
    end
    finish(task, true, nil, tasks.cancelled())
  end
  self.failures:take()
  self.alive = 0
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
  if not ok then -- the engine failed, or the user interrupted
    self:drop_tasks()
    error(result, 0)
  end
  return result
end

--- Turns the loop that runs a task until `finished()`; the caller blocks.
---@param task surefoot.Task
---@param finished fun(): boolean
---@param seconds number? at most so long
---@return boolean? finished nil: the loop cannot turn here
---@return string? refusal why, in words for people
function Scheduler:turn(task, finished, seconds)
  local refusal = self:refusal()
  if refusal then
    return nil, refusal
  elseif self.running then
    return nil, "called from a coroutine that is no task: tasks stand still while it waits"
  elseif task.native then
    return self:drive(finished, seconds)
  elseif not task.adapter.turn then
    return nil, "another loop runs the task, and stands still while this waits: wait in a coroutine of that loop"
  end
  local watcher = { wake = function() end } -- as one waits for it, what it throws is not its loop's
  task.joiners[watcher] = true
  local ok, ended, why = pcall(task.adapter.turn, finished, seconds)
  task.joiners[watcher] = nil
  if not ok then
    error(ended, 0)
  end
  return ended, why
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
    self.failures:take()
    tasks.raise(main.thrown)
  end
  self:raise_failures()
  return unpack(main.values, 1, main.values.n)
end

local function turn(self)
  if self.told == self.given then
    self.told, self.given = 0, self.engine:turn(self.ids)
  end
  return self:deliver()
end

--- One turn for a loop that is not ours: never blocks.
---@return integer count of waiters that had news
function Scheduler:step()
  self.turning = true -- who is woken now runs in this turn
  local ok, count = pcall(turn, self)
  if not ok then
    self.turning = false
    pcall(self.ring, self) -- a closed engine cannot
    error(count, 0)
  end
  self:run_tasks()
  if self.foreign and self.first <= self.last then
    self:ring()
  end
  self:raise_failures()
  return count
end

return M
