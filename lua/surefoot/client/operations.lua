--- What was asked of models, in the words of OpenTelemetry's conventions for generative AI: how long operations took,
-- when the first piece of streams came, how many tokens they read and wrote; by operation, model, endpoint, and what
-- went wrong.
--
-- A series is plain data that JSON can carry. How many models have series of their own is bounded, since callers may
-- choose the names.

local buckets = require "surefoot.client.buckets"
local json = require "surefoot.json"
local sorted = require "surefoot.sorted"

local M = {}

local MOST_MODELS = 100
local LONGEST_NAME = 120 -- bytes of a model's name
local OTHER = "other" -- the model of all beyond

---@class surefoot.Series
---@field duration surefoot.Buckets
---@field first surefoot.Buckets?
---@field input surefoot.Buckets?
---@field output surefoot.Buckets?

---@class surefoot.Operations
---@field series table<string, surefoot.Series>  by operation, model, endpoint, kind
---@field private models table<string, string>   name -> name of its series
---@field private count integer
---@field private found table                    the series again, by nested names

--- Begins to count.
---@return surefoot.Operations
function M.new()
  return { series = {}, models = {}, count = 0, found = {} }
end

local function plain(name)
  return json.well_formed((name:gsub("%c", "?")), "?")
end

-- The name under which a model is counted. One that nobody has served yet must be `proven` to get its own.
local function model_name(operations, model, proven)
  local name = operations.models[model]
  if name or not proven then
    return name or ""
  elseif operations.count >= MOST_MODELS then
    return OTHER
  end
  name = plain(model:sub(1, LONGEST_NAME))
  operations.models[model], operations.count = name, operations.count + 1
  return name
end

local function series_name(operation, model, endpoint, kind)
  return plain(operation) .. "\t" .. model .. "\t" .. plain(endpoint) .. "\t" .. kind
end

local function child(parent, name)
  local t = parent[name]
  if not t then
    t = {}
    parent[name] = t
  end
  return t
end

local NOTHING = {}

local function series_of(operations, operation, model, endpoint, kind)
  local found = operations.found
  local series = (((found[operation] or NOTHING)[model] or NOTHING)[endpoint] or NOTHING)[kind]
  if series then
    return series
  end
  local name = series_name(operation, model_name(operations, model, kind == "" or endpoint ~= ""), endpoint, kind)
  series = operations.series[name]
  if not series then
    series = { duration = buckets.new() }
    operations.series[name] = series
  end
  if operations.models[model] then -- the others may be any number, and may get a name yet
    child(child(child(found, operation), model), endpoint)[kind] = series
  end
  return series
end

local function record(series, name, scale, value)
  if value then
    local histogram = series[name]
    if not histogram then
      histogram = buckets.new()
      series[name] = histogram
    end
    buckets.record(histogram, scale, value)
  end
end

--- Counts an operation that has ended.
---@param operations surefoot.Operations
---@param operation string
---@param model string?
---@param endpoint string?     the one that answered, or decided
---@param kind surefoot.Kind?  what went wrong
---@param seconds number
---@param first_token number?
---@param input_tokens number?
---@param output_tokens number?
function M.count(operations, operation, model, endpoint, kind, seconds, first_token, input_tokens, output_tokens)
  local series = series_of(operations, operation, model or "", endpoint or "", kind or "")
  buckets.record(series.duration, buckets.seconds, seconds)
  record(series, "first", buckets.seconds, first_token)
  record(series, "input", buckets.tokens, input_tokens)
  record(series, "output", buckets.tokens, output_tokens)
end

---@class surefoot.Place  where an endpoint is
---@field provider string  as OpenTelemetry names it
---@field address string
---@field port string

local DURATION, FIRST, TOKENS = "gen_ai_client_operation_duration_seconds",
  "gen_ai_client_operation_time_to_first_chunk_seconds", "gen_ai_client_token_usage"

local NOWHERE = { provider = "", address = "", port = "" }

--- Writes the families of all series.
---@param out surefoot.Exposition
---@param series table<string, surefoot.Series>
---@param places table<string, surefoot.Place> of the endpoints, by name
---@param model_label string which model the names mean
function M.write(out, series, places, model_label)
  out:histogram(DURATION, "How long operations took, waits and retries included.")
  out:histogram(FIRST, "Time until the first piece of a stream.")
  out:histogram(TOKENS, "Tokens of an operation.")
  for _, name in ipairs(sorted(series)) do
    local operation, model, endpoint, kind = name:match "^(.-)\t(.-)\t(.-)\t(.*)$"
    local place, one = places[endpoint] or NOWHERE, series[name]
    local function write(family, histogram, scale, at, token_type)
      out:distribution(family, histogram, scale, at, "gen_ai_operation_name", operation, "gen_ai_provider_name",
        place.provider, model_label, model, "server_address", place.address, "server_port", place.port,
        "surefoot_endpoint", endpoint, "error_type", kind, "gen_ai_token_type", token_type or "")
    end
    write(DURATION, one.duration, buckets.seconds, buckets.otel_places)
    write(FIRST, one.first, buckets.seconds, buckets.otel_places)
    write(TOKENS, one.input, buckets.tokens, buckets.token_places, "input")
    write(TOKENS, one.output, buckets.tokens, buckets.token_places, "output")
  end
end

return M
