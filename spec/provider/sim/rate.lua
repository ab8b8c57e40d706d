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
-- Returns the wait (0: taken), how many more would be admitted now, and the time until all of them would be.
local function window(line, limit, seconds)
  local t = now()
  local admitted = store.get(line, "admitted") or 0
  local function left_of(k)
    return math.max(0, (store.get(line, "admitted." .. k % limit) or 0) + seconds - t)
  end
  local function free_until_full()
    local taken = 0
    for k = math.max(0, admitted - limit), admitted - 1 do
      taken = taken + (left_of(k) > 0 and 1 or 0)
    end
    return limit - taken, admitted > 0 and left_of(admitted - 1) or 0
  end
  local wait = admitted >= limit and left_of(admitted) or 0
  if wait == 0 then
    store.set(line, "admitted." .. admitted % limit, t)
    admitted = admitted + 1
    store.set(line, "admitted", admitted)
  end
  return wait, free_until_full()
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
    local left, full_in
    if rate.window then
      limit = math.max(1, math.floor(rate.per_second * rate.window))
      wait, left, full_in = window(line, limit, rate.window)
    else
      wait, left = bucket(line, "rate", rate.per_second, limit, 1)
      full_in = (limit - left) / rate.per_second
    end
    if rate.ratelimit_headers then
      announce(headers, anthropic, "requests", limit, left, full_in)
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
