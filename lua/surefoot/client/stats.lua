--- The numbers of a client: what C counts (attempts, errors, latencies), and what only Lua can know (tokens, cost).

local M = {}

---@class surefoot.Tokens
---@field input integer
---@field output integer
---@field total integer
---@field cached_input integer
---@field reasoning integer
---@field estimated integer  of the total, those that the provider did not count

---@class surefoot.Durations  seconds
---@field count integer
---@field mean number?
---@field p50 number?
---@field p90 number?
---@field p99 number?
---@field p999 number?
---@field max number?

---@class surefoot.Numbers
---@field requests integer
---@field successes integer
---@field errors table<surefoot.Kind, integer>
---@field success_rate number?  0 to 1, of the calls that ended
---@field attempts integer
---@field retries integer
---@field hedges integer
---@field timeouts integer
---@field fallbacks integer
---@field in_flight integer       of the client: calls that neither wait for a line nor have ended; of a line: exchanges
---@field peak_in_flight integer  exchanges at once, at most
---@field queue integer           calls that wait for a line; of a line: those that may go to it
---@field breaker "closed" | "open" | "half_open" | nil  of the client: that of its best line
---@field latency surefoot.Durations
---@field time_to_first_token surefoot.Durations
---@field tokens surefoot.Tokens
---@field cost number  US dollars

---@class surefoot.EndpointStats: surefoot.Numbers
---@field name string
---@field breaker_seconds_left number?
---@field limit integer?  concurrency, where the endpoint has its own
---@field ewma number?    seconds to the first token, as the routing sees it

---@class surefoot.Stats: surefoot.Numbers
---@field shared { processes: integer, in_flight: integer, refused: integer }? of all who share its state; refused:
--- lines and lanes that found no room there, and are private
---@field coalesced integer     calls that shared one that had begun before
---@field limit integer         concurrency of the client
---@field retry_budget integer  what is left of it
---@field endpoints table<string, surefoot.EndpointStats>
---@field event_errors integer  times that an on_event failed
---@field last_event_error string?

local function new_tally()
  return { tokens = { input = 0, output = 0, total = 0, cached_input = 0, reasoning = 0, estimated = 0 }, cost = 0 }
end

--- Makes the tallies of a client: one for each endpoint that has answered, by its name.
---@return table
function M.new()
  return {}
end

--- What a client's numbers differ by from those of the core, where a call of the core is no call of the user's, or more
--- than one.
---@return table
function M.correction()
  return {
    requests = 0, successes = 0, attempts = 0, timeouts = 0, in_flight = 0, queue = 0, coalesced = 0, errors = {},
  }
end

--- Counts the end of a call, or takes it back.
---@param correction table
---@param kind "ok" | surefoot.Kind
---@param by integer 1 or -1
function M.count_end(correction, kind, by)
  if kind == "ok" then
    correction.successes = correction.successes + by
  else
    correction.errors[kind] = (correction.errors[kind] or 0) + by
  end
end

--- Counts an answer that arrived.
---@param tallies table
---@param result surefoot.Result
function M.count(tallies, result)
  local usage = result.usage
  if not usage then
    return
  end
  local tally = tallies[result.endpoint]
  if not tally then
    tally = new_tally()
    tallies[result.endpoint] = tally
  end
  local tokens = tally.tokens
  tokens.input = tokens.input + usage.input_tokens
  tokens.output = tokens.output + usage.output_tokens
  tokens.total = tokens.total + usage.total_tokens
  if usage.cached_input_tokens then
    tokens.cached_input = tokens.cached_input + usage.cached_input_tokens
  end
  if usage.reasoning_tokens then
    tokens.reasoning = tokens.reasoning + usage.reasoning_tokens
  end
  if usage.estimated then
    tokens.estimated = tokens.estimated + usage.total_tokens
  end
  if result.cost then
    tally.cost = tally.cost + result.cost
  end
end

local function add(numbers, tally)
  for name, value in pairs(tally.tokens) do
    numbers.tokens[name] = numbers.tokens[name] + value
  end
  numbers.cost = numbers.cost + tally.cost
end

local function correct(numbers, correction)
  local failed = 0
  for name, value in pairs(correction) do
    if name ~= "errors" and numbers[name] then
      numbers[name] = math.max(0, numbers[name] + value)
    end
  end
  for kind, count in pairs(correction.errors) do
    local sum = (numbers.errors[kind] or 0) + count
    numbers.errors[kind] = sum > 0 and sum or nil
  end
  for _, count in pairs(numbers.errors) do
    failed = failed + count
  end
  local ended = numbers.successes + failed
  numbers.success_rate = ended > 0 and numbers.successes / ended or nil
end

local function begin(numbers)
  local nothing = new_tally()
  numbers.tokens, numbers.cost = nothing.tokens, nothing.cost
  return numbers
end

local RANK = { open = 1, half_open = 2, closed = 3 }

-- Of two states of circuits the one that lets more through.
local function better(one, other)
  return (RANK[one] or 0) > (RANK[other] or 0) and one or other
end

--- The whole report.
---@param client table
---@return surefoot.Stats
function M.report(client)
  local numbers, by_name = begin(client.core:stats()), {}
  local corrections
  numbers.coalesced = 0
  correct(numbers, client.sharing)
  if client.watch then
    local correction
    correction, corrections = client.watch:corrections()
    correct(numbers, correction)
  end
  for i, endpoint in ipairs(numbers.endpoints) do
    local name = client.config.endpoints[i].name
    by_name[name] = begin(endpoint)
    numbers.breaker = better(numbers.breaker, endpoint.breaker)
    if corrections then
      correct(endpoint, corrections[i])
      endpoint.probes = client.watch:probes(i)
    end
    local tally = client.tallies[name]
    if tally then
      add(endpoint, tally)
      add(numbers, tally)
    end
  end
  numbers.in_flight = math.max(0, numbers.in_flight - numbers.queue)
  numbers.endpoints = by_name
  numbers.spend = client.spend and client.spend:numbers()
  numbers.event_errors, numbers.last_event_error = client.event_errors, client.last_event_error
  return numbers
end

return M
