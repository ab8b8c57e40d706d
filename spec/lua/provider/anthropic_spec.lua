-- What Anthropic's Messages API answers. Bodies are in the form of the vendor's documentation and SDK.
local anthropic = require "surefoot.provider.anthropic"
local json = require "surefoot.json"
local replay = require "spec.support.replay"
local results = require "surefoot.result"

local codec = json.new()
local chat, models = anthropic.operations.chat, anthropic.operations.models
local variant = { model = "claude-sonnet-4-5", traits = {} }

local function user(content)
  return { role = "user", content = content }
end

local function reply(document, status)
  local body = type(document) == "string" and document or json.encode(document)
  return { status = status or 200, headers = "Content-Type: application/json\r\nrequest-id: req_1\r\n", body = body }
end

describe("an Anthropic answer", function()
  -- docs: API reference, Messages, response 200
  local whole = { id = "msg_013Zva2CMHLNnXjNJJKqJ2EF", type = "message", role = "assistant",
    model = "claude-sonnet-4-5", stop_reason = "end_turn",
    content = { { type = "text", text = "Hi! My name is Claude." } },
    stop_sequence = json.null, usage = { input_tokens = 10, output_tokens = 25, cache_read_input_tokens = 4,
      cache_creation_input_tokens = 2, output_tokens_details = { thinking_tokens = 5 } } }

  local function fields_of(document, request)
    local answer = reply(document)
    return results.new(assert(chat.decode(answer, codec, request)), answer)
  end

  it("is read whole", function()
    local fields = fields_of(whole)
    assert.same({ "Hi! My name is Claude.", "stop", "claude-sonnet-4-5", "msg_013Zva2CMHLNnXjNJJKqJ2EF" },
      { fields.text, fields.finish_reason, fields.model, fields.id })
    assert.same({ input_tokens = 16, output_tokens = 25, total_tokens = 41, cached_input_tokens = 4,
      cache_write_tokens = 2, reasoning_tokens = 5, estimated = false }, fields.usage)
    assert.same(whole.content, fields.message.native.items)
    assert.equal("end_turn", fields.body.stop_reason)
  end)

  it("tells thoughts, texts and calls apart", function()
    local document = replay.deep(whole)
    document.content = { { type = "thinking", thinking = "Hm.", signature = "s" }, { type = "text", text = "a" },
      { type = "tool_use", id = "toolu_1", name = "f", input = { x = 1 } }, { type = "text", text = "b" },
      { type = "tool_use", id = "toolu_2", name = "g", input = json.object {} } }
    document.stop_reason = "tool_use"
    local fields = fields_of(document)
    assert.same({ "ab", "Hm.", "tool_calls" }, { fields.text, fields.reasoning, fields.finish_reason })
    assert.same({ { id = "toolu_1", type = "function", ["function"] = { name = "f", arguments = '{"x":1}' } },
      { id = "toolu_2", type = "function", ["function"] = { name = "g", arguments = "{}" } } }, fields.tool_calls)
    assert.equal(fields.tool_calls, fields.message.tool_calls)
    assert.same({ "assistant", "ab" }, { fields.message.role, fields.message.content })
    document.content = { document.content[3], { type = "server_tool_use", id = "s", name = "web_search",
      input = { query = "q" } } }
    fields = fields_of(document)
    assert.same({ nil, json.null, 1 }, { fields.text, fields.message.content, #fields.tool_calls })
    assert.is_nil(fields.reasoning)
  end)

  it("can be sent again as it came", function()
    local document = replay.deep(whole)
    document.content = { { type = "thinking", thinking = "", signature = "s" }, { type = "tool_use", id = "t",
      name = "f", input = { list = json.array {}, map = json.object {}, n = 3, null = json.null } } }
    local text = json.encode(document.content)
    local fields = fields_of(document)
    local body = select(4, chat.encode({ messages = { user "a", fields.message,
      { role = "tool", tool_call_id = "t", content = "x" } } }, variant, codec))
    assert.truthy(json.encode(json.decode(body).messages[2]):find(text, 1, true))
  end)

  it("takes what kin of Anthropic's write", function()
    local document = replay.deep(whole)
    document.content = { { type = "tool_use", id = "t", name = "f", input = '{"a":1}' },
      { type = "tool_use", id = "t", name = "g", input = json.null }, { type = "novelty", x = 1 } }
    local calls = fields_of(document).tool_calls
    assert.same({ '{"a":1}', "{}" }, { calls[1]["function"].arguments, calls[2]["function"].arguments })
    document.content, document.usage, document.stop_reason = json.array {}, nil, json.null
    local fields = fields_of(document)
    assert.same({}, { fields.text, fields.usage, fields.finish_reason, fields.tool_calls })
  end)

  it("has OpenAI's words for why it ended", function()
    for reason, expected in pairs { stop_sequence = "stop", max_tokens = "length", refusal = "content_filter",
      model_context_window_exceeded = "length", pause_turn = "pause_turn" } do
      local document = replay.deep(whole)
      document.stop_reason = reason
      local fields = fields_of(document)
      assert.equal(expected, fields.finish_reason)
      assert.equal(expected == "length" or nil, fields.truncated)
    end
  end)

  it("is decoded where JSON was asked for", function()
    local document = replay.deep(whole)
    document.content[1].text = '{"name":"Ada"}'
    assert.same({ name = "Ada" }, fields_of(document, { response_format = { type = "json_schema" } }).parsed)
    assert.same({ name = "Ada" }, fields_of(document, { output_config = { format = { type = "json_schema" } } }).parsed)
    assert.is_nil(fields_of(document, {}).parsed)
    document.content[1].text = '```json\n{"name":"Ada"}\n```'
    assert.same({ name = "Ada" }, fields_of(document, { response_format = { type = "json_object" } }).parsed)
    assert.is_nil(fields_of(document, { response_format = { type = "json_schema" } }).parsed)
    document.content[1].text = '{"name":"Ad'
    assert.is_nil(fields_of(document, { response_format = { type = "json_schema" } }).parsed)
  end)

  it("is no success without content", function()
    for body, message in pairs {
      ["{}"] = 'the answer has no list of content: "{}"',
      ['{"content":"x"}'] = [[the answer has no list of content: "{\"content\":\"x\"}"]],
      ['{"content":{"a":1}}'] = [[the answer has no list of content: "{\"content\":{\"a\":1}}"]],
      ['{"content":[1]}'] = [[the answer has no content[1].type: "{\"content\":[1]}"]],
      ["<html>"] = 'the answer is HTML or XML, not JSON: "<html>"', [""] = "the answer is empty",
    } do
      local fields, verdict = chat.decode(reply(body), codec)
      assert.is_nil(fields)
      assert.same({ "transient", "malformed", message }, { verdict.class, verdict.kind, verdict.message })
    end
    assert.equal("truncated", select(2, chat.decode(reply '{"content":[{"type":"te', codec)).kind)
  end)

  it("is no success where an error came with a success status", function()
    local verdict = select(2, chat.decode(reply(
      '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'), codec))
    assert.same({ "overloaded", "overloaded", "overloaded_error" }, { verdict.class, verdict.kind, verdict.code })
  end)

  it("fails in Anthropic's own words", function()
    for kind, row in pairs {
      invalid_request_error = { 400, "final", "invalid_request" },
      authentication_error = { 401, "key", "unauthorized" },
      billing_error = { 402, "key", "quota" }, permission_error = { 403, "key", "forbidden" },
      not_found_error = { 404, "endpoint", "not_found" }, request_too_large = { 413, "final", "too_large" },
      rate_limit_error = { 429, "throttled", "rate_limited" }, api_error = { 500, "transient", "server" },
      timeout_error = { 504, "transient", "server" }, overloaded_error = { 529, "overloaded", "overloaded" },
    } do
      local document = { type = "error", error = { type = kind, message = "x" }, request_id = "req_011CSHoEeqs5C3" }
      local verdict = anthropic.judge(reply(document, row[1]), document)
      assert.same({ row[2], row[3], kind }, { verdict.class, verdict.kind, verdict.code })
      verdict = select(2, anthropic.operations.chat.stream(codec):event("error", json.encode(document)))
      assert.same({ row[2], row[3] }, { verdict.class, verdict.kind }, kind)
    end
  end)

  it("fails by what the message says, where its type is loose", function()
    for message, row in pairs {
      ["prompt is too long: 210000 tokens > 200000 maximum"] = { "route", "context_length" },
      ["Your credit balance is too low to access the Anthropic API."] = { "key", "quota" },
    } do
      local document = { type = "error", error = { type = "invalid_request_error", message = message } }
      local verdict = anthropic.judge(reply(document, 400), document)
      assert.same(row, { verdict.class, verdict.kind })
      verdict = select(2, chat.stream(codec):event("error", json.encode(document)))
      assert.same(row, { verdict.class, verdict.kind })
    end
  end)

  it("lists models", function()
    local answer = reply '{"data":[{"type":"model","id":"claude-a"},{"id":"claude-b"}],"has_more":false}'
    local list = models.decode(answer, codec)
    assert.same({ "claude-a", "claude-b" }, { list.models[1].id, list.models[2].id })
    assert.same({ "GET", "/models?limit=1000", "accept: application/json\nanthropic-version: 2023-06-01\n" },
      { models.encode(nil, variant) })
    assert.same({}, models.decode(reply '{"data":[]}', codec).models)
    for body, message in pairs { ['{"data":[{}]}'] = "the list of models has no data[1].id",
      ["{}"] = 'the answer has no list of models: "{}"' } do
      assert.equal(message, select(2, models.decode(reply(body), codec)).message)
    end
  end)
end)
