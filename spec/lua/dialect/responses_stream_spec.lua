local format = require "surefoot.dialect.responses"
local json = require "surefoot.json"
local providers = require "surefoot.provider"
local replay = require "spec.support.replay"
local streams = require "spec.wire.streams"

local codec = json.new()
local formats = providers.formats

local function context_of(document)
  return { codec = codec, document = document, model = "gpt-x", id = "req-1", created = 1700000000 }
end

-- The bytes that a writer makes of chunks and their result.
local function written(chunks, result, document)
  local writer, out = format.events(context_of(document)), {}
  for i, chunk in ipairs(chunks) do
    out[i] = writer:chunk(chunk)
  end
  out[#out + 1] = writer:finish(result)
  return table.concat(out)
end

local function events_of(stream)
  local list = {}
  for i, event in ipairs(streams.read(stream)) do
    local document = assert(json.decode(event.data))
    assert.equal(event.name, document.type)
    assert.equal(i - 1, document.sequence_number)
    list[i] = document
  end
  return list
end

local function types_of(stream)
  local list = {}
  for i, event in ipairs(events_of(stream)) do
    list[i] = event.type:gsub("^response%.", "")
  end
  return list
end

-- What a reader of the events knows in the end, as the SDKs put it together: each event must fit what came before.
local readers = {}

local function item_at(known, event)
  local item = assert(known.output[event.output_index + 1], "an event of an item that was not added")
  assert(not item.done, "an event of an item that was done")
  assert(event.item_id == item.value.id, "an event with another item's id")
  return item.value
end

readers["response.created"] = function(known, event)
  assert.equal("in_progress", event.response.status)
  known.response = event.response
end

readers["response.in_progress"] = function(known, event)
  replay.same(known.response, event.response, "response.in_progress")
end

readers["response.output_item.added"] = function(known, event)
  assert.equal(#known.output, event.output_index)
  known.output[event.output_index + 1] = { value = event.item, done = false }
end

readers["response.output_item.done"] = function(known, event)
  local entry = known.output[event.output_index + 1]
  assert.is_false(entry.done)
  assert.equal(0, known.open[event.item.id] or 0, "a part was begun and not done")
  entry.value.status, entry.value.encrypted_content = event.item.status, event.item.encrypted_content
  replay.same(entry.value, event.item, "output_item.done")
  entry.done = true
end

local function part_added(list, index)
  return function(known, event)
    local parts = item_at(known, event)[list]
    assert.equal(#parts, event[index])
    parts[#parts + 1] = event.part
    known.open[event.item_id] = (known.open[event.item_id] or 0) + 1
  end
end

local function part_done(list, index)
  return function(known, event)
    local part = item_at(known, event)[list][event[index] + 1]
    part.annotations, part.logprobs = event.part.annotations, event.part.logprobs
    replay.same(part, event.part, event.type)
    known.open[event.item_id] = known.open[event.item_id] - 1
  end
end

local function texts_of(name, list, index, slot)
  readers["response." .. name .. ".delta"] = function(known, event)
    local item = item_at(known, event)
    local part = list and assert(item[list][event[index] + 1], "a delta of no part") or item
    part[slot] = part[slot] .. event.delta
  end
  readers["response." .. name .. ".done"] = function(known, event)
    local item = item_at(known, event)
    local part = list and item[list][event[index] + 1] or item
    assert.equal(part[slot], event[slot])
  end
end

readers["response.content_part.added"] = part_added("content", "content_index")
readers["response.content_part.done"] = part_done("content", "content_index")
readers["response.reasoning_summary_part.added"] = part_added("summary", "summary_index")
readers["response.reasoning_summary_part.done"] = part_done("summary", "summary_index")
texts_of("output_text", "content", "content_index", "text")
texts_of("refusal", "content", "content_index", "refusal")
texts_of("reasoning_summary_text", "summary", "summary_index", "text")
texts_of("function_call_arguments", nil, nil, "arguments")
texts_of("custom_tool_call_input", nil, nil, "input")

readers["response.output_text.annotation.added"] = function(known, event)
  local list = item_at(known, event).content[event.content_index + 1].annotations
  assert.equal(#list, event.annotation_index)
  list[#list + 1] = event.annotation
end

local function ended(known, event)
  assert.equal("response." .. event.response.status, event.type)
  assert.equal(#known.output, #event.response.output)
  for i, entry in ipairs(known.output) do
    assert.is_true(entry.done)
    replay.same(entry.value, event.response.output[i], "output." .. i)
  end
  known.final = event.response
end

readers["response.completed"], readers["response.incomplete"] = ended, ended

local function known_of(stream)
  local known = { output = {}, open = {} }
  for _, event in ipairs(events_of(stream)) do
    assert.is_nil(known.final, "an event behind the last")
    readers[event.type](known, event)
  end
  assert.is_table(known.final, "the stream has no end")
  return known.final
end

local function folded(stream, ways)
  local function make()
    return formats.responses.operations.chat.stream(codec, nil)
  end
  return ways and replay.every_way(make, stream) or replay.feed(make(), { stream })
end

local function fragment(index, id, name, arguments)
  return { index = index, id = id, type = id and "function" or nil, ["function"] = { name = name,
    arguments = arguments } }
end

local function call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

describe("a Responses stream of chunks", function()
  it("has an event for everything that begins, grows and ends", function()
    local usage = { input_tokens = 9, output_tokens = 4, total_tokens = 13, estimated = false }
    local stream = written({
      { index = 1, reasoning = "Hm" }, { index = 1, reasoning = "m" }, { index = 1, text = "Ah" },
      { index = 1, text = "oy" },
      { index = 1, tool_calls = { fragment(0, "a", "f", "") } },
      { index = 1, tool_calls = { fragment(0, nil, nil, '{"x":1}') } },
      { index = 1, finish_reason = "tool_calls", usage = usage },
    }, { text = "Ahoy", reasoning = "Hmm", tool_calls = { call("a", "f", '{"x":1}') }, finish_reason = "tool_calls",
      usage = usage, model = "claude-x" }, { tools = { { type = "function", name = "f" } } })
    assert.same({
      "created", "in_progress",
      "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
      "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
      "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
      "content_part.done", "output_item.done",
      "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
      "completed",
    }, types_of(stream))
    local response = known_of(stream)
    assert.same({ "resp_req-1", "completed", "claude-x", 13, "f" }, { response.id, response.status, response.model,
      response.usage.total_tokens, response.tools[1].name })
    assert.same({
      { type = "reasoning", id = "rs_req-1_0", encrypted_content = "surefoot:",
        summary = { { type = "summary_text", text = "Hmm" } } },
      { type = "message", id = "msg_req-1_1", status = "completed", role = "assistant",
        content = { { type = "output_text", text = "Ahoy", annotations = {}, logprobs = {} } } },
      { type = "function_call", id = "fc_req-1_2", status = "completed", call_id = "a", name = "f",
        arguments = '{"x":1}' },
    }, response.output)
  end)

  it("begins with the first that is shown, and passes over other choices", function()
    local writer = format.events(context_of())
    assert.equal("", writer:chunk { index = 1 })
    assert.equal("", writer:chunk { index = 1, text = "" })
    assert.equal("", writer:chunk { index = 2, text = "x" })
    assert.matches("^event: response.created\ndata: {.-}\n\nevent: response.in_progress\n",
      writer:chunk { index = 1, text = "x" })
    assert.matches('^event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
      .. '"sequence_number":5,"item_id":"msg_req%-1_0","output_index":0,"content_index":0,"delta":"y\\n",'
      .. '"logprobs":%[%]}\n\n$', writer:chunk { index = 1, text = "y\n" })
    assert.same({ "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
      "output_text.done", "content_part.done", "output_item.done", "completed" }, types_of(written({}, { text = "" })))
  end)

  it("has texts, thoughts and calls in turn, each an item of its own", function()
    local stream = written({
      { index = 1, text = "a" }, { index = 1, reasoning = "b" }, { index = 1, text = "c" },
      { index = 1, tool_calls = { fragment(0, "x", "f", "{}") } }, { index = 1, text = "d" },
    }, { text = "acd", reasoning = "b", tool_calls = { call("x", "f", "{}") }, finish_reason = "tool_calls" })
    local types = {}
    for i, item in ipairs(known_of(stream).output) do
      types[i] = item.type
    end
    assert.same({ "message", "reasoning", "message", "function_call", "message" }, types)
    assert.equal("acd", folded(stream, true).fields.text)
  end)

  it("has calls that grow side by side", function()
    local calls = { call("x", "f", '{"a":1}'), call("y", "g", '{"b":2}'),
      { id = "z", type = "custom", custom = { name = "h", input = "raw" } } }
    local stream = written({
      { index = 1, tool_calls = { fragment(0, "x", "f", '{"a"'), fragment(1, "y", "g", '{"b"') } },
      { index = 1, tool_calls = { fragment(1, nil, nil, ":2}"), fragment(0, nil, nil, ":1}") } },
      { index = 1, tool_calls = { { index = 2, id = "z", type = "custom", custom = { name = "h", input = "r" } } } },
      { index = 1, tool_calls = { { index = 2, custom = { input = "aw" } } } },
    }, { tool_calls = calls, finish_reason = "tool_calls" })
    known_of(stream)
    replay.same(calls, folded(stream, true).fields.tool_calls, "tool_calls")
  end)

  it("ends a call once another begins, if its arguments are whole", function()
    local writer = format.events(context_of())
    writer:chunk { index = 1, tool_calls = { fragment(0, "x", "f", '{"a":1}') } }
    local text = writer:chunk { index = 1, tool_calls = { fragment(1, "y", "g", '{"b":') } }
    assert.matches('"arguments":"{\\"a\\":1}"', text, 1, true)
    assert.matches("response.output_item.done", text, 1, true)
    assert.equal("", writer:chunk { index = 1, tool_calls = { fragment(0, nil, nil, "\n") } })
    text = writer:chunk { index = 1, tool_calls = { fragment(2, "z", "g", "{}") } }
    assert.is_nil(text:find("output_item.done", 1, true))
  end)

  it("looks once at a call whether it is whole", function()
    local context, reads = context_of(), 0
    context.codec = setmetatable({ read = function(text)
      reads = reads + 1
      return codec.read(text)
    end }, { __index = codec })
    local writer, open = format.events(context), ""
    for i = 1, 20 do
      open = open .. writer:chunk { index = 1, tool_calls = { fragment(i % 2, i < 3 and "x" .. i or nil,
        i < 3 and "f" or nil, i < 3 and '{"a":{}' or ',"b":{}') } }
    end
    assert.equal(2, reads)
    assert.is_nil(open:find("output_item.done", 1, true))
  end)

  it("waits with a call until it has a name, and gives it an id where it has none", function()
    local stream = written({ { index = 1, tool_calls = { fragment(0, nil, nil, '{"a"') } },
      { index = 1, tool_calls = { fragment(0, nil, "f", ":1}") } } },
      { tool_calls = { call(nil, "f", '{"a":1}') }, finish_reason = "tool_calls" })
    assert.same({ { type = "function_call", id = "fc_req-1_0", status = "completed", call_id = "call_req-1_0",
      name = "f", arguments = '{"a":1}' } }, known_of(stream).output)
    stream = written({ { index = 1, tool_calls = { fragment(0, "x", nil, '{"a"') } } },
      { tool_calls = { call("x", "f", '{"a":1}') }, finish_reason = "tool_calls" })
    assert.equal('{"a":1}', known_of(stream).output[1].arguments)
  end)

  it("has {} for a function without arguments", function()
    local stream = written({ { index = 1, tool_calls = { fragment(0, "x", "f", "") } } },
      { tool_calls = { call("x", "f", "") }, finish_reason = "tool_calls" })
    assert.equal("{}", known_of(stream).output[1].arguments)
    assert.equal("{}", folded(stream).fields.tool_calls[1]["function"].arguments)
  end)

  it("has what came whole, without a chunk, and refusals", function()
    local result = { text = "Ahoy", reasoning = "Hm", tool_calls = { call("x", "f", "{}") },
      finish_reason = "tool_calls" }
    local fields = folded(written({}, result), true).fields
    for name, value in pairs(result) do
      replay.same(value, fields[name], name)
    end
    local refused = { message = { role = "assistant", content = json.null, refusal = "No" }, finish_reason = "stop" }
    assert.same({ type = "refusal", refusal = "No" }, known_of(written({}, refused)).output[1].content[1])
    assert.same({ "created", "in_progress", "output_item.added", "content_part.added", "refusal.delta", "refusal.done",
      "content_part.done", "output_item.done", "completed" }, types_of(written({}, refused)))
    refused.text = "But"
    local content = known_of(written({ { index = 1, text = "But" } }, refused)).output[1].content
    assert.same({ "But", "No" }, { content[1].text, content[2].refusal })
    assert.equal("No", folded(written({}, refused)).fields.message.refusal)
  end)

  it("says what is not complete, and why", function()
    local response = known_of(written({ { index = 1, reasoning = "Hm" }, { index = 1, text = "Ah" } },
      { text = "Ah", reasoning = "Hm", finish_reason = "length" }))
    assert.same({ "incomplete", "max_output_tokens", "incomplete" }, { response.status,
      response.incomplete_details.reason, response.output[2].status })
    local stream = written({ { index = 1, tool_calls = { fragment(0, "x", "f", '{"a":') } } },
      { tool_calls = { call("x", "f", '{"a":') }, finish_reason = "length" })
    assert.equal('{"a":', known_of(stream).output[1].arguments)
    assert.same({ "length", true }, { folded(stream).fields.finish_reason, folded(stream).fields.truncated })
    assert.same({}, known_of(written({}, { finish_reason = "length" })).output[2] or {})
  end)

  it("has sources and probabilities", function()
    local logprobs = { { token = "x", logprob = -0.5, bytes = { 120 }, top_logprobs = {} } }
    local chunk = { index = 1, text = "x", raw = { choices = { { logprobs = { content = logprobs } } } } }
    local result = { text = "xx", finish_reason = "stop", message = { annotations = { { type = "url_citation",
      url_citation = { url = "https://x", title = "X", start_index = 0, end_index = 1 } } } } }
    local stream = written({ chunk, chunk }, result, { top_logprobs = 1 })
    local part = known_of(stream).output[1].content[1]
    assert.same({ { type = "url_citation", url = "https://x", title = "X", start_index = 0, end_index = 1 } },
      part.annotations)
    assert.same({ logprobs[1], logprobs[1] }, part.logprobs)
    local deltas = 0
    for _, event in ipairs(events_of(stream)) do
      if event.type == "response.output_text.delta" then
        assert.same(logprobs, event.logprobs)
        deltas = deltas + 1
      end
    end
    assert.equal(2, deltas)
    assert.same({}, known_of(written({ chunk }, result)).output[1].content[1].logprobs)
  end)

  it("has U+FFFD where a text is no UTF-8", function()
    local stream = written({ { index = 1, text = "a\255\195\169b\226\130" } }, { text = "x" })
    assert.equal("a\239\191\189\195\169b\239\191\189", known_of(stream).output[1].content[1].text)
  end)

  it("closes with what another line wants back", function()
    local items = { { type = "thinking", thinking = "Hm", signature = "c2ln" }, { type = "text", text = "Ahoy" } }
    local response = known_of(written({ { index = 1, reasoning = "Hm" }, { index = 1, text = "Ahoy" } }, {
      text = "Ahoy", reasoning = "Hm", finish_reason = "stop",
      message = { role = "assistant", content = "Ahoy", native = { provider = "anthropic", items = items } } }))
    assert.same({ "reasoning", "message", "reasoning" }, { response.output[1].type, response.output[2].type,
      response.output[3].type })
    local messages = assert(format.read({ input = response.output }, context_of())).messages
    assert.same({ { role = "assistant", content = "Ahoy", native = { provider = "anthropic", items = items } } },
      messages)
  end)

  it("closes with it also where the text came in turns, and a call came without a name", function()
    local items = { { text = "ab", thoughtSignature = "c2ln" } }
    local response = known_of(written({ { index = 1, text = "a" }, { index = 1, reasoning = "Hm" },
      { index = 1, text = "b" }, { index = 1, tool_calls = { fragment(0, "x", nil, "{}") } } }, {
      text = "ab", reasoning = "Hm", finish_reason = "stop",
      message = { role = "assistant", content = "ab", native = { provider = "gemini", items = items } } }))
    assert.equal(4, #response.output)
    assert.same({ { role = "assistant", content = "ab", native = { provider = "gemini", items = items } } },
      assert(format.read({ input = response.output }, context_of())).messages)
  end)

  it("that fails says so in both ways, and that nothing is done", function()
    local writer = format.events(context_of())
    local stream = writer:chunk { index = 1, reasoning = "Hm" } .. writer:chunk { index = 1, text = "Ah" }
      .. writer:failure { status = 502, type = "server_error", code = "upstream_truncated", message = "cut" }
    local events = events_of(stream)
    local err, failed = events[#events - 1], events[#events]
    assert.same({ type = "error", sequence_number = #events - 2, code = "upstream_truncated", message = "cut",
      param = json.null, error = { type = "server_error", code = "upstream_truncated", message = "cut",
        param = json.null } }, err)
    assert.same({ "response.failed", "failed", "upstream_truncated", "cut" }, { failed.type, failed.response.status,
      failed.response.error.code, failed.response.error.message })
    assert.same({ "incomplete", "Ah" }, { failed.response.output[2].status, failed.response.output[2].content[1].text })
    local outcome = folded(stream)
    assert.same({ "fail", "cut" }, { outcome.all[#outcome.all], outcome.verdict.message })
    assert.same({ "created", "in_progress", "error", "failed" }, types_of(format.events(context_of()):failure {
      status = 503, type = "server_error", message = "no line", param = "model" }))
  end)
end)

describe("a Responses stream of a generated answer", function()
  local random

  local function cut(text)
    local list = {}
    for i, piece in ipairs(streams.cut(text, random, 7)) do
      list[i] = piece
    end
    return list
  end

  local WORDS = { "a", "\195\169\226\130\172", "\"", "\\", "\n", " ", "{}", "data: x\n\n", "\0", "</s>", "[]" }

  local function words()
    local list = {}
    for i = 1, random(12) do
      list[i] = WORDS[random(#WORDS)]
    end
    return table.concat(list)
  end

  -- Of whole characters only: a provider's events are JSON.
  local function pieces_of(text)
    local list = {}
    for _, piece in ipairs(cut(text)) do
      local last = list[#list]
      if last and json.invalid_utf8(last) or json.invalid_utf8(piece) and last then
        list[#list] = last .. piece
      else
        list[#list + 1] = piece
      end
    end
    return list
  end

  local function arguments()
    return assert(json.encode { [words()] = words(), n = random(100) })
  end

  -- Chunks of some calls, whose fragments may be mixed.
  local function add_calls(chunks, calls)
    local queues, heads, first = {}, {}, #calls
    for i = 1, random(3) do
      local number = first + i
      local one = call("call_" .. number, "f" .. i, arguments())
      local custom = random(4) == 1
      if custom then
        one = { id = "call_" .. number, type = "custom", custom = { name = "g", input = words() } }
      end
      calls[number] = one
      local queue = {}
      heads[i] = { index = 1, tool_calls = { custom and { index = number - 1, id = one.id, type = "custom",
        custom = { name = "g", input = "" } } or fragment(number - 1, one.id, "f" .. i, "") } }
      for _, piece in ipairs(pieces_of(custom and one.custom.input or one["function"].arguments)) do
        queue[#queue + 1] = custom and { index = number - 1, custom = { input = piece } }
          or fragment(number - 1, nil, nil, piece)
      end
      queues[i] = queue
    end
    local mixed = random(2) == 1
    for i, head in ipairs(heads) do
      chunks[#chunks + 1] = head
      for _, more in ipairs(mixed and {} or queues[i]) do
        chunks[#chunks + 1] = { index = 1, tool_calls = { more } }
      end
    end
    while mixed and #queues > 0 do
      local at = random(#queues)
      chunks[#chunks + 1] = { index = 1, tool_calls = { table.remove(queues[at], 1) } }
      if #queues[at] == 0 then
        table.remove(queues, at)
      end
    end
  end

  local function generated()
    local chunks, texts, thoughts, calls, before = {}, {}, {}, {}, nil
    for _ = 1, random(5) do
      local kind = ({ "text", "reasoning", "calls" })[random(3)]
      if kind == "calls" then
        add_calls(chunks, calls)
      else
        local text = words()
        for _, piece in ipairs(pieces_of(text)) do
          chunks[#chunks + 1] = { index = 1, [kind] = piece }
        end
        if kind == "text" then
          texts[#texts + 1] = text
        elseif before == "reasoning" then
          thoughts[#thoughts] = thoughts[#thoughts] .. text
        else
          thoughts[#thoughts + 1] = text
        end
      end
      before = kind
    end
    local result = { text = #texts > 0 and table.concat(texts) or nil, tool_calls = #calls > 0 and calls or nil,
      reasoning = #thoughts > 0 and table.concat(thoughts) or nil, finish_reason = random(4) == 1 and "length"
        or #calls > 0 and "tool_calls" or "stop", model = "m",
      usage = { input_tokens = random(1000), output_tokens = random(1000), cached_input_tokens = random(9),
        reasoning_tokens = random(9), estimated = false } }
    result.usage.total_tokens = result.usage.input_tokens + result.usage.output_tokens
    -- of each item's thoughts, the reader makes a paragraph
    local expected = setmetatable({ reasoning = #thoughts > 0 and table.concat(thoughts, "\n\n") or nil },
      { __index = result })
    return chunks, result, expected
  end

  it("is put together as what it was", function()
    for seed = 1, 150 do
      random = streams.random(seed * 7919)
      local chunks, result, expected = generated()
      local stream = written(chunks, result)
      local response = known_of(stream)
      local outcome = folded(stream, seed % 15 == 0)
      assert.is_true(outcome.whole)
      for _, name in ipairs { "text", "reasoning", "tool_calls", "finish_reason", "usage", "model" } do
        replay.same({ expected[name] }, { outcome.fields[name] }, ("seed %d: %s"):format(seed, name))
      end
      -- what the caller sends back is what the model said
      local messages = assert(format.read({ input = response.output }, context_of()))
      assert.is_true(#messages.messages > 0 or not (result.text or result.tool_calls))
    end
  end)

  it("shows a reader of chunks the same", function()
    for seed = 1, 60 do
      random = streams.random(seed * 104729)
      local chunks, result, expected = generated()
      local text, thoughts = {}, {}
      for _, chunk in ipairs(folded(written(chunks, result)).chunks) do
        text[#text + 1], thoughts[#thoughts + 1] = chunk.text, chunk.reasoning
      end
      assert.equal(result.text or "", table.concat(text))
      assert.equal(expected.reasoning or "", table.concat(thoughts))
    end
  end)
end)

describe("a Responses stream of another provider's stream", function()
  -- Recorded streams with an answer in them; of several choices the first counts.
  local recorded = {
    anthropic = { "text", "thinking", "tools", "server_tool", "stop_sequence", "cut_input", "refusal", "compaction" },
    gemini = { "text", "thinking", "thinking_call", "call", "code_execution", "signed_text" },
    openai = { "text", "two_tools", "deepseek_reasoning", "deepseek_tools", "groq_tools", "mistral_tools", "refusal",
      "length", "logprobs", "azure", "mistral_reasoning", "xai_tools", "groq_reasoning", "anthropic_compatible" },
    responses = { "text", "function", "custom_tool", "reasoning", "lmstudio", "web_search", "rotating_ids" },
  }

  local function said_by(told)
    local body = told["function"]
    if not body then
      return told
    end
    return { told.id, body.name, body.arguments:find "%S" and (json.decode(body.arguments) or body.arguments) or {} }
  end

  for provider, names in pairs(recorded) do
    for _, name in ipairs(names) do
      it("says the same: " .. provider .. "/" .. name, function()
        local folder = formats[provider].operations.chat.stream(codec, {})
        local outcome = replay.feed(folder, { replay.fixture(provider .. "/" .. name) })
        local result = outcome.fields
        local stream = written(outcome.chunks, result, { include = { "message.output_text.logprobs" } })
        local response, fields = known_of(stream), folded(stream).fields
        for _, field in ipairs { "text", "finish_reason" } do
          assert.equal(result[field] or "", fields[field] or "")
        end
        local usage = result.usage
        if usage then
          usage.cached_input_tokens, usage.reasoning_tokens = usage.cached_input_tokens or 0,
            usage.reasoning_tokens or 0
          usage.cache_write_tokens, usage.cache_write_hour_tokens = nil, nil -- this API has no place for them
        end
        replay.same(usage, fields.usage, "usage")
        assert.equal(result.message.refusal or json.null, fields.message and fields.message.refusal or json.null)
        for i, told in ipairs(result.tool_calls or {}) do
          replay.same(said_by(told), said_by(fields.tool_calls[i]), "call " .. i)
        end
        assert.equal(#(result.tool_calls or {}), #(fields.tool_calls or {}))
        local whole = json.decode(json.encode(format.whole(result, context_of())))
        assert.same({ whole.status, whole.incomplete_details }, { response.status, response.incomplete_details })
      end)
    end
  end

  it("keeps what the provider wants back for the caller's next request", function()
    for _, name in ipairs { "anthropic/thinking", "anthropic/server_tool", "gemini/thinking_call", "gemini/signed_text",
      "responses/reasoning", "responses/web_search" } do
      local provider = name:match "^%a+"
      local outcome = replay.feed(formats[provider].operations.chat.stream(codec, {}), { replay.fixture(name) })
      local response = known_of(written(outcome.chunks, outcome.fields))
      local messages = assert(format.read({ input = response.output }, context_of())).messages
      replay.same(outcome.fields.message.native, messages[1].native, name)
    end
  end)
end)
