local json = require "surefoot.json"
local openai = require "surefoot.provider.openai"
local replay = require "spec.support.replay"

local codec = json.new()
local chat = openai.operations.chat

local function folder_of(request)
  return function()
    return chat.stream(codec, request)
  end
end

local function kept(name, request)
  return replay.every_way(folder_of(request), replay.fixture("openai/" .. name))
end

local function frames(list, request)
  return replay.every_way(folder_of(request), replay.frames(list))
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

-- Null and absent are one, and what a chunk and a whole answer call themselves.
local function without_nulls(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    if item ~= json.null then
      copy[key] = without_nulls(item)
    end
  end
  return copy
end

-- What a result takes from a whole answer.
local function decoded(document, request)
  local fields = assert(chat.decode({ status = 200, headers = "", body = document }, codec, request))
  fields.body, fields._body = json.finish(fields.body or fields._body), nil
  return fields
end

local function same_as_whole(outcome, document, request)
  replay.same(without_nulls(decoded(document, request)), without_nulls(outcome.fields), "fields")
end

describe("a request for a stream", function()
  local function sent(request, traits, changes)
    local before = replay.deep(request)
    local method, path, headers, body = chat.encode(request, { model = "up", traits = traits or {} }, codec, changes,
      true)
    replay.same(before, request, "request")
    assert.same({ "POST", "/chat/completions", "accept: text/event-stream\ncontent-type: application/json\n" },
      { method, path, headers })
    return json.decode(body)
  end

  it("asks for events, and for the usage", function()
    assert.same({ messages = { { role = "user", content = "Hi" } }, model = "up", stream = true,
      stream_options = { include_usage = true } }, sent { messages = { { role = "user", content = "Hi" } } })
  end)

  it("leaves what the request says about it", function()
    assert.same({ include_usage = false }, sent({ messages = {}, stream_options = { include_usage = false } })
      .stream_options)
    assert.same({ include_usage = true, include_obfuscation = false },
      sent({ messages = {}, stream_options = { include_obfuscation = false } }).stream_options)
    assert.equal(json.null, sent({ messages = {}, stream_options = json.null }).stream_options)
    assert.same({ include_usage = false },
      sent({ messages = {} }, nil, { stream_options = { include_usage = false } }).stream_options)
  end)

  it("does not ask those who refuse stream_options", function()
    local body = sent({ messages = {} }, { quirks = { no_stream_options = true } })
    assert.is_nil(body.stream_options)
    assert.is_true(body.stream)
    assert.same({ x = 1 },
      sent({ messages = {}, stream_options = { x = 1 } }, { quirks = { no_stream_options = true } }).stream_options)
  end)

  it("is whole where no stream is asked for", function()
    local _, _, headers, body = chat.encode({ messages = {} }, { model = "m", traits = {} }, codec)
    assert.equal("accept: application/json\ncontent-type: application/json\n", headers)
    assert.is_nil(json.decode(body).stream)
  end)
end)

describe("messages of other formats", function()
  local request = { model = "m", messages = { { role = "user", content = "Hi" },
    { role = "assistant", content = "Ho", native = { provider = "anthropic", items = { { type = "thinking" } } } } } }

  it("go without what is native there, and stay as they are", function()
    local before = replay.deep(request)
    for _, streams in ipairs { false, true } do
      local _, _, _, body = chat.encode(request, { model = "m", traits = {} }, codec, nil, streams)
      assert.same({ { role = "user", content = "Hi" }, { role = "assistant", content = "Ho" } },
        json.decode(body).messages)
      local _, _, _, changed = chat.encode({ messages = {} }, { model = "m", traits = {} }, codec,
        { messages = request.messages }, streams)
      assert.is_nil(json.decode(changed).messages[2].native)
    end
    replay.same(before, request, "request")
  end)
end)

describe("a whole stream", function()
  it("of text: role and empty deltas hold, obfuscation is passed over, the last chunk is the usage", function()
    local outcome = kept "text"
    assert.equal("hold commit finish complete", outcome.actions)
    assert.equal("**Low tide:** noon.", outcome.fields.text)
    assert.equal(outcome.fields.text, text_of(outcome.chunks))
    local last = outcome.chunks[#outcome.chunks]
    assert.same({ input_tokens = 12, output_tokens = 6, total_tokens = 18, cached_input_tokens = 0,
      reasoning_tokens = 0, estimated = false }, last.usage)
    assert.same(last.usage, outcome.fields.usage)
    assert.is_true(outcome.whole)
    same_as_whole(outcome, [[{"id":"chatcmpl-text-1","object":"chat.completion","created":1750000001,
      "model":"gpt-4.1-nano","service_tier":"default","system_fingerprint":"fp_0a0a0a0a01","choices":[{"index":0,
      "message":{"role":"assistant","content":"**Low tide:** noon.","refusal":null},"logprobs":null,
      "finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":6,"total_tokens":18,
      "prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{
      "reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}]])
    assert.equal("1750000001", tostring(outcome.fields.body.created))
    assert.equal("1750000001", tostring(outcome.chunks[1].raw.created))
  end)

  it("of a refusal: commits, and is in the message, not in the text", function()
    local outcome = kept "refusal"
    assert.equal("hold commit finish complete", outcome.actions)
    same_as_whole(outcome, [[{"id":"chatcmpl-refusal-1","object":"chat.completion","created":1750000002,
      "model":"gpt-4o","system_fingerprint":"fp_0a0a0a0a02","choices":[{"index":0,
      "message":{"role":"assistant","content":null,"refusal":"No, not that."},
      "logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":31,"completion_tokens":5,"total_tokens":36,
      "completion_tokens_details":{"reasoning_tokens":0}}}]])
    assert.is_nil(outcome.fields.text)
  end)

  it("of three choices: each by its index, finished when all three are", function()
    local outcome = kept("three_choices", { n = 3, response_format = { type = "json_schema" } })
    assert.equal("complete", outcome.all[#outcome.all])
    assert.equal("finish", outcome.all[#outcome.all - 1])
    assert.equal("finish", outcome.all[#outcome.all - 2])
    assert.equal("commit", outcome.all[#outcome.all - 3])
    assert.equal(3, #outcome.fields.body.choices)
    for i, whole in ipairs(outcome.fields.body.choices) do
      assert.equal(text_of(outcome.chunks, "text", i), whole.message.content)
      assert.equal("stop", whole.finish_reason)
      assert.equal(tostring(i - 1), tostring(whole.index))
      assert.is_table(codec.decode(whole.message.content))
    end
    assert.same(codec.decode(outcome.fields.text), outcome.fields.parsed)
  end)

  it("of two tool calls: fragments joined by their index", function()
    local outcome = kept "two_tools"
    assert.equal("hold commit finish complete", outcome.actions)
    same_as_whole(outcome, [[{"id":"chatcmpl-tools-1","object":"chat.completion","created":1750000007,
      "model":"gpt-4o","system_fingerprint":"fp_0a0a0a0a07","choices":[{"index":0,
      "message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_tide_1","type":"function","function":{
      "name":"TideArgs","arguments":"{\"harbour\": \"Ostend\", \"day\": 3}"}},{"id":"call_berth_2","type":"function",
      "function":{"name":"find_berth","arguments":"{\"length\": 9, \"by\": \"night\"}"}}]},"logprobs":null,
      "finish_reason":"tool_calls"}],"usage":{"prompt_tokens":83,"completion_tokens":34,"total_tokens":117,
      "completion_tokens_details":{"reasoning_tokens":0}}}]])
    assert.same({ index = 1, tool_calls = { { index = 0, ["function"] = { arguments = '{"ha' } } },
      raw = outcome.chunks[2].raw }, outcome.chunks[2])
    assert.equal("0", tostring(outcome.chunks[2].tool_calls[1].index))
    assert.equal("tool_calls", outcome.fields.finish_reason)
  end)

  it("with log probabilities: they are appended", function()
    local logprobs = kept("logprobs").fields.body.choices[1].logprobs
    assert.same({ "Ahoy", "!" }, { logprobs.content[1].token, logprobs.content[2].token })
    assert.same({ 65, 104, 111, 121 }, logprobs.content[1].bytes)
    local refusal = kept("refusal_logprobs").fields.body.choices[1].logprobs.refusal
    assert.same({ "No", -1.5e-06 }, { refusal[1].token, refusal[3].logprob })
  end)

  it("cut by the limit of tokens: is truncated", function()
    local fields = kept("length").fields
    assert.same({ "length", true }, { fields.finish_reason, fields.truncated })
  end)

  it("of Azure: the prompt's filter results without a choice, an id and a model hold", function()
    local outcome = kept "azure"
    assert.equal("hold commit finish complete", outcome.actions)
    assert.equal("hold", outcome.all[2])
    assert.equal("Capital of Norway.", outcome.fields.text)
    assert.same({ "chatcmpl-azure-1", "gpt-5-nano" },
      { outcome.fields.id, outcome.fields.model })
    assert.equal(51, outcome.fields.usage.total_tokens)
    assert.equal(32, outcome.fields.usage.reasoning_tokens)
    assert.is_false(outcome.fields.body.prompt_filter_results[1].content_filter_results.jailbreak.detected)
    assert.equal("safe", outcome.fields.body.choices[1].content_filter_results.hate.severity)
    assert.equal("1750000008", tostring(outcome.fields.body.created))
  end)

  it("of DeepSeek: reasoning first, and the usage with the finish", function()
    local outcome = kept "deepseek_reasoning"
    assert.equal("hold commit finish complete", outcome.actions)
    assert.equal("High water, so", outcome.fields.reasoning)
    assert.equal("High water, so", text_of(outcome.chunks, "reasoning"))
    assert.equal('Sail at "slack".', outcome.fields.text)
    assert.equal(outcome.fields.reasoning, outcome.fields.message.reasoning_content)
    local last = outcome.chunks[#outcome.chunks]
    assert.same({ "stop", 75, 52 }, { last.finish_reason, last.usage.total_tokens, last.usage.reasoning_tokens })
    outcome = kept "deepseek_tools"
    assert.equal('{"harbour": "Ostend"}', outcome.fields.tool_calls[1]["function"].arguments)
    assert.equal("tool_calls", outcome.fields.finish_reason)
    assert.equal(128, outcome.fields.usage.cached_input_tokens)
  end)

  it("of Groq: whole calls at once, usage twice", function()
    local outcome = kept "groq_tools"
    assert.equal("hold commit finish complete", outcome.actions)
    assert.same({ { id = "tide00001", type = "function", ["function"] = { name = "tide", arguments = "{}" } } },
      outcome.fields.tool_calls)
    assert.equal(80, outcome.fields.usage.total_tokens)
    outcome = kept "groq_reasoning"
    assert.equal("Wind, then", outcome.fields.reasoning)
    assert.equal("Wind, then", outcome.fields.message.reasoning)
  end)

  it("of Mistral: content in parts, thinking among them", function()
    local outcome = kept "mistral_reasoning"
    assert.equal("commit finish complete", outcome.actions)
    same_as_whole(outcome, [[{"id":"00000000000000000000000000000013","object":"chat.completion",
      "created":1750000013,"model":"magistral-medium-latest","choices":[{"index":0,"message":{"role":"assistant",
      "content":[{"type":"thinking","thinking":[{"type":"text","text":
      "Two knots for three hours: six miles."}]},{"type":"text","text":"6 miles"}]},
      "finish_reason":"stop"}],"usage":{"prompt_tokens":8,"total_tokens":30,"completion_tokens":22}}]])
    assert.equal("6 miles", outcome.fields.text)
    assert.equal("Two knots for three hours: six miles.", outcome.fields.reasoning)
    assert.equal("Two knots", outcome.chunks[1].reasoning)
    assert.equal("6 miles", outcome.chunks[3].text)
    outcome = kept "mistral_tools"
    assert.same({ { id = "tool-call-tide-1", type = "function", ["function"] = {
      name = "tideTable", arguments = '{"harbour": "Ostend"}' } } }, outcome.fields.tool_calls)
    assert.is_nil(outcome.fields.message.index)
  end)

  it("of xAI: role and reasoning in the first chunk", function()
    local outcome = kept "xai_tools"
    assert.equal("commit finish complete", outcome.actions)
    assert.equal("Ask the table", outcome.fields.reasoning)
    assert.equal("call_00000015", outcome.fields.tool_calls[1].id)
    assert.equal(160, outcome.fields.usage.total_tokens)
  end)

  it("whose first tool call has the index 1", function()
    local outcome = kept "anthropic_compatible"
    assert.equal("One moment.", outcome.fields.text)
    assert.same({ { id = "toolu_log_1", type = "function", ["function"] = { name = "read_log",
      arguments = '{"day": "mon"}' } } }, outcome.fields.tool_calls)
    assert.equal("1", tostring(outcome.chunks[3].tool_calls[1].index))
  end)

  it("is whole nowhere before its end", function()
    for _, name in ipairs { "text", "two_tools", "deepseek_tools" } do
      local events = {}
      for data in replay.fixture("openai/" .. name):gmatch "data: ([^\n]*)" do
        events[#events + 1] = data
      end
      for length = 0, #events do
        local folder, finished = chat.stream(codec, {}), false
        for i = 1, length do
          folder:event(nil, events[i])
          finished = finished or events[i]:find '"finish_reason":"' ~= nil
        end
        assert.equal(finished, folder:whole())
        local fields = folder:fields()
        assert.equal(length == 0, fields.message == nil)
      end
    end
  end)
end)

describe("an end", function()
  it("is [DONE], whatever follows", function()
    local outcome = frames { choice('{"content":"a"}', "stop"), "[DONE]", '{"error":{"message":"x"}}', "{", "[DONE]" }
    assert.equal("finish complete hold", outcome.actions)
    assert.equal("a", outcome.fields.text)
    outcome = frames { choice '{"content":"a"}', "[DONE] " }
    assert.equal("commit complete", outcome.actions)
    assert.is_true(outcome.whole)
    assert.is_nil(outcome.fields.finish_reason)
  end)

  it("is a finish without [DONE]", function()
    local outcome = frames { choice '{"content":"a"}', choice("{}", "stop") }
    assert.is_true(outcome.whole)
    assert.is_false(frames({ choice '{"content":"a"}' }).whole)
    assert.is_false(frames({ choice '{"role":"assistant"}' }).whole)
    assert.is_false(frames({}).whole)
  end)

  it("is none as long as choices that were asked for are missing", function()
    local function of(index, reason)
      return ('{"choices":[{"index":%d,"delta":{"content":"x"},"finish_reason":%s}]}'):format(index, reason)
    end
    assert.equal("commit finish", frames({ of(0, '"stop"'), of(1, '"stop"') }, { n = 2 }).actions)
    assert.is_false(frames({ of(0, '"stop"') }, { n = 2 }).whole)
    local outcome = frames({ of(0, '"stop"'), of(1, "null"), of(1, '"length"') }, { n = 2 })
    assert.equal("commit finish", outcome.actions)
    assert.same({ 1, 2, 2 }, { outcome.chunks[1].index, outcome.chunks[2].index, outcome.chunks[3].index })
    assert.equal("finish commit finish", frames({ of(0, '"stop"'), of(1, "null"), of(1, '"stop"') }).actions)
  end)

  it("without any choice is a failure", function()
    for _, list in ipairs { { "[DONE]" }, { '{"choices":[],"usage":{"total_tokens":3}}', "[DONE]" } } do
      local outcome = frames(list)
      assert.same({ "transient", "malformed" }, { outcome.verdict.class, outcome.verdict.kind })
    end
  end)

  it("said twice counts once, and a filter's word undoes a stop", function()
    -- OpenRouter repeats the finish, with the usage (openrouter.ai/docs/api/reference/streaming)
    local outcome = frames { choice('{"role":"assistant","content":"Bon"}'), choice('{"content":"jour"}', "stop"),
      choice('{"content":""}', "stop", ',"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,'
        .. '"cost":0.00042}'), "[DONE]" }
    assert.equal("commit finish complete", outcome.actions)
    assert.same({ "Bonjour", "stop", 15 },
      { outcome.fields.text, outcome.fields.finish_reason, outcome.fields.usage.total_tokens })
    assert.equal("content_filter",
      frames({ choice('{"content":"a"}', "stop"), choice("{}", "content_filter") }).fields.finish_reason)
    assert.equal("tool_calls",
      frames({ choice('{"content":"a"}', "tool_calls"), choice("{}", "stop") }).fields.finish_reason)
  end)
end)

describe("an event that shows nothing", function()
  local nothing = { "", " ", '{"choices":[]}', '{"choices":null}', "{}", '{"choices":[{}]}', '{"choices":[null]}',
    choice '{"role":"assistant"}', choice '{"role":"assistant","content":""}', choice '{"content":null}',
    choice '{"reasoning_content":""}', choice '{"tool_calls":[]}', choice '{"tool_calls":null}',
    choice '{"annotations":[]}', choice '{"refusal":""}', '{"choices":[{"index":0,"finish_reason":""}]}',
    '{"choices":[],"usage":null}', '{"choices":[],"usage":{"prompt_tokens":1,"total_tokens":1}}',
    '{"error":null,"choices":[]}', '{"error":"","choices":[]}' }

  for _, data in ipairs(nothing) do
    it("holds: " .. data:sub(-45), function()
      local outcome = frames { data, choice('{"content":"x"}', "stop") }
      assert.equal("hold finish", outcome.actions)
      assert.equal("x", outcome.fields.text)
    end)
  end

  it("may have a name", function()
    local folder = chat.stream(codec, {})
    assert.equal("hold", (folder:event("ping", "")))
    assert.equal("commit", (folder:event("message", choice '{"content":"x"}')))
    assert.equal("complete", (folder:event("done", "[DONE]")))
  end)

  it("is a filter's, without a delta, an id and a model, also after the finish", function()
    -- learn.microsoft.com/azure/foundry/openai/concepts/content-streaming, the shape of its example
    local function filter(offset, results)
      return ('{"id":"","object":"","created":0,"model":"","choices":[{"index":0,"finish_reason":null,'
        .. '"content_filter_results":%s,"content_filter_offsets":{"check_offset":%d,"start_offset":30,'
        .. '"end_offset":90}}],"usage":null}'):format(results, offset)
    end
    local function chunk(delta, reason)
      return ('{"id":"chatcmpl-filter-1","object":"chat.completion.chunk","created":1750000030,'
        .. '"model":"gpt-4o-mini","choices":[{"index":0,"finish_reason":%s,"delta":%s}],"usage":null}')
        :format(reason, delta)
    end
    local safe = '{"hate":{"filtered":false,"severity":"safe"}}'
    local outcome = frames { filter(0, safe), chunk('{"role":"assistant"}', "null"),
      chunk('{"content":"Buoys"}', "null"),
      filter(30, '{"custom_blocklists":[{"filtered":true,"id":"ours"}],"violence":{"filtered":true}}'),
      filter(31, '{"violence":{"filtered":false}}'), chunk("{}", '"stop"'), filter(90, safe), "[DONE]" }
    assert.equal("hold commit hold finish hold complete", outcome.actions)
    local fields = outcome.fields
    assert.same({ "chatcmpl-filter-1", "gpt-4o-mini", "1750000030", "chat.completion" },
      { fields.id, fields.model, tostring(fields.body.created), fields.body.object })
    assert.same({ hate = { filtered = false, severity = "safe" }, violence = { filtered = true },
      custom_blocklists = { { filtered = true, id = "ours" } } }, fields.body.choices[1].content_filter_results)
    assert.equal(90, fields.body.choices[1].content_filter_offsets.check_offset)
  end)
end)

describe("a failure in a stream", function()
  local function verdict_of(data, name)
    local folder = chat.stream(codec, {})
    assert.equal("commit", (folder:event(nil, choice '{"content":"a"}')))
    local action, verdict = folder:event(name, data)
    assert.equal("fail", action, data)
    assert.is_false(folder:whole())
    assert.equal("a", folder:fields().text)
    return verdict
  end

  local cases = {
    -- OpenAI, in the stream's midst: without a code
    { '{"error": {"message": "Our engine stopped.", "type": "server_error"}}', "transient", "server" },
    -- openrouter.ai/docs/api/reference/streaming: the error at the top, beside a choice that says so, too
    { '{"id":"gen-broken-1","object":"chat.completion.chunk","created":1750000031,"model":"openai/gpt-4o",'
      .. '"provider":"openai","error":{"code":"server_error","message":"the line went dead"},'
      .. '"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}', "transient", "server" },
    { '{"error":{"code":429,"message":"Rate limited"}}', "throttled", "rate_limited" },
    { '{"error":{"message":"No credit is left","type":"insufficient_quota","code":"insufficient_quota"}}',
      "key", "quota" },
    { '{"choices":[{"index":0,"delta":{"content":""},"error":{"code":502,"message":"bad gateway"}}]}', "transient",
      "server" },
    { '{"choices":[{"index":0,"delta":{},"finish_reason":"error","native_finish_reason":"MALFORMED"}]}', "transient",
      "server" },
    -- vLLM
    { '{"object":"error","message":"model is overloaded","type":"x","param":null,"code":503}', "overloaded",
      "overloaded" },
    { '{"error":{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}}', "final",
      "invalid_request" },
    { '{"x_groq":{"id":"r","error":"over_capacity"},"choices":[]}', "transient", "server" },
    { '{"error":"out of memory"}', "transient", "server" },
    { '{"message":"Overloaded","type":"overloaded_error"}', "overloaded", "overloaded", "error" },
    { '{"error":{"message":"x","code":"content_filter"}}', "final", "content_filter", "error" },
    { "upstream gave up", "transient", "server", "error" },
    { "", "transient", "server", "error" },
    { '"upstream gave up"', "transient", "server", "error" },
    { '{"choices":[', "transient", "malformed" },
    { "{]", "transient", "malformed" },
    { "nonsense", "transient", "malformed" },
    { "[1]", "transient", "malformed" },
    { "[]", "transient", "malformed" },
    { '[{"error":{"code":429,"message":"no more for now","status":"RESOURCE_EXHAUSTED"}}]', "throttled",
      "rate_limited" },
    { "7", "transient", "malformed" },
    { "<html>504</html>", "transient", "malformed" },
  }
  for _, case in ipairs(cases) do
    it(case[3] .. ": " .. case[1]:sub(1, 60), function()
      local verdict = verdict_of(case[1], case[4])
      assert.same({ case[2], case[3] }, { verdict.class, verdict.kind })
      assert.is_string(verdict.message)
      assert.is_true(#verdict.message > 0)
    end)
  end

  it("says what happened, and keeps the document", function()
    local verdict = verdict_of(cases[2][1])
    assert.equal("the line went dead", verdict.message)
    assert.equal("server_error", verdict.code)
    assert.equal("gen-broken-1", verdict.body.id)
    assert.equal("over_capacity", verdict_of(cases[9][1]).message)
    assert.equal("MALFORMED", verdict_of(cases[6][1]).code)
    assert.matches("bad gateway", verdict_of(cases[5][1]).message)
    assert.equal(20, verdict_of('{"error":{"code":429,"message":"Please try again in 20s."}}').wait)
  end)

  it("is one in a whole answer, too", function()
    for _, body in ipairs {
      '{"choices":[{"message":{"content":"x"},"error":{"code":502,"message":"bad gateway"}}]}',
      '{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}',
    } do
      local fields, verdict = chat.decode({ status = 200, headers = "", body = body }, codec)
      assert.is_nil(fields)
      assert.equal("server", verdict.kind)
    end
  end)

  it("never throws, whatever stands where", function()
    local odd = { "null", "true", "0", "-1", "0.5", "1e300", '""', '"x"', "[]", "{}", "[null]", "[{}]", '[[]]',
      '{"text":5}', "[1,2]", '{"a":{}}' }
    local documents = { "%s", '{"choices":%s}', '{"choices":[%s]}',
      '{"choices":[{"index":%s,"delta":{"content":"x"}}]}',
      '{"choices":[{"index":0,"delta":%s}]}', '{"choices":[{"index":0,"delta":{"content":%s}}]}',
      '{"choices":[{"index":0,"delta":{"role":%s,"reasoning":%s,"refusal":%s,"x":%s}}]}',
      '{"choices":[{"index":0,"delta":{"tool_calls":%s}}]}', '{"choices":[{"index":0,"delta":{"tool_calls":[%s]}}]}',
      '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":%s,"id":%s,"type":%s,"function":%s}]}}]}',
      '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":%s,"arguments":%s}}]}}]}',
      '{"choices":[{"index":0,"delta":{"tool_calls":[{"custom":%s}]}}]}',
      '{"choices":[{"index":0,"delta":{"function_call":%s,"audio":%s,"reasoning_details":%s}}]}',
      '{"choices":[{"index":0,"delta":{"audio":{"data":%s},"reasoning_details":[%s]}}]}',
      '{"choices":[{"index":0,"delta":{"content":[%s]}}]}',
      '{"choices":[{"index":0,"delta":{"content":[{"type":%s,"text":%s,"thinking":%s}]}}]}',
      '{"choices":[{"index":0,"finish_reason":%s,"logprobs":%s,"content_filter_results":%s,"usage":%s}]}',
      '{"choices":[{"index":0,"logprobs":{"content":%s},"content_filter_results":{"hate":%s},"message":%s}]}',
      '{"usage":%s,"x_groq":%s,"model":%s,"id":%s,"created":%s}', '{"usage":{"total_tokens":%s}}',
      '{"x_groq":{"usage":%s}}',
      '{"choices":[{"index":0,"error":%s}]}', '{"error":%s}' }
    for _, document in ipairs(documents) do
      for _, value in ipairs(odd) do
        local folder = chat.stream(codec, { n = 1 })
        local data = document:gsub("%%s", function() return value end)
        for _ = 1, 2 do
          local action = folder:event(nil, data)
          assert.is_string(action)
          folder:event(nil, choice '{"content":"t","tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}')
        end
        folder:event(nil, choice("{}", "stop"))
        local fields = folder:fields()
        assert.is_true(fields.text == nil or type(fields.text) == "string", data)
        assert.is_true(value == "1e300" or codec.encode(fields.body) ~= nil, data)
      end
    end
  end)
end)

describe("a folder with a codec of the user's", function()
  it("reads the same", function()
    local own = json.custom({ decode = function(text) return json.decode(text) end })
    local stream = replay.fixture "openai/two_tools"
    local outcome = replay.every_way(function() return chat.stream(own, {}) end, stream)
    replay.same(kept("two_tools").fields, outcome.fields, "fields")
  end)
end)
