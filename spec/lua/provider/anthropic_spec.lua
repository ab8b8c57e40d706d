-- Anthropic's Messages API: requests and answers, both ways. Bodies are those of the vendor's documentation and SDK.
local anthropic = require "surefoot.provider.anthropic"
local json = require "surefoot.json"
local replay = require "spec.support.replay"
local results = require "surefoot.result"

local codec = json.new()
local chat, models, embeddings = anthropic.operations.chat, anthropic.operations.models, anthropic.operations.embeddings
local variant = { model = "claude-sonnet-4-5", traits = {} }

-- What is sent for a request; nil and the problem. The request stays as it was.
local function sent(request, changes, streams)
  local before = replay.deep(request)
  local method, path, headers, body = chat.encode(request, variant, codec, changes, streams)
  replay.same(before, request, "request")
  if not method then
    return nil, path
  end
  assert.same({ "POST", "/messages" }, { method, path })
  return json.decode(body), headers
end

local function user(content)
  return { role = "user", content = content }
end

local function turns(messages)
  return assert(sent { messages = messages }).messages
end

local function reply(document, status)
  local body = type(document) == "string" and document or json.encode(document)
  return { status = status or 200, headers = "Content-Type: application/json\r\nrequest-id: req_1\r\n", body = body }
end

describe("an Anthropic request", function()
  it("has the key, the version and a bound of its own", function()
    assert.equal("x-api-key: k", anthropic.auth "k")
    local body, headers = sent { messages = { user "Hi" }, temperature = 0.5, unknown = { a = 1 } }
    assert.same({ model = "claude-sonnet-4-5", max_tokens = 4096, temperature = 0.5, unknown = { a = 1 },
      messages = { { role = "user", content = { { type = "text", text = "Hi" } } } } }, body)
    assert.equal("accept: application/json\ncontent-type: application/json\nanthropic-version: 2023-06-01\n", headers)
    local later = { model = "m", traits = { api_version = "2027-01-01" } }
    headers = select(3, chat.encode({ messages = { user "Hi" } }, later, codec, nil, true))
    assert.equal("accept: text/event-stream\ncontent-type: application/json\nanthropic-version: 2027-01-01\n", headers)
    assert.is_true(sent({ messages = { user "Hi" } }, nil, true).stream)
    assert.equal(9, sent({ messages = { user "Hi" }, max_completion_tokens = 9 }).max_tokens)
    assert.equal(7, sent({ messages = { user "Hi" }, max_tokens = 9 }, { max_tokens = 7 }).max_tokens)
  end)

  it("takes system messages out, wherever they stand", function()
    local kind = { type = "text", text = "And kind.", cache_control = { type = "ephemeral" } }
    local body = sent { messages = { { role = "system", content = "Be brief." }, user "Hi",
      { role = "developer", content = { kind } } } }
    assert.same({ { type = "text", text = "Be brief." }, kind }, body.system)
    assert.equal(1, #body.messages)
    body = sent { messages = { { role = "system", content = "a" }, user "Hi" }, system = "b" }
    assert.same({ { type = "text", text = "a" }, { type = "text", text = "b" } }, body.system)
    assert.equal("b", sent({ messages = { user "Hi" }, system = "b" }).system)
  end)

  it("carries images and files", function()
    local parts = turns { user { { type = "text", text = "What is this?" },
      { type = "image_url", image_url = { url = "data:image/png;base64,AAAA" } },
      { type = "image_url", image_url = { url = "https://example.com/a.jpg" } },
      { type = "file", file = { filename = "a.pdf", file_data = "data:application/pdf;base64,BBBB" } },
      { type = "document", source = { type = "text", media_type = "text/plain", data = "native" } } } }[1].content
    assert.same({ { type = "text", text = "What is this?" },
      { type = "image", source = { type = "base64", media_type = "image/png", data = "AAAA" } },
      { type = "image", source = { type = "url", url = "https://example.com/a.jpg" } },
      { type = "document", title = "a.pdf",
        source = { type = "base64", media_type = "application/pdf", data = "BBBB" } },
      { type = "document", source = { type = "text", media_type = "text/plain", data = "native" } } }, parts)
  end)

  it("makes one turn of what follows each other", function()
    assert.same({ "user", "assistant", "user" }, (function()
      local roles = {}
      for i, turn in ipairs(turns { user "a", user "b", { role = "assistant", content = "c" }, user "", user "d" }) do
        roles[i] = turn.role
      end
      return roles
    end)())
  end)

  it("carries calls of tools, and what came of them", function()
    local messages = turns { user "Weather?",
      { role = "assistant", content = json.null, tool_calls = {
        { id = "t1", type = "function", ["function"] = { name = "weather", arguments = '{"city":"Bern"}' } },
        { id = "t2", type = "function", ["function"] = { name = "time", arguments = "" } } } },
      { role = "tool", tool_call_id = "t1", content = "rain" },
      { role = "tool", tool_call_id = "t2", content = { { type = "text", text = "noon" } } },
      user "And?" }
    assert.equal(3, #messages)
    assert.same({ { type = "tool_use", id = "t1", name = "weather", input = { city = "Bern" } },
      { type = "tool_use", id = "t2", name = "time", input = {} } }, messages[2].content)
    assert.same({ { type = "tool_result", tool_use_id = "t1", content = "rain" },
      { type = "tool_result", tool_use_id = "t2", content = { { type = "text", text = "noon" } } },
      { type = "text", text = "And?" } }, messages[3].content)
    local text = select(4, chat.encode({ messages = { { role = "assistant", tool_calls = {
      { id = "t", ["function"] = { name = "f", arguments = "{}" } } } } } }, variant, codec))
    assert.truthy(text:find('"input":{}', 1, true))
  end)

  it("echoes its own blocks untouched, and no one else's", function()
    local items = { { type = "thinking", thinking = "hm", signature = "sig==" }, { type = "text", text = "Hi" } }
    local message = { role = "assistant", content = "Hi", native = { provider = "anthropic", items = items } }
    assert.same(items, turns({ user "a", message })[2].content)
    message.native.provider = "gemini"
    assert.same({ { type = "text", text = "Hi" } }, turns({ user "a", message })[2].content)
  end)

  it("translates tools, choices, stops and formats", function()
    local schema = { type = "object", properties = { city = { type = "string" } } }
    local body = sent {
      messages = { user "Hi" }, stop = "END", user = "u-1", reasoning_effort = "low", parallel_tool_calls = false,
      tools = { { type = "function", ["function"] = { name = "weather", description = "d", parameters = schema } },
        { type = "web_search_20250305", name = "web_search", max_uses = 5 } },
      tool_choice = { type = "function", ["function"] = { name = "weather" } },
      response_format = { type = "json_schema", json_schema = { name = "x", schema = schema } },
      seed = 1, presence_penalty = 0.1, n = 1,
    }
    assert.same({ { name = "weather", description = "d", input_schema = schema },
      { type = "web_search_20250305", name = "web_search", max_uses = 5 } }, body.tools)
    assert.same({ type = "tool", name = "weather", disable_parallel_tool_use = true }, body.tool_choice)
    assert.same({ "END" }, body.stop_sequences)
    assert.same({ user_id = "u-1" }, body.metadata)
    assert.same({ effort = "low", format = { type = "json_schema", schema = schema } }, body.output_config)
    for _, name in ipairs { "seed", "presence_penalty", "n", "stop", "user", "response_format", "reasoning_effort" } do
      assert.is_nil(body[name])
    end
    for given, expected in pairs { auto = "auto", none = "none", required = "any" } do
      local body_of = sent { messages = { user "Hi" }, tools = { {} }, tool_choice = given }
      assert.same({ type = expected }, body_of.tool_choice)
    end
  end)

  it("says what cannot be sent", function()
    for problem, request in pairs {
      ["n: Anthropic gives one answer to a request, not 2"] = { n = 2, messages = { user "Hi" } },
      ["messages: expected a list, got nil"] = {},
      ['messages[1].role: expected system, developer, user, assistant or tool, got "robot"'] = {
        messages = { { role = "robot" } } },
      ["messages[1].tool_calls[1].function.arguments: expected a JSON object in a string, got \"{oops\""] = {
        messages = { { role = "assistant", tool_calls = { { id = "x", ["function"] = { name = "f",
          arguments = "{oops" } } } } } },
      ["messages[1].tool_call_id: expected the id of the call, got nil"] = { messages = { { role = "tool" } } },
      ["messages[1].content[1]: Anthropic takes no audio"] = { messages = { user { { type = "input_audio" } } } },
      ["messages[1].content[1].image_url: only base64 data URLs can be sent"] = {
        messages = { user { { type = "image_url", image_url = { url = "data:text/plain,x" } } } } },
    } do
      assert.same({ nil, problem }, { sent(request) })
    end
    assert.same({ nil, "Anthropic offers no embeddings" }, { embeddings.encode() })
  end)
end)

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
      reasoning_tokens = 5, estimated = false }, fields.usage)
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
  end)

  it("is no success without content", function()
    for _, body in ipairs { "{}", '{"content":"x"}', "<html>", "" } do
      local fields, verdict = chat.decode(reply(body), codec)
      assert.is_nil(fields)
      assert.same({ "transient", "malformed" }, { verdict.class, verdict.kind })
    end
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

  it("lists models", function()
    local answer = reply '{"data":[{"type":"model","id":"claude-a"},{"id":"claude-b"}],"has_more":false}'
    local list = models.decode(answer, codec)
    assert.same({ "claude-a", "claude-b" }, { list.models[1].id, list.models[2].id })
    assert.same({ "GET", "/models?limit=1000", "accept: application/json\nanthropic-version: 2023-06-01\n" },
      { models.encode(nil, variant) })
  end)
end)
