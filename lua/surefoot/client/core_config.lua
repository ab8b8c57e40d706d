--- The configuration in the words of the C core.

local copy = require "surefoot.copy"
local header_lines = require "surefoot.client.header_lines"
local providers = require "surefoot.provider"
local schema = require "surefoot.config.schema"

local function key_headers(endpoint)
  local auth = providers.formats[endpoint.provider].auth
  if type(endpoint.keys) == "function" then
    return { auth "" } -- its place: filled before the first call
  end
  local lines = {}
  for i, key in ipairs(endpoint.keys) do
    lines[i] = auth(key)
  end
  return lines
end

local function resolve_entries(endpoint)
  local entries
  for host, address in pairs(endpoint.dns.hosts or {}) do
    entries = entries or {}
    entries[#entries + 1] = ("%s:%d:%s"):format(host, endpoint.port, address)
  end
  return entries
end

-- A plain call's first byte may take as long as the attempt, unless one is given; a stream's never.
local function timeouts(timeout)
  return copy({ stream_first_byte = timeout.first_byte or schema.stream_first_byte }, timeout)
end

local function endpoint_config(endpoint, keepalive, agent)
  local headers = copy({ ["user-agent"] = agent }, endpoint.headers)
  local tls, dns = endpoint.tls, endpoint.dns
  return {
    name = endpoint.name, url = endpoint.url, weight = endpoint.weight, priority = endpoint.priority,
    keys = key_headers(endpoint), headers = header_lines(headers), timeout = timeouts(endpoint.timeout),
    breaker = endpoint.breaker or false, rate = endpoint.rate, concurrency = endpoint.concurrency,
    proxy = endpoint.proxy or "",
    tls = tls, resolve = resolve_entries(endpoint), dns_cache = dns.cache, ip_version = dns.ip_version,
    doh_url = dns.doh_url, http_version = endpoint.http_version, keepalive = keepalive,
  }
end

---@param config table a resolved configuration
---@param agent string the User-Agent
---@return table
return function(config, agent)
  local retry, limits, routing = config.retry, config.limits, config.routing
  local core = {
    max_attempts = retry.max_attempts, strategy = retry.strategy, base_delay = retry.base_delay,
    throttled_base_delay = retry.throttled_base_delay, max_delay = retry.max_delay, jitter = retry.jitter,
    on_status = retry.on_status, budget = retry.budget, rate = config.rate, concurrency = config.concurrency,
    hint_cap = schema.hint_cap,
    routing = {
      strategy = routing.strategy, decay = routing.decay, slow_start = routing.slow_start, penalty = routing.penalty,
      explore = schema.explore,
    },
    hedge = config.hedge, shared = config.shared,
    limits = { response_bytes = limits.response_bytes, header_bytes = limits.header_bytes,
      event_bytes = limits.event_bytes, stream_buffer_bytes = limits.stream_buffer_bytes },
    endpoints = {},
  }
  for i, endpoint in ipairs(config.endpoints) do
    core.endpoints[i] = endpoint_config(endpoint, config.keepalive, agent)
  end
  return core
end
