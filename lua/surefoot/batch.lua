--- Many requests at a time, from memory: all of them in order, or each as it ends.
--
-- A number of workers take one request after another. A request that cannot even be written fails alone, with kind
-- "invalid_request"; it does not cost the others.

local check = require "surefoot.config.check"
local config = require "surefoot.config"
local continue = require "surefoot.continue"
local errors = require "surefoot.errors"
local loop = require "surefoot.loop"
local schema = require "surefoot.config.schema"
local tasks = require "surefoot.tasks"

local M = {}

---@class surefoot.BatchOptions
---@field concurrency integer?  requests at a time (default: the client's limit)
---@field on_progress fun(progress: surefoot.Progress)?  batch only: after each request

---@class surefoot.Progress
---@field done integer
---@field total integer
---@field succeeded integer
---@field failed integer
---@field index integer   the request that has just ended
---@field result surefoot.Result?
---@field error surefoot.Error?

---@class surefoot.BatchSummary
---@field total integer
---@field succeeded integer
---@field failed integer
---@field errors table<surefoot.Kind, integer>
---@field seconds number
---@field tokens integer
---@field cost number  US dollars, of the answers whose price is known

local own, all_options = {}, {}
for _, field in ipairs(schema.batch) do
  own[field.name] = true
  all_options[#all_options + 1] = field
end
for _, field in ipairs(schema.options) do
  all_options[#all_options + 1] = field
end

--- Reads the arguments of batch and each. Throws a message without a position.
---@param requests any
---@param options any
---@param resolved table the client's configuration
---@return table job
function M.read(requests, options, resolved)
  if type(requests) ~= "table" then
    check.fail("requests", "expected a list, got %s", check.show(requests))
  elseif options ~= nil and type(options) ~= "table" then
    check.fail("options", "expected a table, got %s", check.show(options))
  end
  local list = check.list(requests, "requests", function(request, path)
    if type(request) ~= "string" and type(request) ~= "table" then
      check.fail(path, "expected a request table or a text, got %s", check.show(request))
    end
    return request
  end)
  check.fields(all_options, options or {}, "")
  local mine, theirs = {}, {}
  for key, value in pairs(options or {}) do
    (own[key] and mine or theirs)[key] = value
  end
  if theirs.idempotency_key ~= nil then
    check.fail("idempotency_key", "belongs to one call; every request of a batch gets its own")
  end
  mine = check.fields(schema.batch, mine, "")
  config.options(theirs, resolved)
  return {
    requests = list, options = theirs, on_progress = mine.on_progress,
    concurrency = math.min(mine.concurrency or resolved.concurrency.limit, #list),
  }
end

local function never_begun()
  return { error = errors.new { kind = "cancelled", sent = false, attempts = {} } }
end

local function outcome_of(client, state, index)
  local ok, job, problem = pcall(client.chat_job, client, state.requests[index], state.options)
  if not ok then
    return { error = errors.new { kind = "invalid_request", message = job, sent = false, attempts = {} } }
  elseif not job then
    return { error = problem }
  end
  local result, err = continue.perform(job)
  return { result = result, error = err }
end

-- Takes requests until none is left, or somebody cancelled, or it had its share.
local function work(client, state, share)
  while state.next <= #state.requests and not state.stopped and share > 0 do
    local index = state.next
    share = share - 1
    state.next = index + 1
    local outcome = outcome_of(client, state, index)
    if outcome.error and outcome.error.kind == "cancelled" then
      state.stopped = true
    end
    state.finished(index, outcome)
  end
end

local function workers(client, state)
  local functions = {}
  for i = 1, state.concurrency do
    functions[i] = function()
      work(client, state, #state.requests)
    end
  end
  return functions
end

local function rethrow(list, state)
  for _, task in ipairs(list) do
    if task.thrown then
      state.stopped, task.observed = true, true
      local err = task.thrown
      error(err.kind == "error" and err.cause or err, 0)
    end
  end
end

local function count(summary, outcome)
  local result, err = outcome.result, outcome.error
  if result then
    summary.succeeded = summary.succeeded + 1
    summary.tokens = summary.tokens + (result.usage and result.usage.total_tokens or 0)
    summary.cost = summary.cost + (result.cost or 0)
  else
    summary.failed = summary.failed + 1
    summary.errors[err.kind] = (summary.errors[err.kind] or 0) + 1
  end
end

--- Performs all of them.
---@param client table
---@param state table from M.read
---@return { result: surefoot.Result?, error: surefoot.Error? }[] outcomes
---@return surefoot.BatchSummary summary
function M.run(client, state)
  local outcomes, done, total = {}, 0, #state.requests
  local summary = { total = total, succeeded = 0, failed = 0, errors = {}, seconds = 0, tokens = 0, cost = 0 }
  local scheduler = client.host.scheduler()
  local began = scheduler.engine:now()
  state.next = 1
  function state.finished(index, outcome)
    outcomes[index], done = outcome, done + 1
    count(summary, outcome)
    if state.on_progress then
      state.on_progress {
        done = done, total = total, succeeded = summary.succeeded, failed = summary.failed, index = index,
        result = outcome.result, error = outcome.error,
      }
    end
  end
  rethrow(loop.together(scheduler, workers(client, state)), state)
  for index = 1, total do
    if not outcomes[index] then
      outcomes[index] = never_begun()
      count(summary, outcomes[index])
    end
  end
  summary.seconds = scheduler.engine:now() - began
  return outcomes, summary
end

-- Something that the iterator holds: when nobody reads any more, no further request is begun.
local function guard_of(state)
  local function abandon()
    state.stopped = true
  end
  local proxy = rawget(_G, "newproxy")
  if proxy then
    local guard = proxy(true)
    getmetatable(guard).__gc = abandon
    return guard
  end
  return setmetatable({}, { __gc = abandon, __close = abandon })
end

local function all_done(list)
  for _, task in ipairs(list) do
    if not task:done() then
      return false
    end
  end
  return true
end

-- A run that is read as it goes: `finished` holds what has ended and was not read yet, from `first` to `last`.
local function new_reading(client, state)
  local reading = {
    client = client, state = state, scheduler = client.host.scheduler(), finished = {}, first = 1, last = 0,
    begun = false, tasks = nil, waiter = nil,
  }
  function state.finished(index, outcome)
    reading.last = reading.last + 1
    reading.finished[reading.last] = { index, outcome }
    if reading.waiter then
      reading.waiter:wake()
    end
  end
  return reading
end

local function await(reading)
  local scheduler = reading.scheduler
  local function ready()
    return reading.first <= reading.last or all_done(reading.tasks)
  end
  if not reading.tasks then -- nothing can run beside the caller: one at a time
    work(reading.client, reading.state, 1)
  elseif scheduler:blocks() then
    scheduler:drive(ready)
  else
    reading.waiter = scheduler:waiter()
    tasks.watch(reading.tasks, reading.waiter)
    while not ready() do
      reading.waiter:suspend()
    end
    reading.waiter = nil
  end
end

-- What has ended next: { index, outcome }, or nil where all was read.
local function take(reading)
  local state = reading.state
  if not reading.begun then
    reading.begun, reading.tasks = true, loop.begin(reading.scheduler, workers(reading.client, state))
  end
  if reading.first > reading.last then
    await(reading)
  end
  rethrow(reading.tasks or {}, state)
  if reading.first > reading.last and state.next <= #state.requests then -- somebody cancelled: the rest is told, too
    state.next = state.next + 1
    state.finished(state.next - 1, never_begun())
  end
  local entry = reading.finished[reading.first]
  if entry then
    reading.finished[reading.first], reading.first = nil, reading.first + 1
  end
  return entry
end

--- Performs all of them; the iterator gives index, result, err as they end. Leaving the loop begins no further request.
---@param client table
---@param state table from M.read
---@return fun(): integer?, surefoot.Result?, surefoot.Error?
function M.each(client, state)
  local guard = guard_of(state)
  state.next = 1
  local reading = new_reading(client, state)
  local function iterate()
    local entry = take(reading)
    if not entry or not guard then
      return nil
    end
    return entry[1], entry[2].result, entry[2].error
  end
  return iterate, nil, nil, type(guard) == "table" and guard or nil
end

return M
