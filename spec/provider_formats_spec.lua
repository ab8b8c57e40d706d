-- The formats that the simulated provider speaks beside chat completions and messages: each as its vendor has it.

local cjson = require "cjson.safe"
local http = require "spec.support.http"
local provider = require "spec.support.provider"

local p, line

local function post(url, request, headers)
  return http.request { url = url, body = cjson.encode(request), headers = headers, timeout = 5 }
end

local function json(response)
  return cjson.decode(response.body), response.status
end

local function stream(url, request)
  local response = post(url, request)
  assert.equal("chunked", response.ended)
  return provider.events(response.body), response
end

local function names_of(events)
  local names = {}
  for i, event in ipairs(events) do
    names[i] = event.name
  end
  return names
end

-- What `pick` finds in each event, joined.
local function joined(events, pick)
  local parts = {}
  for _, event in ipairs(events) do
    parts[#parts + 1] = pick(event.value, event.name)
  end
  return table.concat(parts)
end

local WEATHER = {
  type = "object", required = { "city", "days" },
  properties = { city = { type = "string" }, days = { type = "integer", minimum = 2 } },
}

describe("the formats of the simulated provider #once", function()
  setup(function()
    p = provider.start { lines = { "a" } }
    line = p.lines.a
  end)

  teardown(function()
    local errors = p:errors()
    p:stop()
    assert.same({}, errors)
  end)

  before_each(function()
    p:reset()
  end)

  describe("responses", function()
    local function url()
      return line.url .. "/responses"
    end

    local function text_of(body)
      local last = body.output[#body.output]
      return last.content and last.content[1].text
    end

    it("echo a text, and the last message of a list of items", function()
      local body = json(post(url(), { model = "m", input = "ping 42", instructions = "be brief" }))
      assert.equal("response", body.object)
      assert.equal("completed", body.status)
      assert.equal("echo: ping 42", text_of(body))
      assert.equal("be brief", body.instructions)
      assert.same({ input_tokens = 4, input_tokens_details = { cached_tokens = 0, cache_write_tokens = 0 },
        output_tokens = 4, output_tokens_details = { reasoning_tokens = 0 }, total_tokens = 8 }, body.usage)
      local items = {
        { role = "user", content = "call tool weather" },
        { type = "function_call", call_id = "call_1", name = "weather", arguments = "{}" },
        { type = "function_call_output", call_id = "call_1", output = "rain" },
      }
      local tools = { { type = "function", name = "weather", parameters = WEATHER } }
      assert.equal("echo: rain", text_of(json(post(url(), { model = "m", input = items, tools = tools }))))
    end)

    it("stream named and numbered events, without [DONE]", function()
      p:profile("a", { answer = { chunks = 3 } })
      local events, response = stream(url(), { model = "m", input = "ping 42", stream = true })
      assert.same({ "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.output_text.delta", "response.output_text.delta",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed" }, names_of(events))
      for i, event in ipairs(events) do
        assert.equal(event.name, event.value.type)
        assert.equal(i - 1, event.value.sequence_number)
      end
      assert.is_nil(response.body:find("[DONE]", 1, true))
      assert.equal("echo: ping 42", joined(events, function(value, name)
        return name == "response.output_text.delta" and value.delta or nil
      end))
      assert.matches('"output":%[%]', events[1].data)
      assert.equal(cjson.null, events[1].value.response.usage)
      assert.equal("echo: ping 42", text_of(events[#events].value.response))
      assert.equal(6, events[#events].value.response.usage.total_tokens)
    end)

    it("call functions, in fragments when they stream", function()
      local tools = { { type = "function", name = "weather", parameters = WEATHER }, { type = "function", name = "b" } }
      local request = { model = "m", tools = tools, input = "call tool weather and call tool b" }
      local body = json(post(url(), request))
      assert.equal("function_call", body.output[1].type)
      assert.same({ city = request.input, days = 2 }, cjson.decode(body.output[1].arguments))
      assert.equal("b", body.output[2].name)
      request.stream = true
      local arguments, events = {}, stream(url(), request)
      for _, event in ipairs(events) do
        if event.name == "response.function_call_arguments.delta" then
          local index = event.value.output_index + 1
          arguments[index] = (arguments[index] or "") .. event.value.delta
        elseif event.name == "response.function_call_arguments.done" then
          assert.equal(arguments[event.value.output_index + 1], event.value.arguments)
        end
      end
      assert.same({ city = request.input, days = 2 }, cjson.decode(arguments[1]))
      assert.same(body.output[2].arguments, arguments[2])
    end)

    it("end incomplete or failed, whole and streamed", function()
      local cut = json(post(url(), { model = "m", input = "ping 42", max_output_tokens = 2 }))
      assert.equal("incomplete", cut.status)
      assert.equal("max_output_tokens", cut.incomplete_details.reason)
      assert.equal("echo: pi", text_of(cut))
      local events = stream(url(), { model = "m", input = "ping 42", max_output_tokens = 2, stream = true })
      local last = events[#events]
      assert.equal("response.incomplete", last.name)
      assert.equal("incomplete", last.value.response.output[1].status)
      p:profile("a", { answer = { finish_reason = "failed" } })
      assert.equal("server_error", json(post(url(), { model = "m", input = "x" })).error.code)
      events = stream(url(), { model = "m", input = "x", stream = true })
      assert.equal("response.failed", events[#events].name)
      assert.equal("failed", events[#events].value.response.status)
    end)

    it("reason first, with a summary when one is asked for", function()
      p:profile("a", { answer = { cached_tokens = 1 } })
      local request = { model = "m", input = "ping", reasoning = { effort = "low", summary = "auto" }, stream = true }
      local events = stream(url(), request)
      assert.equal("thinking about: ping", joined(events, function(value, name)
        return name == "response.reasoning_summary_text.delta" and value.delta or nil
      end))
      local body = events[#events].value.response
      assert.equal("reasoning", body.output[1].type)
      assert.equal("thinking about: ping", body.output[1].summary[1].text)
      assert.equal(5, body.usage.output_tokens_details.reasoning_tokens)
      assert.equal(1, body.usage.input_tokens_details.cached_tokens)
    end)

    it("satisfy a schema", function()
      local format = { type = "json_schema", name = "w", schema = WEATHER }
      local body = json(post(url(), { model = "m", input = "ping", text = { format = format } }))
      assert.same({ city = "echo: ping", days = 2 }, cjson.decode(text_of(body)))
      body = json(post(url(), { model = "m", input = "ping", text = { format = { type = "json_object" } } }))
      assert.same({ echo = "echo: ping" }, cjson.decode(text_of(body)))
    end)

    it("fail in-band as an event of their own", function()
      p:profile("a", { stream = { error_after = 1 } })
      local events = stream(url(), { model = "m", input = "ping", stream = true })
      local last = events[#events]
      assert.equal("error", last.name)
      assert.equal("error", last.value.type)
      assert.equal(#events - 1, last.value.sequence_number)
      p:profile("a", { stream = { error_after = 0, error_shape = "failed" } })
      events = stream(url(), { model = "m", input = "ping", stream = true })
      assert.equal("response.failed", events[#events].name)
      assert.equal("server_error", events[#events].value.response.error.code)
    end)
  end)

  describe("Gemini", function()
    local function url(verb)
      return line.gemini_url .. "/models/gem:" .. verb
    end

    local function ask(text, more)
      local request = more or {}
      request.contents = { { role = "user", parts = { { text = text } } } }
      return request
    end

    local function text_of(value)
      local parts = {}
      for _, part in ipairs(value.candidates[1].content.parts) do
        parts[#parts + 1] = not part.thought and part.text or nil
      end
      return table.concat(parts)
    end

    it("echoes, counts and says which model", function()
      local request = ask("ping 42", { systemInstruction = { parts = { { text = "be brief" } } } })
      local body = json(post(url "generateContent", request))
      assert.equal("echo: ping 42", text_of(body))
      assert.equal("model", body.candidates[1].content.role)
      assert.equal("STOP", body.candidates[1].finishReason)
      assert.equal("gem", body.modelVersion)
      local usage = body.usageMetadata
      assert.same({ 4, 4, 8 }, { usage.promptTokenCount, usage.candidatesTokenCount, usage.totalTokenCount })
    end)

    it("streams events with CRLF, or one array over many lines", function()
      p:profile("a", { answer = { chunks = 3 } })
      local events, response = stream(url "streamGenerateContent" .. "?alt=sse", ask "ping 42")
      assert.matches("^data: .-\r\n\r\n", response.body)
      assert.equal("echo: ping 42", joined(events, text_of))
      assert.is_nil(events[1].value.candidates[1].finishReason)
      assert.equal("STOP", events[#events].value.candidates[1].finishReason)
      assert.equal(4, events[#events].value.usageMetadata.candidatesTokenCount)
      local array = post(url "streamGenerateContent", ask "ping 42")
      assert.matches("^application/json", array.headers["content-type"])
      local parts = {}
      for i, value in ipairs(cjson.decode(array.body)) do
        parts[i] = text_of(value)
      end
      assert.equal(3, #parts)
      assert.equal("echo: ping 42", table.concat(parts))
      assert.matches("}\n,\n{", array.body)
    end)

    it("calls functions, and takes their results", function()
      local tools = { { functionDeclarations = { { name = "weather", parameters = {
        type = "OBJECT", properties = { city = { type = "STRING" } },
      } } } } }
      local request = ask("call tool weather", { tools = tools })
      local call = json(post(url "generateContent", request)).candidates[1]
      assert.equal("STOP", call.finishReason)
      assert.same({ name = "weather", args = { city = "call tool weather" } }, call.content.parts[1].functionCall)
      table.insert(request.contents, call.content)
      table.insert(request.contents, { role = "user", parts = {
        { functionResponse = { name = "weather", response = { sky = "rain" } } },
      } })
      assert.equal('echo: {"sky":"rain"}', text_of(json(post(url "generateContent", request))))
      local forced = ask("hello", { tools = tools, toolConfig = { functionCallingConfig = { mode = "ANY" } } })
      assert.is_table(json(post(url "generateContent", forced)).candidates[1].content.parts[1].functionCall)
    end)

    it("heeds generationConfig, in camel and in snake case", function()
      local cut = json(post(url "generateContent", ask("ping 42", { generationConfig = { maxOutputTokens = 2 } })))
      assert.equal("echo: pi", text_of(cut))
      assert.equal("MAX_TOKENS", cut.candidates[1].finishReason)
      cut = json(post(url "generateContent", ask("ping 42", { generation_config = { max_output_tokens = 2 } })))
      assert.equal("echo: pi", text_of(cut))
      for _, name in ipairs { "responseSchema", "responseJsonSchema" } do
        local config = { responseMimeType = "application/json", [name] = WEATHER }
        local body = json(post(url "generateContent", ask("ping", { generationConfig = config })))
        assert.same({ city = "echo: ping", days = 2 }, cjson.decode(text_of(body)))
      end
      local two = json(post(url "generateContent", ask("ping", { generationConfig = { candidateCount = 2 } })))
      assert.equal(1, two.candidates[2].index)
    end)

    it("thinks, remembers and blocks", function()
      p:profile("a", { answer = { cached_tokens = 1 } })
      local config = { thinkingConfig = { includeThoughts = true } }
      local body = json(post(url "generateContent", ask("ping", { generationConfig = config })))
      assert.same({ text = "thinking about: ping", thought = true }, body.candidates[1].content.parts[1])
      assert.equal("echo: ping", text_of(body))
      assert.equal(5, body.usageMetadata.thoughtsTokenCount)
      assert.equal(1, body.usageMetadata.cachedContentTokenCount)
      p:profile("a", { answer = { finish_reason = "SAFETY" } })
      assert.equal("SAFETY", json(post(url "generateContent", ask "ping")).candidates[1].finishReason)
      p:profile("a", { answer = { blocked = "PROHIBITED_CONTENT" } })
      local events = stream(url "streamGenerateContent" .. "?alt=sse", ask "ping")
      assert.equal("PROHIBITED_CONTENT", events[1].value.promptFeedback.blockReason)
      assert.is_nil(events[1].value.candidates)
    end)

    it("refuses what the API refuses, in its own words", function()
      local body, status = json(post(url "generateContent", { contents = {} }))
      assert.equal(400, status)
      assert.equal("INVALID_ARGUMENT", body.error.status)
      body, status = json(post(url "generateContent", ask("x", { generationConfig = { max_tokens = 2 } })))
      assert.equal(400, status)
      assert.matches('Unknown name "max_tokens" at \'generation_config\'', body.error.message)
      p:profile("a", { models = { "other" } })
      body, status = json(post(url "generateContent", ask "x"))
      assert.equal(404, status)
      assert.equal("NOT_FOUND", body.error.status)
      assert.equal("models/other", json(http.request(line.gemini_url .. "/models")).models[1].name)
      p:profile("a", { rate = { per_second = 0.1, burst = 0, wait = 37, retry_after = "body" } })
      body, status = json(post(url "generateContent", ask "x"))
      assert.equal(429, status)
      assert.equal("RESOURCE_EXHAUSTED", body.error.status)
      assert.equal("37s", body.error.details[1].retryDelay)
    end)

    it("makes vectors and counts tokens", function()
      local one = { model = "models/gem", content = { parts = { { text = "one" } } }, outputDimensionality = 4 }
      local alone = json(post(url "embedContent", one)).embedding.values
      local batch = json(post(url "batchEmbedContents", { requests = { one, one } })).embeddings
      assert.equal(4, #alone)
      assert.same({ alone, alone }, { batch[1].values, batch[2].values })
      assert.equal(400, post(url "batchEmbedContents", {}).status)
      assert.equal(2, json(post(url "countTokens", ask "ping 42")).totalTokens)
    end)
  end)

  describe("Azure OpenAI", function()
    local VERSION = "?api-version=2024-10-21"
    local request = { messages = { { role = "user", content = "ping 42" } } }

    local function url(path, version)
      return line.azure_url .. "/openai/deployments/dep/" .. path .. (version or VERSION)
    end

    it("answers by deployment, with the filter's verdicts", function()
      local body = json(post(url "chat/completions", request))
      assert.equal("echo: ping 42", body.choices[1].message.content)
      assert.equal("dep", body.model)
      assert.is_false(body.prompt_filter_results[1].content_filter_results.hate.filtered)
      assert.equal("safe", body.choices[1].content_filter_results.violence.severity)
      assert.equal(8, #json(post(url "embeddings", { input = "x" })).data[1].embedding)
      body = json(post(line.azure_url .. "/openai/v1/chat/completions", { model = "m", messages = request.messages }))
      assert.equal("m", body.model)
      assert.is_table(body.prompt_filter_results)
    end)

    it("streams what Azure adds to OpenAI's events", function()
      local streaming = { messages = request.messages, stream = true }
      local events = stream(url "chat/completions", streaming)
      assert.matches('"choices":%[%]', events[1].data)
      assert.same({ "", "" }, { events[1].value.id, events[1].value.model })
      assert.is_table(events[1].value.prompt_filter_results)
      assert.equal("safe", events[3].value.choices[1].content_filter_results.hate.severity)
      p:profile("a", { stream = { async_filter = true } })
      events = stream(url "chat/completions", streaming)
      local annotation = events[#events - 1].value
      assert.equal("stop", events[#events - 2].value.choices[1].finish_reason)
      assert.equal("", annotation.id)
      assert.is_nil(annotation.choices[1].delta)
      assert.equal(cjson.null, annotation.choices[1].finish_reason)
      assert.is_number(annotation.choices[1].content_filter_offsets.check_offset)
      assert.equal("[DONE]", events[#events].data)
    end)

    it("refuses in Azure's words", function()
      local body, status = json(post(url("chat/completions", ""), request))
      assert.same({ 404, "404" }, { status, body.error.code })
      p:profile("a", { models = { "other" }, keys = { "good" } })
      body, status = json(post(url "chat/completions", request))
      assert.same({ 401, "401" }, { status, body.error.code })
      body, status = json(post(url "chat/completions", request, { ["api-key"] = "good" }))
      assert.same({ 404, "DeploymentNotFound" }, { status, body.error.code })
      p:profile("a", { rate = { per_second = 0.1, burst = 0, wait = 6.5, retry_after = "body" } })
      body = json(post(url "chat/completions", request))
      assert.matches("Please retry after 7 seconds", body.error.message)
    end)
  end)

  describe("messages", function()
    local function url()
      return line.url .. "/messages"
    end

    local function ask(text, more)
      local request = more or {}
      request.model, request.max_tokens = "m", request.max_tokens or 100
      request.messages = request.messages or { { role = "user", content = text } }
      return request
    end

    it("think, sign and say", function()
      local thinking = { type = "enabled", budget_tokens = 1024 }
      local body = json(post(url(), ask("ping", { thinking = thinking })))
      assert.equal("thinking about: ping", body.content[1].thinking)
      assert.equal("echo: ping", body.content[2].text)
      local events = stream(url(), ask("ping", { thinking = thinking, stream = true }))
      local kinds = {}
      for _, event in ipairs(events) do
        local delta = event.name == "content_block_delta" and event.value.delta
        if delta and kinds[#kinds] ~= delta.type then
          kinds[#kinds + 1] = delta.type
        end
      end
      assert.same({ "thinking_delta", "signature_delta", "text_delta" }, kinds)
      assert.same({ type = "thinking", thinking = "", signature = "" }, events[2].value.content_block)
      assert.equal("ping", events[3].name)
    end)

    it("tell the usage at the start, and all of it at the end", function()
      p:profile("a", { answer = { cached_tokens = 1 } })
      local events = stream(url(), ask("ping 42", { stream = true }))
      local first, last = events[1].value.message.usage, events[#events - 1].value.usage
      assert.same({ 1, 1, 1 }, { first.input_tokens, first.cache_read_input_tokens, first.output_tokens })
      assert.same({ 1, 1, 4 }, { last.input_tokens, last.cache_read_input_tokens, last.output_tokens })
    end)

    it("use several tools, and take their results", function()
      local tools = { { name = "weather", input_schema = WEATHER }, { name = "b" } }
      local request = ask("call tool weather and call tool b", { tools = tools, stream = true })
      local events, json_of = stream(url(), request), {}
      for _, event in ipairs(events) do
        local delta = event.value.delta
        if delta and delta.type == "input_json_delta" then
          local index = event.value.index + 1
          json_of[index] = (json_of[index] or "") .. delta.partial_json
        end
      end
      assert.same({ city = request.messages[1].content, days = 2 }, cjson.decode(json_of[1]))
      assert.is_table(cjson.decode(json_of[2]))
      assert.equal("tool_use", events[#events - 1].value.delta.stop_reason)
      request = ask(nil, { tools = tools, messages = {
        { role = "user", content = "call tool weather" },
        { role = "user", content = { { type = "tool_result", tool_use_id = "t", content = "rain" } } },
      } })
      assert.equal("echo: rain", json(post(url(), request)).content[1].text)
      request = ask("hello", { tools = tools, tool_choice = { type = "tool", name = "b" } })
      assert.equal("b", json(post(url(), request)).content[1].name)
    end)

    it("stop within a tool's input when the tokens are out", function()
      local tools = { { name = "weather", input_schema = WEATHER } }
      local events = stream(url(), ask("call tool weather", { tools = tools, max_tokens = 3, stream = true }))
      assert.equal("max_tokens", events[#events - 1].value.delta.stop_reason)
      for _, event in ipairs(events) do
        assert.are_not.equal("content_block_stop", event.name)
      end
    end)

    it("are overloaded before and after the first token", function()
      for after, content in pairs { [0] = 0, [2] = 2, [-1] = 0 } do
        p:profile("a", { stream = { error_after = after } })
        local events = stream(url(), ask("ping 42", { stream = true }))
        local last, deltas = events[#events], 0
        for _, event in ipairs(events) do
          deltas = deltas + (event.name == "content_block_delta" and 1 or 0)
        end
        assert.same({ "error", "overloaded_error", content }, { last.name, last.value.error.type, deltas })
        assert.equal(after == -1, #events == 1)
      end
    end)

    it("have models, and a request id, of their own", function()
      local models = http.request { url = line.url .. "/models", headers = { ["anthropic-version"] = "2023-06-01" } }
      assert.equal("model", json(models).data[1].type)
      assert.matches("^req_", post(url(), ask "x").headers["request-id"])
    end)
  end)

  describe("chat completions", function()
    local function url()
      return line.url .. "/chat/completions"
    end

    local function ask(text, more)
      local request = more or {}
      request.model, request.messages = "m", { { role = "user", content = text } }
      return request
    end

    it("reason when an effort is asked for", function()
      local body = json(post(url(), ask("ping", { reasoning_effort = "low" })))
      assert.equal("thinking about: ping", body.choices[1].message.reasoning_content)
      assert.equal(5, body.usage.completion_tokens_details.reasoning_tokens)
      local events = stream(url(), ask("ping", { reasoning_effort = "low", stream = true }))
      assert.equal("thinking about: ping", joined(events, function(value)
        return value and value.choices[1].delta.reasoning_content
      end))
      assert.is_nil(json(post(url(), ask("ping", { reasoning_effort = "none" }))).choices[1].message.reasoning_content)
    end)

    it("satisfy a schema with references and choices in it", function()
      local schema = {
        type = "object", required = { "list", "kind", "maybe" }, ["$defs"] = { item = { type = "string" } },
        properties = {
          list = { type = "array", items = { ["$ref"] = "#/$defs/item" } },
          kind = { enum = { "first", "second" } },
          maybe = { anyOf = { { type = "boolean" }, { type = "null" } } },
        },
      }
      local format = { type = "json_schema", json_schema = { name = "s", schema = schema } }
      local body = json(post(url(), ask("ping", { response_format = format })))
      assert.same({ list = { "echo: ping" }, kind = "first", maybe = true },
        cjson.decode(body.choices[1].message.content))
    end)

    it("choose tools as told", function()
      local tools = { { type = "function", ["function"] = { name = "a" } } }
      local function called(choice, text)
        local request = ask(text or "hello", { tools = tools, tool_choice = choice })
        return json(post(url(), request)).choices[1].message.tool_calls ~= nil
      end
      assert.is_true(called "required")
      assert.is_true(called { type = "function", ["function"] = { name = "a" } })
      assert.is_false(called("none", "call tool a"))
      assert.is_false(called "auto")
    end)

    it("stream choices in turn, and interleave calls when told to", function()
      p:profile("a", { answer = { chunks = 2 }, stream = { interleave = true } })
      local order = {}
      for _, event in ipairs((stream(url(), ask("ping", { n = 2, stream = true })))) do
        local choice = event.value and event.value.choices[1]
        if choice and choice.delta.content and choice.delta.content ~= "" then
          order[#order + 1] = choice.index
        end
      end
      assert.same({ 0, 1, 0, 1 }, order)
      local tools = { { type = "function", ["function"] = { name = "a" } } }
      local calls = {}
      for _, event in ipairs((stream(url(), ask("call tool a call tool b", { tools = tools, stream = true })))) do
        local delta = event.value and event.value.choices[1].delta
        calls[#calls + 1] = delta and delta.tool_calls and delta.tool_calls[1].index
      end
      assert.same({ 0, 1, 0, 1, 0, 1 }, calls)
    end)
  end)

  it("take the key from wherever an API wants it", function()
    p:profile("a", { keys = { "good" } })
    local gemini = line.gemini_url .. "/models/g:generateContent"
    local request = { contents = { { parts = { { text = "x" } } } } }
    assert.equal(200, post(gemini, request, { ["x-goog-api-key"] = "good" }).status)
    assert.equal(200, post(gemini .. "?key=good", request).status)
    local body, status = json(post(gemini, request, { ["x-goog-api-key"] = "bad" }))
    assert.same({ 400, "API_KEY_INVALID" }, { status, body.error.details[1].reason })
    assert.equal(403, post(gemini, request).status)
    local messages = { max_tokens = 1, messages = {} }
    body, status = json(post(line.url .. "/messages", messages, { ["x-api-key"] = "bad" }))
    assert.same({ 401, "authentication_error" }, { status, body.error.type })
    assert.equal(200, post(line.url .. "/messages", messages, { ["x-api-key"] = "good" }).status)
    assert.equal(200, post(line.url .. "/responses", { input = "x" }, { Authorization = "Bearer good" }).status)
    assert.same({ good = 4, bad = 2 }, p:counters("a").keys)
  end)
end)
