-- Web pages in a browser beside a gateway that needs no keys: they are no callers.

local cjson = require "cjson"
local http = require "spec.support.http"
local lab = require "spec.gateway.lab"
local provider = require "spec.support.provider"

describe("a gateway on loopback, without keys #once", function()
  local p, n

  local function start(gateway, listen)
    n = lab.start(('{ base_url = "%s", api_key = "sk-upstream-0123456789", http_version = "1.1", gateway = %s }%s')
      :format(p.lines.a.url, gateway, listen and (', "%s"'):format(listen) or ""))
  end

  -- The status of an answer to a request with these headers, its host by another name.
  local function ask(path, headers, body)
    local connection = assert(http.connect("127.0.0.1", n.port, 10 * lab.pace))
    local request = http.format { url = n.url .. path, headers = headers, body = body and cjson.encode(body) }
    if headers.Host then
      request = request:gsub("Host: [^\r]*\r\n", "", 1)
    end
    assert(connection:send(request))
    local response = assert(connection:response())
    connection:close()
    return response.status, response.body
  end

  local function call(headers)
    return ask("/v1/chat/completions", headers, lab.question())
  end

  setup(function()
    p = provider.start()
  end)

  after_each(function()
    n:stop()
  end)

  teardown(function()
    assert.same({}, p:errors())
    p:stop()
  end)

  it("answers no page of another host, and nobody who was led to it by another name", function()
    start("{}", "127.0.0.1:8080")
    for _, headers in ipairs { { Origin = "https://evil.example" }, { Origin = "null" },
      { Origin = "http://127.0.0.1.evil.example" }, { Host = "evil.example" }, { Host = "evil.example:8080" } } do
      local status, body = call(headers)
      assert.same({ 403, "origin_not_allowed" }, { status, cjson.decode(body).error.code }, cjson.encode(headers))
      assert.equal(403, (ask("/v1/models", headers)))
      assert.equal(403, (ask("/status.json", headers)))
      assert.equal(403, (ask("/metrics", headers)))
      assert.equal(200, (ask("/health", headers)))
    end
    assert.equal(0, p:counters("a").requests)
  end)

  it("answers programs, and pages of this machine", function()
    start("{}", "127.0.0.1:8080")
    for _, headers in ipairs { {}, { Host = "localhost:8080" }, { Host = "[::1]:8080" }, { Host = "10.0.0.7" },
      { Host = "gateway:8080" }, { Host = "host.docker.internal:8080" }, { Host = "a.localhost" },
      { Origin = "http://localhost:3000" }, { Origin = "app://chat" },
      { Host = "box:8080", Origin = "http://box:8080" } } do
      assert.equal(200, (call(headers)), cjson.encode(headers))
      assert.equal(200, (ask("/status.json", headers)))
    end
  end)

  it("shows its numbers to nobody who comes through a proxy", function()
    start("{}", "127.0.0.1:8080")
    for _, headers in ipairs { { ["X-Forwarded-For"] = "8.8.8.8" }, { Forwarded = "for=8.8.8.8" } } do
      assert.same({ 403, 403, 200 }, { (ask("/status.json", headers)), (ask("/metrics", headers)), (call(headers)) })
    end
  end)

  it("asks nobody where from who has a key, or where everybody may come", function()
    local strange = { Host = "evil.example", Origin = "https://evil.example",
      Authorization = "Bearer sk-0123456789abcdef" }
    start([[{ keys = { { name = "a", key = "sk-0123456789abcdef" } }, admin_key = "sk-0123456789abcdef" }]],
      "127.0.0.1:8080")
    assert.same({ 200, 200 }, { (call(strange)), (ask("/metrics", strange)) })
    n:stop()
    start("{ public = true }", "127.0.0.1:8080")
    assert.same({ 200, 200 }, { (call(strange)), (ask("/metrics", strange)) })
    n:stop()
    start("{}") -- in an nginx of somebody's own, who knows what stands before it
    assert.equal(200, (call(strange)))
  end)
end)
