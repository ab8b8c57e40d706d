-- Results as responses, and what another line wants back of them.
local anthropic = require "surefoot.provider.anthropic_answer"
local format = require "surefoot.dialect.responses"
local json = require "surefoot.json"
local replay = require "spec.support.replay"
local shared = require "spec.lua.dialect.responses"

local codec, chat, context_of, read, user = shared.codec, shared.chat, shared.context_of, shared.read, shared.user
local said, called, output, call = shared.said, shared.called, shared.output, shared.call

describe("a result as a response", function()
  local usage = { input_tokens = 9, output_tokens = 4, total_tokens = 13, cached_input_tokens = 3, reasoning_tokens = 2,
    estimated = false }

  local function whole(result, document)
    local response = format.whole(result, context_of(document))
    return json.decode(assert(json.encode(response)))
  end

  it("tells text, usage, and what was asked", function()
    local response = whole({ text = "Ahoy", usage = usage, model = "claude-x", finish_reason = "stop" },
      { temperature = 0.5, metadata = { a = "b" }, instructions = "Be brief", tools = json.array {}, user = json.null })
    assert.same({
      id = "resp_req-1", object = "response", created_at = 1700000000, status = "completed", model = "claude-x",
      output = { { type = "message", id = "msg_req-1_0", status = "completed", role = "assistant", content = {
        { type = "output_text", text = "Ahoy", annotations = {}, logprobs = {} } } } },
      usage = { input_tokens = 9, input_tokens_details = { cached_tokens = 3 }, output_tokens = 4,
        output_tokens_details = { reasoning_tokens = 2 }, total_tokens = 13 },
      error = json.null, incomplete_details = json.null, background = false, store = false,
      previous_response_id = json.null, instructions = "Be brief", metadata = { a = "b" }, temperature = 0.5,
      top_p = json.null, max_output_tokens = json.null, max_tool_calls = json.null, top_logprobs = 0,
      parallel_tool_calls = true, tool_choice = "auto", tools = {}, truncation = "disabled",
      reasoning = { effort = json.null, summary = json.null }, text = { format = { type = "text" } },
      prompt_cache_key = json.null, safety_identifier = json.null, user = json.null,
    }, response)
    local text = json.encode(format.whole({ text = "x" }, context_of()))
    assert.matches('"tools":[]', text, 1, true)
    assert.matches('"annotations":[]', text, 1, true)
    assert.matches('"metadata":{}', text, 1, true)
    assert.matches('"usage":null', text, 1, true)
  end)

  it("has items in order: reasoning, the message, calls", function()
    local response = whole { text = "Let me see", reasoning = "Hm", finish_reason = "tool_calls", tool_calls = {
      call("a", "f", '{"x":1}'), call("b", "g", ""),
      { id = "c", type = "custom", custom = { name = "h", input = "i" } }, call(nil, "f", "{}") } }
    assert.equal("completed", response.status)
    assert.same({
      { type = "reasoning", id = "rs_req-1_0", encrypted_content = "surefoot:",
        summary = { { type = "summary_text", text = "Hm" } } },
      { type = "message", id = "msg_req-1_1", status = "completed", role = "assistant",
        content = { { type = "output_text", text = "Let me see", annotations = {}, logprobs = {} } } },
      { type = "function_call", id = "fc_req-1_2", status = "completed", call_id = "a", name = "f",
        arguments = '{"x":1}' },
      { type = "function_call", id = "fc_req-1_3", status = "completed", call_id = "b", name = "g", arguments = "{}" },
      { type = "custom_tool_call", id = "ctc_req-1_4", status = "completed", call_id = "c", name = "h", input = "i" },
      { type = "function_call", id = "fc_req-1_5", status = "completed", call_id = "call_req-1_3", name = "f",
        arguments = "{}" },
    }, response.output)
  end)

  it("says what is not complete, and why", function()
    local function ending(reason)
      local response = whole { text = "x", finish_reason = reason }
      return { response.status, response.incomplete_details.reason, response.output[1].status }
    end
    assert.same({ "incomplete", "max_output_tokens", "incomplete" }, ending "length")
    assert.same({ "incomplete", "content_filter", "incomplete" }, ending "content_filter")
    assert.same({ "incomplete", "pause_turn", "incomplete" }, ending "pause_turn")
    local response = whole { tool_calls = { call("a", "f", "{}"), call("b", "f", '{"x":') }, finish_reason = "length" }
    assert.same({ "completed", "incomplete", '{"x":' }, { response.output[1].status, response.output[2].status,
      response.output[2].arguments })
    assert.same({}, whole({ finish_reason = "length" }).output)
  end)

  it("has refusals, sources and probabilities", function()
    local response = whole { message = { role = "assistant", content = json.null, refusal = "No" } }
    assert.same({ { type = "refusal", refusal = "No" } }, response.output[1].content)
    local logprobs = { { token = "x", logprob = -0.5, bytes = { 120 }, top_logprobs = {} } }
    local result = { text = "x", message = { annotations = { { type = "url_citation", url_citation = {
      url = "https://x", title = "X", start_index = 0, end_index = 1 } } } },
      body = { choices = { { logprobs = { content = logprobs } } } } }
    response = whole(result, { include = { "message.output_text.logprobs" } })
    assert.same({ type = "output_text", text = "x", logprobs = logprobs, annotations = { { type = "url_citation",
      url = "https://x", title = "X", start_index = 0, end_index = 1 } } }, response.output[1].content[1])
    assert.same({}, whole(result).output[1].content[1].logprobs)
  end)

  it("is read by the provider of this API as the same", function()
    local result = { text = "Let me see", reasoning = "Hm", finish_reason = "tool_calls", usage = usage, model = "m",
      tool_calls = { call("a", "f", '{"x":1}'), { id = "c", type = "custom", custom = { name = "h", input = "i" } } } }
    local body = json.encode(format.whole(result, context_of()))
    local fields = assert(chat.decode({ status = 200, headers = "", body = body }, codec))
    for name, value in pairs(result) do
      replay.same(value, fields[name], name)
    end
  end)

  it("has items of this API as they came", function()
    local body = codec.encode(codec.decode(replay.fixture("responses/reasoning"):match '.*data: ([^\n]+)').response)
    local result = assert(chat.decode({ status = 200, headers = "", body = body }, codec))
    local response = whole(result)
    replay.same(json.decode(body).output, response.output, "output")
    assert.same({ "resp_req-1", result.usage.total_tokens }, { response.id, response.usage.total_tokens })
  end)

  it("fits ids of any length and form", function()
    local context = context_of()
    context.id = ("a/b c"):rep(40)
    local item = format.whole({ text = "x" }, context).output[1]
    assert.matches("^msg_[%w_-]+_0$", item.id)
    assert.is_true(#item.id <= 64)
  end)

  it("that failed has OpenAI's shape", function()
    assert.same({ error = { message = "no", type = "invalid_request_error", code = json.null, param = "input" } },
      format.error { status = 400, message = "no", type = "invalid_request_error", param = "input" })
  end)
end)

describe("what another line wants back", function()
  local blocks = { { type = "thinking", thinking = "Hm", signature = "c2ln" },
    { type = "text", text = "Let me see" }, { type = "tool_use", id = "toolu_1", name = "f", input = { x = 1 } } }

  local function claude(content)
    return assert(anthropic.fields({ content = content, stop_reason = "tool_use" }, codec))
  end

  -- The conversation that a caller sends after an answer, decoded as the gateway does.
  local function next_turn(result, change)
    local response = json.decode(json.encode(format.whole(result, context_of())))
    local input = json.array { user "Go" }
    for _, item in ipairs(response.output) do
      input[#input + 1] = item
    end
    if change then
      change(input)
    end
    if result.tool_calls then
      input[#input + 1] = output(result.tool_calls[1].id, "1")
    end
    return { model = "m", input = input }
  end

  it("comes back with the answer it was given with", function()
    local messages = read(next_turn(claude(blocks))).messages
    assert.same({ provider = "anthropic", items = blocks }, messages[2].native)
    assert.same({ "Let me see", "toolu_1", "tool" }, { messages[2].content, messages[2].tool_calls[1].id,
      messages[3].role })
    assert.equal(3, #messages)
  end)

  it("comes back of Gemini's parts, OpenRouter's and DeepSeek's thoughts", function()
    local parts = { { text = "Hm", thought = true }, { text = "x", thoughtSignature = "c2ln" } }
    local message = read(next_turn { text = "x", reasoning = "Hm", message = { native = { provider = "gemini",
      items = parts } } }).messages[2]
    assert.same({ provider = "gemini", items = parts }, message.native)
    local details = { { type = "reasoning.encrypted", data = "x", index = 0 } }
    message = read(next_turn { text = "x", message = { reasoning_details = details } }).messages[2]
    assert.same(details, message.reasoning_details)
    local result = { reasoning = "Hm", tool_calls = { call("a", "f", "{}") }, message = { reasoning_content = "Hm" } }
    message = read(next_turn(result)).messages[2]
    assert.same({ "Hm", json.null, "a" }, { message.reasoning_content, message.content, message.tool_calls[1].id })
    result.tool_calls, result.text = nil, "x"
    assert.is_nil(read(next_turn(result)).messages[2].reasoning_content)
  end)

  it("is not kept where text and calls say it all", function()
    for _, result in ipairs { claude { blocks[2], blocks[3] }, { text = "x" },
      { text = "x", message = { native = { provider = "gemini", items = { { text = "x" } } } } } } do
      for _, item in ipairs(format.whole(result, context_of()).output) do
        assert.not_equal("reasoning", item.type)
      end
    end
  end)

  it("counts only with the same text and the same calls", function()
    local changes = {
      function(input)
        input[3].content[1].text = "Let me see!"
      end,
      function(input)
        input[4].call_id = "toolu_2"
        input[#input + 1] = output("toolu_2", "2")
        input[#input + 1] = called("toolu_1", "f", "{}")
      end,
      function(input)
        table.remove(input, 3)
      end,
      function(input)
        local kept = input[5]
        assert.equal("reasoning", kept.type)
        kept.encrypted_content = kept.encrypted_content:gsub('"items":%[.*%]', '"items":[1,2]')
      end,
    }
    for i, change in ipairs(changes) do
      local document = next_turn(claude(blocks), change)
      for _, message in ipairs(assert(read(document)).messages) do
        assert.is_true(message.native == nil or message.native.provider == "responses", "change " .. i)
        for _, item in ipairs(message.native and message.native.items or {}) do
          assert.not_equal("reasoning", item.type)
        end
      end
    end
  end)

  it("is not shown to lines of this API, which have not written it", function()
    local document = next_turn(claude(blocks))
    assert.matches(format.mark, json.encode(document), 1, true)
    local own = format.as_native(document)
    assert.same({ "user", "message", "function_call", "function_call_output" }, { own.input[1].role, own.input[2].type,
      own.input[3].type, own.input[4].type })
    assert.same({ 4, "m", 6 }, { #own.input, own.model, #document.input })
    assert.equal(nil, json.encode(own):find(format.mark, 1, true))
    for _, same in ipairs { { input = "x" }, { input = { user "x", said "y", { type = "reasoning",
      encrypted_content = "gAAA" } } }, { input = { 5 } }, {} } do
      assert.equal(same, format.as_native(same))
    end
  end)
end)
