-- Behind a difficult network: proxies of every kind, name servers over HTTPS, addresses given by hand, and what is said
-- when these fail. The proxies are real (spec/integration/proxy.c) and lead every name to 127.0.0.1.

local build = require "spec.support.build"
local env = require "spec.support.env"
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local proxies = require "spec.support.proxy"
local socket = require "socket"
local surefoot = require "surefoot"

local unpack = table.unpack or unpack
local KEY, PASSWORD = "sk-test-0123456789", "pr0xy-s3cret"

-- What this machine has of IPv6: sockets, and the loopback address.
local has_ipv6_sockets, has_ipv6 = false, false
do
  local held = socket.tcp6()
  if held then
    has_ipv6_sockets, has_ipv6 = true, held:bind("::1", 0) ~= nil
    held:close()
  end
end

-- Every string in a value, keys and metatables' texts included.
local function assert_silent(value, secret, seen)
  seen = seen or {}
  if type(value) == "string" then
    assert.is_nil(value:find(secret, 1, true), value)
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    assert_silent(tostring(value), secret)
    for key, item in pairs(value) do
      assert_silent(key, secret, seen)
      assert_silent(item, secret, seen)
    end
  end
end

describe("network:", function()
  local p, plain, locked, secure, before, clients, extra
  local tls_url, named_url

  setup(function()
    p = provider.start { lines = { "a", "b", "names" }, tls = true }
    plain, locked = proxies.start(), proxies.start { user = "me:" .. PASSWORD }
    secure = proxies.start { user = "me:" .. PASSWORD, tls = { p.dir .. "/server.pem", p.dir .. "/server.key" } }
    tls_url = ("https://localhost:%d/v1"):format(p.lines.a.tls_port)
    named_url = ("http://api.example:%d/v1"):format(p.lines.a.port)
  end)

  teardown(function()
    for _, one in ipairs { plain, locked, secure } do
      one:stop()
    end
    p:stop()
    build.clean()
  end)

  before_each(function()
    p:reset()
    clients, extra = {}, {}
    before = leaks.begin()
  end)

  after_each(function()
    for _, one in ipairs(extra) do
      (one.stop or one.close)(one)
    end
    leaks.check(before, unpack(clients))
    for _, client in ipairs(clients) do
      client:close()
    end
  end)

  local function new(config)
    config.api_key, config.model, config.allow_plaintext = KEY, "m", true
    config.tls = config.tls or { ca_file = p.ca_file }
    config.retry = config.retry or { max_attempts = 1 }
    local client = surefoot.new(config)
    clients[#clients + 1] = client
    return client
  end

  local function another(options)
    extra[#extra + 1] = proxies.start(options)
    return extra[#extra]
  end

  local function fails(config, options)
    local result, err = new(config):chat("x", options)
    assert.is_nil(result)
    return err
  end

  -- Of localhost libcurl 7 takes one address first, libcurl 8 the other.
  local function last(proxy)
    local log = proxy:log()
    return (log[#log]:gsub("^socks5 ::1:", "socks5 127.0.0.1:"))
  end

  describe("a proxy", function()
    local login = "me:" .. PASSWORD .. "@"
    local ways = {
      { "http, by CONNECT", "http", "tls", "connect localhost" },
      { "http, in absolute form", "http", "plain", "http api.example" },
      { "socks5, with the address", "socks5", "tls", "socks5 127.0.0.1" },
      { "socks5h, with the name", "socks5h", "plain", "socks5h api.example" },
    }
    for _, way in ipairs(ways) do
      local what, scheme, kind, seen = unpack(way)
      it("is used: " .. what, function()
        local url = kind == "tls" and tls_url or named_url
        local port = kind == "tls" and p.lines.a.tls_port or p.lines.a.port
        local client = new { base_url = url, proxy = ("%s://%s"):format(scheme, plain.host) }
        for _ = 1, 3 do
          assert.equal("echo: x", assert(client:chat "x").text)
        end
        assert.equal(("%s:%d"):format(seen, port), last(plain))
        assert.equal(1, p:counters("a").connections)
      end)

      it("is given credentials: " .. what, function()
        local url = kind == "tls" and tls_url or named_url
        local client = new { base_url = url, proxy = ("%s://%s%s"):format(scheme, login, locked.host) }
        assert.equal("echo: x", assert(client:chat "x").text)
        assert.matches("^" .. seen:gsub("%.", "%%.") .. ":%d+ me:" .. PASSWORD:gsub("%-", "%%-") .. "$", last(locked))
        assert_silent(client:stats(), PASSWORD)
        assert_silent(tostring(client), PASSWORD)
      end)
    end

    it("is used over TLS, and trusted as the line is", function()
      local way = ("https://%slocalhost:%d"):format(login, secure.port)
      assert.equal("echo: x", assert(new({ base_url = tls_url, proxy = way }):chat "x").text)
      assert.equal(("connect localhost:%d me:%s"):format(p.lines.a.tls_port, PASSWORD), last(secure))
      local asked = #secure:log()
      local err = fails { base_url = tls_url, proxy = way, tls = {} }
      assert.same({ "tls", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
      assert.matches("the proxy localhost:" .. secure.port .. ": .*certificate", err.message)
      assert.equal("proxy_certificate_untrusted", err.attempts[1].cause)
      assert.equal(asked, #secure:log())
      assert(new({ base_url = tls_url, proxy = way, tls = { verify = false } }):chat "x")
    end)

    it("carries streams and HTTP/2", function()
      local client = new { base_url = tls_url, proxy = "http://" .. plain.host, http_version = "2" }
      local text = ""
      for chunk in assert(client:stream "x"):chunks() do
        text = text .. (chunk.text or "")
      end
      assert.equal("echo: x", text)
    end)

    it("is each endpoint's own, over the client's; \"\" is none", function()
      local other = another()
      local client = new { proxy = "http://" .. plain.host, routing = "round_robin", endpoints = {
        { name = "client's", url = tls_url }, { name = "own", url = tls_url, proxy = "socks5h://" .. other.host },
        { name = "none", url = tls_url, proxy = "" },
      } }
      local asked, seen = #plain:log(), {}
      for _ = 1, 3 do
        seen[assert(client:chat "x").endpoint] = true
      end
      assert.same({ ["client's"] = true, own = true, none = true }, seen)
      assert.same({ asked + 1, 1 }, { #plain:log(), #other:log() })
      assert.equal(3, p:counters("a").connections)
    end)

    it("is told the address that dns.hosts gives", function()
      local dns = { hosts = { ["api.example"] = "127.0.0.1" } }
      for scheme, seen in pairs { http = "connect", socks5h = "socks5" } do
        assert(new({ base_url = named_url, proxy = scheme .. "://" .. plain.host, dns = dns }):chat "x")
        assert.matches("^" .. seen .. "h? 127%.0%.0%.1:", last(plain))
      end
    end)

    describe("that", function()
      local function check(err, kind, cause, message)
        assert.same({ kind, "connect" }, { err.kind, err.phase }, tostring(err))
        assert.equal(cause, err.attempts[#err.attempts].cause)
        assert.matches(message, err.message)
        assert_silent(err, PASSWORD)
      end

      local function through(scheme, host)
        return ("%s://me:%s@%s"):format(scheme, PASSWORD, host)
      end

      for _, scheme in ipairs { "http", "socks5", "socks5h", "https" } do
        it("is not there is named: " .. scheme, function()
          local port = provider.refusing()
          local err = fails { base_url = tls_url, proxy = through(scheme, "127.0.0.1:" .. port.port) }
          check(err, "network", "proxy_refused", "^the proxy 127%.0%.0%.1:" .. port.port .. " cannot be reached: Conn")
          assert.is_false(err.sent)
          port:close()
        end)

        it("has no address is named: " .. scheme, function()
          local err = fails({ base_url = tls_url, proxy = through(scheme, "proxy.invalid:3128") }, { deadline = 20 })
          check(err, "network", "proxy_name_unknown", "^the proxy proxy%.invalid:3128 has an unknown name$")
        end)
      end

      for _, scheme in ipairs { "http", "socks5", "socks5h" } do
        it("wants credentials says so: " .. scheme, function()
          local err = fails { base_url = tls_url, proxy = ("%s://%s"):format(scheme, locked.host) }
          check(err, "network", "proxy_credentials", "^the proxy " .. locked.host .. " wants credentials")
          assert.is_false(err.sent)
          assert.equal(scheme == "http", err.message:find ": HTTP 407$" ~= nil)
        end)

        it("wants others says so: " .. scheme, function()
          local wrong = PASSWORD .. "-old"
          local err = fails { base_url = tls_url, proxy = ("%s://me:%s@%s"):format(scheme, wrong, locked.host) }
          check(err, "network", "proxy_credentials", "^the proxy " .. locked.host .. " does not accept the credentials")
        end)

        it("cannot reach the line says so: " .. scheme, function()
          local err = fails { base_url = "https://api.example:1/v1", proxy = ("%s://%s"):format(scheme, plain.host),
            dns = scheme == "socks5" and { hosts = { ["api.example"] = "127.0.0.1" } } or nil }
          local http = scheme == "http"
          check(err, "network", http and "unreachable" or "refused", "^the proxy " .. plain.host
            .. (http and " cannot reach the line: HTTP 502$" or " was refused by the line$"))
        end)
      end

      it("wants credentials says so for http in absolute form, too, and gets the key only with them", function()
        local err = fails { base_url = named_url, proxy = "http://" .. locked.host }
        check(err, "network", "proxy_credentials", "^the proxy " .. locked.host .. " wants credentials: HTTP 407$")
        assert.equal(0, p:counters("a").requests)
      end)

      it("refuses to connect is not asked again, and the next line is", function()
        for scheme, code in pairs { http = 403, socks5h = 2 } do
          local proxy = another { refuse = code }
          local client = new { retry = {}, endpoints = {
            { name = "behind", url = tls_url, proxy = ("%s://%s"):format(scheme, proxy.host) },
            { name = "beside", url = p.lines.b.url, priority = 2 },
          } }
          local result = assert(client:chat "x")
          assert.same({ "beside", 2, 1 }, { result.endpoint, #result.attempts, #proxy:log() })
          local attempt = result.attempts[1]
          assert.same({ "network", "proxy_denied" }, { attempt.kind, attempt.cause })
          assert.matches("^the proxy " .. proxy.host .. " refuses to connect to the line", attempt.message)
          local alone = new { base_url = tls_url, proxy = ("%s://%s"):format(scheme, proxy.host), retry = {} }
          local _, err = alone:chat "x"
          assert.equal(1, #err.attempts)
        end
      end)

      it("is silent runs into the connect timeout", function()
        local proxy = another { hang = true }
        for _, scheme in ipairs { "http", "socks5", "https" } do
          local err = fails {
            base_url = tls_url, proxy = through(scheme, proxy.host), timeout = { connect = 0.15 * pace },
          }
          assert.same({ "timeout", "connect", false }, { err.kind, err.phase, err.sent }, tostring(err))
          assert.matches("^connect after [%d.]+ m?s through the proxy " .. proxy.host .. "$", err.message)
          assert_silent(err, PASSWORD)
        end
      end)

      it("is none is named", function()
        local listener = p:raw { { read_until_headers = true }, { send = "SSH-2.0-Open\r\n\r\n" }, { close = true } }
        local err = fails { base_url = tls_url, proxy = "http://127.0.0.1:" .. listener.port }
        check(err, "network", nil, "^the proxy 127%.0%.0%.1:" .. listener.port .. ": ")
        listener:set { { read = 3 }, { send = "HTTP/1.1 400 Bad Request\r\n\r\n" }, { close = true } }
        err = fails { base_url = tls_url, proxy = "socks5://127.0.0.1:" .. listener.port }
        check(err, "network", nil, "^the proxy 127%.0%.0%.1:" .. listener.port .. ": .*SOCKS5")
        listener:close()
      end)

      it("lets another's certificate through is not the one to blame", function()
        local err = fails { base_url = tls_url, proxy = "http://" .. plain.host, tls = {} }
        assert.same({ "tls", "certificate_untrusted" }, { err.kind, err.attempts[1].cause })
        assert.is_nil(err.message:find("proxy", 1, true))
      end)
    end)

    it("keeps its password from events", function()
      local events = {}
      local function on_event(...)
        events[#events + 1] = { ... }
      end
      local way = ("http://me:%s@127.0.0.1:1"):format(PASSWORD)
      local client = new { base_url = tls_url, proxy = way, retry = { max_attempts = 2, base_delay = 0.001 } }
      assert.is_nil((client:chat("x", { on_event = on_event })))
      assert.is_true(#events > 3)
      assert_silent(events, PASSWORD)
      assert_silent(client:stats(), PASSWORD)
      assert_silent(client:verify(), PASSWORD)
    end)
  end)

  describe("the environment's proxy #once", function()
    local function run(variables, fields)
      local program = ([[
        local surefoot = require "surefoot"
        local client = surefoot.new {
          api_key = "sk-secret-1", model = "m", allow_plaintext = true, tls = { verify = false },
          retry = { max_attempts = 1 }, %s
        }
        local result, err = client:chat "x"
        print(result and "arrived" or err.message)
      ]]):format(fields)
      local unset = { http_proxy = "", https_proxy = "", HTTPS_PROXY = "", all_proxy = "", ALL_PROXY = "",
        no_proxy = "", NO_PROXY = "" }
      for name, value in pairs(variables) do
        unset[name] = value
      end
      local result = env.run({ env.lua, "-l", "spec.helper", "-e", program }, { env = unset })
      return (result.stdout .. result.stderr):gsub("%s+$", "")
    end

    it("is used as curl uses it, and can be overruled", function()
      local secure_url = ("https://api.example:%d/v1"):format(p.lines.a.tls_port)
      local pinned = 'dns = { hosts = { ["api.example"] = "127.0.0.1" } }'
      local http, socks = "http://" .. plain.host, "socks5h://" .. plain.host
      local cases = {
        { { https_proxy = http }, secure_url, "connect api.example" },
        { { HTTPS_PROXY = http }, secure_url, "connect api.example" },
        { { http_proxy = http }, named_url, "http api.example" },
        { { all_proxy = socks }, secure_url, "socks5h api.example" },
        { { ALL_PROXY = socks, https_proxy = http }, secure_url, "connect api.example" },
        { { all_proxy = http, no_proxy = "x,.example" }, secure_url, nil, pinned },
        { { all_proxy = http, NO_PROXY = "*" }, secure_url, nil, pinned },
        { { all_proxy = http }, secure_url, nil, 'proxy = "", ' .. pinned },
        { { all_proxy = http }, tls_url, nil },
        { { no_proxy = "*" }, secure_url, "connect api.example", ("proxy = %q"):format(http) },
      }
      for i, case in ipairs(cases) do
        local variables, url, seen, more = unpack(case, 1, 4)
        local asked = #plain:log()
        local said = run(variables, ("base_url = %q, %s"):format(url, more or "proxy = nil"))
        assert.equal("arrived", said, "case " .. i)
        local log = plain:log()
        assert.equal(asked + (seen and 1 or 0), #log, "case " .. i)
        assert.equal(seen, seen and log[#log]:match "^(.-):%d", "case " .. i)
      end
    end)

    it("is named when it fails, without its password", function()
      local variables = { all_proxy = ("http://me:%s@127.0.0.1:1"):format(PASSWORD) }
      assert.equal("the proxy 127.0.0.1:1 cannot be reached: Connection refused",
        run(variables, ("base_url = %q"):format(named_url)))
      local said = run({ http_proxy = "gopher://me:" .. PASSWORD .. "@x:1" }, ("base_url = %q"):format(named_url))
      assert.matches("environment variable http_proxy: the scheme is none of", said)
      assert_silent(said, PASSWORD)
    end)
  end)

  describe("names", function()
    local doh
    before_each(function()
      doh = ("https://localhost:%d/dns-query"):format(p.lines.names.tls_port)
      p:profile("names", { dns = { ["api.example"] = { "127.0.0.1" }, ["two.example"] = { "::1", "127.0.0.1" },
        ["six.example"] = { "::1" } } })
    end)

    local function queries()
      return p:counters("names").dns_queries
    end

    local each = has_ipv6_sockets and 2 or 1 -- A, and AAAA where that is of any use

    it("are asked of a server over HTTPS", function()
      local result = assert(new({ base_url = named_url, dns = { doh_url = doh } }):chat "x")
      assert.equal("echo: x", result.text)
      assert.same({ "127.0.0.1", each }, { result.attempts[1].address, queries() })
      assert.is_true(result.attempts[1].dns > 0)
    end)

    it("that the server does not know are named, and so is the server", function()
      local err = fails { base_url = "https://nobody.example/v1", dns = { doh_url = doh } }
      assert.same({ "network", "connect", "name_unknown" }, { err.kind, err.phase, err.attempts[1].cause })
      assert.equal(("Could not resolve host: nobody.example (asked localhost:%d over HTTPS)")
        :format(p.lines.names.tls_port), err.message)
    end)

    it("are not asked of a server that is not trusted, or not there", function()
      local err = fails { base_url = named_url, dns = { doh_url = doh }, tls = {} }
      assert.same({ "name_unknown", 0 }, { err.attempts[1].cause, queries() })
      err = fails { base_url = named_url, dns = { doh_url = "https://127.0.0.1:1/dns-query" } }
      assert.equal("name_unknown", err.attempts[1].cause)
    end)

    it("are kept as long as dns.cache says", function()
      local function ask(seconds)
        local asked = queries()
        local client = new { base_url = named_url, keepalive = { idle = 0 }, dns = { doh_url = doh, cache = seconds } }
        assert(client:chat "x")
        assert(client:chat "x")
        return queries() - asked
      end
      assert.equal(2 * each, ask(0))
      assert.equal(each, ask(nil)) -- libcurl's 60 s
      assert.equal(0, ask(nil))
      socket.sleep(1.1)
      assert.equal(each, ask(1))
    end)

    it("that one server knows are not another's, nor the system's", function()
      assert(new({ base_url = named_url, dns = { doh_url = doh } }):chat "x")
      local other = doh .. "?other"
      p:profile("names", { dns = {} })
      for _, dns in ipairs { {}, { doh_url = other } } do
        local err = fails({ base_url = named_url, dns = dns, keepalive = { idle = 0 } }, { deadline = 20 })
        assert.equal("name_unknown", err.attempts[1].cause)
      end
      assert(new({ base_url = named_url, dns = { doh_url = doh }, keepalive = { idle = 0 } }):chat "x")
    end)

    it("are asked for calls at a time, and given up with them", function()
      local silent = p:raw { { hang = true } }
      local stuck = new { base_url = named_url, timeout = { connect = 0.1 * pace },
        dns = { doh_url = ("https://localhost:%d/dns-query"):format(silent.port) } }
      local client = new { base_url = named_url, keepalive = { idle = 0 }, dns = { doh_url = doh, cache = 0 } }
      local good, kinds = 0, {}
      surefoot.run(function()
        for i = 1, 10 do
          surefoot.spawn(function()
            assert(client:chat "x")
            good = good + 1
          end)
          surefoot.spawn(function() kinds[i] = select(2, stuck:chat "x").kind end)
        end
      end)
      assert.equal(10, good)
      for i = 1, 10 do
        assert.equal("timeout", kinds[i])
      end
      silent:close()
    end)

    describe("with two addresses", function()
      local listener, port

      before_each(function()
        port = p.lines.a.port
        if has_ipv6 then
          listener = assert(socket.tcp6())
          listener:setoption("reuseaddr", true)
          assert(listener:bind("::1", port))
          listener:listen(5)
          listener:settimeout(0)
        end
      end)

      after_each(function()
        if listener then
          listener:close()
          listener = nil
        end
      end)

      local function ask(ip_version)
        local client = new { base_url = ("http://two.example:%d/v1"):format(port),
          dns = { doh_url = doh, ip_version = ip_version }, timeout = { attempt = 5 } }
        local result, err
        surefoot.pollfd()
        local task = surefoot.spawn(function() result, err = client:request { path = "/models" } end)
        local peer
        process.wait_for(function()
          surefoot.step()
          peer = peer or listener:accept()
          if peer then
            peer:settimeout(0)
            local _, _, part = peer:receive(4096)
            if part and part:find "\r\n\r\n" then
              peer:send "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"
            end
          end
          return task:done()
        end, 10)
        if peer then
          peer:close()
        end
        return assert(result, err).attempts[1].address
      end

      it("are reached over the kind that dns.ip_version says, also where a connection of the other is kept", function()
        if not has_ipv6 then
          env.skip "this machine has no IPv6"
        end
        assert.equal("127.0.0.1", ask(4))
        assert.equal("::1", ask(6))
        ask(4) -- over the first one, and nobody else
        assert.same({ 2, 1 }, { p:counters("a").requests, p:counters("a").connections })
      end)

      it("are both tried", function()
        if not has_ipv6 then
          env.skip "this machine has no IPv6"
        end
        listener:close()
        listener = nil
        local client = new { base_url = ("http://two.example:%d/v1"):format(port), dns = { doh_url = doh } }
        assert.equal("127.0.0.1", assert(client:chat "x").attempts[1].address)
        local err = fails { base_url = "http://two.example:1/v1", dns = { doh_url = doh } }
        assert.same({ "network", "refused" }, { err.kind, err.attempts[1].cause })
        assert.matches("Failed to connect to two%.example port 1 %(.*%): Connection refused", err.message)
        assert.matches("::1", err.attempts[1].address)
        assert.matches("127%.0%.0%.1", err.attempts[1].address)
      end)

      it("have none of the kind that is wanted: then they are unknown", function()
        local dns = { doh_url = doh, ip_version = 4 }
        local err = fails { base_url = "https://six.example/v1", dns = dns }
        assert.same({ "network", "name_unknown" }, { err.kind, err.attempts[1].cause })
      end)
    end)
  end)

  describe("an attempt tells", function()
    it("how long each step to its connection took, and where it went", function()
      local client = new { base_url = tls_url }
      local attempt = assert(client:chat "x").attempts[1]
      assert.equal("127.0.0.1", attempt.address)
      assert.is_true(attempt.dns >= 0 and attempt.tcp >= 0 and attempt.tls > 0)
      assert.is_true(attempt.dns + attempt.tcp + attempt.tls <= attempt.first_byte)
      local again = assert(client:chat "x").attempts[1]
      assert.same({ true }, { again.reused, again.dns, again.tcp, again.tls })
    end)

    local causes = {
      refused = function()
        extra[1] = provider.refusing()
        return { base_url = extra[1].url }
      end,
      certificate_untrusted = function() return { base_url = tls_url, tls = {} } end,
      certificate_name = function()
        return { base_url = ("https://other.example:%d/v1"):format(p.lines.a.tls_port),
          dns = { hosts = { ["other.example"] = "127.0.0.1" } } }
      end,
      certificate_file = function() return { base_url = tls_url, tls = { ca_file = "spec/helper.lua" } } end,
      not_tls = function() return { base_url = ("https://localhost:%d/v1"):format(p.lines.a.port) } end,
      name_unknown = function() return { base_url = "https://nonexistent.invalid/v1" } end,
      unreachable = function()
        return { base_url = "https://[fd00:dead::1]:1/v1", timeout = { connect = 5 } }
      end,
    }
    for cause, config in pairs(causes) do
      it("why there is no connection: " .. cause, function()
        if cause == "unreachable" and not has_ipv6_sockets then
          env.skip "this machine has no IPv6"
        end
        local err = fails(config(), { deadline = 20 })
        if cause == "unreachable" and err.kind == "timeout" then
          return pending "this network is silent about addresses that it does not have"
        end
        assert.same({ "connect", false, cause }, { err.phase, err.sent, err.attempts[1].cause }, tostring(err))
      end)
    end

    it("that TCP was connected, and TLS never came", function()
      local listener = p:raw { { hang = true } }
      local err = fails { base_url = listener.tls_url, timeout = { connect = 0.1 * pace } }
      local attempt = err.attempts[1]
      assert.same({ "timeout", "connect" }, { err.kind, err.phase })
      assert.is_true(attempt.tcp >= 0 and attempt.tls == nil)
      listener:close()
    end)
  end)
end)
