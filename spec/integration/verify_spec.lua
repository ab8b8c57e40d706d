-- client:verify on real components: what it measures, and what it says to change, for each way in which a line fails.

local build = require "spec.support.build"
local env = require "spec.support.env"
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local proxies = require "spec.support.proxy"
local surefoot = require "surefoot"

local KEY = "sk-test-0123456789"

describe("client:verify", function()
  local p, plain, locked, before, client, extra
  local tls_url

  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
    plain, locked = proxies.start(), proxies.start { user = "me:pr0xy-s3cret" }
    tls_url = ("https://localhost:%d/v1"):format(p.lines.a.tls_port)
  end)

  teardown(function()
    plain:stop()
    locked:stop()
    p:stop()
    build.clean()
  end)

  before_each(function()
    p:reset()
    extra = {}
    before = leaks.begin()
  end)

  after_each(function()
    for _, one in ipairs(extra) do
      (one.stop or one.close)(one)
    end
    leaks.check(before, client)
    client:close()
  end)

  local function also(one)
    extra[#extra + 1] = one
    return one
  end

  local function verify(config)
    config.api_key = config.api_key or KEY
    config.tls, config.allow_plaintext = config.tls or { ca_file = p.ca_file }, true
    client = surefoot.new(config)
    local report = client:verify()
    assert.equal(report.ok, #report.endpoints == 1 and report.endpoints[1].ok or report.ok)
    return report.endpoints[1], report
  end

  -- The report of a line that fails so: its kind, and patterns of what is said.
  local function fails(config, kind, advice, message)
    local entry = verify(config)
    assert.same({ false, kind }, { entry.ok, entry.kind }, entry.message)
    assert.matches(advice, entry.advice or "no advice")
    if message then
      assert.matches(message, entry.message)
    end
    assert.is_nil((entry.advice .. entry.message):find("s3cret", 1, true))
    return entry
  end

  it("tells where the time went, and the address", function()
    p:profile("a", { delay = 0.05 })
    local entry = verify { base_url = tls_url }
    assert.is_true(entry.ok, entry.message)
    local phases = entry.phases
    assert.is_true(phases.dns >= 0 and phases.tcp >= 0 and phases.tls > 0 and phases.first_byte >= 0.05)
    assert.near(phases.total, phases.dns + phases.tcp + phases.tls + phases.first_byte, 0.02 * pace)
    assert.same({ "127.0.0.1", 200 }, { entry.address, entry.status })
    assert.is_nil(entry.advice)
    assert.is_true(entry.models > 0)
    entry = verify { base_url = p.lines.a.url, proxy = "http://" .. plain.host }
    assert.is_nil(entry.phases.tls)
    assert.equal(plain.host, entry.proxy)
  end)

  it("opens connections of its own, and looks past breakers, limits and queues", function()
    client = surefoot.new {
      base_url = p.lines.a.url, api_key = KEY, model = "m", retry = { max_attempts = 1 },
      breaker = { failure_threshold = 1, recovery_timeout = 60 }, concurrency = { limit = 1, queue = 0 },
      rate = { requests_per_second = 0.01, burst = 1 },
    }
    p:profile("a", { status = { code = 500 } })
    assert.equal("server", select(2, client:chat "x").kind)
    assert.equal("circuit_open", select(2, client:chat("x", { deadline = 1 })).kind)
    p:profile("a", {})
    for _ = 1, 3 do
      local report = client:verify()
      assert.is_true(report.ok, report.endpoints[1].message)
      assert.is_true(report.endpoints[1].phases.tcp > 0)
    end
    local stats = client:stats()
    assert.same({ 1, 0 }, { stats.attempts, stats.successes }) -- of what it sees nothing is learnt
    assert.equal("open", stats.endpoints["127.0.0.1:" .. p.lines.a.port].breaker)
  end)

  describe("names", function()
    it("a host that nobody knows", function()
      fails({ base_url = "https://api.nonexistent.invalid/v1" }, "network",
        "^check the spelling of api%.nonexistent%.invalid, .* dns%.hosts, .* dns%.doh_url$")
      fails({ base_url = "https://api.nonexistent.invalid/v1", dns = { doh_url = "https://127.0.0.1:1/dns-query" } },
        "network", "^check the spelling of .* server of dns%.doh_url")
    end)

    it("a lookup that takes too long", function()
      local silent = p:raw { { hang = true } }
      fails({
        base_url = "https://api.example/v1", timeout = { connect = 0.1 * pace },
        dns = { doh_url = ("https://127.0.0.1:%d/dns-query"):format(silent.port) },
      }, "timeout", "^give the address of api%.example in dns%.hosts, or a name server in dns%.doh_url")
      silent:close()
    end)

    it("a port where nobody listens", function()
      local port = also(provider.refusing()).port
      local entry = fails({ base_url = ("http://127.0.0.1:%d/v1"):format(port) }, "network",
        "^start the server, or check the port of the URL: nothing listens at 127%.0%.0%.1:" .. port)
      assert.same({ "127.0.0.1", nil }, { entry.address, entry.phases.tcp })
      local dns = { hosts = { ["api.example"] = "127.0.0.1" } }
      fails({ base_url = ("https://api.example:%d/v1"):format(port), dns = dns }, "network",
        "^check host and port of the URL: nothing listens at api%.example:" .. port)
    end)

    it("silence behind a firewall", function()
      local port = also(provider.silent()).port
      local entry = fails({ base_url = ("http://127.0.0.1:%d/v1"):format(port), timeout = { connect = 0.15 * pace } },
        "timeout", "^set a proxy: 127%.0%.0%.1 stays silent, as behind a firewall$")
      assert.is_true(entry.phases.dns ~= nil and entry.phases.tcp == nil)
    end)

    it("TLS that something on the way holds up", function()
      local listener = p:raw { { hang = true } }
      local entry = fails({ base_url = listener.tls_url, timeout = { connect = 0.15 * pace } }, "timeout",
        "^set a proxy: TCP connects, but TLS does not come about")
      assert.is_true(entry.phases.tcp ~= nil and entry.phases.tls == nil)
      listener:close()
    end)

    it("a line that is connected, but does not answer", function()
      p:profile("a", { fault = "hang" })
      fails({ base_url = p.lines.a.url, timeout = { attempt = 0.2 * pace } }, "timeout",
        "^add another line, or raise `timeout`: this one is connected")
    end)

    it("a certificate that is not trusted", function()
      fails({ base_url = tls_url, tls = {} }, "tls",
        "^name the CA of localhost:%d+ in tls%.ca_file; .* something on the way intercepts TLS", "certificate")
    end)

    it("a certificate of another host", function()
      local url = ("https://api.example:%d/v1"):format(p.lines.a.tls_port)
      fails({ base_url = url, dns = { hosts = { ["api.example"] = "127.0.0.1" } } }, "tls",
        "^check the host of the URL and its address in dns%.hosts: who answers for api%.example:%d+ has the")
    end)

    it("a certificate that has expired", function()
      local dir = process.temp_dir "surefoot-expired"
      env.check { "sh", "-c", "cd " .. process.quote(dir) .. [[ &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out ca.pem \
          -subj /CN=authority -days 30 2>&1 &&
        openssl req -new -key key.pem -subj /CN=localhost -out csr.pem 2>&1 &&
        printf '%s\n' '[ca]' 'default_ca = old' '[old]' 'new_certs_dir = .' 'database = index' 'rand_serial = yes' \
          'policy = any' '[any]' > conf && printf 'subjectAltName=DNS:localhost\n' > ext && : > index &&
        openssl ca -batch -notext -config conf -md sha256 -cert ca.pem -keyfile key.pem -extfile ext -in csr.pem \
          -out old.pem -startdate 20240101000000Z -enddate 20240102000000Z 2>&1]] }
      local server = also(proxies.start { tls = { dir .. "/old.pem", dir .. "/key.pem" } })
      local url = ("https://localhost:%d/v1"):format(server.port)
      fails({ base_url = url, tls = { ca_file = dir .. "/ca.pem" } }, "tls",
        "^check this machine's clock %(it is 20%d%d%-%d%d%-%d%d %d%d:%d%d UTC%)", "expired")
      process.remove_dir(dir)
    end)

    it("files of certificates that hold none", function()
      fails({ base_url = tls_url, tls = { ca_file = "spec/helper.lua" } }, "tls",
        "^check the files named in tls%.ca_file", "spec/helper%.lua")
    end)

    it("http where there is TLS", function()
      local url = ("http://localhost:%d/v1"):format(p.lines.a.tls_port)
      fails({ base_url = url }, "invalid_request", "^begin the URL with https://: localhost:%d+ speaks TLS$")
      local server = also(proxies.start { tls = { p.dir .. "/server.pem", p.dir .. "/server.key" } })
      for _, tls in ipairs { { ca_file = p.ca_file }, {} } do
        fails({ base_url = ("http://localhost:%d/v1"):format(server.port), tls = tls }, "network",
          "^begin the URL with https://: localhost:" .. server.port .. " speaks TLS$")
      end
    end)

    it("https where there is none", function()
      fails({ base_url = ("https://localhost:%d/v1"):format(p.lines.a.port) }, "tls",
        "^begin the URL with http://, or use the port for TLS: localhost:%d+ does not speak it$")
    end)

    it("a line that hangs up", function()
      p:profile("a", { fault = "close" })
      fails({ base_url = p.lines.a.url }, "network", "^check host and port of the URL: what answers there closes")
    end)
  end)

  describe("names, of a proxy,", function()
    it("that it is not there", function()
      for _, host in ipairs { "127.0.0.1:1", "proxy.invalid:3128" } do
        fails({ base_url = tls_url, proxy = "http://me:pr0xy-s3cret@" .. host }, "network",
          "^check host and port of `proxy` .*; proxy = \"\" goes without$", "^the proxy " .. host)
      end
    end)

    it("that it wants credentials, or others", function()
      local entry = fails({ base_url = tls_url, proxy = "http://" .. locked.host }, "network",
        "^put user and password into the URL of `proxy`", "407")
      assert.equal(locked.host, entry.proxy)
      fails({ base_url = tls_url, proxy = "socks5h://me:old-s3cret@" .. locked.host }, "network",
        "^check user and password in the URL of `proxy`")
    end)

    it("that it does not want to, or cannot", function()
      local proxy = also(proxies.start { refuse = 403 })
      fails({ base_url = tls_url, proxy = "http://" .. proxy.host }, "network",
        "^ask who runs the proxy " .. proxy.host .. " to allow localhost:%d+")
      fails({ base_url = "https://api.example:1/v1", proxy = "http://" .. plain.host }, "network",
        "^check host and port of the URL, and that the proxy " .. plain.host .. " may reach api%.example:1$")
      fails({ base_url = "https://api.example:1/v1", proxy = "socks5h://" .. plain.host }, "network",
        "^check host and port of the URL: nothing answers the proxy at api%.example:1$")
    end)

    it("that it is of another kind", function()
      fails({ base_url = tls_url, proxy = "https://" .. locked.host, timeout = { connect = 2 * pace } }, "tls",
        "^begin the URL of `proxy` with http://: it does not speak TLS$")
      fails({ base_url = tls_url, proxy = ("http://localhost:%d"):format(p.lines.b.tls_port) }, "network",
        "^check scheme, host and port of `proxy`: at localhost:%d+ answers a server that is none, or that speaks TLS$")
      local silent = also(proxies.start { hang = true })
      fails({ base_url = tls_url, proxy = "socks5h://" .. silent.host, timeout = { connect = 0.2 * pace } }, "timeout",
        "^check scheme and port of `proxy`: " .. silent.host .. " takes connections, but leads to none$")
    end)

    it("that its certificate is not trusted", function()
      local secure = also(proxies.start { tls = { p.dir .. "/server.pem", p.dir .. "/server.key" } })
      fails({ base_url = tls_url, proxy = "https://localhost:" .. secure.port, tls = {} }, "tls",
        "^name the CA of the proxy localhost:" .. secure.port .. " in tls%.ca_file$")
    end)
  end)

  describe("names, of a key,", function()
    before_each(function()
      p:profile("a", { keys = { "sk-good-1", "sk-good-2" } })
    end)

    it("that it is wrong, or of another service", function()
      local url = p.lines.a.url
      fails({ base_url = url, api_key = "sk-bad" }, "unauthorized", "^check the key: it is not accepted")
      fails({ base_url = url, api_key = "sk-ant-0123456789" }, "unauthorized",
        "^use a key for 127%.0%.0%.1: this one looks like one of Anthropic's$")
      fails({ base_url = url, api_key = "sk-..." }, "unauthorized", "^put a real key into api_key")
      fails({ base_url = url, api_key = "<YOUR_KEY>" }, "unauthorized", "^put a real key into api_key")
    end)

    it("that there is none", function()
      client = surefoot.new { base_url = p.lines.a.url }
      local entry = client:verify().endpoints[1]
      assert.same({ "unauthorized", "set api_key: no key was sent" }, { entry.kind, entry.advice })
    end)

    it("which of several it is", function()
      local entry = verify { base_url = p.lines.a.url, api_key = { "sk-good-1", "sk-bad-11", "sk-good-2" } }
      assert.same({ false, "unauthorized", true }, { entry.ok, entry.kind, entry.message:find "^key 2 of 3: " ~= nil })
      assert.same({ true, false, true }, { entry.keys[1].ok, entry.keys[2].ok, entry.keys[3].ok })
      assert.same({ ["sk-good-1"] = 1, ["sk-bad-11"] = 1, ["sk-good-2"] = 1 }, p:counters("a").keys)
      entry = verify { base_url = p.lines.a.url, api_key = { "sk-good-1", "sk-good-2" } }
      assert.same({ true, 2 }, { entry.ok, #entry.keys })
    end)

    it("that its function gives none", function()
      client = surefoot.new { base_url = p.lines.a.url, api_key = function() return nil, "the vault is shut" end }
      local entry = client:verify().endpoints[1]
      assert.matches("the vault is shut", entry.message)
      assert.equal("make the function of api_key return a key", entry.advice)
    end)

    for code, case in pairs {
      [402] = { "quota", "^top up the account" }, [429] = { "rate_limited", "^wait, or lower `rate`" },
      [403] = { "forbidden", "^give the key the right" }, [503] = { "overloaded", "^wait, or add another line" },
      [500] = { "server", "^wait, or add another line" },
    } do
      it("what a status of " .. code .. " means", function()
        p:profile("a", { status = { code = code } })
        local entry = fails({ base_url = p.lines.a.url }, case[1], case[2])
        assert.equal(code, entry.status)
        assert.equal(1, p:counters("a").requests)
      end)
    end

    it("that it is not for this part of the world", function()
      local refusal = { message = "Country, region, or territory not supported",
        code = "unsupported_country_region_territory" }
      p:profile("a", { status = { code = 403, body = { error = refusal } } })
      fails({ base_url = p.lines.a.url }, "forbidden", "^set a proxy in a country that the provider serves")
    end)
  end)

  describe("names, of a URL,", function()
    local root
    setup(function()
      root = ("http://127.0.0.1:%d"):format(p.lines.a.port)
    end)

    for given, right in pairs {
      ["/openai"] = "/openai/v1", ["/openai/v1/chat/completions"] = "/openai/v1", ["/openai/v1/v1"] = "/openai/v1",
      ["/v1beta/nowhere"] = "/v1", ["/openai/nowhere"] = "/v1",
    } do
      it("what it should be, for it was tried: " .. given, function()
        fails({ base_url = root .. given }, "not_found", "^set the URL to " .. root:gsub("%p", "%%%0") .. right
          .. ": that is where the API is$")
      end)
    end

    it("what it should be, also where the key is wrong", function()
      p:profile("a", { sequence = { { status = { code = 404 } }, { status = { code = 401 } } } })
      fails({ base_url = root }, "not_found", "^set the URL to " .. root:gsub("%p", "%%%0") .. "/v1:")
    end)

    it("that there is no list of models", function()
      p:profile("a", { status = { code = 404 } })
      fails({ base_url = root .. "/v1" }, "not_found", "^check the path of the URL .* there is no http://.*/v1/models")
    end)

    it("that a web page answers", function()
      p:profile("a", { fault = "html" })
      fails({ base_url = root .. "/v1" }, "malformed", "^check the URL: a web page answers at 127%.0%.0%.1:%d+, "
        .. "not an API; .*captive portal")
    end)

    it("that a web page answers beside the API", function()
      p:profile("a", { sequence = { { fault = "html" } } })
      fails({ base_url = root }, "malformed", "^set the URL to " .. root:gsub("%p", "%%%0")
        .. "/v1: at http://.* there are web pages$")
    end)

    it("that it redirects", function()
      for target, advice in pairs {
        ["https://api.example/v1/models?x=s3cret"] = "^set the URL to https://api%.example/v1, if that is the API",
        ["/login"] = "^check the URL: the line redirects elsewhere",
      } do
        p:profile("a", { status = { code = 302, body = "", headers = { Location = target } } })
        fails({ base_url = root .. "/v1" }, "server", advice)
      end
    end)

    it("that another format is spoken there", function()
      fails({ base_url = p.lines.a.url, provider = "gemini" }, "malformed",
        "^check `provider` and the URL: .* the Gemini format$")
    end)
  end)

  describe("names models", function()
    it("that the line does not list, with the nearest", function()
      p:profile("a", { models = { "gpt-4o", "gpt-4o-mini", "o3", "text-embedding-3-small" } })
      local entry = verify { base_url = p.lines.a.url, model = "gpt-4o-mnii" }
      assert.is_true(entry.ok)
      assert.equal("check the model's name: \"gpt-4o-mnii\" is not among the 4 that the line lists; the nearest: "
        .. "gpt-4o-mini, gpt-4o, o3", entry.advice)
      assert.equal(4, entry.models)
    end)

    it("by the names that they have there", function()
      p:profile("a", { models = { "big", "small-20260101", "llama3:latest" } })
      local function advice(config)
        config.base_url = p.lines.a.url
        return verify(config).advice
      end
      assert.is_nil(advice { model = "big", fallbacks = { "small", "llama3" } })
      assert.matches('"medium"', advice { model = "big", fallbacks = { "small", "medium" } })
      assert.is_nil(advice { model = "mine", endpoints = { { url = p.lines.a.url, models = { mine = "big" } } } })
      assert.matches('"huge"', advice { model = "mine", endpoints = { { url = p.lines.a.url,
        models = { mine = "huge" } } } })
      assert.is_nil(advice { model = "mine", endpoints = { { url = p.lines.a.url, models = { "big" } } } })
    end)
  end)

  it("asks all at once, and is as slow as the slowest", function()
    p:profile("a", { delay = 0.2 })
    local silent = also(provider.silent())
    local _, report = verify { timeout = { connect = 0.3 * pace }, endpoints = {
      { name = "good", url = tls_url }, { name = "silent", url = silent.url },
      { name = "good too", url = p.lines.a.url },
    } }
    local seen = {}
    for i, entry in ipairs(report.endpoints) do
      seen[i] = { entry.endpoint, entry.ok, entry.kind }
    end
    assert.same({ { "good", true }, { "silent", false, "timeout" }, { "good too", true } }, seen)
    assert.is_false(report.ok)
  end)
end)
