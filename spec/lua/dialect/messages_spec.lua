-- Callers of Anthropic's Messages API: their requests in the chat shape and back again, answers as the API gives them,
-- whole and in pieces. What is written is read by surefoot's own reader of that API (surefoot.provider.anthropic).
local anthropic = require "surefoot.provider.anthropic"
local formats = require "surefoot.provider".formats
local json = require "surefoot.json"
local messages = require "surefoot.dialect.messages"
local replay = require "spec.support.replay"
local streams = require "spec.wire.streams"

local codec = json.new()

local function context(document)
  return { codec = codec, document = document, model = "asked", id = "5f-0d", created = 1700000000 }
end

local function read(document)
  document.max_tokens = document.max_tokens or 100
  return messages.read(document, context(document))
end

-- The request that a line of Anthropic's gets after the translation there and back.
local function there_and_back(document)
  local request = assert(read(document))
  local _, _, _, body = anthropic.operations.chat.encode(request, { provider = "anthropic", model = "m" }, codec)
  return assert(codec.decode(assert(body)))
end

local function said(...)
  return { { role = "user", content = "q" }, { role = "assistant", content = { ... } },
    { role = "user", content = "r" } }
end

local function user(...)
  return { { role = "user", content = { ... } } }
end

local PNG = { type = "base64", media_type = "image/png", data = "aGk=" }
local SCHEMA = { type = "object", properties = { city = { type = "string" } }, required = { "city" },
  additionalProperties = false }

describe("a Messages request in the chat shape", function()
  it("has the system's texts before the others", function()
    local request = assert(read { system = "be short", messages = { { role = "user", content = "hi" } } })
    assert.same({ { role = "system", content = "be short" }, { role = "user", content = "hi" } }, request.messages)
    local blocks = { { type = "text", text = "a", cache_control = { type = "ephemeral" } },
      { type = "text", text = "b" } }
    request = assert(read { system = blocks, messages = { { role = "user", content = "hi" } } })
    assert.same({ { type = "text", text = "a" }, { type = "text", text = "b" } }, request.messages[1].content)
    request = assert(read { system = "", messages = { { role = "user", content = "hi" },
      { role = "system", content = "mind this" } } })
    assert.same({ { role = "user", content = "hi" }, { role = "system", content = "mind this" } }, request.messages)
  end)

  it("has pictures and files as data URLs or addresses", function()
    local request = assert(read { messages = user({ type = "text", text = "look" }, { type = "image", source = PNG },
      { type = "image", source = { type = "url", url = "https://x/y.png" } },
      { type = "document", title = "a.pdf", context = "old", source = { type = "base64",
        media_type = "application/pdf", data = "cGRm" } },
      { type = "document", title = "notes", source = { type = "text", media_type = "text/plain", data = "so" } },
      { type = "document", source = { type = "content", content = { { type = "text", text = "in" },
        { type = "image", source = PNG } } } },
      { type = "search_result", title = "T", source = "S", content = { { type = "text", text = "found" } } }) })
    local picture = { type = "image_url", image_url = { url = "data:image/png;base64,aGk=" } }
    assert.same({
      { type = "text", text = "look" }, picture, { type = "image_url", image_url = { url = "https://x/y.png" } },
      { type = "text", text = "old\n\n" },
      { type = "file", file = { filename = "a.pdf", file_data = "data:application/pdf;base64,cGRm" } },
      { type = "text", text = "notes\n\n" }, { type = "text", text = "so" },
      { type = "text", text = "in" }, picture, { type = "text", text = "T\nS\n\n" }, { type = "text", text = "found" },
    }, request.messages[1].content)
  end)

  it("has calls and their results, pictures of which follow", function()
    local request = assert(read { messages = {
      { role = "user", content = "q" },
      { role = "assistant", content = { { type = "text", text = "let me " }, { type = "text", text = "see" },
        { type = "tool_use", id = "toolu_1", name = "look", input = { at = "x" } },
        { type = "tool_use", id = "toolu_2", name = "nothing", input = {} } } },
      { role = "user", content = { { type = "text", text = "here" },
        { type = "tool_result", tool_use_id = "toolu_1", content = { { type = "text", text = "a picture" },
          { type = "image", source = PNG } } },
        { type = "tool_result", tool_use_id = "toolu_2", content = "no", is_error = true },
        { type = "tool_result", tool_use_id = "toolu_3", is_error = true },
        { type = "tool_result", tool_use_id = "toolu_4" } } },
    } })
    local turn = request.messages[2]
    assert.equal("let me see", turn.content)
    assert.same({
      { id = "toolu_1", type = "function", ["function"] = { name = "look", arguments = '{"at":"x"}' } },
      { id = "toolu_2", type = "function", ["function"] = { name = "nothing", arguments = "{}" } },
    }, turn.tool_calls)
    assert.same({
      { role = "tool", tool_call_id = "toolu_1", content = { { type = "text", text = "a picture" },
        { type = "text", text = "[image 1 of the result of toolu_1: see below]" } } },
      { role = "tool", tool_call_id = "toolu_2", content = "no", is_error = true },
      { role = "tool", tool_call_id = "toolu_3", content = "error", is_error = true },
      { role = "tool", tool_call_id = "toolu_4", content = "" },
      { role = "user", content = { { type = "text", text = "[image 1 of the result of toolu_1]" },
        { type = "image_url", image_url = { url = "data:image/png;base64,aGk=" } },
        { type = "text", text = "here" } } },
    }, { request.messages[3], request.messages[4], request.messages[5], request.messages[6], request.messages[7] })
  end)

  it("keeps an assistant's blocks for lines of Anthropic's, but for thoughts that nobody signed", function()
    local call = { type = "tool_use", id = "t", name = "f", input = { a = 1 } }
    local thought = { type = "thinking", thinking = "hm", signature = "sig" }
    local hidden = { type = "redacted_thinking", data = "x" }
    local search = { type = "server_tool_use", id = "s", name = "web_search", input = { query = "q" } }
    local found = { type = "web_search_tool_result", tool_use_id = "s", content = {} }
    local unsigned = { type = "thinking", thinking = "else", signature = "" }
    local request = assert(read { messages = said(thought, unsigned, hidden, search, found, call) })
    local turn = request.messages[2]
    assert.same({ provider = "anthropic", items = { thought, hidden, search, found, call } }, turn.native)
    assert.equal(json.null, turn.content)
    local body = there_and_back { messages = said(thought, unsigned, hidden, search, found, call) }
    assert.same({ thought, hidden, search, found, call }, body.messages[2].content)
    request = assert(read { messages = said(unsigned) })
    assert.same({ { role = "user", content = "q" }, { role = "user", content = "r" } }, request.messages)
    assert.same("earlier", assert(read { messages = said { type = "compaction", content = "earlier" } })
      .messages[2].content)
  end)

  it("goes as it is to lines of Anthropic's, unless another provider's thoughts are in it", function()
    assert.is_true(messages.passes { messages = said { type = "thinking", thinking = "a", signature = "s" } })
    assert.is_true(messages.passes { messages = "odd" })
    assert.is_false(messages.passes { messages = said { type = "thinking", thinking = "a", signature = "" } })
  end)

  it("has the limits, the stops and the user by OpenAI's names", function()
    local long = ("u"):rep(63) .. "é"
    local request = assert(read { messages = user { type = "text", text = "hi" }, max_tokens = 7, temperature = 0.5,
      top_p = 0.9, top_k = 5, stop_sequences = { "END" }, metadata = { user_id = long }, stream = true, model = "x" })
    assert.same({ messages = { { role = "user", content = "hi" } }, max_completion_tokens = 7, temperature = 0.5,
      top_p = 0.9, top_k = 5, stop = { "END" }, user = ("u"):rep(63) }, request)
  end)

  it("has tools and their choice", function()
    local document = { messages = user { type = "text", text = "hi" }, tools = {
      { name = "f", description = "d", input_schema = SCHEMA, strict = true, cache_control = { type = "ephemeral" } },
      { type = "custom", name = "g", strict = true, input_schema = { type = "object", properties = { a = {} } } },
    } }
    local request = assert(read(document))
    assert.same({
      { type = "function", ["function"] = { name = "f", description = "d", parameters = SCHEMA, strict = true } },
      { type = "function", ["function"] = { name = "g", parameters = { type = "object", properties = { a = {} } } } },
    }, request.tools)
    assert.is_nil(request.tool_choice)
    for kind, choice in pairs { auto = "auto", any = "required", none = "none",
      tool = { type = "function", ["function"] = { name = "f" } } } do
      document.tool_choice = { type = kind, name = kind == "tool" and "f" or nil }
      assert.same(choice, assert(read(document)).tool_choice)
    end
    document.tool_choice = { type = "auto", disable_parallel_tool_use = true }
    assert.is_false(assert(read(document)).parallel_tool_calls)
    document.tools = {}
    request = assert(read(document))
    assert.is_nil(request.tools)
    assert.is_nil(request.tool_choice)
    assert.is_nil(request.parallel_tool_calls)
  end)

  it("asks for thoughts by effort", function()
    local function effort(thinking, config)
      return assert(read { messages = user { type = "text", text = "hi" }, thinking = thinking,
        output_config = config }).reasoning_effort
    end
    assert.equal("low", effort { type = "enabled", budget_tokens = 1024 })
    assert.equal("medium", effort { type = "enabled", budget_tokens = 10000 })
    assert.equal("high", effort { type = "enabled", budget_tokens = 31999 })
    assert.is_nil(effort { type = "disabled" })
    assert.is_nil(effort { type = "adaptive" })
    assert.equal("medium", effort({ type = "adaptive" }, { effort = "medium" }))
    assert.equal("low", effort({ type = "enabled", budget_tokens = 31999 }, { effort = "low" }))
    assert.equal("xhigh", effort(nil, { effort = "max" }))
  end)

  it("asks for JSON by schema, strictly where OpenAI takes it so", function()
    local function format(schema, field)
      local form = { type = "json_schema", schema = schema }
      local document = { messages = user { type = "text", text = "hi" } }
      document[field] = field == "output_config" and { format = form } or form
      return assert(read(document)).response_format
    end
    assert.same({ type = "json_schema", json_schema = { name = "answer", schema = SCHEMA, strict = true } },
      format(SCHEMA, "output_config"))
    assert.is_true(format(SCHEMA, "output_format").json_schema.strict)
    for _, schema in ipairs {
      { type = "object", properties = { a = { type = "string" } }, additionalProperties = false },
      { type = "object", properties = { a = { type = "string" } }, required = { "a" } },
      { type = "object", properties = { a = { type = "array", items = { type = "object", properties = { b = {} } } } },
        required = { "a" }, additionalProperties = false },
      { anyOf = { SCHEMA, { allOf = { SCHEMA } } } },
      { type = "object", properties = {}, additionalProperties = false, ["$defs"] = { x = { type = "object" } } },
    } do
      assert.is_false(format(schema, "output_config").json_schema.strict)
    end
  end)

  it("leaves out what makes no other answer, and passes what is unknown", function()
    local request = assert(read { messages = user { type = "text", text = "hi" }, seed = 7, future = { a = 1 },
      cache_control = { type = "ephemeral" }, service_tier = "auto", context_management = { edits = {} },
      mcp_servers = json.array(), container = json.null, system = json.null, tools = json.null })
    assert.same({ messages = { { role = "user", content = "hi" } }, max_completion_tokens = 100, seed = 7,
      future = { a = 1 } }, request)
  end)

  it("is not written to", function()
    local unsigned = { type = "thinking", thinking = "a", signature = "" }
    local document = { max_tokens = 5, system = "s", messages = said(unsigned, { type = "tool_use",
      id = "surefoot_a_2Eb", name = "f", input = { x = { 1 } } }), tools = { { name = "f", input_schema = SCHEMA } },
      tool_choice = { type = "any" } }
    local before = replay.deep(document)
    there_and_back(document)
    replay.same(before, document, "the document")
  end)
end)

describe("what is wrong with a Messages request", function()
  local hi = user { type = "text", text = "hi" }
  local tool = { name = "f", input_schema = SCHEMA }
  for param, document in pairs {
    ["messages"] = { messages = {} },
    ["messages.0"] = { messages = { "hi" } },
    ["messages.0.role"] = { messages = { { role = "bot", content = "hi" } } },
    ["messages.0.content"] = { messages = { { role = "user", content = 7 } } },
    ["messages.0.content.0"] = { messages = user(true) },
    ["messages.0.content.0.type"] = { messages = user { type = "hologram" } },
    ["messages.0.content.0.text"] = { messages = user { type = "text" } },
    ["messages.0.content.0.source"] = { messages = user { type = "image" } },
    ["messages.0.content.0.source.data"] = { messages = user { type = "image", source = { type = "base64",
      media_type = "image/png" } } },
    ["messages.0.content.0.source.type"] = { messages = user { type = "image", source = { type = "carrier pigeon" } } },
    ["messages.0.content.1.source"] = { messages = user({ type = "text", text = "a" }, { type = "document",
      source = { type = "file", file_id = "file_1" } }) },
    ["messages.0.content.0.citations"] = { messages = user { type = "document", source = { type = "text", data = "x" },
      citations = { enabled = true } } },
    ["messages.0.content.0.tool_use_id"] = { messages = user { type = "tool_result", content = "x" } },
    ["messages.0.content.0.content.0.type"] = { messages = user { type = "tool_result", tool_use_id = "t",
      content = { { type = "tool_reference", tool_name = "x" } } } },
    ["messages.1.content.0.type"] = { messages = said { type = "image", source = PNG } },
    ["messages.1.content.0.input"] = { messages = said { type = "tool_use", id = "t", name = "f", input = { 1 } } },
    ["messages.1.content.0.id"] = { messages = said { type = "tool_use", name = "f", input = {} } },
    ["messages.1"] = { messages = { hi[1], { role = "assistant", content = "{" } } },
    ["system.0.type"] = { messages = hi, system = { { type = "image", source = PNG } } },
    ["max_tokens"] = { messages = hi, max_tokens = 0.5 },
    ["temperature"] = { messages = hi, temperature = "hot" },
    ["stop_sequences.1"] = { messages = hi, stop_sequences = { "a", 2 } },
    ["metadata.user_id"] = { messages = hi, metadata = { user_id = 7 } },
    ["thinking.type"] = { messages = hi, thinking = { type = "loud" } },
    ["thinking.budget_tokens"] = { messages = hi, thinking = { type = "enabled" } },
    ["output_config.future"] = { messages = hi, output_config = { future = true } },
    ["output_config.format.type"] = { messages = hi, output_config = { format = { type = "xml" } } },
    ["output_format.schema"] = { messages = hi, output_format = { type = "json_schema" } },
    ["tools.0.type"] = { messages = hi, tools = { { type = "web_search_20250305", name = "web_search" } } },
    ["tools.0.name"] = { messages = hi, tools = { { input_schema = SCHEMA } } },
    ["tools.1.input_schema"] = { messages = hi, tools = { tool, { name = "g" } } },
    ["tools.0.allowed_callers"] = { messages = hi, tools = { { name = "g", input_schema = SCHEMA,
      allowed_callers = { "code_execution_20260120" } } } },
    ["tool_choice"] = { messages = hi, tool_choice = { type = "any" } },
    ["tool_choice.type"] = { messages = hi, tools = { tool }, tool_choice = "auto" },
    ["tool_choice.name"] = { messages = hi, tools = { tool }, tool_choice = { type = "tool" } },
    ["container"] = { messages = hi, container = "container_1" },
    ["thread"] = { messages = hi, thread = { type = "create" } },
    ["mcp_servers"] = { messages = hi, mcp_servers = { { name = "a" } } },
  } do
    it("is told with the field's name: " .. param, function()
      local request, message, field = read(document)
      assert.is_nil(request)
      assert.equal(param, field)
      assert.equal(param .. ": ", message:sub(1, #param + 2))
    end)
  end

  it("is told where a field is missing", function()
    local _, message, field = messages.read({ messages = hi }, context())
    assert.same({ "max_tokens: is required", "max_tokens" }, { message, field })
    _, message, field = messages.read({ max_tokens = 5, messages = user() }, context())
    assert.same({ "messages: no message says anything", "messages" }, { message, field })
    _, message, field = messages.read({ max_tokens = 5, messages = json.null }, context())
    assert.same({ "messages: is required", "messages" }, { message, field })
  end)
end)

-- ------------------------------------------------------------------------------------------------------ there and back

-- A conversation as callers write them, of which nothing is lost on the way.
local function conversation(random)
  local function pick(list)
    return list[random(#list)]
  end
  local function word()
    return pick { "one", "two words", "d\195\169j\195\160", "a \"quoted\" \\ line\n" } .. random(1000)
  end
  local function texts(most)
    local list = {}
    for i = 1, random(most) do
      list[i] = { type = "text", text = word() }
    end
    return list
  end
  local calls, turns = {}, {}
  local function user_turn()
    local blocks = {}
    for _, id in ipairs(calls) do
      blocks[#blocks + 1] = { type = "tool_result", tool_use_id = id, content = pick { word(), word() },
        is_error = random(4) == 1 or nil }
    end
    for _, block in ipairs(random(3) > 1 and texts(3) or #blocks == 0 and texts(1) or {}) do
      blocks[#blocks + 1] = block
      if random(4) == 1 then
        blocks[#blocks + 1] = { type = "image", source = pick { PNG, { type = "url", url = "https://x/" .. word() } } }
      end
    end
    calls = {}
    return { role = "user", content = blocks }
  end
  local function assistant_turn()
    local blocks = {}
    if random(3) == 1 then
      blocks[1] = pick { { type = "thinking", thinking = word(), signature = word() },
        { type = "redacted_thinking", data = word() } }
    end
    for _, block in ipairs(texts(3)) do
      blocks[#blocks + 1] = block
      if random(2) == 1 then
        calls[#calls + 1] = "toolu_" .. random(1000000) .. "_" .. #turns .. "_" .. #calls
        blocks[#blocks + 1] = { type = "tool_use", id = calls[#calls], name = pick { "f", "g" },
          input = pick { { a = word() }, { list = { 1, "x", { y = false } } } } }
      end
    end
    return { role = "assistant", content = blocks }
  end
  for i = 1, 2 * random(4) - 1 do
    turns[i] = i % 2 == 1 and user_turn() or assistant_turn()
  end
  local document = { model = "m", messages = turns, max_tokens = random(5000), system = texts(2) }
  if random(2) == 1 then
    document.tools = { { name = "f", description = word(), input_schema = SCHEMA, strict = true } }
    document.tool_choice = pick { { type = "auto" }, { type = "any", disable_parallel_tool_use = true },
      { type = "tool", name = "f" }, { type = "none" } }
  end
  document.temperature = pick { 0, 0.25, 1 }
  document.stop_sequences = random(2) == 1 and { word(), word() } or nil
  document.metadata = random(2) == 1 and { user_id = "u" .. random(9) } or nil
  document.output_config = random(2) == 1 and { effort = pick { "low", "high", "xhigh" } } or nil
  return document
end

describe("a Messages request, there and back", function()
  it("is the same request for a line of Anthropic's", function()
    for seed = 1, 150 do
      local document = conversation(streams.random(seed * 104729))
      local before = codec.encode(document)
      replay.same(codec.decode(before), there_and_back(document), "seed " .. seed)
      assert.equal(before, codec.encode(document))
    end
  end)

  it("can be written for every provider", function()
    for seed = 1, 30 do
      local document = conversation(streams.random(seed * 15485863))
      document.stop_sequences = nil -- the Responses API has none
      local request = assert(read(document))
      for name, format in pairs(formats) do
        local _, problem, _, body = format.operations.chat.encode(request, { provider = name, model = "gemini-3-pro",
          traits = {} }, codec, nil, true)
        assert(body, tostring(problem))
        assert.is_nil(body:find('"native"', 1, true))
      end
    end
  end)
end)
