-- What to change when a line does not work: the rules that no network here can show. The others are in
-- spec/integration/verify_spec.lua.

local advice = require "surefoot.advice"

local function case(fields)
  local endpoint = { host = "api.example", port = 443, url = "https://api.example/v1", dns = {}, keys = {},
    provider = "openai" }
  for key, value in pairs(fields.endpoint or {}) do
    endpoint[key] = value
  end
  fields.endpoint, fields.message = endpoint, fields.message or ""
  return fields
end

describe("the advice about", function()
  local function of(fields)
    return advice.of(case(fields))
  end

  it("a network without a way", function()
    local function unreachable(address, via)
      return of { kind = "network", phase = "connect", via = via,
        attempt = { cause = "unreachable", address = address } }
    end
    assert.matches("^set dns%.ip_version = 4", unreachable "2001:db8::1")
    assert.matches("^check this machine's network", unreachable "192.0.2.1")
    assert.matches("the proxy p:1 may reach api%.example:443", unreachable("192.0.2.1", "p:1"))
  end)

  it("too many open files, wherever the line is", function()
    assert.matches("^raise the limit of open files, as by `ulimit %-n 4096`",
      of { kind = "network", phase = "connect", attempt = { cause = "open_files" } })
  end)

  it("silence names IPv6 only where it was tried", function()
    local function silent(address)
      return of { kind = "timeout", phase = "connect", attempt = { dns = 0.1, address = address } }
    end
    assert.equal("set a proxy, or dns.ip_version = 4: 2001:db8::1 192.0.2.1 stays silent, as behind a firewall",
      silent "2001:db8::1 192.0.2.1")
    assert.equal("set a proxy: 192.0.2.1 stays silent, as behind a firewall", silent "192.0.2.1")
  end)

  it("a key goes by the host and by how keys begin", function()
    local function key(host, text)
      return of { kind = "unauthorized", key = text, endpoint = { host = host } }
    end
    assert.matches("one of Anthropic's$", key("api.openai.com", "sk-ant-api03-x"))
    assert.matches("one of OpenRouter's$", key("api.deepseek.com", "sk-or-v1-x"))
    assert.matches("one of Google's$", key("api.openai.com", "AIzaSyX"))
    assert.matches("one of OpenAI's$", key("api.anthropic.com", "sk-proj-x"))
    assert.matches("those begin with sk%-ant%-", key("api.anthropic.com", "sk-abc"))
    assert.matches("those begin with gsk_", key("api.groq.com", "abc"))
    for host, good in pairs { ["api.openai.com"] = "sk-proj-x", ["api.anthropic.com"] = "sk-ant-x",
      ["openrouter.ai"] = "sk-or-x", ["generativelanguage.googleapis.com"] = "AIzaX", ["gateway.example"] = "any" } do
      assert.matches("^check the key: it is not accepted", key(host, good))
    end
    for _, none in ipairs { "<key>", "sk-...", "your-api-key", "YOUR_KEY", "sk-xxxxxxxx", "****" } do
      assert.matches("placeholder$", key("gateway.example", none))
    end
    assert.matches("check the key in EXAMPLE_KEY:",
      of { kind = "unauthorized", key = "abc", endpoint = { preset = { key_env = "EXAMPLE_KEY" } } })
  end)

  it("http at a port for TLS, in the words of several servers", function()
    local endpoint = { url = "http://api.example/v1", port = 80 }
    for _, body in ipairs { "<h1>The plain HTTP request was sent to HTTPS port</h1>",
      "Client sent an HTTP request to an HTTPS server.\n",
      "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />" } do
      assert.equal("begin the URL with https://: api.example:80 speaks TLS",
        of { kind = "invalid_request", reply = { status = 400, headers = "", body = body }, endpoint = endpoint })
    end
    assert.matches("^begin the URL with https", of { kind = "network", phase = "first_byte", endpoint = endpoint,
      message = "Received HTTP/0.9 when not allowed" })
  end)

  it("pages: an error's page of the provider's own is no wrong URL", function()
    local reply = { status = 503, headers = "Content-Type: text/html\r\n", body = "<html>" }
    assert.matches("no capacity", of { kind = "overloaded", reply = reply })
    assert.is_true(advice.is_page(reply))
    assert.is_false(advice.is_page { status = 200, headers = "Content-Type: application/json\r\n", body = "{}" })
    assert.is_false(advice.is_page(nil))
  end)

  it("nothing is nothing", function()
    assert.is_nil(of { kind = "cancelled" })
  end)
end)

describe("the URLs that may have been meant", function()
  for given, meant in pairs {
    ["https://a.example"] = { "https://a.example/v1", "https://a.example/api/v1" },
    ["https://a.example/v1"] = { "https://a.example/api/v1" },
    ["https://a.example:8443/openai"] = { "https://a.example:8443/openai/v1", "https://a.example:8443/v1",
      "https://a.example:8443/api/v1" },
    ["https://a.example/v1/chat/completions"] = { "https://a.example/v1", "https://a.example/api/v1" },
    ["https://a.example/v1/v1"] = { "https://a.example/v1", "https://a.example/api/v1" },
    ["https://a.example/v1beta"] = { "https://a.example/v1", "https://a.example/api/v1" },
  } do
    it("by " .. given, function()
      assert.same(meant, advice.bases(given))
    end)
  end
end)

describe("the advice about models", function()
  local listed = { { id = "gpt-4o" }, { id = "gpt-4o-mini-2024-07-18" }, { id = "llama3:latest" }, { id = true } }

  it("is none where they are listed, with a date or a tag", function()
    assert.is_nil(advice.of_models({ "gpt-4o", "gpt-4o-mini", "llama3", "claude-x-latest" }, listed))
    assert.is_nil(advice.of_models({}, listed))
  end)

  it("names the first that is not, and the nearest", function()
    assert.equal("check the model's name: \"gpt4o\" is not among the 3 that the line lists; the nearest: "
      .. "gpt-4o, llama3:latest, gpt-4o-mini-2024-07-18", advice.of_models({ "gpt-4o", "gpt4o", "x" }, listed))
    assert.equal("check the model's name: \"x\" is not among the 0 that the line lists", advice.of_models({ "x" }, {}))
  end)
end)
