--- client:metrics(): the numbers of a client as Prometheus' text, in the words of OpenTelemetry where it has some.
--
-- Counters are those of client:stats(). Histograms of attempts come from the core; those of operations are counted
-- where an answer is (surefoot.client.operations). M.numbers and M.write are apart because a gateway adds up the
-- numbers of many processes in between.

local buckets = require "surefoot.client.buckets"
local check = require "surefoot.config.check"
local exposition = require "surefoot.client.exposition"
local operations = require "surefoot.client.operations"
local schema = require "surefoot.config.schema"
local sorted = require "surefoot.sorted"
local version = require "surefoot.version"

local M = {}

-- Hosts, or ends of hosts, whose provider OpenTelemetry has a name for; else the wire format says enough.
local VENDORS = {
  { "openai.azure.com", "azure.ai.openai" }, { "services.ai.azure.com", "azure.ai.inference" },
  { "generativelanguage.googleapis.com", "gcp.gemini" }, { "aiplatform.googleapis.com", "gcp.vertex_ai" },
  { "amazonaws.com", "aws.bedrock" }, { "api.deepseek.com", "deepseek" }, { "api.groq.com", "groq" },
  { "api.mistral.ai", "mistral_ai" }, { "api.x.ai", "x_ai" }, { "api.moonshot.ai", "moonshot_ai" },
  { "api.moonshot.cn", "moonshot_ai" }, { "api.perplexity.ai", "perplexity" }, { "api.cohere.com", "cohere" },
}
local OF_FORMAT = { anthropic = "anthropic", azure = "azure.ai.openai", gemini = "gcp.gemini", openai = "openai",
  responses = "openai" }

local function vendor_of(endpoint)
  local host = endpoint.host
  for _, vendor in ipairs(VENDORS) do
    if host:sub(-#vendor[1]) == vendor[1] then
      return vendor[2]
    end
  end
  return OF_FORMAT[endpoint.provider] or endpoint.provider
end

-- ----------------------------------------------------------------------------------------------------------- numbers

-- Money is counted in whole nanodollars: sums must not depend on the order in which they were added.
M.NANO = 1e9

local COUNTED = { "requests", "successes", "attempts", "retries", "hedges", "timeouts", "fallbacks" }

local function counters_of(stats, histograms)
  local counters = {
    errors = {}, tokens = {}, cost = math.floor(stats.cost * M.NANO + 0.5),
    latency = buckets.of_core(buckets.seconds, histograms.latency),
    first_token = buckets.of_core(buckets.seconds, histograms.time_to_first_token),
  }
  for _, name in ipairs(COUNTED) do
    counters[name] = stats[name]
  end
  for kind, count in pairs(stats.errors) do
    counters.errors[kind] = count
  end
  for name, count in pairs(stats.tokens) do
    counters.tokens[name] = count
  end
  return counters
end

--- A number that JSON can carry in few digits.
---@param x number?
---@param parts number of one
---@return number?
function M.rounded(x, parts)
  return x and math.floor(x * parts + 0.5) / parts
end

---@class surefoot.ClientNumbers
---@field counters table  add up; strings in it are the same in every process that has the endpoint
---@field gauges table    of this process, and this moment

--- The numbers of a client as plain data, which JSON can carry.
---@param client surefoot.Client
---@return surefoot.ClientNumbers
function M.numbers(client)
  local stats, histograms = client:stats(), client.core:histograms(buckets.seconds.bounds)
  local counters, gauges = counters_of(stats, histograms), {
    in_flight = stats.in_flight, queue = stats.queue, limit = stats.limit, retry_budget = stats.retry_budget,
    shared = stats.shared ~= nil, lines = {},
  }
  counters.coalesced, counters.lines = stats.coalesced, {}
  for i, endpoint in ipairs(client.config.endpoints) do
    local name, line = endpoint.name, stats.endpoints[endpoint.name]
    counters.lines[name] = counters_of(line, histograms.endpoints[i])
    counters.lines[name].place = { provider = vendor_of(endpoint), address = endpoint.host,
      port = ("%d"):format(endpoint.port) }
    gauges.lines[name] = {
      in_flight = line.in_flight, limit = line.limit, breaker = line.breaker,
      breaker_seconds_left = M.rounded(line.breaker_seconds_left, 1e3),
    }
  end
  return { counters = counters, gauges = gauges }
end

-- -------------------------------------------------------------------------------------------------------------- text

local LINE = "surefoot_endpoint"

-- name, field, help
local line_counters = {
  { "surefoot_attempts_total", "attempts", "HTTP exchanges that began." },
  { "surefoot_attempt_successes_total", "successes", "HTTP exchanges whose answer was accepted." },
  { "surefoot_retries_total", "retries", "Attempts that repeat one that failed." },
  { "surefoot_hedges_total", "hedges", "Attempts beside one that was slow." },
  { "surefoot_timeouts_total", "timeouts", "Attempts that took too long." },
}
local call_counters = {
  { "surefoot_calls_total", "requests", "Calls that were made." },
  { "surefoot_call_successes_total", "successes", "Calls that got an answer." },
  { "surefoot_fallbacks_total", "fallbacks", "Calls that another model than the first answered." },
  { "surefoot_coalesced_total", "coalesced", "Calls that shared one that had begun before." },
}

local function write_counters(out, list, counters, ...)
  for _, row in ipairs(list) do
    out:counter(row[1], row[3])
    out:add(row[1], counters[row[2]], ...)
  end
end

local function write_errors(out, name, help, errors, ...)
  out:counter(name, help)
  for _, kind in ipairs(sorted(errors)) do
    out:add(name, errors[kind], "error_type", kind, ...)
  end
end

local TOKEN_TYPES = { "input", "output", "cached_input", "reasoning" }

local function write_line(out, name, counters)
  write_counters(out, line_counters, counters, LINE, name)
  write_errors(out, "surefoot_attempt_errors_total", "HTTP exchanges that failed, by kind.", counters.errors, LINE,
    name)
  out:counter("surefoot_tokens_total",
    "Tokens of answers. cached_input is a part of input, reasoning of output.")
  for _, kind in ipairs(TOKEN_TYPES) do
    out:add("surefoot_tokens_total", counters.tokens[kind], "gen_ai_token_type", kind, LINE, name)
  end
  out:counter("surefoot_cost_dollars_total", "What answers cost, in US dollars, where prices are known; what broke "
    .. "off, by estimate.")
  out:add("surefoot_cost_dollars_total", counters.cost / M.NANO, LINE, name)
  out:histogram("surefoot_attempt_duration_seconds", "How long HTTP exchanges took whose answer was accepted.")
  out:distribution("surefoot_attempt_duration_seconds", counters.latency, buckets.seconds, buckets.otel_places, LINE,
    name)
  out:histogram("surefoot_attempt_first_token_seconds", "Time until the first content of such an exchange.")
  out:distribution("surefoot_attempt_first_token_seconds", counters.first_token, buckets.seconds, buckets.otel_places,
    LINE, name)
end

local STATES = { "closed", "half_open", "open" }

local function write_line_gauges(out, name, gauges)
  out:gauge("surefoot_in_flight", "HTTP exchanges under way.")
  out:add("surefoot_in_flight", gauges.in_flight, LINE, name)
  out:gauge("surefoot_concurrency_limit", "HTTP exchanges that may be under way at a time.")
  out:add("surefoot_concurrency_limit", gauges.limit, LINE, name)
  out:gauge("surefoot_breaker_state", "Processes whose circuit breaker is in this state; 1 or 0 for a single client.")
  local states = gauges.breakers or gauges.breaker and { [gauges.breaker] = 1 }
  for _, state in ipairs(states and STATES or {}) do
    out:add("surefoot_breaker_state", states[state] or 0, "state", state, LINE, name)
  end
end

--- Writes numbers of clients.
---@param out surefoot.Exposition
---@param counters table
---@param gauges table of lines, `breakers` (how many processes see which state) may stand for `breaker`
function M.write(out, counters, gauges)
  out:gauge("surefoot_build_info", "The version of surefoot.")
  out:add("surefoot_build_info", 1, "version", version)
  write_counters(out, call_counters, counters)
  write_errors(out, "surefoot_call_errors_total", "Calls that failed, by kind.", counters.errors)
  out:gauge("surefoot_calls_in_flight", "Calls that neither wait for a line nor have ended.")
  out:add("surefoot_calls_in_flight", gauges.in_flight)
  out:gauge("surefoot_queue", "Calls that wait for a line.")
  out:add("surefoot_queue", gauges.queue)
  out:gauge("surefoot_client_concurrency_limit", "HTTP exchanges of the whole client that may be under way at a time.")
  out:add("surefoot_client_concurrency_limit", gauges.limit)
  out:gauge("surefoot_retry_budget", "What is left to pay retries with.")
  out:add("surefoot_retry_budget", gauges.retry_budget)
  for _, name in ipairs(sorted(counters.lines)) do
    write_line(out, name, counters.lines[name])
    write_line_gauges(out, name, gauges.lines[name] or {})
  end
end

--- Where the endpoints are, by name.
---@param counters table
---@return table<string, surefoot.Place>
function M.places(counters)
  local places = {}
  for name, line in pairs(counters.lines) do
    places[name] = line.place
  end
  return places
end

-- ------------------------------------------------------------------------------------------------------------ client

--- Begins to count what a client is asked.
M.new = operations.new

--- Counts an answer of a client.
---@param counted surefoot.Operations
---@param result surefoot.Result
function M.count(counted, result)
  local operation = result.embeddings and "embeddings" or result.message and "chat"
  if operation then
    local usage = result.usage
    local known = usage and not usage.estimated
    local first = result.raw == nil and result.time_to_first_token -- of a stream
    local model = type(result.model) == "string" and result.model or "" -- a server may say anything
    operations.count(counted, operation, model, result.endpoint, nil, result.latency, first,
      known and usage.input_tokens, known and usage.output_tokens)
  end
end

---@class surefoot.MetricsOptions
---@field labels table<string, string>? of every sample

local OURS = { "^error_type$", "^le$", "^state$", "^version$", "^gen_ai_", "^server_", "^surefoot_" }

local function check_label(name)
  if type(name) ~= "string" or not name:find "^[%a_][%w_]*$" or name:find "^__" then
    error(("labels: %q is no name of a label"):format(tostring(name)), 0)
  end
  for _, pattern in ipairs(OURS) do
    if name:find(pattern) then
      error(("labels: %q is a name that surefoot uses itself"):format(name), 0)
    end
  end
end

local function common_labels(labels)
  local list = {}
  for name, value in pairs(labels) do
    check_label(name)
    if type(value) ~= "string" and type(value) ~= "number" and type(value) ~= "boolean" then
      error(("labels.%s: expected a string, a number or true or false, got %s"):format(name, check.show(value)), 0)
    end
    list[#list + 1] = { name, tostring(value) }
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  local flat = {}
  for i, label in ipairs(list) do
    flat[2 * i - 1], flat[2 * i] = label[1], label[2]
  end
  return flat
end

--- The numbers of a client as Prometheus' text, version 0.0.4. Throws what is wrong with the options.
---@param client surefoot.Client
---@param options surefoot.MetricsOptions?
---@return string
function M.text(client, options)
  if options ~= nil and type(options) ~= "table" then
    error("expected a table of options, got a " .. type(options), 0)
  end
  options = check.fields(schema.metrics, options or {}, "")
  local out = exposition.new(common_labels(options.labels or {}))
  local numbers = M.numbers(client)
  M.write(out, numbers.counters, numbers.gauges)
  operations.write(out, client.measured.series, M.places(numbers.counters), "gen_ai_response_model")
  return out:text()
end

return M
