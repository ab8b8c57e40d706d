--- What an answer that is no success means: reads the error bodies of OpenAI, Anthropic, Gemini, Azure, vLLM,
-- OpenRouter and their kin, where the status alone would mislead.
--
-- Order: the provider's own code, then what the message says, then a status inside the body, then the core's table of
-- statuses; `x-should-retry` has the last word on whether, never on where. Messages come out short and without keys.

local core = require "surefoot.binding"

local M = {}

local concat = table.concat

---@alias surefoot.HeaderSource string | (fun(name: string): string | string[] | nil) | nil

-- Codes, types and statuses (lower case) that say more than the HTTP status.
local by_code = {}
local function means(class, kind, codes, list)
  for code in codes:gmatch "%S+" do
    (list or by_code)[code] = { class, kind }
  end
end
means("key", "quota", [[insufficient_quota billing_error billing_hard_limit_reached billing_not_active quota_exhausted
  exceeded_current_quota_error insufficient_balance insufficient_user_quota insufficient_credits arrearage]])
means("key", "unauthorized", "invalid_api_key api_key_invalid authentication_error unauthenticated")
means("key", "forbidden", "permission_error permission_denied account_deactivated")
means("route", "context_length", "context_length_exceeded context_window_exceeded model_max_prompt_tokens_exceeded")
means("final", "content_filter", [[content_filter content_policy_violation responsibleaipolicyviolation
  data_inspection_failed moderation_blocked cyber_policy]])
means("final", "too_large", "request_too_large")
means("endpoint", "not_found", "model_not_found deploymentnotfound not_found_error")
means("endpoint", "forbidden", "unsupported_country_region_territory")
means("throttled", "rate_limited", "rate_limit_exceeded rate_limit_error resource_exhausted")
means("overloaded", "overloaded", "overloaded_error engine_overloaded engine_overloaded_error unavailable")
means("transient", "server", "cancelled") -- Google's 499: by them, since we are still listening

-- These only repeat the status, and OpenAI's types do so loosely: they count where there is no status to go by.
local without_status = {}
means("transient", "server", [[api_error server_error internal_error internal internal_server_error timeout_error
  deadline_exceeded]], without_status)
means("final", "invalid_request", "invalid_request_error invalid_argument badrequesterror", without_status)

-- What messages say (lower case, plain words), and at which statuses that is believed. hintless: not when the server
-- says when to come back, for then it is a rate and not an empty account.
local phrases = {
  { "route", "context_length", { 400, 413, 422, 500 }, {
    "maximum context length", "context length exceeded", "prompt is too long", "exceed context limit", "context window",
    "exceeds the maximum number of tokens", "reduce the length of the messages", "longer than the model's context" } },
  { "key", "quota", { 400, 402, 403, 429 }, {
    "insufficient_quota", "credit balance is too low", "insufficient balance", "insufficient credits",
      "credits are depleted", "billing hard limit" } },
  { "key", "quota", { 429 }, { "exceeded your current quota", "quota exhausted", "billing details" }, hintless = true },
  { "final", "content_filter", { 400, 403, 422 }, {
    "content management policy", "content policy", "content_filter", "content filter", "safety system", "flagged" } },
  { "key", "unauthorized", { 400 }, { "api key not valid", "invalid api key", "incorrect api key" } },
  { "endpoint", "forbidden", { 400, 403 }, { "location is not supported",
    "country, region, or territory not supported" } },
}

local function as_table(value)
  return type(value) == "table" and value or nil
end

local function as_text(value)
  return type(value) == "string" and value ~= "" and value or nil
end

-- The part of a document that speaks of the error, or nil; Gemini puts the whole into a list.
local function error_of(body)
  if type(body) ~= "table" then
    return nil
  elseif type(body[1]) == "table" then
    return error_of(body[1])
  end
  local err = body.error
  if type(err) == "table" then
    return err
  elseif as_text(err) then
    return { message = err, code = body.code, type = body.type }
  elseif body.object == "error" or body.type == "error" then
    return body
  end
end

local function looks_like_error(body)
  return as_table(body) and (as_text(body.message) or as_text(body.detail)) and body or nil
end

local function of_the_day(limit)
  return type(limit) == "string" and limit:find("PerDay", 1, true) ~= nil
end

local function details_of(err)
  local codes, delay, daily = {}, nil, false
  for _, detail in ipairs(as_table(err.details) or {}) do
    if type(detail) == "table" then
      codes[#codes + 1] = as_text(detail.reason)
      delay = delay or as_text(detail.retryDelay)
      local metadata = as_table(detail.metadata)
      daily = daily or of_the_day(metadata and metadata.quota_limit)
      for _, violation in ipairs(as_table(detail.violations) or {}) do
        daily = daily or of_the_day(as_table(violation) and violation.quotaId)
      end
    end
  end
  return codes, delay, daily
end

-- The codes of an error, most telling first.
local function codes_of(err)
  local inner = as_table(err.innererror) or {}
  local codes = { as_text(inner.code) }
  for _, code in ipairs((details_of(err))) do
    codes[#codes + 1] = code
  end
  codes[#codes + 1] = as_text(err.code)
  codes[#codes + 1] = as_text(err.type)
  codes[#codes + 1] = as_text(err.status)
  return codes
end

local function status_inside(err)
  local code = tonumber(err.code) or tonumber(err.status)
  return code and code >= 400 and code <= 599 and code % 1 == 0 and code or nil
end

-- Keys begin as keys do, are masked already, or have one long part of letters and digits; model names have short parts.
local function looks_like_key(word)
  if word:find("***", 1, true) or #word >= 12 and (word:find "^sk%-" or word:find "^AIza") then
    return true
  elseif word:find "^req[%-_]" or word:find "^org%-" then
    return false
  end
  for part in word:gmatch "%w+" do
    if #part >= 16 and part:find "%d" and part:find "%a" then
      return true
    end
  end
  return false
end

-- Words for people: without anything that looks like a key, on one line, short.
local function clean(text)
  text = text:sub(1, 2000):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  text = text:gsub("([Bb]earer) [^%s\"',]+", "%1 [key]")
  text = text:gsub("([Kk]ey provided:? ?)[^%s\"',]+", "%1[key]")
  text = text:gsub("(key=)[^%s\"'&,]+", "%1[key]")
  text = text:gsub("[%w_%-%*]+", function(word)
    return looks_like_key(word) and "[key]" or nil
  end)
  return #text > 500 and text:sub(1, 497) .. "..." or text
end

local function message_of(err, raw)
  local text = err and (as_text(err.message) or as_text(err.detail) or as_text(err.error))
  if not text and raw then
    text = raw:match "<[Tt][Ii][Tt][Ll][Ee][^>]*>%s*(.-)%s*</" or not raw:find "^%s*<" and raw:sub(1, 200) or nil
  end
  return text and text:find "%S" and clean(text) or nil
end

local units = { millisecond = "ms", sec = "s", second = "s", min = "m", minute = "m", hr = "h", hour = "h" }

-- "37 seconds", "20s", "1m30s", "1 minute and 3 seconds", "20": the span that a text begins with, in seconds.
local function leading_span(text)
  local parts, rest = {}, text:gsub("^[%s\"':=]+", "")
  while true do
    local number, unit, after = rest:match "^(%d+%.?%d*)%s*(%a*)(.*)$"
    if not number then
      break
    end
    unit = units[unit] or units[unit:gsub("s$", "")] or unit
    if unit == "" and #parts > 0 then
      break
    end
    parts[#parts + 1] = number:gsub("%.$", "") .. unit
    rest = unit ~= "" and after:gsub("^%s*,?%s*and%s+", ""):gsub("^%s+", "") or ""
  end
  return parts[1] and core.duration(concat(parts))
end

local hints = { "retrydelay", "retry after", "retry-after", "retry_after", "try again in", "try again after",
  "retry in" }

local function span_in(text)
  local lower = text:sub(1, 20000):lower()
  for _, phrase in ipairs(hints) do
    local _, stop = lower:find(phrase, 1, true)
    local seconds = stop and leading_span(lower:sub(stop + 1, stop + 80))
    if seconds and seconds > 0 then
      return seconds
    end
  end
end

--- The wait that a body tells in words or in Gemini's RetryInfo.
---@param body any a decoded document or its text
---@return number? seconds
function M.body_hint(body)
  if type(body) == "string" then
    return span_in(body)
  end
  local err = error_of(body) or looks_like_error(body)
  if not err then
    return nil
  end
  local _, delay = details_of(err)
  local seconds = delay and core.duration(delay)
  if seconds and seconds > 0 then
    return seconds
  end
  local metadata = as_table(err.metadata)
  local text = as_text(err.message) or as_text(err.detail)
  return text and span_in(text) or metadata and as_text(metadata.raw) and span_in(metadata.raw) or nil
end

local function add_line(lines, name, value)
  if type(value) == "table" then
    for _, one in ipairs(value) do
      add_line(lines, name, one)
    end
  elseif value ~= nil then
    lines[#lines + 1] = name .. ": " .. tostring(value):gsub("[%z\r\n]", " ")
  end
end

--- A header block of names and values (a list is a repeated header).
---@param headers table<string, string | number | string[]>
---@return string
function M.block(headers)
  local lines = {}
  for name, value in pairs(headers) do
    add_line(lines, tostring(name), value)
  end
  return concat(lines, "\n")
end

local waiting_headers = { "retry-after-ms", "x-ms-retry-after-ms", "retry-after", "date", "x-should-retry" }

--- What the headers say about coming back.
---@param headers surefoot.HeaderSource a header block, or a function from a name in lower case to its value
---@param now number? unix seconds, for dates without a Date header
---@return number? seconds
---@return boolean? should_retry
function M.header_hint(headers, now)
  if type(headers) == "function" then
    local lines = {}
    for _, name in ipairs(waiting_headers) do
      add_line(lines, name, headers(name))
    end
    headers = concat(lines, "\n")
  end
  return core.retry_after(headers or "", now or os.time())
end

local function by_codes(err, has_status)
  for _, code in ipairs(codes_of(err)) do
    code = code:lower()
    local found = by_code[code] or not has_status and without_status[code]
    if found then
      return found
    end
  end
end

local function by_phrases(text, status, hinted)
  text = text:sub(1, 4000):lower()
  for _, row in ipairs(phrases) do
    local believed = not (row.hintless and hinted) and status == nil
    for _, allowed in ipairs(row[3]) do
      believed = believed or status == allowed and not (row.hintless and hinted)
    end
    for _, phrase in ipairs(believed and row[4] or {}) do
      if text:find(phrase, 1, true) then
        return row
      end
    end
  end
end

-- The meaning of an error: { class, kind }.
local function judge(status, err, raw, hinted)
  local has_status = status ~= nil and (status < 200 or status > 299)
  local inside = not has_status and err and status_inside(err) or nil
  local known = has_status and status or inside
  local found = err and by_codes(err, known ~= nil)
  local text = err and (as_text(err.message) or as_text(err.detail)) or raw
  local daily = err and select(3, details_of(err))
  local metadata = err and as_table(err.metadata)
  if daily then
    return { "key", "quota" }
  elseif metadata and as_text(metadata.raw) then
    text = (text or "") .. " " .. metadata.raw
  end
  -- Codes of a rate, and those that repeat the status, are loose words: the message may know better.
  if text and (not found or found[1] == "throttled" or found[2] == "invalid_request") then
    found = by_phrases(text, known, hinted) or found
  end
  if found then
    return found
  elseif known then
    return { core.status_verdict(known) }
  end
  return { "transient", "server" }
end

--- What an answer means.
---@param status integer? HTTP status; nil for an error inside a stream
---@param headers surefoot.HeaderSource
---@param body any the decoded document (or its text), nil when it is no JSON
---@param raw string? the text of the body
---@return string class    "accept" "transient" "throttled" "overloaded" "key" "endpoint" "route" "final"
---@return surefoot.Kind kind
---@return string? code    the provider's own word
---@return string? message
---@return number? wait    seconds, told by the headers or the body
function M.classify(status, headers, body, raw)
  if type(body) == "string" then
    body, raw = nil, body
  end
  local is_success = status ~= nil and status >= 200 and status <= 299
  local err = error_of(body)
  if is_success and not err then
    return "accept", "ok"
  end
  err = err or looks_like_error(body)
  local wait, should_retry = M.header_hint(headers)
  wait = wait or M.body_hint(err and body or raw)
  local verdict = judge(status, err, raw, wait ~= nil)
  local code = err and (as_text(err.code) or as_text(err.type) or as_text(err.status)) or nil
  if not code and err and type(err.code) == "number" then
    code = ("%.14g"):format(err.code)
  end
  return core.hinted(verdict[1], should_retry), verdict[2], code, message_of(err, raw), wait
end

return M
