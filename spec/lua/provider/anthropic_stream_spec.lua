-- Streams of Anthropic's, as its documentation and SDK show them, replayed whole, byte by byte and at random cuts.
local anthropic = require "surefoot.provider.anthropic"
local json = require "surefoot.json"
local replay = require "spec.support.replay"

local codec = json.new()
local unpack = table.unpack or unpack

local function make(request)
  return function()
    return anthropic.operations.chat.stream(codec, request)
  end
end

local function frames(list)
  local lines = {}
  for i, data in ipairs(list) do
    lines[i] = ("event: %s\ndata: %s\n\n"):format(data:match '"type": ?"([%w_]+)"' or "none", data)
  end
  return table.concat(lines)
end

local START = '{"type": "message_start", "message": {"id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyS", "type": '
  .. '"message", "role": "assistant", "content": [], "model": "claude-opus-4-1-20250805", "stop_reason": null, '
  .. '"stop_sequence": null, "usage": {"input_tokens": 25, "output_tokens": 1}}}'
local PING, STOP = '{"type": "ping"}', '{"type": "message_stop"}'

local function begun(block, index)
  return ('{"type": "content_block_start", "index": %d, "content_block": %s}'):format(index or 0, block)
end

local function delta(kind, field, text, index)
  return ('{"type": "content_block_delta", "index": %d, "delta": {"type": "%s", "%s": %s}}'):format(index or 0, kind,
    field, json.encode(text))
end

local function ended(index)
  return ('{"type": "content_block_stop", "index": %d}'):format(index or 0)
end

local function why(reason, tokens)
  local form = '{"type": "message_delta", "delta": {"stop_reason": "%s", "stop_sequence":null}, "usage": '
    .. '{"output_tokens": %d}}'
  return form:format(reason, tokens)
end

local function shown(outcome, field)
  local texts = {}
  for _, chunk in ipairs(outcome.chunks) do
    texts[#texts + 1] = chunk[field]
  end
  return table.concat(texts, "|")
end

local function whole_of(name)
  local file = assert(io.open("spec/lua/provider/fixtures/anthropic/" .. name .. ".json", "rb"))
  local text = file:read "*a"
  file:close()
  return { status = 200, headers = "", body = text }
end

local function events_of(list)
  return replay.feed(make()(), { frames(list) })
end

describe("an Anthropic stream", function()
  for name, actions in pairs {
    text = "hold commit hold finish complete",
    tools = "hold commit hold commit hold commit hold commit hold commit finish complete",
    thinking = "hold commit hold commit hold commit hold finish complete",
    server_tool = "hold commit hold commit hold commit hold finish complete",
    refusal = "hold finish complete", stop_sequence = "hold commit hold finish complete",
    compaction = "hold commit hold finish complete",
  } do
    it("says what the whole answer says: " .. name, function()
      local outcome = replay.every_way(make(), replay.fixture("anthropic/" .. name))
      assert.equal(actions, outcome.actions)
      assert.is_true(outcome.whole)
      replay.same(assert(anthropic.operations.chat.decode(whole_of(name), codec)), outcome.fields, name)
      assert.equal(outcome.fields.reasoning or "", (shown(outcome, "reasoning"):gsub("|", "")))
      assert.equal(outcome.fields.text or "", (shown(outcome, "text"):gsub("|", "")))
      local last = outcome.chunks[#outcome.chunks]
      replay.same(outcome.fields.usage, last.usage, "the last chunk's usage")
      assert.equal(outcome.fields.finish_reason, last.finish_reason)
    end)
  end

  it("shows calls in fragments that join to their arguments, and none of the server's own", function()
    local outcome = replay.every_way(make(), replay.fixture "anthropic/tools")
    local ids, names, arguments = {}, {}, { [0] = "", "" }
    for _, chunk in ipairs(outcome.chunks) do
      assert.equal(1, chunk.index)
      assert.is_truthy(chunk.raw.type)
      for _, call in ipairs(chunk.tool_calls or {}) do
        ids[#ids + 1], names[#names + 1] = call.id, call["function"].name
        arguments[call.index] = arguments[call.index] .. call["function"].arguments
      end
    end
    assert.same({ { "toolu_01A", "toolu_01B" }, { "get_weather", "now" } }, { ids, names })
    for i, call in ipairs(outcome.fields.tool_calls) do
      assert.same(json.decode(call["function"].arguments), json.decode(arguments[i - 1]))
    end
    outcome = replay.feed(make()(), { replay.fixture "anthropic/server_tool" })
    for _, chunk in ipairs(outcome.chunks) do
      assert.is_nil(chunk.tool_calls)
    end
    assert.equal("content_block_start", outcome.chunks[1].raw.type)
  end)

  it("is what decode says of a call that the limit has cut, but for its arguments", function()
    local outcome = replay.every_way(make(), replay.fixture "anthropic/cut_input")
    local fields = outcome.fields
    assert.same({ "length", true }, { fields.finish_reason, fields.truncated })
    assert.equal('{"filename": "taxes.txt", "lines": [\n"# TAX', fields.tool_calls[1]["function"].arguments)
    local decoded = assert(anthropic.operations.chat.decode(whole_of "cut_input", codec))
    decoded.tool_calls[1]["function"].arguments = fields.tool_calls[1]["function"].arguments
    replay.same(decoded, fields, "as the whole answer")
  end)

  it("of text", function() -- docs: Streaming messages, basic request
    local outcome = replay.every_way(make(), frames { START, begun '{"type": "text", "text": ""}', PING,
      delta("text_delta", "text", "Hello"), delta("text_delta", "text", "!"), ended(), why("end_turn", 15), STOP })
    assert.equal("hold commit hold finish complete", outcome.actions)
    assert.equal("Hello|!", shown(outcome, "text"))
    assert.is_true(outcome.whole)
    local fields = outcome.fields
    assert.same({ "Hello!", "stop", "claude-opus-4-1-20250805", "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyS" },
      { fields.text, fields.finish_reason, fields.model, fields.id })
    assert.same({ input_tokens = 25, output_tokens = 15, total_tokens = 40, estimated = false }, fields.usage)
    local whole = { id = "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyS", type = "message", role = "assistant",
      content = { { type = "text", text = "Hello!" } }, model = "claude-opus-4-1-20250805", stop_reason = "end_turn",
      stop_sequence = json.null, usage = { input_tokens = 25, output_tokens = 15 } }
    assert.same(whole, fields.body)
    local decoded = anthropic.operations.chat.decode({ status = 200, headers = "", body = json.encode(whole) }, codec)
    replay.same(decoded, fields, "as the whole answer")
  end)

  it("of tools", function() -- docs: Streaming request with tool use
    local outcome = replay.every_way(make(), frames { START, begun '{"type":"text","text":""}',
      delta("text_delta", "text", "Okay"), ended(),
      begun('{"type":"tool_use","id":"toolu_01T1x1fJ34qAmk2tNTrN7Up6","name":"get_weather","input":{}}', 1),
      delta("input_json_delta", "partial_json", "", 1),
      delta("input_json_delta", "partial_json", '{"location":', 1),
      delta("input_json_delta", "partial_json", ' "San Francisco, CA"}', 1), ended(1),
      begun('{"type":"tool_use","id":"toolu_2","name":"now","input":{}}', 2), ended(2), why("tool_use", 89), STOP })
    assert.equal("hold commit hold commit hold commit hold commit finish complete", outcome.actions)
    assert.same({
      { id = "toolu_01T1x1fJ34qAmk2tNTrN7Up6", type = "function",
        ["function"] = { name = "get_weather", arguments = '{"location":"San Francisco, CA"}' } },
      { id = "toolu_2", type = "function", ["function"] = { name = "now", arguments = "{}" } },
    }, outcome.fields.tool_calls)
    assert.equal("tool_calls", outcome.fields.finish_reason)
    local fragments = {}
    for _, chunk in ipairs(outcome.chunks) do
      for _, call in ipairs(chunk.tool_calls or {}) do
        fragments[#fragments + 1] = call.index .. (call.id and ":" .. call["function"].name or "")
          .. (call["function"].arguments or "")
      end
    end
    assert.equal('0:get_weather 0{"location": 0 "San Francisco, CA"} 1:now 1{}', table.concat(fragments, " "))
  end)

  it("of thoughts, with what must be sent back", function() -- docs: Streaming with extended thinking
    local outcome = replay.every_way(make(), frames { START,
      begun '{"type": "thinking", "thinking": "", "signature": ""}',
      delta("thinking_delta", "thinking", "27 * 453"), delta("thinking_delta", "thinking", " = 12231"),
      delta("signature_delta", "signature", "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk"), ended(),
      begun('{"type":"redacted_thinking","data":"xyz"}', 1), ended(1),
      begun('{"type": "text", "text": ""}', 2), delta("text_delta", "text", "12,231", 2),
      '{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"page","page":1}}}',
      ended(2), why("end_turn", 9), STOP })
    assert.equal("27 * 453| = 12231", shown(outcome, "reasoning"))
    assert.same({ "12,231", "27 * 453 = 12231" }, { outcome.fields.text, outcome.fields.reasoning })
    assert.same({
      { type = "thinking", thinking = "27 * 453 = 12231",
        signature = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk" },
      { type = "redacted_thinking", data = "xyz" },
      { type = "text", text = "12,231", citations = { { type = "page", page = 1 } } },
    }, outcome.fields.message.native.items)
  end)

  it("shows the signature of thoughts that it has shown, for who writes them anew", function()
    local function signatures(list)
      local found = {}
      for _, chunk in ipairs(replay.every_way(make(), frames(list)).chunks) do
        local told = type(chunk.raw) == "table" and chunk.raw.delta
        found[#found + 1] = told and told.type == "signature_delta" and told.signature or nil
      end
      return table.concat(found, "|")
    end
    local head = begun '{"type":"thinking","thinking":"","signature":""}'
    local sign = delta("signature_delta", "signature", "c2ln")
    local rest = { ended(), begun('{"type":"text","text":""}', 1), delta("text_delta", "text", "a", 1), ended(1),
      why("end_turn", 9), STOP }
    assert.equal("c2ln", signatures { START, head, delta("thinking_delta", "thinking", "Hm"), sign, unpack(rest) })
    assert.equal("", signatures { START, head, sign, unpack(rest) }) -- nothing is committed to for it alone
  end)

  it("counts cumulatively, input too", function()
    local outcome = replay.every_way(make(), frames { START, begun '{"type":"text","text":"x"}',
      '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":30,"output_tokens":7,'
        .. '"cache_read_input_tokens":5}}', STOP })
    assert.same({ input_tokens = 35, output_tokens = 7, total_tokens = 42, cached_input_tokens = 5, estimated = false },
      outcome.fields.usage)
    assert.equal("x", shown(outcome, "text"))
    outcome = replay.every_way(make(), frames { START, begun '{"type":"text","text":"x"}',
      '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":null,"output_tokens":7,'
        .. '"cache_read_input_tokens":null}}', STOP })
    assert.same({ 25, 7 }, { outcome.fields.usage.input_tokens, outcome.fields.usage.output_tokens })
    assert.is_nil(outcome.fields.usage.cached_input_tokens)
  end)

  it("fails with its error event, before and after its content", function()
    local overloaded = '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    for _, list in ipairs { { overloaded }, { START, PING, overloaded },
      { START, begun '{"type":"text","text":""}', delta("text_delta", "text", "a"), overloaded } } do
      local outcome = replay.feed(make()(), { frames(list) })
      assert.same({ "overloaded", "overloaded", "overloaded_error" }, { outcome.verdict.class, outcome.verdict.kind,
        outcome.verdict.code })
    end
    local outcome = replay.feed(make()(), { "event: error\ndata: gone\n\n" })
    assert.equal("fail", outcome.actions)
  end)

  it("is not whole before message_stop, and has no usage then", function()
    local folder = make()()
    local outcome = replay.feed(folder, { frames { START, begun '{"type":"text","text":""}',
      delta("text_delta", "text", "Hel") } })
    assert.is_false(outcome.whole)
    assert.equal("Hel", outcome.fields.text)
    assert.is_nil(outcome.fields.usage)
  end)

  it("keeps a tool's input that was cut as its text", function() -- max_tokens within a tool's input
    local outcome = replay.every_way(make(), frames { START, begun '{"type":"tool_use","id":"t","name":"f","input":{}}',
      delta("input_json_delta", "partial_json", '{"path": "a'), ended(), why("max_tokens", 9), STOP })
    assert.equal('{"path": "a', outcome.fields.tool_calls[1]["function"].arguments)
    assert.same({ "length", true }, { outcome.fields.finish_reason, outcome.fields.truncated })
  end)

  it("keeps arguments as their text where a number would lose digits, or they are no JSON", function()
    for _, text in ipairs { '{"id": 12345678901234567890}', '{"a": tru}', "[1]", "x" } do
      local outcome = replay.every_way(make(), frames { START,
        begun '{"type":"tool_use","id":"t","name":"f","input":{}}', delta("input_json_delta", "partial_json", text),
        ended(), why("tool_use", 9), STOP })
      assert.equal(text, outcome.fields.tool_calls[1]["function"].arguments)
    end
  end)

  it("takes arguments that come at once, and such as never came", function()
    local outcome = replay.every_way(make(), frames { START,
      begun '{"type":"tool_use","id":"t","name":"f","input":{"a":1}}', ended(), why("tool_use", 9), STOP })
    assert.equal('{"a":1}', outcome.fields.tool_calls[1]["function"].arguments)
    assert.equal('{"a":1}', outcome.chunks[2].tool_calls[1]["function"].arguments)
    outcome = events_of { START, begun '{"type":"tool_use","id":"t","name":"f","input":{}}' }
    assert.same({ "{}", false }, { outcome.fields.tool_calls[1]["function"].arguments, outcome.whole })
  end)

  it("shows integers as integers, raw too", function()
    local outcome = events_of { START, begun '{"type":"text","text":""}', delta("text_delta", "text", "a"), ended(),
      why("end_turn", 15), STOP }
    assert.equal("0", tostring(outcome.chunks[1].raw.index))
    assert.equal("15", tostring(outcome.chunks[2].usage.output_tokens))
    assert.equal("25", tostring(outcome.fields.body.usage.input_tokens))
  end)

  it("does not write to the events that it has shown", function()
    local outcome = events_of { START,
      begun '{"type":"web_search_tool_result","tool_use_id":"s","content":[]}', ended(),
      begun('{"type":"text","text":"x","citations":[]}', 1),
      '{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"page":1}}}',
      why("end_turn", 1), STOP }
    assert.same({ 0, "x" }, { #outcome.chunks[2].raw.content_block.citations, outcome.chunks[2].text })
    assert.same({ { page = 1 } }, outcome.fields.body.content[2].citations)
  end)

  it("takes a stop reason when it comes, and usage before it", function()
    local outcome = events_of { START, begun '{"type":"text","text":"x"}',
      '{"type":"message_delta","delta":{},"usage":{"output_tokens":2}}', why("pause_turn", 5), STOP }
    assert.same({ "pause_turn", 5 }, { outcome.fields.finish_reason, outcome.fields.usage.output_tokens })
    assert.same({ "hold", "commit", "hold", "finish", "complete" }, outcome.all)
    outcome = events_of { START, begun '{"type":"text","text":"x"}', ended(), why("end_turn", 5) }
    assert.same({ false, 5 }, { outcome.whole, outcome.fields.usage.output_tokens })
    outcome = events_of { START, begun '{"type":"text","text":"x"}', ended() }
    assert.same({ false, nil, 1 }, { outcome.whole, outcome.fields.usage, outcome.fields.body.usage.output_tokens })
  end)

  it("says what had come of nothing", function()
    local fields = make()():fields()
    assert.same({ {}, json.null }, { fields.message.native.items, fields.message.content })
    assert.is_nil(fields.usage)
    assert.is_false(make()():whole())
  end)

  it("ignores what comes after its end, and a farewell in OpenAI's words", function()
    local outcome = replay.every_way(make(), frames { START, begun '{"type":"text","text":"x"}', why("end_turn", 5) }
      .. "data: [DONE]\n\n" .. frames { STOP, '{"type":"error","error":{"type":"api_error"}}', "{" })
    assert.equal("hold commit finish hold complete hold", outcome.actions)
    assert.equal("x", outcome.fields.text)
  end)

  it("takes a missing type from the event's name, and tolerates what it does not know", function()
    local stream = "event: message_start\ndata: {\"message\":{\"id\":\"m\"}}\n\nevent: novelty\ndata: {\"a\":1}\n\n"
      .. "data: {\"type\":null}\n\ndata:\n\n"
      .. "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
      .. "event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"novel_delta\",\"x\":1}}\n\n"
      .. "event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
      .. "event: ping\ndata:\n\nevent: message_stop\ndata: {}\n\n"
    local outcome = replay.every_way(make(), stream)
    assert.equal("hold commit hold complete", outcome.actions)
    assert.same({ "Hi", true, "m" }, { outcome.fields.text, outcome.whole, outcome.fields.id })
  end)

  it("is malformed where it is", function()
    local block, text = begun '{"type":"text","text":""}', delta("text_delta", "text", "x")
    for _, row in ipairs {
      { { "{" }, "an event is no JSON object (" }, { { "[]" }, "an event is no JSON object (no braces): \"[]\"" },
      { { "<html>" }, "an event is HTML or XML, not JSON: \"<html>\"" },
      { { '{"type":"message_start"}' }, "message_start without a message" },
      { { START, START }, "a second message began in the stream" },
      { { block }, "content_block_start before message_start" },
      { { text }, "content_block_delta before message_start" },
      { { STOP }, "message_stop before message_start" },
      { { START, '{"type":"content_block_start","index":0}' }, "content_block_start without a block" },
      { { START, block, delta("text_delta", "text", "x", 3) }, "a block grew that had not begun" },
      { { START, block, '{"type":"content_block_delta","index":0}' }, "content_block_delta without a delta" },
      { { START, block, '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta"}}' },
        "a text_delta without its text" },
    } do
      local lines = {}
      for i, data in ipairs(row[1]) do
        lines[i] = "data: " .. data .. "\n\n"
      end
      local outcome = replay.feed(make()(), { table.concat(lines) })
      local verdict = outcome.verdict or {}
      assert.same({ "transient", "malformed", row[2] }, { verdict.class, verdict.kind,
        (verdict.message or ""):sub(1, #row[2]) })
    end
  end)

  it("decodes what was asked for as JSON", function()
    local outcome = replay.feed(make { response_format = { type = "json_schema" } }(), { frames { START,
      begun '{"type":"text","text":""}', delta("text_delta", "text", '{"a":'), delta("text_delta", "text", "1}"),
      why("end_turn", 3), STOP } })
    assert.same({ a = 1 }, outcome.fields.parsed)
  end)
end)
