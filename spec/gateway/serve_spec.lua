-- The gateway as its callers see it: what goes through as it is, what is translated, what they are told of failures.

local cjson = require "cjson"
local lab = require "spec.gateway.lab"
local provider = require "spec.support.provider"

local CONFIG = [[{
  api_key = "sk-upstream-0123456789", http_version = "1.1", breaker = false,
  retry = { base_delay = 0.01, max_attempts = 3 },
  timeout = { first_byte = %g, first_token = %g, idle = %g, total = 20 },
  endpoints = {
    { name = "a", url = "%s", models = { "m", "renamed", "both", "hang" , "changed" } },
    { name = "b", url = "%s", priority = 2, models = { "m", "both", "other", "keyless" } },
    { name = "keyless", url = "http://127.0.0.1:9", models = { "keyless" }, api_key = function() end },
    { name = "claude", url = "%s", provider = "anthropic", models = { "claude-x" } },
    { name = "gemini", url = "%s", provider = "gemini", models = { "gemini-x" } },
    { name = "items", url = "%s", provider = "responses", models = { "items-x" } },
    { name = "azure", url = "%s", provider = "azure", api_version = "2024-10-21", models = { "azure-x" } },
  },
  gateway = {
    max_body_bytes = 8 * 2 ^ 20, max_timeout = 5, forward_headers = { "X-Trace", "traceparent" },
    models = {
      m = true, both = true, fast = "renamed", ["claude-*"] = true, gemini = "gemini-x", items = "items-x",
      azure = "azure-x", keyless = true,
      ["wild/*"] = "*", other = true, spare = { { model = "hang" }, { model = "other", endpoint = "b" } },
      changed = { model = "m", endpoint = "a", request = { temperature = 0.5 } },
      ["only-*"] = { model = "m", endpoint = "a" },
    },
  },
}]]

local function config_of(p, timeout)
  local lines = p.lines
  return CONFIG:format(timeout, timeout, timeout, lines.a.url, lines.b.url, lines.a.url, lines.a.gemini_url,
    lines.a.url, lines.a.azure_url)
end

describe("the gateway #once", function()
  local p, n

  setup(function()
    p = provider.start { lines = { "a", "b" } }
    n = lab.start(config_of(p, 0.4 * lab.pace))
  end)

  teardown(function()
    n:stop { "buffered to a temporary file" }
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  local function chat(more, headers)
    return lab.ask(n, "/v1/chat/completions", lab.question("hello", more), headers)
  end

  describe("passes through", function()
    it("the caller's bytes, both ways", function()
      local body = '{ "zzz": {"deep":[1.0, 2e3,null]},\n "model" : "m","x":[] ,'
        .. '"messages":[{"role":"user","content":"h\\u00e9"}] }'
      p:profile("a", { answer = { body = '{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"ok",'
        .. '"new":[1.50]},"finish_reason":"stop"}],  "unknown":{"a":1.0}}' } })
      local response = lab.ask(n, "/v1/chat/completions", body)
      assert.equal(200, response.status, response.body)
      assert.equal(body, p:counters("a").last_body)
      assert.equal('{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"ok","new":[1.50]},'
        .. '"finish_reason":"stop"}],  "unknown":{"a":1.0}}', response.body)
    end)

    it("the rest of the body where the model has another name", function()
      local body = '{"x":1.0, "model":"fast" ,"messages":[{"role":"user","content":"a"}]}'
      local response = lab.ask(n, "/v1/chat/completions", body)
      assert.equal(200, response.status, response.body)
      assert.equal((body:gsub("fast", "renamed")), p:counters("a").last_body)
    end)

    it("the events of a stream, those before the first word and after the last one, too", function()
      p:profile("a", { answer = { chunks = 3 } })
      local request = lab.question("hello", { stream = true, stream_options = { include_usage = true } })
      local response = lab.ask(n, "/v1/chat/completions", request)
      assert.equal("text/event-stream; charset=utf-8", response.headers["content-type"])
      local events = lab.events(response.body)
      assert.same({ "echo: hello", "stop" }, { lab.text(response.body) })
      assert.equal("assistant", events[1].json.choices[1].delta.role)
      assert.equal("a", events[2].json.system_fingerprint)
      assert.is_number(events[#events - 1].json.usage.total_tokens)
      assert.equal("[DONE]", events[#events].data)
      assert.equal("chunked", response.ended)
    end)

    it("embeddings", function()
      local response = lab.ask(n, "/v1/embeddings", { model = "m", input = { "a", "b" } })
      assert.equal(200, response.status, response.body)
      assert.equal(2, #response.json.data)
      assert.equal("a", response.json.system_fingerprint)
    end)

    it("a body of megabytes, which nginx has put into a file", function()
      local text = ("0123456789"):rep(500000)
      local response = lab.ask(n, "/v1/chat/completions", lab.question(text))
      assert.equal(200, response.status)
      assert.equal("echo: " .. text, response.json.choices[1].message.content)
    end)

    it("no credentials and no headers of the caller's but those that are listed", function()
      local response = chat({}, { Authorization = "Bearer sk-caller", Cookie = "a=b", ["X-Trace"] = "t1",
        ["X-Other"] = "o", ["x-api-key"] = "sk-caller" })
      assert.equal(200, response.status)
      local headers = p:counters("a").last_headers
      assert.equal("Bearer sk-upstream-0123456789", headers.authorization)
      assert.same({ "t1" }, { headers["x-trace"], headers.cookie, headers["x-other"], headers["x-api-key"] })
    end)
  end)

  describe("translates for", function()
    for model, name in pairs { ["claude-x"] = "claude", gemini = "gemini", items = "items", azure = "azure" } do
      it(name .. ": an answer", function()
        local response = chat { model = model }
        assert.equal(200, response.status, response.body)
        local choice = response.json.choices[1]
        assert.same({ "echo: hello", "assistant", "stop", "chat.completion", name },
          { choice.message.content, choice.message.role, choice.finish_reason, response.json.object,
            response.headers["x-surefoot-endpoint"] })
        assert.is_true(response.json.usage.total_tokens > 0)
        assert.is_nil(choice.message.native)
      end)

      it(name .. ": a stream", function()
        local response = chat { model = model, stream = true, stream_options = { include_usage = true } }
        assert.same({ 200, "echo: hello", "stop" }, { response.status, lab.text(response.body) })
        local events = lab.events(response.body)
        assert.equal("[DONE]", events[#events].data)
        assert.is_true(events[#events - 1].json.usage.total_tokens > 0)
      end)

      it(name .. ": tools", function()
        local tool = { type = "function", ["function"] = { name = "look", parameters = { type = "object",
          properties = { q = { type = "string" } } } } }
        local response = chat { model = model, tools = { tool }, tool_choice = "required" }
        assert.equal(200, response.status, response.body)
        local call = response.json.choices[1].message.tool_calls[1]
        assert.same({ "look", "function", "table" },
          { call["function"].name, call.type, type(cjson.decode(call["function"].arguments)) })
      end)
    end
  end)

  describe("serves models by", function()
    it("wildcard, with what it stood for", function()
      assert.equal(200, chat({ model = "wild/other" }).status)
      assert.equal("other", cjson.decode(p:counters("b").last_body).model)
    end)

    it("lists of routes", function()
      p:profile("a", { fault = "hang" })
      local response = chat { model = "spare" }
      assert.same({ 200, "b" }, { response.status, response.headers["x-surefoot-endpoint"] })
      assert.equal("other", cjson.decode(p:counters("b").last_body).model)
    end)

    it("changes to the request", function()
      assert.equal(200, chat({ model = "changed", unknown = { 1 } }).status)
      local sent = cjson.decode(p:counters("a").last_body)
      assert.same({ 0.5, "m", { 1 } }, { sent.temperature, sent.model, sent.unknown })
    end)

    it("the fallbacks that a request names, which no provider sees", function()
      p:profile("a", { status = { code = 500 } })
      local response = chat { model = "only-this", fallbacks = { "other" } }
      assert.same({ 200, "b" }, { response.status, response.headers["x-surefoot-endpoint"] })
      local sent = cjson.decode(p:counters("b").last_body)
      assert.same({ "other" }, { sent.model, sent.fallbacks })
    end)

    it("fallbacks that are cut out of the body, wherever they stand, and nothing else", function()
      for given, sent in pairs {
        ['{"model":"m","fallbacks":["other"],"seed":12345678901234567890,"messages":[]}'] =
          '{"model":"m","seed":12345678901234567890,"messages":[]}',
        ['{ "fallbacks" : ["other"] , "model":"m","t":2.10000000000000000001,"messages":[]}'] =
          '{  "model":"m","t":2.10000000000000000001,"messages":[]}',
        ['{"model":"m","messages":[] , "fallb\\u0061cks":["other"]}'] = '{"model":"m","messages":[] }',
      } do
        lab.ask(n, "/v1/chat/completions", given)
        assert.equal(sent, p:counters("a").last_body)
      end
    end)

    it("a list of them", function()
      local response = lab.ask(n, "/v1/models")
      local names = {}
      for i, model in ipairs(response.json.data) do
        names[i] = model.id
      end
      assert.same({ "azure", "both", "changed", "fast", "gemini", "items", "keyless", "m", "other",
        "spare" }, names)
      assert.equal("m", lab.ask(n, "/v1/models/m").json.id)
      assert.equal(404, lab.ask(n, "/v1/models/nobody").status)
    end)
  end)

  describe("tells its callers", function()
    it("which line answered, how often it was tried, how long it took", function()
      p:profile("a", { status = { code = 503 } })
      local response = chat({}, { ["X-Request-ID"] = "mine-1" })
      assert.same({ 200, "b", "2", "mine-1" }, { response.status, response.headers["x-surefoot-endpoint"],
        response.headers["x-surefoot-attempts"], response.headers["x-request-id"] })
      assert.is_true(tonumber(response.headers["x-surefoot-time"]) < 5)
      assert.same({ "mine-1" }, p:counters("b").request_ids)
    end)

    it("nothing of a line that was not asked, since nobody gave a key for it", function()
      for _, stream in ipairs { false, true } do
        local response = chat { model = "keyless", stream = stream }
        assert.same({ 200, "b", "1" }, { response.status, response.headers["x-surefoot-endpoint"],
          response.headers["x-surefoot-attempts"] })
      end
    end)

    it("the same of a stream", function()
      local response = chat { stream = true }
      assert.same({ "a", "1" }, { response.headers["x-surefoot-endpoint"], response.headers["x-surefoot-attempts"] })
      assert.is_true(#response.headers["x-request-id"] > 10)
    end)

    for _, row in ipairs {
      { 400, 400, "invalid_request_error" }, { 401, 401, "authentication_error" }, { 403, 403, "permission_error" },
      { 404, 404, "not_found_error" }, { 422, 422, "invalid_request_error" }, { 402, 429, "insufficient_quota" },
      { 413, 413, "invalid_request_error" }, { 429, 429, "rate_limit_error" }, { 500, 500, "server_error" },
      { 503, 503, "server_error" }, { 302, 502, "server_error" },
    } do
      it(("of a provider's %d: %d"):format(row[1], row[2]), function()
        local profile = { status = { code = row[1], headers = { ["x-should-retry"] = "false" } } }
        p:profile("a", profile)
        p:profile("b", profile)
        local response = chat()
        local err = response.json.error
        assert.same({ row[2], row[3] }, { response.status, err.type }, response.body)
        assert.is_string(err.message)
        assert.is_nil(response.body:find("sk-upstream", 1, true))
        local again = row[2] == 429 and row[1] == 429 or row[2] == 503
        assert.equal(again, response.headers["retry-after"] ~= nil)
      end)
    end

    it("what a provider says, though it is no UTF-8", function()
      local body = '{"error":{"message":"no \255","code":"c\255","param":"p\255"}}'
      p:profile("a", { status = { code = 400, body = body } })
      local response = chat { model = "only-a" }
      assert.equal(400, response.status, response.body)
      assert.matches("no", response.json.error.message)
    end)

    it("when to come back", function()
      p:profile("a", { status = { code = 429, headers = { ["retry-after"] = "77" } } })
      p:profile("b", { status = { code = 429, headers = { ["retry-after"] = "77" } } })
      local response = chat({ model = "both" }, { ["x-surefoot-timeout"] = "2" }) -- a lane that nobody else waits for
      assert.equal(429, response.status, response.body)
      local seconds = tonumber(response.headers["retry-after"])
      assert.is_true(seconds >= 70 and seconds <= 78, seconds)
    end)

    it("what is wrong with a request", function()
      local function refused(body, path)
        local response = lab.ask(n, path or "/v1/chat/completions", body)
        return { response.status, response.json.error.param, response.json.error.message }
      end
      assert.same({ 404, "model", 'the model "nobody" is not served here' },
        refused(lab.question("x", { model = "nobody" })))
      assert.same({ 400, "model", "model: is required" }, refused [[{"messages":[]}]])
      assert.same({ 400, "model", "model: expected a name" }, refused [[{"model":7,"messages":[]}]])
      for _, name in ipairs { "wild/\r\nx", "wild/\0", "wild/\255", "wild/" .. ("x"):rep(252) } do
        assert.same({ 400, "model", "model: expected a name of at most 256 bytes of UTF-8, without control "
          .. "characters" }, refused(lab.question("x", { model = name })))
        assert.equal("fallbacks", refused(lab.question("x", { fallbacks = { name } }))[2])
      end
      assert.equal(400, refused("{\"model\":\"m\"")[1])
      assert.equal(400, refused("[1]")[1])
      assert.equal(400, refused("")[1])
      assert.equal(400, refused([[{"model":"m","model":"claude-x","messages":[]}]])[1])
      assert.equal("fallbacks", refused(lab.question("x", { fallbacks = "other" }))[2])
      assert.equal(404, refused(lab.question "x", "/v1/chat/complet")[1])
      assert.same({ 404, "model", 'the model "a?b" is not served here' }, refused(nil, "/v1/models/a%ffb"))
      local nowhere = refused(nil, "/v1/%ff" .. ("x"):rep(3000))
      assert.equal(404, nowhere[1])
      assert.is_true(#nowhere[3] < 500)
      assert.equal(405, lab.ask(n, "/v1/chat/completions").status)
      assert.same({ 0, 0 }, { p:counters("a").requests, p:counters("b").requests })
    end)

    it("that `stream` is neither true nor false, on every path, and asks no provider", function()
      for path, rest in pairs {
        ["/v1/chat/completions"] = '"messages":[{"role":"user","content":"x"}]', ["/v1/responses"] = '"input":"x"',
        ["/v1/messages"] = '"max_tokens":9,"messages":[{"role":"user","content":"x"}]',
      } do
        for _, value in ipairs { "1", "0", '"yes"', '"true"', "{}", "[true]" } do
          local response = lab.ask(n, path, ('{"model":"m","stream":%s,%s}'):format(value, rest))
          assert.same({ 400, "stream: expected true or false" }, { response.status, response.json.error.message })
          if path ~= "/v1/messages" then
            assert.equal("stream", response.json.error.param)
          end
        end
        for _, value in ipairs { "false", "null" } do
          assert.equal(200, lab.ask(n, path, ('{"model":"m","stream":%s,%s}'):format(value, rest)).status)
        end
        assert.equal(2, p:counters("a").requests)
        p:reset()
      end
    end)

    it("that a body is too large", function()
      local response = lab.ask(n, "/v1/chat/completions", lab.question(("x"):rep(8 * 2 ^ 20)))
      assert.same({ 413, "request_too_large" }, { response.status, response.json.error.code })
    end)

    it("that its time is over", function()
      p:profile("a", { fault = "hang" })
      p:profile("b", { fault = "hang" })
      local response = chat({}, { ["x-surefoot-timeout"] = "0.2" })
      assert.same({ 504, "deadline_exceeded" }, { response.status, response.json.error.code })
      assert.is_true(response.seconds < 5 * lab.pace)
      assert.equal(400, chat({}, { ["x-surefoot-timeout"] = "soon" }).status)
      assert.equal(400, chat({}, { ["x-surefoot-timeout"] = "-1" }).status)
    end)
  end)

  describe("answers in spite of", function()
    for _, fault in ipairs { "hang", "reset", "close", "truncate", "html", "empty", "short_json", "error_200" } do
      it(fault, function()
        p:profile("a", { fault = fault })
        local response = chat()
        assert.same({ 200, "b", "echo: hello" }, { response.status, response.headers["x-surefoot-endpoint"],
          response.json.choices[1].message.content })
      end)
    end

    for name, stream in pairs { cut = { cut_after = -1 }, stall = { stall_after = -1 }, reset = { reset_after = -1 },
      malformed = { malformed_after = 0 }, ["an error inside 200"] = { error_after = -1 } } do
      it("a stream's " .. name .. " before the first word", function()
        p:profile("a", { stream = stream, answer = { chunks = 3 } })
        local response = chat { stream = true }
        assert.same({ 200, "b", "2", "echo: hello", "stop" }, { response.status,
          response.headers["x-surefoot-endpoint"], response.headers["x-surefoot-attempts"], lab.text(response.body) })
      end)
    end
  end)

  describe("says that an answer is not whole, and ends it like none, after", function()
    for name, row in pairs { cut = { { cut_after = 2 }, "upstream_truncated" },
      stall = { { stall_after = 2 }, "upstream_timeout" }, reset = { { reset_after = 2 }, "upstream_truncated" },
      ["a malformed event"] = { { malformed_after = 2 }, "upstream_malformed" },
      ["an error inside 200"] = { { error_after = 2 } } } do
      for _, model in ipairs { "only-a", "claude-x" } do
        it(("%s, from %s"):format(name, model), function()
          p:profile("a", { stream = row[1], answer = { chunks = 6 } })
          local response = chat { model = model, stream = true }
          local events = lab.events(response.body)
          local last = events[#events]
          assert.equal(200, response.status)
          assert.is_table(last.json and last.json.error, response.body)
          assert.equal(row[2] or last.json.error.code, last.json.error.code)
          assert.is_true(#(lab.text(response.body)) > 0)
          assert.is_nil(response.body:find("[DONE]", 1, true))
          assert.equal("cut", response.ended)
        end)
      end
    end
  end)

  describe("lets go of the provider when its caller leaves", function()
    it("before the answer", function()
      p:profile("a", { fault = "hang" })
      p:profile("b", { fault = "hang" })
      local connection = lab.open(n, "/v1/chat/completions", lab.question())
      assert(p:wait("a", function(c) return c.in_flight == 1 end))
      connection:close()
      assert(p:wait("a", function(c) return c.aborted == 1 and c.in_flight == 0 end, 5 * lab.pace))
      assert.equal(0, p:counters("b").requests)
    end)

    it("in the middle of a stream", function()
      p:profile("a", { answer = { chunks = 1000 }, stream = { chunk_delay = 0.02 } })
      local connection = lab.open(n, "/v1/chat/completions", lab.question(("x "):rep(2000), { stream = true }))
      assert(connection:take_until "data: ")
      connection:close()
      assert(p:wait("a", function(c) return c.aborted == 1 and c.in_flight == 0 end, 5 * lab.pace))
    end)

    it("in an nginx whose log phase tells nobody", function()
      p:profile("a", { fault = "hang" })
      local silent = lab.start(config_of(p, 5 * lab.pace), {
        locations = { ["/"] = [[require("the_gateway"):serve()]] },
      })
      for count = 1, 2 do
        local connection = lab.open(silent, "/v1/chat/completions", lab.question())
        assert(p:wait("a", function(c) return c.in_flight == 1 end))
        connection:close()
        assert(p:wait("a", function(c) return c.aborted == count and c.in_flight == 0 end, 5 * lab.pace))
      end
      silent:stop()
    end)
  end)

  it("tells whether it lives, and whether a line may be asked", function()
    assert.same({ 200, "ok" }, { lab.ask(n, "/health").status, lab.ask(n, "/health").json.status })
    assert.same({ 200, 7 }, { lab.ask(n, "/ready").status, lab.ask(n, "/ready").json.lines })
  end)
end)

describe("a gateway before lines of several formats #once", function()
  local p, n

  setup(function()
    p = provider.start { lines = { "a", "b" } }
    n = lab.start(([[{
      api_key = "k-0123456789", breaker = false, retry = { base_delay = 0.01 }, model = "m",
      endpoints = { { name = "chat", url = "%s" },
        { name = "items", url = "%s", provider = "responses", priority = 2 },
        { name = "claude", url = "%s", provider = "anthropic", priority = 3 } },
    }]]):format(p.lines.a.url, p.lines.b.url, p.lines.b.url))
  end)

  teardown(function()
    n:stop()
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  it("takes what cannot be translated to the lines of the caller's own", function()
    local response = lab.ask(n, "/v1/responses", { model = "m", input = "hello", tools = { { type = "web_search" } } })
    assert.same({ 200, "items", 0 }, { response.status, response.headers["x-surefoot-endpoint"],
      p:counters("a").requests })
    response = lab.ask(n, "/v1/messages", { model = "m", max_tokens = 9,
      messages = { { role = "user", content = "x" } },
      tools = { { type = "web_search_20250305", name = "web_search" } } })
    assert.same({ 200, "claude", 0 }, { response.status, response.headers["x-surefoot-endpoint"],
      p:counters("a").requests })
  end)

  it("asks for the lines' models now and then, not for every caller", function()
    for _ = 1, 3 do
      local response = lab.ask(n, "/v1/models")
      assert.equal(200, response.status)
      assert.is_true(#response.json.data > 0)
    end
    assert.is_true(p:counters("a").requests + p:counters("b").requests <= 1)
  end)

  it("takes what can be to the best line", function()
    local response = lab.ask(n, "/v1/responses", { model = "m", input = "hello" })
    assert.same({ 200, "chat", "response" }, { response.status, response.headers["x-surefoot-endpoint"],
      response.json.object })
    response = lab.ask(n, "/v1/messages", { model = "m", max_tokens = 9,
      messages = { { role = "user", content = "x" } } })
    assert.same({ 200, "chat", "message" }, { response.status, response.headers["x-surefoot-endpoint"],
      response.json.type })
  end)

  it("sends its own reasoning items to nobody else", function()
    local mark = require("surefoot.dialect.responses").mark
    p:profile("a", { status = { code = 500 } })
    local input = { { role = "user", content = "a" }, { type = "reasoning", id = "rs_1", summary = {},
      encrypted_content = mark .. '{"text":"b"}' }, { role = "assistant", content = "b" },
      { role = "user", content = "c" } }
    local response = lab.ask(n, "/v1/responses", { model = "m", input = input, fields = "of mine" })
    assert.same({ 200, "items" }, { response.status, response.headers["x-surefoot-endpoint"] }, response.body)
    local sent = p:counters("b").last_body
    assert.is_nil(sent:find(mark, 1, true))
    assert.equal("of mine", cjson.decode(sent).fields)
  end)
end)
