local json = require "surefoot.json"
local openai = require "surefoot.provider.openai"
local replay = require "spec.support.replay"

local codec = json.new()
local chat = openai.operations.chat

local function frames(list, request)
  return replay.every_way(function() return chat.stream(codec, request) end, replay.frames(list))
end

local function text_of(chunks, key, index)
  local parts = {}
  for _, chunk in ipairs(chunks) do
    if not index or chunk.index == index then
      parts[#parts + 1] = chunk[key or "text"]
    end
  end
  return table.concat(parts)
end

-- An event of one choice.
local function choice(delta, reason, more)
  return ('{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s,'
    .. '"finish_reason":%s}]%s}'):format(delta, reason and '"' .. reason .. '"' or "null", more or "")
end

describe("content", function()
  it("commits in every form", function()
    for delta, field in pairs {
      ['{"content":"x"}'] = "text", ['{"role":"assistant","content":"x"}'] = "text",
      ['{"reasoning_content":"x"}'] = "reasoning", ['{"reasoning":"x"}'] = "reasoning",
      ['{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}'] = "tool_calls",
      ['{"refusal":"x"}'] = "raw", ['{"annotations":[{"type":"url_citation"}]}'] = "raw",
      ['{"function_call":{"name":"f","arguments":""}}'] = "raw", ['{"audio":{"id":"a"}}'] = "raw",
      ['{"reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}'] = "raw",
    } do
      local outcome = frames { choice(delta) }
      assert.equal("commit", outcome.actions, delta)
      assert.is_truthy(outcome.chunks[1][field], delta)
      assert.equal(1, outcome.chunks[1].index)
    end
    assert.equal("finish", frames({ choice("{}", "stop") }).actions)
  end)

  it("is shown for every choice of an event", function()
    local outcome = frames { '{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}',
      '{"choices":[{"index":1,"delta":{"content":"c"},"finish_reason":"stop"},{"index":0,"delta":{},'
        .. '"finish_reason":"stop"}]}' }
    assert.equal("commit finish", outcome.actions)
    assert.equal("a", text_of(outcome.chunks, "text", 1))
    assert.equal("bc", text_of(outcome.chunks, "text", 2))
    assert.equal("bc", outcome.fields.body.choices[2].message.content)
  end)

  it("may come in a message where there is no delta", function()
    local outcome = frames { '{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
      .. '"content":"all of it"},"finish_reason":"stop"}]}' }
    assert.same({ "finish", "all of it" }, { outcome.actions, outcome.fields.text })
    outcome = frames { '{"choices":[{"index":0,"delta":{"content":"a"},"message":{"content":"a"}}]}',
      '{"choices":[{"index":0,"delta":{"content":"b"},"message":{"content":"ab"},"finish_reason":"stop"}]}',
      '{"choices":[{"index":0,"message":{"content":"ab"},"finish_reason":"stop"}]}' }
    assert.equal("ab", outcome.fields.text)
  end)

  it("need not say which choice it is of", function()
    assert.equal("ab", frames({ '{"choices":[{"delta":{"content":"a"}}]}',
      '{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}' }).fields.text)
  end)

  it("may turn into parts, and back", function()
    local outcome = frames { choice '{"content":"a"}',
      choice '{"content":[{"type":"image_url","image_url":{"url":"u"}}]}',
      choice '{"content":[{"type":"text","text":"b"}]}', choice '{"content":"c"}', choice("{}", "stop") }
    assert.equal("abc", outcome.fields.text)
    assert.same({ { type = "text", text = "a" }, { type = "image_url", image_url = { url = "u" } },
      { type = "text", text = "bc" } }, outcome.fields.message.content)
  end)

  it("is joined in linear time and space", function()
    local count, least = 20000, math.huge
    local data = choice '{"content":"abcdefgh"}'
    for _ = 1, 3 do -- what a JIT compiler keeps for itself, it keeps once
      local folder = chat.stream(codec, {})
      folder:event(nil, choice '{"role":"assistant","content":""}')
      collectgarbage()
      collectgarbage()
      local before = collectgarbage "count"
      for _ = 1, count do
        folder:event(nil, data)
      end
      collectgarbage()
      collectgarbage()
      least = math.min(least, (collectgarbage "count" - before) * 1024)
      assert.equal(("abcdefgh"):rep(count), folder:fields().text)
    end
    assert.is_true(least < count * 8 * 1.5 + 65536, least .. " bytes kept")
  end)

  it("keeps what is unknown, so that it can be sent back", function()
    -- Gemini refuses the next request without its signature (ai.google.dev/gemini-api/docs/openai)
    local outcome = frames { choice('{"role":"assistant","tool_calls":[{"index":0,"id":"c1","type":"function",'
      .. '"extra_content":{"google":{"thought_signature":"sig"}},"function":{"name":"f","arguments":"{}"}}],'
      .. '"mood":"x"}'),
      choice('{"mood":"y","annotations":[{"a":1}]}'), choice('{"annotations":[{"a":2}],"obfuscation":"zzz"}', "stop",
      ',"provider":"p","obfuscation":"q"') }
    local message = outcome.fields.message
    assert.same({ role = "assistant", content = json.null, mood = "y", annotations = { { a = 1 }, { a = 2 } },
      tool_calls = { { id = "c1", type = "function", extra_content = { google = { thought_signature = "sig" } },
        ["function"] = { name = "f", arguments = "{}" } } } }, message)
    assert.equal("p", outcome.fields.body.provider)
    assert.is_nil(outcome.fields.body.obfuscation)
    assert.truthy(codec.encode(message):find('"a":1}', 1, true))
  end)

  it("joins OpenRouter's reasoning details by their blocks", function()
    -- openrouter.ai/docs/use-cases/reasoning-tokens: types reasoning.text, .summary, .encrypted; sent back unmodified
    local function details(list)
      return choice('{"reasoning_details":[' .. list .. "]}")
    end
    local outcome = frames {
      details '{"type":"reasoning.text","text":"Let","format":"anthropic-claude-v1","index":0,"signature":null}',
      details '{"type":"reasoning.text","text":" me","format":"anthropic-claude-v1","index":0,"signature":null}',
      details '{"type":"reasoning.text","signature":"sig","format":"anthropic-claude-v1","index":0}',
      details '{"type":"reasoning.text","text":"Then","format":"anthropic-claude-v1","index":1}',
      details '{"type":"reasoning.encrypted","data":"d1","id":"r1","index":2}',
      details '{"type":"reasoning.encrypted","data":"d2","id":"r2","index":2}', choice('{"content":"x"}', "stop") }
    assert.same({
      { type = "reasoning.text", text = "Let me", format = "anthropic-claude-v1", index = 0, signature = "sig" },
      { type = "reasoning.text", text = "Then", format = "anthropic-claude-v1", index = 1 },
      { type = "reasoning.encrypted", data = "d1", id = "r1", index = 2 },
      { type = "reasoning.encrypted", data = "d2", id = "r2", index = 2 },
    }, outcome.fields.message.reasoning_details)
    -- an empty list says something of its own there
    assert.equal("[]", codec.encode(frames({ choice('{"content":"x","reasoning_details":[]}', "stop") }).fields.message
      .reasoning_details))
  end)

  it("joins audio and the old function call", function()
    local outcome = frames { choice '{"audio":{"id":"a1","transcript":"Hel"}}', choice '{"audio":{"transcript":"lo"}}',
      choice '{"audio":{"data":"AA"}}', choice '{"audio":{"data":"BB","expires_at":17}}',
      choice '{"function_call":{"name":"f","arguments":""}}', choice '{"function_call":{"arguments":"{}"}}',
      choice("{}", "stop") }
    assert.same({ id = "a1", transcript = "Hello", data = "AABB", expires_at = 17 }, outcome.fields.message.audio)
    assert.same({ name = "f", arguments = "{}" }, outcome.fields.message.function_call)
  end)
end)

describe("usage", function()
  it("stands in the event, in the choice, or in x_groq", function()
    local usage = '{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}'
    for _, last in ipairs {
      choice("{}", "stop", ',"usage":' .. usage), choice("{}", "stop", ',"x_groq":{"id":"r","usage":' .. usage .. "}"),
      '{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":' .. usage .. "}]}",
    } do
      local outcome = frames { choice '{"content":"a"}', last, "[DONE]" }
      assert.equal(3, outcome.fields.usage.total_tokens, last)
      assert.equal(3, outcome.chunks[2].usage.total_tokens)
    end
  end)

  it("may grow from chunk to chunk", function()
    local outcome = frames { choice('{"content":"a"}', nil, ',"usage":{"prompt_tokens":5,"completion_tokens":1}'),
      choice('{"content":"b"}', nil, ',"usage":{"prompt_tokens":5,"completion_tokens":2}'), choice("{}", "stop") }
    assert.same({ 1, 2 }, { outcome.chunks[1].usage.output_tokens, outcome.chunks[2].usage.output_tokens })
    assert.equal(7, outcome.fields.usage.total_tokens)
  end)

  it("may be missing", function()
    assert.is_nil(frames({ choice('{"content":"a"}', "stop"), "[DONE]" }).fields.usage)
  end)
end)

describe("fragments of tool calls", function()
  local function event(...)
    return choice('{"tool_calls":[' .. table.concat({ ... }, ",") .. "]}")
  end

  local function call(head, name, arguments)
    return ('{%s"type":"function","function":{%s"arguments":%s}}'):format(head, name and ('"name":"%s",'):format(name)
      or "", codec.encode(arguments))
  end

  -- name and arguments of each call, and the index that the chunks had
  local function calls_of(list)
    list[#list + 1] = choice("{}", "tool_calls")
    local outcome = frames(list)
    local found, seen = {}, {}
    for i, one in ipairs(outcome.fields.tool_calls) do
      found[i] = ("%s %s %s"):format(one.id or "-", one["function"].name, one["function"].arguments)
      assert.equal("function", one.type)
      assert.is_nil(one.index)
    end
    for _, chunk in ipairs(outcome.chunks) do
      for _, fragment in ipairs(chunk.tool_calls or {}) do
        seen[#seen + 1] = ("%.0f"):format(fragment.index)
      end
    end
    return found, table.concat(seen)
  end

  it("come with one index for all (LMDeploy #3412, as vLLM sends them there)", function()
    local found, seen = calls_of { event(call('"index":0,"id":"A",', "f", "")),
      event(call('"index":0,"id":"",', nil, '{"a":')),
      event(call('"index":0,"id":"",', nil, "1}")), event(call('"index":0,"id":"B",', "f", "")),
      event(call('"index":0,"id":"",', nil, "{}")) }
    assert.same({ 'A f {"a":1}', "B f {}" }, found)
    assert.equal("00011", seen)
  end)

  it("repeat the id (SGLang, there too)", function()
    local found = calls_of { event(call('"index":0,"id":"0",', "f", "")), event(call('"index":0,"id":"0",', nil, "{}")),
      event(call('"index":0,"id":"1",', "f", "")), event(call('"index":0,"id":"1",', nil, "[]")) }
    assert.same({ "0 f {}", "1 f []" }, found)
  end)

  it("have a new id each (vLLM PR #23522)", function()
    local found, seen = calls_of { event(call('"index":0,"id":"x1",', "f", '{"a"')),
      event(call('"index":0,"id":"x2",', "f", ":1")), event(call('"index":0,"id":"x3",', nil, "}")) }
    assert.same({ 'x1 f {"a":1}' }, found)
    assert.equal("000", seen)
  end)

  it("are whole calls with one index (Gemini's compatible API: hermes-agent #62940, gcli2api #406)", function()
    local found, seen = calls_of { event(call('"index":0,"id":"a",', "w", '{"c":"x"}')),
      event(call('"index":0,"id":"b",', "w", '{"c":"y"}'), call('"index":0,"id":"c",', "w", '{"c":"z"}')) }
    assert.same({ 'a w {"c":"x"}', 'b w {"c":"y"}', 'c w {"c":"z"}' }, found)
    assert.equal("012", seen)
    found = calls_of { event(call('"index":0,"id":"",', "w", "{}"), call('"index":0,"id":"",', "v", "{}")),
      event(call('"index":0,"id":"",', "w", "[]")) }
    assert.same({ "- w {}", "- v {}", "- w []" }, found)
  end)

  it("have no index", function()
    local found, seen = calls_of { event(call('"id":"a",', "f", '{"x":')), event(call("", nil, "1}")),
      event(call('"id":"b",', "g", "{}"), call('"id":"c",', "h", "{}")), event(call('"id":"b",', nil, " ")) }
    assert.same({ 'a f {"x":1}', "b g {} ", "c h {}" }, found)
    assert.equal("00121", seen)
    found = calls_of { event(call("", "f", "{}"), call("", "g", "{}")), event(call("", "h", "{}")) }
    assert.same({ "- f {}", "- g {}", "- h {}" }, found)
  end)

  it("come out of order", function()
    assert.same({ "a f {}", "b g {}" },
      (calls_of { event(call('"index":1,"id":"b",', "g", "{}")), event(call('"index":0,"id":"a",', "f", "{}")) }))
  end)

  it("have names in fragments, or repeated", function()
    assert.same({ 'a read_note {"p":1}' }, (calls_of { event(call('"index":0,"id":"a",', "read_", "")),
      event(call('"index":0,', "note", '{"p":1}')) }))
    assert.same({ 'a f {"p":1}' }, (calls_of { event(call('"index":0,"id":"a",', "f", "")),
      event(call('"index":0,', "f", '{"p"')), event(call('"index":0,"id":"a",', "f", ":1}")) }))
  end)

  it("have arguments that are no text, or none", function()
    assert.same({ 'a f {"x":1}', "b g " }, (calls_of {
      event '{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":{"x":1}}}',
      event '{"index":1,"id":"b","type":"function","function":{"name":"g"}}' }))
  end)

  it("are of custom tools", function()
    local outcome = frames { event '{"index":0,"id":"a","type":"custom","custom":{"name":"f","input":"x"}}',
      event '{"index":0,"custom":{"input":"y"}}', choice("{}", "tool_calls") }
    assert.same({ { id = "a", type = "custom", custom = { name = "f", input = "xy" } } }, outcome.fields.tool_calls)
  end)
end)
