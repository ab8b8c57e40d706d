-- What the statuses of a provider come to: which kind, whether the same line is asked again, whether another, and when.

local pace = require "spec.support.pace"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

-- status, kind; again: worth another attempt on the same line; elsewhere: worth one on another line.
local statuses = {
  { 301, "server", elsewhere = true },
  { 400, "invalid_request" },
  { 401, "unauthorized", elsewhere = true },
  { 402, "quota", elsewhere = true },
  { 403, "forbidden", elsewhere = true },
  { 404, "not_found", elsewhere = true },
  { 405, "invalid_request" },
  { 408, "server", again = true, elsewhere = true },
  { 409, "server", again = true, elsewhere = true },
  { 410, "invalid_request" },
  { 413, "too_large" },
  { 422, "invalid_request" },
  { 429, "rate_limited", again = true, elsewhere = true },
  { 500, "server", again = true, elsewhere = true },
  { 501, "invalid_request" },
  { 502, "server", again = true, elsewhere = true },
  { 503, "overloaded", again = true, elsewhere = true },
  { 504, "server", again = true, elsewhere = true },
  { 520, "server", again = true, elsewhere = true },
  { 529, "overloaded", again = true, elsewhere = true },
}

local page = "<html><head><title>It broke</title></head><body>broken</body></html>"
local bodies = {
  { "the API's own error", nil, "^Simulated" },
  { "a proxy's page", page, "It broke", { ["Content-Type"] = "text/html" } },
  { "no body", "", "." },
  { "half a document", '{"error":{"message":"cut he', "." },
}

describe("status", function()
  local p, client_of = scene.of { lines = { "a", "b" } }
  local client

  local function connect(lines, retry)
    local endpoints = {}
    for i, name in ipairs(lines) do
      endpoints[i] = { name = name, url = p.lines[name].url, priority = i }
    end
    client = client_of { endpoints = endpoints, api_key = "sk-test-0123456789", model = "m", retry = retry }
  end

  for _, row in ipairs(statuses) do
    local code, kind = row[1], row[2]

    for _, body in ipairs(bodies) do
      it(("%d with %s is %s"):format(code, body[1], kind), function()
        p:profile("a", { status = { code = code, body = body[2], headers = body[4] } })
        connect({ "a" }, { max_attempts = 1 })
        local result, err = client:chat "x"
        assert.is_nil(result)
        assert.same({ kind, code, true }, { err.kind, err.status, err.sent }, tostring(err))
        assert.matches(body[3], err.message)
        assert.equal(1, p:counters("a").requests)
        assert.equal(1, client:stats().errors[kind])
      end)
    end

    it(("%d is %s the same line again"):format(code, row.again and "worth asking" or "no reason to ask"), function()
      p:profile("a", { sequence = { { status = { code = code } } } })
      connect({ "a" }, { base_delay = 0.001, throttled_base_delay = 0.001 })
      local result, err = client:chat "x"
      assert.equal(row.again and 2 or 1, p:counters("a").requests)
      assert.equal(row.again and "echo: x" or kind, result and result.text or err.kind)
    end)

    it(("%d is %s another line"):format(code, row.elsewhere and "worth asking" or "no reason to ask"), function()
      p:profile("a", { status = { code = code } })
      connect({ "a", "b" }, { base_delay = 30, throttled_base_delay = 30 })
      local result, err = client:chat("x", { deadline = 10 })
      assert.same({ 1, row.elsewhere and 1 or 0 }, { p:counters("a").requests, p:counters("b").requests })
      assert.equal(row.elsewhere and "echo: x" or kind, result and result.text or err.kind)
    end)
  end

  it("429 of an empty account is no reason to use the same key again", function()
    p:profile("a", { status = { code = 429, body = { error = { message = "spent", code = "insufficient_quota" } } } })
    connect({ "a" }, { base_delay = 0.001, throttled_base_delay = 0.001 })
    local _, err = client:chat "x"
    assert.same({ "quota", 429, "insufficient_quota", false }, { err.kind, err.status, err.code, err.retryable })
    assert.equal(1, p:counters("a").requests)
  end)

  it("401 of one key leaves the others", function()
    p:profile("a", { keys = { "good" } })
    client = client_of { base_url = p.lines.a.url, api_key = { "bad", "good" }, model = "m" }
    for _ = 1, 4 do
      assert.equal("echo: x", assert(client:chat "x").text)
    end
    local keys = p:counters("a").keys
    assert.equal(4, keys.good)
    assert.equal(1, keys.bad)
  end)

  describe("429 that says when to come back", function()
    local WAIT = 30
    local forms = {
      seconds = 0, fraction = 0, ms = 0.1, ["x-ms"] = 0.1, date = 1.1, rfc850 = 1.1, asctime = 1.1, body = 0.1,
    }

    for form, slack in pairs(forms) do
      it("as " .. form .. " is believed", function()
        p:profile("a", { rate = { per_second = 0.001, burst = 0, wait = WAIT, retry_after = form } })
        connect({ "a" }, { base_delay = 0.001, throttled_base_delay = 0.001 })
        local began = surefoot.now()
        local _, err = client:chat("x", { deadline = 5 })
        assert.is_true(surefoot.now() - began < pace, "a wait that passes the deadline is not waited for")
        assert.equal("rate_limited", err.kind)
        assert.is_true(err.sent)
        assert.near(WAIT, err.retry_after, slack + 0.05)
        assert.near(os.time() + WAIT, err.retry_at, slack + 2.05)
        assert.equal(1, p:counters("a").requests)
      end)
    end

    it("is waited for, no less", function()
      local headers = { ["retry-after-ms"] = "120" }
      p:profile("a", { sequence = { { status = { code = 429, headers = headers } } } })
      connect({ "a" }, { throttled_base_delay = 0.001 })
      local result = assert(client:chat "x")
      local starts = p:counters("a").starts
      assert.is_true(starts[2] - starts[1] >= 0.119, starts[2] - starts[1])
      assert.is_true(result.attempts[2].waited >= 0.12)
    end)

    it("does not keep other lines from being asked at once", function()
      p:profile("a", { status = { code = 429, headers = { ["retry-after"] = "100" } } })
      connect({ "a", "b" })
      for _ = 1, 3 do
        local result = assert(client:chat "x")
        assert.equal("b", result.endpoint)
        assert.is_true(result.latency < pace)
      end
      assert.equal(1, p:counters("a").requests, "a line that said when to come back is left alone until then")
    end)

    it("over two minutes is not waited for", function()
      p:profile("a", { status = { code = 429, headers = { ["retry-after"] = "121" } } })
      connect { "a" }
      local _, err = client:chat "x"
      assert.equal("rate_limited", err.kind)
      assert.near(121, err.retry_after, 0.1)
      assert.equal(1, p:counters("a").requests)
    end)

    it("in words nobody understands leaves the usual backoff", function()
      p:profile("a", { sequence = { { status = { code = 429, headers = { ["retry-after"] = "soon" } } } } })
      connect({ "a" }, { throttled_base_delay = 0.001 })
      assert.is_true(assert(client:chat "x").latency < pace)
    end)

    it("is overruled by x-should-retry", function()
      p:profile("a", { sequence = { { status = { code = 503, headers = { ["x-should-retry"] = "false" } } } } })
      connect({ "a" }, { base_delay = 0.001, throttled_base_delay = 0.001 })
      local _, err = client:chat "x"
      assert.equal("overloaded", err.kind)
      p:reset()
      p:profile("a", { sequence = { { status = { code = 400, headers = { ["x-should-retry"] = "true" } } } } })
      assert.equal("echo: x", assert(client:chat "x").text)
    end)
  end)
end)
