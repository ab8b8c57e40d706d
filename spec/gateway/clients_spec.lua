-- What the SDKs of OpenAI and Anthropic look for besides the documents of an answer; sdk_spec.lua has the SDKs
-- themselves, where they can be had.

local lab = require "spec.gateway.lab"
local provider = require "spec.support.provider"

local CONFIG = [[{
  api_key = "sk-upstream-0123456789", http_version = "1.1", breaker = false, retry = { max_attempts = 1 },
  endpoints = {
    { name = "openai", url = "%s", models = { "gpt-x" } },
    { name = "gemini", url = "%s", provider = "gemini", models = { "gemini-x" } },
    { name = "azure", url = "%s", provider = "azure", api_version = "2024-10-21", models = { "azure-x" } },
  },
  gateway = { models = { ["gpt-x"] = true, ["gemini-x"] = true, ["azure-x"] = true } },
}]]

describe("the gateway's callers #once", function()
  local p, n

  setup(function()
    p = provider.start { lines = { "a" } }
    local line = p.lines.a
    n = lab.start(CONFIG:format(line.url, line.gemini_url, line.azure_url))
  end)

  teardown(function()
    n:stop()
    assert.same({}, p:errors())
    p:stop()
  end)

  it("get embeddings in base64 where they ask so, whatever the line gives", function()
    for _, model in ipairs { "gpt-x", "gemini-x", "azure-x" } do
      local request = { model = model, input = { "a", "b" }, encoding_format = "base64" }
      local packed = lab.ask(n, "/v1/embeddings", request)
      assert.equal(200, packed.status, packed.body)
      request.encoding_format = "float"
      local plain = lab.ask(n, "/v1/embeddings", request)
      assert.equal(200, plain.status, plain.body)
      for i = 1, 2 do
        local vector, text = plain.json.data[i].embedding, packed.json.data[i].embedding
        assert.is_table(vector)
        assert.equal("string", type(text), model)
        assert.equal(math.ceil(#vector * 4 / 3) * 4, #text)
        assert.equal(require("surefoot.core").base64_floats(vector), text)
      end
    end
  end)

  it("find the request's id where they look for it", function()
    local question = { model = "gpt-x", max_tokens = 10, messages = { { role = "user", content = "hello" } } }
    for _, path in ipairs { "/v1/chat/completions", "/v1/messages" } do
      for _, model in ipairs { "gpt-x", "nowhere" } do
        question.model = model
        local headers = lab.ask(n, path, question).headers
        assert.is_string(headers["x-request-id"])
        assert.equal(headers["x-request-id"], headers["request-id"])
      end
    end
  end)

  it("read the models in OpenAI's words and in Anthropic's", function()
    local list = lab.ask(n, "/v1/models").json
    assert.same({ "list", false, "azure-x", "gpt-x", 3 },
      { list.object, list.has_more, list.first_id, list.last_id, #list.data })
    local one = lab.ask(n, "/v1/models/gpt-x").json
    assert.same({ "gpt-x", "model", "model", "gpt-x" }, { one.id, one.object, one.type, one.display_name })
    assert.is_number(one.created)
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", one.created_at)
  end)
end)
