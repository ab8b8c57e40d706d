-- Gemini's answers, errors, embeddings and models. Bodies are after recorded ones (fixtures/gemini/SOURCES) unless one
-- says otherwise.
local gemini = require "surefoot.provider.gemini"
local json = require "surefoot.json"
local replay = require "spec.support.replay"
local results = require "surefoot.result"

local codec = json.new()
local chat, embeddings, models = gemini.operations.chat, gemini.operations.embeddings, gemini.operations.models

local function call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

local function recorded(name)
  local file = assert(io.open("spec/lua/provider/fixtures/gemini/" .. name .. ".json", "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function reply(document, status)
  local body = type(document) == "string" and document or json.encode(document)
  return { status = status or 200, headers = "Content-Type: application/json; charset=UTF-8\r\n", body = body }
end

local function read(document, request)
  local answer = reply(document)
  return results.new(assert(chat.decode(answer, codec, request)), answer)
end

local function refused(document, status)
  local fields, verdict = chat.decode(reply(document, status), codec)
  assert.is_nil(fields)
  return verdict
end

local function candidate(content, reason, more)
  local one = { content = content, finishReason = reason, index = 0 }
  for key, value in pairs(more or {}) do
    one[key] = value
  end
  return { candidates = { one }, modelVersion = "m", responseId = "r1" }
end

describe("a Gemini answer", function()
  it("is read whole", function()
    local fields = read(recorded "text")
    assert.equal("The harbour of Oslo lies by the **fjord**.\n", fields.text)
    assert.same({ "stop", "gemini-2.0-flash" }, { fields.finish_reason, fields.model })
    assert.is_nil(fields.id)
    assert.is_nil(fields.truncated)
    assert.is_nil(fields.tool_calls)
    assert.is_nil(fields.reasoning)
    assert.same({ input_tokens = 7, output_tokens = 22, total_tokens = 29, estimated = false }, fields.usage)
    assert.same({ role = "assistant", content = fields.text,
      native = { provider = "gemini", items = { { text = fields.text } } } }, fields.message)
    replay.same(json.decode(recorded "text"), fields.body, "body")
    assert.equal("7", tostring(fields.body.usageMetadata.promptTokenCount))
  end)

  it("has thoughts apart", function()
    local fields = read(recorded "thinking")
    assert.equal("Bergen", fields.text)
    assert.equal("**Thinking about the harbour**", fields.reasoning:match "^(.-)\n")
    assert.same({ input_tokens = 14, output_tokens = 26, total_tokens = 40, reasoning_tokens = 24, estimated = false },
      fields.usage)
    assert.equal("2pmH-JqQEoqC_yAY", fields.id)
  end)

  it("has calls in OpenAI's shape, and their signatures among what is sent back", function()
    local fields = read(recorded "thinking_call")
    assert.is_nil(fields.text)
    assert.same({ call("call_38CHaLjM-G6T_uQk_1", "now", "{}") }, fields.tool_calls)
    assert.equal("tool_calls", fields.finish_reason)
    assert.equal(fields.tool_calls, fields.message.tool_calls)
    local items = fields.message.native.items
    assert.is_true(items[1].thought)
    assert.equal("CiIBc2lnbmF0dXJlIG9mIG91cnM+/w==", items[2].thoughtSignature)
  end)

  it("has several calls, with texts between them", function()
    local fields = read(recorded "calls")
    assert.same({ call("call_1", "sum", '{"x":2,"y":1}'), call("call_2", "multiply", '{"x":4,"y":3}'),
      call("call_3", "subtract", '{"x":6,"y":5}') }, fields.tool_calls)
    fields = read(recorded "mixed")
    assert.equal("The sum of [1, 2,3] is", fields.text)
    assert.equal(2, #fields.tool_calls)
    assert.equal('{"season":null,"title":"Snow"}',
      read(recorded "null_argument").tool_calls[1]["function"].arguments)
    assert.equal("{}", read(recorded "no_args").tool_calls[1]["function"].arguments)
  end)

  it("keeps ids where it has them, and makes the same ones each time else", function()
    local document = candidate({ parts = { { functionCall = { id = "x-1", name = "f" } },
      { functionCall = { name = "g", args = { list = json.array {} } } } } }, "STOP")
    for _ = 1, 2 do
      assert.same({ call("x-1", "f", "{}"), call("call_r1_2", "g", '{"list":[]}') }, read(document).tool_calls)
    end
    document.responseId = "odd id"
    assert.equal("call_2", read(document).tool_calls[2].id)
    document.responseId = ("x"):rep(31)
    assert.equal("call_2", read(document).tool_calls[2].id)
    document.responseId = ("x"):rep(30)
    assert.equal(37, #read(document).tool_calls[2].id)
  end)

  it("leaves out what the server has called itself", function()
    local fields = read(recorded "server_tool")
    assert.is_nil(fields.tool_calls)
    assert.equal("stop", fields.finish_reason)
    assert.equal("On February 2 it will be -13°C in Oslo.", fields.text)
    assert.equal(5, #fields.message.native.items)
    assert.same({ input_tokens = 269, output_tokens = 315, total_tokens = 584, reasoning_tokens = 225,
      estimated = false }, fields.usage)
    fields = read(candidate({ parts = { { functionCall = { id = "a", name = "f" } }, { functionCall = { id = "b",
      name = "f" } }, { functionResponse = { id = "b", name = "f", response = {} } } } }, "STOP"))
    assert.same({ call("a", "f", "{}") }, fields.tool_calls)
  end)

  it("may hold code and pictures", function()
    local fields = read(recorded "code_execution")
    assert.equal("The sum of 2, 3 and 5\nis 10.", fields.text)
    assert.equal("PYTHON", fields.message.native.items[1].executableCode.language)
    assert.equal(21 + 160, fields.usage.input_tokens)
    fields = read(recorded "empty_part")
    assert.equal(2, #fields.message.native.items) -- {} is refused when it is sent
    assert.equal(3, #fields.body.candidates[1].content.parts)
    assert.equal("image/png", fields.message.native.items[2].inlineData.mimeType)
  end)

  it("that ended early is told so, and may be empty", function()
    local fields = read(recorded "only_thoughts")
    assert.same({ "", "length", true }, { fields.text, fields.finish_reason, fields.truncated })
    assert.equal("**Breaking it down**\n\nA sum of a hundred numbers.", fields.reasoning)
    assert.same({ input_tokens = 17, output_tokens = 19, total_tokens = 36, reasoning_tokens = 19, estimated = false },
      fields.usage)
    fields = read { candidates = { { finishReason = "MAX_TOKENS", index = 0 } } }
    assert.same({ "", "length", true }, { fields.text, fields.finish_reason, fields.truncated })
    assert.same({ role = "assistant", content = "", native = { provider = "gemini", items = {} } }, fields.message)
    assert.equal("stop", read(candidate({ role = "model" }, "STOP")).finish_reason)
    assert.is_nil(read({ candidates = { { content = { parts = { { text = "x" } } } } } }).finish_reason)
    assert.is_nil(read(candidate({ parts = { { text = "x" } } }, "FINISH_REASON_UNSPECIFIED")).finish_reason)
  end)

  it("that was filtered is told so", function()
    assert.equal("content_filter", read(recorded "safety").finish_reason)
    assert.equal("There was a", read(recorded "safety").text)
    assert.same({ "", "content_filter" },
      { read(recorded "safety_empty").text, read(recorded "safety_empty").finish_reason })
    for reason in ([[SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT
        IMAGE_RECITATION]]):gmatch "%S+" do
      assert.equal("content_filter", read({ candidates = { { finishReason = reason } } }).finish_reason)
    end
  end)

  it("that ended otherwise says how, in Gemini's words", function()
    assert.equal("fake_new_finish_reason", read(recorded "unknown_reason").finish_reason)
    for _, reason in ipairs { "LANGUAGE", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE" } do
      assert.equal(reason:lower(), read({ candidates = { { finishReason = reason } } }).finish_reason)
    end
    local fields = read(candidate({ parts = { { text = "Half" } } }, "OTHER"))
    assert.same({ "Half", "other" }, { fields.text, fields.finish_reason })
  end)

  it("in which the model failed is asked for again, unless there is something in it", function()
    local verdict = refused(recorded "other")
    assert.same({ "again", "malformed", "OTHER", "Model failed to generate content due to internal error." },
      { verdict.class, verdict.kind, verdict.code, verdict.message })
    assert.equal("OTHER", verdict.body.candidates[1].finishReason)
    for _, reason in ipairs { "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "NO_IMAGE",
      "IMAGE_OTHER" } do
      verdict = refused(candidate({ parts = { { text = "hm", thought = true }, { text = "" } } }, reason))
      assert.same({ "again", "malformed", reason }, { verdict.class, verdict.kind, verdict.code })
      assert.equal("the model gave no answer: " .. reason, verdict.message)
      assert.equal(reason:lower(), read(candidate({ parts = { { text = "Look:" } } }, reason)).finish_reason)
      assert.equal("", read(candidate({ parts = { { inlineData = {} } } }, reason)).text)
    end
    assert.equal(1, #read(candidate({ parts = { { functionCall = { name = "f" } } } }, "OTHER")).tool_calls)
  end)

  it("whose calls Gemini calls malformed has none", function()
    local broken = { functionCall = { name = "f", args = {} } }
    assert.equal("again", refused(candidate({ parts = { broken } }, "MALFORMED_FUNCTION_CALL")).class)
    local fields = read(candidate({ parts = { { text = "Calling" }, broken } }, "MALFORMED_FUNCTION_CALL"))
    assert.is_nil(fields.tool_calls)
    assert.is_nil(fields.message.tool_calls)
    assert.same({ "Calling", "malformed_function_call" }, { fields.text, fields.finish_reason })
  end)

  it("whose prompt was blocked is final", function()
    local verdict = refused(recorded "blocked")
    assert.same({ "final", "content_filter", "SAFETY", "the prompt was blocked (SAFETY): Reasons" },
      { verdict.class, verdict.kind, verdict.code, verdict.message })
    assert.equal("Reasons", verdict.body.promptFeedback.blockReasonMessage)
    verdict = refused(recorded "only_feedback")
    assert.same({ "final", "content_filter", "the prompt was blocked (no reason given): Message" },
      { verdict.class, verdict.kind, verdict.message })
  end)

  it("is parsed where JSON was asked for, in either shape", function()
    local fields = read(recorded "json_schema", { response_format = { type = "json_schema" } })
    assert.equal("123456789012345", ("%.0f"):format(fields.parsed.integerInt64))
    assert.equal("Hello", fields.parsed.simpleString)
    assert.equal("Hello", read(recorded "json_schema", { contents = {}, generationConfig = {
      responseMimeType = "application/json" } }).parsed.simpleString)
    assert.is_nil(read(recorded "json_schema", {}).parsed)
    assert.is_nil(read(recorded "json_schema").parsed)
  end)

  it("has its tokens in surefoot's names", function()
    assert.same({ input_tokens = 12013, output_tokens = 88, total_tokens = 12101, cached_input_tokens = 11243,
      reasoning_tokens = 73, estimated = false }, read(recorded "cached").usage)
    assert.same({ input_tokens = 6, output_tokens = 0, total_tokens = 6, estimated = false },
      read(recorded "partial_usage").usage)
    assert.same({ input_tokens = 5, output_tokens = 3, total_tokens = 8, estimated = false },
      gemini.usage { promptTokenCount = 5, totalTokenCount = 8 })
    assert.same({ input_tokens = 5, output_tokens = 3, total_tokens = 8, estimated = false },
      gemini.usage { candidatesTokenCount = 3, totalTokenCount = 8 })
    assert.is_nil(gemini.usage {})
    assert.is_nil(gemini.usage(json.null))
    assert.is_nil(gemini.usage { promptTokenCount = -1, totalTokenCount = "7" })
    assert.is_nil(read(recorded "calls").usage)
  end)

  it("can be read by a codec of the user's", function()
    local own = json.custom { decode = json.decode }
    local fields = assert(chat.decode(reply(recorded "thinking_call"), own))
    assert.equal("now", fields.tool_calls[1]["function"].name)
    assert.equal("gemini-2.5-pro", fields.body.modelVersion)
  end)

  local bad = {
    { "", "malformed", "empty" },
    { "<html><body>Bad gateway</body></html>", "malformed", "HTML or XML, not JSON" },
    { "oops", "malformed", "is no JSON" },
    { "7", "malformed", "no JSON object" },
    { "[]", "malformed", "no candidates" },
    { "{}", "malformed", "no candidates" },
    { '{"candidates":[]}', "malformed", "no candidates" },
    { '{"candidates":null}', "malformed", "no candidates" },
    { '{"candidates":[7]}', "malformed", "no candidates" },
    { '{"promptFeedback":{"safetyRatings":[]}}', "malformed", "no candidates" },
    { '{"candidates":[{"content":{"parts":[{"text":"a', "truncated", "ends early" },
    { '{"candidates":[{"content":{"parts":[{"text":"a"}]}}]', "truncated", "ends early" },
  }
  for _, case in ipairs(bad) do
    it("is not: " .. case[1]:sub(1, 50), function()
      local verdict = refused(case[1])
      assert.same({ "transient", case[2] }, { verdict.class, verdict.kind })
      assert.is_truthy(verdict.message:find(case[3], 1, true), verdict.message)
    end)
  end

  it("is not a candidate with neither content nor an end", function()
    local verdict = refused(recorded "empty_content")
    assert.same({ "transient", "malformed" }, { verdict.class, verdict.kind })
    assert.is_truthy(verdict.message:find("neither parts nor a reason", 1, true))
    assert.equal("malformed", refused({ candidates = { { content = { parts = json.array {} } } } }).kind)
  end)

  it("is not the beginning of one", function()
    local whole = recorded "thinking_call"
    for length = 0, #whole - 2, 7 do
      local verdict = refused(whole:sub(1, length))
      assert.equal(length == 0 and "malformed" or "truncated", verdict.kind)
    end
  end)

  it("keeps odd things out of calls", function()
    local fields = read(candidate({ parts = { { functionCall = { args = {} } }, { functionCall = {} },
      { functionResponse = { name = "nobody's", response = {} } }, { text = "x" } } }, "STOP"))
    assert.is_nil(fields.tool_calls)
    assert.equal("x", fields.text)
  end)
end)

describe("a Gemini error", function()
  local function judged(status, document)
    local text = type(document) == "string" and document or json.encode(document)
    local answer = { status = status, headers = "", body = text }
    local verdict = gemini.judge(answer, (codec.decode(text)))
    return verdict.class .. " " .. verdict.kind, verdict
  end

  local function rpc(code, status, message, details)
    return { error = { code = code, status = status, message = message, details = details } }
  end

  it("of the key, though it comes as a bad request", function()
    local what, verdict = judged(400, recorded "key_error")
    assert.equal("key unauthorized", what)
    assert.same({ "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key." },
      { verdict.code, verdict.message })
    assert.equal("key unauthorized", (judged(401, rpc(401, "UNAUTHENTICATED", "Request had invalid credentials."))))
    assert.equal("key forbidden", (judged(403, recorded "disabled_error")))
  end)

  it("of the place, the model, the request", function()
    assert.equal("endpoint forbidden", (judged(400, recorded "location_error")))
    assert.equal("endpoint not_found", (judged(404, recorded "model_error")))
    assert.equal("final invalid_request", (judged(400, rpc(400, "INVALID_ARGUMENT",
      "Invalid JSON payload received. Unknown name \"x\": Cannot find field."))))
    assert.equal("route context_length", (judged(400, rpc(400, "INVALID_ARGUMENT",
      "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."))))
  end)

  -- diegosouzapw/OmniRoute issue 9504, browserbase/mcp-server-browserbase issue 129: bodies as received
  local MESSAGE = "You exceeded your current quota, please check your plan and billing details. For more information "
    .. "on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. \n* Quota exceeded for metric: "
    .. "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, model: gemini-3.6-flash\n"
    .. "Please retry in 36.429760048s."

  local function exhausted(quota, delay)
    return rpc(429, "RESOURCE_EXHAUSTED", MESSAGE, {
      { ["@type"] = "type.googleapis.com/google.rpc.QuotaFailure", violations = { { quotaId = quota,
        quotaMetric = "generativelanguage.googleapis.com/generate_content_free_tier_requests", quotaValue = "20" } } },
      { ["@type"] = "type.googleapis.com/google.rpc.RetryInfo", retryDelay = delay } })
  end

  it("of the rate: the minute passes, the day does not", function()
    local what, verdict = judged(429, exhausted("GenerateContentPaidTierInputTokensPerModelPerMinute", "47.434392449s"))
    assert.equal("throttled rate_limited", what)
    assert.is_true(math.abs(verdict.wait - 47.434392449) < 1e-6)
    assert.equal("RESOURCE_EXHAUSTED", verdict.code)
    assert.equal("key quota", (judged(429, exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "36s"))))
    assert.equal("throttled rate_limited", (judged(429, recorded "quota_error")))
    assert.equal("throttled rate_limited",
      (judged(429, rpc(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."))))
  end)

  it("of the server", function()
    local overloaded = "This model is currently experiencing high demand. Please try again later."
    assert.equal("overloaded overloaded", (judged(503, rpc(503, "UNAVAILABLE", overloaded))))
    assert.equal("transient server", (judged(504, rpc(504, "DEADLINE_EXCEEDED", "Deadline expired."))))
    assert.equal("transient server", (judged(500, rpc(500, "INTERNAL", "An internal error has occurred."))))
    assert.equal("transient server", (judged(499, rpc(499, "CANCELLED", "The operation was cancelled."))))
  end)

  it("may come as a list, and under status 200", function()
    local document = rpc(503, "UNAVAILABLE", "The model is overloaded.")
    assert.equal("overloaded overloaded", (judged(503, { document })))
    for _, body in ipairs { document, { document } } do
      local verdict = refused(body)
      assert.same({ "overloaded", "The model is overloaded." }, { verdict.class, verdict.message })
    end
  end)
end)

describe("Gemini embeddings", function()
  local function asked(request, model)
    local method, path, headers, body = embeddings.encode(request,
      { model = model or "gemini-embedding-001", traits = {} }, codec)
    if not method then
      return nil, path
    end
    assert.same({ "POST", "accept: application/json\ncontent-type: application/json\n" }, { method, headers })
    return json.decode(body), path
  end

  it("are asked for in one batch", function()
    local body, path = asked { input = { "a", "b" }, dimensions = 64, encoding_format = "float", user = "u",
      taskType = "CLUSTERING" }
    assert.equal("/models/gemini-embedding-001:batchEmbedContents", path)
    local function one(text)
      return { model = "models/gemini-embedding-001", content = { parts = { { text = text } } },
        outputDimensionality = 64, taskType = "CLUSTERING" }
    end
    assert.same({ requests = { one "a", one "b" } }, body)
    assert.same({ requests = { { model = "tunedModels/x", content = { parts = { { text = "a" } } } } } },
      asked({ input = "a" }, "tunedModels/x"))
    assert.same({ requests = { { x = 1 } } }, asked { requests = { { x = 1 } }, model = "m" })
  end)

  it("are of texts only, as numbers", function()
    assert.same({ nil, "input[2]: Gemini embeds texts, got a number" }, { asked { input = { "a", 7 } } })
    assert.same({ nil, "input: Gemini embeds texts, got a nil" }, { asked {} })
    assert.same({ nil, "encoding_format: Gemini gives numbers only" },
      { asked { input = "a", encoding_format = "base64" } })
  end)

  it("come in order, as many as were asked for", function() -- google-gemini/cookbook, Embeddings_REST.ipynb, shortened
    local body = { embeddings = { { values = { -0.022374554, 1 } }, { values = { -0.007975887, 2 } } },
      usageMetadata = { promptTokenCount = 9 } }
    local fields = assert(embeddings.decode(reply(body), codec, { input = { "a", "b" } }))
    assert.same({ { -0.022374554, 1 }, { -0.007975887, 2 } }, fields.embeddings)
    assert.equal(9, fields.usage.input_tokens)
    assert.same(body, fields.body)
    local function problem(document, request)
      local _, verdict = embeddings.decode(reply(document), codec, request)
      return verdict.kind .. ": " .. verdict.message
    end
    assert.equal("malformed: 2 embeddings for 1 inputs", problem(body, { input = "a" }))
    assert.equal("malformed: 2 embeddings for 3 inputs", problem(body, { requests = { {}, {}, {} } }))
    assert.equal("malformed: the answer has no embeddings[1].values",
      problem({ embeddings = { {} } }, { input = "a" }))
    assert.is_truthy(problem({}, { input = "a" }):find("has no embeddings", 1, true))
    assert.is_truthy(problem("{", { input = "a" }):find("truncated", 1, true))
  end)
end)

describe("Gemini models", function()
  it("are listed in one page, with the ids that requests take", function()
    assert.same({ "GET", "/models?pageSize=1000", "accept: application/json\n" }, { models.encode() })
    -- google-gemini/cookbook, Models_REST.ipynb, shortened
    local body = { models = { { name = "models/gemini-2.5-flash", version = "001", inputTokenLimit = 1048576,
      supportedGenerationMethods = { "generateContent" } }, { name = "tunedModels/mine" } } }
    local fields = assert(models.decode(reply(body), codec))
    assert.same({ "gemini-2.5-flash", "models/gemini-2.5-flash", 1048576 },
      { fields.models[1].id, fields.models[1].name, fields.models[1].inputTokenLimit })
    assert.equal("tunedModels/mine", fields.models[2].id)
    assert.same(body, fields.body)
  end)

  it("are not listed by anything else", function()
    for text, problem in pairs { ["{}"] = "no list of models", ['{"models":[{}]}'] = "models[1].name",
      ["[]"] = "no list", ["{"] = "ends early" } do
      local fields, verdict = models.decode(reply(text), codec)
      assert.is_nil(fields)
      assert.is_truthy(verdict.message:find(problem, 1, true), verdict.message)
    end
  end)
end)
