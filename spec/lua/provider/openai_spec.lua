local json = require "surefoot.json"
local openai = require "surefoot.provider.openai"
local results = require "surefoot.result"

local codec = json.new()
local chat, embeddings, models = openai.operations.chat, openai.operations.embeddings, openai.operations.models

-- What is sent, or nil and the problem.
local function body_of(operation, request, model, changes)
  local method, path, _, body = operation.encode(request, { model = model, traits = {} }, codec, changes)
  return body, not method and path or nil
end

local function reply(body, status)
  return { status = status or 200, headers = "Content-Type: application/json\r\n", body = body }
end

local whole = [[{"id":"c-1","object":"chat.completion","created":1,"model":"m-2024","choices":[{"index":0,"message":
{"role":"assistant","content":"Hello","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],
"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4},
"completion_tokens_details":{"reasoning_tokens":3}},"system_fingerprint":"fp"}]]

describe("openai chat", function()
  it("writes the request with the upstream's model, everything else untouched", function()
    local request = { messages = { { role = "user", content = "Hi" } }, temperature = 0.5,
      unknown = { deep = json.null } }
    local expected = { messages = { { content = "Hi", role = "user" } }, model = "up", temperature = 0.5,
      unknown = { deep = json.null } }
    assert.same(expected, json.decode((body_of(chat, request, "up"))))
    expected.temperature = 0
    assert.same(expected, json.decode((body_of(chat, request, "up", { temperature = 0 }))))
    assert.is_nil(request.model)
    assert.same({ nil, "messages[1].content: invalid UTF-8 at byte 1 of 1 (0xFF)" },
      { body_of(chat, { messages = { { content = "\255" } } }, "m") })
  end)

  it("writes schemas in one order, so that a provider's prompt cache meets the same bytes", function()
    local tool = { type = "function", ["function"] = { name = "f", parameters = { type = "object", properties = {
      zebra = { type = "string" }, apple = { type = "number" } } } } }
    local body = body_of(chat, { messages = { { role = "user", content = "Hi" } }, tools = { tool } }, "m")
    assert.equal('{"messages":[{"content":"Hi","role":"user"}],"model":"m","tools":[{"function":{"name":"f",'
      .. '"parameters":{"properties":{"apple":{"type":"number"},"zebra":{"type":"string"}},"type":"object"}},'
      .. '"type":"function"}]}', body)
  end)

  it("sends the key as a bearer", function()
    assert.equal("authorization: Bearer k", openai.auth "k")
  end)

  it("reads a whole answer", function()
    local answer = reply(whole)
    local fields = results.new(assert(chat.decode(answer, codec)), answer)
    assert.equal("Hello", fields.text)
    assert.equal("stop", fields.finish_reason)
    assert.equal("m-2024", fields.model)
    assert.equal("c-1", fields.id)
    assert.is_nil(fields.truncated)
    assert.is_nil(fields.tool_calls)
    assert.equal("assistant", fields.message.role)
    assert.equal("fp", fields.body.system_fingerprint)
    assert.equal("1", tostring(fields.body.created))
    assert.same({ input_tokens = 9, output_tokens = 12, total_tokens = 21, cached_input_tokens = 4,
      reasoning_tokens = 3, estimated = false },
      fields.usage)
  end)

  it("gives back a message that can be sent again as it came", function()
    local fields = chat.decode(reply(whole), codec)
    assert.equal('{"annotations":[],"content":"Hello","refusal":null,"role":"assistant"}', codec.encode(fields.message))
  end)

  it("makes an answer cut by the token limit visible", function()
    local fields = chat.decode(reply '{"choices":[{"message":{"content":"Once"},"finish_reason":"length"}]}', codec)
    assert.is_true(fields.truncated)
    assert.equal("length", fields.finish_reason)
    assert.is_nil(fields.usage)
  end)

  it("reads tool calls, null content, parts and reasoning", function()
    local fields = chat.decode(reply [[{"choices":[{"message":{"content":null,"tool_calls":[{"id":"t","type":"function",
      "function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}]}]], codec)
    assert.is_nil(fields.text)
    assert.equal('{"a":1}', fields.tool_calls[1]["function"].arguments)
    fields = chat.decode(reply [[{"choices":[{"message":{"content":[{"type":"text","text":"a"},
      {"type":"image"},{"type":"text","text":"b"}],"reasoning_content":"hm","tool_calls":[]},
      "finish_reason":null}]}]], codec)
    assert.same({ "ab", "hm" }, { fields.text, fields.reasoning })
    assert.is_nil(fields.finish_reason)
    assert.is_nil(fields.tool_calls)
  end)

  it("parses structured output where it was asked for", function()
    local body = [[{"choices":[{"message":{"content":"{\"n\":1}"},"finish_reason":"stop"}]}]]
    assert.same({ n = 1 }, chat.decode(reply(body), codec, { response_format = { type = "json_object" } }).parsed)
    assert.same({ n = 1 }, chat.decode(reply(body), codec, { response_format = { type = "json_schema" } }).parsed)
    assert.is_nil(chat.decode(reply(body), codec, {}).parsed)
  end)

  it("reads usage in other providers' forms", function()
    assert.same({ input_tokens = 5, output_tokens = 2, total_tokens = 7, cached_input_tokens = 3, estimated = false },
      openai.usage { prompt_tokens = 5, completion_tokens = 2, prompt_cache_hit_tokens = 3 })
    assert.same({ input_tokens = 8, output_tokens = 0, total_tokens = 8, estimated = false },
      openai.usage { prompt_tokens = 8, total_tokens = 8 })
    assert.is_nil(openai.usage(json.null))
    assert.is_nil(openai.usage {})
    assert.is_nil(openai.usage { prompt_tokens = -1 })
  end)

  local bad = {
    { "", "malformed", "empty" },
    { " \n", "malformed", "empty" },
    { "<html><body>Bad gateway</body></html>", "malformed", 'HTML or XML, not JSON: "<html><body>Bad' },
    { "Internal error", "malformed", 'is no JSON' },
    { "null", "malformed", "no JSON object" },
    { "7", "malformed", "no JSON object" },
    { "[]", "malformed", "no choices[1].message" },
    { "{}", "malformed", "no choices[1].message" },
    { '{"choices":[]}', "malformed", "no choices[1].message" },
    { '{"choices":null}', "malformed", "no choices[1].message" },
    { '{"choices":[{"message":null}]}', "malformed", "no choices[1].message" },
    { whole:sub(1, 200), "truncated", "ends early" },
    { whole:sub(1, -2), "truncated", "ends early" },
    { whole .. "x", "malformed", "no JSON" },
  }
  for _, case in ipairs(bad) do
    it("does not take for an answer: " .. case[1]:sub(1, 40), function()
      local fields, verdict = chat.decode(reply(case[1]), codec)
      assert.is_nil(fields)
      assert.equal("transient", verdict.class)
      assert.equal(case[2], verdict.kind)
      assert.is_truthy(verdict.message:find(case[3], 1, true), verdict.message)
    end)
  end

  it("does not take any beginning of an answer for the whole", function()
    for length = 0, #whole - 1 do
      local fields, verdict = chat.decode(reply(whole:sub(1, length)), codec)
      assert.is_nil(fields)
      assert.equal(length == 0 and "malformed" or "truncated", verdict.kind)
    end
  end)

  it("sees an error inside a 200", function()
    for _, body in ipairs {
      '{"error":{"message":"Rate limit","type":"rate_limit_error","code":429}}',
      '{"error":{"message":"Overloaded","code":"overloaded"},"choices":[{"message":{"content":"x"}}]}',
      '{"object":"error","message":"model is loading","type":"x","code":500}',
      '{"error":"out of memory"}',
    } do
      local fields, verdict = chat.decode(reply(body), codec)
      assert.is_nil(fields)
      assert.not_equal("accept", verdict.class)
      assert.is_string(verdict.kind)
      assert.same(codec.decode(body), verdict.body)
    end
    assert.truthy(chat.decode(reply '{"error":null,"choices":[{"message":{"content":"x"}}]}', codec))
  end)
end)

describe("openai embeddings", function()
  it("puts the vectors into the order of the inputs", function()
    local answer = reply [[{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":[0.25]}],"model":"e",
      "usage":{"prompt_tokens":2,"total_tokens":2}}]]
    local fields = assert(embeddings.decode(answer, codec, { input = { "a", "b" } }))
    assert.same({ { 0.25 }, { 0.5 } }, fields.embeddings)
    assert.equal(2, fields.usage.total_tokens)
  end)

  it("accepts one vector for a string or for tokens, and base64", function()
    local one = reply '{"data":[{"index":0,"embedding":"AAAA"}]}'
    assert.same({ "AAAA" }, embeddings.decode(one, codec, { input = "a" }).embeddings)
    assert.same({ "AAAA" }, embeddings.decode(one, codec, { input = { 1, 2, 3 } }).embeddings)
  end)

  it("refuses answers with vectors missing", function()
    for body, message in pairs {
      ['{"data":[{"index":0,"embedding":[1]}]}'] = "1 embeddings for 2 inputs",
      ['{"data":[{"index":1,"embedding":[1]},{"index":1,"embedding":[1]}]}'] = "embeddings for 2 inputs",
      ['{"data":[{"index":0},{"index":1}]}'] = "data[1].embedding",
      ['{"data":null}'] = "has no data",
    } do
      local fields, verdict = embeddings.decode(reply(body), codec, { input = { "a", "b" } })
      assert.is_nil(fields)
      assert.equal("malformed", verdict.kind)
      assert.is_truthy(verdict.message:find(message, 1, true), verdict.message)
    end
  end)
end)

describe("openai models", function()
  it("lists what has an id, also where only a name is given", function()
    assert.is_nil(body_of(models))
    local fields = models.decode(reply '{"object":"list","data":[{"id":"a","owned_by":"x"},{"id":"b"}]}', codec)
    assert.same({ { id = "a", owned_by = "x" }, { id = "b" } }, fields.models)
    assert.equal("llama", models.decode(reply '{"models":[{"name":"llama"}]}', codec).models[1].id)
    assert.equal("x", models.decode(reply '["x"]', codec).models[1].id)
    assert.same({}, models.decode(reply '{"data":[]}', codec).models)
  end)
  it("refuses other documents", function()
    for _, body in ipairs { "{}", '{"data":[{}]}', "<html>" } do
      assert.is_nil((models.decode(reply(body), codec)))
    end
  end)
end)
