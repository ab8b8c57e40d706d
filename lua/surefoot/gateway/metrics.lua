--- The numbers of a gateway: published by every worker, added up by whichever is asked; /metrics as Prometheus' text.
--
-- Operations have the names of OpenTelemetry's conventions for generative AI; what the client did for them those of
-- client:metrics(); what belongs to the gateway alone begins with surefoot_gateway_ and surefoot_key_.

local client_metrics = require "surefoot.client.metrics"
local exposition = require "surefoot.client.exposition"
local operations = require "surefoot.client.operations"
local slots = require "surefoot.gateway.slots"
local snapshots = require "surefoot.gateway.snapshots"
local sorted = require "surefoot.sorted"
local sums = require "surefoot.gateway.sums"
local tally = require "surefoot.gateway.tally"

local M = {}

local DICT = "surefoot_gateway"
local EVERY = 1 -- seconds

local WIDTHS = { traffic = tally.traffic, periods = tally.periods, lines = tally.periods }

---@class surefoot.gateway.Publisher  what a worker keeps to publish its numbers
---@field snapshots surefoot.gateway.Snapshots
---@field lines surefoot.gateway.Slots  what the lines did in the last minutes
---@field last table?                   the client's counters when they were published
---@field now fun(): number
---@field exiting fun(): boolean
---@field log fun(...)
---@field watches boolean?
---@field complained string?

local publishers, made = setmetatable({}, { __mode = "k" }), 0

--- Makes what publishes the numbers of a gateway; the dictionary, the process and the clock come from nginx unless they
--- are given.
---@param gateway surefoot.Gateway
---@param host { dict: table, pid: integer, now: function, exiting: function, log: function, started: function? }
---@return surefoot.gateway.Publisher
function M.attach(gateway, host)
  made = made + 1
  local publisher = {
    snapshots = snapshots.new(host.dict, {
      pid = host.pid, now = host.now, started = host.started, widths = WIDTHS, prefix = host.prefix or made .. ":",
    }),
    lines = slots.new(WIDTHS.lines.width, WIDTHS.lines.number), now = host.now, exiting = host.exiting, log = host.log,
  }
  publishers[gateway] = publisher
  return publisher
end

local function publisher_of(gateway)
  return publishers[gateway] or M.attach(gateway, {
    dict = ngx.shared[DICT] or snapshots.memory(), pid = ngx.worker.pid(), now = ngx.time, exiting = ngx.worker.exiting,
    log = function(...) ngx.log(ngx.ERR, ...) end,
  })
end

-- ---------------------------------------------------------------------------------------------------------- publishing

local function noted(line)
  return {
    attempts = line.attempts, successes = line.successes, errors = line.errors, latency = line.latency,
    first_token = line.first_token,
  }
end

-- What the lines did since the last time goes into the slot of this moment.
local function note_lines(publisher, counters)
  local slot = publisher.lines:at(publisher.now())
  for name, line in pairs(counters.lines) do
    local before = publisher.last and publisher.last.lines[name]
    slot[name] = sums.add(slot[name] or {}, sums.since(noted(line), before and noted(before)))
  end
end

-- What the keys hold; nothing where all workers count them together, and each knows.
local function key_gauges(gateway, gauges)
  if not gateway.keys or gauges.shared then
    return nil
  end
  local keys = {}
  for _, key in ipairs(gateway.keys.list) do
    local numbers = key:numbers()
    keys[key.name] = {
      in_flight = numbers.in_flight, concurrency = numbers.concurrency, limit = numbers.limit,
      spent = client_metrics.rounded(numbers.spent, 1e6), resets_in = client_metrics.rounded(numbers.resets_in, 1),
    }
  end
  return keys
end

local function content_of(gateway, publisher)
  local numbers = client_metrics.numbers(gateway.client)
  sums.lift(numbers.counters, publisher.last)
  note_lines(publisher, numbers.counters)
  publisher.last = numbers.counters
  local recent = gateway.tally:recent()
  return {
    counters = { gateway = gateway.tally:counters(), client = numbers.counters },
    recent = { traffic = recent.traffic, periods = recent.periods, lines = publisher.lines.list },
    gauges = {
      in_flight = gateway.tally.in_flight, client = numbers.gauges, keys = key_gauges(gateway, numbers.gauges),
    },
    leaving = publisher.exiting() or nil,
  }
end

-- A worker that is about to leave has no timers any more: it publishes when a request ends.
local function watch_the_last(gateway, publisher)
  if publisher.exiting() and not publisher.watches then
    publisher.watches = true
    gateway.tally:watch(function()
      M.publish(gateway)
    end)
  end
end

--- Publishes the numbers of this worker.
---@param gateway surefoot.Gateway
---@return true?
---@return string? problem the dictionary is full
function M.publish(gateway)
  local publisher = publisher_of(gateway)
  watch_the_last(gateway, publisher)
  local ok, problem = publisher.snapshots:publish(content_of(gateway, publisher))
  if ok then
    ok, problem = publisher.snapshots:fold()
  end
  return ok, problem
end

local function complain(publisher, problem)
  if problem and problem ~= publisher.complained then
    publisher.log("surefoot.gateway: the numbers of this worker could not be published: ", problem,
      " (lua_shared_dict ", DICT, " is too small)")
  end
  publisher.complained = problem
end

--- In init_worker: publishes every second from now on.
---@param gateway surefoot.Gateway
function M.start(gateway)
  local publisher = publisher_of(gateway)
  if not ngx.shared[DICT] then
    ngx.log(ngx.WARN, "surefoot.gateway: without `lua_shared_dict ", DICT, " 16m;` every worker tells its own numbers")
  end
  local function tick()
    local _, problem = M.publish(gateway)
    complain(publisher, problem)
  end
  tick()
  assert(ngx.timer.every(EVERY, tick))
end

--- In exit_worker: the last words of this worker.
---@param gateway surefoot.Gateway
function M.leave(gateway)
  local publisher = publisher_of(gateway)
  local _, problem = M.publish(gateway)
  complain(publisher, problem)
  publisher.snapshots:leave()
end

-- -------------------------------------------------------------------------------------------------------------- adding

local ADDED = { "in_flight", "queue" }
local CAPACITY = { "limit", "retry_budget" } -- one for all where the state is shared, else one for each worker

local function merge_line(into, line, shared)
  into.in_flight = (into.in_flight or 0) + line.in_flight
  if line.limit then
    into.limit = shared and line.limit or (into.limit or 0) + line.limit
  end
  if line.breaker then
    into.breakers = into.breakers or {}
    into.breakers[line.breaker] = (into.breakers[line.breaker] or 0) + 1
    local left = line.breaker_seconds_left
    if left then
      into.breaker_seconds_left = math.min(into.breaker_seconds_left or left, left)
    end
  end
end

local function merge_gauges(all)
  local sum = { in_flight = 0, client = { lines = {} } }
  for _, gauges in ipairs(all) do
    local client = gauges.client
    sum.in_flight = sum.in_flight + gauges.in_flight
    for _, name in ipairs(ADDED) do
      sum.client[name] = (sum.client[name] or 0) + client[name]
    end
    for _, name in ipairs(CAPACITY) do
      sum.client[name] = client.shared and client[name] or (sum.client[name] or 0) + client[name]
    end
    for name, line in pairs(client.lines) do
      sum.client.lines[name] = sum.client.lines[name] or {}
      merge_line(sum.client.lines[name], line, client.shared)
    end
  end
  return sum
end

local function merge_keys(gateway, all)
  local keys = {}
  for i, key in ipairs(gateway.keys and gateway.keys.list or {}) do
    local numbers, own
    for _, gauges in ipairs(all) do
      own = gauges.keys and gauges.keys[key.name]
      if own then
        local resets_in = own.resets_in or numbers and numbers.resets_in
        numbers = sums.add(numbers or {}, own)
        numbers.resets_in = resets_in
      end
    end
    numbers = numbers or key:numbers()
    numbers.name = key.name
    keys[i] = numbers
  end
  return keys
end

---@class surefoot.gateway.Numbers  of all workers
---@field counters { gateway: table, client: table }
---@field recent { traffic: table, periods: table, lines: table }
---@field gauges { in_flight: integer, client: table }
---@field keys table[]   of each: its name, and what it holds and has used
---@field workers integer
---@field since number  unix seconds: when the counting began
---@field now number

--- The numbers of all workers, those of this one as they are now.
---@param gateway surefoot.Gateway
---@return surefoot.gateway.Numbers
function M.numbers(gateway)
  local publisher = publisher_of(gateway)
  local _, problem = M.publish(gateway)
  complain(publisher, problem)
  local sum = publisher.snapshots:sum()
  return {
    counters = sum.counters, recent = sum.recent, gauges = merge_gauges(sum.gauges), workers = sum.workers,
    keys = merge_keys(gateway, sum.gauges),
    since = publisher.snapshots:since(gateway.started_at), now = publisher.now(),
  }
end

-- ---------------------------------------------------------------------------------------------------------------- text

local function write_requests(out, numbers)
  local counters = numbers.counters.gateway
  out:counter("surefoot_gateway_requests_total", "Requests of callers that have ended, by HTTP status.")
  for _, name in ipairs(sorted(counters.requests)) do
    local operation, status = name:match "^(.*) (%d+)$"
    out:add("surefoot_gateway_requests_total", counters.requests[name], "gen_ai_operation_name", operation,
      "http_response_status_code", status)
  end
  out:counter("surefoot_gateway_errors_total", "Requests that did not get an answer, by kind of error.")
  for _, kind in ipairs(sorted(counters.errors)) do
    out:add("surefoot_gateway_errors_total", counters.errors[kind], "error_type", kind)
  end
  out:gauge("surefoot_gateway_requests_in_flight", "Requests of callers that go on.")
  out:add("surefoot_gateway_requests_in_flight", numbers.gauges.in_flight)
  out:gauge("surefoot_gateway_workers", "Workers of nginx that take requests.")
  out:add("surefoot_gateway_workers", numbers.workers)
  out:gauge("surefoot_gateway_start_time_seconds", "Unix time since which is counted.")
  out:add("surefoot_gateway_start_time_seconds", numbers.since)
end

local function write_key_counters(out, counters)
  out:counter("surefoot_key_requests_total", "Requests of a key.")
  out:counter("surefoot_key_tokens_total", "Tokens of a key's answers.")
  out:counter("surefoot_key_cost_dollars_total", "What a key was charged, in US dollars, where prices are known: "
    .. "answers, and by estimate what broke off or lost its caller.")
  for _, name in ipairs(sorted(counters)) do
    local key = counters[name]
    out:add("surefoot_key_requests_total", key.requests, "key", name)
    out:add("surefoot_key_tokens_total", key.input_tokens, "key", name, "gen_ai_token_type", "input")
    out:add("surefoot_key_tokens_total", key.output_tokens, "key", name, "gen_ai_token_type", "output")
    out:add("surefoot_key_cost_dollars_total", key.cost / client_metrics.NANO, "key", name)
  end
end

local function write_key_gauges(out, keys)
  out:gauge("surefoot_key_in_flight", "Requests of a key that go on.")
  out:gauge("surefoot_key_concurrency_limit", "Requests of a key that may go on at a time.")
  out:gauge("surefoot_key_spent_dollars", "What a key has spent of its budget in this period, in US dollars.")
  out:gauge("surefoot_key_budget_dollars", "What a key may spend in a period, in US dollars.")
  for _, key in ipairs(keys) do
    out:add("surefoot_key_in_flight", key.in_flight, "key", key.name)
    out:add("surefoot_key_concurrency_limit", key.concurrency, "key", key.name)
    out:add("surefoot_key_spent_dollars", key.spent, "key", key.name)
    out:add("surefoot_key_budget_dollars", key.limit, "key", key.name)
  end
end

--- /metrics: the text.
---@param gateway surefoot.Gateway
---@return string
function M.text(gateway)
  local numbers, out = M.numbers(gateway), exposition.new()
  local client = numbers.counters.client
  write_requests(out, numbers)
  write_key_counters(out, numbers.counters.gateway.keys)
  write_key_gauges(out, numbers.keys)
  operations.write(out, numbers.counters.gateway.operations, client_metrics.places(client), "gen_ai_request_model")
  client_metrics.write(out, client, numbers.gauges.client)
  return out:text()
end

return M
