--- What a caller of the gateway is told of a failure: status, the fields of an error's body, when to come back.

local json = require "surefoot.json"

local M = {}

---@class surefoot.gateway.Failure: surefoot.dialect.Failure
---@field status integer
---@field retry_after integer? seconds
---@field final boolean?       asking the same again is of no use: the caller's SDK shall not
---@field kind string          surefoot's

-- Of each kind: the status where the provider gave none, the type, the code where the provider gave none; keep: the
-- provider's own status is told.
local KINDS = {
  invalid_request = { 400, "invalid_request_error", "invalid_request", keep = true },
  unauthorized = { 401, "authentication_error", "upstream_unauthorized", keep = true },
  forbidden = { 403, "permission_error", "upstream_forbidden", keep = true },
  not_found = { 404, "not_found_error", "model_not_found", keep = true },
  quota = { 429, "insufficient_quota", "insufficient_quota" },
  content_filter = { 400, "invalid_request_error", "content_filter" },
  context_length = { 400, "invalid_request_error", "context_length_exceeded" },
  too_large = { 413, "invalid_request_error", "request_too_large" },
  rate_limited = { 429, "rate_limit_error", "rate_limit_exceeded" },
  overloaded = { 503, "server_error", "overloaded", keep = true },
  server = { 502, "server_error", "upstream_error", keep = true },
  timeout = { 504, "server_error", "upstream_timeout" },
  deadline = { 504, "server_error", "deadline_exceeded" },
  network = { 502, "server_error", "upstream_unreachable" },
  tls = { 502, "server_error", "upstream_tls" },
  truncated = { 502, "server_error", "upstream_truncated" },
  malformed = { 502, "server_error", "upstream_malformed" },
  rejected = { 502, "server_error", "upstream_rejected" },
  circuit_open = { 503, "server_error", "circuit_open" },
  queue_full = { 503, "server_error", "queue_full" },
  cancelled = { 499, "server_error", "cancelled" },
  closed = { 503, "server_error", "shutting_down" },
  error = { 500, "server_error", "internal_error" },
}

local SOON = 1 -- seconds: when to come back where nothing is known

-- Kinds that an answer of the upstream's may be, whose status says more than ours. 3xx and 1xx are nobody's answer.
local function status_of(err, row)
  local status = err.status
  if err.kind == "deadline" and err.sent == false and err.retry_after then
    return 503 -- there would have been no room in time
  end
  if row.keep and status and status >= 400 and status <= 599 then
    return status
  end
  return row[1]
end

local function retry_after(err, status)
  if err.retry_after then
    return math.max(1, math.ceil(err.retry_after))
  elseif status == 429 and err.kind == "rate_limited" or status == 503 then
    return SOON
  end
end

-- Callers and providers may have sent anything; what cannot be written would be told to nobody.
local function writable(failure)
  for _, name in ipairs { "message", "code", "param" } do
    local text = failure[name]
    failure[name] = type(text) == "string" and json.well_formed(text, "?") or text
  end
  return failure
end

local ANSWER_TOO_LARGE = { 502, "server_error", "upstream_too_large" }

-- Whether it was the answer that broke a limit: neither the caller's request did, nor has a provider said that it does.
local function is_of_answer(err)
  return err.kind == "too_large" and err.sent and not err.code and not (err.status and err.status >= 400)
end

local function about_answer(message)
  local limit = message:find("body", 1, true) and " (limits.response_bytes)" or ""
  return ("the upstream's answer breaks a limit of this gateway%s: %s"):format(limit, message)
end

--- What the caller is told of an error.
---@param err surefoot.Error
---@return surefoot.gateway.Failure
function M.of(err)
  local is_answers = is_of_answer(err)
  local row = is_answers and ANSWER_TOO_LARGE or KINDS[err.kind] or KINDS.error
  local status = status_of(err, row)
  local document = type(err.body) == "table" and type(err.body.error) == "table" and err.body.error or {}
  return writable {
    status = status, message = is_answers and about_answer(err.message) or err.message,
    type = row[2], code = err.code or row[3],
    param = type(document.param) == "string" and document.param or nil, retry_after = retry_after(err, status),
    details = document.details, final = not err.retryable, kind = err.kind,
  }
end

-- Where no upstream has said it.
local OWN_CODES = { forbidden = "forbidden", unauthorized = "unauthorized" }

--- What the gateway itself has to say.
---@param kind surefoot.Kind
---@param message string
---@param more table? fields to replace
---@return surefoot.gateway.Failure
function M.own(kind, message, more)
  local row = KINDS[kind]
  local failure = {
    status = row[1], message = message, type = row[2], code = OWN_CODES[kind] or row[3], final = true, kind = kind,
  }
  for name, value in pairs(more or {}) do
    failure[name] = value
  end
  return writable(failure)
end

return M
