-- Who may call the gateway, what for, and how much.

local cjson = require "cjson"
local lab = require "spec.gateway.lab"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local A, B, C = "sk-team-a-0123456789", "sk-team-b-0123456789", "sk-team-c-0123456789"
local D, E = "sk-team-d-0123456789", "sk-team-e-0123456789"
local CONFIG = [[{
  base_url = "%s", api_key = "sk-upstream-0123456789", http_version = "1.1", breaker = false, shared = "%s",
  retry = { max_attempts = 1 },
  prices = { m = { input = 1000, output = 1000 } },
  gateway = {
    admin_key = "the-operators-own-secret",
    models = { ["*"] = true, changed = { model = "m", request = { temperature = 0.5 } } },
    keys = {
      { name = "team-a", key = "]] .. A .. [[", models = { "m", "claude-*", "changed" }, concurrency = 1 },
      { name = "team-b", key = "]] .. B .. [[", rate = { requests_per_second = 0.01, burst = 2 } },
      { name = "team-d", key = "]] .. D .. [[", budget = { limit = 0.15, per = "day" } },
      { name = "team-e", key = "]] .. E .. [[", budget = { limit = 0.15, per = "day" } },
      { name = "team-c", key = "]] .. C .. [[", budget = { limit = 0.01, per = "day" } },
    },
  },
}]]

describe("a gateway with keys #once", function()
  local p, n, name

  setup(function()
    p = provider.start()
    name = "gateway-keys-" .. process.self()
    n = lab.start(CONFIG:format(p.lines.a.url, name), { workers = 2 })
  end)

  teardown(function()
    n:stop()
    process.capture("rm -f /dev/shm/surefoot-*-" .. name)
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  local function chat(secret, more, headers)
    headers = headers or { Authorization = secret and "Bearer " .. secret }
    return lab.ask(n, "/v1/chat/completions", lab.question("hello", more), headers)
  end

  it("lets nobody in without one", function()
    for _, headers in ipairs { {}, { Authorization = "Bearer sk-team-x-0123456789" }, { ["x-api-key"] = "sk" },
      { Authorization = "Basic " .. A } } do
      local response = chat(nil, {}, headers)
      assert.same({ 401, "invalid_api_key", "Bearer" }, { response.status, response.json.error.code,
        response.headers["www-authenticate"] })
      assert.is_nil(response.body:find("sk-team-x", 1, true))
    end
    assert.equal(401, lab.ask(n, "/v1/models").status)
    assert.equal(0, p:counters("a").requests)
  end)

  it("knows them in each API's header", function()
    assert.equal(200, chat(A).status)
    assert.equal(200, chat(nil, {}, { ["x-api-key"] = A }).status)
    assert.equal("Bearer sk-upstream-0123456789", p:counters("a").last_headers.authorization)
    assert.is_nil(p:counters("a").last_headers["x-api-key"])
  end)

  it("gives each its models", function()
    local response = chat(A, { model = "gpt-5" })
    assert.same({ 403, "model_not_found", 'this key may not use the model "gpt-5"' },
      { response.status, response.json.error.code, response.json.error.message })
    assert.equal(200, chat(A, { model = "claude-9" }).status)
    assert.equal(403, chat(A, { fallbacks = { "gpt-5" } }).status)
    local smuggled = '{"model":"m","mod\\u0065l":"gpt-5","messages":[]}'
    assert.equal(400, lab.ask(n, "/v1/chat/completions", smuggled, { Authorization = "Bearer " .. A }).status)
  end)

  it("no others by the list that some relays take for fallbacks", function()
    local response = chat(A, { models = { "gpt-5" } })
    assert.same({ 400, "models", 0 }, { response.status, response.json.error.param, p:counters("a").requests })
  end)

  it("takes a request for what it may use, however much it says", function()
    local body = [[{"model":"m","max_tokens":1e999,"messages":[{"role":"user","content":"hello"}]}]]
    local response = lab.ask(n, "/v1/chat/completions", body, { Authorization = "Bearer " .. A })
    assert.equal(200, response.status, response.body)
    assert.equal(body, p:counters("a").last_body)
  end)

  it("asks for the usage of a stream also where it changes the request", function()
    local response = chat(A, { model = "changed", stream = true })
    assert.equal(200, response.status, response.body)
    local sent = cjson.decode(p:counters("a").last_body)
    assert.same({ 0.5, { include_usage = true } }, { sent.temperature, sent.stream_options })
    assert.is_nil(response.body:find('"prompt_tokens"', 1, true))
  end)

  for options, sent in pairs {
    ["null"] = { include_usage = true }, ["{}"] = { include_usage = true },
    ['{"include_usage":false}'] = { include_usage = true },
    ['{"include_usage":null,"include_obfuscation":false}'] = { include_usage = true, include_obfuscation = false },
  } do
    it("asks for the usage of a stream, and keeps it to itself, also where a caller says " .. options, function()
      local body = ('{"stream_options":%s,"stream":true,"model":"%%s","messages":[],"seed":7}'):format(options)
      for _, model in ipairs { "m", "changed" } do
        local response = lab.ask(n, "/v1/chat/completions", body:format(model), { Authorization = "Bearer " .. A })
        assert.equal(200, response.status, response.body)
        assert.same(sent, cjson.decode(p:counters("a").last_body).stream_options)
        assert.is_nil(response.body:find('"prompt_tokens"', 1, true))
        assert.truthy(response.body:find("[DONE]", 1, true))
      end
    end)
  end

  it("shows the usage of a stream to who asks for it", function()
    local response = chat(A, { stream = true, stream_options = { include_usage = true } })
    assert.truthy(response.body:find('"prompt_tokens"', 1, true))
  end)

  it("one call at a time", function()
    p:profile("a", { fault = "hang" })
    local slow = lab.open(n, "/v1/chat/completions", lab.question(), { Authorization = "Bearer " .. A })
    assert(p:wait("a", function(c) return c.in_flight == 1 end))
    local response = chat(A)
    assert.same({ 429, "rate_limit_error" }, { response.status, response.json.error.type })
    slow:close() -- who leaves gives back what it held
    assert(lab.at_rest(p, "a"))
    p:reset()
    assert(lab.wait_for(function() return chat(A).status == 200 end, 5 * lab.pace))
  end)

  it("so many calls in so long, over all workers", function()
    local admitted, response = 0, nil
    for _ = 1, 6 do
      response = chat(B)
      admitted = admitted + (response.status == 200 and 1 or 0)
    end
    assert.equal(2, admitted)
    assert.same({ 429, "rate_limit_exceeded" }, { response.status, response.json.error.code })
    assert.is_true(tonumber(response.headers["retry-after"]) > 10)
  end)

  it("so much money, and then says politely that it is spent", function()
    local response
    for _ = 1, 4 do
      response = chat(C, { stream = true })
      if response.status ~= 200 then
        break
      end
    end
    assert.same({ 429, "insufficient_quota", "budget_spent", "false" }, { response.status, response.json.error.type,
      response.json.error.code, response.headers["x-should-retry"] })
  end)

  for what, row in pairs {
    ["before the first word"] = { D, { fault = "hang" } },
    ["before the last one"] = { E, { answer = { chunks = 1000 }, stream = { chunk_delay = 0.01 } } },
  } do
    it("no way around a budget by hanging up " .. what, function()
      local headers = { Authorization = "Bearer " .. row[1] }
      p:profile("a", row[2])
      for _ = 1, 3 do -- each about 0.06 dollars
        local request = lab.question(("word "):rep(20), { stream = true })
        local connection = lab.open(n, "/v1/chat/completions", request, headers)
        assert(p:wait("a", function(c) return c.in_flight == 1 end, 5 * lab.pace))
        if not row[2].fault then
          assert(connection:take_until "content")
        end
        connection:close()
        assert(lab.at_rest(p, "a"))
      end
      local response = chat(row[1])
      assert.same({ 429, "budget_spent" }, { response.status, response.json.error.code })
    end)
  end

  it("no models whose price nobody knows to who has a budget", function()
    local response = chat(C, { model = "unpriced" })
    assert.same({ 400, "no_price", "model" }, { response.status, response.json.error.code, response.json.error.param })
    assert.matches("unpriced", response.json.error.message)
    assert.equal(0, p:counters("a").requests)
  end)

  it("shows its numbers to who knows the operators' secret", function()
    for _, path in ipairs { "/metrics", "/status.json" } do
      for _, given in ipairs { "", "Bearer " .. A, "Bearer the-operators-own-secre", "Basic nonsense" } do
        local refused = lab.ask(n, path, nil, { Authorization = given ~= "" and given or nil })
        assert.same({ 401, "unauthorized" }, { refused.status, refused.json.error.code }, given)
      end
    end
    local secret = "the-operators-own-secret"
    assert.equal(200, lab.ask(n, "/metrics", nil, { Authorization = "Bearer " .. secret }).status)
    local basic = require("mime").b64("anybody:" .. secret)
    assert.equal(200, lab.ask(n, "/status", nil, { Authorization = "Basic " .. basic }).status)
  end)
end)

describe("a gateway that counts, before a line that refuses stream_options, #once", function()
  it("asks it for nothing more than the caller does", function()
    local p = provider.start()
    local n = lab.start(([[{ base_url = "%s", preset = "mistral", api_key = "sk-upstream", http_version = "1.1",
      gateway = { keys = { { name = "a", key = "%s", rate = { tokens_per_minute = 1e6 } } },
        models = { m = true, changed = { model = "m", request = { temperature = 0.5 } } } } }]])
      :format(p.lines.a.url, A))
    for _, model in ipairs { "m", "changed" } do
      local response = lab.ask(n, "/v1/chat/completions", lab.question("hello", { model = model, stream = true }),
        { Authorization = "Bearer " .. A })
      assert.equal("echo: hello", (lab.text(response.body)))
      assert.is_nil(cjson.decode(p:counters("a").last_body).stream_options)
    end
    n:stop()
    p:stop()
  end)
end)
