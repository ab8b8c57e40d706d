--- One call, from submit to settle: drives the core and answers its questions in the caller's own coroutine.
--
-- The core says "wait", or asks about an attempt: how a variant is written, or what an answer means. Hooks of the
-- caller (validate) run here, may wait, and their errors are the caller's; on_event is told what happened and cannot
-- disturb.

local errors = require "surefoot.errors"
local results = require "surefoot.result"
local tasks = require "surefoot.tasks"

local M = {}

local PRIORITIES = { high = 1, normal = 2, low = 3 }
local BODY_IN_ERROR = 16384 -- bytes of an error's text that are kept

---@class surefoot.Job
---@field plan surefoot.Plan
---@field routes surefoot.Route[]
---@field request table?                       as the caller gave it
---@field encode fun(variant: table): string?, string?, string?, string?  method, path, header lines, body
---@field judge fun(reply: surefoot.Reply, variant: table, endpoint: table): table?, surefoot.Verdict?
---@field first table                          { method, path, headers, body } of the first variant
---@field estimate number                      tokens
---@field asked string?                        the model asked for

local function fail(kind, message)
  return nil, errors.new { kind = kind, message = message, sent = false, attempts = {} }
end

-- The endpoint that an attempt ran on, by its place in the trail.
local function trail_of(call, client)
  local trail, names = call:trail(), client.config.endpoints
  for _, attempt in ipairs(trail) do
    local endpoint = names[attempt.endpoint]
    attempt.endpoint = endpoint and endpoint.name or attempt.endpoint
    attempt.message = attempt.message and client.scrub(attempt.message)
  end
  return trail
end

local function shorten(body)
  if type(body) == "string" and #body > BODY_IN_ERROR then
    return body:sub(1, BODY_IN_ERROR)
  end
  return body
end

local PHASES = {
  connect = "connect after ", first_byte = "first byte after ", first_token = "first token after ", idle = "idle for ",
  attempt = "attempt after ",
}

local function timeout_message(phase, endpoint, job)
  local limits = job.timeout or endpoint and endpoint.timeout
  local limit = limits and (limits[phase] or limits.attempt)
  return PHASES[phase] and limit and limit < math.huge and PHASES[phase] .. errors.seconds(limit) or nil
end

-- What happened, and why that was the end of it.
local function message_of(kind, info, verdict, kept, last, endpoint, job)
  local told = last and last.message or ""
  local why = info.message or ""
  if told ~= "" and why:sub(1, #told) == told then
    why = why:sub(#told + 1):gsub("^; ", "")
  end
  local what = verdict.kind == kind and verdict.message or kind == "timeout"
    and timeout_message(info.phase, endpoint, job)
    or told ~= "" and told or kept and "HTTP " .. kept.reply.status
  if why == "" or why == "no attempts left" or why == what then
    return what
  end
  return what and what .. "; " .. why or why
end

-- The error of a call that failed; kept: the answer that decided, if it was one.
local function failure_of(drive, kind, deciding)
  local client, info, kept = drive.client, drive.call:info(), drive.kept[deciding]
  local verdict, trail = kept and kept.verdict or {}, trail_of(drive.call, drive.client)
  local endpoint, refused = client.config.endpoints[info.endpoint], verdict.kind == kind
  local message = message_of(kind, info, verdict, kept, trail[deciding], endpoint, drive.job)
  return errors.new {
    kind = kind, message = message and client.scrub(message), status = kept and kept.reply.status,
    code = refused and verdict.code or nil, phase = info.phase,
    retry_at = info.retry_at, retry_after = info.retry_after, sent = info.sent, endpoint = endpoint and endpoint.name,
    request_id = kept and results.request_id(kept.reply.headers) or drive.request_id, attempts = trail,
    max_attempts = drive.options.max_attempts or client.config.retry.max_attempts,
    body = refused and client.scrub(shorten(verdict.body)) or nil,
  }
end

-- ----------------------------------------------------------------------------------------------------------- answers

-- The result of an attempt, as it would be if it were accepted now.
local function complete(drive, result)
  local info = drive.call:info()
  result.latency, result.time_to_first_token = info.latency, info.time_to_first_token
  result.attempts = trail_of(drive.call, drive.client)
  return result
end

local function result_of(drive, fields, reply, endpoint, variant)
  local client = drive.client
  local result = results.new(fields, reply)
  if not result.usage and drive.job.counts_tokens then
    result.usage = results.estimate(drive.sent_bytes[variant] or 0, result.text)
  end
  result.cost = results.cost(client.config.prices, result.usage, drive.job.asked, variant.model, result.model)
  result.endpoint, result.tags = endpoint.name, drive.options.tags
  result.model = result.model or variant.model
  result.request_id = results.request_id(reply.headers) or drive.request_id
  return result
end

-- Asks the caller's validate; its errors are the caller's, after the call has been cancelled.
local function validated(drive, result)
  local validate = drive.options.validate
  if not validate then
    return true
  end
  local ok, verdict, reason = pcall(validate, complete(drive, result))
  if not ok then
    drive.thrown = { verdict }
    drive.call:cancel "cancelled"
    return false
  elseif not verdict then
    reason = reason ~= nil and tostring(reason) or "validate said no"
    return false, { class = "again", kind = "rejected", message = reason, body = result.body }
  end
  return true
end

local function refuse(drive, attempt, reply, verdict)
  drive.kept[attempt] = { reply = reply, verdict = verdict }
  local message = verdict.message and drive.client.scrub(verdict.message)
  drive.call:answer(attempt, verdict.class, verdict.kind, verdict.code, verdict.wait, nil, message)
end

local function judge(drive, attempt, endpoint_index, variant, reply, framing)
  local endpoint = drive.client.config.endpoints[endpoint_index]
  if framing == "truncated" then
    return refuse(drive, attempt, reply, {
      class = "transient", kind = "truncated", message = ("the answer ended early, after %d bytes"):format(#reply.body),
    })
  end
  local fields, verdict = drive.job.judge(reply, variant, endpoint)
  if fields then
    local result = result_of(drive, fields, reply, endpoint, variant)
    local accepted
    accepted, verdict = validated(drive, result)
    if accepted then
      drive.kept[attempt] = { reply = reply, result = result }
      return drive.call:answer(attempt, "accept", nil, nil, nil, result.usage and result.usage.total_tokens)
    end
  end
  if verdict then
    refuse(drive, attempt, reply, verdict)
  end
end

-- ------------------------------------------------------------------------------------------------------------ events

-- on_event runs apart: whatever it does, the call goes on.
local function tell(drive)
  local on_event, client = drive.options.on_event, drive.client
  for _, event in ipairs(drive.call:events()) do
    local name, data = event[1], event[2]
    local endpoint = client.config.endpoints[data.endpoint]
    data.endpoint = endpoint and endpoint.name
    data.request_id = drive.request_id
    local apart = coroutine.create(on_event)
    local ok, message = coroutine.resume(apart, name, data)
    if not ok or coroutine.status(apart) ~= "dead" then
      client.event_errors = client.event_errors + 1
      client.last_event_error = ok and "on_event must not wait" or tostring(message)
    end
  end
end

-- ----------------------------------------------------------------------------------------------------------- driving

local questions = {}

function questions.encode(drive, number)
  local variant = drive.job.plan.variants[number]
  local method, path, headers, body = drive.job.encode(variant)
  if method then
    drive.sent_bytes[variant] = body and #body or 0
    drive.call:encode(number, method, path, headers, body)
  else
    drive.call:skip(number, "invalid_request")
  end
end

function questions.response(drive, attempt, endpoint, route, status, headers, body, framing)
  local plan, found = drive.job.plan, nil
  for _, target in ipairs(plan.targets) do
    if target.endpoint == endpoint and target.route == route then
      found = plan.variants[target.variant]
      break
    end
  end
  judge(drive, attempt, endpoint, found, { status = status, headers = headers, body = body }, framing)
end

-- Until the call has settled: ok, kind, the attempt that decided.
local function settle(drive)
  local call, scheduler, id = drive.call, drive.scheduler, drive.call:id()
  local watched = drive.options.on_event ~= nil
  while true do
    if watched then
      tell(drive) -- before asking: an observer that waits moves the engine, and the question with it
    end
    local question, a, b, c, d, e, f, g = call:next()
    if question == "wait" then
      scheduler:wait(id)
    elseif question == "settled" then
      if watched then
        tell(drive)
      end
      return a, b, c
    else
      questions[question](drive, a, b, c, d, e, f, g)
    end
  end
end

local function submit(client, scheduler, job, options, request_id)
  local given = options.headers or {}
  local key = options.idempotency_key or given["idempotency-key"] or request_id
  local headers = { "x-request-id: ", request_id, "\nidempotency-key: ", key, "\n" }
  for name, value in pairs(given) do
    if name ~= "x-request-id" and name ~= "idempotency-key" then
      headers[#headers + 1] = name .. ": " .. value .. "\n"
    end
  end
  local first = job.first
  return client.core:submit(scheduler.engine, job.plan.id, {
    deadline = options.deadline or options.timeout and options.timeout.total or client.config.timeout.total,
    priority = PRIORITIES[options.priority or "normal"], headers = table.concat(headers), estimate = job.estimate,
    events = options.on_event ~= nil, max_attempts = options.max_attempts, timeout = job.timeout,
    variant = 1, method = first.method, path = first.path, variant_headers = first.headers, body = first.body,
  })
end

--- Performs a call.
---@async
---@param client table
---@param job surefoot.Job
---@param options table checked options
---@return surefoot.Result?
---@return surefoot.Error?
function M.perform(client, job, options)
  if client.closed then
    return fail "closed"
  elseif options.cancel and options.cancel:cancelled() then
    return fail("cancelled", "its canceller was used before")
  elseif tasks.take_interrupt() then
    return fail("cancelled", "the task was cancelled")
  end
  local ok, problem = client:refresh_keys()
  if not ok then
    return nil, problem
  end
  local scheduler = client.host.scheduler()
  local own = options.headers and options.headers["x-request-id"]
  local drive = {
    client = client, job = job, options = options, scheduler = scheduler, request_id = own or client.host.new_id(),
    kept = {},
    sent_bytes = { [job.plan.variants[1]] = job.first.body and #job.first.body or 0 },
  }
  drive.call = submit(client, scheduler, job, options, drive.request_id)
  tasks.attend(drive.call)
  if options.cancel then
    options.cancel:add(drive.call)
  end
  local accepted, kind, deciding = settle(drive)
  tasks.attend(nil)
  if options.cancel then
    options.cancel:remove(drive.call)
  end
  client:left()
  if drive.thrown then
    error(drive.thrown[1], 0)
  end
  if accepted then
    local result = complete(drive, drive.kept[deciding].result)
    client:count(result)
    return result
  end
  return nil, failure_of(drive, kind, deciding)
end

return M
