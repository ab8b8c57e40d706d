--- Several calls that make one answer: one deadline over all of them, what they used summed up.
--
-- The first call's job says what holds for the others: client, routes, options. Every call has an idempotency key of
-- its own, since every request is another one.

local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local tasks = require "surefoot.tasks"

local M = {}

local COUNTS = { "input_tokens", "output_tokens", "total_tokens", "cached_input_tokens", "cache_write_tokens",
  "cache_write_hour_tokens", "reasoning_tokens" }

---@class surefoot.Used
---@field usage surefoot.Usage?
---@field cost number?
---@field endpoint string?  of what came last

---@class surefoot.Rounds
---@field job surefoot.Job          the first
---@field count integer             answers so far
---@field private name string       what the rounds are called in their idempotency keys
---@field private options table     as checked, for all of them
---@field private engine table
---@field private began number
---@field private total number      seconds for all of them
---@field private usage surefoot.Usage?
---@field private cost number?
---@field private first_token number?
local Rounds = {}
Rounds.__index = Rounds

-- Token counts of two answers together.
local function sum(a, b)
  if not a or not b then
    return a or b
  end
  local both = { estimated = a.estimated or b.estimated }
  for _, name in ipairs(COUNTS) do
    if a[name] or b[name] then
      both[name] = (a[name] or 0) + (b[name] or 0)
    end
  end
  return both
end

--- Begins to count, with the job of the first call.
---@param job surefoot.Job
---@param name string
---@return surefoot.Rounds
function M.new(job, name)
  local options, engine = job.options, job.client.host.scheduler().engine
  return setmetatable({
    job = job, name = name, options = options, engine = engine, began = engine:now(), count = 0,
    total = options.deadline or options.timeout and options.timeout.total or job.client.config.timeout.total,
  }, Rounds)
end

--- Seconds that are left for all that is to come; not above 0 when the deadline has passed.
---@return number
function Rounds:left()
  return self.total - self:elapsed()
end

--- Seconds since the beginning.
---@return number
function Rounds:elapsed()
  return self.engine:now() - self.began
end

--- The error of a deadline that passed.
---@param meanwhile string while what
---@return surefoot.Error
function Rounds:too_late(meanwhile)
  return errors.new {
    kind = "deadline", message = ("the deadline of %s passed while %s"):format(errors.seconds(self.total), meanwhile),
    attempts = {}, sent = self.count > 0,
  }
end

--- The job of the next call.
---@param request table
---@param meanwhile string what was done before it
---@param as { work: surefoot.Work, routes: surefoot.Route[], max_attempts: integer }? not as the first job was
---@return surefoot.Job?
---@return surefoot.Error?
function Rounds:follow(request, meanwhile, as)
  local client, left = self.job.client, self:left()
  if left <= 0 then
    return nil, self:too_late(meanwhile)
  end
  local options = copy(self.options)
  options.deadline = left
  options.max_attempts = as and as.max_attempts or options.max_attempts
  local key = options.idempotency_key or options.headers and options.headers["idempotency-key"]
  options.idempotency_key = key and ("%s-%s%d"):format(key, self.name, self.count + 1)
  local ok, job, problem = pcall(client.follow, client, as or self.job, request, options)
  if not ok then -- what was added to the request cannot be written
    return nil, errors.new { kind = "invalid_request", message = tostring(job), sent = false, attempts = {} }
  end
  return job, problem
end

--- Waits between two calls.
---@async
---@param seconds number
---@return surefoot.Error? err the task was cancelled meanwhile, or the canceller used
function Rounds:pause(seconds)
  local scheduler, cancel = self.job.client.host.scheduler(), self.options.cancel
  local waiter, task = scheduler:waiter()
  local timer, woken = scheduler.engine:timer(seconds), { cancel = function() waiter:wake() end }
  local function ends()
    return tasks.take_interrupt(task) or cancel and cancel:cancelled()
  end
  scheduler.parked[timer] = waiter
  if cancel then
    cancel:add(woken)
  end
  local is_over = ends()
  while not is_over and scheduler.parked[timer] do
    tasks.suspend(waiter, task)
    is_over = ends()
  end
  if cancel then
    cancel:remove(woken)
  end
  if scheduler.parked[timer] then
    scheduler.parked[timer] = nil
    scheduler.engine:cancel_timer(timer)
  end
  return is_over and errors.new { kind = "cancelled", sent = self.count > 0, attempts = {} } or nil
end

--- Counts an answer.
---@param result surefoot.Result
function Rounds:add(result)
  self.usage = sum(self.usage, result.usage)
  self.cost = result.cost and result.cost + (self.cost or 0) or self.cost
  if self.count == 0 then
    self.first_token = result.time_to_first_token
  end
  self.count = self.count + 1
end

--- What an answer's tokens are together with those that were counted.
---@param usage surefoot.Usage?
---@return surefoot.Usage?
function Rounds:with(usage)
  return sum(self.usage, usage)
end

--- What all of them have used and cost, with what has come of the one that runs; nil where nothing has.
---@param part surefoot.Used?
---@return surefoot.Used?
function Rounds:so_far(part)
  if not part and not self.usage then
    return nil
  end
  local cost = part and part.cost
  return { usage = self:with(part and part.usage), cost = cost and cost + (self.cost or 0) or self.cost,
    endpoint = part and part.endpoint }
end

--- A copy of a result that says what all of them took.
---@param result surefoot.Result
---@param uncounted boolean? it has not been added
---@return surefoot.Result
function Rounds:whole(result, uncounted)
  local whole = copy(result)
  whole.usage, whole.cost, whole.latency = self.usage, self.cost, self:elapsed()
  if uncounted then
    whole.usage = self:with(result.usage)
    whole.cost = result.cost and result.cost + (self.cost or 0) or self.cost
  end
  if self.count > 0 then
    whole.time_to_first_token = self.first_token
  end
  return whole
end

--- A copy of the error of a call, which says that requests were sent before it.
---@param err surefoot.Error
---@return surefoot.Error
function Rounds:failed(err)
  return copy(err, { sent = err.sent or self.count > 0 })
end

return M
