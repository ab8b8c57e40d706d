-- Streams of Anthropic's, as its documentation shows them, replayed whole, byte by byte and at random cuts.
local anthropic = require "surefoot.provider.anthropic"
local json = require "surefoot.json"
local replay = require "spec.support.replay"

local codec = json.new()

local function make(request)
  return function()
    return anthropic.operations.chat.stream(codec, request)
  end
end

local function frames(list)
  local lines = {}
  for i, data in ipairs(list) do
    lines[i] = ("event: %s\ndata: %s\n\n"):format(data:match '"type": ?"([%w_]+)"', data)
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

describe("an Anthropic stream", function()
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
    assert.equal("hold commit hold commit hold commit hold commit hold finish complete", outcome.actions)
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
    assert.equal('0:get_weather 0{"location": 0 "San Francisco, CA"} 1:now', table.concat(fragments, " "))
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

  it("counts cumulatively, input too", function()
    local outcome = replay.every_way(make(), frames { START, begun '{"type":"text","text":"x"}',
      '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":30,"output_tokens":7,'
        .. '"cache_read_input_tokens":5}}', STOP })
    assert.same({ input_tokens = 35, output_tokens = 7, total_tokens = 42, cached_input_tokens = 5, estimated = false },
      outcome.fields.usage)
    assert.equal("x", shown(outcome, "text"))
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

  it("takes a missing type from the event's name, and tolerates what it does not know", function()
    local stream = "event: message_start\ndata: {\"message\":{\"id\":\"m\"}}\n\nevent: novelty\ndata: {\"a\":1}\n\n"
      .. "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
      .. "event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"novel_delta\",\"x\":1}}\n\n"
      .. "event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
      .. "event: ping\ndata:\n\nevent: message_stop\ndata: {}\n\n"
    local outcome = replay.every_way(make(), stream)
    assert.equal("hold commit hold complete", outcome.actions)
    assert.same({ "Hi", true, "m" }, { outcome.fields.text, outcome.whole, outcome.fields.id })
  end)

  it("is malformed where it is", function()
    for _, data in ipairs { "{", "[]x", '{"type":"content_block_delta","index":3,"delta":{"type":"text_delta"}}',
      '{"type":"content_block_start","index":0}' } do
      local outcome = replay.feed(make()(), { "data: " .. data .. "\n\n" })
      assert.same({ "transient", "malformed" }, { outcome.verdict.class, outcome.verdict.kind }, data)
    end
  end)

  it("decodes what was asked for as JSON", function()
    local outcome = replay.feed(make { response_format = { type = "json_schema" } }(), { frames { START,
      begun '{"type":"text","text":""}', delta("text_delta", "text", '{"a":'), delta("text_delta", "text", "1}"),
      why("end_turn", 3), STOP } })
    assert.same({ a = 1 }, outcome.fields.parsed)
  end)
end)
