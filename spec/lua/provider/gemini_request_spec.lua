-- Requests in OpenAI's shape, as Gemini is asked.
local gemini = require "surefoot.provider.gemini"
local json = require "surefoot.json"
local replay = require "spec.support.replay"

local codec = json.new()
local chat = gemini.operations.chat

local function encoded(request, model, changes, streams)
  local before = replay.deep(request)
  local method, path, headers, body = chat.encode(request, { model = model or "gemini-3.7-flash", traits = {} },
    codec, changes, streams)
  replay.same(before, request, "request")
  return method, path, headers, body
end

-- What is sent for a request; nil and the problem. The request stays as it was.
local function sent(request, model, changes)
  local method, path, _, body = encoded(request, model, changes)
  if not method then
    return nil, path
  end
  return json.decode(body)
end

local function problem_of(request, model)
  local body, problem = sent(request, model)
  assert.is_nil(body)
  return problem
end

local function user(content)
  return { role = "user", content = content }
end

local function with(fields)
  fields.messages = { user "Hi" }
  return assert(sent(fields))
end

local function turns(messages)
  return assert(sent { messages = messages }).contents
end

local function parts(content)
  return turns({ user(content) })[1].parts
end

local function call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

local function recorded(name)
  local file = assert(io.open("spec/lua/provider/fixtures/gemini/" .. name .. ".json", "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- The message of an answer.
local function message_of(document)
  local body = type(document) == "string" and document or json.encode(document)
  return assert(chat.decode({ status = 200, headers = "", body = body }, codec)).message
end

local function answer(parts_of_it)
  return { candidates = { { content = { role = "model", parts = parts_of_it }, finishReason = "STOP" } },
    responseId = "r1" }
end

describe("a Gemini request", function()
  it("has the key in a header, never in the path", function()
    assert.equal("x-goog-api-key: k", gemini.auth "k")
  end)

  it("goes to the model's path, whole or streamed", function()
    local request = { messages = { user "Hi" }, stream = true, stream_options = { include_usage = true } }
    local method, path, headers, body = encoded(request)
    assert.same({ "POST", "/models/gemini-3.7-flash:generateContent",
      "accept: application/json\ncontent-type: application/json\n" }, { method, path, headers })
    assert.equal('{"contents":[{"parts":[{"text":"Hi"}],"role":"user"}]}', json.encode(json.decode(body)))
    method, path, headers = encoded(request, nil, nil, true)
    assert.same({ "POST", "/models/gemini-3.7-flash:streamGenerateContent?alt=sse",
      "accept: text/event-stream\ncontent-type: application/json\n" }, { method, path, headers })
  end)

  it("writes models' names as parts of a path", function()
    local names = {
      ["models/gemini-2.5-flash"] = "/models/gemini-2.5-flash:generateContent",
      ["tunedModels/mine-1"] = "/tunedModels/mine-1:generateContent",
      ["a b/c?d"] = "/models/a%20b%2Fc%3Fd:generateContent",
      ["models/x#\195\164"] = "/models/x%23%C3%A4:generateContent",
    }
    for name, path in pairs(names) do
      assert.equal(path, (select(2, encoded({ messages = { user "Hi" } }, name))))
    end
    local _, path = chat.encode({ messages = { user "Hi" }, model = "own" }, { traits = {} }, codec)
    assert.equal("/models/own:generateContent", path)
    assert.same({ nil, "model: missing; Gemini has it in the path" },
      { chat.encode({ messages = { user "Hi" } }, { traits = {} }, codec) })
  end)

  it("takes what a route changes", function()
    local body = sent({ messages = { user "Hi" }, temperature = 1 }, nil, { temperature = 0, max_tokens = 5 })
    assert.same({ temperature = 0, maxOutputTokens = 5 }, body.generationConfig)
  end)

  it("passes Gemini's own shape as it is", function()
    local own = { contents = { { parts = { { text = "Hi" } } } }, generationConfig = { topK = 1 }, model = "x",
      cachedContent = "cachedContents/1", messages = "not looked at" }
    assert.same({ contents = own.contents, generationConfig = own.generationConfig, messages = "not looked at",
      cachedContent = "cachedContents/1" }, sent(own))
  end)

  it("passes unknown fields untouched, and leaves out what has no counterpart", function()
    local body = with { safetySettings = { { category = "X", threshold = "OFF" } }, cachedContent = "cachedContents/1",
      unknown = { deep = json.null }, labels = json.array {}, store = false, user = "u", metadata = { a = "b" },
      parallel_tool_calls = false, logit_bias = { ["1"] = 2 }, prompt_cache_key = "k", safety_identifier = "s" }
    assert.same({ contents = { { role = "user", parts = { { text = "Hi" } } } }, unknown = { deep = json.null },
      safetySettings = { { category = "X", threshold = "OFF" } }, cachedContent = "cachedContents/1",
      labels = json.array {}, store = false }, body)
  end)

  it("writes schemas in one order, so that a prompt cache meets the same bytes", function()
    local _, _, _, body = encoded({ messages = { user "Hi" }, tools = { { type = "function",
      ["function"] = { name = "f", parameters = { type = "object", properties = { b = {}, a = {} } } } } } })
    assert.equal('{"contents":[{"parts":[{"text":"Hi"}],"role":"user"}],"tools":[{"functionDeclarations":[{"name":"f",'
      .. '"parametersJsonSchema":{"properties":{"a":{},"b":{}},"type":"object"}}]}]}', body)
  end)

  it("says which field cannot be written", function()
    assert.equal("contents[1].parts[1].text: invalid UTF-8 at byte 1 of 1 (0xFF)",
      problem_of { messages = { user "\255" } })
  end)
end)

describe("messages for Gemini", function()
  it("are turns of user and model; system and developer go apart", function()
    local body = sent { messages = { { role = "system", content = "Be brief." }, user "Hi",
      { role = "assistant", content = "Ho" },
      { role = "developer", content = { { type = "text", text = "And kind." } } }, user "Bye" } }
    assert.same({
      systemInstruction = { parts = { { text = "Be brief." }, { text = "And kind." } } },
      contents = { { role = "user", parts = { { text = "Hi" } } }, { role = "model", parts = { { text = "Ho" } } },
        { role = "user", parts = { { text = "Bye" } } } },
    }, body)
  end)

  it("keep an instruction in Gemini's words, but not beside system messages", function()
    local own = { parts = { { text = "x" } } }
    assert.same(own, with({ systemInstruction = own }).systemInstruction)
    assert.equal("systemInstruction: stands beside system messages; give one of them",
      problem_of { messages = { { role = "system", content = "y" } }, systemInstruction = own })
  end)

  it("that say nothing are turns all the same", function() -- the API takes an empty text (js-genai, recorded)
    assert.same({ { role = "user", parts = { { text = "" } } }, { role = "model", parts = { { text = "" } } },
      { role = "model", parts = { { text = "" } } } },
      turns { user "", { role = "assistant", content = json.null }, { role = "assistant" } })
    assert.equal('{"contents":[]}', (select(4, encoded({ messages = {} }))))
  end)

  it("have texts, and images, sounds, videos and files by address or in place", function()
    assert.same({ { text = "a" }, { text = "b" } }, parts { { type = "text", text = "a" }, "b" })
    assert.same({
      { inlineData = { mimeType = "image/png", data = "iVBO=" } },
      { inlineData = { mimeType = "image/jpeg", data = "AA" } },
      { fileData = { fileUri = "https://example.com/a/cat.JPG?x=1.gif", mimeType = "image/jpeg" } },
      { fileData = { fileUri = "gs://bucket/cat", mimeType = nil } },
      { fileData = { fileUri = "gs://bucket/talk.mp4", mimeType = "video/mp4" } },
      { inlineData = { mimeType = "audio/wav", data = "UklG" } },
      { inlineData = { mimeType = "application/pdf", data = "JVBE" } },
      { fileData = { fileUri = "https://generativelanguage.googleapis.com/v1beta/files/abc" } },
      { fileData = { fileUri = "https://example.com/b.pdf", mimeType = "application/pdf" } },
      { fileData = { fileUri = "https://example.com/b", mimeType = "text/plain" } },
    }, parts {
      { type = "image_url", image_url = { url = "data:image/png;base64,iVBO=", detail = "low" } },
      { type = "image_url", image_url = "DATA:image/jpeg;charset=x;BASE64,AA" },
      { type = "image_url", image_url = { url = "https://example.com/a/cat.JPG?x=1.gif" } },
      { type = "image_url", image_url = { url = "gs://bucket/cat" } },
      { type = "video_url", video_url = { url = "gs://bucket/talk.mp4" } },
      { type = "input_audio", input_audio = { data = "UklG", format = "wav" } },
      { type = "file", file = { filename = "a.pdf", file_data = "data:application/pdf;base64,JVBE" } },
      { type = "file", file = { file_id = "https://generativelanguage.googleapis.com/v1beta/files/abc" } },
      { type = "file", file = { file_url = "https://example.com/b.pdf" } },
      { type = "file", file = { file_url = "https://example.com/b", filename = "b.txt" } },
    })
  end)

  it("may have parts in Gemini's own shape", function()
    local own = { { inlineData = { mimeType = "image/png", data = "x" }, mediaResolution = { level = "LOW" } },
      { text = "y" } }
    assert.same(own, parts(own))
  end)

  local bad = {
    { { role = "robot", content = "x" }, 'messages[1].role: Gemini has no counterpart for "robot"' },
    { { content = "x" }, "messages[1].role: Gemini has no counterpart for nil" },
    { "x", "messages[1]: a table expected, got string" },
    { user { { type = "hologram" } }, 'messages[1].content[1].type: Gemini has no counterpart for "hologram"' },
    { user { text = "x" }, "messages[1].content: a text or a list of parts expected" },
    { user(7), "messages[1].content: a text or a list of parts expected" },
    { user { 7 }, "messages[1].content[1]: a table expected, got number" },
    { user { { type = "text" } }, "messages[1].content[1].text: a text expected, got nil" },
    { user { { type = "image_url" } }, "messages[1].content[1].image_url.url: a URL expected, got nil" },
    { user { { type = "image_url", image_url = { url = "data:image/png,x" } } },
      "messages[1].content[1].image_url.url: a data URL needs a media type and base64: data:image/png;base64,..." },
    { user { { type = "image_url", image_url = { url = "data:;base64,x" } } },
      "messages[1].content[1].image_url.url: a data URL needs a media type and base64: data:image/png;base64,..." },
    { user { { type = "input_audio", input_audio = { data = "x" } } },
      "messages[1].content[1].input_audio: data and format expected" },
    { user { { type = "file", file = {} } },
      "messages[1].content[1].file: file_data (a data URL), file_url or file_id (the file's URI) expected" },
    { { role = "tool", tool_call_id = "t", content = "x" },
      'messages[1].tool_call_id: no earlier message calls "t"' },
    { { role = "tool", content = "x" }, "messages[1].tool_call_id: missing" },
    { { role = "assistant", tool_calls = { { type = "custom", custom = {} } } },
      "messages[1].tool_calls[1]: only calls of functions can be told to Gemini" },
    { { role = "assistant", tool_calls = { call("t", nil, "{}") } },
      "messages[1].tool_calls[1].function.name: missing" },
    { { role = "assistant", tool_calls = { call("t", "f", "[1]") } },
      'messages[1].tool_calls[1].function.arguments: a JSON object expected, got "[1]"' },
    { { role = "assistant", tool_calls = { call("t", "f", "7") } },
      'messages[1].tool_calls[1].function.arguments: a JSON object expected, got "7"' },
    { { role = "assistant", tool_calls = { call("t", "f", { 1 }) } },
      "messages[1].tool_calls[1].function.arguments: a JSON object expected, got a list" },
  }
  for _, case in ipairs(bad) do
    it("are refused: " .. case[2]:sub(1, 70), function()
      assert.equal(case[2], problem_of { messages = { case[1] } })
    end)
  end

  it("are refused with the words of what cannot be read", function()
    local problem = problem_of { messages = { user "x",
      { role = "assistant", tool_calls = { call("t", "f", '{"a":') } } } }
    assert.equal('messages[2].tool_calls[1].function.arguments: a JSON object expected, got "{\\"a\\":": ',
      problem:match "^.-:\": ")
    assert.equal("messages: a list expected, got nil", problem_of {})
  end)
end)

describe("tool calls for Gemini", function()
  local UNSIGNED = "skip_thought_signature_validator"

  it("of another provider: named, without ids, the first signed as documented", function()
    local contents = turns { user "Compare", { role = "assistant", content = "Looking.", tool_calls = {
      call("a", "weather", '{"city":"Oslo","days":[],"deep":{}}'), call("b", "weather", ""),
      call("c", "now", { x = 1 }) } }, { role = "tool", tool_call_id = "a", content = '{"celsius":3}' },
      { role = "tool", tool_call_id = "b", content = "sunny" }, { role = "tool", tool_call_id = "c", content = "[1]" } }
    assert.same({
      { role = "user", parts = { { text = "Compare" } } },
      { role = "model", parts = { { text = "Looking." },
        { functionCall = { name = "weather", args = { city = "Oslo", days = json.array {}, deep = {} } },
          thoughtSignature = UNSIGNED },
        { functionCall = { name = "weather", args = {} } }, { functionCall = { name = "now", args = { x = 1 } } } } },
      { role = "user", parts = {
        { functionResponse = { name = "weather", response = { celsius = 3 } } },
        { functionResponse = { name = "weather", response = { result = "sunny" } } },
        { functionResponse = { name = "now", response = { result = "[1]" } } } } },
    }, contents)
    local _, _, _, body = encoded({ messages = { user "x", { role = "assistant", tool_calls = {
      call("a", "f", '{"days":[],"deep":{}}') } } } })
    assert.is_truthy(body:find('"args":{"days":[],"deep":{}}', 1, true) or body:find('{"deep":{},"days":[]}', 1, true))
  end)

  it("are answered in their own order, whatever the order of the results", function()
    local contents = turns { { role = "assistant", tool_calls = { call("a", "f", "{}"), call("b", "f", "{}"),
      call("c", "f", "{}") } }, { role = "tool", tool_call_id = "c", content = "3" },
      { role = "tool", tool_call_id = "a", content = "1" }, { role = "system", content = "apart" },
      { role = "tool", tool_call_id = "b", content = "2" } }
    local said = {}
    for i, part in ipairs(contents[2].parts) do
      said[i] = part.functionResponse.response.result
    end
    assert.same({ "1", "2", "3" }, said)
    assert.equal(2, #contents)
  end)

  it("are answered turn by turn", function()
    local contents = turns { { role = "assistant", tool_calls = { call("a", "f", "{}") } },
      { role = "tool", tool_call_id = "a", content = "1" },
      { role = "assistant", tool_calls = { call("a", "g", "{}") } },
      { role = "tool", tool_call_id = "a", content = "2" }, user "And?" }
    assert.equal("f", contents[2].parts[1].functionResponse.name)
    assert.equal("g", contents[4].parts[1].functionResponse.name)
    assert.same({ "model", "user", "model", "user", "user" },
      { contents[1].role, contents[2].role, contents[3].role, contents[4].role, contents[5].role })
  end)

  it("may have results in parts, media apart, and by the name alone", function()
    local contents = turns { { role = "assistant", tool_calls = { call("a", "shot", "{}") } },
      { role = "tool", tool_call_id = "a", content = { { type = "text", text = "here" },
        { type = "image_url", image_url = { url = "data:image/png;base64,x" } } } },
      { role = "function", name = "old", content = json.null } }
    assert.same({ functionResponse = { name = "shot", response = { result = "here" },
      parts = { { inlineData = { mimeType = "image/png", data = "x" } } } } }, contents[2].parts[1])
    assert.same({ functionResponse = { name = "old", response = { result = "" } } }, contents[2].parts[2])
  end)

  it("of Gemini's go back part by part, and results to the ids it gave", function()
    local said = message_of(answer {
      { text = "Thinking.", thought = true }, { text = "Now:" },
      { functionCall = { id = "abc", name = "f", args = { n = 1, list = json.array {} } }, thoughtSignature = "c2ln" },
      { functionCall = { name = "f", args = { n = 2 } } },
    })
    assert.same({ "abc", "call_r1_2" }, { said.tool_calls[1].id, said.tool_calls[2].id })
    local before = replay.deep(said)
    local _, _, _, body = encoded({ messages = { user "x", said,
      { role = "tool", tool_call_id = "call_r1_2", content = "2" },
      { role = "tool", tool_call_id = "abc", content = "1" } } })
    replay.same(before, said, "message")
    local contents = json.decode(body).contents
    assert.same({ role = "model", parts = before.native.items }, contents[2])
    assert.is_truthy(body:find('"list":[]', 1, true))
    assert.same({ { functionResponse = { id = "abc", name = "f", response = { result = "1" } } },
      { functionResponse = { name = "f", response = { result = "2" } } } }, contents[3].parts)
  end)

  it("of Gemini's survive being stored as JSON", function()
    local message = json.decode((json.encode(message_of(recorded "thinking_call"))))
    local contents = turns { user "x", message,
      { role = "tool", tool_call_id = message.tool_calls[1].id, content = "{}" } }
    assert.same(json.decode(recorded "thinking_call").candidates[1].content, contents[2])
    assert.same({ { functionResponse = { name = "now", response = {} } } }, contents[3].parts)
  end)

  it("ignore what is native to others", function()
    local contents = turns { { role = "assistant", content = "Ho", native = { provider = "anthropic",
      items = { { type = "thinking" } } } }, { role = "assistant", content = "Hm", native = { provider = "gemini",
      items = json.array {} } } }
    assert.same({ { { text = "Ho" } }, { { text = "Hm" } } }, { contents[1].parts, contents[2].parts })
  end)

  it("know calls that the server has run from those that the caller saw", function()
    local said = message_of(answer {
      { functionCall = { name = "theirs", args = {} } },
      { functionResponse = { name = "theirs", response = { a = 1 } } },
      { functionCall = { name = "ours", args = {} } },
    })
    assert.equal(1, #said.tool_calls)
    assert.equal("call_r1_2", said.tool_calls[1].id)
    local contents = turns { said, { role = "tool", tool_call_id = "call_r1_2", content = "x" } }
    assert.equal(3, #contents[1].parts)
    assert.same({ { functionResponse = { name = "ours", response = { result = "x" } } } }, contents[2].parts)
  end)
end)

describe("tools for Gemini", function()
  it("are declared by one tool in the place of the first; others are its own", function()
    local body = with { tools = { { googleSearch = {} },
      { type = "function", ["function"] = { name = "f", description = "d", strict = true,
        parameters = { type = "object", properties = { a = { type = "array", items = {} } } } } },
      { mcpServers = { { name = "s" } } }, { type = "function", ["function"] = { name = "g" } } } }
    assert.same({ { googleSearch = {} }, { functionDeclarations = {
      { name = "f", description = "d", parametersJsonSchema = { type = "object",
        properties = { a = { type = "array", items = {} } } } }, { name = "g" } } },
      { mcpServers = { { name = "s" } } } }, body.tools)
    assert.is_nil(with({ tools = {} }).tools)
    assert.same({ { functionDeclarations = { { name = "h", parametersJsonSchema = { type = "object" } } } } },
      with({ functions = { { name = "h", parameters = { type = "object" } } } }).tools)
    assert.equal("tools[1].function: a table expected",
      problem_of { messages = { user "x" }, tools = { { type = "function" } } })
  end)

  local choices = {
    { "auto", { mode = "AUTO" } }, { "none", { mode = "NONE" } }, { "required", { mode = "ANY" } },
    { { type = "function", ["function"] = { name = "f" } }, { mode = "ANY", allowedFunctionNames = { "f" } } },
    { { name = "f" }, { mode = "ANY", allowedFunctionNames = { "f" } } },
    { { type = "allowed_tools", allowed_tools = { mode = "required", tools = {
      { type = "function", ["function"] = { name = "f" } }, { type = "function", name = "g" } } } },
      { mode = "ANY", allowedFunctionNames = { "f", "g" } } },
    { { type = "allowed_tools", allowed_tools = { mode = "auto", tools = { { name = "f" } } } },
      { mode = "VALIDATED", allowedFunctionNames = { "f" } } },
  }
  for i, case in ipairs(choices) do
    it("are chosen as told, case " .. i, function()
      assert.same({ functionCallingConfig = case[2] }, with({ tool_choice = case[1] }).toolConfig)
    end)
  end

  it("are chosen in Gemini's words, where it has them", function()
    assert.same({ functionCallingConfig = { mode = "VALIDATED" }, retrievalConfig = { languageCode = "en" } },
      with({ tool_choice = "auto", toolConfig = { functionCallingConfig = { mode = "VALIDATED" },
        retrievalConfig = { languageCode = "en" } } }).toolConfig)
    assert.same({ functionCallingConfig = { mode = "NONE" }, retrievalConfig = {} },
      with({ function_call = "none", toolConfig = { retrievalConfig = {} } }).toolConfig)
    assert.equal('tool_choice: Gemini has no counterpart for "maybe"',
      problem_of { messages = { user "x" }, tool_choice = "maybe" })
    assert.equal("tool_choice: neither a mode nor a function's name",
      problem_of { messages = { user "x" }, tool_choice = {} })
    assert.equal("tool_choice.allowed_tools.tools[1]: no function's name", problem_of { messages = { user "x" },
      tool_choice = { type = "allowed_tools", allowed_tools = { tools = { {} } } } })
  end)
end)

describe("the tuning of a Gemini request", function()
  it("has Gemini's names", function()
    assert.same({ temperature = 0.5, topP = 0.9, topK = 4, candidateCount = 2, seed = 7, presencePenalty = 0.1,
      frequencyPenalty = 0.2, maxOutputTokens = 9, responseLogprobs = true, logprobs = 3,
      stopSequences = { "END" }, responseModalities = { "TEXT", "AUDIO" } },
      with({ temperature = 0.5, top_p = 0.9, top_k = 4, n = 2, seed = 7, presence_penalty = 0.1,
        frequency_penalty = 0.2, max_tokens = 5, max_completion_tokens = 9, logprobs = true, top_logprobs = 3,
        stop = "END", modalities = { "text", "audio" } }).generationConfig)
    assert.same({ maxOutputTokens = 5, stopSequences = { "a", "b" } },
      with({ max_tokens = 5, max_completion_tokens = json.null, stop = { "a", "b" } }).generationConfig)
    assert.is_nil(with({ temperature = json.null, stop = json.null, logprobs = false }).generationConfig)
  end)

  it("counts in Gemini's own words, where both say something", function()
    assert.same({ temperature = 0, topK = 1, seed = 3, speechConfig = { languageCode = "en-US" } },
      with({ temperature = 1, seed = 3, generationConfig = { temperature = 0, topK = 1,
        speechConfig = { languageCode = "en-US" } } }).generationConfig)
  end)

  -- ai.google.dev/gemini-api/docs/openai#thinking
  it("turns efforts into levels, and into budgets for those that know no levels", function()
    local function thinking(effort, model, own)
      local body = assert(sent({ messages = { user "x" }, reasoning_effort = effort,
        generationConfig = own and { thinkingConfig = own } }, model))
      return body.generationConfig.thinkingConfig
    end
    for _, effort in ipairs { "minimal", "low", "medium", "high" } do
      assert.same({ thinkingLevel = effort:upper() }, thinking(effort))
    end
    for effort, budget in pairs { minimal = 1024, low = 1024, medium = 8192, high = 24576 } do
      assert.same({ thinkingBudget = budget }, thinking(effort, "models/gemini-2.5-pro"))
    end
    assert.same({ thinkingBudget = 0 }, thinking "none")
    assert.same({ thinkingLevel = "LOW", includeThoughts = true }, thinking("low", nil, { includeThoughts = true }))
    assert.same({ thinkingBudget = 9 }, thinking("low", nil, { thinkingBudget = 9 }))
    for _, effort in ipairs { "xhigh", "max" } do -- the words of others for more than it has
      assert.same({ thinkingLevel = "HIGH" }, thinking(effort))
      assert.same({ thinkingBudget = 24576 }, thinking(effort, "models/gemini-2.5-pro"))
    end
    assert.equal('reasoning_effort: gemini-2.5-pro does not know "hard"; generationConfig = { thinkingConfig = { '
      .. 'thinkingBudget = n } } says it in tokens',
      problem_of({ messages = { user "x" }, reasoning_effort = "hard" }, "gemini-2.5-pro"))
    assert.equal("reasoning_effort: a text expected, got number",
      problem_of { messages = { user "x" }, reasoning_effort = 1 })
  end)

  it("asks for JSON, by a schema or any", function()
    local schema = { type = "object", properties = { n = { type = "integer" } }, additionalProperties = false }
    assert.same({ responseMimeType = "application/json", responseJsonSchema = schema },
      with({ response_format = { type = "json_schema", json_schema = { name = "x", strict = true, schema = schema } } })
      .generationConfig)
    assert.same({ responseMimeType = "application/json" },
      with({ response_format = { type = "json_object" } }).generationConfig)
    assert.is_nil(with({ response_format = { type = "text" } }).generationConfig)
    assert.equal('response_format.type: Gemini has no counterpart for "grammar"',
      problem_of { messages = { user "x" }, response_format = { type = "grammar" } })
    assert.equal("response_format.json_schema: missing",
      problem_of { messages = { user "x" }, response_format = { type = "json_schema" } })
  end)

  it("has Gemini's service tiers", function()
    for theirs, ours in pairs { default = "standard", flex = "flex", priority = "priority" } do
      assert.equal(ours, with({ service_tier = theirs }).serviceTier)
    end
    assert.is_nil(with({ service_tier = "auto" }).serviceTier)
    assert.equal("flex", with({ service_tier = "default", serviceTier = "flex" }).serviceTier)
  end)
end)
