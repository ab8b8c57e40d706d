-- The client on the simulated network: everything here is exact and takes no time.
local env = require "spec.support.env"
local json = require "surefoot.json"
local surefoot = require "surefoot"

local function says(text, after)
  return function()
    return { after = after or 0.1, text = text }
  end
end

local function status(code, body, headers)
  return function()
    return { after = 0.1, status = code, body = body, headers = headers }
  end
end

local function simulate(endpoints)
  return surefoot.simulate { seed = 7, endpoints = endpoints }
end

-- The client and the requests that its one endpoint saw.
local function recording(script, config)
  local seen = {}
  local sim = simulate { a = function(n, request, now)
    seen[n] = request
    return script(n, request, now)
  end }
  return sim:client(config), seen, sim
end

describe("client:chat", function()
  it("gives a whole result", function()
    local client, seen = recording(function()
      return { after = 0.5, text = "Hi there", headers = { ["X-Request-Id"] = "srv-1", ["X-A"] = "1" } }
    end, { api_key = "k-1", prices = { simulated = { input = 1, output = 2 } } })
    local result = assert(client:chat({ messages = { { role = "user", content = "Hello" } }, temperature = 0 },
      { tags = { job = 1 } }))
    assert.equal("Hi there", result.text)
    assert.equal("stop", result.finish_reason)
    assert.equal("a", result.endpoint)
    assert.equal("simulated", result.model)
    assert.equal(200, result.status)
    assert.equal(0.5, result.latency)
    assert.equal(0.5, result.time_to_first_token)
    assert.equal("srv-1", result.request_id)
    assert.equal("1", result.headers["x-a"])
    assert.same({ "1", "srv-1" }, { result.headers["X-A"], result.headers["x-request-ID"] })
    assert.is_nil(result.headers["X-B"])
    assert.same({ job = 1 }, result.tags)
    assert.near((result.usage.input_tokens + 2 * result.usage.output_tokens) / 1e6, result.cost, 1e-12)
    assert.is_false(result.usage.estimated)
    assert.equal("Hi there", result.body.choices[1].message.content)
    assert.equal(1, #result.attempts)
    assert.same({ "a", "ok", 200, "simulated", false },
      { result.attempts[1].endpoint, result.attempts[1].kind, result.attempts[1].status,
      result.attempts[1].model, result.attempts[1].hedge })
    local request = seen[1]
    assert.equal("POST", request.method)
    assert.equal("/v1/chat/completions", request.path)
    assert.same({ messages = { { content = "Hello", role = "user" } }, model = "simulated", temperature = 0 },
      json.decode(request.body))
    assert.equal("Bearer k-1", request.headers.authorization)
    assert.equal("application/json", request.headers["content-type"])
    assert.equal("surefoot/" .. surefoot._VERSION, request.headers["user-agent"])
    assert.matches("^%x+%-%x+%-4%x+%-8%x+%-%x+$", request.headers["x-request-id"])
    assert.equal(request.headers["x-request-id"], request.headers["idempotency-key"])
  end)

  it("gives a result whose parts are all there for whoever looks at all of it", function()
    env.need_of_lua "pairs"
    local names = {}
    for name in pairs(assert(recording(says "x"):chat "Hi")) do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.equal("attempts body endpoint finish_reason headers id latency message model raw request_id status text "
      .. "time_to_first_token usage", table.concat(names, " "))
  end)

  it("takes a text for one user message", function()
    local client, seen = recording(says "x")
    assert(client:chat "Hello")
    assert.same({ { role = "user", content = "Hello" } }, seen[1].json.messages)
  end)

  it("keeps ids over the attempts, and lets the caller choose them", function()
    local client, seen = recording(function(n)
      return n < 3 and { after = 0.1, status = 503 } or { after = 0.1, text = "x" }
    end)
    local result = assert(client:chat "Hello")
    assert.equal(3, #seen)
    assert.equal(seen[1].headers["x-request-id"], seen[3].headers["x-request-id"])
    assert.equal(seen[1].headers["idempotency-key"], seen[3].headers["idempotency-key"])
    assert.equal(seen[1].headers["x-request-id"], result.request_id)
    assert(client:chat("Hello", { idempotency_key = "mine", headers = { ["X-Request-ID"] = "r", ["X-B"] = "b" } }))
    assert.same({ "mine", "r", "b" }, { seen[4].headers["idempotency-key"], seen[4].headers["x-request-id"],
      seen[4].headers["x-b"] })
    assert(client:chat "Hello")
    assert.not_equal(seen[1].headers["x-request-id"], seen[5].headers["x-request-id"])
  end)

  it("goes to another endpoint at once after a failure", function()
    local sim = simulate { a = status(500), b = says "from b" }
    local client = sim:client { endpoints = { { name = "a" }, { name = "b", priority = 2 } } }
    local result = assert(client:chat "Hello")
    assert.equal("from b", result.text)
    assert.equal("b", result.endpoint)
    assert.same({ "server", "ok" }, { result.attempts[1].kind, result.attempts[2].kind })
    assert.is_true(result.latency < 0.21)
  end)

  it("does not take damaged answers for success", function()
    local client, seen = recording(function(n)
      return ({
        { body = "<html>proxy</html>", headers = { ["content-type"] = "text/html" } },
        { body = '{"choices":[{"message":{"content":"Hel' },
        { body = { error = { message = "busy", code = 503 } } },
        { text = "cut", fault = "cut" },
        { after = 0.1, text = "whole" },
      })[n]
    end)
    local result = assert(client:chat "Hello")
    assert.equal("whole", result.text)
    assert.equal(5, #seen)
    local kinds = {}
    for i, attempt in ipairs(result.attempts) do
      kinds[i] = attempt.kind
    end
    assert.same({ "malformed", "truncated", "overloaded", "truncated", "ok" }, kinds)
    assert.matches("HTML or XML", result.attempts[1].message)
  end)

  it("fails as the last answer says, without keys", function()
    local client = recording(status(401, { error = { message = "Incorrect API key provided: s3cret.",
      code = "invalid_api_key" } },
      { ["x-request-id"] = "srv-9" }), { api_key = "s3cret" })
    local result, err = client:chat "Hello"
    assert.is_nil(result)
    assert.equal("unauthorized", err.kind)
    assert.equal(401, err.status)
    assert.equal("invalid_api_key", err.code)
    assert.is_false(err.retryable)
    assert.is_true(err.sent)
    assert.equal("a", err.endpoint)
    assert.equal("srv-9", err.request_id)
    assert.equal(1, #err.attempts)
    assert.is_falsy(tostring(err):find("s3cret", 1, true))
    assert.is_falsy(err.body.error.message:find("s3cret", 1, true))
    assert.is_falsy((err.attempts[1].message or ""):find("s3cret", 1, true))
    assert.equal("unauthorized: Incorrect API key provided: [key] from a (attempt 1 of 5, request srv-9)",
      tostring(err))
  end)

  it("gives up after max_attempts, saying what the last one said", function()
    local client, seen = recording(status(500, { error = { message = "exploded" } }), { retry = { max_attempts = 2 } })
    local _, err = client:chat "Hello"
    assert.equal(2, #seen)
    assert.equal("server", err.kind)
    assert.equal("exploded", err.message)
    assert.matches("attempt 2 of 2", tostring(err))
    assert.is_true(err.retryable)
  end)

  it("says whether the same may succeed later, as the answer has it", function()
    local function told(code, headers)
      local _, err = recording(status(code, "{}", headers), { retry = { max_attempts = 1 } }):chat "x"
      return { err.kind, err.retryable }
    end
    assert.same({ "server", true }, told(500))
    assert.same({ "server", false }, told(302))
    assert.same({ "server", false }, told(500, { ["x-should-retry"] = "false" }))
    assert.same({ "invalid_request", false }, told(400))
    assert.same({ "invalid_request", true }, told(400, { ["x-should-retry"] = "true" }))
    assert.same({ "rate_limited", true }, told(429))
    assert.same({ "unauthorized", false }, told(401))
  end)

  it("never tries again what cannot get better", function()
    local client, seen = recording(status(400, { error = { message = "bad temperature", type = "invalid_request_error",
      code = "x" } }))
    local _, err = client:chat "Hello"
    assert.equal(1, #seen)
    assert.same({ "invalid_request", "x", 400 }, { err.kind, err.code, err.status })
    assert.same("bad temperature", err.body.error.message)
  end)

  it("says which timer it was", function()
    local client = recording(function() return { fault = "hang" } end,
      { timeout = { attempt = 3 }, retry = { max_attempts = 1 } })
    local _, err = client:chat "Hello"
    assert.equal("timeout", err.kind)
    assert.is_string(err.phase)
    assert.equal(3, err.attempts[1].latency)
    client = recording(function() return { connect = 60, text = "x" } end,
      { timeout = { connect = 2 }, retry = { max_attempts = 1 } })
    _, err = client:chat "Hello"
    assert.same({ "timeout", "connect" }, { err.kind, err.phase })
    assert.is_false(err.sent)
  end)

  it("bounds the whole call by its deadline", function()
    local client, _, sim = recording(function() return { fault = "hang" } end)
    local _, err = client:chat("Hello", { deadline = 4 })
    assert.equal("deadline", err.kind)
    assert.equal(4, sim:now())
    _, err = client:chat("Hello", { timeout = { total = 6 } })
    assert.equal("deadline", err.kind)
    assert.equal(10, sim:now())
    _, err = client:chat("Hello", { timeout = { attempt = 1 }, deadline = 1.5 })
    assert.equal("timeout", err.attempts[1].kind)
  end)

  it("takes fallbacks when the model cannot be had, with their changes", function()
    local client, seen = recording(function(_, request)
      if request.json.model == "big" then
        return { after = 0.1, status = 404, body = { error = { message = "no such model", code = "model_not_found" } } }
      end
      return { after = 0.1, text = request.json.model }
    end, { model = "big", fallbacks = { { model = "small", request = { temperature = 0 } } } })
    local result = assert(client:chat { messages = { { role = "user", content = "x" } }, temperature = 1 })
    assert.equal("small", result.text)
    assert.same({ "big", "small" }, { seen[1].json.model, seen[2].json.model })
    assert.same({ 1, 0 }, { seen[1].json.temperature, seen[2].json.temperature })
    local _, err = client:chat("x", { fallbacks = {} })
    assert.equal("not_found", err.kind)
    assert.equal("other", assert(client:chat("x", { fallbacks = { "other" } })).text)
  end)

  it("renames models per endpoint, and asks only those that serve them", function()
    local sim = simulate {
      a = function(_, request) return { text = "a:" .. request.json.model } end,
      b = function(_, request) return { text = "b:" .. request.json.model } end,
    }
    local client = sim:client { model = "long", endpoints = { { name = "a", models = { long = "short" } },
      { name = "b", models = { "other" } } } }
    assert.equal("a:short", assert(client:chat "x").text)
    assert.equal("b:other", assert(client:chat({ model = "other", messages = {} })).text:gsub("a:", "b:"))
    local only_b = sim:client { endpoints = { { name = "b", models = { "other" } } } }
    local _, err = only_b:chat { model = "unknown", messages = {} }
    assert.same({ "not_found", false }, { err.kind, err.sent })
    assert.matches('no endpoint serves the model "unknown"', err.message)
  end)

  it("asks again what validate refuses", function()
    local client, seen = recording(function(n) return { after = 0.1, text = "try " .. n } end)
    local seen_results = {}
    local result = assert(client:chat("x", { validate = function(r)
      seen_results[#seen_results + 1] = r
      return r.text == "try 3", "not yet"
    end }))
    assert.equal("try 3", result.text)
    assert.equal(3, #seen)
    assert.equal("rejected", result.attempts[1].kind)
    assert.is_number(seen_results[1].latency)
    local _, err = client:chat("x", { validate = function() return false, "never" end })
    assert.equal("rejected", err.kind)
    assert.equal("never", err.message)
  end)

  it("throws what validate throws, and cancels the call", function()
    local client = recording(says "x")
    local thrown = {}
    local ok, err = pcall(client.chat, client, "x", { validate = function() error(thrown) end })
    assert.is_false(ok)
    assert.equal(thrown, err)
    assert.equal(0, client:stats().in_flight)
    assert(client:chat "x")
  end)

  it("takes for a yes from validate what Lua takes for true", function()
    local client = recording(says "x")
    for _, verdict in ipairs { true, 1, "x", {}, print } do -- as string.find, string.match or a decoder say yes
      assert(client:chat("x", { validate = function() return verdict end }))
    end
    for _, verdict in ipairs { false, "nil" } do
      local _, err = client:chat("x", { validate = function() return verdict ~= "nil" and verdict or nil end })
      assert.equal("rejected", err.kind)
    end
  end)

  it("shows why validate said no, whatever it returned for a reason", function()
    local client = recording(says "x")
    local told = setmetatable({}, { __tostring = function() return "in words" end })
    for shown, reason in pairs { ["in words"] = told, ["a message"] = { message = "a message" }, ["5"] = 5,
      ["validate said no, with a table for a reason instead of a string"] = {} } do
      local _, err = client:chat("x", { validate = function() return nil, reason end })
      assert.same({ "rejected", shown }, { err.kind, err.message })
    end
  end)

  it("tells on_event what happens, and is not disturbed by it", function()
    local sim = simulate { a = status(503), b = says "x" }
    local client = sim:client { endpoints = { { name = "a" }, { name = "b", priority = 2 } } }
    local names, endpoints = {}, {}
    assert(client:chat("x", { on_event = function(name, data)
      names[#names + 1], endpoints[#endpoints + 1] = name, data.endpoint or "-"
      assert.is_string(data.request_id)
    end }))
    assert.equal("attempt_started", names[1])
    assert.equal("settled", names[#names])
    assert.is_truthy(table.concat(names, " "):find "failed_over")
    assert.equal("a", endpoints[1])
    assert(client:chat("x", { on_event = function() error "mine" end }))
    assert(client:chat("x", { on_event = function() coroutine.yield() end }))
    local stats = client:stats()
    assert.is_true(stats.event_errors > 1)
    assert.is_string(stats.last_event_error)
  end)

  it("is cancelled by a canceller, before and during", function()
    local client, seen, sim = recording(says("x", 5))
    local canceller = surefoot.canceller()
    local outcome
    sim:spawn(function() outcome = { client:chat("x", { cancel = canceller }) } end)
    sim:run(1)
    assert.equal(1, #seen)
    canceller:cancel()
    sim:run()
    assert.equal("cancelled", outcome[2].kind)
    assert.equal(1, sim:now())
    local _, err = client:chat("x", { cancel = canceller })
    assert.same({ "cancelled", false }, { err.kind, err.sent })
    assert.equal(1, #seen)
    assert.is_true(canceller:cancelled())
  end)

  it("is cancelled with its task", function()
    local client, _, sim = recording(says("x", 5))
    local task = sim:spawn(function()
      local _, first = client:chat "x"
      local second = client:chat "y"
      return first.kind, second.text
    end)
    sim:run(2)
    task:cancel()
    assert.same({ "cancelled", "x" }, { task:wait() })
    assert.equal(7, sim:now())
  end)

  it("estimates usage where the provider says nothing", function()
    local client = recording(function()
      return { body = { choices = { { message = { content = "12345678" }, finish_reason = "stop" } } } }
    end)
    local usage = assert(client:chat "x").usage
    assert.is_true(usage.estimated)
    assert.equal(2, usage.output_tokens)
    assert.equal(usage.input_tokens + 2, usage.total_tokens)
    assert.is_true(usage.input_tokens > 10)
  end)

  it("runs calls side by side, and queues in the order of arrival", function()
    local client, _, sim = recording(function(n) return { after = 1, text = tostring(n) } end,
      { concurrency = { limit = 2 } })
    local texts = {}
    for i = 1, 4 do
      sim:spawn(function() texts[i] = assert(client:chat("x" .. i)).text end)
    end
    sim:run()
    assert.same({ "1", "2", "3", "4" }, texts)
    assert.equal(2, sim:now())
  end)

  it("refuses when the queue is full", function()
    local client, _, sim = recording(says("x", 1), { concurrency = { limit = 1, queue = 1 } })
    local kinds = {}
    for i = 1, 3 do
      sim:spawn(function()
        local _, err = client:chat "x"
        kinds[i] = err and err.kind or "ok"
      end)
    end
    sim:run()
    assert.same({ "ok", "ok", "queue_full" }, kinds)
  end)
end)

describe("misuse of a client", function()
  local client
  before_each(function() client = recording(says "x", {}) end)

  local cases = {
    { "chat", { 5 }, "client:chat: expected a request table, got 5" },
    { "chat", { nil }, "client:chat: expected a request table, got a nil" },
    { "chat", { { messages = {}, stream = true } }, "client:chat: stream: this call returns whole answers" },
    { "chat", { { messages = { { content = "a\255" } } } },
      "client:chat: messages[1].content: invalid UTF-8 at byte 2 of 2 (0xFF)" },
    { "chat", { { messages = { { content = print } } } },
      "client:chat: messages[1].content: a function cannot be written" },
    { "chat", { { model = 5, messages = {} } }, "client:chat: model: expected a name, got 5" },
    { "chat", { "x", { deadlin = 1 } }, 'client:chat: deadlin: unknown key; did you mean "deadline"?' },
    { "chat", { "x", { deadline = -1 } }, "client:chat: deadline: expected seconds above 0" },
    { "stream", { "x", { resume = true } },
      'client:stream: resume: expected one of "off", "continue", "restart", "auto", got true' },
    { "chat", { "x", { hedge = { max = 0 } } }, "client:chat: hedge.max: expected a whole number from 1 to 10, got 0" },
    { "chat", { "x", { fallbacks = { { model = "m", endpoint = "zz" } } } },
      'client:chat: fallbacks[1].endpoint: no endpoint "zz"' },
    { "embeddings", { "x" }, 'client:embeddings: expected a request table, got "x"' },
    { "models", { 5 }, "client:models: options: expected a table, got 5" },
    { "request", { {} }, "client:request: path: is required" },
    { "request", { { path = "x" } }, 'client:request: path: expected a path that begins with /, without spaces'
      .. ', got "x"' },
    { "request", { { path = "/a b" } }, "client:request: path: contains a space at byte 3" },
    { "request", { { path = "/x", method = "FETCH" } }, "client:request: method: expected one of" },
    { "request", { { path = "/x", json = {}, body = "x" } },
      "client:request: body: give one of json, body and multipart" },
    { "request", { { path = "/x", json = { x = 0 / 0 } } }, "client:request: json: x: NaN is no JSON number" },
    { "request", { { path = "/x", endpoint = "zz" } }, 'client:request: endpoint: no endpoint is named "zz"' },
    { "request", { { path = "/x", headers = { ["a"] = "b\r\nc" } } },
      "client:request: headers.a: contains a line break" },
    { "batch", { 5 }, "client:batch: requests: expected a list, got 5" },
    { "batch", { { 5 } }, "client:batch: requests[1]: expected a request table or a text, got 5" },
    { "batch", { {}, { concurrency = 0 } }, "client:batch: concurrency: expected a whole number from 1" },
    { "batch", { {}, { idempotency_key = "x" } }, "client:batch: idempotency_key: belongs to one call" },
    { "each", { { "x" }, { on_progres = print } }, "client:each: on_progres: unknown key" },
    { "close", { 5 }, "client:close: expected a table, got 5" },
    { "close", { { drian = 1 } }, 'client:close: drian: unknown key; did you mean "drain"?' },
  }
  for _, case in ipairs(cases) do
    it("throws " .. case[3], function()
      local arguments = case[2]
      local function line_of_the_user()
        client[case[1]](client, arguments[1], arguments[2])
      end
      local ok, message = pcall(line_of_the_user)
      assert.is_false(ok)
      assert.is_truthy(message:find(case[3], 1, true), message)
      assert.matches("client_spec%.lua:%d+: ", message)
    end)
  end

  it("needs a model", function()
    local sim = simulate { a = says "x" }
    local bare = sim:client {}
    bare.config.model = nil
    assert.error_matches(function() bare:chat "x" end, "model: the request names none, and the client has no default")
  end)

  it("wants a colon", function()
    assert.error_matches(function() client.chat "x" end, "call it with a colon, client:chat")
  end)
end)

describe("client:embeddings, models, request", function()
  it("reads embeddings", function()
    local client, seen = recording(function()
      return { body = { data = { { index = 0, embedding = { 1, 2 } }, { index = 1, embedding = { 3 } } },
        usage = { prompt_tokens = 4, total_tokens = 4 } } }
    end)
    local reply = assert(client:embeddings { input = { "a", "b" }, model = "e" })
    assert.same({ { 1, 2 }, { 3 } }, reply.embeddings)
    assert.equal("/v1/embeddings", seen[1].path)
    assert.equal("e", seen[1].json.model)
  end)

  it("lists models", function()
    local client, seen = recording(function() return { body = { data = { { id = "m1" }, { id = "m2" } } } } end)
    local models = assert(client:models())
    assert.same({ "m1", "m2" }, { models[1].id, models[2].id })
    assert.same({ "GET", "/v1/models" }, { seen[1].method, seen[1].path })
    assert.is_nil(seen[1].body)
  end)

  it("makes any request", function()
    local client, seen = recording(function(n)
      return ({
        { body = { ok = surefoot.array() } },
        { body = "plain", headers = { ["content-type"] = "text/plain" } },
        { status = 204 },
        { body = '{"cut":' }, { body = '{"whole":true}' },
        { status = 404, body = { error = { message = "gone" } } },
      })[n]
    end)
    local reply = assert(client:request { path = "/files?x=1", json = { a = 1 }, headers = { ["X-A"] = "1" } })
    assert.same({ ok = {} }, reply.body)
    assert.equal('{"ok":[]}', reply.raw)
    assert.same({ "POST", "/v1/files?x=1", '{"a":1}', "1", "application/json" },
      { seen[1].method, seen[1].path, seen[1].body, seen[1].headers["x-a"], seen[1].headers["content-type"] })
    assert.equal("plain", assert(client:request { path = "/files", body = "bytes", method = "PUT" }).body)
    assert.same({ "PUT", "bytes", "application/octet-stream" },
      { seen[2].method, seen[2].body, seen[2].headers["content-type"] })
    reply = assert(client:request { path = "/files/1", method = "DELETE" })
    assert.same({ 204, "" }, { reply.status, reply.body })
    assert.same({ whole = true }, assert(client:request { path = "/y" }).body)
    local _, err = client:request { path = "/none" }
    assert.same({ "not_found", "gone" }, { err.kind, err.message })
  end)

  it("sends files, and says when it cannot", function()
    local client, seen = recording(function() return { body = {} } end)
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write "content\0\r\n"
    file:close()
    assert(client:request { path = "/files", body = { file = path } })
    assert.equal("content\0\r\n", seen[1].body)
    os.remove(path)
    local _, err = client:request { path = "/files", body = { file = path } }
    assert.same({ "invalid_request", false }, { err.kind, err.sent })
    assert.is_truthy(err.message:find(path, 1, true))
  end)

  it("sends a request to one endpoint only", function()
    local sim = simulate { a = status(200, { from = "a" }), b = status(200, { from = "b" }) }
    local client = sim:client {}
    for _ = 1, 3 do
      assert.equal("b", assert(client:request { path = "/x", endpoint = "b" }).body.from)
    end
  end)
end)

describe("keys", function()
  it("come from a function that is asked before each call", function()
    local current = "k1"
    local client, seen = recording(says "x", { api_key = function() return current end })
    assert(client:chat "x")
    current = "k2"
    assert(client:chat "x")
    assert.same({ "Bearer k1", "Bearer k2" }, { seen[1].headers.authorization, seen[2].headers.authorization })
    current = "bad\nkey"
    local _, err = client:chat "x"
    assert.same({ "unauthorized", false }, { err.kind, err.sent })
    assert.is_falsy(tostring(err):find("bad", 1, true))
    current = nil
    _, err = client:chat "x"
    assert.equal("unauthorized", err.kind)
    assert.equal(2, #seen)
  end)

  it("of a function are scrubbed as well", function()
    local client = recording(status(400, { error = { message = "key tok-9 is odd" } }),
      { api_key = function() return "tok-9" end })
    local _, err = client:chat "x"
    assert.equal("key [key] is odd", err.message)
  end)

  it("rotate when one is refused", function()
    local client, seen = recording(function(_, request)
      if request.headers.authorization == "Bearer good" then
        return { text = "x" }
      end
      return { status = 401, body = { error = { message = "no" } } }
    end, { api_key = { "bad", "good" } })
    for _ = 1, 4 do
      assert(client:chat "x")
    end
    assert.is_true(#seen <= 5)
  end)

  it("do not show in the client's text", function()
    local client = recording(says "x", { api_key = "s3cret" })
    assert.equal("surefoot.client (a)", tostring(client))
  end)
end)

describe("client:stats", function()
  it("counts calls, attempts, errors, times, tokens and money", function()
    local sim = simulate {
      a = function(n) return n == 1 and { after = 0.1, status = 500 } or { after = 0.2, text = "12345678" } end,
      b = status(400),
    }
    local client = sim:client { endpoints = { { name = "a" }, { name = "b", models = { "m" } } },
      prices = { simulated = { output = 1e6 } } }
    assert(client:chat "x")
    client:chat { model = "m", messages = {} }
    local stats = client:stats()
    assert.equal(2, stats.requests)
    assert.is_true(stats.successes >= 1)
    assert.is_true(stats.attempts >= 3)
    assert.equal(0, stats.in_flight)
    assert.equal(1, stats.endpoints.a.errors.server)
    assert.equal("closed", stats.endpoints.a.breaker)
    assert.equal(2, stats.tokens.output / stats.successes)
    assert.equal(2, stats.cost)
    assert.equal(2, stats.endpoints.a.cost)
    assert.is_number(stats.latency.p99)
    assert.is_number(stats.time_to_first_token.p50)
    assert.equal(0, stats.endpoints.b.tokens.total)
  end)

  it("tells calls in flight from those that wait, and for which line", function()
    local sim = simulate { a = says("x", 1), b = says("x", 1) }
    local client = sim:client { endpoints = { { name = "a" }, { name = "b", models = { "m" } } }, routing = "priority",
      concurrency = { limit = 3 } }
    for i = 1, 9 do
      sim:spawn(function() assert(client:chat { model = i > 7 and "m" or nil, messages = {} }) end)
    end
    sim:run(0.5)
    local stats = client:stats()
    assert.same({ 3, 3, 6 }, { stats.in_flight, stats.peak_in_flight, stats.queue })
    assert.same({ 6, 2 }, { stats.endpoints.a.queue, stats.endpoints.b.queue })
    sim:run()
    stats = client:stats()
    assert.same({ 0, 3, 0, 9 }, { stats.in_flight, stats.peak_in_flight, stats.queue, stats.successes })
    assert.same({ 0, 0 }, { stats.endpoints.a.queue, stats.endpoints.b.queue })
  end)

  it("has the state of the best line's circuit for the client's", function()
    local sim = simulate { a = status(500), b = says("x", 0.1) }
    local client = sim:client { endpoints = { { name = "a" }, { name = "b", priority = 2 } },
      retry = { max_attempts = 1 }, breaker = { recovery_timeout = 100, jitter = 0 } }
    for _ = 1, 5 do client:chat "x" end
    assert.same({ "closed", "open" }, { client:stats().breaker, client:stats().endpoints.a.breaker })
    client = sim:client { endpoints = { "a" }, retry = { max_attempts = 1 }, breaker = { jitter = 0 } }
    for _ = 1, 5 do client:chat "x" end
    assert.equal("open", client:stats().breaker)
    sim:spawn(function() surefoot.sleep(6) end)
    sim:run()
    assert.equal("half_open", client:stats().breaker)
    assert.is_nil(sim:client({ breaker = false }):stats().breaker)
  end)
end)
