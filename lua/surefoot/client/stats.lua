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
---@field in_flight integer
---@field peak_in_flight integer
---@field latency surefoot.Durations
---@field time_to_first_token surefoot.Durations
---@field tokens surefoot.Tokens
---@field cost number  US dollars

---@class surefoot.EndpointStats: surefoot.Numbers
---@field name string
---@field breaker "closed" | "open" | "half_open" | nil
---@field breaker_seconds_left number?
---@field limit integer?  concurrency, where the endpoint has its own
---@field ewma number?    seconds to the first token, as the routing sees it

---@class surefoot.Stats: surefoot.Numbers
---@field queue integer         calls that wait
---@field limit integer         concurrency of the client
---@field retry_budget integer  what is left of it
---@field endpoints table<string, surefoot.EndpointStats>
---@field event_errors integer  times that an on_event failed
---@field last_event_error string?

local function new_tally()
  return { tokens = { input = 0, output = 0, total = 0, cached_input = 0, reasoning = 0, estimated = 0 }, cost = 0 }
end

--- Makes the tallies of a client.
---@return table
function M.new()
  return { all = new_tally(), endpoints = {} }
end

local function add(tally, usage, cost)
  local tokens = tally.tokens
  tokens.input = tokens.input + usage.input_tokens
  tokens.output = tokens.output + usage.output_tokens
  tokens.total = tokens.total + usage.total_tokens
  tokens.cached_input = tokens.cached_input + (usage.cached_input_tokens or 0)
  tokens.reasoning = tokens.reasoning + (usage.reasoning_tokens or 0)
  tokens.estimated = tokens.estimated + (usage.estimated and usage.total_tokens or 0)
  tally.cost = tally.cost + (cost or 0)
end

--- Counts an answer that arrived.
---@param tallies table
---@param result surefoot.Result
function M.count(tallies, result)
  if result.usage then
    local own = tallies.endpoints[result.endpoint] or new_tally()
    tallies.endpoints[result.endpoint] = own
    add(tallies.all, result.usage, result.cost)
    add(own, result.usage, result.cost)
  end
end

local function merge(numbers, tally)
  tally = tally or new_tally()
  local tokens = {}
  for name, value in pairs(tally.tokens) do
    tokens[name] = value
  end
  numbers.tokens, numbers.cost = tokens, tally.cost
  return numbers
end

--- The whole report.
---@param client table
---@return surefoot.Stats
function M.report(client)
  local numbers = merge(client.core:stats(), client.tallies.all)
  local by_name = {}
  for i, endpoint in ipairs(numbers.endpoints) do
    local name = client.config.endpoints[i].name
    by_name[name] = merge(endpoint, client.tallies.endpoints[name])
  end
  numbers.endpoints = by_name
  numbers.event_errors, numbers.last_event_error = client.event_errors, client.last_event_error
  return numbers
end

return M
