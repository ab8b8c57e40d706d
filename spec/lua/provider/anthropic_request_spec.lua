-- Requests in OpenAI's chat shape, written for Anthropic's Messages API. What is left out and reordered is what that
-- API is known to answer 400 to.
local anthropic = require "surefoot.provider.anthropic"
local json = require "surefoot.json"
local replay = require "spec.support.replay"

local codec = json.new()
local chat, embeddings = anthropic.operations.chat, anthropic.operations.embeddings
local variant = { model = "claude-sonnet-4-5", traits = {} }

-- What is sent for a request; nil and the problem. The request stays as it was.
local function sent(request, changes, streams)
  local before = replay.deep(request)
  local method, path, headers, body = chat.encode(request, variant, codec, changes, streams)
  replay.same(before, request, "request")
  if not method then
    return nil, path
  end
  assert.same({ "POST", "/messages" }, { method, path })
  return json.decode(body), headers
end

local function user(content)
  return { role = "user", content = content }
end

local function turns(messages)
  return assert(sent { messages = messages }).messages
end

describe("an Anthropic request", function()
  it("has the key, the version and a bound of its own", function()
    assert.equal("x-api-key: k", anthropic.auth "k")
    local body, headers = sent { messages = { user "Hi" }, temperature = 0.5, unknown = { a = 1 } }
    assert.same({ model = "claude-sonnet-4-5", max_tokens = 4096, temperature = 0.5, unknown = { a = 1 },
      messages = { { role = "user", content = { { type = "text", text = "Hi" } } } } }, body)
    assert.equal("accept: application/json\ncontent-type: application/json\nanthropic-version: 2023-06-01\n", headers)
    local later = { model = "m", traits = { api_version = "2027-01-01" } }
    headers = select(3, chat.encode({ messages = { user "Hi" } }, later, codec, nil, true))
    assert.equal("accept: text/event-stream\ncontent-type: application/json\nanthropic-version: 2027-01-01\n", headers)
    assert.is_true(sent({ messages = { user "Hi" } }, nil, true).stream)
    assert.equal(9, sent({ messages = { user "Hi" }, max_completion_tokens = 9 }).max_tokens)
    assert.equal(7, sent({ messages = { user "Hi" }, max_tokens = 9 }, { max_tokens = 7 }).max_tokens)
  end)

  it("takes system messages out, wherever they stand", function()
    local kind = { type = "text", text = "And kind.", cache_control = { type = "ephemeral" } }
    local body = sent { messages = { { role = "system", content = "Be brief." }, user "Hi",
      { role = "developer", content = { kind } } } }
    assert.same({ { type = "text", text = "Be brief." }, kind }, body.system)
    assert.equal(1, #body.messages)
    body = sent { messages = { { role = "system", content = "a" }, user "Hi" }, system = "b" }
    assert.same({ { type = "text", text = "a" }, { type = "text", text = "b" } }, body.system)
    assert.equal("b", sent({ messages = { user "Hi" }, system = "b" }).system)
  end)

  it("counts thinking within the bound that the API demands", function()
    local body = sent { messages = { user "Hi" }, thinking = { type = "enabled", budget_tokens = 10000 } }
    assert.equal(14096, body.max_tokens)
    body = sent { messages = { user "Hi" }, max_tokens = 20000, thinking = { type = "enabled", budget_tokens = 10000 } }
    assert.equal(20000, body.max_tokens)
    assert.equal(4096, sent({ messages = { user "Hi" }, max_tokens = json.null }).max_tokens)
    assert.equal(5, sent({ messages = { user "Hi" }, max_tokens = 9, max_completion_tokens = 5 }).max_tokens)
  end)

  it("is for events only where they are wanted", function()
    assert.is_nil(sent({ messages = { user "Hi" }, stream = true, stream_options = { include_usage = true } }).stream)
  end)

  it("carries images and files", function()
    local parts = turns { user { { type = "text", text = "What is this?" },
      { type = "image_url", image_url = { url = "data:image/png;base64,AAAA" } },
      { type = "image_url", image_url = { url = "https://example.com/a.jpg" } },
      { type = "file", file = { filename = "a.pdf", file_data = "data:application/pdf;base64,BBBB" } },
      { type = "document", source = { type = "text", media_type = "text/plain", data = "native" } } } }[1].content
    assert.same({ { type = "text", text = "What is this?" },
      { type = "image", source = { type = "base64", media_type = "image/png", data = "AAAA" } },
      { type = "image", source = { type = "url", url = "https://example.com/a.jpg" } },
      { type = "document", title = "a.pdf",
        source = { type = "base64", media_type = "application/pdf", data = "BBBB" } },
      { type = "document", source = { type = "text", media_type = "text/plain", data = "native" } } }, parts)
  end)

  it("knows bytes by their media type, and keeps cache_control", function()
    local control = { type = "ephemeral" }
    local parts = turns { user {
      { type = "image_url", image_url = "data:IMAGE/PNG;x=y;base64,AA", cache_control = control },
      { type = "image_url", image_url = { url = "data:application/pdf;base64,BB" } },
      { type = "file", file = { filename = "a.png", file_data = "data:image/png;base64,CC" } },
      { type = "file", file = { file_id = "file_1", filename = "b.pdf" } },
      { type = "file", file = { file_data = "https://example.com/c.pdf" } },
      { type = "file", file = { file_url = "https://example.com/d.pdf", filename = "d.pdf" } },
      { type = "text", text = "x", cache_control = control }, "y" } }[1].content
    assert.same({
      { type = "image", source = { type = "base64", media_type = "image/png", data = "AA" }, cache_control = control },
      { type = "document", source = { type = "base64", media_type = "application/pdf", data = "BB" } },
      { type = "image", source = { type = "base64", media_type = "image/png", data = "CC" } },
      { type = "document", source = { type = "file", file_id = "file_1" }, title = "b.pdf" },
      { type = "document", source = { type = "url", url = "https://example.com/c.pdf" } },
      { type = "document", source = { type = "url", url = "https://example.com/d.pdf" }, title = "d.pdf" },
      { type = "text", text = "x", cache_control = control }, { type = "text", text = "y" } }, parts)
  end)

  it("leaves out what says nothing and is refused", function()
    local messages = turns { user "a", { role = "assistant", content = " " }, user { { type = "text", text = "" },
      { type = "text", text = " " } }, user { { type = "text", text = " " }, { type = "text", text = "b" } },
      { role = "assistant", content = "", tool_calls = { { id = "t", ["function"] = { name = "f" } } } },
      { role = "tool", tool_call_id = "t", content = "" },
      { role = "tool", tool_call_id = "t", content = { { type = "text", text = "" } } } }
    assert.same({ { role = "user", content = { { type = "text", text = "a" }, { type = "text", text = " " },
        { type = "text", text = "b" } } },
      { role = "assistant", content = { { type = "tool_use", id = "t", name = "f", input = {} } } },
      { role = "user", content = { { type = "tool_result", tool_use_id = "t" },
        { type = "tool_result", tool_use_id = "t" } } } }, messages)
  end)

  it("lets the model continue what does not end in white space", function()
    local items = { { type = "text", text = "It is " }, { type = "text", text = " \n" } }
    local message = { role = "assistant", native = { provider = "anthropic", items = items } }
    assert.same({ { type = "text", text = "It is" } }, turns({ user "a", message })[2].content)
    assert.same(items, turns({ user "a", message, user "b" })[2].content)
  end)

  it("makes one turn of what follows each other", function()
    assert.same({ "user", "assistant", "user" }, (function()
      local roles = {}
      for i, turn in ipairs(turns { user "a", user "b", { role = "assistant", content = "c" }, user "", user "d" }) do
        roles[i] = turn.role
      end
      return roles
    end)())
  end)

  it("carries calls of tools, and what came of them", function()
    local messages = turns { user "Weather?",
      { role = "assistant", content = json.null, tool_calls = {
        { id = "t1", type = "function", ["function"] = { name = "weather", arguments = '{"city":"Bern"}' } },
        { id = "t2", type = "function", ["function"] = { name = "time", arguments = "" } } } },
      { role = "tool", tool_call_id = "t1", content = "rain" },
      { role = "tool", tool_call_id = "t2", content = { { type = "text", text = "noon" } } },
      user "And?" }
    assert.equal(3, #messages)
    assert.same({ { type = "tool_use", id = "t1", name = "weather", input = { city = "Bern" } },
      { type = "tool_use", id = "t2", name = "time", input = {} } }, messages[2].content)
    assert.same({ { type = "tool_result", tool_use_id = "t1", content = "rain" },
      { type = "tool_result", tool_use_id = "t2", content = { { type = "text", text = "noon" } } },
      { type = "text", text = "And?" } }, messages[3].content)
    local text = select(4, chat.encode({ messages = { { role = "assistant", tool_calls = {
      { id = "t", ["function"] = { name = "f", arguments = "{}" } } } } } }, variant, codec))
    assert.truthy(text:find('"input":{}', 1, true))
  end)

  it("puts results of tools before whatever else a turn says", function()
    local calls = { { id = "a", ["function"] = { name = "f", arguments = "{}" } },
      { id = "b", ["function"] = { name = "f", arguments = "{}" } } }
    local content = turns { user "?", { role = "assistant", tool_calls = calls },
      { role = "tool", tool_call_id = "a", content = "1", is_error = true }, user "wait",
      user { { type = "tool_result", tool_use_id = "b", content = "2" }, { type = "text", text = "so" } } }[3].content
    assert.same({ { type = "tool_result", tool_use_id = "a", content = "1", is_error = true },
      { type = "tool_result", tool_use_id = "b", content = "2" }, { type = "text", text = "wait" },
      { type = "text", text = "so" } }, content)
  end)

  it("rewrites ids that other providers gave, in call and result alike", function()
    local messages = turns { user "?", { role = "assistant", tool_calls = { { id = "functions.f:0",
      ["function"] = { name = "f", arguments = { a = 1 } } } } },
      { role = "tool", tool_call_id = "functions.f:0", content = "1" } }
    assert.equal("functions_f_0", messages[2].content[1].id)
    assert.equal("functions_f_0", messages[3].content[1].tool_use_id)
    assert.same({ a = 1 }, messages[2].content[1].input)
  end)

  it("echoes its own blocks untouched, and no one else's", function()
    local items = { { type = "thinking", thinking = "hm", signature = "sig==" }, { type = "text", text = "Hi" } }
    local message = { role = "assistant", content = "Hi", native = { provider = "anthropic", items = items } }
    assert.same(items, turns({ user "a", message })[2].content)
    message.native.provider = "gemini"
    assert.same({ { type = "text", text = "Hi" } }, turns({ user "a", message })[2].content)
  end)

  it("echoes everything but the empty texts that the API sends and refuses", function()
    local items = { { type = "redacted_thinking", data = "x" }, { type = "text", text = "" },
      { type = "server_tool_use", id = "s", name = "web_search", input = json.object {} },
      { type = "tool_use", id = "toolu.1", name = "f", input = { a = json.array {} } } }
    local message = { role = "assistant", content = json.null, native = { provider = "anthropic", items = items },
      tool_calls = { { id = "other", ["function"] = { name = "g", arguments = "no JSON" } } } }
    local request = { messages = { user "a", message, user "b" } }
    assert.same({ items[1], items[3], items[4] }, sent(request).messages[2].content)
    local text = select(4, chat.encode(request, variant, codec))
    assert.truthy(text:find('"input":{"a":[]}', 1, true) and text:find('"input":{}', 1, true))
    message.native.items = { { type = "text", text = "" } }
    assert.equal(1, #turns { user "a", message, user "b" })
  end)

  it("takes what other providers' messages hold", function()
    local thought = { type = "thinking", thinking = { { type = "text", text = "hm" } } }
    local content = turns { user "?", { role = "assistant", reasoning_content = "hm", name = "x", refusal = json.null,
      content = { thought, { type = "text", text = "a" }, { type = "refusal", refusal = "no" } } }, user "b",
      { role = "assistant", content = json.null, refusal = "No." }, user "c" }
    assert.same({ { type = "text", text = "a" }, { type = "text", text = "no" } }, content[2].content)
    assert.same({ role = "assistant", content = { { type = "text", text = "No." } } }, content[4])
  end)

  it("translates tools, choices, stops and formats", function()
    local schema = { type = "object", properties = { city = { type = "string" } } }
    local body = sent {
      messages = { user "Hi" }, stop = "END", user = "u-1", reasoning_effort = "low", parallel_tool_calls = false,
      tools = { { type = "function", ["function"] = { name = "weather", description = "d", parameters = schema } },
        { type = "web_search_20250305", name = "web_search", max_uses = 5 } },
      tool_choice = { type = "function", ["function"] = { name = "weather" } },
      response_format = { type = "json_schema", json_schema = { name = "x", schema = schema } },
      seed = 1, presence_penalty = 0.1, n = 1,
    }
    assert.same({ { name = "weather", description = "d", input_schema = schema },
      { type = "web_search_20250305", name = "web_search", max_uses = 5 } }, body.tools)
    assert.same({ type = "tool", name = "weather", disable_parallel_tool_use = true }, body.tool_choice)
    assert.same({ "END" }, body.stop_sequences)
    assert.same({ user_id = "u-1" }, body.metadata)
    assert.same({ effort = "low", format = { type = "json_schema", schema = schema } }, body.output_config)
    for _, name in ipairs { "seed", "presence_penalty", "n", "stop", "user", "response_format", "reasoning_effort" } do
      assert.is_nil(body[name])
    end
    for given, expected in pairs { auto = "auto", none = "none", required = "any" } do
      local body_of = sent { messages = { user "Hi" }, tools = { {} }, tool_choice = given }
      assert.same({ type = expected }, body_of.tool_choice)
    end
  end)

  it("keeps what tools have beside their function, and completes schemas", function()
    local control = { type = "ephemeral" }
    local body = sent { messages = { user "Hi" }, tools = {
      { type = "function", cache_control = control,
        ["function"] = { name = "a", strict = true, description = json.null } },
      { type = "function", ["function"] = { name = "b", parameters = {}, input_examples = { { x = 1 } } } },
      { name = "c", input_schema = { type = "object" }, cache_control = control } } }
    assert.same({ { name = "a", strict = true, cache_control = control,
        input_schema = { type = "object", properties = {} } },
      { name = "b", input_examples = { { x = 1 } }, input_schema = { type = "object" } },
      { name = "c", input_schema = { type = "object" }, cache_control = control } }, body.tools)
    local text = select(4, chat.encode({ messages = { user "Hi" }, tools = { { type = "function",
      ["function"] = { name = "a" } } } }, variant, codec))
    assert.truthy(text:find('"input_schema":{"properties":{},"type":"object"}', 1, true))
  end)

  it("writes schemas in one order", function()
    local schema = { type = "object", properties = { zebra = { type = "string" }, apple = { type = "number" } } }
    local request = { messages = { user "Hi" }, tools = { { name = "f", input_schema = schema } } }
    local text = select(4, chat.encode(request, variant, codec))
    assert.truthy(text:find('{"input_schema":{"properties":{"apple":{"type":"number"},"zebra":{"type":"string"}},'
      .. '"type":"object"},"name":"f"}', 1, true))
  end)

  it("chooses tools only where there are any", function()
    local tools = { { name = "f" } }
    for _, row in ipairs {
      { { tools = tools, parallel_tool_calls = false }, { type = "auto", disable_parallel_tool_use = true } },
      { { tools = tools, tool_choice = "required", parallel_tool_calls = false },
        { type = "any", disable_parallel_tool_use = true } },
      { { tools = tools, tool_choice = "none", parallel_tool_calls = false }, { type = "none" } },
      { { tools = tools, tool_choice = { type = "tool", name = "f" }, parallel_tool_calls = false },
        { type = "tool", name = "f", disable_parallel_tool_use = true } },
      { { tools = tools, tool_choice = { type = "function", name = "f" } }, { type = "tool", name = "f" } },
      { { tools = tools, parallel_tool_calls = true }, nil },
      { { tools = {}, tool_choice = "none", parallel_tool_calls = false }, nil },
      { { tool_choice = "auto" }, nil },
    } do
      row[1].messages = { user "Hi" }
      local body = assert(sent(row[1]))
      assert.same(row[2], body.tool_choice)
      assert.equal(row[1].tools and #row[1].tools > 0 or nil, body.tools and true)
    end
  end)

  it("says how much to think in the API's own words", function()
    local function of(fields)
      fields.messages = { user "Hi" }
      local body = sent(fields)
      return { body.output_config, body.thinking, body.reasoning_effort }
    end
    assert.same({ { effort = "xhigh" } }, of { reasoning_effort = "xhigh" })
    assert.same({ { effort = "low" } }, of { reasoning_effort = "minimal" })
    assert.same({ [2] = { type = "disabled" } }, of { reasoning_effort = "none" })
    assert.same({ { effort = "max" }, { type = "adaptive" } },
      of { reasoning_effort = "low", output_config = { effort = "max" }, thinking = { type = "adaptive" } })
    assert.same({}, of { reasoning_effort = json.null })
  end)

  it("asks for structured output in output_config", function()
    local schema = { type = "object", properties = {}, additionalProperties = false }
    local format = { type = "json_schema", json_schema = { name = "x", strict = true, schema = schema } }
    local own = { effort = "low" }
    local body = sent { messages = { user "Hi" }, response_format = format, output_config = own }
    assert.same({ effort = "low", format = { type = "json_schema", schema = schema } }, body.output_config)
    for _, kind in ipairs { "text", "json_object" } do
      body = sent { messages = { user "Hi" }, response_format = { type = kind } }
      assert.same({ nil, nil }, { body.output_config, body.response_format })
    end
  end)

  it("leaves out what Anthropic refuses and nobody misses", function()
    local body = sent { messages = { user "Hi" }, frequency_penalty = 1, presence_penalty = 1, logit_bias = { a = 1 },
      seed = 1, logprobs = true, top_logprobs = 2, verbosity = "low", modalities = { "text" }, prediction = {},
      prompt_cache_key = "k", prompt_cache_retention = "24h", store = true, stream_options = {}, service_tier = "flex",
      metadata = { order = "1" }, n = 1, top_p = json.null, functions = json.null, stop = {} }
    assert.same({ "max_tokens", "messages", "model" }, (function()
      local names = {}
      for name in pairs(body) do
        names[#names + 1] = name
      end
      table.sort(names)
      return names
    end)())
    for name, why in pairs(require("surefoot.provider.anthropic_request").DROPPED) do
      assert.is_true(#why > 0, name)
    end
  end)

  it("carries what has a counterpart", function()
    local body = sent { messages = { user "Hi" }, stop = { "a", "b" }, temperature = 1.7, top_p = 0.9, top_k = 5,
      service_tier = "standard_only", metadata = { order = "1" }, safety_identifier = "s", user = "u" }
    assert.same({ { "a", "b" }, 1, 0.9, 5, "standard_only", { user_id = "s" } }, { body.stop_sequences,
      body.temperature, body.top_p, body.top_k, body.service_tier, body.metadata })
    body = sent { messages = { user "Hi" }, metadata = { user_id = "own" }, user = "u" }
    assert.same({ user_id = "own" }, body.metadata)
    assert.same({ "own" }, sent({ messages = { user "Hi" }, stop = "x", stop_sequences = { "own" } }).stop_sequences)
  end)

  it("says what is wrong by the caller's own path", function()
    local request = { messages = { { role = "system", content = "s" }, user { { type = "text", text = "\255" } } } }
    assert.same({ nil, "messages[2].content[1].text: invalid UTF-8 at byte 1 of 1 (0xFF)" }, { sent(request) })
  end)

  it("says what cannot be sent", function()
    local function calling(call)
      return { messages = { { role = "assistant", tool_calls = { call } } } }
    end
    for problem, request in pairs {
      ["n: Anthropic gives one answer to a request, not 2"] = { n = 2, messages = { user "Hi" } },
      ["n: Anthropic gives one answer to a request, not 1.5"] = { n = 1.5, messages = { user "Hi" } },
      ["messages: expected a list, got nothing"] = {},
      ["messages: Anthropic wants at least one message of the user's, and one that is not empty"] = {
        messages = { { role = "system", content = "s" }, user " " } },
      ["messages[1]: expected a message, got a number"] = { messages = { 1 } },
      ["messages[1].content: expected a text or a list of parts, got an object"] = { messages = { user { a = 1 } } },
      ["messages[1].content: expected a text or a list of parts, got a number"] = { messages = { user(1) } },
      ["messages[1].content[1]: expected a part, { type =, ... }, got a number"] = { messages = { user { 1 } } },
      ["messages[1].content[1].file: neither file_data, file_url nor file_id"] = {
        messages = { user { { type = "file" } } } },
      ['messages[1].role: expected system, developer, user, assistant or tool, got "function"'] = {
        messages = { { role = "function", name = "f", content = "x" } } },
      ['messages[1].tool_calls[1]: expected { id =, type = "function", ["function"] = { name =, arguments = } }'] =
        calling { id = "x", type = "custom", custom = {} },
      ["messages[1].tool_calls[1].id: expected the id of the call, got nothing"] =
        calling { ["function"] = { name = "f" } },
      ["messages[1].tool_calls[1].function.name: expected a name, got nothing"] =
        calling { id = "x", ["function"] = {} },
      ['messages[1].tool_calls[1].function.arguments: expected a JSON object in a string, got "[1]"'] =
        calling { id = "x", ["function"] = { name = "f", arguments = "[1]" } },
      ["messages[1].tool_calls[1].function.arguments: expected a JSON object in a string, got a number"] =
        calling { id = "x", ["function"] = { name = "f", arguments = 5 } },
      ["functions: Anthropic has no counterpart; give them as tools"] = { functions = {}, messages = { user "Hi" } },
      ["audio: Anthropic has no counterpart; Anthropic answers in text"] = { audio = {}, messages = { user "Hi" } },
      ["tools[1]: expected a tool, got a number"] = { tools = { 1 }, messages = { user "Hi" } },
      ["tools[1].function: expected a table, got nothing"] = { tools = { { type = "function" } },
        messages = { user "Hi" } },
      ["tools[1].function.parameters: expected a JSON schema, got \"x\""] = { messages = { user "Hi" },
        tools = { { type = "function", ["function"] = { name = "f", parameters = "x" } } } },
      ["tool_choice: there are no tools to choose from"] = { tool_choice = "required", messages = { user "Hi" } },
      ['tool_choice: Anthropic has no counterpart for "some"'] = { tool_choice = "some", messages = { user "Hi" } },
      ["tool_choice: Anthropic has no counterpart for allowed_tools"] = { tool_choice = { type = "allowed_tools" },
        messages = { user "Hi" } },
      ["response_format.json_schema.schema: missing"] = { response_format = { type = "json_schema" },
        messages = { user "Hi" } },
      ['response_format.type: Anthropic has no counterpart for "grammar"'] = { response_format = { type = "grammar" },
        messages = { user "Hi" } },
      ["reasoning_effort: expected a text, got a number"] = { reasoning_effort = 1, messages = { user "Hi" } },
      ['messages[1].role: expected system, developer, user, assistant or tool, got "robot"'] = {
        messages = { { role = "robot" } } },
      ["messages[1].tool_calls[1].function.arguments: expected a JSON object in a string, got \"{oops\""] = {
        messages = { { role = "assistant", tool_calls = { { id = "x", ["function"] = { name = "f",
          arguments = "{oops" } } } } } },
      ["messages[1].tool_call_id: expected the id of the call, got nothing"] = { messages = { { role = "tool" } } },
      ["messages[1].content[1]: Anthropic takes no audio"] = { messages = { user { { type = "input_audio" } } } },
      ["messages[1].content[1].image_url.url: expected a data URL that names its media type, in base64 "
        .. '(data:image/png;base64,...), got "data:text/plain,x"'] = {
        messages = { user { { type = "image_url", image_url = { url = "data:text/plain,x" } } } } },
    } do
      assert.same({ nil, problem }, { sent(request) })
    end
    assert.same({ nil, "Anthropic offers no embeddings" }, { embeddings.encode() })
    assert.equal("Anthropic offers no embeddings", select(2, embeddings.decode()).message)
  end)
end)
