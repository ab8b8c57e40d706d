--- What the calls of a batch wait for: an answer, or a line that can be asked at all.
--
-- A call is out while a request of it is with a provider: its answer may come, and is paid for. All others can be
-- ended without loss. What a call has not sent though it was tried, or though it would be if a circuit were closed,
-- cannot be sent.

local errors = require "surefoot.errors"

local M = {}

--- Whether a request of the call may be with a provider.
---@param call table one of a canceller's
---@return boolean
function M.is_out(call)
  if not call.info or call.ended then -- a wait between two calls, or one that is over: no matter of ours
    return true
  elseif not call:info().sent then
    return false
  end
  for _, attempt in ipairs(call:trail()) do
    if not attempt.kind then
      return true
    end
  end
  return false
end

--- The reverse.
---@param call table
---@return boolean
function M.is_idle(call)
  return not M.is_out(call)
end

-- Why an attempt was in vain.
local function error_of(client, attempt)
  local endpoint = client.config.endpoints[attempt.endpoint]
  return errors.new {
    kind = attempt.kind, message = client.scrub(attempt.message), phase = attempt.phase, sent = false,
    endpoint = endpoint and endpoint.name, attempts = {},
  }
end

-- The newest attempt that has failed, of a call that never got through to anybody.
local function failed_attempt(call)
  local trail = call:info().sent and {} or call:trail()
  for i = #trail, 1, -1 do
    if trail[i].kind then
      return trail[i]
    end
  end
end

--- Why none of these calls can be sent; nil where one is out, or they wait for their turn alone.
---@param client surefoot.Client
---@param calls table<table, true>
---@return surefoot.Error?
function M.obstacle(client, calls)
  local failed
  for call in pairs(calls) do
    if M.is_out(call) then
      return nil
    end
    failed = failed or failed_attempt(call)
  end
  if failed then
    return error_of(client, failed)
  elseif next(calls) and client:stats().breaker == "open" then
    return errors.new { kind = "circuit_open", sent = false, attempts = {} }
  end
end

return M
