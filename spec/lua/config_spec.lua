local config = require "surefoot.config"

local function environment(variables)
  return function(name)
    return (variables or {})[name]
  end
end

local function resolve(given, variables)
  return config.resolve(given, environment(variables))
end

local function problem(given, variables)
  local ok, message = pcall(resolve, given, variables)
  assert.is_false(ok, "expected to be refused")
  return message
end

local url = "https://api.example.com/v1"

describe("config", function()
  it("has the defaults of the design", function()
    local c = resolve { base_url = url }
    assert.same({ connect = 10, first_token = 60, idle = 30, attempt = 120, total = 300 }, c.timeout)
    assert.same({
      max_attempts = 5, strategy = "exponential", base_delay = 0.5, throttled_base_delay = 1, max_delay = 60,
        jitter = "full",
      budget = { capacity = 500, transient_cost = 14, throttled_cost = 5, floor_per_second = 1 },
    }, c.retry)
    assert.same({ limit = 100, queue = 1000, adaptive = false, min = 1, max = 200 }, c.concurrency)
    assert.same({ strategy = "latency", decay = 10, slow_start = 60, penalty = 5 }, c.routing)
    assert.same({
      response_bytes = 67108864, event_bytes = 16777216, header_bytes = 262144, stream_buffer_bytes = 1048576,
        json_depth = 128,
    }, c.limits)
    assert.same({ idle = 50, age = 600 }, c.keepalive)
    assert.is_nil(c.rate)
    local e = c.endpoints[1]
    assert.equal(1, #c.endpoints)
    assert.equal("api.example.com:443", e.name)
    assert.equal(url, e.url)
    assert.equal("openai", e.provider)
    assert.same({ 1, 1 }, { e.weight, e.priority })
    assert.same({}, e.keys)
    assert.same({ connect = 10, first_token = 60, idle = 30, attempt = 120 }, e.timeout)
    assert.same({
      failure_threshold = 5, failure_ratio = 0.5, min_calls = 20, window = 30, slow_ratio = 0.5, recovery_timeout = 5,
      max_recovery_timeout = 60, half_open_requests = 1, lease = 120, jitter = 0.1,
    }, e.breaker)
    assert.same({ verify = true }, e.tls)
    assert.equal("auto", e.http_version)
    assert.is_nil(e.rate)
    assert.is_nil(e.concurrency)
  end)

  it("lets an endpoint override what the client says, field by field", function()
    local c = resolve {
      timeout = { connect = 3, idle = 7 }, breaker = { failure_threshold = 9 },
        headers = { ["X-A"] = "1", ["X-B"] = "1" },
      rate = { requests_per_second = 5, tokens_per_minute = 6000 }, api_key = "k0",
      endpoints = {
        { url = url, name = "a" },
        { url = "https://b.example.com/v1/", timeout = { idle = 1, attempt = 50 }, breaker = { window = 10 },
          api_key = { "k1", "k2" },
          headers = { ["x-b"] = "2" }, rate = { requests_per_second = 0.5 }, concurrency = { limit = 3 }, priority = 2,
            weight = 0.5 },
        { url = "https://c.example.com", breaker = false, rate = false },
      },
    }
    local a, b, d = c.endpoints[1], c.endpoints[2], c.endpoints[3]
    assert.same({ connect = 3, first_token = 60, idle = 1, attempt = 50 }, b.timeout)
    assert.equal(7, a.timeout.idle)
    assert.same({ 9, 10, 50 }, { b.breaker.failure_threshold, b.breaker.window, b.breaker.lease })
    assert.is_nil(d.breaker)
    assert.same({ ["x-a"] = "1", ["x-b"] = "2" }, b.headers)
    assert.same({ { "k0" }, { "k1", "k2" }, { "k0" } }, { a.keys, b.keys, d.keys })
    assert.same({ requests_per_second = 5, burst = 5, tokens_per_minute = 6000, token_burst = 6000, adaptive = true },
      c.rate)
    assert.same({ requests_per_second = 0.5, burst = 1, adaptive = true }, b.rate)
    assert.is_nil(a.rate)
    assert.same({ limit = 3, adaptive = false, min = 1, max = 200 }, b.concurrency)
    assert.equal("https://b.example.com/v1", b.url)
  end)

  it("knows first_byte given from first_byte left alone", function()
    assert.is_nil(resolve({ base_url = url }).endpoints[1].timeout.first_byte)
    assert.equal(9, resolve({ base_url = url, timeout = { first_byte = 9 } }).endpoints[1].timeout.first_byte)
  end)

  it("takes presets, and their keys from the environment", function()
    local e = resolve({ preset = "groq" }, { GROQ_API_KEY = "gsk_1" }).endpoints[1]
    assert.equal("https://api.groq.com/openai/v1", e.url)
    assert.same({ "gsk_1" }, e.keys)
    assert.same({}, resolve({ preset = "ollama" }).endpoints[1].keys)
    assert.same({ "own" }, resolve({ preset = "openai", api_key = "own" }).endpoints[1].keys)
    assert.equal(url, resolve({ preset = "openai", api_key = "k", base_url = url }).endpoints[1].url)
    assert.equal("environment variable GROQ_API_KEY: contains a line break or a control character: was it read from "
      .. "a file " .. "with its end of line?", problem({ preset = "groq" }, { GROQ_API_KEY = "gsk_1\n" }))
  end)

  it("gives every endpoint a name of its own", function()
    local c = resolve { endpoints = { { url = url }, { url = url .. "/x" }, url, { url = url, name = "mine" } } }
    assert.same({ "api.example.com:443", "api.example.com:443#2", "api.example.com:443#3", "mine" },
      { c.endpoints[1].name, c.endpoints[2].name, c.endpoints[3].name, c.endpoints[4].name })
  end)

  it("reads models and fallbacks", function()
    local c = resolve {
      endpoints = { { url = url, name = "a", models = { "m", "n", long = "short" } }, { url = url, name = "b" } },
      fallbacks = { "n", { model = "o", endpoint = "b", request = { temperature = 0 } } },
    }
    assert.same({ only = { m = true, n = true }, rename = { long = "short" } }, c.endpoints[1].models)
    assert.same({ { model = "n" }, { model = "o", endpoint = 2, request = { temperature = 0 } } }, c.fallbacks)
  end)

  it("takes switches and short forms", function()
    local c = resolve { base_url = url, routing = "round_robin", rate = true, breaker = true,
      retry = { budget = false, jitter = 0.25 } }
    assert.equal("round_robin", c.routing.strategy)
    assert.same({ adaptive = true }, c.rate)
    assert.equal(5, c.endpoints[1].breaker.failure_threshold)
    assert.is_false(c.retry.budget)
    assert.equal(0.25, c.retry.jitter)
    assert.same({ ["m"] = { input = 1, output = 2 } },
      resolve({ base_url = url, prices = { m = { input = 1, output = 2 } } }).prices)
  end)

  it("takes a whole JSON library, and its two functions from it", function()
    local library = { encode = tostring, decode = tonumber, null = {}, use_lpeg = print }
    local resolved = config.resolve { base_url = "https://api.example.com/v1", json = library }
    assert.same({ encode = tostring, decode = tonumber }, resolved.json)
  end)

  it("takes math.huge where it means none", function()
    local c = resolve { base_url = url, timeout = { total = math.huge, attempt = math.huge, connect = math.huge } }
    assert.equal(math.huge, c.endpoints[1].timeout.attempt)
  end)

  it("does not touch or keep the table it was given", function()
    local given = { base_url = url, timeout = { connect = 1 }, headers = { a = "b" } }
    local c = resolve(given)
    given.timeout.connect = 2
    assert.equal(1, c.timeout.connect)
    assert.same({ base_url = url, timeout = { connect = 2 }, headers = { a = "b" } }, given)
  end)

  it("accepts what is switched off", function()
    local off = { base_url = url, hedge = false, resume = "off", continue_on_length = 0, coalesce = false,
      health = false,
      spend = false, shared = false, log = false }
    assert.truthy(resolve(off))
    assert.same({}, { resolve(off).coalesce, resolve(off).health, resolve(off).shared })
    assert.matches("^hedge%.quantil: unknown key; did you mean \"quantile\"%?",
      problem { base_url = url, hedge = { quantil = 1 } })
  end)

  local refused = {
    { {}, "surefoot.new: where to? Give one of preset, base_url or endpoints" },
    { "x", 'surefoot.new: expected a table of configuration, got "x"' },
    { { endpoints = {} }, "endpoints: the list is empty" },
    { { base_url = url, tiemout = {} }, 'tiemout: unknown key; did you mean "timeout"?' },
    { { base_url = url, [1] = 2 }, "[1]: unknown key; known are preset" },
    { { base_url = url, timeout = 5 }, "timeout: expected a table, got 5" },
    { { endpoints = { { url = url }, { url = url, timeout = { connect = -1 } } } },
      "endpoints[2].timeout.connect: expected seconds above 0 (math.huge: none), got -1" },
    { { endpoints = { { url = url, timeout = { conect = 1 } } } },
      'endpoints[1].timeout.conect: unknown key; did you mean "connect"?' },
    { { endpoints = { { url = url, timeout = { total = 1 } } } }, "endpoints[1].timeout.total: unknown key" },
    { { endpoints = { { url = url, concurrency = { queue = 1 } } } }, "endpoints[1].concurrency.queue: unknown key" },
    { { endpoints = { { url = url, retry = {} } } }, "endpoints[1].retry: unknown key" },
    { { endpoints = { { url = url }, nil, { url = url } } }, "endpoints[2]: the list has a hole here" },
    { { endpoints = { a = { url = url } } }, "endpoints.a: a list is expected here, without names" },
    { { endpoints = { {} } }, "endpoints[1].url: is required" },
    { { endpoints = { 7 } }, "endpoints[1]: expected an endpoint table, got 7" },
    { { base_url = url, timeout = { connect = 0 / 0 } },
      "timeout.connect: expected seconds above 0 (math.huge: none), got NaN" },
    { { base_url = url, timeout = { connect = "5" } },
      'timeout.connect: expected seconds above 0 (math.huge: none), got "5"' },
    { { base_url = url, retry = { base_delay = math.huge } },
      "retry.base_delay: expected seconds from 0 to 3600, got inf" },
    { { base_url = url, retry = { max_attempts = 0 } },
      "retry.max_attempts: expected a whole number from 1 to 100, got 0" },
    { { base_url = url, retry = { max_attempts = 1.5 } },
      "retry.max_attempts: expected a whole number from 1 to 100, got 1.5" },
    { { base_url = url, retry = { strategy = "expo" } },
      'retry.strategy: expected one of "exponential", "linear", "fibonacci", "decorrelated", '
        .. 'got "expo"; did you mean "exponential"?' },
    { { base_url = url, retry = { jitter = 2 } },
      'retry.jitter: expected one of "full", "equal", "none", or a number from 0 to 1, got 2' },
    { { base_url = url, retry = { on_status = { 503, 200 } } },
      "retry.on_status[2]: expected a whole number from 300 to 599, got 200" },
    { { base_url = url, routing = "fastest" }, "routing: expected one of" },
    { { base_url = url, concurrency = { min = 5, max = 4 } }, "concurrency.min: is above max (5 > 4)" },
    { { base_url = url, preset = "opnai" },
      'preset: no preset "opnai"; did you mean "openai"? known are anthropic, ' },
    { { preset = "openai" },
      "api_key: is required: none was given, and the environment variable OPENAI_API_KEY is not set" },
    { { base_url = url, provider = "opnai" }, 'provider: no provider "opnai"; did you mean "openai"?' },
    { { base_url = url, api_key = "" }, "api_key: expected a key (a string that is not empty), got an empty string" },
    { { base_url = url, api_key = "k\r\nx: y" }, "api_key: contains a line break" },
    { { base_url = url, api_key = { "a", "b\n" } }, "api_key[2]: contains a line break" },
    { { base_url = url, api_key = {} }, "api_key: the list of keys is empty" },
    { { base_url = url, api_key = 5 }, "api_key: expected a key (a string that is not empty), got a number" },
    { { base_url = url, headers = { ["x-a"] = "1\r\nx-b: 2" } },
      '["x-a"]: contains a line break or a control character' },
    { { base_url = url, headers = { ["x a"] = "1" } }, 'headers["x a"]: is no header name' },
    { { base_url = url, headers = { ["Content-Length"] = "1" } },
      'headers["Content-Length"]: is set by surefoot itself' },
    { { base_url = url, headers = { a = {} } }, "headers.a: expected a string, got a table" },
    { { base_url = url, headers = { "a" } }, "headers[1]: is no header name" },
    { { base_url = "api.example.com/v1" }, 'base_url: no scheme: got "api.example.com/...", begin with https://' },
    { { base_url = "ftp://example.com" }, "base_url: the scheme is neither https nor http" },
    { { base_url = "http://example.com/v1" }, "base_url: plain http to example.com would show the key" },
    { { endpoints = { { url = url }, { url = "https://u:p@example.com" } } },
      "endpoints[2].url: has credentials before the host" },
    { { base_url = "https://example.com/v1?key=s3cret" }, "base_url: has a query" },
    { { base_url = "https://example.com/v1#x" }, "base_url: has a fragment" },
    { { base_url = "https:///v1" }, "base_url: no host" },
    { { base_url = "https://a:99999/" }, "base_url: the port is out of range" },
    { { base_url = "https://a b/" }, "base_url: contains a space" },
    { { base_url = "https://a:b/" }, "base_url: the host is malformed" },
    { { endpoints = { { url = url, name = "a" }, { url = url, name = "a" } } },
      'endpoints[2].name: "a" names another endpoint already' },
    { { base_url = url, fallbacks = { { model = "m", endpoint = "hk" } } },
      'fallbacks[1].endpoint: no endpoint "hk"; known are api.example.com:443' },
    { { base_url = url, fallbacks = { {} } }, "fallbacks[1].model: is required" },
    { { base_url = url, fallbacks = { 5 } }, "fallbacks[1]: expected a model name" },
    { { base_url = url, json = { encode = 1 } }, "json.encode: expected a function, got 1" },
    { { base_url = url, model = "" }, 'model: expected a string that is not empty, got ""' },
    { { base_url = url, prices = { m = { inptu = 1 } } }, 'prices.m.inptu: unknown key; did you mean "input"?' },
    { { endpoints = { { url = url, models = { true } } } }, "endpoints[1].models[1]: expected a model name, got true" },
  }
  for _, case in ipairs(refused) do
    it("refuses: " .. case[2], function()
      local message = problem(case[1])
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_falsy(message:find("s3cret", 1, true))
    end)
  end

  it("permits plain http to this machine, and elsewhere when asked to", function()
    for _, host in ipairs { "localhost", "a.localhost", "127.0.0.1", "127.9.9.9:8080", "[::1]:80" } do
      assert.truthy(resolve { base_url = "http://" .. host .. "/v1" }, host)
    end
    assert.truthy(resolve { base_url = "http://10.0.0.1", allow_plaintext = true })
    for _, host in ipairs { "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "[::2]" } do
      assert.matches("plain http", problem { base_url = "http://" .. host })
    end
    assert.matches("^endpoints%[1%]%.url: plain http", problem { endpoints = { "http://a/v1" } })
  end)

  it("never shows a key or a header's value", function()
    for _, given in ipairs {
      { base_url = url, api_key = "s3cret\n" }, { base_url = url, api_key = { "s3cret\n" } },
        { base_url = url, headers = { a = "s3cret\n" } },
      { base_url = "https://s3cret@h/" }, { base_url = "s3cret" },
    } do
      assert.is_falsy(problem(given):find("s3cret", 1, true))
    end
  end)
end)

describe("call options", function()
  local c = resolve { base_url = url }
  local function options_problem(given)
    local ok, message = pcall(config.options, given, c)
    assert.is_false(ok)
    return message
  end

  it("are checked like the configuration", function()
    assert.same({}, config.options(nil, c))
    assert.same({ deadline = 5, timeout = { idle = 1 }, hedge = false, headers = { a = "1" } },
      config.options({ deadline = 5, timeout = { idle = 1 }, hedge = false, headers = { A = 1 } }, c))
    assert.equal('deadine: unknown key; did you mean "deadline"?', options_problem { deadine = 1 })
    assert.matches('^priority: expected one of "high", "normal", "low", got "hihg"; did you mean "high"%?',
      options_problem { priority = "hihg" })
    assert.equal("auto", config.options({ resume = "auto" }, c).resume)
    assert.matches('^resume: expected one of "off", "continue", "restart", "auto", got "atuo"; did you mean "auto"%?',
      options_problem { resume = "atuo" })
    local defaults = { quantile = 0.95, budget = 0.05, burst = 20, min_delay = 0.05, max = 1 }
    assert.same(defaults, config.options({ hedge = true }, c).hedge)
    defaults.max = 2
    local hedging = resolve { base_url = url, hedge = { max = 2 } }
    assert.same(defaults, hedging.hedge)
    defaults.quantile = 0.9
    assert.same(defaults, config.options({ hedge = { quantile = 0.9 } }, hedging).hedge)
    assert.matches("^idempotency_key: contains a line break", options_problem { idempotency_key = "a\r\nb" })
    assert.matches("^cancel: expected a surefoot.canceller%(%), got a table", options_problem { cancel = {} })
    assert.matches("^fallbacks%[1%]%.endpoint: no endpoint",
      options_problem { fallbacks = { { model = "m", endpoint = "x" } } })
    assert.matches("^options: expected a table", options_problem(5))
  end)
end)

describe("config.reference", function()
  it("lists every key with its default", function()
    local text = config.reference()
    local row = "| `timeout.connect` | seconds above 0 (math.huge: none) | 10 | name lookup, TCP and TLS |"
    assert.truthy(text:find(row, 1, true))
    assert.truthy(text:find("| `limits.response_bytes` | bytes from 1 KiB to 1 TiB | 64 MiB |", 1, true))
    for _, key in ipairs { "retry.budget.capacity", "breaker`*", "headers`*", "deadline", "weight", "hedge" } do
      assert.truthy(text:find("`" .. key, 1, true), key)
    end
  end)
end)
