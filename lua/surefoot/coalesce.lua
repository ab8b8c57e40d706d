--- Calls that ask the same at the same time share one: one call of the core, several callers who wait for it.
--
-- These are plain calls whose answer would be the same: chat with temperature 0 or a seed, embeddings, models, and
-- client:request with GET. surefoot.client.same says which calls ask the same, and which are always their own.
--
-- Nobody leads: the shared call is driven from the engine's news (surefoot.call's turn), so it does not matter who
-- began it, who leaves, or which of the callers can run at that moment. Every caller has a deadline, a canceller and a
-- task of its own, and its end touches nobody else; when the last one leaves, the call is cancelled. An answer reaches
-- every caller as a copy of its own, and so does a failure.
--
-- The shared call itself may last twice as long as the one who began it allows, and takes in only those whose deadline
-- is not beyond that. So what a call of its own would be told at once (every circuit is open until after its deadline)
-- it may hear here only when its deadline comes.
--
-- The first of those who still wait gets the answer as it is; for the others result.coalesced is true and cost, where
-- there is one, 0. Latencies are each caller's own; usage and attempts are those of the one call.

local call = require "surefoot.call"
local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local failure = require "surefoot.failure"
local same = require "surefoot.client.same"
local stats = require "surefoot.client.stats"
local submit = require "surefoot.submit"
local tasks = require "surefoot.tasks"

local M = {}

local PATIENCE = 2 -- times the deadline of the one who began it: how long a shared call may last

---@class surefoot.Coalesce
---@field chat boolean?
---@field sampled boolean?
---@field embeddings boolean?
---@field get boolean?

---@class surefoot.Config
---@field coalesce boolean | surefoot.Coalesce | nil

---@class surefoot.CallOptions
---@field coalesce boolean?  false: an attempt of its own

---@class surefoot.Job
---@field caller surefoot.Caller?  where it shares a call: the one who waits for it

---@class surefoot.Result
---@field coalesced boolean?  true: another call's answer

-- ----------------------------------------------------------------------------------------------------------- copies

-- A copy of a table and of all tables in it. One whose metatable nobody may have stays what it is.
local function deep_copy(root)
  local twins, queue, first = {}, {}, 1
  local function twin_of(t)
    local twin, mt = twins[t], getmetatable(t)
    if twin then
      return twin
    elseif mt ~= nil and type(mt) ~= "table" then
      return t
    end
    twin = setmetatable({}, mt)
    twins[t], queue[#queue + 1] = twin, t
    return twin
  end
  local whole = twin_of(root)
  while queue[first] do
    local from = queue[first]
    local to = twins[from]
    for key, value in next, from do
      rawset(to, key, type(value) == "table" and twin_of(value) or value)
    end
    first = first + 1
  end
  return whole
end

-- ------------------------------------------------------------------------------------------------------- the callers

-- One who waits. To its task and its canceller it is the call; to the scheduler, the one whose deadline a timer is.
---@class surefoot.Caller
---@field shared surefoot.Shared
---@field options table
---@field began number
---@field waiter table?           while it waits
---@field timer integer?          of its deadline
---@field bell integer?           of its waking, where that is for the engine's next turn
---@field ended boolean?
---@field result surefoot.Result?
---@field err surefoot.Error?
---@field thrown table?           what was thrown while a request was written
local Caller = {}
Caller.__index = Caller

local function finish(caller, result, err, thrown)
  local numbers = caller.shared.job.client.sharing
  caller.ended, caller.result, caller.err, caller.thrown = true, result, err, thrown
  numbers.in_flight = numbers.in_flight - 1
  stats.count_end(numbers, result and "ok" or err and err.kind or "cancelled", 1)
end

-- Wakes one that has ended. later: this is not the engine's news, where the loops of users expect to be told, but
-- somewhere in their code.
local function rouse(caller, later)
  local waiter, scheduler = caller.waiter, caller.shared.scheduler
  if waiter and later then
    caller.bell = caller.bell or scheduler.engine:timer(0)
    scheduler.parked[caller.bell] = waiter
  elseif waiter then
    waiter:wake()
  end
end

-- Ends it before there is an answer, and nobody else.
local function leave(caller, kind)
  local callers = caller.shared.callers
  for i, other in ipairs(callers) do
    if other == caller then
      table.remove(callers, i)
      break
    end
  end
  finish(caller, nil, caller.shared:departure(kind))
end

--- Its task, or its canceller, has had enough. With `more` other calls are about to end as well: nobody moves up yet,
--- and this is called again.
---@param kind surefoot.Kind
---@param more boolean?
function Caller:cancel(kind, more)
  if not self.ended then
    leave(self, kind)
  end
  self.shared:let_go(kind, more)
  if not more then
    rouse(self, true)
  end
end

--- Whether others wait for the same answer: then it is theirs, and so is its cost.
---@return boolean
function Caller:is_joined()
  local callers = self.shared.callers
  return #callers > 1 or callers[1] ~= nil and callers[1] ~= self
end

--- As of a call, while it has not ended.
---@return table info
function Caller:info()
  return self.shared.job.call:info()
end

--- As of a call, while it has not ended.
---@return table[] trail
function Caller:trail()
  return self.shared.job.call:trail()
end

--- Its deadline has come.
function Caller:wake()
  self.timer = nil
  if not self.ended then
    leave(self, "deadline")
    self.shared:let_go "deadline"
    rouse(self)
  end
end

-- --------------------------------------------------------------------------------------------------- the shared call

-- To the scheduler it is the waiter of its call's news, which it answers without waiting.
---@class surefoot.Shared
---@field job surefoot.Job
---@field key string
---@field scheduler surefoot.Scheduler
---@field began number
---@field expires number
---@field callers surefoot.Caller[]  in the order in which they came
---@field over boolean?
local Shared = {}
Shared.__index = Shared

local function forget(shared)
  local known = shared.job.client.shared
  if known[shared.key] == shared then
    known[shared.key] = nil
  end
end

--- The error of one who leaves.
---@param kind surefoot.Kind
---@return surefoot.Error
function Shared:departure(kind)
  local job, message = self.job, "cancelled by the caller"
  local info, trail = job.call:info(), failure.trail(job)
  if kind == "deadline" then
    message = "the deadline passed while waiting"
  end
  for _, attempt in ipairs(trail) do
    if not attempt.kind then
      attempt.kind = kind
      message = kind == "deadline" and "the deadline passed while an answer was awaited" or message
    end
  end
  return errors.new {
    kind = kind, message = message, sent = info.sent, attempts = trail, request_id = job.request_id,
    max_attempts = job.options.max_attempts or job.client.config.retry.max_attempts,
  }
end

--- Cancels the call when nobody waits for it any more.
---@param kind surefoot.Kind
---@param more boolean?
function Shared:let_go(kind, more)
  if not self.over and #self.callers == 0 then
    self.job.call:cancel(kind, more)
    if not more then
      self:wake()
    end
  end
end

-- The answer of each caller; all are made before anybody can touch one.
local function results_of(shared, result)
  local own = { result }
  for i = 2, #shared.callers do
    own[i] = deep_copy(result)
    own[i].coalesced, own[i].cost = true, result.cost and 0
  end
  for i, caller in ipairs(shared.callers) do
    local late, first_token = caller.began - shared.began, own[i].time_to_first_token
    own[i].latency, own[i].tags = own[i].latency - late, caller.options.tags
    own[i].time_to_first_token = first_token and math.max(0, first_token - late)
  end
  return own
end

local function errors_of(shared, err)
  local own = { err }
  for i = 2, #shared.callers do
    own[i] = deep_copy(err)
  end
  return own
end

local function settle(shared, later, thrown, kind, result, err)
  local numbers = shared.job.client.sharing
  numbers.in_flight = numbers.in_flight + 1
  stats.count_end(numbers, kind, -1) -- counted by the core; its callers are counted instead
  local results, failures = result and results_of(shared, result) or {}, err and errors_of(shared, err) or {}
  local callers = shared.callers
  shared.callers = {}
  for i, caller in ipairs(callers) do
    finish(caller, results[i], not thrown and failures[i] or nil, thrown)
  end
  for _, caller in ipairs(callers) do
    rouse(caller, later)
  end
end

--- There is news of the call: answers what it asks; tells its callers when it has settled.
---@param later boolean? they are told in the engine's next turn
function Shared:wake(later)
  local job = self.job
  if self.over then
    return
  end
  local thrown
  local ok, settled, accepted, kind, deciding, latency, first_token, receipt = pcall(call.turn, job)
  if not ok then
    thrown = { settled }
    job.call:cancel "cancelled"
    settled, accepted, kind, deciding = call.turn(job)
  end
  if not settled then
    self.scheduler.parked[job.id] = self
    return
  end
  self.over = true
  self.scheduler.parked[job.id] = nil
  forget(self)
  settle(self, later, thrown, kind, call.conclude(job, nil, accepted, kind, deciding, latency, first_token, receipt))
end

-- Whether one whose deadline that is may join. What a loop that was interrupted has missed is made up for.
local function takes(shared, scheduler, deadline)
  if shared.scheduler ~= scheduler or deadline > shared.expires then
    return false
  elseif scheduler.parked[shared.job.id] ~= shared then
    shared:wake(true)
  end
  return not shared.over
end

local function begin(job, key, scheduler, now)
  local own = copy(job)
  own.options, own.deadline = copy(job.options), PATIENCE * job.deadline
  own.options.cancel, own.options.tags = nil, nil
  local ok, problem = submit.start(own)
  if not ok then
    return nil, problem
  end
  local client = job.client
  local numbers = client.sharing
  numbers.requests, numbers.in_flight = numbers.requests - 1, numbers.in_flight - 1
  local shared = setmetatable({
    job = own, key = key, scheduler = scheduler, began = now, expires = now + own.deadline, callers = {},
  }, Shared)
  client.shared[key] = shared
  return shared
end

-- The call that the job shares, and whether that was there before.
local function shared_for(job, key, scheduler, now)
  local shared = job.client.shared[key]
  if shared and takes(shared, scheduler, now + job.deadline) then
    return shared, true
  end
  return begin(job, key, scheduler, now)
end

local function join(shared, job, now)
  local numbers = job.client.sharing
  local caller = setmetatable({ shared = shared, options = job.options, began = now }, Caller)
  shared.callers[#shared.callers + 1], job.caller = caller, caller
  numbers.requests, numbers.in_flight = numbers.requests + 1, numbers.in_flight + 1
  return caller
end

local function await(caller, scheduler, seconds)
  local cancel = caller.options.cancel
  local waiter, task = scheduler:waiter()
  local outer
  if seconds < math.huge then
    caller.timer = scheduler.engine:timer(seconds)
    scheduler.parked[caller.timer] = caller
  end
  if cancel then
    cancel:add(caller)
  end
  if task then
    outer, task.call = task.call, caller
  end
  caller.waiter = waiter
  while not caller.ended do
    tasks.suspend(waiter, task, caller)
  end
  caller.waiter = nil
  if task then
    task.call = outer
  end
  if cancel then
    cancel:remove(caller)
  end
  for _, timer in pairs { caller.timer, caller.bell } do
    scheduler.parked[timer] = nil
    scheduler.engine:cancel_timer(timer)
  end
  if caller.err and caller.err.kind == "cancelled" then
    tasks.take_interrupt(task) -- the caller is told
  end
end

--- Performs a call; with others that ask the same, where that is allowed.
---@async
---@param job surefoot.Job
---@return surefoot.Result?
---@return surefoot.Error?
function M.perform(job)
  local key = same.key(job)
  if not key then
    return call.perform(job)
  end
  local ok, problem = submit.prepare(job)
  if not ok then
    return nil, problem
  end
  local scheduler = job.client.host.scheduler()
  local now = scheduler.engine:now()
  local shared, joins = shared_for(job, key, scheduler, now)
  if not shared then
    return nil, joins
  end
  local caller = join(shared, job, now)
  if joins then
    job.client.sharing.coalesced = job.client.sharing.coalesced + 1
  else
    shared:wake() -- it may have settled already
  end
  if not caller.ended then
    await(caller, scheduler, job.deadline)
  end
  if caller.thrown then
    error(caller.thrown[1], 0)
  end
  return caller.result, caller.err
end

return M
