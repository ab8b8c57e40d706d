-- All jobs of a client on a real provider: requests of any kind, batches, embeddings, models, verify, warm, close;
-- large and strange input; and bounds that hold.

local process = require "spec.support.process"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local KEY = "sk-test-0123456789"

describe("a client", function()
  local p, client_of = scene.of { lines = { "a", "b" }, tls = true }

  local function new(config)
    config = config or {}
    config.base_url = not config.endpoints and (config.base_url or p.lines.a.url) or nil
    config.api_key, config.model = config.api_key or KEY, "m"
    return client_of(config)
  end

  describe("requests", function()
    it("anything: GET, POST of JSON, of text, of a file, of nothing", function()
      local client = new()
      local models = assert(client:request { path = "/models" })
      assert.equal("list", models.body.object)
      local document = { model = "m", messages = { { role = "user", content = "x" } } }
      local reply = assert(client:request { path = "/chat/completions", json = document })
      assert.equal("echo: x", reply.body.choices[1].message.content)
      assert.equal("application/json", p:counters("a").last_headers["content-type"])
      local text = '{"messages":[{"role":"user","content":"from text"}]}'
      local headers = { ["Content-Type"] = "text/json" }
      reply = assert(client:request { path = "/chat/completions", body = text, headers = headers })
      assert.equal("echo: from text", reply.body.choices[1].message.content)
      assert.equal("text/json", p:counters("a").last_headers["content-type"])
      assert.equal(text, p:counters("a").last_body)
      local path = os.tmpname()
      process.write(path, text)
      reply = assert(client:request { path = "/chat/completions", body = { file = path } })
      os.remove(path)
      assert.equal("echo: from text", reply.body.choices[1].message.content)
      local _, err = client:request { path = "/chat/completions", body = { file = path } }
      assert.is_false(err.sent)
      assert.matches("No such file", err.message)
    end)

    it("with every method, and queries", function()
      local answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
      local listener = p:raw { { read_request = true }, { send = answer }, { again = true } }
      local client = new { base_url = listener.url }
      for i, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE" } do
        local body = method ~= "GET" and method ~= "DELETE" and "body of " .. method or nil
        assert.equal("ok", assert(client:request { method = method, path = "/thing?a=1&b=%20", body = body }).body)
        local asked = listener:counters().requests[i]
        assert.equal(method .. " /v1/thing?a=1&b=%20 HTTP/1.1", asked:match "^[^\r]+")
        assert.equal(body or "", asked:match "\r\n\r\n(.*)$")
        local length = asked:lower():match "content%-length: (%d+)"
        assert.equal(body and #body, tonumber(length))
      end
      listener:close()
    end)

    it("only of the endpoint that is named", function()
      local client = new { endpoints = { { name = "a", url = p.lines.a.url }, { name = "b", url = p.lines.b.url } } }
      for _ = 1, 3 do
        assert.equal("b", assert(client:request { path = "/models", endpoint = "b" }).endpoint)
      end
      assert.same({ 0, 3 }, { p:counters("a").requests, p:counters("b").requests })
    end)
  end)

  it("embeds, and lists models", function()
    local client = new()
    local reply = assert(client:embeddings { input = { "one", "two", "three" } })
    assert.equal(3, #reply.embeddings)
    assert.equal("number", type(reply.embeddings[3][1]))
    p:profile("a", { models = { "big", "small" } })
    local models = assert(client:models())
    assert.same({ "big", "small" }, { models[1].id, models[2].id })
  end)

  it("verifies its lines: good, with a bad key, refusing, hanging, all at once", function()
    local dead = provider.refusing()
    p:profile("a", { keys = { KEY } })
    p:profile("b", { keys = { "another" } })
    local client = new { endpoints = {
      { name = "good", url = p.lines.a.url }, { name = "bad key", url = p.lines.b.url },
      { name = "dead", url = dead.url },
    } }
    local report = client:verify()
    assert.is_false(report.ok)
    local seen = {}
    for i, entry in ipairs(report.endpoints) do
      seen[i] = { entry.endpoint, entry.ok, entry.kind }
    end
    assert.same({ { "good", true }, { "bad key", false, "unauthorized" }, { "dead", false, "network" } }, seen)
    assert.same({ 1, 1 }, { p:counters("a").requests, p:counters("b").requests })
    assert.is_false(client:warm().ok)
    dead:close()
  end)

  it("warms its connections, so that the first call needs none", function()
    local client = new { endpoints = { { url = p.lines.a.url }, { url = p.lines.b.url } }, routing = "round_robin" }
    assert.is_true(client:warm().ok)
    for _ = 1, 4 do
      assert.is_true(assert(client:chat "x").attempts[1].reused)
    end
    assert.same({ 1, 1 }, { p:counters("a").connections, p:counters("b").connections })
  end)

  it("does batches over good and bad lines; each answer is its own", function()
    p:profile("a", { faults = { reset = 0.1, truncate = 0.1, short_json = 0.1, status = { ["503"] = 0.1 } }, seed = 3 })
    local retry = { base_delay = 0.001, throttled_base_delay = 0.001, budget = false }
    local client = new { retry = retry, breaker = false, routing = "round_robin", endpoints = {
      { name = "a", url = p.lines.a.url }, { name = "b", url = p.lines.b.url },
    } }
    local requests, progress = {}, {}
    for i = 1, 200 do
      requests[i] = "question " .. i
    end
    local outcomes, summary = client:batch(requests, { concurrency = 16, on_progress = function(now)
      progress[#progress + 1] = now.done
      assert(now.total == 200)
    end })
    assert.equal(200, #progress)
    assert.equal(200, summary.succeeded)
    local attempts, restarts = 0, 0
    for i, outcome in ipairs(outcomes) do
      assert.equal("echo: question " .. i, outcome.result.text)
      for _, attempt in ipairs(outcome.result.attempts) do
        attempts, restarts = attempts + 1, restarts + (attempt.restarted and 1 or 0)
      end
    end
    local stats = client:stats()
    assert.equal(200, stats.successes)
    assert.equal(attempts, stats.attempts)
    assert.equal(attempts + restarts, p:counters("a").requests + p:counters("b").requests)
    assert.equal(stats.attempts, stats.endpoints.a.attempts + stats.endpoints.b.attempts)
    assert.is_true(stats.retries > 5)
  end)

  it("gives each as it ends", function()
    p:profile("a", { latency = { median = 0.01, sigma = 1 }, seed = 4 })
    local client, seen, count = new { concurrency = { limit = 8 } }, {}, 0
    local requests = {}
    for i = 1, 40 do
      requests[i] = "x" .. i
    end
    for index, result, err in client:each(requests) do
      assert.is_nil(err)
      assert.equal("echo: x" .. index, result.text)
      assert.is_nil(seen[index])
      seen[index], count = true, count + 1
    end
    assert.equal(40, count)
    local peak = p:counters("a").peak
    assert.is_true(peak > 1 and peak <= 8, "peak " .. peak)
  end)

  it("never has more at the provider than its limit, whatever fails", function()
    p:profile("a", {
      faults = { reset = 0.2, status = { ["500"] = 0.2 } }, latency = { median = 0.004, sigma = 0.5 }, seed = 9,
    })
    local client = new { concurrency = { limit = 5 }, retry = { base_delay = 0.001 }, breaker = false }
    local requests = {}
    for i = 1, 150 do
      requests[i] = "x" .. i
    end
    client:batch(requests, { concurrency = 60 })
    assert.is_true(p:counters("a").peak <= 5, p:counters("a").peak)
    assert.is_true(client:stats().attempts > 150)
  end)

  describe("that closes", function()
    it("with drain lets the calls in flight end, and takes no more", function()
      p:profile("a", { delay = 0.1 * pace })
      local client = new()
      local result, err, late
      surefoot.run(function()
        local task = surefoot.spawn(function() result, err = client:chat "x" end)
        surefoot.sleep(0.03 * pace)
        local closing = surefoot.spawn(function() client:close { drain = 5 * pace } end)
        surefoot.sleep(0.01)
        late = select(2, client:chat "late")
        task:wait()
        closing:wait()
      end)
      assert.equal("echo: x", result and result.text or tostring(err))
      assert.same({ "closed", false }, { late.kind, late.sent })
    end)

    it("with drain waits no longer than it is told", function()
      p:profile("a", { fault = "hang" })
      local client = new()
      local err
      local began = surefoot.now()
      surefoot.run(function()
        surefoot.spawn(function() err = select(2, client:chat "x") end)
        surefoot.sleep(0.03 * pace)
        client:close { drain = 0.05 }
      end)
      assert.equal("closed", err.kind)
      assert.is_true(surefoot.now() - began < pace)
      client:close()
    end)

    it("says so to every job", function()
      local client = new()
      client:close()
      for _, job in ipairs { "models", "chat", "embeddings" } do
        local _, err = client[job](client, job == "chat" and "x" or job == "embeddings" and { input = "x" } or nil)
        assert.same({ "closed", false }, { err.kind, err.sent })
      end
      local outcomes, summary = client:batch { "x", "y" }
      assert.same({ 2, "closed" }, { summary.failed, outcomes[1].error.kind })
      assert.is_false(client:verify().ok)
      assert.equal(0, p:counters("a").requests)
    end)
  end)

  describe("is given", function()
    it("eight megabytes to say, and says them", function()
      p:profile("a", { answer = { text = "read" } })
      for _, config in ipairs { {}, { base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file } },
        { base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file }, http_version = "2" } } do
        local client, sent = new(config), p:counters("a").bytes_in
        assert.equal("read", assert(client:chat(("ab c"):rep(2 * 2 ^ 20))).text)
        assert.is_true(p:counters("a").bytes_in - sent > 8 * 2 ^ 20)
      end
    end)

    it("eight megabytes to read, and reads them", function()
      p:profile("a", { answer = { bytes = 8 * 2 ^ 20 } })
      for _, gzip in ipairs { false, true } do
        p:profile("a", { answer = { bytes = 8 * 2 ^ 20, gzip = gzip } })
        local text = assert(new():chat "x").text
        assert.is_true(#text >= 8 * 2 ^ 20)
        assert.matches("%[end%]$", text)
      end
    end)

    it("an answer over its limit, and stops at once", function()
      for _, gzip in ipairs { false, true } do
        p:profile("a", { answer = { bytes = 20 * 2 ^ 20, gzip = gzip } })
        local client = new { limits = { response_bytes = 2 ^ 20 } }
        local _, err = client:chat "x"
        assert.same({ "too_large", false }, { err.kind, err.retryable })
        assert.equal(1, #err.attempts)
      end
    end)

    it("an answer that nests too deep", function()
      p:profile("a", { answer = { body = '{"choices":' .. ("["):rep(5000) .. ("]"):rep(5000) .. "}" } })
      local _, err = new({ retry = { max_attempts = 1 } }):chat "x"
      assert.equal("malformed", err.kind)
    end)

    it("text in any language, and all of it comes back", function()
      local client = new()
      local quotes = "\"quotes\" \\ and / and \226\128\168"
      for _, text in ipairs { "日本語", "emoji 😀 and \0 and \27", quotes, ("é"):rep(1000) } do
        assert.equal("echo: " .. text, assert(client:chat(text)).text)
      end
    end)

    it("bytes that are no UTF-8, and refuses them before anything is sent", function()
      local client = new()
      for _, text in ipairs { "\255", "a\192\128", "\237\160\128", "\244\144\128\128", "cut \226\130" } do
        assert.has_error(function() client:chat(text) end)
      end
      assert.equal(0, p:counters("a").requests)
    end)

    local nan = 0 / 0
    local durations = { ["NaN"] = nan, ["a negative"] = -1, ["zero"] = 0, ["a string"] = "1", ["-inf"] = -math.huge }
    for name, value in pairs(durations) do
      it(name .. " for a duration, and throws", function()
        local client = new()
        assert.has_error(function() client:chat("x", { deadline = value }) end)
        assert.has_error(function() client:chat("x", { timeout = { attempt = value } }) end)
        assert.has_error(function() new { timeout = { connect = value } } end)
        assert.has_error(function() new { timeout = { total = value } } end)
        if value ~= 0 then
          assert.has_error(function() surefoot.sleep(value) end)
          assert.has_error(function() client:close { drain = value } end)
        end
        assert.equal(0, p:counters("a").requests)
      end)
    end

    it("no bounds at all, and works", function()
      local huge = math.huge
      local client = new { timeout = {
        connect = huge, first_byte = huge, first_token = huge, idle = huge, attempt = huge, total = huge,
      } }
      assert.equal("echo: x", assert(client:chat "x").text)
    end)

    it("the shortest of deadlines, and fails in time", function()
      local client = new()
      for _, deadline in ipairs { 1e-9, 1e-6, 1e-4 } do
        local _, err = client:chat("x", { deadline = deadline })
        assert.equal("deadline", err.kind)
      end
    end)
  end)
end)
