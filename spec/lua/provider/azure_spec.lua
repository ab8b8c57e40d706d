local azure = require "surefoot.provider.azure"
local config = require "surefoot.config"
local json = require "surefoot.json"
local openai = require "surefoot.provider.openai"
local replay = require "spec.support.replay"

local codec = json.new()
local chat, embeddings, models = azure.operations.chat, azure.operations.embeddings, azure.operations.models
local NO_KEYS = function() return nil end

local function sent(operation, request, version, model, streams)
  local before = replay.deep(request)
  local method, path, headers, body = operation.encode(request, { model = model, traits = { api_version = version,
    quirks = {} } }, codec, nil, streams)
  replay.same(before, request, "request")
  return method, path, body and json.decode(body), headers
end

describe("azure", function()
  it("sends a key in its own header, and a token as a bearer", function()
    assert.equal("api-key: 0123456789abcdef0123456789abcdef", azure.auth "0123456789abcdef0123456789abcdef")
    assert.equal("authorization: Bearer eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0.c2ln",
      azure.auth "eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0.c2ln")
  end)

  -- the paths that openai-python's tests of its Azure client expect (tests/lib/test_azure.py)
  it("has a path for each deployment where the version is dated", function()
    local request = { messages = {} }
    local method, path, body = sent(chat, request, "2024-02-01", "gpt-4")
    assert.same({ "POST", "/openai/deployments/gpt-4/chat/completions?api-version=2024-02-01" }, { method, path })
    assert.same({ messages = {}, model = "gpt-4" }, body)
    assert.equal("/openai/deployments/gpt-4/embeddings?api-version=2024-02-01",
      (select(2, sent(embeddings, { input = "a" }, "2024-02-01", "gpt-4"))))
    assert.equal("/openai/models?api-version=2024-02-01", (select(2, sent(models, nil, "2024-02-01"))))
    assert.equal("/openai/deployments/a%2Fb%20%C3%A4%3F/chat/completions?api-version=2024-10-21%26x",
      (select(2, sent(chat, request, "2024-10-21&x", "a/b ä?"))))
    assert.equal("/openai/deployments/of-the-request/chat/completions?api-version=2024-10-21",
      (select(2, sent(chat, { messages = {}, model = "of-the-request" }, "2024-10-21"))))
  end)

  it("has the v1 surface without a version, or with a word for one", function()
    local method, path, body = sent(chat, { messages = {} }, nil, "gpt-5")
    assert.same({ "POST", "/openai/v1/chat/completions" }, { method, path })
    assert.equal("gpt-5", body.model)
    assert.equal("/openai/v1/embeddings", (select(2, sent(embeddings, { input = "a" }, nil, "e"))))
    method, path = sent(models, nil, nil)
    assert.same({ "GET", "/openai/v1/models" }, { method, path })
    assert.equal("/openai/v1/chat/completions?api-version=preview",
      (select(2, sent(chat, { messages = {} }, "preview", "m"))))
  end)

  it("names a deployment", function()
    local method, problem = chat.encode({ messages = {} }, { traits = { api_version = "2024-10-21" } }, codec)
    assert.is_nil(method)
    assert.equal("model: expected the name of a deployment", problem)
    assert.same({ nil, "messages[1].content: invalid UTF-8 at byte 1 of 1 (0xFF)" },
      { sent(chat, { messages = { { content = "\255" } } }, nil, "m") })
  end)

  -- stream_options came with 2024-09-01-preview (Azure/azure-rest-api-specs #29157, #30810)
  it("asks for the usage of a stream where the version knows how", function()
    for version, knows in pairs { ["2024-02-01"] = false, ["2024-08-01-preview"] = false, ["2024-09-01-preview"] = true,
      ["2024-10-21"] = true, preview = true } do
      local _, _, body, headers = sent(chat, { messages = {} }, version, "m", true)
      assert.is_true(body.stream)
      assert.same(knows and { include_usage = true } or nil, body.stream_options, version)
      assert.equal("accept: text/event-stream\ncontent-type: application/json\n", headers)
    end
    assert.same({ include_usage = true }, (select(3, sent(chat, { messages = {} }, nil, "m", true))).stream_options)
    assert.same({ include_usage = true }, (select(3, sent(chat, { messages = {}, stream_options = { include_usage =
      true } }, "2024-02-01", "m", true))).stream_options)
  end)

  it("keeps what the filters said in the body", function()
    -- vercel/ai packages/openai/src/chat/__fixtures__/azure-model-router.1.chunks.txt, as one answer
    local fields = assert(chat.decode({ status = 200, headers = "", body = [[{"id":"c","object":"chat.completion",
      "model":"gpt-5-nano-2025-08-07","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"jailbreak":{
      "filtered":false,"detected":false}}}],"choices":[{"index":0,"content_filter_results":{"hate":{"filtered":false,
      "severity":"safe"}},"finish_reason":"stop","message":{"role":"assistant","content":"Capital of Norway."}}]}]] },
      codec))
    assert.equal("Capital of Norway.", fields.text)
    local body = fields.body or json.finish(fields._body)
    assert.equal("safe", body.choices[1].content_filter_results.hate.severity)
    assert.is_false(body.prompt_filter_results[1].content_filter_results.jailbreak.detected)
  end)

  it("tells a filter from a bad request", function()
    -- learn.microsoft.com, Azure OpenAI content filtering: the error of a filtered prompt
    local body = [[{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content
      management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{
      "code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}]]
    local verdict = azure.judge({ status = 400, headers = "", body = body }, codec.decode(body))
    assert.same({ "final", "content_filter" }, { verdict.class, verdict.kind })
  end)

  it("reads streams as OpenAI's", function()
    local outcome = replay.every_way(function() return chat.stream(codec, {}) end, replay.fixture "openai/azure")
    assert.equal("Capital of Norway.", outcome.fields.text)
    assert.equal(openai.usage, azure.usage)
  end)

  it("is configured by the resource's root", function()
    local resolved = config.resolve({ provider = "azure_openai", base_url = "https://name.openai.azure.com",
      api_version = "2024-10-21", api_key = "k", model = "gpt-4o" }, NO_KEYS)
    assert.same({ "azure", "2024-10-21" },
      { resolved.endpoints[1].provider, resolved.endpoints[1].traits.api_version })
  end)
end)
