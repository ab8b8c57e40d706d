-- client:metrics(): what a client has done, as Prometheus reads it; on the simulated network, where every number is
-- known.
local buckets = require "surefoot.client.buckets"
local exposition = require "spec.lua.exposition"
local metrics = require "surefoot.client.metrics"
local operations = require "surefoot.client.operations"
local sim = require "spec.support.sim"
local writer = require "surefoot.client.exposition"

local value = exposition.value

-- How many there are of these.
local function size(map)
  local count = 0
  for _ in pairs(map) do
    count = count + 1
  end
  return count
end

describe("client:metrics", function()
  after_each(sim.settled)

  it("tells what was asked, of which line, how it ended and how long it took", function()
    local lab = sim.lab({
      a = { { after = 0.5, status = 500 }, { after = 0.015, text = "one two" }, { after = 3, text = "x" } },
      b = { { after = 0.7, text = "x" } },
    }, { prices = { simulated = { input = 1000, output = 2000 } } })
    for _ = 1, 3 do
      lab:start()
      lab:pass(10)
    end
    local stats, families = lab.client:stats(), exposition.parse(lab.client:metrics())
    assert.equal(3, value(families, "surefoot_calls_total"))
    assert.equal(3, value(families, "surefoot_call_successes_total"))
    assert.equal(0, value(families, "surefoot_calls_in_flight"))
    assert.equal(0, value(families, "surefoot_queue"))
    assert.equal(stats.retry_budget, value(families, "surefoot_retry_budget"))
    assert.equal(100, value(families, "surefoot_client_concurrency_limit"))
    local a, b = { surefoot_endpoint = "a" }, { surefoot_endpoint = "b" }
    assert.equal(3, value(families, "surefoot_attempts_total", a))
    assert.equal(1, value(families, "surefoot_attempts_total", b))
    assert.equal(1, value(families, "surefoot_retries_total", b))
    assert.equal(2, value(families, "surefoot_attempt_successes_total", a))
    assert.equal(1, value(families, "surefoot_attempt_errors_total",
      { surefoot_endpoint = "a", error_type = "server" }))
    assert.equal(0, value(families, "surefoot_in_flight", a))
    assert.equal(1, value(families, "surefoot_breaker_state", { surefoot_endpoint = "a", state = "closed" }))
    assert.equal(0, value(families, "surefoot_breaker_state", { surefoot_endpoint = "a", state = "open" }))
    local tokens = stats.endpoints.a.tokens
    assert.equal(tokens.output, value(families, "surefoot_tokens_total",
      { surefoot_endpoint = "a", gen_ai_token_type = "output" }))
    assert.near(stats.endpoints.a.cost, value(families, "surefoot_cost_dollars_total", a), 1e-9)
    for le, count in pairs { ["0.01"] = 0, ["0.02"] = 1, ["2.56"] = 1, ["5.12"] = 2 } do
      local labels = { surefoot_endpoint = "a", le = le }
      assert.equal(count, value(families, "surefoot_attempt_duration_seconds_bucket", labels))
    end
    assert.near(3.015, value(families, "surefoot_attempt_duration_seconds_sum", a), 1e-6)
  end)

  it("has the names of OpenTelemetry, with the provider's and the server's", function()
    local lab = sim.lab({ a = { { after = 0.25, text = "one two" } } }, {})
    lab:start()
    lab:pass(1)
    local families = exposition.parse(lab.client:metrics())
    local labels = { gen_ai_operation_name = "chat", gen_ai_provider_name = "openai",
      gen_ai_response_model = "simulated", server_address = "simulated.invalid", server_port = "443",
      surefoot_endpoint = "a" }
    local name = "gen_ai_client_operation_duration_seconds"
    assert.equal(1, value(families, name .. "_count", labels))
    assert.equal(0.25, value(families, name .. "_sum", labels))
    local bounds = {}
    for _, sample in ipairs(families[name].samples) do
      bounds[#bounds + 1] = sample.labels.le
    end
    assert.equal("0.01 0.02 0.04 0.08 0.16 0.32 0.64 1.28 2.56 5.12 10.24 20.48 40.96 81.92 +Inf",
      table.concat(bounds, " "))
    local input, output = {}, {}
    for label, text in pairs(labels) do
      input[label], output[label] = text, text
    end
    input.gen_ai_token_type, output.gen_ai_token_type = "input", "output"
    local usage = lab.client:stats().tokens
    assert.equal(usage.input, value(families, "gen_ai_client_token_usage_sum", input))
    assert.equal(usage.output, value(families, "gen_ai_client_token_usage_sum", output))
    assert.is_nil(families.gen_ai_client_operation_time_to_first_chunk_seconds, "nothing was streamed")
  end)

  it("tells when streams began", function()
    local lab = sim.lab({ a = { { after = 0.1, headers = { ["content-type"] = "text/event-stream" }, events = {
      { at = 0.3, data = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n' },
      { at = 0.9, data = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' },
    } } } }, {})
    lab.sim:spawn(function()
      assert(assert(lab.client:stream "Hi"):result())
    end)
    lab:pass(5)
    local families = exposition.parse(lab.client:metrics())
    local name = "gen_ai_client_operation_time_to_first_chunk_seconds"
    assert.equal(1, value(families, name .. "_count"))
    assert.equal(0.3, value(families, name .. "_sum"))
    assert.equal(0.9, value(families, "gen_ai_client_operation_duration_seconds_sum"))
    assert.is_nil(families.gen_ai_client_token_usage, "the provider told no usage, and estimates are no usage")
  end)

  it("counts what failed by its kind, and shows an open circuit", function()
    local lab = sim.lab({ a = { { after = 0.1, status = 500 } } }, {
      retry = { max_attempts = 1 }, breaker = { failure_threshold = 2, recovery_timeout = 60 },
    })
    for _ = 1, 3 do
      lab:start({ deadline = 5 })
      lab:pass(6)
    end
    local families = exposition.parse(lab.client:metrics())
    assert.equal(2, value(families, "surefoot_call_errors_total", { error_type = "server" }))
    assert.equal(1, value(families, "surefoot_call_errors_total", { error_type = "circuit_open" }))
    assert.equal(1, value(families, "surefoot_breaker_state", { state = "open" }))
    assert.equal(0, value(families, "surefoot_breaker_state", { state = "closed" }))
  end)

  it("is well-formed before the first call, and without a circuit breaker", function()
    local lab = sim.lab({ a = {} }, { breaker = false })
    local families = exposition.parse(lab.client:metrics())
    assert.equal(0, value(families, "surefoot_calls_total"))
    assert.is_nil(families.surefoot_breaker_state)
    assert.is_nil(families.surefoot_attempt_duration_seconds)
  end)

  it("gives every sample the caller's labels", function()
    local lab = sim.lab({ a = { { text = "x" } } }, {})
    lab:start()
    lab:pass(1)
    local text = lab.client:metrics { labels = { service = 'bot "b"\\\n', zone = 1 } }
    for _, family in pairs(exposition.parse(text)) do
      for _, sample in ipairs(family.samples) do
        assert.equal('bot "b"\\\n', sample.labels.service)
        assert.equal("1", sample.labels.zone)
      end
    end
  end)

  it("refuses labels that are none, or its own", function()
    local lab = sim.lab({ a = {} }, {})
    for _, name in ipairs { "le", "state", "surefoot_endpoint", "gen_ai_x", "server_port", "error_type", "a-b", "1a",
      "__a", "", 1 } do
      assert.has_error(function() lab.client:metrics { labels = { [name] = "x" } } end)
    end
    assert.has_error(function() lab.client:metrics "x" end, "client:metrics: expected a table of options, got a string")
    assert.has_error(function() lab.client.metrics() end)
  end)

  it("pleases promtool #once", function()
    local lab = sim.lab({ a = { { after = 0.5, status = 500 }, { text = "x" } } }, {})
    lab:start()
    lab:pass(10)
    assert.equal("", exposition.promtool(lab.client:metrics()))
  end)
end)

describe("the provider's name", function()
  local function vendor(config)
    local client = require("surefoot").new(config)
    local numbers = metrics.numbers(client)
    local _, line = next(numbers.counters.lines)
    client:close()
    return line.place.provider
  end

  it("is OpenTelemetry's, by the host or by the format", function()
    assert.equal("openai", vendor { base_url = "https://proxy.example.com/v1" })
    assert.equal("deepseek", vendor { preset = "deepseek", api_key = "sk-1" })
    assert.equal("mistral_ai", vendor { preset = "mistral", api_key = "k" })
    assert.equal("anthropic", vendor { preset = "anthropic", api_key = "sk-ant-1" })
    assert.equal("gcp.gemini", vendor { preset = "gemini", api_key = "k" })
    assert.equal("azure.ai.openai",
      vendor { provider = "azure", base_url = "https://x.openai.azure.com", api_key = "k" })
    assert.equal("openai", vendor { base_url = "https://evilapi.groq.com.example.com/v1" })
  end)
end)

describe("a histogram of buckets", function()
  it("puts a value that is a bound below it, and the next one above", function()
    for _, scale in ipairs { buckets.seconds, buckets.tokens } do
      for i, bound in ipairs(scale.bounds) do
        local histogram = buckets.new()
        buckets.record(histogram, scale, bound)
        assert.equal(1, histogram.buckets[tostring(i)], bound)
        buckets.record(histogram, scale, bound * (1 + 1e-15))
        buckets.record(histogram, scale, bound * (1 + 4e-16))
        assert.equal(2, histogram.buckets[tostring(i + 1)], bound)
      end
    end
  end)

  it("keeps what is below and above all bounds", function()
    local histogram = buckets.new()
    for _, x in ipairs { 0, 1e-9, 1e9 } do
      buckets.record(histogram, buckets.seconds, x)
    end
    assert.same({ ["1"] = 2, [tostring(#buckets.seconds.bounds + 1)] = 1 }, histogram.buckets)
    assert.same({ 2, 2 }, buckets.cumulative(histogram, buckets.seconds, { 1, #buckets.seconds.bounds }))
  end)

  it("knows quantiles to within a bucket, and the mean", function()
    local histogram = buckets.new()
    for i = 1, 1000 do
      buckets.record(histogram, buckets.seconds, i / 1000)
    end
    for _, q in ipairs { 0.1, 0.5, 0.9, 0.99 } do
      assert.near(q, buckets.quantile(histogram, buckets.seconds, q), q * 0.03)
    end
    assert.near(0.5005, buckets.mean(histogram, buckets.seconds), 1e-6)
    assert.is_nil(buckets.quantile(buckets.new(), buckets.seconds, 0.5))
    assert.is_nil(buckets.mean(buckets.new(), buckets.seconds))
  end)

  it("agrees with the core about every bound", function()
    local lab = sim.lab({ a = function(n)
      return { after = buckets.seconds.bounds[n], text = "x" }
    end }, { timeout = { total = 1e6, attempt = 1e6, first_byte = 1e6 } })
    for _ = 1, #buckets.seconds.bounds do
      lab:start()
      lab:pass(400)
    end
    local latency = metrics.numbers(lab.client).counters.lines.a.latency
    for i = 1, #buckets.seconds.bounds do
      assert.equal(1, latency.buckets[tostring(i)], i)
    end
    assert.equal(#buckets.seconds.bounds, latency.count)
    sim.settled()
  end)
end)

describe("the core's histograms", function()
  it("refuse bounds that are none", function()
    local lab = sim.lab({ a = {} }, {})
    local core = lab.client.core
    for _, bad in ipairs { {}, { 1, 1 }, { 2, 1 }, { -1 }, { 0 / 0 }, { "x" }, { math.huge } } do
      assert.has_error(function() core:histograms(bad) end)
    end
    assert.has_error(function() core:histograms() end)
    assert.same({ endpoints = { {} } }, core:histograms { 1 })
  end)
end)

describe("operations", function()
  it("give a model that nobody served no series of its own, and bound how many there are", function()
    local counted = operations.new()
    for i = 1, 1000 do
      operations.count(counted, "chat", "junk-" .. i, nil, "not_found", 0.01)
    end
    assert.equal(1, size(counted.series))
    for i = 1, 1000 do
      operations.count(counted, "chat", "real-" .. i, "a", nil, 0.01)
    end
    assert.equal(102, size(counted.series))
    assert.equal(900, counted.series["chat\tother\ta\t"].duration.count)
    assert.equal(1000, counted.series["chat\t\t\tnot_found"].duration.count)
    operations.count(counted, "chat", "real-7", nil, "queue_full", 0.01)
    assert.equal(1, counted.series["chat\treal-7\t\tqueue_full"].duration.count)
  end)

  it("write names well-formed, whatever a caller calls a model", function()
    local counted, out = operations.new(), writer.new()
    for _, model in ipairs { "a\tb\n", '"}{', "\255\254", ("x"):rep(500), "\\" } do
      operations.count(counted, "chat", model, "a", nil, 0.01)
    end
    operations.write(out, counted.series, {}, "gen_ai_request_model")
    local families = exposition.parse(out:text())
    local seen = {}
    for _, sample in ipairs(families.gen_ai_client_operation_duration_seconds.samples) do
      seen[sample.labels.gen_ai_request_model] = true
    end
    assert.same({ ["a?b?"] = true, ['"}{'] = true, ["??"] = true, [("x"):rep(120)] = true, ["\\"] = true }, seen)
  end)
end)
