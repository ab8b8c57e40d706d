--- What can go wrong, as values: one table of kinds, one shape of error.
--
-- The world fails with `nil, err`; err prints as a sentence ("timeout: first byte after 60 s from hk (attempt 3 of 5,
-- request 8f2c)") and can be raised with error() or assert() as it is (assert of Lua 5.1 and 5.2 takes texts only).
-- Secrets never appear in it: whoever makes an error from foreign text passes that text through a scrubber first.

local M = {}

---@alias surefoot.Kind
---| "invalid_request" | "unauthorized" | "forbidden" | "not_found" | "quota" | "content_filter" | "context_length"
---| "too_large" | "rate_limited" | "overloaded" | "server" | "timeout" | "deadline" | "network" | "tls" | "truncated"
---| "malformed" | "rejected" | "circuit_open" | "queue_full" | "cancelled" | "closed" | "error"

-- retryable: the same request may succeed later, without anybody changing anything.
local list = {
  { "invalid_request", false, "the provider refuses the request as it is (400 405 410 422 501)" },
  { "unauthorized", false, "the key is not accepted (401)" },
  { "forbidden", false, "the key may not do this (403)" },
  { "not_found", false, "no such model or path (404)" },
  { "quota", false, "the account is spent (402, 429 with quota or billing), or surefoot's own budget" },
  { "content_filter", false, "the provider refuses the content" },
  { "context_length", false, "the request is longer than the model's context" },
  { "too_large", false, "413, or a limit of surefoot's own" },
  { "rate_limited", true, "too many requests (429)" },
  { "overloaded", true, "the provider has no capacity (503 529)" },
  { "server", true, "the provider failed (408 409, other 5xx, 3xx)" },
  { "timeout", true, "a phase took too long: err.phase says which" },
  { "deadline", true, "the call's total time is over, or would be while waiting (then err.sent is false)" },
  { "network", true, "no response byte came" },
  { "tls", false, "the certificate or the handshake failed" },
  { "truncated", true, "the answer ended early" },
  { "malformed", true, "the answer is no JSON, or not in the provider's format" },
  { "rejected", true, "`validate` accepted no answer, or run_tools met none within max_rounds (err.code)" },
  { "circuit_open", true, "every endpoint's circuit breaker is open: err.retry_at says until when" },
  { "queue_full", true, "too many calls are waiting already" },
  { "cancelled", false, "somebody cancelled the call" },
  { "closed", false, "the client is closed" },
  { "error", false, "a task's function threw: err.cause is what it threw" },
}

---@type table<surefoot.Kind, { retryable: boolean, doc: string }>
M.kinds = {}
---@type surefoot.Kind[]
M.names = {}
for i, row in ipairs(list) do
  M.kinds[row[1]] = { retryable = row[2], doc = row[3] }
  M.names[i] = row[1]
end

---@class surefoot.Error
---@field kind surefoot.Kind
---@field message string
---@field status integer?       HTTP status of the answer that decided
---@field code string?          the provider's own code, or "budget_spent"
---@field phase string?         "connect" "first_byte" "first_token" "idle" "attempt": which timer, for `timeout`
---@field retryable boolean     the same request may succeed later
---@field retry_at number?      unix seconds: not before
---@field retry_after number?   seconds from the failure: not before
---@field sent boolean?         a request may have reached a provider
---@field endpoint string?      name of the endpoint that decided
---@field request_id string?
---@field attempts surefoot.Attempt[]?  the trail
---@field partial surefoot.Result?      what had arrived
---@field body any              the provider's error document, decoded where it is JSON
---@field cause any             for kind "error": the value thrown
---@field traceback string?     for kind "error"
local mt = { __name = "surefoot.error" }

--- How many attempts of a trail were sent.
---@param trail surefoot.Attempt[]?
---@return integer
function M.sent(trail)
  local count = 0
  for _, attempt in ipairs(trail or {}) do
    count = count + (attempt.sent == false and 0 or 1)
  end
  return count
end

function mt.__tostring(err)
  local parts = { err.kind, ": ", err.message }
  if err.endpoint then
    parts[#parts + 1] = " from " .. err.endpoint
  end
  local notes = {}
  local sent = M.sent(err.attempts)
  if sent > 0 then
    notes[1] = "attempt " .. sent .. (err.max_attempts and " of " .. err.max_attempts or "")
  end
  if err.request_id then
    notes[#notes + 1] = "request " .. err.request_id
  end
  if #notes > 0 then
    parts[#parts + 1] = " (" .. table.concat(notes, ", ") .. ")"
  end
  return table.concat(parts)
end

function mt.__concat(a, b)
  return tostring(a) .. tostring(b)
end

--- Makes an error of the fields given; `retryable` follows from the kind unless it is given.
---@param fields table kind, message, and whatever else is known
---@return surefoot.Error
function M.new(fields)
  local kind = M.kinds[fields.kind]
  if not kind then
    error("no error kind " .. tostring(fields.kind), 2)
  end
  if fields.retryable == nil then
    fields.retryable = kind.retryable
  end
  fields.message = fields.message or kind.doc
  return setmetatable(fields, mt)
end

--- Whether a value is one of surefoot's errors.
---@param value any
---@return boolean
function M.is(value)
  return getmetatable(value) == mt
end

--- The error for something thrown: surefoot's own errors stay as they are.
---@param thrown any
---@param traceback string?
---@return surefoot.Error
function M.thrown(thrown, traceback)
  if M.is(thrown) then
    thrown.traceback = thrown.traceback or traceback
    return thrown
  end
  return M.new { kind = "error", message = tostring(thrown), cause = thrown, traceback = traceback }
end

--- A duration as people write it.
---@param seconds number
---@return string
function M.seconds(seconds)
  if seconds < 0.9995 then
    return ("%.3g ms"):format(seconds * 1000)
  end
  return (seconds < 1000 and "%.3g s" or "%.0f s"):format(seconds)
end

local function by_length(a, b)
  return #a > #b
end

local SECRET = 3 -- bytes: what is shorter keeps no secret
local TELLING = 12 -- as many first characters of a secret give it away: a text may have been cut within it

-- What people write where a server wants no key: these keep no secret, and stand in ordinary texts.
local NO_SECRETS = {}
for word in ("none null nil test dummy fake empty key apikey api_key api-key token secret ollama local localhost "
  .. "unused lm-studio vllm no-key not-needed anything"):gmatch "%S+" do
  NO_SECRETS[word] = true
end

-- Whether a short secret of letters alone is a part of a longer word there.
local function is_within_word(text, start, secret)
  return #secret <= TELLING and not secret:find "%A"
    and (text:find("^%a", start + #secret) or start > 1 and text:find("^%a", start - 1)) and true or false
end

local function without(text, secret)
  local head = #secret > TELLING and secret:sub(1, TELLING) or secret
  local start = text:find(head, 1, true)
  while start do
    local length = #head
    while length < #secret and text:byte(start + length) == secret:byte(length + 1) do
      length = length + 1
    end
    if is_within_word(text, start, secret) then
      start = start + length
    else
      text = text:sub(1, start - 1) .. "[key]" .. text:sub(start + length)
      start = start + 5
    end
    start = text:find(head, start, true)
  end
  return text
end

--- Makes a function that replaces every secret by "[key]" in a string, or in the strings of a table (a copy is made).
---@param secrets string[] may change later: it is read at every use
---@return fun(value: any): any
function M.scrubber(secrets)
  local function clean_text(text)
    for _, secret in ipairs(secrets) do
      if #secret < SECRET then
        break -- the longest come first: the rest is "x", a letter of ordinary texts
      elseif not NO_SECRETS[secret:lower()] then
        text = without(text, secret)
      end
    end
    return text
  end

  local function clean(value, depth)
    if type(value) == "string" then
      return clean_text(value)
    elseif type(value) ~= "table" or depth > 100 then
      return value
    end
    local copy = setmetatable({}, getmetatable(value))
    for key, item in next, value do
      copy[clean(key, depth + 1)] = clean(item, depth + 1)
    end
    return copy
  end

  return function(value)
    if #secrets == 0 then
      return value
    end
    table.sort(secrets, by_length)
    return clean(value, 0)
  end
end

return M
