-- Proxies, addresses and name servers in the configuration, and what the environment says of proxies.

local config = require "surefoot.config"
local network = require "surefoot.config.network"
local url = require "surefoot.config.url"

local function refused(given, path)
  local config_given = { base_url = "https://api.example.com/v1" }
  for key, value in pairs(given) do
    config_given[key] = value
  end
  local ok, message = pcall(config.resolve, config_given)
  assert.is_false(ok)
  assert.equal(path, message:match "^([^:]+):")
  return message
end

local function endpoint(given)
  given.base_url = given.base_url or "https://api.example.com/v1"
  return config.resolve(given).endpoints[1]
end

describe("a proxy's URL", function()
  local read = {
    ["http://proxy.example:3128"] = "http://proxy.example:3128",
    ["proxy.example:3128"] = "http://proxy.example:3128",
    ["HTTP://Proxy.Example"] = "http://proxy.example:1080",
    ["https://proxy.example"] = "https://proxy.example:443",
    ["socks5h://[::1]:1080/"] = "socks5h://[::1]:1080",
    ["socks5://me:p@ss@10.0.0.1:9"] = "socks5://me:p%40ss@10.0.0.1:9",
    ["http://me:p%2Fw@proxy.example:80"] = "http://me:p%2Fw@proxy.example:80",
  }
  for given, text in pairs(read) do
    it("is read: " .. given, function()
      assert.equal(text, endpoint({ proxy = given }).proxy)
      assert.equal(text:match "([^/@]+)$", network.parse_proxy(given).place)
    end)
  end

  it("may be empty, for none, and an endpoint's is its own", function()
    local resolved = config.resolve { proxy = "http://p:1", endpoints = {
      { url = "https://a.example" }, { url = "https://b.example", proxy = "" },
      { url = "https://c.example", proxy = "socks5h://q:2" },
    } }
    local seen = {}
    for i, one in ipairs(resolved.endpoints) do
      seen[i] = one.proxy
    end
    assert.same({ "http://p:1", "", "socks5h://q:2" }, seen)
  end)

  local wrong = {
    ["ftp://me:s3cret@p:1"] = "scheme", ["http://me:s3cret@"] = "malformed", ["http://"] = "no host",
    ["http://me:s3/cret@p:1"] = "%%XX", ["http://me:s3#cret@p:1"] = "%%XX", ["http://me:s3 cret@p:1"] = "space",
    ["http://me:s3cret@p:99999"] = "out of range", ["http://me:s3cret@p:x"] = "malformed",
    ["http://me:s3cret@p:"] = "malformed",
  }
  for given, problem in pairs(wrong) do
    it("is refused without being shown: " .. given, function()
      local message = refused({ proxy = given }, "proxy")
      assert.matches(problem, message)
      assert.is_nil(message:find("s3", 1, true), message)
    end)
  end

  it("is a string", function()
    assert.matches("expected a proxy's URL", refused({ proxy = true }, "proxy"))
  end)
end)

describe("the environment's proxy", function()
  local function proxy(text, variables)
    return network.environment_proxy(assert(url.parse(text)), function(name) return variables[name] end)
  end

  it("goes by the scheme, then by all_proxy", function()
    local all = { https_proxy = "s:1", HTTPS_PROXY = "S:2", http_proxy = "h:3", HTTP_PROXY = "H:4", all_proxy = "a:5" }
    assert.equal("http://s:1", proxy("https://a.example", all))
    assert.equal("http://h:3", proxy("http://a.example", all))
    all.https_proxy, all.http_proxy = "", nil
    assert.equal("http://s:2", proxy("https://a.example", all))
    assert.equal("http://a:5", proxy("http://a.example", all)) -- HTTP_PROXY is what a CGI program gets from a client
    assert.equal("socks5h://a:5", proxy("http://a.example", { ALL_PROXY = "socks5h://a:5" }))
    assert.is_nil(proxy("http://a.example", {}))
  end)

  it("is not for this machine", function()
    for _, host in ipairs { "127.0.0.1", "localhost", "[::1]", "x.localhost" } do
      assert.is_nil(proxy("http://" .. host .. ":1", { all_proxy = "p:1" }))
    end
  end)

  local exempt = {
    ["api.example.com"] = { "*", "api.example.com", "example.com", ".example.com", "a,b API.EXAMPLE.COM.", "x, com",
      "api.example.com:443" },
    ["10.1.2.3"] = { "10.1.2.3", "10.0.0.0/8", "10.1.2.2/31", "x,10.1.2.3:443", "0.0.0.0/0" },
    ["[fd00::1:2]"] = { "fd00::1:2", "[fd00::1:2]", "fd00::/8", "FD00:0:0::1:2", "fd00::1:0/112" },
  }
  for host, lists in pairs(exempt) do
    for _, list in ipairs(lists) do
      it(("is not for %s with no_proxy=%s"):format(host, list), function()
        assert.is_nil(proxy("https://" .. host, { https_proxy = "p:1", no_proxy = list }))
        assert.is_nil(proxy("https://" .. host, { https_proxy = "p:1", NO_PROXY = list }))
      end)
    end
  end

  local included = {
    ["api.example.com"] = { "", "xample.com", "pi.example.com", "www.api.example.com", "10.0.0.0/8",
      "api.example.com:80", ".", "api" },
    ["10.1.2.3"] = { "10.1.2", "10.1.2.30", "1.2.3", "10.1.2.4/31", "11.0.0.0/8", "3", "::/0", "10.1.2.3:80" },
    ["[fd00::1:2]"] = { "fd00::1:3", "fe00::/8", "fd00", "fd00::2:0/112", "0.0.0.0/0" },
  }
  for host, lists in pairs(included) do
    for _, list in ipairs(lists) do
      it(("is for %s with no_proxy=%q"):format(host, list), function()
        assert.equal("http://p:1", proxy("https://" .. host, { https_proxy = "p:1", no_proxy = list }))
      end)
    end
  end

  it("is named, and not shown, when it cannot be read", function()
    local ok, message = pcall(proxy, "https://a.example", { HTTPS_PROXY = "ftp://me:s3cret@p:1" })
    assert.is_false(ok)
    assert.equal("environment variable HTTPS_PROXY: the scheme is none of http, https, socks5, socks5h, socks4, "
      .. "socks4a", message)
  end)
end)

describe("dns", function()
  it("takes addresses of both kinds for hosts", function()
    local hosts = { a = "127.0.0.1", b = "::1", c = "[2001:db8::1]", d = "1:2:3:4:5:6:7:8", e = "::ffff:10.0.0.1" }
    assert.same({ a = "127.0.0.1", b = "::1", c = "2001:db8::1", d = "1:2:3:4:5:6:7:8", e = "::ffff:10.0.0.1" },
      endpoint({ dns = { hosts = hosts } }).dns.hosts)
  end)

  for _, text in ipairs { "api.example", "127.0.0.256", "1.2.3", "1.2.3.4.5", ":::", "1::2::3", "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9", "12345::", "10.0.0.1,10.0.0.2", "10.0.0.1:80" } do
    it("takes no address that is none: " .. text, function()
      assert.matches("expected an IP address", refused({ dns = { hosts = { a = text } } }, "dns.hosts.a"))
    end)
  end

  it("takes an https URL for doh_url", function()
    for _, text in ipairs { "https://1.1.1.1/dns-query", "https://dns.example:8443/q?x=1", "HTTPS://[::1]/" } do
      assert.equal(text, endpoint({ dns = { doh_url = text } }).dns.doh_url)
    end
    for _, text in ipairs {
      "http://1.1.1.1/dns-query", "1.1.1.1", "https://", "https://me:pw@x/", "https://x/{?dns}",
    } do
      assert.matches("DNS%-over%-HTTPS", refused({ dns = { doh_url = text } }, "dns.doh_url"))
    end
  end)
end)
