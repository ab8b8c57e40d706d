--- How a call went, and why it failed: its trail, and its error.

local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local plans = require "surefoot.client.plan"
local results = require "surefoot.result"

local M = {}

local BODY_IN_ERROR = 16384 -- bytes of an error's text that are kept

-- Before what was sent: the lines that were put aside.
local function with_aside(job, sent)
  local trail = {}
  for i, attempt in ipairs(job.aside) do
    trail[i] = copy(attempt)
  end
  for _, attempt in ipairs(sent) do
    trail[#trail + 1] = attempt
  end
  return trail
end

--- The trail of a call as its caller sees it: names instead of places, and no secrets.
---@param job surefoot.Job
---@return surefoot.Attempt[]
function M.trail(job)
  local client, plan = job.client, job.plan
  local sent, names = job.call:trail(), client.config.endpoints
  for _, attempt in ipairs(sent) do
    local endpoint = names[attempt.endpoint]
    if plan.nameless then
      attempt.model = plans.variant_on(plan, attempt.endpoint, attempt.route).model
    end
    attempt.endpoint = endpoint and endpoint.name or attempt.endpoint
    attempt.message = attempt.message and client.scrub(attempt.message)
  end
  return job.aside and with_aside(job, sent) or sent
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
  local given, own = job.timeout or {}, endpoint and endpoint.timeout or {}
  local limit = given[phase] or own[phase] or given.attempt or own.attempt
  if not (PHASES[phase] and limit and limit < math.huge) then
    return nil
  end
  local proxy = phase == "connect" and endpoint and endpoint.proxy and endpoint.proxy:match "[^/@]+$"
  return PHASES[phase] .. errors.seconds(limit) .. (proxy and " through the proxy " .. proxy or "")
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

-- Whether the same may succeed later, where the answer tells more of that than its kind: `x-should-retry`, a 3xx.
local RETRYABLE = {
  transient = true, throttled = true, overloaded = true, key = false, endpoint = false, route = false, final = false,
}

--- The error of a call that failed; made anew at each asking, as long as there is the call.
---@param job surefoot.Job
---@param kind surefoot.Kind
---@param deciding integer the attempt that decided, 0 = none
---@return surefoot.Error
function M.of(job, kind, deciding)
  local client, info, kept = job.client, job.call:info(), job.kept and job.kept[deciding]
  info.message = client.scrub(info.message)
  local verdict, trail = kept and kept.verdict or {}, M.trail(job)
  local last = deciding > 0 and trail[#(job.aside or {}) + deciding] or nil
  local endpoint, refused = client.config.endpoints[info.endpoint], verdict.kind == kind
  local message = message_of(kind, info, verdict, kept, last, endpoint, job)
  local retryable
  if refused then
    retryable = RETRYABLE[verdict.class]
  end
  return errors.new {
    kind = kind, message = message and client.scrub(message), status = kept and kept.reply.status,
    code = refused and client.scrub(verdict.code) or nil, phase = info.phase,
    retry_at = info.retry_at, retry_after = info.retry_after, sent = info.sent, endpoint = endpoint and endpoint.name,
    request_id = kept and client.scrub(results.request_id(kept.reply.headers)) or job.request_id, attempts = trail,
    max_attempts = job.options.max_attempts or client.config.retry.max_attempts,
    body = refused and shorten(client.scrub(verdict.body)) or nil, retryable = retryable,
  }
end

return M
