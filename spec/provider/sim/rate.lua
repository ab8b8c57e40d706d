-- A provider's own limit: a bucket of requests or a sliding window of them, and a bucket of tokens per minute.
-- Exact with one worker; with several, two workers may let one request too many pass.

local store = require "sim.store"

local M = {}

local now = ngx.now

-- Returns the wait until `cost` fits (0: taken) and what is left, for a bucket of `burst` refilled at `rate`.
local function bucket(line, what, rate, burst, cost)
  local t = now()
  local empty_at = math.max(store.get(line, what) or 0, t)
  local level = burst - (empty_at - t) * rate
  if level + 1e-9 < cost then
    return (cost - level) / rate, math.max(0, math.floor(level))
  end
  store.set(line, what, empty_at + cost / rate)
  return 0, math.floor(level - cost + 1e-9)
end

-- Admission k is stamped into slot k modulo the limit: the window is free when the stamp there is old enough.
local function window(line, limit, seconds)
  local t = now()
  local admitted = store.get(line, "admitted") or 0
  local slot = "admitted." .. admitted % limit
  local left = (store.get(line, slot) or 0) + seconds - t
  if admitted >= limit and left > 0 then
    return left, 0
  end
  store.set(line, slot, t)
  store.set(line, "admitted", admitted + 1)
  return 0, limit - 1
end

local DAYS = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" }

local FORMS = {
  seconds = function(wait)
    return "retry-after", tostring(math.ceil(wait))
  end,
  fraction = function(wait)
    return "retry-after", ("%.3f"):format(wait)
  end,
  ms = function(wait)
    return "retry-after-ms", tostring(math.ceil(wait * 1000))
  end,
  ["x-ms"] = function(wait)
    return "x-ms-retry-after-ms", tostring(math.ceil(wait * 1000))
  end,
  date = function(wait)
    return "retry-after", ngx.http_time(math.ceil(now() + wait))
  end,
  rfc850 = function(wait)
    local at = math.ceil(now() + wait)
    return "retry-after", DAYS[tonumber(os.date("!%w", at)) + 1] .. os.date("!, %d-%b-%y %H:%M:%S GMT", at)
  end,
  asctime = function(wait)
    return "retry-after", (os.date("!%a %b %e %H:%M:%S %Y", math.ceil(now() + wait)))
  end,
  none = function() end,
  body = function() end,
}

---@param form string|nil a form of FORMS, or the value of Retry-After word for word
---@param wait number seconds
---@return string|nil name, string|nil value
function M.hint(form, wait)
  local make = FORMS[form or "seconds"]
  if make then
    return make(wait)
  end
  return "retry-after", form
end

local function duration(seconds)
  if seconds >= 60 then
    return ("%dm%ds"):format(math.floor(seconds / 60), math.floor(seconds % 60))
  end
  return seconds >= 1 and ("%.3gs"):format(seconds) or ("%dms"):format(math.ceil(seconds * 1000))
end

local function announce(headers, anthropic, unit, limit, remaining, seconds)
  local function put(what, value)
    local name = anthropic and ("anthropic-ratelimit-%s-%s"):format(unit, what)
      or ("x-ratelimit-%s-%s"):format(what, unit)
    headers[name] = tostring(value)
  end
  put("limit", limit)
  put("remaining", remaining)
  put("reset", anthropic and os.date("!%Y-%m-%dT%H:%M:%SZ", math.ceil(now() + seconds)) or duration(seconds))
end

---Takes one request and its tokens out of the line's limit.
---@param rate table the profile's `rate`
---@param tokens integer estimate of the request
---@return number|nil wait seconds when refused
---@return table headers for any answer
function M.admit(line, rate, tokens, anthropic)
  local headers, wait = {}, 0
  if rate.per_second then
    local limit = rate.burst or math.max(1, math.ceil(rate.per_second))
    local left
    if rate.window then
      limit = math.max(1, math.floor(rate.per_second * rate.window))
      wait, left = window(line, limit, rate.window)
    else
      wait, left = bucket(line, "rate", rate.per_second, limit, 1)
    end
    if rate.ratelimit_headers then
      announce(headers, anthropic, "requests", limit, left, (limit - left) / rate.per_second)
    end
  end
  if rate.tokens_per_minute then
    local per_second = rate.tokens_per_minute / 60
    local token_wait, left = bucket(line, "tokens", per_second, rate.tokens_per_minute, tokens)
    wait = math.max(wait, token_wait)
    if rate.ratelimit_headers then
      announce(headers, anthropic, "tokens", rate.tokens_per_minute, left, (rate.tokens_per_minute - left) / per_second)
    end
  end
  return wait > 0 and wait or nil, headers
end

return M
