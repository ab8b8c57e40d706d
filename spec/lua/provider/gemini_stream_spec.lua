-- Streams of Gemini's: after recorded ones (the first line of a fixture says which), and odd ones.
local gemini = require "surefoot.provider.gemini"
local json = require "surefoot.json"
local replay = require "spec.support.replay"

local codec = json.new()
local chat = gemini.operations.chat

local function decoded(document, request)
  local fields = assert(chat.decode({ status = 200, headers = "", body = (codec.encode(document)) }, codec, request))
  fields.body, fields._body = fields.body or json.finish(fields._body), nil
  return fields
end

local function feed_all(stream, request)
  return replay.every_way(function()
    return chat.stream(codec, request)
  end, stream)
end

-- An outcome whose fields are those of the same answer in one piece.
local function checked(outcome, request)
  if outcome.whole then
    replay.same(decoded(outcome.fields.body, request), outcome.fields, "fields")
  end
  return outcome
end

local function recorded(name, request)
  return checked(feed_all(replay.fixture("gemini/" .. name), request), request)
end

local function frames(list, request)
  for i, item in ipairs(list) do
    list[i] = type(item) == "table" and codec.encode(item) or item
  end
  return checked(feed_all(replay.frames(list), request), request)
end

local function shown(outcome, key, index)
  local pieces = {}
  for _, chunk in ipairs(outcome.chunks) do
    if not index or chunk.index == index then
      pieces[#pieces + 1] = chunk[key]
    end
  end
  return type(pieces[1]) == "string" and table.concat(pieces) or pieces
end

local function calls_of(outcome)
  local list = {}
  for _, chunk in ipairs(outcome.chunks) do
    for _, call in ipairs(chunk.tool_calls or {}) do
      list[#list + 1] = call
    end
  end
  return list
end

-- An event of one candidate.
local function said(parts, reason, more)
  local event = { candidates = { { content = parts and { role = "model", parts = parts }, finishReason = reason } } }
  for key, value in pairs(more or {}) do
    event[key] = value
  end
  return event
end

local function text(words, reason, more)
  return said({ { text = words } }, reason, more)
end

describe("a Gemini stream, as recorded,", function()
  it("of text", function()
    local outcome = recorded "text"
    assert.equal("commit finish", outcome.actions)
    assert.equal("The capital of Norway is **Oslo**.\n", shown(outcome, "text"))
    local fields = outcome.fields
    assert.same({ shown(outcome, "text"), "stop", "gemini-2.0-flash" },
      { fields.text, fields.finish_reason, fields.model })
    assert.is_true(outcome.whole)
    assert.same({ { text = fields.text } }, fields.message.native.items)
    local last = outcome.chunks[3]
    assert.same({ input_tokens = 7, output_tokens = 10, total_tokens = 17, estimated = false }, last.usage)
    assert.same(last.usage, fields.usage)
    assert.same({ 1, "stop" }, { last.index, last.finish_reason })
    assert.equal("7", tostring(last.raw.usageMetadata.promptTokenCount))
    assert.is_nil(outcome.chunks[1].finish_reason)
  end)

  it("of thoughts and text: each is one part", function()
    local outcome = recorded "thinking"
    assert.equal("commit finish", outcome.actions)
    assert.equal("**Looking at snow**", outcome.chunks[1].reasoning:match "^(.-)\n")
    assert.is_nil(outcome.chunks[1].text)
    assert.equal(shown(outcome, "reasoning"), outcome.fields.reasoning)
    assert.equal(shown(outcome, "text"), outcome.fields.text)
    assert.same({ { text = outcome.fields.reasoning, thought = true }, { text = outcome.fields.text } },
      outcome.fields.message.native.items)
    assert.same({ input_tokens = 10, output_tokens = 588, total_tokens = 598, reasoning_tokens = 540,
      estimated = false }, outcome.fields.usage)
  end)

  it("of thoughts and a call: the signature stays with its part", function()
    local outcome = recorded "thinking_call"
    assert.equal("commit finish", outcome.actions)
    local id = "call_48SnOw-YPtZ_aAk_1"
    assert.same({ { id = id, type = "function", index = 0, ["function"] = { name = "now", arguments = "{}" } } },
      calls_of(outcome))
    assert.same({ { id = id, type = "function", ["function"] = { name = "now", arguments = "{}" } } },
      outcome.fields.tool_calls)
    assert.same({ "tool_calls", "tool_calls" }, { outcome.fields.finish_reason, outcome.chunks[3].finish_reason })
    assert.is_nil(outcome.fields.text)
    local items = outcome.fields.message.native.items
    assert.equal(2, #items)
    assert.is_true(items[1].thought)
    assert.equal("CiIBc2lnbmF0dXJlIG9mIG91cnM+/w==", items[2].thoughtSignature)
  end)

  it("of a call alone, whole in its only event", function()
    local outcome = recorded "call"
    assert.same({ "finish", '{"denominator":2,"numerator":10}' },
      { outcome.actions, calls_of(outcome)[1]["function"].arguments })
    assert.equal("tool_calls", outcome.fields.finish_reason)
  end)

  it("of a signed text", function()
    local outcome = recorded "signed_text"
    assert.equal("The result is 2.", outcome.fields.text)
    assert.same({ { text = "The result is 2.", thoughtSignature = "CiIBc2lnbmF0dXJlIG9mIG91cnM+/w==" } },
      outcome.fields.message.native.items)
  end)

  it("of code, its outcome and text", function()
    local outcome = recorded "code_execution"
    assert.equal(shown(outcome, "text"), outcome.fields.text)
    local kinds = {}
    for i, item in ipairs(outcome.fields.message.native.items) do
      kinds[i] = item.executableCode and "code" or item.codeExecutionResult and "result" or "text"
    end
    assert.equal("text code result text", table.concat(kinds, " "))
    assert.equal(21 + 243, outcome.fields.usage.input_tokens)
  end)

  it("of a picture, with an event between that says nothing", function()
    local outcome = recorded "image"
    assert.equal("commit hold finish", outcome.actions)
    local last = outcome.chunks[#outcome.chunks]
    assert.is_nil(last.text)
    assert.equal("image/png", last.raw.candidates[1].content.parts[1].inlineData.mimeType)
    assert.equal("Here is a drawn fox. ", outcome.fields.text)
    assert.equal(2, #outcome.fields.message.native.items)
  end)

  it("whose last event has no parts, or an empty text", function()
    local outcome = recorded "no_parts"
    assert.equal("commit finish", outcome.actions)
    assert.equal("stop", outcome.fields.finish_reason)
    outcome = recorded "empty_text"
    assert.equal("commit finish", outcome.actions)
    assert.same({ "1", "stop" }, { outcome.fields.text, outcome.fields.finish_reason })
    assert.same({ { text = "1" } }, outcome.fields.message.native.items)
  end)

  it("with grounding: empty at first, full at last", function()
    local outcome = recorded "url_context"
    local candidate = outcome.fields.body.candidates[1]
    local grounding = candidate.groundingMetadata
    assert.same({ 1, 2 }, { #grounding.groundingChunks, #grounding.groundingSupports })
    assert.equal("https://example.com", candidate.urlContextMetadata.urlMetadata[1].retrievedUrl)
    assert.equal(438 + 619, outcome.fields.usage.input_tokens)
  end)

  it("that ends as recitation: the sources of all events, the filter as the reason", function()
    local outcome = recorded "recitation"
    assert.equal("commit finish", outcome.actions)
    assert.equal("one two three", outcome.fields.text)
    assert.equal("content_filter", outcome.fields.finish_reason)
    assert.equal(4, #outcome.fields.body.candidates[1].citationMetadata.citationSources)
    assert.is_true(outcome.whole)
  end)

  it("of a blocked prompt fails for good", function()
    local outcome = recorded "blocked"
    assert.equal("fail", outcome.actions)
    assert.same({ "final", "content_filter", "SAFETY" },
      { outcome.verdict.class, outcome.verdict.kind, outcome.verdict.code })
    assert.equal("SAFETY", outcome.verdict.body.promptFeedback.blockReason)
  end)

  it("of a model that says STOP with every event is read to its end", function()
    local outcome = recorded "stop_everywhere"
    assert.equal("finish", outcome.actions)
    assert.equal(shown(outcome, "text"), outcome.fields.text)
    assert.equal("Blåbær på fjellet,\nein klår søndag.\n雪が白い 🌨\n", outcome.fields.text)
    assert.is_true(outcome.whole)
    assert.equal("stop", outcome.fields.finish_reason)
  end)

  it("with a tool that the server runs: it never says that it will end, and the call is not the caller's", function()
    local request = { tools = { { mcpServers = { { name = "weather_server" } } } } }
    local outcome = recorded("server_tool", request)
    assert.equal("commit hold commit", outcome.actions)
    assert.is_nil(outcome.fields.tool_calls)
    assert.equal("stop", outcome.fields.finish_reason)
    assert.equal("On February 2nd it will be -13°C in Oslo.", outcome.fields.text)
    assert.equal(3, #outcome.fields.message.native.items)
    assert.is_true(outcome.whole)
    assert.same({ input_tokens = 146, output_tokens = 674, total_tokens = 820, reasoning_tokens = 573,
      estimated = false }, outcome.fields.usage)
  end)

  it("with such a tool is not whole before its text is", function()
    local stream = replay.fixture "gemini/server_tool"
    local cut = stream:find "data: [^\n]*in Oslo[^\n]*\n\n$"
    local outcome = replay.feed(chat.stream(codec, { tools = { { mcpServers = {} } } }), { stream:sub(1, cut - 1) })
    assert.is_false(outcome.whole)
    assert.is_nil(outcome.fields.finish_reason)
    assert.equal("On February 2nd it will be", outcome.fields.text)
  end)

  it("cut before its end is not whole", function()
    for _, name in ipairs { "text", "thinking", "thinking_call", "code_execution", "recitation", "no_parts" } do
      local stream = replay.fixture("gemini/" .. name)
      local last = 1
      for at in stream:gmatch "()data: " do
        last = at
      end
      local outcome = replay.feed(chat.stream(codec), { stream:sub(1, last - 1) })
      assert.is_false(outcome.whole, name)
      assert.is_nil(outcome.fields.finish_reason)
    end
  end)
end)

describe("a Gemini stream", function()
  it("holds what says nothing", function()
    local outcome = frames { "{}", "", " \t", "[DONE]", { usageMetadata = { promptTokenCount = 3 } },
      { promptFeedback = { safetyRatings = json.array {} } }, { candidates = json.array {} },
      { candidates = json.null }, { candidates = { { index = 0 } } },
      { candidates = { { content = { role = "model" } } } },
      { candidates = { { content = { parts = json.array {} } } } }, text "", said { json.object {} }, { this = "odd" } }
    assert.equal("hold", outcome.actions)
    assert.same({}, outcome.chunks)
    assert.is_false(outcome.whole)
  end)

  it("without anything is not whole, and has no message", function()
    local outcome = replay.feed(chat.stream(codec), { ": nothing\n\n" })
    assert.is_false(outcome.whole)
    assert.is_nil(outcome.fields.message)
    assert.is_nil(outcome.fields.text)
    assert.same({ candidates = {} }, outcome.fields.body)
  end)

  it("tells of tokens that come after the end", function()
    local outcome = frames { text("a", "STOP"), { usageMetadata = { promptTokenCount = 1, candidatesTokenCount = 2,
      totalTokenCount = 3 } } }
    assert.equal("finish", outcome.actions)
    assert.equal(2, #outcome.chunks)
    assert.same({ input_tokens = 1, output_tokens = 2, total_tokens = 3, estimated = false }, outcome.chunks[2].usage)
    assert.equal(3, outcome.fields.usage.total_tokens)
  end)

  it("takes the last counts for all", function()
    local outcome = frames { text("a", nil, { usageMetadata = { promptTokenCount = 5, totalTokenCount = 5 } }),
      text("b", nil, { usageMetadata = { promptTokenCount = 5, candidatesTokenCount = 1, totalTokenCount = 6 } }),
      text("c", "STOP", { usageMetadata = { promptTokenCount = 5, candidatesTokenCount = 3, totalTokenCount = 8 } }) }
    assert.same({ 5, 6, 8 }, { outcome.chunks[1].usage.total_tokens, outcome.chunks[2].usage.total_tokens,
      outcome.fields.usage.total_tokens })
  end)

  it("may spend everything on thoughts", function()
    local outcome = frames { said({ { text = "Hm", thought = true } }), said(nil, "MAX_TOKENS") }
    assert.equal("commit finish", outcome.actions)
    assert.same({ "", "length", true, "Hm" }, { outcome.fields.text, outcome.fields.finish_reason,
      outcome.fields.truncated, outcome.fields.reasoning })
    outcome = frames { said(nil, "MAX_TOKENS") }
    assert.same({ "finish", "length", "" }, { outcome.actions, outcome.chunks[1].finish_reason, outcome.fields.text })
  end)

  it("merges texts only where nothing is lost", function()
    local outcome = frames { text "a", text "b", said { { text = "c", thoughtSignature = "s1" } },
      said { { text = "", thoughtSignature = "s2" } }, text "d", said { { text = "e", thought = true } },
      said { { text = "f", thought = true }, { text = "g" } }, said { { text = "h", partMetadata = { x = 1 } } },
      said({ { text = "i" }, { text = "j" } }, "STOP") }
    assert.same({ { text = "ab" }, { text = "c", thoughtSignature = "s1" }, { text = "", thoughtSignature = "s2" },
      { text = "d" }, { text = "ef", thought = true }, { text = "g" }, { text = "h", partMetadata = { x = 1 } },
      { text = "ij" } }, outcome.fields.message.native.items)
    assert.equal("abcdghij", outcome.fields.text)
    assert.equal("ef", outcome.fields.reasoning)
  end)

  it("holds a signature that comes alone, and keeps it", function()
    local outcome = frames { text "a", said { { text = "", thoughtSignature = "s" } },
      said { { thoughtSignature = "t" } }, said(nil, "STOP") }
    assert.equal("commit hold finish", outcome.actions)
    assert.same({ { text = "a" }, { text = "", thoughtSignature = "s" }, { thoughtSignature = "t" } },
      outcome.fields.message.native.items)
  end)

  it("numbers calls over all events, with the ids that a whole answer has", function()
    local outcome = frames { said({ { functionCall = { name = "f", args = { n = 1 } } } }, nil, { responseId = "r" }),
      text("So:", nil, { responseId = "r" }), said({ { functionCall = { id = "own", name = "g" } },
        { functionCall = { name = "f", args = { list = json.array {} } } } }, "STOP", { responseId = "r" }) }
    local calls = calls_of(outcome)
    assert.same({ 0, 1, 2 }, { calls[1].index, calls[2].index, calls[3].index })
    assert.same({ "call_r_1", "own", "call_r_3" }, { calls[1].id, calls[2].id, calls[3].id })
    assert.equal('{"list":[]}', calls[3]["function"].arguments)
    for i, call in ipairs(outcome.fields.tool_calls) do
      assert.same({ calls[i].id, calls[i]["function"] }, { call.id, call["function"] })
    end
    assert.equal("tool_calls", outcome.fields.finish_reason)
  end)

  it("keeps the ids it has shown, though the answer's own comes later", function()
    local folder = chat.stream(codec)
    local _, chunk = folder:event(nil, codec.encode(said { { functionCall = { name = "f" } } }))
    folder:event(nil, codec.encode(said({ { functionCall = { name = "g" } } }, "STOP", { responseId = "late" })))
    local fields = folder:fields()
    assert.same({ "call_1", "call_1", "call_2", "late" },
      { chunk.tool_calls[1].id, fields.tool_calls[1].id, fields.tool_calls[2].id, fields.id })
  end)

  it("takes an end back when more comes", function()
    local folder = chat.stream(codec)
    assert.equal("finish", (folder:event(nil, codec.encode(text("a", "STOP")))))
    assert.is_true(folder:whole())
    assert.equal("finish", (folder:event(nil, codec.encode(said(nil, "STOP")))))
    assert.equal("hold", (folder:event(nil, codec.encode { candidates = { { groundingMetadata = { x = 1 } } } })))
    assert.is_true(folder:whole())
    assert.equal("commit", (folder:event(nil, codec.encode(text "b"))))
    assert.is_false(folder:whole())
    assert.is_nil(folder:fields().finish_reason)
    assert.equal("finish", (folder:event(nil, codec.encode(said(nil, "MAX_TOKENS")))))
    assert.is_true(folder:whole())
    assert.same({ "ab", "length" }, { folder:fields().text, folder:fields().finish_reason })
  end)

  it("of several candidates finishes when all have", function()
    local function event(index, words, reason)
      return { index = index, finishReason = reason, content = { role = "model", parts = { { text = words } } } }
    end
    local outcome = frames({ { candidates = { event(0, "a"), event(1, "x") } },
      { candidates = { event(1, "y", "STOP") } }, { candidates = { event(0, "b", "MAX_TOKENS") } } }, { n = 2 })
    assert.equal("commit finish", outcome.actions)
    assert.same({ "ab", "xy" }, { shown(outcome, "text", 1), shown(outcome, "text", 2) })
    assert.same({ "ab", "length" }, { outcome.fields.text, outcome.fields.finish_reason })
    assert.equal(2, #outcome.fields.body.candidates)
    assert.equal("xy", outcome.fields.body.candidates[2].content.parts[1].text)
    outcome = frames({ { candidates = { event(0, "a", "STOP") } } }, { generationConfig = { candidateCount = 2 } })
    assert.equal("commit", outcome.actions) -- the other may yet begin
    assert.is_true(outcome.whole)           -- or have been filtered
  end)

  it("lets lists of sources go on, and those of logprobs", function()
    local one, two = { uri = "a" }, { uri = "b" }
    local token = { token = "x" }
    local function event(words, sources, reason)
      return { candidates = { { content = { parts = { { text = words } } }, finishReason = reason,
        citationMetadata = { citationSources = sources }, logprobsResult = { chosenCandidates = { token } },
        groundingMetadata = { webSearchQueries = { "q" }, groundingChunks = { {}, {} },
          searchEntryPoint = { x = words } }, safetyRatings = { { category = words } }, avgLogprobs = -1.5 } } }
    end
    local outcome = frames { event("a", { one }), event("b", { one, two }), event("c", json.array {}, "STOP"),
      { candidates = { { safetyRatings = json.array {}, groundingMetadata = json.object {} } } } }
    local candidate = outcome.fields.body.candidates[1]
    assert.same({ one, two }, candidate.citationMetadata.citationSources)
    assert.same({ token, token, token }, candidate.logprobsResult.chosenCandidates)
    assert.same({ webSearchQueries = { "q" }, groundingChunks = { {}, {} }, searchEntryPoint = { x = "c" } },
      candidate.groundingMetadata)
    assert.same({ { category = "c" } }, candidate.safetyRatings)
    assert.equal(-1.5, candidate.avgLogprobs)
    assert.same({ token }, outcome.chunks[1].raw.candidates[1].logprobsResult.chosenCandidates)
  end)

  it("keeps fields it does not know", function()
    local outcome = frames { text("a", nil, { turnToken = "t", responseId = "r", modelVersion = "m" }),
      text("b", "STOP", { turnToken = "u", responseId = "other", modelVersion = "m2", later = { 1 } }) }
    assert.same({ "u", "r", "m" }, { outcome.fields.body.turnToken, outcome.fields.body.responseId,
      outcome.fields.model })
    assert.same({ 1 }, outcome.fields.body.later)
  end)

  it("is parsed where JSON was asked for", function()
    local outcome = frames({ text '{"n":', text("1}", "STOP") }, { response_format = { type = "json_object" } })
    assert.same({ n = 1 }, outcome.fields.parsed)
  end)

  it("can be looked at between its events", function()
    local folder, event = chat.stream(codec), codec.encode(text "x")
    for _ = 1, 5000 do
      folder:event(nil, event)
    end
    assert.equal(5000, #folder:fields().text)
    folder:event(nil, codec.encode(text("y", "STOP")))
    assert.equal(5001, #folder:fields().text)
    assert.equal(1, #folder:fields().message.native.items)
  end)

  it("can be read by a codec of the user's", function()
    local folder = chat.stream(json.custom { decode = json.decode })
    local action, chunk = folder:event(nil, codec.encode(text("a", "STOP")))
    assert.same({ "finish", "a", "STOP" }, { action, chunk.text, chunk.raw.candidates[1].finishReason })
    assert.equal("a", folder:fields().text)
  end)
end)

describe("a Gemini stream fails", function()
  local function failed(list)
    local outcome = frames(list)
    assert.is_truthy(outcome.actions:find "fail$", outcome.actions)
    return outcome.verdict, outcome.actions
  end

  it("at an error in an event, of any form", function()
    local overloaded = { error = { code = 503, status = "UNAVAILABLE", message = "The model is overloaded." } }
    for _, event in ipairs { overloaded, { overloaded } } do
      local verdict = failed { event }
      assert.same({ "overloaded", "overloaded", "UNAVAILABLE", "The model is overloaded." },
        { verdict.class, verdict.kind, verdict.code, verdict.message })
    end
    assert.equal("503", tostring(failed({ overloaded }).body.error.code))
    local verdict, actions = failed { text "a", { error = { code = 429, status = "RESOURCE_EXHAUSTED", message = "x",
      details = { { retryDelay = "7s" } } } } }
    assert.same({ "throttled", "rate_limited", 7 }, { verdict.class, verdict.kind, verdict.wait })
    assert.equal("commit fail", actions)
    verdict = failed { { error = { code = 499, status = "CANCELLED", message = "The operation was cancelled." } } }
    assert.same({ "transient", "server" }, { verdict.class, verdict.kind })
    verdict = failed { { error = { code = 504, status = "DEADLINE_EXCEEDED", message = "Deadline expired." } } }
    assert.same({ "transient", "server" }, { verdict.class, verdict.kind })
  end)

  it("at what is no JSON object", function()
    for event, problem in pairs { ['{"candidates":['] = "no JSON object", ["oops"] = "no JSON object",
      ["<html>"] = "HTML or XML", ["[1]"] = "no JSON object", ["7"] = "no JSON object", ["null"] = "no JSON object" } do
      local verdict = failed { text "a", event }
      assert.same({ "transient", "malformed" }, { verdict.class, verdict.kind })
      assert.is_truthy(verdict.message:find(problem, 1, true), verdict.message)
    end
  end)

  it("where the model did, before anything was shown and after thoughts", function()
    local verdict, actions = failed { said(nil, "MALFORMED_FUNCTION_CALL") }
    assert.same({ "again", "malformed", "MALFORMED_FUNCTION_CALL", "fail" },
      { verdict.class, verdict.kind, verdict.code, actions })
    verdict = failed { said { { text = "Hm", thought = true } }, { candidates = { { finishReason = "OTHER",
      finishMessage = "No luck." } } } }
    assert.same({ "again", "OTHER", "No luck." }, { verdict.class, verdict.code, verdict.message })
    assert.equal("OTHER", verdict.body.candidates[1].finishReason)
    local outcome = frames { text "Calling", said(nil, "MALFORMED_FUNCTION_CALL") }
    assert.same({ "commit finish", "malformed_function_call", "Calling" },
      { outcome.actions, outcome.fields.finish_reason, outcome.fields.text })
  end)

  it("and keeps what had come", function()
    local folder = chat.stream(codec)
    folder:event(nil, codec.encode(text "Half"))
    assert.equal("fail", (folder:event(nil, '{"error":{"code":500,"message":"x","status":"INTERNAL"}}')))
    assert.is_false(folder:whole())
    assert.same({ "Half", "Half" }, { folder:fields().text, folder:fields().message.content })
    folder = chat.stream(codec)
    folder:event(nil, codec.encode(said { { text = "Hm", thought = true } }))
    assert.equal("fail", (folder:event(nil, codec.encode(said(nil, "MALFORMED_FUNCTION_CALL")))))
    assert.equal("Hm", folder:fields().reasoning)
  end)

  it("in its framing where the API breaks that: the answer is not whole", function()
    -- The error comes as lines without `data:`, which an event stream passes over; models then said STOP always.
    local outcome = recorded "error_between"
    assert.equal("finish", outcome.actions)
    local broken = replay.frames { codec.encode(text "First ") }
      .. '{\n  "error": {\n    "code": 500,\n    "message": "x"\n  }\n}\n\n'
    assert.is_false(feed_all(broken).whole)
  end)

  it("at arguments that cannot be written", function()
    local own = json.custom { encode = function()
      return nil, "no"
    end }
    local folder = chat.stream(own)
    local event = codec.encode(said { { functionCall = { name = "f", args = { n = 1 } } } })
    local action, verdict = folder:event(nil, event)
    assert.same({ "fail", "final", "malformed", "the arguments of the call of f cannot be written: no" },
      { action, verdict.class, verdict.kind, verdict.message })
    local _, whole = chat.decode({ status = 200, headers = "", body = event }, own)
    assert.equal(verdict.message, whole.message)
  end)
end)
