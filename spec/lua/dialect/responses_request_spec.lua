-- Requests of callers who speak the Responses API, as chat requests.
local json = require "surefoot.json"
local replay = require "spec.support.replay"
local shared = require "spec.lua.dialect.responses"
local streams = require "spec.wire.streams"

local read, messages_of, plain, sent = shared.read, shared.messages_of, shared.plain, shared.sent
local user, said, called, output, call = shared.user, shared.said, shared.called, shared.output, shared.call

describe("a Responses request as a chat request", function()
  it("has its texts as messages", function()
    assert.same({ user "Hi" }, messages_of(user "Hi"))
    assert.same({ model = "m", messages = { user "Hi" } }, read { model = "m", input = "Hi" })
    assert.same({ { role = "system", content = "Be brief" }, user "Hi" },
      read({ input = "Hi", instructions = "Be brief" }).messages)
    assert.same({ user "Hi" }, read({ input = "Hi", instructions = "" }).messages)
    assert.same({ { role = "system", content = "a" }, { role = "system", content = "b" }, user "c",
      { role = "assistant", content = "d" }, user "e" },
      plain(messages_of({ type = "message", role = "developer", content = { { type = "input_text", text = "a" } } },
        { role = "system", content = "b" }, { type = "message", role = "user", content = "c" }, said "d", user "e")))
  end)

  it("has parts in chat's words", function()
    assert.same({ { role = "user", content = {
      { type = "text", text = "See" }, { type = "text", text = "cached", cache_control = { type = "ephemeral" } },
      { type = "image_url", image_url = { url = "https://x/y.png", detail = "low" } },
      { type = "image_url", image_url = { url = "data:image/png;base64,AA", detail = "high" } },
      { type = "image_url", image_url = { url = "https://x/z.png" } },
      { type = "file", file = { file_data = "data:application/pdf;base64,AA", filename = "a.pdf" } },
      { type = "file", file = { file_id = "file-1" } }, { type = "file", file = { file_url = "https://x/z.pdf" } },
      { type = "input_audio", input_audio = { data = "AA", format = "wav" } },
    } } }, messages_of { role = "user", content = {
      { type = "input_text", text = "See" },
      { type = "input_text", text = "cached", cache_control = { type = "ephemeral" } },
      { type = "input_image", image_url = "https://x/y.png", detail = "low" },
      { type = "input_image", image_url = "data:image/png;base64,AA", detail = "original", file_id = json.null },
      { type = "input_image", image_url = "https://x/z.png", detail = "auto" },
      { type = "input_file", file_data = "data:application/pdf;base64,AA", filename = "a.pdf", file_url = json.null },
      { type = "input_file", file_id = "file-1" }, { type = "input_file", file_url = "https://x/z.pdf" },
      { type = "input_audio", input_audio = { data = "AA", format = "wav" } } } })
    assert.same({ { role = "user", content = "" } }, messages_of { role = "user", content = json.array {} })
  end)

  it("has what the model said in one go as one message, its calls before their results", function()
    local reasoning = { type = "reasoning", id = "rs_1", summary = {}, encrypted_content = "gAAA" }
    local custom = { type = "custom_tool_call", id = "ctc_1", call_id = "c", name = "steer", input = "N" }
    local items = { user "Go", reasoning, said "Looking", called("a", "f", '{"x":1}'), called("b", "f", "{}"), custom,
      output("a", "1"), output("b", { { type = "input_text", text = "2" } }),
      { type = "custom_tool_call_output", call_id = "c", output = { { type = "input_text", text = "3" },
        { type = "input_image", image_url = "https://x/y.png" } } }, said "Done" }
    local messages = messages_of((table.unpack or unpack)(items))
    assert.same({
      user "Go", { role = "assistant", content = "Looking", tool_calls = { call("a", "f", '{"x":1}'),
        call("b", "f", "{}"), { id = "c", type = "custom", custom = { name = "steer", input = "N" } } } },
      { role = "tool", tool_call_id = "a", content = "1" }, { role = "tool", tool_call_id = "b", content = "2" },
      { role = "tool", tool_call_id = "c", content = { { type = "text", text = "3" },
        { type = "image_url", image_url = { url = "https://x/y.png" } } } },
      { role = "assistant", content = "Done" },
    }, plain(messages))
    assert.same({ provider = "responses", items = { reasoning, items[3], items[4], items[5], custom } },
      messages[2].native)
    assert.equal("gAAA", messages[2].native.items[1].encrypted_content)
  end)

  it("keeps messages in a row apart, where no call would lose its place", function()
    assert.same({ { role = "assistant", content = "a" }, { role = "assistant", content = "b",
      tool_calls = { call("x", "f", "{}") } }, { role = "tool", tool_call_id = "x", content = "1" } },
      plain(messages_of(said "a", said "b", called("x", "f", "{}"), output("x", "1"))))
    assert.same({ { role = "assistant", content = "a\n\nb",
      tool_calls = { call("x", "f", "{}"), call("y", "g", "{}") } },
      { role = "tool", tool_call_id = "x", content = "1" }, { role = "tool", tool_call_id = "y", content = "2" } },
      plain(messages_of(said "a", called("x", "f", "{}"), said "b", called("y", "g", "{}"), output("x", "1"),
        output("y", "2"))))
  end)

  it("has refusals, calls without a text, and nothing of reasoning by itself", function()
    assert.same({ { role = "assistant", content = json.null, refusal = "No" }, user "x" }, plain(messages_of(
      { type = "message", role = "assistant", content = { { type = "refusal", refusal = "No" } } },
      { type = "reasoning", summary = {}, encrypted_content = "g" }, user "x")))
    assert.same({ { role = "assistant", content = json.null, tool_calls = { call("x", "f", "{}") } } },
      plain(messages_of(called("x", "f", "{}"))))
    assert.same({ { role = "assistant", content = "" } }, plain(messages_of(said "")))
  end)

  it("has tools and their choice in chat's shape", function()
    local schema = { type = "object", properties = { a = { type = "string" } } }
    local request = read { input = "x", parallel_tool_calls = false, tool_choice = { type = "function", name = "f" },
      tools = { { type = "function", name = "f", description = "d", parameters = schema, strict = true },
        { type = "function", name = "g", parameters = json.null, strict = json.null },
        { type = "custom", name = "c", format = { type = "grammar", syntax = "lark", definition = "x" } },
        { type = "custom", name = "d", description = "text", format = { type = "text" } } } }
    assert.same({
      { type = "function", ["function"] = { name = "f", description = "d", parameters = schema, strict = true } },
      { type = "function", ["function"] = { name = "g" } },
      { type = "custom", custom = { name = "c", format = { type = "grammar", grammar = { syntax = "lark",
        definition = "x" } } } },
      { type = "custom", custom = { name = "d", description = "text", format = { type = "text" } } },
    }, request.tools)
    assert.same({ type = "function", ["function"] = { name = "f" } }, request.tool_choice)
    assert.is_false(request.parallel_tool_calls)
    assert.same({ type = "allowed_tools", allowed_tools = { mode = "auto", tools = { { type = "function",
      ["function"] = { name = "f" } }, { type = "custom", custom = { name = "c" } } } } },
      read({ input = "x", tools = { { type = "function", name = "f" } }, tool_choice = { type = "allowed_tools",
        mode = "auto", tools = { { type = "function", name = "f" }, { type = "custom", name = "c" } } } }).tool_choice)
    assert.equal("required", read({ input = "x", tool_choice = "required" }).tool_choice)
    assert.same({ messages = { user "x" } },
      read { input = "x", tools = json.array {}, tool_choice = "auto", parallel_tool_calls = true })
  end)

  it("has fields under chat's names, or none where they change nothing", function()
    local schema = { type = "object" }
    assert.same({ model = "m", messages = { user "x" }, max_completion_tokens = 5, temperature = 0.5, top_p = 0.9,
      reasoning_effort = "low", verbosity = "high", user = "u", safety_identifier = "s", prompt_cache_key = "k",
      service_tier = "flex", logprobs = true, top_logprobs = 2, seed = 7, stream = true,
      response_format = { type = "json_schema", json_schema = { name = "n", schema = schema, strict = true } } },
      read { model = "m", input = "x", max_output_tokens = 5, temperature = 0.5, top_p = 0.9, user = "u",
        reasoning = { effort = "low", summary = "auto" }, safety_identifier = "s", prompt_cache_key = "k", seed = 7,
        text = { verbosity = "high", format = { type = "json_schema", name = "n", schema = schema, strict = true,
          description = json.null } }, service_tier = "flex", top_logprobs = 2, store = true, stream = true,
        metadata = { a = "b" }, truncation = "auto", stream_options = { include_obfuscation = false },
        include = { "reasoning.encrypted_content" }, background = false, previous_response_id = json.null,
        max_tool_calls = 3 })
    assert.same({ messages = { user "x" }, response_format = { type = "json_object" } },
      read { input = "x", text = { format = { type = "json_object" }, verbosity = "medium" }, reasoning = json.null })
    assert.same({ messages = { user "x" }, logprobs = true },
      read { input = "x", text = { format = { type = "text" } }, top_logprobs = 0,
        include = { "message.output_text.logprobs" } })
  end)

  local function of(item)
    return { input = { "first", item } }
  end
  local problems = {
    { {}, "input", "is required" }, { { input = json.null }, "input", "is required" },
    { { input = 5 }, "input", "expected a text or a list of items, got a number" },
    { { input = json.array {} }, "input", "expected a text or a list of items, got an empty list" },
    { { input = { a = 1 } }, "input", "expected a text or a list of items, got a table" },
    { of(nil), "input[0]", 'expected an item, got "first"' },
    { { input = { { content = "x" } } }, "input[0].type", "is required" },
    { { input = { { role = "tool", content = "x" } } }, "input[0].role",
      'expected user, assistant, system or developer, got "tool"' },
    { { input = { { role = "user" } } }, "input[0].content", "expected a text or a list of parts, got nothing" },
    { { input = { { role = "user", content = { "x" } } } }, "input[0].content[0]", 'expected a part, got "x"' },
    { { input = { { role = "user", content = { { type = "input_text" } } } } }, "input[0].content[0].text",
      "expected a text, got nothing" },
    { { input = { { role = "user", content = { { type = "input_video" } } } } }, "input[0].content[0].type",
      'chat lines have no counterpart for "input_video"' },
    { { input = { { role = "user", content = { { type = "input_image", file_id = "file-1" } } } } },
      "input[0].content[0].file_id", "images that OpenAI keeps are known to its Responses API alone; give image_url" },
    { { input = { { role = "user", content = { { type = "input_image" } } } } }, "input[0].content[0].image_url",
      "expected a URL (https: or data:), got nothing" },
    { { input = { { role = "user", content = { { type = "input_file" } } } } }, "input[0].content[0]",
      "expected file_data, file_id or file_url" },
    { { input = { { role = "assistant", content = { { type = "input_image" } } } } }, "input[0].content[0].type",
      'expected output_text or refusal, got "input_image"' },
    { { input = { { role = "assistant", content = { 7 } } } }, "input[0].content[0].type",
      "expected output_text or refusal, got a number" },
    { { input = { { role = "assistant", content = 7 } } }, "input[0].content",
      "expected a text or a list of parts, got a number" },
    { { input = { { type = "function_call", name = "f", arguments = "{}" } } }, "input[0].call_id", "is required" },
    { { input = { { type = "function_call", call_id = "a", arguments = "{}" } } }, "input[0].name", "is required" },
    { { input = { { type = "function_call", call_id = "a", name = "f", arguments = { 1 } } } }, "input[0].arguments",
      "expected a text, got a list" },
    { { input = { user "x", output("a", "1") } }, "input[1].call_id",
      'no call "a" stands before it; no state is kept here, so the call has to be sent, too' },
    { { input = { called("a", "f", "{}"), output("a", 7) } }, "input[1].output",
      "expected a text or a list of parts, got a number" },
    { { input = { { type = "item_reference", id = "msg_1" } } }, "input[0]",
      "no state is kept here; send the item itself (SDKs do, with store = false)" },
    { { input = { { type = "web_search_call", id = "ws_1" } } }, "input[0].type",
      '"web_search_call" is known to lines of the Responses API alone' },
    { { input = { { type = "compaction", encrypted_content = "x" } } }, "input[0].type",
      '"compaction" is known to lines of the Responses API alone' },
    { { input = "x", instructions = { "a" } }, "instructions", "expected a text, got a list" },
    { { input = "x", previous_response_id = "resp_1" }, "previous_response_id",
      "no state is kept here; send the whole conversation as input" },
    { { input = "x", conversation = { id = "conv_1" } }, "conversation",
      "no state is kept here; send the whole conversation as input" },
    { { input = "x", background = true }, "background", "no state is kept here; ask for a stream instead" },
    { { prompt = { id = "pmpt_1" } }, "prompt",
      "prompts that OpenAI keeps are known to its Responses API alone; send instructions and input" },
    { { input = "x", context_management = { {} } }, "context_management",
      "conversations are not compacted here; send a shorter input" },
    { { input = "x", moderation = { model = "m" } }, "moderation", "chat lines have no counterpart" },
    { { messages = { user "x" } }, "messages", "the Responses API takes input" },
    { { input = "x", tools = { { type = "web_search" } } }, "tools[0].type",
      '"web_search" is run by OpenAI; only lines of the Responses API have it' },
    { { input = "x", tools = { { type = "function", ["function"] = { name = "f" } } } }, "tools[0].name",
      "is required" },
    { { input = "x", tools = { "f" } }, "tools[0]", 'expected a tool, got "f"' },
    { { input = "x", tools = "f" }, "tools", 'expected a list, got "f"' },
    { { input = "x", tools = { { type = "custom", name = "f" } }, tool_choice = { type = "file_search" } },
      "tool_choice", "expected auto, none, required, or a tool of the caller's, got \"file_search\"" },
    { { input = "x", tools = { { type = "custom", name = "f" } }, tool_choice = { type = "allowed_tools",
      tools = { { type = "mcp", server_label = "x" } } } }, "tool_choice.tools[0]",
      "expected auto, none, required, or a tool of the caller's, got \"mcp\"" },
    { { input = "x", tools = { { type = "custom", name = "f" } }, tool_choice = { type = "function" } },
      "tool_choice.name", "is required" },
    { { input = "x", text = { format = { type = "xml" } } }, "text.format.type",
      'expected text, json_schema or json_object, got "xml"' },
    { { input = "x", text = { format = { type = "json_schema", name = "n" } } }, "text.format.schema",
      "expected an object, got nothing" },
    { { input = "x", text = { format = { type = "json_schema", schema = {} } } }, "text.format.name", "is required" },
    { { input = "x", text = "json" }, "text", 'expected an object, got "json"' },
    { { input = "x", reasoning = "low" }, "reasoning", 'expected an object, got "low"' },
    { { input = "x", include = "all" }, "include", 'expected a list, got "all"' },
  }
  for _, case in ipairs(problems) do
    it("says what is wrong: " .. case[2] .. ": " .. case[3], function()
      assert.same({ nil, case[2] .. ": " .. case[3], case[2] }, { read(case[1]) })
    end)
  end

  it("takes whatever stands in a field without an error of its own", function()
    local junk = { 0, "", true, json.null, json.array {}, json.object {}, { 1 }, { {} }, { type = json.null },
      { { type = {} } }, { { role = {}, content = {} } }, { { type = "message", role = "user", content = { {} } } },
      { { type = "reasoning", encrypted_content = {} } }, { { type = "reasoning", encrypted_content = "surefoot:{" } },
      { { type = "reasoning", encrypted_content = 'surefoot:{"calls":[],"native":{"provider":7,"items":[3]}}' } },
      { { type = "reasoning", summary = 3, encrypted_content = 'surefoot:{"calls":[],"thinks":true,"text":1}' },
        said "x" } }
    for _, name in ipairs { "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
      "include", "top_logprobs", "background", "prompt", "conversation", "store", "metadata", "max_output_tokens" } do
      for _, value in ipairs(junk) do
        local document = { input = "x", tools = { { type = "function", name = "f" } } }
        document[name] = value
        local request, message, param = read(document)
        if not request then
          assert.equal(param .. ": ", message:sub(1, #param + 2))
        end
      end
    end
  end)
end)

describe("a Responses request on its way to a line of the same API", function()
  -- One way of saying what may be said in several: instructions, texts alone in a list, developers, defaults.
  local function same_form(document)
    local form = replay.deep(document)
    form.input = type(form.input) == "string" and { user(form.input) } or form.input
    if form.instructions then
      table.insert(form.input, 1, { role = "system", content = form.instructions })
      form.instructions = nil
    end
    for _, item in ipairs(form.input) do
      if item.role and item.role ~= "assistant" then
        item.type = nil
        item.role = item.role == "developer" and "system" or item.role
        local list = type(item.content) == "table" and item.content or {}
        item.content = #list == 1 and list[1].type == "input_text" and list[1].text or item.content
      elseif item.type and item.type:find "_output$" and type(item.output) == "table" and #item.output == 1 then
        item.output = item.output[1].text or item.output
      end
    end
    for _, tool in ipairs(form.tools or {}) do
      if tool.type == "function" and tool.strict == nil then
        tool.strict = false
      end
    end
    form.store, form.metadata = nil, nil
    return form
  end

  local random

  local function any(...)
    return (select(random(select("#", ...)), ...))
  end

  local function part()
    return any({ type = "input_text", text = any("a", "é", "") }, { type = "input_image", image_url = "https://x/y" },
      { type = "input_file", file_id = "file-1" },
      { type = "input_file", file_data = "data:text/plain;base64,QQ==", filename = "a.txt" })
  end

  local function list_of(make, most)
    local list = json.array {}
    for i = 1, random(most) do
      list[i] = make(i)
    end
    return list
  end

  -- What a model may have said, and the answers to its calls.
  local function add_round(items, number)
    local calls = {}
    for i = 1, random(4) do
      local id = number .. "_" .. i
      local item = any({ type = "reasoning", id = "rs_" .. id, summary = json.array {}, encrypted_content = "g" .. id },
        said("text " .. id), called(id, "f", '{"n":' .. i .. "}"),
        { type = "custom_tool_call", call_id = id, name = "c", input = "raw" })
      if item.call_id then
        calls[#calls + 1] = { type = item.type .. "_output", call_id = id, output = any("out", { part() },
          { part(), part() }) }
      end
      items[#items + 1] = item
    end
    local last = items[#items]
    if last.type == "reasoning" then -- which never stands at an end
      items[#items + 1] = said "end"
    end
    for _, item in ipairs(calls) do
      items[#items + 1] = item
    end
  end

  local function conversation()
    local items = json.array {}
    for number = 1, random(4) do
      if random(3) > 1 or number == 1 then
        items[#items + 1] = { role = any("user", "developer", "system"), type = any("message", nil),
          content = any("text", list_of(part, 3)) }
      end
      add_round(items, number)
    end
    return items
  end

  it("asks for the same as it came", function()
    for seed = 1, 300 do
      random = streams.random(seed * 7919)
      local document = {
        model = "m", input = any("Hi", conversation()), instructions = any("Be brief", nil),
        store = any(true, nil), metadata = any({ a = "b" }, nil), temperature = any(0.5, nil),
        max_output_tokens = any(100, nil), reasoning = any({ effort = "low" }, nil),
        text = any({ format = { type = "json_schema", name = "n", schema = { type = "object" }, strict = true } }, nil),
        user = any("u", nil), top_p = any(0.25, nil),
      }
      if random(2) == 1 then
        document.tools = { { type = "function", name = "f", parameters = { type = "object" },
          strict = any(true, nil) }, { type = "custom", name = "c", format = { type = "grammar", syntax = "regex",
            definition = "." } } }
        document.tool_choice = any("auto", "required", { type = "function", name = "f" }, nil)
        document.parallel_tool_calls = any(true, false, nil)
      end
      replay.same(same_form(document), sent(document), "seed " .. seed)
    end
  end)

  it("has no reasoning that can be known again by nobody", function()
    local function count(store, content)
      return #sent({ model = "m", store = store, input = { { type = "reasoning", id = "rs_1", summary = json.array {},
        encrypted_content = content }, said "x" } }).input
    end
    assert.same({ 2, 2, 2, 1 }, { count(true, nil), count(nil, nil), count(false, "gAAA"), count(false, nil) })
  end)
end)
