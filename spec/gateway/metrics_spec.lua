-- /metrics and /status.json of a gateway: what workers counted, added up; on the simulated network.
local exposition = require "spec.lua.exposition"
local json = require "surefoot.json"
local metrics = require "surefoot.gateway.metrics"
local sim = require "spec.support.sim"
local status = require "surefoot.gateway.status"
local tally = require "surefoot.gateway.tally"
local worlds = require "spec.gateway.world"

local value = exposition.value

local function read(worker)
  return exposition.parse(metrics.text(worker.gateway))
end

-- What a page gets.
local function document(worker)
  return assert(json.decode(assert(json.encode(status.document(worker.gateway)))))
end

-- Keys as surefoot.gateway.keys has them.
local function book(...)
  local list = {}
  for i, numbers in ipairs { ... } do
    list[i] = { name = numbers.name, numbers = function()
      local copy = {}
      for name, one in pairs(numbers) do
        copy[name] = name ~= "name" and one or nil
      end
      return copy
    end }
  end
  return { list = list }
end

describe("the gateway's numbers", function()
  local world

  before_each(function()
    world = worlds.new()
  end)

  after_each(sim.settled)

  it("are those of all workers, whichever is asked", function()
    local a, b = world:worker(), world:worker()
    for i = 1, 3 do
      a:ended { seconds = 0.3 * i, stream = true, first_token = 0.1 }
      a:call()
    end
    b:ended { status = 429, kind = "rate_limited", endpoint = false, input_tokens = false, output_tokens = false }
    b:call()
    b:publish()
    local labels = { gen_ai_operation_name = "chat", gen_ai_request_model = "m", gen_ai_provider_name = "openai",
      server_address = "simulated.invalid", server_port = "443", surefoot_endpoint = "a" }
    for _, families in ipairs { read(a), read(b) } do
      assert.equal(3, value(families, "surefoot_gateway_requests_total",
        { gen_ai_operation_name = "chat", http_response_status_code = "200" }))
      assert.equal(1, value(families, "surefoot_gateway_requests_total", { http_response_status_code = "429" }))
      assert.equal(1, value(families, "surefoot_gateway_errors_total", { error_type = "rate_limited" }))
      assert.equal(0, value(families, "surefoot_gateway_requests_in_flight"))
      assert.equal(2, value(families, "surefoot_gateway_workers"))
      assert.equal(3, value(families, "gen_ai_client_operation_duration_seconds_count", labels))
      assert.near(1.8, value(families, "gen_ai_client_operation_duration_seconds_sum", labels), 1e-9)
      assert.equal(3, value(families, "gen_ai_client_operation_time_to_first_chunk_seconds_count", labels))
      assert.equal(1, value(families, "gen_ai_client_operation_duration_seconds_count",
        { error_type = "rate_limited" }))
      labels.gen_ai_token_type = "input"
      assert.equal(300, value(families, "gen_ai_client_token_usage_sum", labels))
      labels.gen_ai_token_type = nil
      assert.equal(4, value(families, "surefoot_attempts_total", { surefoot_endpoint = "a" }))
      assert.equal(4, value(families, "surefoot_calls_total"))
      assert.equal(2, value(families, "surefoot_breaker_state", { state = "closed" }))
      assert.equal(200, value(families, "surefoot_client_concurrency_limit"), "each worker has its own")
      assert.equal(1700000000, value(families, "surefoot_gateway_start_time_seconds"))
    end
  end)

  it("tell who asks at this moment", function()
    local a, b = world:worker(), world:worker()
    a.gateway.tally:began()
    b.gateway.tally:began()
    b:publish()
    assert.equal(2, value(read(a), "surefoot_gateway_requests_in_flight"))
    assert.equal(2, document(a).requests.in_flight)
  end)

  it("never go back when workers are killed, replaced or asked in turn", function()
    math.randomseed(7)
    local workers, told, ended = {}, {}, 0
    for i = 1, 3 do
      workers[i] = world:worker()
    end
    local function scrape(worker)
      for name, family in pairs(read(worker)) do
        for _, sample in ipairs(family.kind ~= "gauge" and family.samples or {}) do
          local labels = {}
          for label, text in pairs(sample.labels) do
            labels[#labels + 1] = label .. "=" .. text
          end
          table.sort(labels)
          local key = name .. sample.suffix .. table.concat(labels, ",")
          assert.is_true(sample.value >= (told[key] or 0), key)
          told[key] = sample.value
        end
      end
    end
    for _ = 1, 60 do
      world.now = world.now + math.random(0, 3)
      local i = math.random(#workers)
      local what = math.random(6)
      if what <= 2 then
        workers[i]:ended { seconds = math.random(), status = math.random() < 0.2 and 502 or 200 }
        workers[i]:call(1)
        ended = ended + 1
        workers[i]:publish()
      elseif what <= 4 then
        scrape(workers[i])
      elseif what == 5 then
        world:kill(workers[i])
        workers[i] = world:worker()
      else
        workers[i]:publish()
      end
    end
    world.now = world.now + 10
    scrape(workers[1])
    local sum = 0
    for key, count in pairs(told) do
      sum = sum + (key:find "^surefoot_gateway_requests_total" and count or 0)
    end
    assert.equal(ended, sum)
    assert.equal(ended, value(read(workers[1]), "surefoot_calls_total"))
  end)

  it("are told whatever bytes callers send for a model's name", function()
    local a = world:worker()
    for _, model in ipairs { "\255\0\t\n", "caf\195", "\237\160\128", ("\228\184\173"):rep(1000) } do
      a:ended { model = model }
    end
    assert.equal(4, value(read(a), "surefoot_gateway_requests_total"))
    assert.equal(4, document(a).requests.total)
  end)

  it("of a worker that is about to leave are published as its requests end", function()
    local a, b = world:worker(), world:worker()
    b.gateway.tally:began()
    b.exiting = true
    b:publish()
    assert.equal(1, value(read(a), "surefoot_gateway_workers"))
    assert.equal(1, value(read(a), "surefoot_gateway_requests_in_flight"))
    b:ended()
    world:kill(b)
    assert.equal(1, value(read(a), "surefoot_gateway_requests_total"))
    world.now = world.now + 60
    a:publish()
    assert.equal(1, value(read(a), "surefoot_gateway_requests_total"))
    assert.equal(0, value(read(a), "surefoot_gateway_requests_in_flight"))
  end)

  it("of a worker that leaves are counted on at once", function()
    local a, b = world:worker(), world:worker()
    b:ended()
    metrics.leave(b.gateway)
    assert.equal(1, value(read(a), "surefoot_gateway_workers"))
    assert.equal(1, value(read(a), "surefoot_gateway_requests_total"))
  end)

  it("say once that the dictionary is full, and go on", function()
    local a = world:worker()
    world.dict.capacity = 10
    a:ended()
    for _ = 1, 3 do
      assert.equal(1, value(read(a), "surefoot_gateway_requests_total"))
    end
    assert.equal(1, #a.complaints)
    assert.matches("no memory", a.complaints[1])
    assert.matches("lua_shared_dict surefoot_gateway is too small", a.complaints[1])
  end)

  it("tell of keys what all workers hold together", function()
    local one = { name = "team-a", in_flight = 2, concurrency = 5, spent = 0.5, limit = 10, resets_in = 60 }
    local a, b = world:worker { keys = book(one, { name = "b", in_flight = 0 }) }, world:worker { keys = book(one) }
    a:ended { key = "team-a" }
    a:ended { key = "team-a", status = 502, kind = "server", cost = false }
    b:ended { key = "team-a", cost = 0.25 }
    b:publish()
    local families = read(a)
    local key = { key = "team-a" }
    assert.equal(4, value(families, "surefoot_key_in_flight", key))
    assert.equal(10, value(families, "surefoot_key_concurrency_limit", key))
    assert.equal(1, value(families, "surefoot_key_spent_dollars", key))
    assert.equal(20, value(families, "surefoot_key_budget_dollars", key))
    assert.equal(3, value(families, "surefoot_key_requests_total", key))
    assert.near(0.251, value(families, "surefoot_key_cost_dollars_total", key), 1e-12)
    assert.is_nil(value(families, "surefoot_key_budget_dollars", { key = "b" }))
    local keys = document(a).keys
    local first, second = keys[1], keys[2]
    assert.same({ name = "team-a", in_flight = 4, concurrency = 10, spent = 1, limit = 20, resets_in = 60, requests = 3,
      failed = 1, refused = 0, tokens = { input = 300, output = 30 }, cost = 0.251 }, first)
    assert.equal("b", second.name)
    assert.is_nil(second.limit)
  end)

  it("please promtool #once", function()
    local a = world:worker { keys = book { name = 'k"1', in_flight = 1, spent = 1, limit = 2 } }
    a:ended { key = 'k"1', stream = true, first_token = 0.1 }
    a:ended { status = 502, kind = "server", model = "\255x" }
    a:call()
    assert.equal("", exposition.promtool(metrics.text(a.gateway)))
  end)
end)

describe("a status document", function()
  local world

  before_each(function()
    world = worlds.new()
  end)

  after_each(sim.settled)

  it("of a gateway that nobody has asked has all its parts", function()
    local text = assert(json.encode(status.document(world:worker().gateway)))
    assert.matches('"keys":%[%]', text)
    assert.matches('"by_status":%[%]', text)
    assert.matches('"errors":{}', text)
    local all = json.decode(text)
    assert.equal(require "surefoot.version", all.version)
    assert.equal(1, all.workers)
    assert.equal(0, all.uptime)
    assert.equal(0, all.requests.total)
    assert.is_nil(all.requests.recent.success_rate)
    assert.equal(60, #all.traffic.answered)
    assert.equal(1, #all.lines)
    local line = all.lines[1]
    assert.same({ "a", "openai", "simulated.invalid", 443, "closed", 0, 0 },
      { line.name, line.provider, line.address, line.port, line.breaker, line.in_flight, line.attempts })
    assert.is_nil(line.success_rate)
    assert.is_nil(line.recent.latency)
  end)

  it("tells of lines what they did in the last minutes, and since the beginning", function()
    local a = world:worker { lines = { a = { { status = 500 }, { after = 1.5, text = "x" } },
      b = { { after = 0.2, text = "x" } } } }
    a:call()
    a:call()
    a:publish()
    world.now = world.now + 200
    a:call()
    local all = document(a)
    assert.equal("a", all.lines[1].name)
    local line = all.lines[1]
    assert.equal(3, line.attempts)
    assert.equal(2, line.successes)
    assert.same({ server = 1 }, line.errors)
    assert.near(2 / 3, line.success_rate, 1e-3)
    assert.equal(3, line.recent.attempts)
    assert.near(1.5, line.recent.latency.p50, 0.15)
    assert.near(1.5, line.recent.latency.mean, 0.01)
    assert.equal(2, line.recent.latency.count)
    assert.equal(#all.buckets + 1, #line.recent.latency.counts)
    for i, count in ipairs(line.recent.latency.counts) do
      local holds = i > 1 and i <= #all.buckets and all.buckets[i - 1] < 1.5 and 1.5 <= all.buckets[i]
      assert.equal(holds and 2 or 0, count, i)
    end
    assert.equal(1, all.lines[2].retries)
    world.now = world.now + 200
    line = document(a).lines[1]
    assert.equal(3, line.attempts)
    assert.equal(1, line.recent.attempts)
    assert.equal(1, line.recent.success_rate)
    assert.same({}, line.recent.errors)
    world.now = world.now + 400
    line = document(a).lines[1]
    assert.equal(0, line.recent.attempts)
    assert.is_nil(line.recent.latency)
  end)

  it("shows the worst that any worker knows of a line", function()
    local bad = { lines = { a = { status = 500 } }, config = { retry = { max_attempts = 1 },
      breaker = { failure_threshold = 1, recovery_timeout = 60 } } }
    local a, b = world:worker(), world:worker(bad)
    b.lab:start()
    b.lab:pass(1)
    b:publish()
    local line = document(a).lines[1]
    assert.equal("open", line.breaker)
    assert.same({ open = 1, closed = 1 }, line.breakers)
    assert.near(60, line.breaker_seconds_left, 8)
    assert.equal(0, line.success_rate)
  end)

  it("does not count against a line what was called off", function()
    local a = world:worker { lines = { a = { after = 9, text = "x" }, b = { after = 0.1, text = "x" } },
      config = { hedge = { min_delay = 0.05 } } }
    a:call(30)
    a.lab:start { hedge = { min_delay = 0.05, quantile = 0.5 } }
    a.lab:pass(30)
    for _, line in ipairs(document(a).lines) do
      assert.is_true(line.success_rate == nil or line.success_rate == 1)
    end
  end)

  it("tells apart what failed, what was refused, and who left", function()
    local function outcome(code, kind, endpoint)
      return tally.outcome { status = code, kind = kind, endpoint = endpoint }
    end
    assert.equal("answered", outcome(200, nil, "a"))
    assert.equal("failed", outcome(200, "truncated", "a")) -- after the first byte
    assert.equal("failed", outcome(502, "server", "a"))
    assert.equal("failed", outcome(503, "circuit_open"))
    assert.equal("failed", outcome(429, "rate_limited", "a"))
    assert.equal("refused", outcome(429, "rate_limited"))
    assert.equal("refused", outcome(401, "unauthorized"))
    assert.equal("failed", outcome(401, "unauthorized", "a")) -- the gateway's own key
    assert.equal("refused", outcome(400, "invalid_request", "a"))
    assert.equal("failed", outcome(408, "deadline"))
    assert.equal("left", outcome(499, "cancelled", "a"))
    assert.equal("left", outcome(200, "cancelled", "a"))
    assert.equal("left", outcome(0, "cancelled"))
  end)

  it("has the traffic of five minutes in slots", function()
    local a = world:worker()
    a:ended()
    a:ended { status = 502, kind = "server" }
    a:ended { status = 401, kind = "unauthorized", endpoint = false }
    a:ended { status = 499, kind = "cancelled" }
    world.now = world.now + 100
    a:ended { stream = true, first_token = 0.25 }
    local all = document(a)
    assert.equal(5, all.traffic.seconds)
    assert.equal(world.now - world.now % 5 - 295, all.traffic.first)
    assert.equal(1, all.traffic.answered[60])
    assert.same({ 1, 1, 1, 1 }, { all.traffic.answered[40], all.traffic.failed[40], all.traffic.refused[40],
      all.traffic.left[40] })
    assert.equal(440, all.traffic.tokens[40])
    local recent = all.requests.recent
    assert.same({ 2, 1, 1, 1 }, { recent.answered, recent.failed, recent.refused, recent.left })
    assert.equal(1, recent.per_minute)
    assert.near(2 / 3, recent.success_rate, 1e-3)
    assert.near(0.005, recent.cost, 1e-9)
    assert.equal(2, recent.latency.count)
    assert.equal(1, recent.first_token.count)
    assert.same({ { status = 200, count = 2 }, { status = 401, count = 1 }, { status = 499, count = 1 },
      { status = 502, count = 1 } }, all.requests.by_status)
    assert.same({ server = 1, unauthorized = 1, cancelled = 1 }, all.requests.errors)
  end)

  it("holds no secret", function()
    local a = world:worker { config = { api_key = "sk-secret-1234567890",
      headers = { ["x-api-key"] = "other-secret-1" } } }
    a:ended()
    a:call()
    for _, text in ipairs { assert(json.encode(status.document(a.gateway))), metrics.text(a.gateway) } do
      assert.is_nil(text:find("secret", 1, true))
    end
  end)
end)
