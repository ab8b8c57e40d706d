--- Load: many calls of one or several clients at a time, as many workers each, as fast as they can or at a pace.
--
-- With a pace, a call is due at its moment whether or not those before have ended, and its latency counts from then:
-- a slow server cannot hide by slowing down the one who measures.

local samples = require "surefoot.cli.samples"
local surefoot = require "surefoot"

local M = {}

local NAP = 0.2 -- seconds between two looks of a worker that waits whether all is over

---@class surefoot.LoadPlan
---@field requests table[]       asked in turn
---@field concurrency integer    workers of each group
---@field calls integer?         of each group; nil: as many as there is time for
---@field seconds number?        in which calls begin; nil: until all are done
---@field rate number?           calls a second of each group; nil: as fast as they can
---@field stream boolean?
---@field deadline number?       of a call

---@class surefoot.LoadGroup
---@field name string
---@field client surefoot.Client
---@field samples surefoot.Samples
---@field ended number?          seconds from the beginning until its last call had ended

---@class surefoot.Load
---@field plan surefoot.LoadPlan
---@field groups surefoot.LoadGroup[]
---@field private began number?
---@field private cancel surefoot.Canceller
local Load = {}
Load.__index = Load

--- Makes a load.
---@param plan surefoot.LoadPlan
---@param clients { name: string, client: surefoot.Client }[]
---@return surefoot.Load
function M.new(plan, clients)
  local groups = {}
  for i, one in ipairs(clients) do
    groups[i] = { name = one.name, client = one.client, samples = samples.new(), ended = nil }
  end
  return setmetatable({ plan = plan, groups = groups, began = nil, cancel = surefoot.canceller() }, Load)
end

--- Seconds since it began.
---@return number
function Load:elapsed()
  return self.began and surefoot.now() - self.began or 0
end

--- Ends it: nothing more begins, and what is in flight is cancelled and not counted.
function Load:stop()
  self.cancel:cancel()
end

---@return boolean
function Load:stopped()
  return self.cancel:cancelled()
end

-- When the next call of a group is due; nil: there is none any more.
local function next_due(self, group)
  local plan, number = self.plan, group.samples.began
  local due = plan.rate and number / plan.rate or self:elapsed()
  local over = plan.calls and number >= plan.calls or plan.seconds and due >= plan.seconds
  if over or self:stopped() then
    return nil
  end
  group.samples.began = number + 1
  return due, number
end

local function wait_until(self, due)
  local left = due - self:elapsed()
  while left > 0 and not self:stopped() do
    surefoot.sleep(math.min(left, NAP))
    left = due - self:elapsed()
  end
end

local function perform(self, client, request)
  local options = { cancel = self.cancel, deadline = self.plan.deadline }
  if not self.plan.stream then
    return client:chat(request, options)
  end
  local stream, err = client:stream(request, options)
  if not stream then
    return nil, err
  end
  return stream:result()
end

local function call_once(self, group, due, number)
  local plan = self.plan
  local began = plan.rate and due or self:elapsed()
  local result, err = perform(self, group.client, plan.requests[number % #plan.requests + 1])
  if result or err.kind ~= "cancelled" then
    group.ended = self:elapsed()
    group.samples:add(group.ended, group.ended - began, result, err, plan.stream)
  end
end

local function work(self, group)
  local due, number = next_due(self, group)
  while due do
    wait_until(self, due)
    if not self:stopped() then
      call_once(self, group, due, number)
    end
    due, number = next_due(self, group)
  end
end

--- Does it; `watch` runs beside it as long as it lasts.
---@async
---@param watch fun() called again and again
---@param every number seconds
function Load:run(watch, every)
  self.began = surefoot.now()
  local ended = false
  local watcher = surefoot.spawn(function()
    while not ended do
      watch()
      surefoot.sleep(every)
    end
  end)
  local functions = {}
  for _ = 1, self.plan.concurrency do
    for _, group in ipairs(self.groups) do -- in turn: they begin together
      functions[#functions + 1] = function() work(self, group) end
    end
  end
  local outcomes = surefoot.all(functions)
  ended = true
  watcher:cancel()
  for _, outcome in ipairs(outcomes) do
    if outcome.kind then
      error(outcome.cause or outcome, 0)
    end
  end
end

return M
