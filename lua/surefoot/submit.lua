--- From a job to a call of the core: what has to be asked before, and the submission itself.

local errors = require "surefoot.errors"
local keys = require "surefoot.client.keys"
local tasks = require "surefoot.tasks"

local M = {}

local PRIORITIES = { high = 1, normal = 2, low = 3 }
-- What takes other times than the rest: each kind learns by itself what is usual.
local PURPOSES = { chat = 1, embeddings = 2, models = 3, request = 4, probe = 5 }

local function fail(kind, message)
  return nil, errors.new { kind = kind, message = message, sent = false, attempts = {} }
end

-- The header lines of this call alone.
local function call_headers(job)
  local options, id = job.options, job.request_id
  local given = options.headers
  if not given and not options.idempotency_key then
    return "x-request-id: " .. id .. "\nidempotency-key: " .. id .. "\n"
  end
  given = given or {}
  local key = options.idempotency_key or given["idempotency-key"] or id
  local lines = { "x-request-id: ", id, "\nidempotency-key: ", key, "\n" }
  for name, value in pairs(given) do
    if name ~= "x-request-id" and name ~= "idempotency-key" then
      lines[#lines + 1] = name .. ": " .. value .. "\n"
    end
  end
  return table.concat(lines)
end

-- C reads the table before submit returns, and nothing yields meanwhile: one serves all calls.
local submission = {}

local function submit(job, engine)
  local client, options = job.client, job.options
  local s = submission
  s.deadline = job.deadline
  s.priority, s.headers = PRIORITIES[options.priority or "normal"], call_headers(job)
  s.estimate, s.events, s.max_attempts = job.estimate, job.watched, options.max_attempts
  s.timeout, s.variant, s.stream = job.timeout, 1, job.work.streams
  s.method, s.path, s.variant_headers, s.body = job.method, job.path, job.headers, job.body
  s.upload, s.output, s.hedge = job.upload, job.output, options.hedge
  s.purpose, s.without = PURPOSES[job.work.name] or 0, job.without
  if job.has_effects and s.hedge == nil then
    s.hedge = false
  end
  local call, problem = client.core:submit(engine, job.plan.id, s)
  s.body, s.upload, s.output, s.headers = nil, nil, nil, nil
  return call, problem
end

-- Asks the functions that give keys. They may wait, and whatever ends a call may happen meanwhile: true, or nil and why
-- there is nothing to submit any more.
local function keys_refreshed(job)
  local client, cancel = job.client, job.options.cancel
  local engine, task = client.host.scheduler().engine, tasks.current()
  local cancels = tasks.cancels(task)
  local function now()
    return engine:now()
  end
  local began = now()
  local ok, problem = keys.refresh(job, now, function()
    return client.closed or cancel and cancel:cancelled() or tasks.cancels(task) ~= cancels
  end)
  if client.closed then
    return fail "closed"
  elseif cancel and cancel:cancelled() then
    return fail("cancelled", "its canceller was used")
  elseif tasks.cancels(task) ~= cancels then
    tasks.take_interrupt(task)
    return fail("cancelled", "the task was cancelled")
  elseif not ok then
    return nil, problem
  end
  local total = job.deadline
  job.deadline = total - (now() - began)
  if job.deadline <= 0 then
    return fail("deadline", "the function of api_key took the call's " .. errors.seconds(total))
  end
  if client.log then
    for _, attempt in ipairs(job.aside or {}) do
      client.log:left_out(job, attempt)
    end
  end
  return true
end

local function prepare(job)
  local client, options = job.client, job.options
  local cancel = options.cancel
  if client.closed then
    return fail "closed"
  elseif cancel and cancel:cancelled() then
    return fail("cancelled", "its canceller was used before")
  elseif tasks.take_interrupt(tasks.current()) then
    return fail("cancelled", "the task was cancelled")
  end
  local refusal = client.host.scheduler():refusal()
  if refusal then
    return fail("invalid_request", refusal)
  end
  local spent = client.spend and client.spend:refusal(job)
  if spent then
    return nil, spent
  end
  job.deadline = options.deadline or options.timeout and options.timeout.total or client.config.timeout.total
  if client.key_functions then
    return keys_refreshed(job)
  end
  return true
end

--- Whatever has to be asked before a job is submitted; it may wait. Nil and why there is nothing to submit.
---@async
---@param job surefoot.Job
---@return true?
---@return surefoot.Error?
function M.prepare(job)
  local ok, problem = prepare(job)
  if not ok and job.client.log then
    job.client.log:refused(job, problem)
  end
  return ok, problem
end

--- Submits a job that is prepared; never waits. Nil and why it cannot be.
---@param job surefoot.Job
---@return true?
---@return surefoot.Error?
function M.start(job)
  local client, options = job.client, job.options
  job.scheduler = client.host.scheduler()
  if client.watch then
    client.watch:attend(job.scheduler)
  end
  job.tape = client.recorder and client.recorder:tape(job)
  job.watched = options.on_event ~= nil or client.log ~= nil and client.log.steps
  job.request_id = options.headers and options.headers["x-request-id"] or client.host.new_id()
  local problem
  job.call, problem = submit(job, job.scheduler.engine)
  if not job.call then
    return fail("invalid_request", client.scrub(problem))
  end
  job.id = job.call:id()
  if options.cancel then
    options.cancel:add(job.call)
  end
  return true
end

--- Submits a job.
---@async
---@param job surefoot.Job
---@return true?
---@return surefoot.Error?
function M.begin(job)
  local ok, problem = M.prepare(job)
  if not ok then
    return nil, problem
  end
  return M.start(job)
end

return M
