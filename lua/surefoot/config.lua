--- From the table a user writes to the one the client works with: checked, filled with defaults, endpoints complete.
--
-- Keys, types, ranges, defaults and words are data in surefoot.config.schema. Whatever is wrong throws, and says where
-- it is, what was given and what is allowed; keys and header values are never shown.

local check = require "surefoot.config.check"
require "surefoot.log" -- which reads `log`
local copy = require "surefoot.copy"
local form = require "surefoot.client.form"
local network = require "surefoot.config.network"
local presets = require "surefoot.presets"
local prices = require "surefoot.prices"
local providers = require "surefoot.provider"
local schema = require "surefoot.config.schema"
local sorted = require "surefoot.sorted"
local text = require "surefoot.config.text"
local trace = require "surefoot.trace"
local url = require "surefoot.config.url"

local M = {}

local MODEL = { type = "string", utf8 = true }
local LONGEST_LEASE = 3600 -- of a probe, where an attempt may take for ever

check.define("endpoint", function(_, value, path)
  if type(value) == "string" then
    value = { url = value }
  elseif type(value) ~= "table" then
    check.fail(path, "expected an endpoint table, got %s", check.show(value))
  end
  return check.fields(schema.endpoint, value, path)
end)

check.define("fallback", function(_, value, path)
  if type(value) == "string" and value ~= "" then
    return { model = check.check(MODEL, value, path) }
  elseif type(value) ~= "table" then
    check.fail(path, "expected a model name, or { model =, endpoint =, request = {...} }, got %s", check.show(value))
  end
  local fallback = check.fields(schema.fallback, value, path)
  local changes = fallback.request
  if changes then
    form.check_changes(changes, path .. ".request")
    if changes.model ~= nil and changes.model ~= fallback.model then
      check.fail(path .. ".request.model", "is not asked for: %s.model is %s", path, check.show(fallback.model))
    end
  end
  return fallback
end)

local function known(list, name, path, what)
  if name == nil or list[name] then
    return name and list[name]
  end
  local names = sorted(list)
  local near = text.meant(name, names)
  check.fail(path, "no %s %s; %sknown are %s", what, check.show(name),
    near and ("did you mean %q? "):format(near) or "", table.concat(names, ", "))
end

local function read_url(value, path, allow_plaintext)
  if value == nil then
    check.fail(path, "is required: the API's root, like https://api.example.com/v1")
  end
  local parsed, problem = url.parse(value)
  if not parsed then
    check.fail(path, "%s", problem)
  elseif parsed.scheme == "http" and not parsed.loopback and not allow_plaintext then
    check.fail(path, "plain http to %s would show the key to everybody on the way; use https, "
      .. "or set allow_plaintext = true", parsed.host)
  end
  return parsed
end

local inherited = { timeout = true, breaker = true, tls = true, dns = true }
local top_field, endpoint_field = {}, {}
for _, field in ipairs(schema.top) do
  top_field[field.name] = field
end
for _, field in ipairs(schema.endpoint) do
  endpoint_field[field.name] = field
end

-- What an endpoint says about `key`, over what the client says.
local function over(given, top, key)
  local own, common = given[key], top[key]
  if own == nil then
    return common
  elseif type(own) == "table" and type(common) == "table" then
    return copy(common, own)
  end
  return own
end

-- A switched table with its defaults; nil when it is off.
local function switch(field, value, default)
  if value == nil then
    value = default
  end
  return value and check.fill(field, value) or nil
end

local function fill_rate(rate, path)
  if rate then
    for limit, burst in pairs { requests_per_second = "burst", tokens_per_minute = "token_burst" } do
      if rate[burst] and not rate[limit] then
        check.fail(path .. "." .. burst, "needs %s", limit)
      end
    end
    rate.burst = rate.burst or rate.requests_per_second and math.max(1, rate.requests_per_second)
    rate.token_burst = rate.token_burst or rate.tokens_per_minute
  end
  return rate
end

local function check_bounds(concurrency, path)
  if concurrency and concurrency.min > concurrency.max then
    check.fail(path .. ".min", "is above max (%d > %d)", concurrency.min, concurrency.max)
  end
  if concurrency and concurrency.adaptive then
    concurrency.limit = math.max(concurrency.min, math.min(concurrency.limit, concurrency.max))
  end
  return concurrency
end

-- given: what is said about this line's breaker; whatever is not said gives way.
local function check_breaker(breaker, given, path)
  local most = type(given) == "table" and given.max_recovery_timeout
  if breaker and most and most < breaker.recovery_timeout then
    check.fail(path .. ".max_recovery_timeout", "is below recovery_timeout (%.14g < %.14g)", most,
      breaker.recovery_timeout)
  end
end

local function check_health(health)
  local problem = health and health.path and url.path_problem(health.path)
  if problem then
    check.fail("health.path", "%s", problem)
  end
  return health
end

-- An endpoint with a preset of its own is another provider: the client's key is not for it.
local function keys_of(given, top, preset, environment)
  local keys = given.api_key or not given.preset and top.api_key or nil
  if keys == nil and preset and preset.key_env then
    local value = environment(preset.key_env)
    if value == nil or value == "" then
      check.fail("api_key", "is required: none was given, and the environment variable %s is not set", preset.key_env)
    end
    keys = { check.key_string(value, "environment variable " .. preset.key_env) }
  end
  return keys or {}
end

local function unique_name(names, wanted, given, path)
  if given and names[given] then
    check.fail(path .. ".name", "%q names another endpoint already", given)
  end
  local name, n = given or wanted, 1
  while names[name] do
    n = n + 1
    name = wanted .. "#" .. n
  end
  names[name] = true
  return name
end

-- What a variant of a request depends on beside format and model.
local function traits_of(given, top, preset)
  local quirks = preset and preset.quirks or {}
  local names = sorted(quirks)
  local api_version = given.api_version or top.api_version or preset and preset.api_version
  names[#names + 1] = api_version or ""
  return { api_version = api_version, quirks = quirks, key = table.concat(names, " ") }
end

local function headers_of(given, top, preset)
  local headers = {}
  for _, source in ipairs { preset and preset.headers or {}, over(given, top, "headers") or {} } do
    for name, value in pairs(source) do
      headers[name] = value
    end
  end
  return headers
end

-- The name of a format; what it is called elsewhere will do.
local function format_of(name, path)
  name = providers.aliases[name] or name
  known(providers.formats, name, path .. (path == "" and "" or ".") .. "provider", "provider")
  return name
end

local function resolve_endpoint(given, top, context, path)
  local where = path == "" and "base_url" or path .. ".url"
  local preset = known(presets, given.preset, path .. ".preset", "preset") or context.preset
  local parsed = read_url(given.url or given.preset and preset.base_url or context.base_url, where,
    context.allow_plaintext)
  local endpoint = {
    url = parsed.text, host = parsed.host, port = parsed.port,
    name = unique_name(context.names, parsed.host .. ":" .. parsed.port, given.name, path),
    weight = given.weight or 1, priority = given.priority or 1,
    models = given.models or { rename = {} },
    provider = format_of(given.provider or given.preset and preset.provider or context.provider, path),
    preset = preset, traits = traits_of(given, top, preset),
    keys = keys_of(given, top, preset, context.environment),
    headers = headers_of(given, top, preset),
    proxy = over(given, top, "proxy") or network.environment_proxy(parsed, context.proxies),
    http_version = over(given, top, "http_version") or "auto",
    rate = fill_rate(switch(endpoint_field.rate, given.rate), path .. ".rate"),
    concurrency = switch(endpoint_field.concurrency, given.concurrency),
    prices = given.prices and prices.resolve(given.prices) or given.prices,
  }
  for key in pairs(inherited) do
    endpoint[key] = switch(endpoint_field[key], over(given, top, key), top_field[key].default)
  end
  check_bounds(endpoint.concurrency, path .. ".concurrency")
  check_breaker(endpoint.breaker, over(given, top, "breaker"), given.breaker and path .. ".breaker" or "breaker")
  check.bound_headers(endpoint.headers, schema.max_line_headers, path == "" and "headers" or path .. ".headers",
    " with the client's")
  if endpoint.breaker and not endpoint.breaker.lease then
    endpoint.breaker.lease = math.min(endpoint.timeout.attempt, LONGEST_LEASE)
  end
  return endpoint
end

-- encodes: the user's own function, which may write what ours cannot.
local function resolve_fallbacks(fallbacks, endpoints, path, encodes)
  local index = {}
  for i, endpoint in ipairs(endpoints) do
    index[endpoint.name] = i
  end
  local resolved, targets = {}, #endpoints
  for i, fallback in ipairs(fallbacks or {}) do
    local at = check.join(path, i)
    known(index, fallback.endpoint, at .. ".endpoint", "endpoint")
    if fallback.request and not encodes then
      form.check_writable(fallback.request, at .. ".request")
    end
    targets = targets + (fallback.endpoint and 1 or #endpoints)
    resolved[i] = { model = fallback.model, endpoint = index[fallback.endpoint], request = fallback.request }
  end
  if targets > schema.max_targets then
    check.fail(path, "endpoints x (1 + fallbacks) may be %d, got %d: a fallback that names its endpoint counts once",
      schema.max_targets, targets)
  end
  return resolved
end

local function resolve(given, environment)
  if type(given) ~= "table" then
    check.fail("surefoot.new", "expected a table of configuration, got %s", check.show(given))
  end
  local top = check.fields(schema.top, given, "")
  local preset = known(presets, top.preset, "preset", "preset")
  local context = {
    base_url = top.base_url or preset and preset.base_url,
    provider = top.provider or preset and preset.provider or "openai",
    preset = preset, names = {}, allow_plaintext = top.allow_plaintext, environment = environment or os.getenv,
    proxies = environment and function() end or os.getenv, -- where another one is given there is no network
  }
  if not context.base_url and not top.endpoints then
    check.fail("surefoot.new", "where to? Give one of preset, base_url or endpoints")
  elseif top.endpoints and #top.endpoints == 0 then
    check.fail("endpoints", "the list is empty")
  elseif top.base_url then
    read_url(top.base_url, "base_url", top.allow_plaintext)
  end
  local filled = check.fill_fields(schema.top, top)
  if top.json and not top.json.encode and not top.json.decode then
    check.fail("json", "has neither encode nor decode")
  end
  local config = {
    model = top.model, timeout = filled.timeout, retry = filled.retry,
    rate = fill_rate(switch(top_field.rate, top.rate), "rate"),
    concurrency = check_bounds(filled.concurrency, "concurrency"), routing = filled.routing, limits = filled.limits,
    keepalive = filled.keepalive, json = top.json, prices = prices.resolve(top.prices),
    continue_on_length = filled.continue_on_length, resume = filled.resume, hedge = switch(top_field.hedge, top.hedge),
    coalesce = switch(top_field.coalesce, top.coalesce), health = check_health(switch(top_field.health, top.health)),
    log = top.log or nil, shared = top.shared or nil, spend = top.spend and filled.spend or nil,
    endpoints = {},
  }
  for i, endpoint in ipairs(top.endpoints or { {} }) do
    config.endpoints[i] = resolve_endpoint(endpoint, top, context, top.endpoints and "endpoints[" .. i .. "]" or "")
    config.prices = config.prices or config.endpoints[i].prices and {} or nil -- nil: nothing has a price
  end
  config.fallbacks = resolve_fallbacks(top.fallbacks, config.endpoints, "fallbacks", top.json and top.json.encode)
  if config.spend and not config.prices then
    check.fail("spend", "needs `prices`, to know what is spent: prices = true takes the built-in table")
  end
  return config
end

--- Checks a configuration and completes it. Throws a message without a position.
---@param given surefoot.Config
---@param environment (fun(name: string): string?)? where presets look for keys (default os.getenv)
---@return table config
function M.resolve(given, environment)
  return resolve(given, environment)
end

-- What a call says of hedging; what it does not say is as the client has it.
local function resolve_hedge(given, client)
  local hedge = {}
  for _, field in ipairs(top_field.hedge.fields) do
    local name = field.name
    hedge[name] = type(given) == "table" and given[name] or client and client[name]
  end
  return check.fill(top_field.hedge, hedge)
end

--- Checks the options of one call. Throws a message without a position.
---@param given surefoot.CallOptions?
---@param config table a resolved configuration
---@return table options
function M.options(given, config)
  if given == nil then
    return {}
  elseif type(given) ~= "table" then
    check.fail("options", "expected a table, got %s", check.show(given))
  end
  local options = check.fields(schema.options, given, "")
  if options.idempotency_key and options.idempotency_key:find "[%z\1-\31\127]" then
    check.fail("idempotency_key", "contains a control character")
  end
  if options.hedge then
    options.hedge = resolve_hedge(options.hedge, config.hedge)
  end
  if options.coalesce then
    options.coalesce = config.coalesce or check.fill(top_field.coalesce, true)
  end
  trace.apply(options)
  options.fallbacks = options.fallbacks
    and resolve_fallbacks(options.fallbacks, config.endpoints, "fallbacks", config.json and config.json.encode)
  return options
end

--- The reference of all keys as Markdown, made from the same table that checks them.
---@return string
function M.reference()
  return table.concat({
    "### Client", "", "Keys marked * may also be given per endpoint, where they win.", "", text.reference(schema.top),
    "### Endpoint", "", text.reference(schema.own_endpoint),
    "### Call options", "", text.reference(schema.options),
  }, "\n")
end

return M
