-- Answers as Anthropic's Messages API gives them, whole and in pieces. Streams are written from the chunks of every
-- provider's recorded answers and of made-up ones, and read again by surefoot's own reader of that API.
local answer = require "surefoot.dialect.messages_answer"
local formats = require "surefoot.provider".formats
local json = require "surefoot.json"
local messages = require "surefoot.dialect.messages"
local replay = require "spec.support.replay"
local streams = require "spec.wire.streams"

local codec = json.new()

local function context(document)
  return { codec = codec, document = document or { thinking = { type = "enabled", budget_tokens = 1024 } },
    model = "asked", id = "5f-0d", created = 1700000000 }
end

local function events_of(text)
  local list = {}
  for name, data in text:gmatch "event: ([^\n]+)\ndata: ([^\n]+)\n\n" do
    local event = assert(codec.decode(data))
    assert.equal(name, event.type)
    list[#list + 1] = event
  end
  return list
end

-- Checks the order that the API promises: one block after another, their numbers without a gap.
local function check_order(list)
  local open, count, kinds = nil, 0, { text_delta = "text", thinking_delta = "thinking", signature_delta = "thinking",
    input_json_delta = "tool_use" }
  assert.equal("message_start", list[1].type)
  assert.same({ "message_delta", "message_stop" }, { list[#list - 1].type, list[#list].type })
  for i = 2, #list - 2 do
    local event = list[i]
    if event.type == "content_block_start" then
      assert.is_nil(open)
      assert.equal(count, event.index)
      open, count = event.content_block, count + 1
    else
      assert.is_truthy(open)
      assert.equal(count - 1, event.index)
      if event.type == "content_block_stop" then
        open = nil
      else
        assert.equal("content_block_delta", event.type)
        assert.equal(open.type, kinds[event.delta.type])
      end
    end
  end
  assert.is_nil(open)
end

-- The stream that chunks and a result are written as.
local function written(chunks, result, ctx)
  local writer, parts = messages.events(ctx or context()), {}
  for _, chunk in ipairs(chunks) do
    parts[#parts + 1] = writer:chunk(chunk)
  end
  parts[#parts + 1] = writer:finish(result)
  local text = table.concat(parts)
  check_order(events_of(text))
  return text
end

local function folded(text)
  local outcome = replay.feed(formats.anthropic.operations.chat.stream(codec), { text })
  assert(outcome.fields, outcome.verdict and outcome.verdict.message)
  assert.is_true(outcome.whole)
  return outcome.fields
end

-- Arguments as a reader of the API writes them.
local function normal(calls)
  local list = {}
  for i, call in ipairs(calls or {}) do
    list[i] = { call["function"].name, codec.encode(codec.decode(call["function"].arguments)) }
  end
  return list
end

local function check_same(result, fields)
  assert.equal(answer.text_of(result) or "", fields.text or "")
  assert.equal(result.reasoning, fields.reasoning)
  assert.same(normal(result.tool_calls), normal(fields.tool_calls))
  local usage = result.usage or { input_tokens = 0, output_tokens = 0 }
  assert.equal(usage.input_tokens, fields.usage.input_tokens)
  assert.equal(usage.output_tokens, fields.usage.output_tokens)
  assert.equal(usage.cached_input_tokens or 0, fields.usage.cached_input_tokens)
  assert.equal(usage.reasoning_tokens, fields.usage.reasoning_tokens)
end

describe("an answer in pieces, as Messages events", function()
  for provider, names in pairs {
    openai = "text two_tools deepseek_reasoning deepseek_tools groq_reasoning groq_tools length mistral_reasoning "
      .. "mistral_tools refusal xai_tools azure anthropic_compatible logprobs",
    anthropic = "text tools thinking stop_sequence server_tool refusal",
    gemini = "text thinking call thinking_call signed_text no_parts",
    responses = "text function reasoning lmstudio",
  } do
    for name in names:gmatch "%S+" do
      it(("says what the provider's stream says: %s %s"):format(provider, name), function()
        local folder = formats[provider].operations.chat.stream(codec, {})
        local outcome = replay.feed(folder, { replay.fixture(provider .. "/" .. name) })
        check_same(outcome.fields, folded(written(outcome.chunks, outcome.fields)))
        local whole = messages.whole(outcome.fields, context())
        local reply = { status = 200, headers = "", body = assert(codec.encode(whole)) }
        check_same(outcome.fields, assert(formats.anthropic.operations.chat.decode(reply, codec)))
      end)
    end
  end

  it("is one block after another, however pieces come", function()
    local text = written({
      { reasoning = "hm" }, { reasoning = " hm" }, { text = "I " }, { text = "look" },
      { tool_calls = { { index = 0, id = "a", ["function"] = { name = "f", arguments = "" } } } },
      { tool_calls = { { index = 0, ["function"] = { arguments = '{"x":' } } } },
      { tool_calls = { { index = 1, id = "b", ["function"] = { name = "g", arguments = '{"y":"}' } } } },
      { text = "there" }, { text = "fore" },
      { tool_calls = { { index = 0, ["function"] = { arguments = '1}' } } } },
      { tool_calls = { { index = 1, ["function"] = { arguments = '"}' } } } },
      { text = " and", reasoning = "so" }, { finish_reason = "tool_calls" },
    }, { finish_reason = "tool_calls", tool_calls = { {}, {} }, usage = { input_tokens = 5, output_tokens = 6 } })
    local seen = {}
    for _, event in ipairs(events_of(text)) do
      local delta = event.delta or {}
      seen[#seen + 1] = event.content_block and event.content_block.type
        or delta.text or delta.thinking or delta.partial_json or nil
    end
    assert.same({ "thinking", "hm", " hm", "text", "I ", "look", "tool_use", '{"x":', "1}", "tool_use", '{"y":"}', '"}',
      "text", "therefore", "thinking", "so", "text", " and" }, seen)
  end)

  it("is the same however calls are cut and mixed", function()
    for seed = 1, 200 do
      local random = streams.random(seed * 7919)
      local calls, left, chunks, text = {}, {}, {}, ""
      for i = 1, random(4) do
        local input = random(5) == 1 and {} or { city = "a \"b\\\" {" .. i, list = { random(9), { deep = "}]" } } }
        calls[i] = { id = "call_" .. i, type = "function",
          ["function"] = { name = "tool_" .. i, arguments = codec.encode(input) } }
        left[i] = { call = calls[i], at = 1 }
      end
      while #left > 0 do
        local place = random(3) > 1 and 1 or random(#left)
        local one = left[place]
        local arguments = one.call["function"].arguments
        local piece = arguments:sub(one.at, one.at + random(12) - 1)
        chunks[#chunks + 1] = { index = 1, tool_calls = { { index = tonumber(one.call.id:match "%d+") - 1,
          id = one.at == 1 and one.call.id or nil,
          ["function"] = { name = one.at == 1 and one.call["function"].name or nil, arguments = piece } } } }
        one.at = one.at + #piece
        if one.at > #arguments then
          table.remove(left, place)
        end
        if random(6) == 1 then
          chunks[#chunks + 1] = { index = 1, text = "w" .. seed }
          text = text .. "w" .. seed
        end
      end
      local fields = folded(written(chunks, { tool_calls = calls, finish_reason = "tool_calls" }))
      assert.equal(text ~= "" and text or nil, fields.text)
      local by_name = function(a, b)
        return a[1] < b[1]
      end
      local expected, got = normal(calls), normal(fields.tool_calls)
      table.sort(got, by_name)
      assert.same(expected, got)
    end
  end)

  it("gives calls ids that callers take, and knows them again", function()
    local text = written({ { tool_calls = {
      { index = 0, id = "functions.weather:0", ["function"] = { name = "weather", arguments = "{}" } },
      { index = 1, ["function"] = { name = "weather", arguments = "{}" } },
    } } }, { finish_reason = "tool_calls" })
    local calls = folded(text).tool_calls
    assert.same({ "surefoot_functions_2Eweather_3A0", "toolu_5f-0d_2" }, { calls[1].id, calls[2].id })
    local request = assert(messages.read({ max_tokens = 1, messages = {
      { role = "user", content = "q" },
      { role = "assistant", content = { { type = "tool_use", id = calls[1].id, name = "weather", input = {} } } },
      { role = "user", content = { { type = "tool_result", tool_use_id = calls[1].id, content = "sun" } } },
    } }, context()))
    assert.equal("functions.weather:0", request.messages[2].tool_calls[1].id)
    assert.equal("functions.weather:0", request.messages[3].tool_call_id)
    assert.equal("functions_weather_0", request.messages[2].native.items[1].id)
    local whole = messages.whole({ tool_calls = { { id = "surefoot_x" } } }, context())
    assert.equal("surefoot_surefoot_5Fx", whole.content[1].id)
  end)

  local function of_calls(...)
    local chunks = {}
    for i, fragment in ipairs { ... } do
      chunks[i] = { index = 1, tool_calls = { { index = fragment[1], id = fragment[2],
        ["function"] = { name = fragment[3], arguments = fragment[4] } } } }
    end
    return folded(written(chunks, { finish_reason = "tool_calls" })).tool_calls
  end

  it("waits for the name of a call, and joins one that comes in pieces", function()
    for _, calls in ipairs {
      of_calls({ 0, "a", "get_", "" }, { 0, nil, "weather" }, { 0, nil, nil, "{" }, { 0, nil, nil, "}" }),
      of_calls({ 0, "a", "get_", "" }, { 0, nil, "get_weather", "{" }, { 0, nil, "get_weather", "}" }),
      of_calls({ 0, "a", nil, "{" }, { 0, nil, "get_weather" }, { 0, nil, nil, "}" }),
    } do
      assert.same({ { "get_weather", "{}" } }, normal(calls))
    end
    local calls = of_calls({ 0, "a", "f", "{" }, { 1, "b", "g", "{" }, { 1, nil, "other", "}" }, { 0, nil, nil, "}" })
    assert.same({ { "f", "{}" }, { "g", "{}" } }, normal(calls))
  end)

  it("knows a call by its first id, and when it is whole", function()
    local calls = of_calls({ 0, "a", "f", '{"x"' }, { 1, "c", "g", "{" }, { 1, "d", "g", "}" }, { 0, "b", "f", ":1}" },
      { 0, nil, nil, "\n" }, { 0, nil, nil, "{}" })
    assert.same({ { "f", '{"x":1}' }, { "g", "{}" } }, normal(calls))
    assert.same({ "a", "c" }, { calls[1].id, calls[2].id })
  end)

  it("has an object for what is no object", function()
    local function input(arguments, ...)
      local chunks = { { tool_calls = { { index = 0, id = "a", ["function"] = { name = "f", arguments = "" } } } } }
      for _, piece in ipairs { arguments, ... } do
        chunks[#chunks + 1] = { tool_calls = { { index = 0, ["function"] = { arguments = piece } } } }
      end
      local call = folded(written(chunks, { finish_reason = "tool_calls" })).tool_calls[1]
      local joined = type(arguments) == "string" and table.concat { arguments, ... } or arguments
      local whole = answer.input_of(joined, codec)
      assert.equal(codec.encode(whole), call["function"].arguments)
      return call["function"].arguments
    end
    assert.equal("{}", input "")
    assert.equal("{}", input(" ", "\n"))
    assert.equal("{}", input "null")
    assert.equal('{"a":1}', input(" ", '{"a"', ":1}"))
    assert.equal('{"a":1}', input { a = 1 })
    assert.equal('{"INVALID_JSON":"[1]"}', input("[", "1]"))
    assert.equal('{"INVALID_JSON":"\\"city\\""}', input '"city"')
    assert.same({ INVALID_JSON = '{"cut' }, answer.input_of('{"cut', codec))
  end)

  it("shows thoughts to who asked for them", function()
    local chunks, result = { { reasoning = "hm" }, { text = "yes" } },
      { text = "yes", reasoning = "hm", finish_reason = "stop" }
    for _, document in ipairs { {}, { thinking = { type = "disabled" } },
      { thinking = { type = "adaptive", display = "omitted" } } } do
      assert.is_nil(folded(written(chunks, result, context(document))).reasoning)
      assert.equal("text", messages.whole(result, context(document)).content[1].type)
    end
    assert.equal("hm", folded(written(chunks, result, context { thinking = { type = "adaptive" } })).reasoning)
  end)

  it("begins with the first chunk, also one that shows nothing", function()
    local writer = messages.events(context {})
    local first = events_of(writer:chunk { index = 1, reasoning = "hm" })
    assert.equal(1, #first)
    local message = first[1].message
    assert.same({ "msg_5f-0d", "message", "assistant", "asked" }, { message.id, message.type, message.role,
      message.model })
    assert.equal(0, message.usage.output_tokens)
    assert.equal("", writer:chunk { index = 1, reasoning = "hm" })
    assert.equal("", writer:chunk { index = 2, text = "another choice" })
  end)

  it("keeps the signature of thoughts, where the provider's chunks tell it", function()
    local raw = { type = "content_block_delta", delta = { type = "signature_delta", signature = "sig" } }
    local fields = folded(written({ { reasoning = "hm" }, { index = 1, raw = raw }, { text = "yes" } },
      { finish_reason = "stop" }))
    assert.equal("sig", fields.message.native.items[1].signature)
  end)

  it("shows at the end what no chunk has shown", function()
    local call = { id = "a", type = "function", ["function"] = { name = "f", arguments = '{"x":1}' } }
    local result = { text = "yes", reasoning = "hm", tool_calls = { call }, finish_reason = "tool_calls", message = {},
      usage = { input_tokens = 9, output_tokens = 3, cached_input_tokens = 4, reasoning_tokens = 2 } }
    check_same(result, folded(written({}, result)))
    local refused = { message = { refusal = "no" }, finish_reason = "stop" }
    for _, chunks in ipairs { {}, { { index = 1, reasoning = "hm" } } } do
      local fields = folded(written(chunks, refused))
      assert.same({ "no", "content_filter" }, { fields.text, fields.finish_reason })
    end
  end)

  it("replaces what is no UTF-8", function()
    local fields = folded(written({ { text = "a\255b" }, { text = "c\226\130" },
      { tool_calls = { { index = 0, id = "x\255", ["function"] = { name = "f", arguments = '{"a":"\255"}' } } } } },
      { finish_reason = "tool_calls" }))
    assert.equal("a\239\191\189bc\239\191\189", fields.text)
    assert.equal('{"a":"\239\191\189"}', fields.tool_calls[1]["function"].arguments)
  end)

  it("ends with an error that says so", function()
    local writer = messages.events(context())
    writer:chunk { text = "so f" }
    local list = events_of(writer:failure { status = 529, message = "too many", request_id = "r1" })
    assert.same({ { type = "error", error = { type = "overloaded_error", message = "too many" }, request_id = "r1" } },
      list)
    local outcome = replay.feed(formats.anthropic.operations.chat.stream(codec), {
      writer:failure { status = 529, message = "too many" } })
    assert.equal("overloaded", outcome.verdict.kind)
  end)
end)

describe("an answer as a Messages document", function()
  local function stop(result, document)
    local whole = messages.whole(result, context(document))
    return whole.stop_reason, whole.stop_sequence
  end

  it("says why it ended", function()
    for reason, expected in pairs { stop = "end_turn", length = "max_tokens", tool_calls = "tool_use",
      function_call = "tool_use", content_filter = "refusal", pause_turn = "pause_turn", strange = "end_turn" } do
      assert.same({ expected, json.null }, { stop { finish_reason = reason } })
    end
    assert.equal("end_turn", (stop {}))
    assert.equal("tool_use", (stop { finish_reason = "stop", tool_calls = { { id = "a" } } }))
    assert.equal("max_tokens", (stop { finish_reason = "length", tool_calls = { { id = "a" } } }))
    assert.equal("refusal", (stop { finish_reason = "stop", message = { refusal = "no" } }))
  end)

  it("says which stop sequence was met, where the provider does", function()
    local result = { finish_reason = "stop", body = { choices = { { stop_reason = "END" } } } }
    assert.same({ "stop_sequence", "END" }, { stop(result, { stop_sequences = { "X", "END" } }) })
    assert.equal("end_turn", (stop(result, { stop_sequences = { "X" } })))
    assert.equal("end_turn", (stop(result, {})))
    assert.same({ "stop_sequence", "Y" }, { stop { finish_reason = "stop",
      body = { type = "message", stop_reason = "stop_sequence", stop_sequence = "Y" } } })
  end)

  it("has the parts of the answer as blocks, and the usage without what was cached", function()
    local whole = messages.whole({
      id = "chatcmpl-1", model = "gpt", text = "yes", reasoning = "hm", finish_reason = "tool_calls",
      tool_calls = { { id = "a", ["function"] = { name = "f", arguments = '{"x":[]}' } } },
      usage = { input_tokens = 10, output_tokens = 5, cached_input_tokens = 4, reasoning_tokens = 2 },
    }, context())
    assert.equal('{"container":null,"content":[{"signature":"","thinking":"hm","type":"thinking"},'
      .. '{"citations":null,"text":"yes","type":"text"},{"id":"a","input":{"x":[]},"name":"f","type":"tool_use"}],'
      .. '"id":"msg_5f-0d","model":"gpt","role":"assistant","stop_details":null,"stop_reason":"tool_use",'
      .. '"stop_sequence":null,"type":"message","usage":{"cache_creation_input_tokens":0,"cache_read_input_tokens":4,'
      .. '"input_tokens":6,"output_tokens":5,"output_tokens_details":{"thinking_tokens":2}}}', codec.encode(whole))
    assert.equal('[]', codec.encode(messages.whole({}, context()).content))
  end)

  it("of Anthropic's is what it was, block by block", function()
    for name in ("text tools thinking stop_sequence server_tool refusal compaction"):gmatch "%S+" do
      local file = assert(io.open("spec/lua/provider/fixtures/anthropic/" .. name .. ".json", "rb"))
      local body = file:read "*a"
      file:close()
      local reply = { status = 200, headers = "", body = body }
      local fields = assert(formats.anthropic.operations.chat.decode(reply, codec))
      local given, whole = codec.decode(body), messages.whole(fields, context())
      replay.same(given.content, whole.content, name)
      for _, field in ipairs { "id", "model", "stop_reason", "stop_sequence" } do
        assert.equal(given[field], whole[field])
      end
      for field, value in pairs(whole.usage) do
        assert.same(given.usage[field] or 0, value)
      end
    end
  end)
end)

describe("an error as Anthropic's", function()
  it("has the type that belongs to the status", function()
    for status, kind in pairs { [400] = "invalid_request_error", [401] = "authentication_error",
      [402] = "billing_error", [403] = "permission_error", [404] = "not_found_error", [409] = "invalid_request_error",
      [413] = "request_too_large", [429] = "rate_limit_error", [499] = "invalid_request_error", [500] = "api_error",
      [502] = "api_error", [503] = "overloaded_error", [504] = "timeout_error", [529] = "overloaded_error" } do
      assert.same({ type = "error", error = { type = kind, message = "m" }, request_id = "r" },
        messages.error { status = status, type = "any", message = "m", request_id = "r" })
    end
    local threads = messages.error { status = 400, message = "m", param = "thread" }
    assert.equal("thread_unsupported_request", threads.error.details.error_code)
    assert.equal("d", messages.error({ status = 400, message = "m", details = "d" }).error.details)
    local quota = messages.error { status = 429, type = "insufficient_quota", message = "m" }
    assert.same({ "billing_error", json.null }, { quota.error.type, quota.request_id })
  end)
end)
