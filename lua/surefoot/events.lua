--- What happens to a call, told as it happens: to its `on_event`, and to the client's log.
--
-- Every event is a name and a table with at (seconds, monotonic), request_id, operation ("chat", "embeddings",
-- "models", "request"), trace_id where the call belongs to a trace, and
--   queued           nothing more: the call waits for a line, a place or its rate
--   attempt_started  attempt, endpoint, wait: seconds that it waited before
--   first_token      attempt, endpoint, wait: seconds since the attempt began; of a whole answer its first byte
--   retried          attempt, endpoint, kind of the failure before, wait: the attempt that begins is on the same line
--   failed_over      attempt, endpoint, kind, wait: the same on another line
--   hedged           attempt, endpoint, wait: a second attempt begins while the first goes on
--   breaker_changed  attempt, endpoint, breaker: "closed", "open" or "half_open" since that attempt ended
--   rate_changed     attempt, endpoint, rate: requests per second that are sent from now on
--   settled          kind: "ok" or the error's; attempt and endpoint that decided, if any did. Always the last
-- A circuit that becomes half-open with time is no event: nobody's call did it. Whoever is told runs apart: it must not
-- wait, its errors change nothing, and are counted (stats().event_errors).

local trace = require "surefoot.trace"

local M = {}

--- Their names; this list is not shortened, and the fields keep their meaning.
M.names = {
  "queued", "attempt_started", "first_token", "retried", "failed_over", "hedged", "breaker_changed", "rate_changed",
  "settled",
}

--- Calls what a user gave, so that it cannot disturb.
---@param client surefoot.Client
---@param what string how messages call it
---@param f function
---@param ... any
function M.apart(client, what, f, ...)
  local apart = coroutine.create(type(f) == "function" and f or function(...)
    return f(...)
  end)
  local ok, message = coroutine.resume(apart, ...)
  if not ok or coroutine.status(apart) ~= "dead" then
    client.event_errors = client.event_errors + 1
    local is_text, text = pcall(tostring, message)
    client.last_event_error = ok and what .. " must not wait" or is_text and text or what .. " failed"
  end
end

--- Tells what has happened since it was told last.
---@param job surefoot.Job
function M.tell(job)
  local client, on_event = job.client, job.options.on_event
  for _, event in ipairs(job.call:events()) do
    local name, data = event[1], event[2]
    local endpoint = client.config.endpoints[data.endpoint]
    data.endpoint = endpoint and endpoint.name
    data.request_id, data.operation, data.trace_id = job.request_id, job.work.name, trace.id(job.options)
    if client.log then
      client.log:event(job, name, data)
    end
    if on_event then
      M.apart(client, "on_event", on_event, name, data)
    end
  end
end

return M
