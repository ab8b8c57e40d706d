-- Connections: certificates, names, ports where nobody answers, how they are kept, and what becomes of one that died.

local http = require "spec.support.http"
local leaks = require "spec.support.leaks"
local process = require "spec.support.process"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local socket = require "socket"
local surefoot = require "surefoot"

local unpack = table.unpack or unpack
local KEY = "sk-test-0123456789"

describe("connections:", function()
  local p, before, clients, ports

  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
  end)

  teardown(function()
    p:stop()
  end)

  before_each(function()
    p:reset()
    clients, ports = {}, {}
    before = leaks.begin()
  end)

  after_each(function()
    for _, port in ipairs(ports) do
      port:close()
    end
    leaks.check(before, unpack(clients))
    for _, client in ipairs(clients) do
      client:close()
    end
  end)

  local function new(config)
    config.api_key, config.model = config.api_key or KEY, "m"
    config.retry = config.retry or { max_attempts = 1 }
    local client = surefoot.new(config)
    clients[#clients + 1] = client
    return client
  end

  local function fails(client, options)
    local began = surefoot.now()
    local result, err = client:chat("x", options)
    assert.is_nil(result)
    return err, surefoot.now() - began
  end

  describe("TLS", function()
    it("is trusted through the CA that was named", function()
      local client = new { base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file } }
      assert.equal("echo: x", assert(client:chat "x").text)
    end)

    it("is not trusted when the CA is unknown, and no request is sent", function()
      local err = fails(new { base_url = p.lines.a.tls_url })
      assert.same({ "tls", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      assert.matches("certificate", err.message)
      assert.equal(0, p:counters("a").requests)
    end)

    it("is not trusted when the name is another", function()
      local url = ("https://other.example:%d/v1"):format(p.lines.a.tls_port)
      local dns = { hosts = { ["other.example"] = "127.0.0.1" } }
      local err = fails(new { base_url = url, tls = { ca_file = p.ca_file }, dns = dns })
      assert.same({ "tls", false }, { err.kind, err.sent }, tostring(err))
      local client = new { base_url = url:gsub("other%.example", "localhost"), tls = { ca_file = p.ca_file } }
      assert.equal("echo: x", assert(client:chat "x").text)
    end)

    it("goes by anybody with verify = false", function()
      local url = ("https://other.example:%d/v1"):format(p.lines.a.tls_port)
      local client = new {
        base_url = url, tls = { verify = false }, dns = { hosts = { ["other.example"] = "127.0.0.1" } },
      }
      assert.equal("echo: x", assert(client:chat "x").text)
    end)

    it("is judged for each client by its own rules, also over connections that others keep", function()
      local lax = new { base_url = p.lines.a.tls_url, tls = { verify = false } }
      assert(lax:chat "x")
      local err = fails(new { base_url = p.lines.a.tls_url })
      assert.equal("tls", err.kind)
      assert(lax:chat "x")
    end)

    it("fails where the CA's file holds no certificate, saying so", function()
      local err = fails(new { base_url = p.lines.a.tls_url, tls = { ca_file = "spec/helper.lua" } })
      assert.equal("tls", err.kind)
      assert.matches("spec/helper%.lua", err.message)
    end)

    it("shows a client's certificate", function()
      local certificate, key = p.dir .. "/server.pem", p.dir .. "/server.key"
      local client = new {
        base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file, cert = certificate, key = key },
      }
      assert.equal("echo: x", assert(client:chat "x").text)
      local missing = { ca_file = p.ca_file, cert = "spec/helper.lua", key = key }
      local err = fails(new { base_url = p.lines.a.tls_url, tls = missing })
      assert.same({ "tls", false }, { err.kind, err.sent })
    end)

    it("fails as TLS when the other side speaks something else", function()
      local listener = p:raw { { send = "SSH-2.0-OpenSSH_9.2\r\n" }, { close = true } }
      local err = fails(new { base_url = listener.tls_url, tls = { ca_file = p.ca_file } })
      assert.same({ "tls", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      listener:close()
    end)

    it("that never comes about runs into the connect timeout", function()
      local listener = p:raw { { hang = true } }
      local err, seconds = fails(new { base_url = listener.tls_url, timeout = { connect = 0.1 * pace } })
      assert.same({ "timeout", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      assert.is_true(seconds >= 0.1 * pace and seconds < pace)
      listener:close()
    end)

    it("goes over to the next line when the first is not trusted", function()
      local client = new { retry = {}, endpoints = {
        { name = "a", url = p.lines.a.tls_url }, { name = "b", url = p.lines.b.url, priority = 2 },
      } }
      local result = assert(client:chat "x")
      assert.equal("b", result.endpoint)
      assert.equal("tls", result.attempts[1].kind)
    end)
  end)

  describe("a port", function()
    it("that refuses is a network error at once, in the phase connect", function()
      ports[1] = provider.refusing()
      local err, seconds = fails(new { base_url = ports[1].url })
      assert.same({ "network", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      assert.is_true(seconds < pace)
    end)

    it("that never accepts runs into the connect timeout", function()
      ports[1] = provider.silent()
      local err, seconds = fails(new { base_url = ports[1].url, timeout = { connect = 0.15 * pace } })
      assert.same({ "timeout", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      assert.is_true(seconds >= 0.149 * pace and seconds < pace, seconds)
    end)

    it("that never accepts costs one connect timeout, then the other line answers", function()
      ports[1] = provider.silent()
      local client = new { retry = {}, timeout = { connect = 0.1 * pace }, endpoints = {
        { name = "silent", url = ports[1].url }, { name = "b", url = p.lines.b.url, priority = 2 },
      } }
      local result = assert(client:chat "x")
      assert.equal("b", result.endpoint)
      assert.is_true(result.latency >= 0.1 * pace and result.latency < pace)
      assert.same({ "timeout", "connect" }, { result.attempts[1].kind, result.attempts[1].phase })
    end)
  end)

  describe("a name", function()
    it("that does not exist is a network error, in the phase connect", function()
      local err = fails(new { base_url = "https://nonexistent.invalid/v1" }, { deadline = 20 })
      assert.same({ "network", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      assert.matches("nonexistent%.invalid", err.message)
    end)

    it("can be given an address", function()
      local client = new {
        base_url = ("http://api.example:%d/v1"):format(p.lines.a.port), allow_plaintext = true,
        dns = { hosts = { ["api.example"] = "127.0.0.1" } },
      }
      assert.equal("echo: x", assert(client:chat "x").text)
      assert.equal("api.example:" .. p.lines.a.port, p:counters("a").last_headers.host)
    end)

    it("can have two addresses, one per line", function()
      local function line(name)
        return {
          name = name, url = ("http://api.example:%d/v1"):format(p.lines[name].port),
          dns = { hosts = { ["api.example"] = "127.0.0.1" } },
        }
      end
      local client = new { endpoints = { line "a", line "b" }, allow_plaintext = true, routing = "round_robin" }
      for _ = 1, 4 do
        local result = assert(client:chat "x")
        assert.equal(result.endpoint, result.body.system_fingerprint)
      end
      assert.same({ 2, 2 }, { p:counters("a").requests, p:counters("b").requests })
    end)
  end)

  it("IPv6 loopback is reached", function()
    local listener = socket.tcp6()
    if not (listener and listener:bind("::1", 0)) then
      return pending "no IPv6 here"
    end
    assert(listener:listen(5))
    local port = select(2, listener:getsockname())
    listener:settimeout(0)
    local client = new { base_url = ("http://[::1]:%d/v1"):format(port), timeout = { attempt = 5 } }
    surefoot.pollfd()
    local result
    local task = surefoot.spawn(function() result = client:request { path = "/x" } end)
    local peer = process.wait_for(function()
      surefoot.step()
      return listener:accept()
    end)
    peer:settimeout(0)
    local head = ""
    process.wait_for(function()
      surefoot.step()
      head = head .. (select(3, peer:receive(4096)) or "")
      return head:find "\r\n\r\n"
    end)
    peer:send "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    task:wait(5)
    assert.equal("ok", result.body)
    assert.matches("\r\nHost: %[::1%]:%d+\r\n", head)
    peer:close()
    listener:close()
  end)

  describe("plain http", function()
    it("to a host that is not loopback is refused, and named", function()
      assert.has_error(function()
        new { base_url = "http://api.example.com/v1" }
      end, "surefoot.new: base_url: plain http to api.example.com would show the key to everybody on the way; "
        .. "use https, or set allow_plaintext = true")
    end)

    it("to loopback is not", function()
      for _, host in ipairs { "127.0.0.1", "localhost", "[::1]", "127.3.2.1" } do
        assert(new { base_url = "http://" .. host .. ":1/v1" })
      end
    end)
  end)

  describe("a base URL", function()
    it("may have a path, with or without a slash at the end", function()
      for _, path in ipairs { "/v1", "/v1/", "/some/where/v1//" } do
        local client = new { base_url = ("http://127.0.0.1:%d%s"):format(p.lines.a.port, path) }
        assert.equal("echo: x", assert(client:chat "x").text)
      end
    end)

    local wrong = {
      ["127.0.0.1:80/v1"] = "no scheme",
      ["ftp://127.0.0.1/v1"] = "scheme",
      ["https://user:secret@127.0.0.1/v1"] = "credentials",
      ["https://127.0.0.1/v1?key=secret"] = "query",
      ["https://127.0.0.1/v1#secret"] = "fragment",
      ["https:///v1"] = "no host",
      ["https://127.0.0.1:99999/v1"] = "port",
      ["https://127.0.0.1/v1\r\nX: secret"] = "line break",
    }
    for url, problem in pairs(wrong) do
      it(("is refused: %q"):format(problem), function()
        local ok, message = pcall(surefoot.new, { base_url = url, api_key = KEY, model = "m" })
        assert.is_false(ok)
        assert.matches(problem, message)
        assert.is_nil(message:find("secret", 1, true))
      end)
    end
  end)

  describe("kept,", function()
    it("one connection serves a hundred calls after another", function()
      for _, config in ipairs {
        { base_url = p.lines.a.url }, { base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file } },
        { base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file }, http_version = "2" },
      } do
        p:reset()
        leaks.close_engine()
        local client = new(config)
        for i = 1, 100 do
          assert.equal("echo: x" .. i, assert(client:chat("x" .. i)).text)
        end
        local counters = p:counters "a"
        assert.same({ 100, 1 }, { counters.requests, counters.connections })
      end
    end)

    it("as many as run at a time are enough for waves of calls", function()
      local client = new { base_url = p.lines.a.url, concurrency = { limit = 20 } }
      local requests = {}
      for i = 1, 100 do
        requests[i] = "x" .. i
      end
      for _ = 1, 3 do
        local _, summary = client:batch(requests)
        assert.equal(100, summary.succeeded)
      end
      local counters = p:counters "a"
      assert.same({ 300, true }, { counters.requests, counters.connections <= 20 })
      assert.is_true(counters.peak <= 20)
    end)

    it("HTTP/2 shares one connection between calls at a time", function()
      p:profile("a", { delay = 0.05 })
      local client = new {
        base_url = p.lines.a.tls_url, tls = { ca_file = p.ca_file }, http_version = "2", concurrency = { limit = 20 },
      }
      local requests = {}
      for i = 1, 40 do
        requests[i] = "x" .. i
      end
      local outcomes, summary = client:batch(requests)
      assert.equal(40, summary.succeeded)
      for i, outcome in ipairs(outcomes) do
        assert.equal("echo: x" .. i, outcome.result.text)
      end
      local counters = p:counters "a"
      assert.equal(1, counters.connections)
      assert.equal(20, counters.peak)
    end)

    local REPLY = '{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
    local function whole(text)
      return ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
    end

    it("one that was closed meanwhile is replaced for free", function()
      local listener = p:raw {
        { { read_request = true }, { send = whole(REPLY) }, { close = true } }, -- without a word
        { { read_request = true }, { send = whole(REPLY) }, { hang = true } },
      }
      local client = new { base_url = listener.url }
      assert.equal("hi", assert(client:chat "x").text)
      listener:wait(function(c) return c.open == 0 end)
      local result = assert(client:chat "y")
      assert.equal("hi", result.text)
      assert.equal(1, #result.attempts)
      assert.equal(2, listener:counters().connections)
    end)

    for how, step in pairs { closes = { close = true }, resets = { reset = true } } do
      it("one whose peer " .. how .. " as the next request arrives is asked again, once, for free", function()
        local listener = p:raw {
          { { read_request = true }, { send = whole(REPLY) }, { read_request = true }, step },
          { { read_request = true }, { send = whole(REPLY) }, { hang = true } },
        }
        local client = new { base_url = listener.url }
        assert.equal("hi", assert(client:chat "x").text)
        local result = assert(client:chat "y")
        assert.equal("hi", result.text)
        assert.equal(1, #result.attempts)
        assert.is_true(result.attempts[1].restarted)
        assert.equal("closed", client:stats().endpoints["127.0.0.1:" .. listener.port].breaker)
        local counters = listener:counters()
        assert.same({ 2, 3 }, { counters.connections, #counters.requests })
        local function id(text)
          return text:lower():match "\r\nx%-request%-id: ([^\r]+)"
        end
        assert.equal(id(counters.requests[2]), id(counters.requests[3]))
        assert.not_equal(id(counters.requests[1]), id(counters.requests[2]))
        listener:close()
      end)
    end

    it("one that dies after a byte of the answer is not asked again for free", function()
      local listener = p:raw {
        { { read_request = true }, { send = whole(REPLY) }, { read_request = true }, { send = "HTTP/1.1 200 OK\r\n" },
          { close = true } },
        { { read_request = true }, { send = whole(REPLY) }, { hang = true } },
      }
      local client = new { base_url = listener.url }
      assert.equal("hi", assert(client:chat "x").text)
      local err = fails(client)
      assert.is_truthy(err.kind == "network" or err.kind == "truncated", tostring(err))
      assert.equal(1, listener:counters().connections)
      listener:close()
    end)

    it("one is not used after an answer with too many bytes", function()
      local listener = p:raw {
        { { read_request = true }, { send = whole(REPLY) .. whole '{"stolen":true}' }, { hang = true } },
        { { read_request = true }, { send = whole(REPLY) }, { hang = true } },
      }
      local client = new { base_url = listener.url }
      assert.equal("hi", assert(client:chat "x").text)
      assert.equal("hi", assert(client:chat "y").text)
      assert.equal(2, listener:counters().connections)
      listener:close()
    end)

    it("none is with keepalive.idle = 0", function()
      local client = new { base_url = p.lines.a.url, keepalive = { idle = 0 } }
      for _ = 1, 3 do
        assert(client:chat "x")
      end
      assert.equal(3, p:counters("a").connections)
    end)
  end)

  it("answers that are no HTTP are network errors", function()
    for _, bytes in ipairs { "garbage\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "\0\1\2\3", "HTTP/1.1 200 OK\r\nContent-Le" } do
      local listener = p:raw { { read_request = true }, { send = bytes }, { close = true } }
      local err = fails(new { base_url = listener.url })
      assert.is_truthy(err.kind == "network" or err.kind == "malformed" or err.kind == "truncated", tostring(err))
      listener:close()
    end
  end)

  it("informational answers are passed over", function()
    local body = '{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
    local listener = p:raw { { read_request = true }, { send = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
      .. ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body) }, { hang = true } }
    assert.equal("hi", assert(new({ base_url = listener.url }):chat "x").text)
    listener:close()
  end)

  it("headers without end are too large", function()
    local flood = "HTTP/1.1 200 OK\r\n" .. ("X-Long: " .. ("y"):rep(1000) .. "\r\n"):rep(400)
    local listener = p:raw { { read_request = true }, { send = flood }, { hang = true } }
    local err = fails(new { base_url = listener.url, limits = { header_bytes = 64 * 1024 } })
    assert.equal("too_large", err.kind)
    listener:close()
  end)

  it("a redirect is not followed", function()
    p:profile("a", { status = { code = 302, headers = { Location = p.lines.b.url .. "/chat/completions" } } })
    local err = fails(new { base_url = p.lines.a.url })
    assert.same({ "server", 302 }, { err.kind, err.status })
    assert.equal(0, p:counters("b").requests)
  end)

  it("a proxy is asked for the host, and gets no key with it", function()
    local refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    local listener = p:raw { { read_until_headers = true }, { send = refusal }, { close = true } }
    local proxy = ("http://127.0.0.1:%d"):format(listener.port)
    local err = fails(new { base_url = "https://api.example/v1", proxy = proxy })
    assert.same({ "network", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
    local asked = listener:counters().requests[1]
    assert.matches("^CONNECT api%.example:443 HTTP/1%.1\r\n", asked)
    assert.is_nil(asked:find(KEY, 1, true))
    listener:close()
  end)

  it("the environment's proxy does not stand between a spec and loopback", function()
    assert.is_nil(os.getenv "http_proxy")
    assert.equal(200, http.request({ url = p.lines.a.url .. "/models" }).status)
  end)
end)
