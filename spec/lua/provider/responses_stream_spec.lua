local json = require "surefoot.json"
local replay = require "spec.support.replay"
local responses = require "surefoot.provider.responses"

local codec = json.new()
local chat = responses.operations.chat

local function reply(body, status)
  return { status = status or 200, headers = "Content-Type: application/json\r\n", body = body }
end

local function decoded(body, request)
  return assert(chat.decode(reply(body), codec, request))
end

local function read(name)
  return replay.every_way(function() return chat.stream(codec, {}) end, replay.fixture("responses/" .. name))
end

local function frames(list, request)
  return replay.every_way(function() return chat.stream(codec, request) end, replay.frames(list))
end

local function text_of(chunks, key)
  local parts = {}
  for _, chunk in ipairs(chunks) do
    parts[#parts + 1] = chunk[key or "text"]
  end
  return table.concat(parts)
end

-- The last event's response, as text.
local function whole_of(name)
  return codec.encode(codec.decode(replay.fixture("responses/" .. name):match '.*data: ([^\n]+)').response)
end

describe("a whole stream of responses", function()
  local expected = {
    text = "hold commit hold complete", ["function"] = "hold commit hold complete",
    custom_tool = "hold commit hold complete", reasoning = "hold commit hold commit hold complete",
    rotating_ids = "hold commit hold commit hold complete", web_search = "hold commit hold commit hold complete",
    lmstudio = "hold commit hold commit hold commit hold commit complete",
  }
  for name, actions in pairs(expected) do
    it("gives what the whole answer does: " .. name, function()
      local outcome = read(name)
      assert.equal(actions, outcome.actions)
      assert.is_true(outcome.whole)
      replay.same(decoded(whole_of(name)), outcome.fields, "fields")
      local last = outcome.chunks[#outcome.chunks]
      assert.same({ outcome.fields.finish_reason, outcome.fields.usage }, { last.finish_reason, last.usage })
      assert.equal(outcome.fields.text or "", text_of(outcome.chunks))
      assert.equal(outcome.fields.reasoning or "", text_of(outcome.chunks, "reasoning"))
    end)
  end

  it("has fragments of calls in the chat shape", function()
    local chunks = read("function").chunks
    assert.same({ { index = 0, id = "call_tide_1", type = "function",
      ["function"] = { name = "tide", arguments = "" } } }, chunks[1].tool_calls)
    assert.same({ { index = 0, ["function"] = { arguments = '{"' } } }, chunks[2].tool_calls)
    local arguments = {}
    for _, chunk in ipairs(chunks) do
      for _, fragment in ipairs(chunk.tool_calls or {}) do
        arguments[#arguments + 1] = fragment["function"].arguments
      end
    end
    assert.equal('{"harbour":"Ostend"}', table.concat(arguments))
    chunks = read("lmstudio").chunks -- says the arguments only when they are done
    assert.equal('{"harbour":"Ostend"}', chunks[#chunks - 1].tool_calls[1]["function"].arguments)
    assert.same({ { index = 0, custom = { input = "COURSE " } } }, read("custom_tool").chunks[2].tool_calls)
  end)

  it("may say types in the data alone", function()
    for name in pairs(expected) do
      local stream = replay.fixture("responses/" .. name):gsub("event: [^\n]*\n", "")
      local outcome = replay.every_way(function() return chat.stream(codec, {}) end, stream)
      replay.same(read(name).fields, outcome.fields, name)
    end
  end)

  it("may say types in the names alone", function()
    local stream = replay.fixture("responses/text"):gsub('"type":"response[^"]*",', "")
    local outcome = replay.every_way(function() return chat.stream(codec, {}) end, stream)
    assert.equal("Ahoy there!", outcome.fields.text)
  end)

  it("of an error fails, with the error's meaning", function()
    local outcome = read "error"
    assert.equal("hold fail", outcome.actions)
    assert.same({ "key", "quota", "insufficient_quota" },
      { outcome.verdict.class, outcome.verdict.kind, outcome.verdict.code })
  end)

  it("is whole nowhere before its end, and gives what there is", function()
    for name in pairs(expected) do
      local events = {}
      for data in replay.fixture("responses/" .. name):gmatch "data: ([^\n]*)" do
        events[#events + 1] = data
      end
      local shown = {}
      for length = 1, #events - 1 do
        local folder = chat.stream(codec, {})
        for i = 1, length do
          local _, chunk = folder:event(nil, events[i])
          shown[i] = chunk and chunk.text or ""
        end
        assert.is_false(folder:whole())
        local fields = folder:fields()
        assert.is_nil(fields.finish_reason)
        assert.equal(table.concat(shown, "", 1, length), fields.text or "")
        assert.truthy(codec.encode(fields.body))
      end
    end
  end)
end)

describe("an event of a Responses stream", function()
  local function response(status, more)
    return ('{"type":"response.%s","response":{"id":"resp_ours","object":"response","status":"%s","error":null,'
      .. '"model":"gpt-4o-mini"%s}}'):format(status, status, more or ',"output":[]')
  end
  local function delta(text, place)
    return ('{"type":"response.output_text.delta","output_index":%d,"content_index":0,"delta":"%s"}')
      :format(place or 0, text)
  end

  it("holds where nothing is to be shown", function()
    for _, data in ipairs { response "created", response "in_progress", response "queued", "", "[DONE]",
      '{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}',
      '{"type":"response.content_part.added","output_index":0,"part":{"type":"output_text","text":""}}',
      '{"type":"response.web_search_call.searching","output_index":0}', '{"type":"response.something.new"}',
      '{"type":"keepalive"}', "{}", '{"type":"response.output_text.delta","delta":""}' } do
      local outcome = frames { data }
      assert.equal("hold", outcome.actions, data)
      assert.is_false(outcome.whole)
    end
  end)

  it("commits what is content", function()
    for data, key in pairs {
      [delta "x"] = "text",
      -- openai-openapi, the shape of response.refusal.delta
      ['{"type":"response.refusal.delta","item_id":"msg_ours","output_index":0,"content_index":0,'
        .. '"delta":"not that","sequence_number":1}'] = "raw",
      ['{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"x"}'] = "reasoning",
      ['{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"x"}'] = "reasoning",
      ['{"type":"response.function_call_arguments.delta","output_index":0,"delta":"x"}'] = "tool_calls",
      ['{"type":"response.custom_tool_call_input.delta","output_index":0,"delta":"x"}'] = "tool_calls",
      ['{"type":"response.image_generation_call.partial_image","partial_image_b64":"AA"}'] = "raw",
    } do
      local outcome = frames { data }
      assert.equal("commit", outcome.actions, data)
      assert.is_truthy(outcome.chunks[1][key])
    end
  end)

  it("ends the answer where the limit of tokens, or a filter, did", function()
    local outcome = frames { delta "Once", response("incomplete",
      ',"output":[],"incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":1,"output_tokens":2}') }
    assert.equal("commit complete", outcome.actions)
    assert.same({ "Once", "length", true, 3 }, { outcome.fields.text, outcome.fields.finish_reason,
      outcome.fields.truncated, outcome.fields.usage.total_tokens })
    assert.is_true(outcome.whole)
    assert.equal("content_filter", frames({ response("incomplete",
      ',"output":[],"incomplete_details":{"reason":"content_filter"}') }).fields.finish_reason)
  end)

  it("may leave items out of the whole answer", function()
    local outcome = frames { delta("a", 1), delta("b", 1), delta("c", 3), response "completed" }
    assert.same({ "abc", "stop" }, { outcome.fields.text, outcome.fields.finish_reason })
    assert.equal("ab", outcome.fields.message.native.items[1].content[1].text)
    assert.equal("abc", text_of(outcome.chunks))
  end)

  it("at the end is believed, whatever the deltas said", function()
    local outcome = frames { delta "a", response("completed", ',"output":[{"type":"message","content":['
      .. '{"type":"output_text","text":"all"}]}]') }
    assert.equal("commit complete", outcome.actions)
    assert.same({ "all", "all" }, { outcome.fields.text, outcome.fields.message.native.items[1].content[1].text })
  end)

  it("may be the only one", function()
    local outcome = frames { response("completed", ',"output":[{"type":"message","content":[{"type":"output_text",'
      .. '"text":"all"}]},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"}]') }
    assert.equal("complete", outcome.actions)
    assert.same({ "all", "tool_calls" }, { outcome.chunks[1].text, outcome.chunks[1].finish_reason })
    assert.same({ { index = 0, id = "a", type = "function", ["function"] = { name = "f", arguments = "{}" } } },
      outcome.chunks[1].tool_calls)
    assert.is_nil(outcome.fields.tool_calls[1].index)
  end)

  it("shows items that came without deltas", function()
    local outcome = frames {
      '{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","summary":['
        .. '{"type":"summary_text","text":"hm"}]}}',
      '{"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text",'
        .. '"text":"a"}]}}',
      '{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","call_id":"x","name":"f",'
        .. '"arguments":"{}"}}',
      '{"type":"response.output_item.done","output_index":3,"item":{"type":"web_search_call","id":"ws"}}',
      response "completed" }
    assert.equal("commit hold complete", outcome.actions)
    assert.same({ "hm", "a", "x" }, { outcome.fields.reasoning, outcome.fields.text, outcome.fields.tool_calls[1].id })
    assert.same({ "hm", "a", "{}" }, { outcome.chunks[1].reasoning, outcome.chunks[2].text,
      outcome.chunks[3].tool_calls[1]["function"].arguments })
    assert.equal("ws", outcome.fields.message.native.items[4].id)
  end)

  it("sets parts of the reasoning apart", function()
    local function thought(text, item, part)
      return ('{"type":"response.reasoning_summary_text.delta","output_index":%d,"summary_index":%d,"delta":"%s"}')
        :format(item, part, text)
    end
    local outcome = frames { thought("a", 0, 0), thought("b", 0, 0), thought("c", 0, 1), thought("d", 2, 0),
      response "completed" }
    assert.equal("ab\n\nc\n\nd", outcome.fields.reasoning)
    assert.equal("ab\n\nc\n\nd", text_of(outcome.chunks, "reasoning"))
  end)

  it("after the end is ignored", function()
    assert.equal("commit complete hold", frames({ delta "a", response "completed",
      '{"type":"error","message":"x"}', "{", "[DONE]", delta "b" }).actions)
  end)

  local failures = {
    -- openai-openapi, the shapes of error and response.failed
    { '{"type":"error","code":"server_error","message":"the engine stopped","param":null,"sequence_number":1}',
      "server", "the engine stopped" },
    { '{"type":"response.failed","response":{"id":"resp_failed","object":"response","created_at":1750000032,'
      .. '"status":"failed","completed_at":null,"error":{"code":"server_error","message":'
      .. '"no wind, no answer"},"output":[]}}', "server", "no wind, no answer" },
    { '{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"Try again in 6s"}}}',
      "rate_limited", "Try again in 6s" },
    { '{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"no"}}}', "invalid_request",
      "no" },
    { '{"type":"response.failed"}', "server", "the response failed" },
    { '{"type":"response.cancelled","response":{"status":"cancelled"}}', "server", "the response cancelled" },
    { '{"type":"error","error":{"type":"server_error","message":"x"}}', "server", "x" },
    { '{"error":{"message":"x","code":429}}', "rate_limited", "x" },
    { '{"message":"x"}', "server", "x", "error" },
    { "gone", "server", "gone", "error" },
    { '{"type":"response.completed"}', "malformed", "the stream ended without a response" },
    { '{"type":"response.out', "malformed" },
    { "nonsense", "malformed" },
    { "7", "malformed" },
  }
  for _, case in ipairs(failures) do
    it("fails: " .. case[1]:sub(1, 70), function()
      local folder = chat.stream(codec, {})
      folder:event(nil, delta "a")
      local action, verdict = folder:event(case[4], case[1])
      assert.equal("fail", action)
      assert.equal(case[2], verdict.kind)
      assert.is_true(case[3] == nil or verdict.message == case[3], verdict.message)
      assert.is_false(folder:whole())
      assert.equal("a", folder:fields().text)
    end)
  end

  it("never throws, whatever stands where", function()
    local odd = { "null", "true", "0", "-1", "0.5", '""', '"x"', "[]", "{}", "[null]", "[{}]", "[[]]", '[{"text":5}]',
      '[{"type":"output_text","text":5}]', '{"type":5}', '"function_call"',
      '[{"type":"function_call","arguments":{}}]' }
    local documents = { "%s", '{"type":%s}' }
    for _, kind in ipairs { "created", "output_item.added", "output_item.done", "content_part.added",
      "output_text.delta", "refusal.delta", "reasoning_summary_text.delta", "reasoning_text.delta",
      "function_call_arguments.delta", "custom_tool_call_input.delta", "completed", "incomplete", "failed" } do
      documents[#documents + 1] = ('{"type":"response.%s","response":%%s,"item":%%s,"part":%%s,"delta":%%s,'
        .. '"output_index":%%s,"content_index":%%s,"summary_index":%%s}'):format(kind)
      documents[#documents + 1] = ('{"type":"response.%s","response":{"output":%%s,"status":%%s,"error":%%s,'
        .. '"usage":%%s,"incomplete_details":%%s},"item":{"type":%%s,"content":%%s,"summary":%%s,"arguments":%%s},'
        .. '"delta":"x","output_index":1}'):format(kind)
      documents[#documents + 1] = ('{"type":"response.%s","item":{"type":"function_call","arguments":%%s,"name":%%s,'
        .. '"call_id":%%s},"output_index":1,"response":{"output":[{"type":"message","content":%%s},%%s]}}'):format(kind)
    end
    for _, document in ipairs(documents) do
      for _, value in ipairs(odd) do
        local folder = chat.stream(codec, {})
        local data = document:gsub("%%s", function() return value end)
        assert.is_string((folder:event(nil, data)))
        folder:event(nil, delta("t", 1))
        folder:event(nil, '{"type":"response.function_call_arguments.delta","output_index":1,"delta":"{}"}')
        assert.is_string((folder:event(nil, data)))
        local fields = folder:fields()
        assert.is_true(fields.text == nil or type(fields.text) == "string", data)
        assert.truthy(codec.encode(fields.body), data)
        assert.is_true(pcall(chat.decode, reply(data), codec, {}))
      end
    end
  end)
end)
