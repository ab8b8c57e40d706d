--- /status.json: what an operator wants to know of a gateway, as one document. It holds names of lines and keys, and
-- numbers: no secrets, and nothing that callers sent.
--
-- What is `recent` is of the last five minutes. Durations are seconds, money is US dollars.

local buckets = require "surefoot.client.buckets"
local json = require "surefoot.json"
local metrics = require "surefoot.gateway.metrics"
local slots = require "surefoot.gateway.slots"
local sums = require "surefoot.gateway.sums"
local tally = require "surefoot.gateway.tally"
local version = require "surefoot.version"

local M = {}

local NANO = 1e9
local PLACES = buckets.coarse_places

local bounds = {}
for i, place in ipairs(PLACES) do
  bounds[i] = tonumber(("%.4g"):format(buckets.seconds.bounds[place]))
end

local function rounded(seconds)
  return seconds and tonumber(("%.4g"):format(seconds))
end

local function dollars(nano)
  return (nano or 0) / NANO
end

-- How durations spread: counts[i] is how many lie above buckets[i - 1] and up to buckets[i] of the document; one more
-- is for those above the last. Nil of nothing.
local function distribution(histogram)
  if not histogram or histogram.count == 0 then
    return nil
  end
  local counts, before, scale = {}, 0, buckets.seconds
  for i, count in ipairs(buckets.cumulative(histogram, scale, PLACES)) do
    counts[i], before = count - before, count
  end
  counts[#counts + 1] = histogram.count - before
  return {
    counts = json.array(counts), count = histogram.count, mean = rounded(buckets.mean(histogram, scale)),
    p50 = rounded(buckets.quantile(histogram, scale, 0.5)), p90 = rounded(buckets.quantile(histogram, scale, 0.9)),
    p99 = rounded(buckets.quantile(histogram, scale, 0.99)),
  }
end

local function added_up(list)
  local sum = {}
  for _, slot in pairs(list or {}) do
    sums.add(sum, slot)
  end
  return sum
end

local function share(part, whole)
  return whole > 0 and rounded(part / whole) or nil
end

-- ----------------------------------------------------------------------------------------------------------- requests

local OUTCOMES = { "answered", "failed", "refused", "left" }

local function by_status(requests)
  local counts, list = {}, {}
  for name, count in pairs(requests) do
    local status = tonumber(name:match " (%d+)$")
    counts[status] = (counts[status] or 0) + count
  end
  for status, count in pairs(counts) do
    list[#list + 1] = { status = status, count = count }
  end
  table.sort(list, function(a, b) return a.status < b.status end)
  return list
end

local LAST_MINUTE = 60 / tally.traffic.width

local function traffic_of(recent, now)
  local width = tally.traffic.width
  local list, first = slots.series(recent.traffic or {}, width, tally.traffic.number, now)
  local traffic, minute = { seconds = width, first = first }, 0
  for _, name in ipairs { "answered", "failed", "refused", "left", "tokens" } do
    traffic[name] = json.array {}
  end
  for i, slot in ipairs(list) do
    for _, name in ipairs(OUTCOMES) do
      local count = slot and slot[name] or 0
      traffic[name][i] = count
      minute = minute + (i > #list - LAST_MINUTE and count or 0)
    end
    traffic.tokens[i] = slot and slot.tokens or 0
  end
  return traffic, minute
end

local function requests_of(numbers, minute)
  local counters, total = numbers.counters.gateway, 0
  local recent, statuses = added_up(numbers.recent.periods), by_status(counters.requests)
  local cost = 0
  for _, slot in pairs(numbers.recent.traffic or {}) do
    cost = cost + (slot.cost or 0)
  end
  for _, one in ipairs(statuses) do
    total = total + one.count
  end
  local answered, failed = recent.answered or 0, recent.failed or 0
  return {
    total = total, in_flight = numbers.gauges.in_flight, by_status = json.array(statuses),
    errors = json.object(counters.errors), attempts = counters.attempts,
    recent = {
      answered = answered, failed = failed, refused = recent.refused or 0, left = recent.left or 0,
      success_rate = share(answered, answered + failed), per_minute = minute, cost = dollars(cost),
      latency = distribution(recent.duration), first_token = distribution(recent.first),
    },
  }
end

-- -------------------------------------------------------------------------------------------------------------- lines

-- Exchanges that somebody called off have not failed.
local CALLED_OFF = { cancelled = true, closed = true }

local function success_rate(counters)
  local failed = 0
  for kind, count in pairs(counters.errors or {}) do
    failed = failed + (CALLED_OFF[kind] and 0 or count)
  end
  return share(counters.successes or 0, (counters.successes or 0) + failed)
end

local SEVERITY = { "open", "half_open", "closed" }

local function state_of(breakers)
  for _, state in ipairs(SEVERITY) do
    if breakers and breakers[state] then
      return state
    end
  end
end

local function errors_of(counters)
  local errors = {}
  for kind, count in pairs(counters.errors or {}) do
    errors[kind] = count > 0 and count or nil
  end
  return json.object(errors)
end

local function line_of(name, counters, recent, gauges)
  local tokens = counters.tokens
  return {
    name = name, provider = counters.place.provider, address = counters.place.address,
    port = tonumber(counters.place.port), breaker = state_of(gauges.breakers), breakers = gauges.breakers,
    breaker_seconds_left = rounded(gauges.breaker_seconds_left), in_flight = gauges.in_flight or 0,
    limit = gauges.limit, attempts = counters.attempts, successes = counters.successes,
    success_rate = success_rate(counters), errors = errors_of(counters), retries = counters.retries,
    hedges = counters.hedges, timeouts = counters.timeouts,
    tokens = { input = tokens.input, output = tokens.output, cached_input = tokens.cached_input },
    cost = dollars(counters.cost),
    recent = {
      attempts = recent.attempts or 0, successes = recent.successes or 0, success_rate = success_rate(recent),
      errors = errors_of(recent), latency = distribution(recent.latency),
      first_token = distribution(recent.first_token),
    },
  }
end

local function lines_of(gateway, numbers)
  local recent, list = added_up(numbers.recent.lines), {}
  for i, endpoint in ipairs(gateway.client.config.endpoints) do -- those that were removed by a reload are not shown
    local name = endpoint.name
    list[i] = line_of(name, numbers.counters.client.lines[name], recent[name] or {},
      numbers.gauges.client.lines[name] or {})
  end
  return json.array(list)
end

-- --------------------------------------------------------------------------------------------------------------- keys

local NO_KEY = { requests = 0, failed = 0, refused = 0, input_tokens = 0, output_tokens = 0, cost = 0 }

local function keys_of(numbers)
  local list = {}
  for i, key in ipairs(numbers.keys) do
    local counters = numbers.counters.gateway.keys[key.name] or NO_KEY
    list[i] = {
      name = key.name, in_flight = key.in_flight, concurrency = key.concurrency,
      spent = key.limit and key.spent, limit = key.limit, resets_in = rounded(key.resets_in),
      requests = counters.requests, failed = counters.failed, refused = counters.refused,
      tokens = { input = counters.input_tokens, output = counters.output_tokens }, cost = dollars(counters.cost),
    }
  end
  return json.array(list)
end

-- ----------------------------------------------------------------------------------------------------------- document

--- The document.
---@param gateway surefoot.Gateway
---@return table
function M.document(gateway)
  local numbers = metrics.numbers(gateway)
  local traffic, minute = traffic_of(numbers.recent, numbers.now)
  local client = numbers.counters.client
  return {
    version = version, now = numbers.now, since = numbers.since, uptime = math.max(0, numbers.now - numbers.since),
    workers = numbers.workers, requests = requests_of(numbers, minute), traffic = traffic,
    cost = dollars(client.cost), tokens = { input = client.tokens.input, output = client.tokens.output },
    queue = numbers.gauges.client.queue, buckets = json.array(bounds), lines = lines_of(gateway, numbers),
    keys = keys_of(numbers),
  }
end

return M
