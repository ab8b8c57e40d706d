local json = require "surefoot.json"
local replay = require "spec.support.replay"
local responses = require "surefoot.provider.responses"

local codec = json.new()
local chat = responses.operations.chat

-- What is sent for a request, or nil and the problem. The request stays as it was.
local function sent(request, changes, streams, traits)
  local before = replay.deep(request)
  local method, path, headers, body = chat.encode(request, { model = "up", traits = traits or {} }, codec, changes,
    streams)
  replay.same(before, request, "request")
  if not method then
    return nil, path
  end
  assert.same({ "POST", "/responses", streams and "accept: text/event-stream\ncontent-type: application/json\n"
    or "accept: application/json\ncontent-type: application/json\n" }, { method, path, headers })
  return json.decode(body)
end

local function input_of(...)
  return assert(sent { messages = { ... } }).input
end

local function reply(body, status)
  return { status = status or 200, headers = "Content-Type: application/json\r\n", body = body }
end

local function decoded(body, request)
  return assert(chat.decode(reply(body), codec, request))
end

-- The last event's response, as text.
local function whole_of(name)
  return codec.encode(codec.decode(replay.fixture("responses/" .. name):match '.*data: ([^\n]+)').response)
end

describe("a request to the Responses API", function()
  it("has input items for messages, each in its place", function()
    assert.same({
      { role = "system", content = "Be brief" }, { role = "developer", content = "Very" },
      { role = "user", content = "Hi" },
      { role = "assistant", content = { { type = "output_text", text = "Ho" } } },
      { role = "user", content = "?" },
    }, input_of({ role = "system", content = "Be brief" }, { role = "developer", content = "Very" },
      { role = "user", content = "Hi", name = "bob" }, { role = "assistant", content = "Ho" },
      { role = "user", content = "?" }))
    assert.same({ input = {}, model = "up" }, sent { messages = {} })
  end)

  it("has parts in the API's words", function()
    assert.same({ {
      role = "user", content = {
        { type = "input_text", text = "See" },
        { type = "input_image", image_url = "https://x/y.png", detail = "low" },
        { type = "input_image", image_url = "data:image/png;base64,AA" },
        { type = "input_audio", input_audio = { data = "AA", format = "wav" } },
        { type = "input_file", file_data = "BB", filename = "a.pdf" }, { type = "input_file", file_id = "file-1" },
        { type = "input_file", file_url = "https://x/z.pdf" },
      },
    } }, input_of { role = "user", content = {
      { type = "text", text = "See" }, { type = "image_url", image_url = { url = "https://x/y.png", detail = "low" } },
      { type = "image_url", image_url = "data:image/png;base64,AA" },
      { type = "input_audio", input_audio = { data = "AA", format = "wav" } },
      { type = "file", file = { file_data = "BB", filename = "a.pdf" } },
      { type = "file", file = { file_id = "file-1" } }, { type = "input_file", file_url = "https://x/z.pdf" },
    } })
    assert.same({ { role = "assistant", content = { { type = "output_text", text = "a" },
      { type = "refusal", refusal = "no" } } } }, input_of { role = "assistant", content = {
      { type = "text", text = "a" }, { type = "refusal", refusal = "no" } } })
    assert.same({ { role = "assistant", content = { { type = "refusal", refusal = "no" } } } },
      input_of { role = "assistant", content = json.null, refusal = "no" })
    assert.same({ { role = "assistant", content = { { type = "output_text", text = "" } } } },
      input_of { role = "assistant", content = "" })
  end)

  it("has calls of tools and their results as items", function()
    assert.same({
      { role = "assistant", content = { { type = "output_text", text = "Let me see" } } },
      { type = "function_call", call_id = "a", name = "f", arguments = '{"x":1}' },
      { type = "custom_tool_call", call_id = "b", name = "g", input = "SELECT 1" },
      { type = "function_call_output", call_id = "a", output = "42" },
      { type = "custom_tool_call_output", call_id = "b", output = { { type = "input_text", text = "one" } } },
    }, input_of({ role = "assistant", content = "Let me see", tool_calls = {
      { id = "a", type = "function", ["function"] = { name = "f", arguments = '{"x":1}' } },
      { id = "b", type = "custom", custom = { name = "g", input = "SELECT 1" } } } },
      { role = "tool", tool_call_id = "a", content = "42" },
      { role = "tool", tool_call_id = "b", content = { { type = "text", text = "one" } } }))
    assert.same({ { type = "function_call", call_id = "a", name = "f", arguments = "{}" } },
      input_of { role = "assistant", content = json.null, tool_calls = {
        { id = "a", type = "function", ["function"] = { name = "f" } } } })
  end)

  it("has items of the API's own among the messages as they are", function()
    local item = { type = "item_reference", id = "msg_1" }
    assert.same({ item, { role = "user", content = "x" } }, input_of(item, { role = "user", content = "x" }))
  end)

  it("has tools flat, with chat's laxness where nothing is said", function()
    local schema = { type = "object", properties = { a = { type = "string" } } }
    assert.same({
      { type = "function", name = "f", description = "d", parameters = schema, strict = false },
      { type = "function", name = "g", parameters = schema, strict = true },
      { type = "function", name = "h", parameters = { type = "object", properties = {} }, strict = false },
      { type = "custom", name = "c", format = { type = "grammar", syntax = "lark", definition = "x" } },
      { type = "web_search", search_context_size = "low" }, { type = "function", name = "flat", strict = true },
    }, sent { messages = {}, tools = {
      { type = "function", ["function"] = { name = "f", description = "d", parameters = schema } },
      { type = "function", ["function"] = { name = "g", parameters = schema, strict = true } },
      { type = "function", ["function"] = { name = "h" } },
      { type = "custom", custom = { name = "c", format = { type = "grammar", grammar = { syntax = "lark",
        definition = "x" } } } },
      { type = "web_search", search_context_size = "low" }, { type = "function", name = "flat", strict = true },
    } }.tools)
  end)

  it("has the choice of a tool flat", function()
    local function choice(value)
      return sent({ messages = {}, tool_choice = value }).tool_choice
    end
    assert.equal("required", choice "required")
    assert.same({ type = "function", name = "f" }, choice { type = "function", ["function"] = { name = "f" } })
    assert.same({ type = "custom", name = "f" }, choice { type = "custom", custom = { name = "f" } })
    assert.same({ type = "web_search" }, choice { type = "web_search" })
    assert.same({ type = "allowed_tools", mode = "auto", tools = { { type = "function", name = "f" } } },
      choice { type = "allowed_tools", allowed_tools = { mode = "auto",
        tools = { { type = "function", ["function"] = { name = "f" } } } } })
  end)

  it("has fields under the API's names", function()
    local schema = { type = "object" }
    assert.same({ input = {}, model = "up", max_output_tokens = 5, reasoning = { effort = "low", summary = "auto" },
      text = { verbosity = "high", format = { type = "json_schema", name = "n", schema = schema, strict = true } },
      temperature = 0.5, store = false, user = "u", unknown = { 1 }, top_logprobs = 2,
      include = { "reasoning.encrypted_content", "message.output_text.logprobs" } },
      sent { messages = {}, max_tokens = 5, reasoning_effort = "low", reasoning = { summary = "auto" },
        verbosity = "high", response_format = { type = "json_schema", json_schema = { name = "n", schema = schema,
          strict = true } }, temperature = 0.5, store = false, user = "u", unknown = { 1 }, logprobs = true,
        top_logprobs = 2, include = { "reasoning.encrypted_content" } })
    assert.same({ format = { type = "json_object" } },
      sent({ messages = {}, response_format = { type = "json_object" } }).text)
    assert.equal(7, sent({ messages = {}, max_tokens = 5, max_completion_tokens = 7 }).max_output_tokens)
    assert.equal(9, sent({ messages = {}, max_tokens = 5, max_output_tokens = 9 }).max_output_tokens)
    assert.same({ effort = "high" },
      sent({ messages = {}, reasoning_effort = "low", reasoning = { effort = "high" } }).reasoning)
    assert.same({ input = {}, model = "up" }, sent { messages = {}, n = 1, stop = json.null, logprobs = false,
      max_tokens = json.null, response_format = json.null })
  end)

  it("takes what a fallback changes", function()
    assert.same({ input = { { role = "user", content = "b" } }, model = "up", max_output_tokens = 3 },
      sent({ messages = { { role = "user", content = "a" } }, max_tokens = 2 },
        { messages = { { role = "user", content = "b" } }, max_tokens = 3 }))
  end)

  it("asks for events, and not for the usage, which comes unasked", function()
    assert.same({ input = {}, model = "up", stream = true },
      sent({ messages = {}, stream_options = { include_usage = true } }, nil, true))
    assert.same({ include_obfuscation = false },
      sent({ messages = {}, stream_options = { include_usage = true, include_obfuscation = false } }, nil, true)
        .stream_options)
    assert.is_true(sent({ input = "x" }, nil, true).stream)
  end)

  it("in the API's own shape passes as it is", function()
    local request = { input = { { role = "user", content = { { type = "input_text", text = "Hi" } } } },
      instructions = "x", max_tokens = 3, stop = { "a" }, tools = { { type = "function", name = "f" } },
      text = { format = { type = "text" } }, previous_response_id = "resp_1" }
    local expected = replay.deep(request)
    expected.model = "up"
    assert.same(expected, sent(request))
    assert.same({ input = "Hi", model = "up" }, sent { input = "Hi" })
  end)

  local problems = {
    ["stop: the Responses API has no stop sequences"] = { messages = {}, stop = "x" },
    ["n: the Responses API gives one answer"] = { messages = {}, n = 2 },
    ["functions: the Responses API takes tools"] = { messages = {}, functions = {} },
    ["function_call: the Responses API takes tool_choice"] = { messages = {}, function_call = "auto" },
    ["messages[2].tool_call_id: is missing"] = { messages = { { role = "user", content = "x" },
      { role = "tool", content = "x" } } },
    ['messages[1].role: "function" has no place here; use "tool"'] = { messages = { { role = "function" } } },
    ["messages[1].function_call: has no id to answer to here; use tool_calls"] = { messages = {
      { role = "assistant", function_call = { name = "f" } } } },
    ["messages[1].tool_calls[1]: expected a call of a function, or of a custom tool"] = { messages = {
      { role = "assistant", tool_calls = { { id = "x" } } } } },
    ["messages[1]: expected a message"] = { messages = { "x" } },
    ["input[1].content: invalid UTF-8 at byte 1 of 1 (0xFF)"] = { messages = { { role = "user", content = "\255" } } },
  }
  for message, request in pairs(problems) do
    it("says what is wrong: " .. message, function()
      assert.same({ nil, message }, { sent(request) })
    end)
  end

  it("writes schemas in one order", function()
    local tool = { type = "function", ["function"] = { name = "f", parameters = { type = "object", properties = {
      zebra = { type = "string" }, apple = { type = "number" } } } } }
    local _, _, _, body = chat.encode({ messages = {}, tools = { tool } }, { model = "m", traits = {} }, codec)
    assert.equal('{"input":[],"model":"m","tools":[{"name":"f","parameters":{"properties":{"apple":{"type":"number"},'
      .. '"zebra":{"type":"string"}},"type":"object"},"strict":false,"type":"function"}]}', body)
  end)
end)

describe("an answer of the Responses API", function()
  it("is read as a chat completion", function()
    local fields = decoded(whole_of "text")
    assert.equal("Ahoy there!", fields.text)
    assert.same({ "stop", "resp_text_1", "gpt-5.1" },
      { fields.finish_reason, fields.id, fields.model })
    assert.same({ role = "assistant", content = fields.text, native = { provider = "responses",
      items = fields.body.output } }, fields.message)
    assert.same({ input_tokens = 9, output_tokens = 4, total_tokens = 13, cached_input_tokens = 0,
      reasoning_tokens = 0, estimated = false }, fields.usage)
    assert.is_nil(fields.truncated)
    assert.is_nil(fields.tool_calls)
    assert.equal("completed", fields.body.status)
  end)

  it("has calls of tools in the chat shape", function()
    local fields = decoded(whole_of "function")
    assert.same({ { id = "call_tide_1", type = "function", ["function"] = { name = "tide",
      arguments = '{"harbour":"Ostend"}' } } }, fields.tool_calls)
    assert.same({ "tool_calls", json.null }, { fields.finish_reason, fields.message.content })
    assert.equal(fields.tool_calls, fields.message.tool_calls)
    fields = decoded(whole_of "custom_tool")
    assert.same({ { id = "call_steer_1", type = "custom", custom = { name = "steer",
      input = "COURSE 270 BY 09:30" } } }, fields.tool_calls)
  end)

  it("goes back item by item as it came", function()
    local fields = decoded(whole_of "reasoning")
    assert.equal("reasoning", fields.body.output[1].type)
    assert.equal("b3VycyBjb21wbGV0ZWQ_-==", fields.body.output[1].encrypted_content)
    local id = fields.tool_calls[1].id
    local input = input_of({ role = "user", content = "x" }, fields.message,
      { role = "tool", tool_call_id = id, content = "19" })
    replay.same({ { role = "user", content = "x" }, fields.body.output[1], fields.body.output[2],
      { type = "function_call_output", call_id = id, output = "19" } }, input, "input")
    fields = decoded(whole_of "custom_tool")
    assert.equal("custom_tool_call_output", input_of(fields.message, { role = "tool", content = "ok",
      tool_call_id = fields.tool_calls[1].id })[2].type)
    local other = { role = "assistant", content = "x", native = { provider = "anthropic", items = { { type = "y" } } } }
    assert.same({ { role = "assistant", content = { { type = "output_text", text = "x" } } } }, input_of(other))
  end)

  it("does not send back reasoning that nobody keeps and that is not encrypted", function()
    local message = decoded('{"status":"completed","output":[{"type":"reasoning","id":"rs_1","summary":[]},'
      .. '{"type":"message","role":"assistant","id":"msg_1","content":[{"type":"output_text","text":"x"}]}]}').message
    assert.equal(2, #sent({ messages = { message } }).input)
    assert.equal("msg_1", sent({ store = false, messages = { message } }).input[1].id)
    message = decoded(whole_of "reasoning").message
    assert.equal("reasoning", sent({ store = false, messages = { message } }).input[1].type)
  end)

  it("has its reasoning: the summary, else what it thought", function()
    assert.matches("^%*%*", decoded(whole_of "reasoning").reasoning)
    assert.matches("Ostend", decoded(whole_of "lmstudio").reasoning)
    local fields = decoded('{"status":"completed","output":[{"type":"reasoning","summary":['
      .. '{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]},'
      .. '{"type":"reasoning","content":[{"type":"reasoning_text","text":"c"}]}]}')
    assert.equal("a\n\nb\n\nc", fields.reasoning)
    assert.is_nil(fields.text)
  end)

  it("has a refusal beside the text", function()
    local fields = decoded('{"status":"completed","output":[{"type":"message","role":"assistant","content":['
      .. '{"type":"refusal","refusal":"I cannot"}]}]}')
    assert.same({ "I cannot", json.null }, { fields.message.refusal, fields.message.content })
    assert.is_nil(fields.text)
  end)

  it("says why it stopped", function()
    local function reason(status, details)
      local fields = decoded(('{"status":"%s","incomplete_details":%s,"output":[]}'):format(status, details))
      return fields.finish_reason, fields.truncated
    end
    assert.same({ "length", true }, { reason("incomplete", '{"reason":"max_output_tokens"}') })
    assert.same({ "length", true }, { reason("incomplete", "null") })
    assert.equal("content_filter", (reason("incomplete", '{"reason":"content_filter"}')))
    assert.is_nil((reason("queued", "null")))
  end)

  it("is parsed where structure was asked for", function()
    local body = '{"status":"completed","output":[{"type":"message","content":[{"type":"output_text",'
      .. '"text":"{\\"n\\":1}"}]}]}'
    assert.same({ n = 1 }, decoded(body, { response_format = { type = "json_object" } }).parsed)
    assert.same({ n = 1 }, decoded(body, { input = "x", text = { format = { type = "json_schema" } } }).parsed)
    assert.is_nil(decoded(body, { input = "x" }).parsed)
  end)

  local bad = {
    { "", "malformed" }, { "<html>", "malformed" }, { "{}", "malformed" }, { '{"output":null}', "malformed" },
    { '{"status":"completed","output":[', "truncated" },
    -- openai-openapi, the shape of response.failed
    { '{"id":"resp_failed","object":"response","status":"failed","error":{"code":"server_error",'
      .. '"message":"no wind, no answer"},"output":[]}', "server" },
    { '{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow down"},"output":[]}', "rate_limited" },
    { '{"status":"failed","error":{"code":"invalid_prompt","message":"Invalid prompt"},"output":[]}',
      "invalid_request" },
    { '{"status":"failed","error":{"code":"image_content_policy_violation","message":"no"},"output":[]}',
      "content_filter" },
    { '{"status":"failed","error":null,"output":[]}', "server" }, { '{"status":"cancelled","output":[]}', "server" },
  }
  for _, case in ipairs(bad) do
    it("is none: " .. case[1]:sub(1, 70), function()
      local fields, verdict = chat.decode(reply(case[1]), codec)
      assert.is_nil(fields)
      assert.equal(case[2], verdict.kind)
      assert.is_string(verdict.message)
      assert.not_equal("accept", verdict.class)
    end)
  end

  it("that is an error is judged", function()
    local document = { error = { code = "invalid_image_url", message = "no", type = "x" } }
    local verdict = responses.judge(reply(codec.encode(document), 400), document)
    assert.same({ "final", "invalid_request" }, { verdict.class, verdict.kind })
    assert.equal("rate_limited", responses.judge(reply("{}", 429), {}).kind)
  end)

  it("has usage in both forms", function()
    assert.equal(3, responses.usage({ prompt_tokens = 1, completion_tokens = 2, total_tokens = 3 }).total_tokens)
    assert.equal(3, responses.usage({ input_tokens = 1, output_tokens = 2 }).total_tokens)
    assert.is_nil(responses.usage(json.null))
    assert.is_nil(responses.usage {})
  end)
end)

describe("embeddings and models of the Responses provider", function()
  it("are those of the OpenAI format", function()
    local method, path = responses.operations.embeddings.encode({ input = "a" }, { model = "e", traits = {} }, codec)
    assert.same({ "POST", "/embeddings" }, { method, path })
    method, path = responses.operations.models.encode()
    assert.same({ "GET", "/models" }, { method, path })
    assert.equal("authorization: Bearer k", responses.auth "k")
  end)
end)
