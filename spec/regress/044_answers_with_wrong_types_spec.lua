--- Answers with a number where the text belongs, or an object where a list does, were taken for good ones without a
--- text, or their pieces were left out of a stream. They are malformed, and asked for again.

local sim = require "spec.support.sim"

local TEXT_CALL = [[{"choices":[{"message":{"content":%s,"tool_calls":%s},"finish_reason":"stop"}]}]]
local function text(content)
  return TEXT_CALL:format(content, "null")
end
local function called(calls)
  return TEXT_CALL:format("null", calls)
end
local function anthropic(blocks)
  return ([[{"type":"message","role":"assistant","content":%s,"stop_reason":"end_turn"}]]):format(blocks)
end
local function gemini(content)
  return ([[{"candidates":[{"content":%s,"finishReason":"STOP"}]}]]):format(content)
end
local function responses(output)
  return ([[{"status":"completed","output":%s}]]):format(output)
end

local GOOD = {
  openai = text '"good"', anthropic = anthropic '[{"type":"text","text":"good"}]',
  gemini = gemini '{"parts":[{"text":"good"}]}',
  responses = responses '[{"type":"message","content":[{"type":"output_text","text":"good"}]}]',
}

-- What is wrong -> what of it stands in the message.
local WHOLE = {
  openai = {
    [text "17"] = "choices[1].message.content is a number", [text "true"] = "content is true",
    [text "{}"] = "content is an object", [text '{"a":1}'] = "content is an object",
    [text "[5]"] = "content[1] is a number", [text '[{"type":"text","text":5}]'] = "content[1].text is a number",
    [called '"x"'] = "tool_calls is a text", [called '{"a":1}'] = "tool_calls is an object",
    [called "[5]"] = "tool_calls[1] is a number", [called '[{"function":"f"}]'] = "tool_calls[1].function is a text",
    [called '[{"function":{"name":"f","arguments":5}}]'] = "tool_calls[1].function.arguments is a number",
    [called '[{"function":{"name":5,"arguments":"{}"}}]'] = "tool_calls[1].function.name is a number",
    [called '[{"type":"custom","custom":{"name":"f","input":5}}]'] = "tool_calls[1].custom.input is a number",
    ['{"choices":{"a":5}}'] = "no choices[1].message", ['{"choices":[5]}'] = "no choices[1].message",
    ['{"choices":[{"message":"x"}]}'] = "no choices[1].message", ['{"choices":[{}]}'] = "no choices[1].message",
    ['{"choices":[{"message":{"content":"a"}},{"message":{"content":5}}]}'] = "choices[2].message.content is a number",
  },
  anthropic = {
    [anthropic '[{"type":"text","text":5}]'] = "content[1].text is a number",
    [anthropic '[{"type":"thinking","thinking":{}}]'] = "content[1].thinking is an object",
    [anthropic '[{"type":"tool_use","id":"t","name":"f","input":5}]'] = "content[1].input is a number",
    [anthropic '[{"type":"tool_use","id":"t","name":5,"input":{}}]'] = "content[1].name is a number",
    [anthropic "{}"] = "no list of content", [anthropic "5"] = "no list of content",
    [anthropic '["x"]'] = "no content[1].type",
  },
  gemini = {
    [gemini "5"] = "candidates[1].content is a number", [gemini '{"parts":"x"}'] = "content.parts is a text",
    [gemini '{"parts":{"a":1}}'] = "content.parts is an object", [gemini '{"parts":[5]}'] = "parts[1] is a number",
    [gemini '{"parts":[{"text":5}]}'] = "parts[1].text is a number",
    [gemini '{"parts":[{"functionCall":"f"}]}'] = "parts[1].functionCall is a text",
    [gemini '{"parts":[{"functionCall":{"name":"f","args":5}}]}'] = "parts[1].functionCall.args is a number",
    ['{"candidates":{"a":5}}'] = "no candidates",
  },
  responses = {
    [responses "5"] = "no output", [responses "{}"] = "output is an object",
    [responses "[5]"] = "output[1] is a number",
    [responses '[{"type":"message","content":"x"}]'] = "output[1].content is a text",
    [responses '[{"type":"message","content":[5]}]'] = "output[1].content[1] is a number",
    [responses '[{"type":"message","content":[{"type":"output_text","text":5}]}]'] = "content[1].text is a number",
    [responses '[{"type":"function_call","name":"f","arguments":5}]'] = "output[1].arguments is a number",
    [responses '[{"type":"custom_tool_call","name":"f","input":[]}]'] = "output[1].input is a list",
  },
}

local function delta(fields)
  return ([[{"choices":[{"index":0,"delta":%s}]}]]):format(fields)
end
local START = '{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}'
local BLOCK = '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
local function begun(block)
  return ([[{"type":"content_block_start","index":0,"content_block":%s}]]):format(block)
end
local GOOD_STREAM = {
  openai = { delta '{"role":"assistant"}', delta '{"content":"good"}', "[DONE]" },
  anthropic = { START, BLOCK, '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"good"}}',
    '{"type":"message_delta","delta":{"stop_reason":"end_turn"}}', '{"type":"message_stop"}' },
  gemini = { GOOD.gemini },
  responses = { '{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"good"}',
    ('{"type":"response.completed","response":%s}'):format(GOOD.responses) },
}
local function spoken(kind, value)
  return ([[{"type":"response.%s.delta","output_index":0,"delta":%s}]]):format(kind, value)
end
local function item(kind, value)
  return ([[{"type":"response.output_item.%s","output_index":0,"item":%s}]]):format(kind, value)
end

local STREAMED = {
  openai = {
    [{ delta '{"content":17}' }] = "delta.content is a number", [{ delta "5" }] = "delta is a number",
    [{ delta '{"content":{"a":1}}' }] = "delta.content is an object", [{ '{"choices":"x"}' }] = "choices is a text",
    [{ delta '{"tool_calls":"x"}' }] = "delta.tool_calls is a text", [{ '{"choices":[5]}' }] = "choices[1] is a number",
    [{ delta '{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":5}}]}' }] =
      "tool_calls[1].function.arguments is a number",
    [{ '{"choices":[{"message":{"content":5},"finish_reason":"stop"}]}' }] = "message.content is a number",
  },
  anthropic = {
    [{ START, begun '{"type":"text","text":5}' }] = "content_block.text is a number",
    [{ START, begun '{"type":"tool_use","id":"t","name":"f","input":5}' }] = "content_block.input is a number",
    [{ START, BLOCK, '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":5}}' }] =
      "a text_delta without its text",
    [{ '{"type":"message_start","message":{"content":5}}' }] = "message.content is a number",
  },
  gemini = {
    [{ gemini "5" }] = "candidates[1].content is a number", [{ gemini '{"parts":[{"text":5}]}' }] = "text is a number",
    [{ '{"candidates":"x"}' }] = "candidates is a text", [{ '{"candidates":[5]}' }] = "candidates[1] is a number",
    [{ gemini '{"parts":[{"functionCall":{"name":"f","args":"x"}}]}' }] = "functionCall.args is a text",
  },
  responses = {
    [{ spoken("output_text", "17") }] = "delta is a number", [{ spoken("refusal", "{}") }] = "delta is an object",
    [{ spoken("function_call_arguments", "5") }] = "delta is a number", [{ item("added", "5") }] = "item is a number",
    [{ item("done", '{"type":"message","content":[{"type":"output_text","text":5}]}') }] = "item.content[1].text is",
    [{ ('{"type":"response.completed","response":%s}'):format(responses '[{"type":"message","content":5}]') }] =
      "output[1].content is a number",
  },
}

local function events(list)
  local sent = {}
  for i, data in ipairs(list) do
    sent[i] = { at = 0, data = "data: " .. data .. "\n\n" }
  end
  return { events = sent }
end

describe("an answer with wrong types", function()
  after_each(sim.settled)

  local function fails(err, message)
    assert.same({ "malformed", true }, { err and err.kind, err and err.retryable })
    assert.is_truthy(err.message:find(message, 1, true), err.message)
  end

  for provider, bodies in pairs(WHOLE) do
    it("is malformed and asked for again: " .. provider, function()
      for body, message in pairs(bodies) do
        local lab = sim.lab({ a = { { body = body }, { body = GOOD[provider] } } }, { provider = provider })
        local result, err = lab.client:chat "Hi"
        assert.equal("good", result and result.text, body .. ": " .. tostring(err))
        assert.equal("a malformed, a ok", sim.trail(result))
        lab = sim.lab({ a = { body = body } }, { provider = provider, retry = { max_attempts = 1 } })
        fails(select(2, lab.client:chat "Hi"), message)
      end
    end)
  end

  for provider, streams in pairs(STREAMED) do
    it("is malformed in a stream, and asked for again before it was shown: " .. provider, function()
      for list, message in pairs(streams) do
        local lab = sim.lab({ a = { events(list), events(GOOD_STREAM[provider]) } }, { provider = provider })
        local stream, err = lab.client:stream "Hi"
        assert(stream, table.concat(list, " ") .. ": " .. tostring(err))
        local result = assert(stream:result())
        assert.equal("good", result.text)
        assert.equal("a malformed, a ok", sim.trail(result))
        lab = sim.lab({ a = events(list) }, { provider = provider, retry = { max_attempts = 1 } })
        fails(select(2, lab.client:stream "Hi"), message)
      end
    end)
  end

  it("ends a stream that has shown something, with what had come", function()
    local lab = sim.lab { a = events { delta '{"content":"one "}', delta '{"content":17}', "[DONE]" } }
    local _, err = assert(lab.client:stream "Hi"):result()
    fails(err, "content is a number")
    assert.equal("one ", err.partial.text)
  end)
end)

describe("an answer with types that some provider sends", function()
  after_each(sim.settled)

  local function decoded(provider, body)
    local lab = sim.lab({ a = { body = body } }, { provider = provider, retry = { max_attempts = 1 } })
    return assert(lab.client:chat "Hi")
  end

  local function arguments_of(result)
    return result.tool_calls[1]["function"].arguments
  end

  it("is good", function()
    for _, body in ipairs { text "null", text '""', text "[]", called "[]", called "{}", called "null",
      text '[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"reference","reference_ids":[1]}]',
      called '[{"id":"t","type":"function","function":{"name":"f","arguments":null}}]',
      called '[{"id":"t","type":"function","function":{"name":"f"}}]', '{"choices":[{"message":{}}]}',
      '{"choices":[{"message":{"role":"assistant","content":"x","audio":null,"annotations":[]}}]}' } do
      decoded("openai", body)
    end
    for _, body in ipairs { anthropic "[]", anthropic '[{"type":"tool_use","id":"t","name":"f"}]',
      anthropic '[{"type":"tool_use","id":"t","name":"f","input":"{}"}]',
      anthropic '[{"type":"web_search_tool_result","content":{"type":"error"}}]' } do
      decoded("anthropic", body)
    end
    for _, body in ipairs { gemini "{}", gemini '{"role":"model"}', gemini '{"parts":[{}]}', gemini "null",
      gemini '{"parts":[{"functionCall":{"name":"f"}}]}',
      gemini '{"parts":[{"functionCall":{"args":{}}},{"text":""}]}' } do
      decoded("gemini", body)
    end
    for _, body in ipairs { responses "[]", responses '[{"type":"reasoning","summary":[],"content":null}]',
      responses '[{"type":"function_call","name":"f","call_id":"c","arguments":""}]',
      responses '[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]',
      responses '[{"type":"novel_call","content":5}]' } do
      decoded("responses", body)
    end
  end)

  it("gives the arguments of a call as a text, also where an object was sent", function()
    local result = decoded("openai",
      called '[{"id":"t","type":"function","function":{"name":"f","arguments":{"a":1}}}]')
    assert.equal('{"a":1}', arguments_of(result))
    assert.equal('{"a":1}', result.message.tool_calls[1]["function"].arguments)
    assert.same({ a = 1 }, result.body.choices[1].message.tool_calls[1]["function"].arguments)
    result = decoded("responses", responses '[{"type":"function_call","call_id":"c","name":"f","arguments":{"a":1}}]')
    assert.equal('{"a":1}', arguments_of(result))
    local lab = sim.lab { a = events {
      delta '{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":{"a":1}}}]}', "[DONE]" } }
    assert.equal('{"a":1}', arguments_of(assert(assert(lab.client:stream "Hi"):result())))
  end)

  it("is good in a stream", function()
    for _, list in ipairs { { delta '{"content":null}' }, { delta '{"content":[]}' }, { delta "null" }, { delta "{}" },
      { delta '{"content":[{"type":"text","text":"x"}]}' }, { '{"choices":null,"usage":null}' }, { '{"choices":[]}' },
      { '{"choices":{}}' }, { delta '{"tool_calls":null}' }, { delta '{"tool_calls":[]}' } } do
      local stream = { delta '{"content":"good"}', list[1], "[DONE]" }
      local lab = sim.lab({ a = events(stream) }, { retry = { max_attempts = 1 } })
      assert.equal("good", (assert(assert(lab.client:stream "Hi"):result()).text:gsub("x$", "")))
    end
  end)
end)
