-- Streams that the gateway writes anew: resumed ones, and those that are silent for long.

local cjson = require "cjson"
local lab = require "spec.gateway.lab"
local provider = require "spec.support.provider"

describe("a gateway that resumes #once", function()
  local p, n

  setup(function()
    p = provider.start { lines = { "a", "b" } }
    n = lab.start(([[{
      api_key = "k-0123456789", breaker = false, retry = { base_delay = 0.01 }, resume = "auto", preset = "vllm",
      prices = { m = { input = 1, output = 1 } },
      endpoints = { { name = "a", url = "%s", models = { "m" } },
        { name = "b", url = "%s", priority = 2, models = { "m" } },
        { name = "claude", url = "%s", provider = "anthropic", models = { "claude-x" } } },
      gateway = { keepalive_comments = 0.1 },
    }]]):format(p.lines.a.url, p.lines.b.url, p.lines.b.url))
  end)

  teardown(function()
    n:stop()
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  it("gives one whole stream out of two halves", function()
    p:profile("a", { stream = { cut_after = 2 }, answer = { chunks = 6 } })
    local response = lab.ask(n, "/v1/chat/completions", lab.question("six pieces of text", { stream = true }))
    assert.same({ "echo: six pieces of text", "stop" }, { lab.text(response.body) })
    assert.same({ 1, 1 }, { p:counters("a").requests, p:counters("b").requests })
    assert.equal("chunked", response.ended)
  end)

  it("keeps a caller's options of a stream, whatever it asks for itself", function()
    p:profile("a", { stream = { cut_after = 2 }, answer = { chunks = 6 } })
    local response = lab.ask(n, "/v1/chat/completions", lab.question("six pieces of text", { stream = true,
      stream_options = { include_usage = false, include_obfuscation = false } }))
    assert.same({ "echo: six pieces of text", "stop" }, { lab.text(response.body) })
    for _, line in ipairs { "a", "b" } do
      assert.same({ include_usage = true, include_obfuscation = false },
        cjson.decode(p:counters(line).last_body).stream_options, line)
    end
    assert.is_nil(response.body:find('"usage"', 1, true))
  end)

  it("signs the thoughts of a stream that it writes anew", function()
    local response = lab.ask(n, "/v1/messages", { model = "claude-x", max_tokens = 4096, stream = true,
      thinking = { type = "enabled", budget_tokens = 1024 }, messages = { { role = "user", content = "hello" } } })
    local signed
    for _, event in ipairs(lab.events(response.body)) do
      local delta = event.json and event.json.delta
      signed = signed or delta and delta.signature
    end
    assert.same({ 200, "string" }, { response.status, type(signed) }, response.body)
  end)

  it("sends comments while a stream is silent", function()
    p:profile("a", { stream = { first_token_delay = 0.5 } })
    local response = lab.ask(n, "/v1/chat/completions", lab.question("x", { stream = true }))
    assert.matches("^: keep%-alive\n\n", response.body)
    assert.equal("echo: x", (lab.text(response.body)))
  end)

  it("tells of a failure after a comment inside the stream", function()
    p:profile("a", { delay = 0.3, status = { code = 400 } })
    p:profile("b", { delay = 0.3, status = { code = 400 } })
    local response = lab.ask(n, "/v1/chat/completions", lab.question("x", { stream = true }))
    assert.same({ 200, "cut" }, { response.status, response.ended })
    local events = lab.events(response.body)
    assert.equal("invalid_request_error", events[#events].json.error.type)
  end)
end)
