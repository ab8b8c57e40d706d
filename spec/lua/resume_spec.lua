-- Carrying on with a stream that broke off, on the simulated network.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local SSE = { ["content-type"] = "text/event-stream" }
local null = json.null

local function event(delta, reason)
  return "data: " .. json.encode { id = "c", model = "m-1", choices = { { index = 0, delta = delta,
    finish_reason = reason or null } } } .. "\n\n"
end

local DONE = "data: [DONE]\n\n"
local USAGE = "data: " .. json.encode { choices = json.array {},
  usage = { prompt_tokens = 10, completion_tokens = 4, total_tokens = 14 } } .. "\n\n"
local OVERLOADED = 'data: {"error":{"type":"overloaded_error","message":"too busy"}}\n\n'

-- A list of words as a stream, a second apart; a table among them is a delta, and data is data. It breaks off.
local function cut(words, more)
  local events, at = {}, 0
  for i, word in ipairs(words) do
    at = at + 1
    local data = type(word) == "string" and word:find "^data:" and word
    events[i] = { at = at, data = data or event(type(word) == "table" and word or { content = word }) }
  end
  local script = { after = 0.5, headers = SSE, events = events }
  for key, value in pairs(more or {}) do
    script[key] = value
  end
  return script
end

-- The same, but it ends well.
local function whole(words, reason)
  local script = cut(words)
  script.events[#script.events + 1] = { at = #words + 1, data = event({}, reason or "stop") .. USAGE .. DONE }
  return script
end

local function silent(words)
  local script = cut(words)
  script.events[#script.events + 1] = { at = 1000, data = DONE }
  return script
end

local function fails(status, message)
  return { after = 0.5, status = status, body = { error = { message = message or "refused" } } }
end

-- A laboratory whose lines are of a preset that takes up answers, unless told otherwise.
local function lab_of(lines, config)
  local all, names = { endpoints = {} }, {}
  for name in pairs(lines) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    all.endpoints[i] = { name = name, preset = config and config.preset or "vllm" }
  end
  for key, value in pairs(config or {}) do
    all[key] = key ~= "preset" and value or nil
  end
  return sim.lab(lines, all)
end

local function asked(lab, n)
  return json.decode(lab.log[n].request.body)
end

-- What a reader sees of a stream, and how it ends.
local function watch(lab, options, request, open)
  local shown = {}
  local stream, failure = (open or lab.client.stream)(lab.client, request or "Count", options)
  if not stream then
    return nil, nil, failure
  end
  local chunk = stream()
  while chunk do
    shown[#shown + 1] = chunk.text or chunk.reasoning and "(" .. chunk.reasoning .. ")" or chunk.finish_reason
      or chunk.tool_calls and "call" or chunk.error and chunk.error.kind or not chunk.usage and "?" or nil
    chunk = stream()
  end
  local result, err = stream:result()
  return table.concat(shown, "|"), result, err
end

local CONTINUE, RESTART, AUTO = { resume = "continue" }, { resume = "restart" }, { resume = "auto" }
local MESSAGES = { messages = { { role = "user", content = "Count" } } }

local function request_with(more)
  local request = { messages = MESSAGES.messages }
  for key, value in pairs(more) do
    request[key] = value
  end
  return request
end

describe("resume", function()
  after_each(sim.settled)

  it("is off unless it is asked for", function()
    for _, options in ipairs { {}, { resume = "off" } } do
      local lab = lab_of { a = { cut { "One, " }, whole { "two." } } }
      local shown, result, err = watch(lab, options)
      assert.equal("One, |truncated", shown)
      assert.is_nil(result)
      assert.equal("truncated: the stream ended early", tostring(err):match "^[^(]*ended early")
      assert.equal("One, ", err.partial.text)
      assert.is_nil(err.partial.resumed)
      assert.equal(1, #lab.log)
    end
    local lab = lab_of({ a = { cut { "One, " }, whole { "two." } } }, AUTO)
    assert.equal("One, |truncated", (watch(lab, { resume = "off" })))
  end)

  it("may be configured for all streams of a client", function()
    local lab = lab_of({ a = { cut { "One," }, whole { " two." } } }, AUTO)
    assert.equal("One,| two.|stop", (watch(lab)))
  end)

  it("leaves a stream alone that does not break off", function()
    local lab = lab_of { a = whole { "One." } }
    local shown, result = watch(lab, AUTO)
    assert.equal("One.|stop", shown)
    assert.same({ "One.", 14, 1, "a ok" }, { result.text, result.usage.total_tokens, #lab.log, sim.trail(result) })
    assert.is_nil(result.resumed)
    assert.is_nil(result.attempts[1].resume)
  end)

  it("leaves whole answers alone: they are retried as a whole", function()
    local lab = lab_of({ a = { { after = 1, text = "x", fault = "cut" }, { after = 1, text = "y" } } }, AUTO)
    local result = assert(lab.client:chat "Count")
    assert.same({ "y", "a truncated, a ok" }, { result.text, sim.trail(result) })
    assert.is_nil(result.resumed)
    assert.is_nil(asked(lab, 2).continue_final_message)
  end)

  it("leaves what happens before the first content to the retries", function()
    local lab = lab_of { a = { fails(500), whole { "One." } } }
    local shown, result = watch(lab, AUTO)
    assert.equal("One.|stop", shown)
    assert.equal("a server, a ok", sim.trail(result))
    assert.is_nil(result.resumed)
    lab = lab_of { a = fails(400) }
    local _, _, err = watch(lab, AUTO)
    assert.equal("invalid_request", err.kind)
    assert.is_nil(err.partial)
    assert.is_nil(err.message:find("not resumed", 1, true))
  end)
end)

describe("resume = continue", function()
  after_each(sim.settled)

  it("has the answer go on where it stopped", function()
    local lab = lab_of({ a = { cut { "One, ", "two, " }, whole { " three, ", "four." } } },
      { prices = { ["m-1"] = { output = 1e6 } } })
    local shown, result = watch(lab, CONTINUE, request_with { max_tokens = 50 })
    assert.equal("One, |two, |three, |four.|stop", shown)
    assert.same({ "One, two, three, four.", "stop", 1 }, { result.text, result.finish_reason, result.resumed })
    assert.same({ role = "assistant", content = "One, two, three, four." }, result.message)
    assert.equal("a truncated, a ok", sim.trail(result))
    assert.same({ nil, "continue" }, { result.attempts[1].resume, result.attempts[2].resume })
    -- 2 s until it broke off, 0.5 s of backoff, 3 s for the rest
    assert.same({ 5.5, 1 }, { result.latency, result.time_to_first_token })
    assert.same({ 52, true, 7 }, { result.usage.total_tokens, result.usage.estimated, result.cost })
    assert.equal(200, result.status)
    local second = asked(lab, 2)
    assert.same({ { role = "user", content = "Count" }, { role = "assistant", content = "One, two," } },
      second.messages)
    assert.same({ true, true, false, 47 }, { second.stream, second.continue_final_message,
      second.add_generation_prompt, second.max_tokens })
  end)

  it("goes on with another line at once, and with the same one after a backoff", function()
    local lab = lab_of { a = cut { "One," }, b = cut { " two," }, c = whole { " three." } }
    local shown, result = watch(lab, CONTINUE)
    assert.equal("One,| two,| three.|stop", shown)
    assert.same({ "a 0, b 1, c 2", 2 }, { lab:sent(), result.resumed })
    assert.equal("a truncated, b truncated, c ok", sim.trail(result))
    assert.equal("One, two,", asked(lab, 3).messages[2].content)
    lab = lab_of({ a = { cut { "1" }, cut { "2" }, cut { "3" }, whole { "4" } } }, { retry = { base_delay = 1 } })
    shown, result = watch(lab, CONTINUE)
    assert.equal("1|2|3|4|stop", shown)
    assert.same({ "a 0, a 2, a 5, a 10", 3 }, { lab:sent(), result.resumed })
  end)

  it("asks lines that broke off again when no other one answers", function()
    local lab = lab_of { a = { cut { "One," }, whole { " two." } }, b = fails(503) }
    local shown, result = watch(lab, CONTINUE)
    assert.equal("One,| two.|stop", shown)
    assert.equal("a truncated, b overloaded, a ok", sim.trail(result))
  end)

  it("asks only lines that are known to take up answers", function()
    local lab = lab_of({ a = cut { "One," }, b = whole { "never" }, c = whole { " two." } }, { endpoints = {
      { name = "a", preset = "openai" }, { name = "b", preset = "openai", priority = 2 },
      { name = "c", preset = "deepseek", priority = 3 } } })
    local shown, result = watch(lab, CONTINUE)
    assert.equal("One,| two.|stop", shown)
    assert.same({ "a truncated, c ok", "c" }, { sim.trail(result), result.endpoint })
    assert.equal("https://simulated.invalid/v1/../beta/chat/completions", lab.log[2].request.url)
    assert.is_true(asked(lab, 2).messages[2].prefix)
  end)

  it("fails as the stream did, and says why, where none is known to", function()
    local lab = lab_of({ a = cut { "One, " } }, { preset = "openai" })
    local shown, result, err = watch(lab, CONTINUE)
    assert.equal("One, |truncated", shown)
    assert.is_nil(result)
    assert.equal("the stream ended early; not resumed: no line is known to take up an answer to this request",
      err.message)
    assert.same({ "truncated", "a", "One, ", 1, 5, true }, { err.kind, err.endpoint, err.partial.text, #err.attempts,
      err.max_attempts, err.retryable })
    assert.equal(1, #lab.log)
  end)

  it("fails as the stream did where going on is refused", function()
    local lab = lab_of { a = { cut { "One, " }, fails(400, "no prefill") } }
    local shown, _, err = watch(lab, CONTINUE)
    assert.equal("One, |truncated", shown)
    assert.same({ "truncated", "the stream ended early; not resumed: invalid_request: no prefill", "One, " },
      { err.kind, err.message, err.partial.text })
    assert.equal("a truncated, a invalid_request", sim.trail(err))
    assert.same({ nil, "continue" }, { err.attempts[1].resume, err.attempts[2].resume })
    assert.is_nil(err.partial.resumed)
  end)

  it("goes on in the words of every line", function()
    local lab = lab_of({ a = cut { "One, " }, b = cut { "two, " }, c = whole { "One, two, three." } }, { endpoints = {
      { name = "a", preset = "groq" }, { name = "b", preset = "llamacpp", priority = 2 },
      { name = "c", preset = "mistral", priority = 3 } } })
    local shown, result = watch(lab, CONTINUE)
    assert.equal("One, |two, |three.|stop", shown) -- Mistral sends the beginning once more
    assert.same({ "One, two, three.", "One, two, three." }, { result.text, result.message.content })
    assert.is_true(asked(lab, 2).continue_final_message)
    assert.is_nil(asked(lab, 3).stream_options)
    assert.same({ role = "assistant", content = "One, two,", prefix = true }, asked(lab, 3).messages[2])
  end)

  it("does not show twice what a line sends once more, in pieces of any size", function()
    local said = "Ten green bottles"
    for size = 1, #said do
      local words = {}
      for i = 1, #said, size do
        words[#words + 1] = said:sub(i, i + size - 1)
      end
      local lab = lab_of({ a = { cut { "Ten green " }, whole(words) } }, { preset = "mistral" })
      local shown, result = watch(lab, CONTINUE)
      assert.equal("Ten green bottles", (shown:gsub("|stop.*", ""):gsub("|", "")))
      assert.equal("Ten green bottles", result.text)
    end
    for _, more in ipairs { "bottles", " bottles", "Ten", "Ten green", "Ten grey" } do
      local lab = lab_of({ a = { cut { "Ten green " }, whole { more } } }, { preset = "mistral" })
      local expected = more == "Ten green" and "" or more:gsub("^ ", "")
      assert.equal("Ten green " .. expected, select(2, watch(lab, CONTINUE)).text)
    end
  end)

  it("does not take for a repetition what may be none", function()
    local lab = lab_of { a = { cut { "la " }, whole { " la la" } } }
    assert.equal("la la la", select(2, watch(lab, CONTINUE)).text)
    lab = lab_of { a = { cut { "la" }, whole { "la" } } }
    assert.equal("lala", select(2, watch(lab, CONTINUE)).text)
  end)

  it("takes white space for the same, at the seam", function()
    for _, case in ipairs { { "One: ", " two", "One: two" }, { "One:\n\n", "\n- two", "One:\n\n- two" },
      { "One. ", "Two", "One. Two" }, { "One ", " ", "One " } } do
      local lab = lab_of { a = { cut { case[1] }, whole { case[2] } } }
      local shown, result = watch(lab, CONTINUE)
      assert.equal(case[3], result.text)
      assert.equal(case[3], (shown:gsub("|stop.*", ""):gsub("|", "")))
      assert.equal(case[1]:match "^(.*%S)", asked(lab, 2).messages[2].content)
    end
  end)

  it("asks anew where nothing but white space was shown", function()
    local lab = lab_of { a = { cut { "\n" }, whole { "\nOne." } } }
    local shown, result = watch(lab, CONTINUE)
    assert.equal("\n|One.|stop", shown)
    assert.equal("\nOne.", result.text)
    assert.equal("restart", result.attempts[2].resume)
    assert.equal(1, #asked(lab, 2).messages)
  end)

  it("is one with the beginning that the caller wrote", function()
    local lab = lab_of { a = { cut { " two," }, whole { " three." } } }
    local request = { messages = { { role = "user", content = "Count" }, { role = "assistant", content = "One," } } }
    local _, result = watch(lab, CONTINUE, request)
    assert.equal(" two, three.", result.text)
    assert.same({ role = "assistant", content = "One, two," }, asked(lab, 2).messages[2])
    assert.equal("One,", request.messages[2].content)
  end)

  it("gives calls of tools that come after it", function()
    local call = { index = 0, id = "1", type = "function", ["function"] = { name = "f", arguments = "{}" } }
    local lab = lab_of { a = { cut { "I will" }, whole({ " look.", { tool_calls = { call } } }, "tool_calls") } }
    local shown, result = watch(lab, CONTINUE)
    assert.equal("I will| look.|call|tool_calls", shown)
    assert.same({ "I will look.", "f" }, { result.text, result.tool_calls[1]["function"].name })
    assert.same({ "I will look.", 1 }, { result.message.content, #result.message.tool_calls })
  end)

  it("reads structured output from the whole", function()
    local lab = lab_of { a = { cut { '{"a":', "[1," }, whole { "2]}" } } }
    local format = { type = "json_object" }
    local _, result = watch(lab, CONTINUE, request_with { response_format = format })
    assert.same({ a = { 1, 2 } }, result.parsed)
    assert.same({ format, nil }, { asked(lab, 1).response_format, asked(lab, 2).response_format })
  end)

  it("goes on with a fallback where the model cannot be had any more, in the words of its request", function()
    local lab = lab_of({ a = { cut { "One," }, fails(404), whole { " two." } } }, { fallbacks = { { model = "other",
      request = { temperature = 0, messages = { { role = "user", content = "Count, please" } } } } } })
    local shown, result = watch(lab, CONTINUE)
    assert.equal("One,| two.|stop", shown)
    assert.equal("a truncated, a not_found, a ok", sim.trail(result))
    local third = asked(lab, 3)
    assert.same({ "other", 0, "Count, please", "One," }, { third.model, third.temperature, third.messages[1].content,
      third.messages[2].content })
    assert.equal("simulated", asked(lab, 2).model)
  end)

  it("goes on with the fallback that was answering before the model that could not be had", function()
    local lab = lab_of({ a = function(n, request)
      if request.json.model ~= "other" then
        return fails(404)
      end
      return n == 2 and cut { "One," } or whole { " two." }
    end }, { fallbacks = { "other" } })
    local _, result = watch(lab, CONTINUE)
    assert.same({ "One, two.", "a not_found, a truncated, a ok" }, { result.text, sim.trail(result) })
  end)

  it("is not taken up by one that begins to reason", function()
    local lab = lab_of { a = { cut { "One," }, whole { { reasoning_content = "Hm" }, "One, two." } } }
    local shown, _, err = watch(lab, CONTINUE)
    assert.equal("One,|truncated", shown)
    assert.equal("the stream ended early; not resumed: the answer was not taken up, the model began to reason anew",
      err.message)
    assert.equal("a truncated, a cancelled", sim.trail(err))
    lab = lab_of { a = { cut { "One," }, whole { { reasoning_content = "Hm" }, "x" }, whole { "One, two." } } }
    local result
    shown, result = watch(lab, AUTO)
    assert.equal("One,| two.|stop", shown)
    assert.equal("a truncated, a cancelled, a ok", sim.trail(result))
  end)

  it("works in Anthropic's format", function()
    local function message(kind, fields)
      fields.type = kind
      return "event: " .. kind .. "\ndata: " .. json.encode(fields) .. "\n\n"
    end
    local function says(text, more)
      return { after = 0.5, headers = SSE, events = { { at = 1, data = message("message_start", { message = {
        id = "m", model = "claude-sonnet-4-5", content = {}, usage = { input_tokens = 10, output_tokens = 1 } } })
        .. message("content_block_start", { index = 0, content_block = { type = "text", text = "" } })
        .. message("content_block_delta", { index = 0, delta = { type = "text_delta", text = text } })
        .. (more or "") } } }
    end
    local ending = message("content_block_stop", { index = 0 }) .. message("message_delta", {
      delta = { stop_reason = "end_turn" }, usage = { output_tokens = 5 } }) .. message("message_stop", {})
    local overloaded = message("error", { error = { type = "overloaded_error", message = "Overloaded" } })
    local lab = lab_of({ a = { says("One, ", overloaded), says(" two.", ending) } },
      { preset = "anthropic", model = "claude-sonnet-4-5" })
    local shown, result = watch(lab, CONTINUE, request_with { max_tokens = 100 })
    assert.equal("One, |two.|stop", shown)
    assert.same({ "One, two.", "stop", 1 }, { result.text, result.finish_reason, result.resumed })
    assert.same({ { type = "text", text = "One, two." } }, result.message.native.items)
    assert.equal("a overloaded, a ok", sim.trail(result))
    assert.same({ { role = "user", content = { { type = "text", text = "Count" } } },
      { role = "assistant", content = { { type = "text", text = "One," } } } }, asked(lab, 2).messages)
    assert.equal("https://simulated.invalid/v1/messages", lab.log[2].request.url)
    for model, options in pairs { ["claude-opus-4-6"] = {}, ["claude-sonnet-4-5"] = { thinking = {
      type = "enabled", budget_tokens = 2000 } } } do
      lab = lab_of({ a = { says("One, ", overloaded), says(" two.", ending) } },
        { preset = "anthropic", model = model })
      local _, _, err = watch(lab, CONTINUE, request_with(options))
      assert.same({ "overloaded", 1 }, { err.kind, #lab.log })
      assert.matches("Overloaded; not resumed: no line is known to take up", err.message)
    end
  end)
end)

describe("resume = restart", function()
  after_each(sim.settled)

  it("asks anew, and shows what follows on what was shown", function()
    local lab = lab_of({ a = { cut { "One, ", "two, " }, whole { "One", ", two", ", three." } } }, { preset = "openai",
      prices = { ["m-1"] = { output = 1e6 } } })
    local shown, result = watch(lab, RESTART)
    assert.equal("One, |two, |three.|stop", shown)
    assert.same({ "One, two, three.", "stop", 1, "restart" }, { result.text, result.finish_reason, result.resumed,
      result.attempts[2].resume })
    assert.same({ role = "assistant", content = "One, two, three." }, result.message)
    assert.equal("a truncated, a ok", sim.trail(result))
    assert.same({ 6.5, 1, 7 }, { result.latency, result.time_to_first_token, result.cost })
    assert.is_true(result.usage.total_tokens > 28)
    local first, second = lab.log[1].request, lab.log[2].request
    assert.equal(first.body, second.body)
  end)

  it("joins pieces of any size", function()
    local said = "One, two, three."
    for size = 1, #said do
      local words = {}
      for i = 1, #said, size do
        words[#words + 1] = said:sub(i, i + size - 1)
      end
      local lab = lab_of { a = { cut { "One,", " two" }, whole(words) } }
      local shown, result = watch(lab, RESTART)
      assert.equal(said, (shown:gsub("|stop.*", ""):gsub("|", "")))
      assert.equal(said, result.text)
    end
  end)

  for name, case in pairs {
    ["differs at once"] = { { "Two" }, 0 }, ["differs within"] = { { "One", ", three" }, 6 },
    ["is shorter"] = { { "One" }, 3 }, ["calls tools instead"] = { { { tool_calls = { { index = 0, id = "1",
      ["function"] = { name = "f", arguments = "{}" } } } } }, 0 },
  } do
    it("does not join what " .. name, function()
      local lab = lab_of { a = { cut { "One, two" }, whole(case[1]) } }
      local shown, result, err = watch(lab, RESTART)
      assert.equal("One, two|truncated", shown)
      assert.is_nil(result)
      assert.equal(("the stream ended early; not resumed: asked anew, the answer is another one after %d of 8 bytes")
        :format(case[2]), err.message)
      assert.same({ "truncated", "One, two", true, true }, { err.kind, err.partial.text, err.retryable, err.sent })
      assert.is_nil(err.partial.resumed)
      assert.equal(2, #err.attempts)
    end)
  end

  it("calls truncated what cannot be joined, however the stream failed", function()
    local lab = lab_of({ a = { silent { "One" }, whole { "Two" } } }, { timeout = { idle = 5 } })
    local _, _, err = watch(lab, RESTART)
    assert.same({ "truncated", "idle for 5 s; not resumed: asked anew, the answer is another one after 0 of 3 bytes" },
      { err.kind, err.message })
    assert.is_nil(err.phase)
    assert.equal("a timeout, a cancelled", sim.trail(err))
  end)

  it("joins what ends where the stream broke off", function()
    local lab = lab_of { a = { cut { "One." }, whole { "One." } } }
    local shown, result = watch(lab, RESTART)
    assert.equal("One.|stop", shown)
    assert.same({ "One.", 1 }, { result.text, result.resumed })
  end)

  it("begins again where that breaks off, too", function()
    local lab = lab_of { a = { cut { "One, two, " }, cut { "One, " }, cut { "One, two, three, " },
      whole { "One, two, three, four." } } }
    local shown, result = watch(lab, RESTART)
    assert.equal("One, two, |three, |four.|stop", shown)
    assert.same({ "One, two, three, four.", 2 }, { result.text, result.resumed })
    assert.equal("a truncated, a truncated, a truncated, a ok", sim.trail(result))
  end)

  it("does not show the reasoning that leads to what was shown", function()
    local lab = lab_of { a = { cut { "One, " }, whole { { reasoning_content = "Hm" }, "One, two." } } }
    local shown, result = watch(lab, RESTART)
    assert.equal("One, |two.|stop", shown)
    assert.same({ "One, two.", "Hm" }, { result.text, result.reasoning })
  end)

  it("asks the same model only", function()
    local lab = lab_of({ a = { cut { "One, " }, fails(404), whole { "One, two." } } }, { fallbacks = { "other" } })
    local _, _, err = watch(lab, RESTART)
    assert.equal("the stream ended early; not resumed: not_found: refused", err.message)
    assert.equal(2, #lab.log)
  end)

  it("goes to another line at once", function()
    local lab = lab_of({ a = cut { "One, " }, b = whole { "One, two." } }, { preset = "openai" })
    local _, result = watch(lab, RESTART)
    assert.same({ "One, two.", "a 0, b 1", "b" }, { result.text, lab:sent(), result.endpoint })
  end)

  it("reads structured output, and answers that come whole", function()
    local lab = lab_of { a = { cut { '{"a":' }, whole { '{"a":', "1}" } } }
    local _, result = watch(lab, RESTART, request_with { response_format = { type = "json_object" } })
    assert.same({ a = 1 }, result.parsed)
    lab = lab_of { a = { cut { "One, " }, { after = 0.5, text = "One, two." } } }
    local shown
    shown, result = watch(lab, RESTART)
    assert.same({ "One, |two.", "One, two.", 1 }, { shown, result.text, result.resumed })
    lab = lab_of { a = { cut { "One, " }, { after = 0.5, text = "Two." } } }
    shown, result = watch(lab, RESTART)
    assert.same({ "One, |truncated" }, { shown, result })
  end)
end)

describe("resume = auto", function()
  after_each(sim.settled)

  it("has the answer go on where that is known, else asks anew", function()
    local lab = lab_of { a = { cut { "One," }, whole { " two." } } }
    assert.equal("continue", select(2, watch(lab, AUTO)).attempts[2].resume)
    lab = lab_of({ a = { cut { "One," }, whole { "One, two." } } }, { preset = "openai" })
    assert.equal("restart", select(2, watch(lab, AUTO)).attempts[2].resume)
  end)

  it("asks anew where going on is refused, and does not try again", function()
    local lab = lab_of { a = { cut { "One," }, fails(400, "no prefill"), cut { "One, two," },
      whole { "One, two, three." } } }
    local shown, result = watch(lab, AUTO)
    assert.equal("One,| two,| three.|stop", shown)
    assert.same({ "One, two, three.", 2 }, { result.text, result.resumed })
    assert.equal("a truncated, a invalid_request, a truncated, a ok", sim.trail(result))
    local ways = {}
    for i, attempt in ipairs(result.attempts) do
      ways[i] = attempt.resume or "-"
    end
    assert.equal("- continue restart restart", table.concat(ways, " "))
  end)

  it("never hides the stream's own failure", function()
    for name, last in pairs { ["HTTP 400"] = fails(400), ["HTTP 500"] = fails(500), another = whole { "Two" } } do
      local lab = lab_of({ a = { silent { "One," }, fails(400, "no prefill"), last } }, { timeout = { idle = 5 } })
      local _, _, err = watch(lab, AUTO)
      assert.matches("^idle for 5 s; not resumed: ", err.message, name)
      assert.equal(name == "another" and "truncated" or "timeout", err.kind)
      assert.equal(name ~= "another" and "idle" or nil, err.phase)
      assert.equal("One,", err.partial.text)
      assert.equal("timeout", err.attempts[1].kind)
    end
  end)
end)

describe("a stream is resumed after", function()
  after_each(sim.settled)

  for name, case in pairs {
    ["an early end"] = { cut { "One," }, "truncated" },
    ["a cut"] = { cut({ "One," }, { fault = "cut" }), "truncated" },
    ["silence"] = { silent { "One," }, "timeout" },
    ["an error event"] = { cut { "One,", 'data: {"error":{"message":"oops"}}\n\n' }, "server" },
    ["an overloaded server"] = { cut { "One,", OVERLOADED }, "overloaded" },
    ["a rate limit"] = { cut { "One,", 'data: {"error":{"code":"rate_limit_exceeded"}}\n\n' }, "rate_limited" },
    ["an event that cannot be read"] = { cut { "One,", "data: {\n\n" }, "malformed" },
  } do
    it(name, function()
      local lab = lab_of { a = { case[1], whole { " two." } }, b = { whole { " two." } } }
      local shown, result = watch(lab, CONTINUE)
      assert.equal("One,| two.|stop", shown)
      assert.equal("a " .. case[2] .. ", b ok", sim.trail(result))
    end)
  end
end)

describe("a stream is not resumed after", function()
  after_each(sim.settled)

  for name, case in pairs {
    ["a content filter"] = { cut { "One,", 'data: {"error":{"code":"content_filter"}}\n\n' }, "content_filter" },
    ["a refused request"] = { cut { "One,", 'data: {"error":{"type":"invalid_request_error"}}\n\n' },
      "invalid_request" },
    ["a spent account"] = { cut { "One,", 'data: {"error":{"code":"insufficient_quota"}}\n\n' }, "quota" },
    ["the deadline"] = { silent { "One," }, "deadline", deadline = 5 },
  } do
    it(name, function()
      local lab = lab_of { a = { case[1], whole { " two." } } }
      local shown, result, err = watch(lab, { resume = "auto", deadline = case.deadline })
      assert.equal("One,|" .. case[2], shown)
      assert.is_nil(result)
      assert.same({ case[2], "One,", 1 }, { err.kind, err.partial.text, #lab.log })
      assert.is_nil(err.message:find("not resumed", 1, true))
    end)
  end

  for name, case in pairs {
    ["calls of tools"] = { "calls of tools had begun", { { tool_calls = { { index = 0, id = "1",
      ["function"] = { name = "f", arguments = "{" } } } } } },
    ["reasoning"] = { "reasoning was shown", { { reasoning_content = "Hm" } } },
    ["a refusal"] = { "more than text was shown", { { refusal = "No" } } },
    ["several choices"] = { "there are several choices", { event({}, "stop") }, n = 2 },
  } do
    it(name .. ": they cannot be joined", function()
      local words = { "One,", case[2][1] }
      for _, order in ipairs { words, { words[2], words[1] } } do
        local lab = lab_of { a = { cut(order), whole { " two." } } }
        local _, _, err = watch(lab, AUTO, request_with { n = case.n })
        assert.same({ "truncated", "the stream ended early; not resumed: " .. case[1], 1 }, { err.kind, err.message,
          #lab.log })
        assert.equal("One,", err.partial.text)
      end
    end)
  end

  it("its end was shown, in a format that says farewell", function()
    local events = { { "message_start", { message = { id = "m", content = {}, usage = {} } } },
      { "content_block_start", { index = 0, content_block = { type = "text", text = "One." } } },
      { "message_delta", { delta = { stop_reason = "end_turn" }, usage = { output_tokens = 5 } } } }
    local data = {}
    for i, one in ipairs(events) do
      one[2].type = one[1]
      data[i] = "event: " .. one[1] .. "\ndata: " .. json.encode(one[2]) .. "\n\n"
    end
    local lab = lab_of({ a = cut({}, { events = { { at = 1, data = table.concat(data) } } }) },
      { preset = "anthropic", model = "claude-sonnet-4-5" })
    local shown, _, err = watch(lab, AUTO)
    assert.equal("One.|stop|truncated", shown)
    assert.matches("not resumed: its end was shown$", err.message)
  end)

  it("validate said no", function()
    local lab = lab_of { a = { whole { "One." }, whole { "Two." } } }
    local _, _, err = watch(lab, { resume = "auto", validate = function() return false, "bad" end })
    assert.same({ "rejected", 1 }, { err.kind, #lab.log })
  end)
end)

describe("resuming", function()
  after_each(sim.settled)

  it("is one call: its attempts are bounded together", function()
    local lab = lab_of({ a = cut { "x" } }, { retry = { max_attempts = 3, base_delay = 0 } })
    local shown, _, err = watch(lab, CONTINUE)
    assert.equal("x|x|x|truncated", shown)
    assert.same({ 3, 3, "the stream ended early; not resumed: no attempts left", "xxx", 2 }, { #lab.log,
      err.max_attempts, err.message, err.partial.text, err.partial.resumed })
    assert.equal("a truncated, a truncated, a truncated", sim.trail(err))
    assert.matches("attempt 3 of 3", tostring(err))
    lab = lab_of({ a = { cut { "x" }, fails(500), fails(500), fails(500) } }, { retry = { max_attempts = 3 } })
    _, _, err = watch(lab, CONTINUE)
    assert.same({ 3, "truncated" }, { #lab.log, err.kind })
    assert.equal("the stream ended early; not resumed: server: refused", err.message)
    lab = lab_of({ a = cut { "x" } }, { retry = { max_attempts = 1 } })
    _, _, err = watch(lab, AUTO)
    assert.same({ 1, "the stream ended early; not resumed: no attempts left" }, { #lab.log, err.message })
  end)

  it("is paid from the retry budget, which a success gives back", function()
    local budget = { capacity = 100, floor_per_second = 0 }
    local lab = lab_of({ a = { cut { "One," }, whole { " two." } } }, { retry = { budget = budget } })
    local balance
    local stream = assert(lab.client:stream("Count", CONTINUE))
    for chunk in stream:chunks() do
      balance = chunk.text == " two." and lab:balance() or balance
    end
    assert.same({ 86, 100 }, { balance, lab:balance() })
    lab = lab_of({ a = cut { "One," } }, { retry = { budget = budget, max_attempts = 3 } })
    watch(lab, CONTINUE)
    assert.equal(72, lab:balance())
    lab = lab_of({ a = cut { "One,", 'data: {"error":{"code":"rate_limit_exceeded"}}\n\n' } },
      { retry = { budget = budget, max_attempts = 2 } })
    watch(lab, CONTINUE)
    assert.equal(95, lab:balance())
    lab = lab_of({ a = cut { "x" } }, { retry = { budget = { capacity = 30, floor_per_second = 0 }, base_delay = 0,
      max_attempts = 10 } })
    local shown, _, err = watch(lab, CONTINUE)
    assert.equal("x|x|x|truncated", shown)
    assert.equal("the stream ended early; not resumed: the retry budget is spent", err.message)
    lab = lab_of({ a = { cut { "One," }, whole { " two." } } }, { retry = { budget = false } })
    assert.equal("One, two.", select(2, watch(lab, CONTINUE)).text)
  end)

  it("keeps one deadline", function()
    local lab = lab_of { a = { cut { "One," }, silent { " two," } } }
    local shown, _, err = watch(lab, { resume = "continue", deadline = 9 })
    assert.same({ "One,| two,|deadline", "One, two,", 9, 1 }, { shown, err.partial.text, lab.sim:now(),
      err.partial.resumed })
    assert.equal("a truncated, a deadline", sim.trail(err))
    lab = lab_of { a = { cut { "One," }, { fault = "hang" } } }
    shown, _, err = watch(lab, { resume = "continue", deadline = 9 })
    assert.same({ "One,|deadline", "One,", 9 }, { shown, err.partial.text, lab.sim:now() })
    assert.matches("; before that the stream failed: truncated: the stream ended early$", err.message)
    lab = lab_of({ a = cut { "One," } }, { retry = { base_delay = 10 } })
    _, _, err = watch(lab, { resume = "continue", deadline = 9 })
    assert.same({ "truncated", 1, "the stream ended early; not resumed: the deadline leaves no room for another "
      .. "attempt", 500 }, { err.kind, lab.sim:now(), err.message, lab:balance() })
    lab = lab_of { a = cut { "One," }, b = whole { "never" } }
    local stream = assert(lab.client:stream("Count", { resume = "continue", deadline = 1.4 }))
    stream:read()
    lab.sim:run(20)
    err = select(2, stream:result())
    assert.equal("deadline", err.kind)
    assert.equal(1, #lab.log)
  end)

  it("waits as long as the server says", function()
    local limited = cut { "One,", 'data: {"error":{"code":"rate_limit_exceeded","message":"Try again in 20s"}}\n\n' }
    local lab = lab_of { a = { limited, whole { " two." } } }
    assert.equal("One, two.", select(2, watch(lab, CONTINUE)).text)
    assert.equal(22, lab.log[2].at)
    local long = cut { "One,", 'data: {"error":{"code":"rate_limit_exceeded","message":"Try again in 200s"}}\n\n' }
    lab = lab_of { a = { long, whole { " two." } } }
    local _, _, err = watch(lab, CONTINUE)
    assert.matches("not resumed: the server asks for a longer wait than is allowed$", err.message)
    assert.same({ "rate_limited", 200, 500 }, { err.kind, err.retry_after, lab:balance() })
    lab = lab_of { a = limited, b = whole { " two." } }
    watch(lab, CONTINUE)
    assert.equal(2, lab.log[2].at)
  end)

  it("is cancelled in every round, and between them", function()
    -- before the first content, after it, in the backoff, before and after the first content of the second round
    for at, expected in pairs { [0.5] = false, [0.99] = false, [1.2] = "One,", [2] = "One,", [2.6] = "One, two," } do
      for how, cancel in pairs {
        task = function(task) task:cancel() end, canceller = function(_, canceller) canceller:cancel() end,
      } do
        local lab = lab_of { a = { cut { "One," }, cut { " two,", " three." } } }
        local canceller, err = surefoot.canceller(), nil
        local task = lab.sim:spawn(function()
          err = select(3, watch(lab, { resume = "continue", cancel = canceller }))
        end)
        lab.sim:spawn(function()
          lab.client.host.scheduler():sleep(at + 0.01)
          cancel(task, canceller)
        end)
        lab.sim:run()
        local name = how .. " at " .. at
        assert.equal("cancelled", err.kind, name)
        assert.equal(expected or nil, err.partial and err.partial.text, name)
        assert.near(at + 0.01, lab.sim:now(), 1e-9, name)
      end
    end
  end)

  it("is closed in every round, and between them", function()
    for reads = 0, 3 do
      local lab = lab_of { a = cut { "One," }, b = silent { " two,", " three." } }
      local stream = assert(lab.client:stream("Count", CONTINUE))
      for _ = 1, reads do
        stream:read()
      end
      stream:close()
      local result, err = stream:result()
      assert.is_nil(result)
      assert.same({ "cancelled", ({ [0] = "One,", "One,", "One, two,", "One, two, three." })[reads] },
        { err.kind, err.partial.text }, reads)
    end
    local lab = lab_of { a = cut { "One," }, b = whole { " two." } }
    local stream = assert(lab.client:stream("Count", CONTINUE))
    lab.client:close()
    local _, err = stream:result()
    assert.same({ "closed", "One,", 1 }, { err.kind, err.partial.text, #lab.log })
    lab = lab_of { a = { cut { "One," }, whole { " two." } } }
    stream = assert(lab.client:stream("Count", CONTINUE))
    lab.sim:spawn(function()
      lab.client.host.scheduler():sleep(0.2)
      lab.client:close()
    end)
    lab.sim:spawn(function() err = select(2, stream:result()) end)
    lab.sim:run()
    assert.same({ "closed", "One,", 1 }, { err.kind, err.partial.text, #lab.log })
    assert.matches("before that the stream failed: truncated", err.message)
  end)

  it("goes when nobody holds the stream any more", function()
    local lab = lab_of { a = { cut { "One," }, silent { " two," } } }
    local stream = assert(lab.client:stream("Count", CONTINUE))
    stream:read()
    assert.equal(" two,", stream:read().text)
    stream = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    lab.sim:run(0)
    assert.equal(0, lab.client:stats().in_flight)
  end)

  it("has validate judge the whole, once", function()
    for mode, words in pairs { continue = { " two." }, restart = { "One, two." } } do
      local lab = lab_of { a = { cut { "One," }, whole(words) } }
      local seen = {}
      local _, result = watch(lab, { resume = mode, validate = function(answer)
        seen[#seen + 1] = ("%s %d %d"):format(answer.text, answer.resumed, #answer.attempts)
        return answer.text == "One, two."
      end })
      assert.same({ "One, two. 1 2" }, seen)
      assert.equal("One, two.", result.text)
    end
    local lab = lab_of { a = { cut { "One," }, whole { " two." } } }
    local _, _, err = watch(lab, { resume = "continue", validate = function() return false, "bad" end })
    assert.same({ "rejected", "bad", "One, two.", 2 }, { err.kind, err.message, err.partial.text, #err.attempts })
    lab = lab_of { a = { cut { "One," }, whole { " two." } } }
    assert.error_matches(function()
      watch(lab, { resume = "continue", validate = function() error("mine", 0) end })
    end, "^mine$")
    lab = lab_of { a = { cut { "One," }, whole { "Two." } } }
    err = select(3, watch(lab, { resume = "restart", validate = function() error("never", 0) end }))
    assert.equal("truncated", err.kind)
  end)

  it("numbers a given idempotency key, and keeps the other options", function()
    local lab = lab_of { a = { cut { "One," }, fails(400), whole { "One, two." } } }
    watch(lab, { resume = "auto", idempotency_key = "k", headers = { ["X-A"] = "1" } })
    for i, key in ipairs { "k", "k-resume2", "k-resume3" } do
      assert.same({ key, "1" }, { lab.log[i].request.headers["idempotency-key"], lab.log[i].request.headers["x-a"] })
    end
  end)

  it("gives each request an idempotency key of its own otherwise", function()
    local lab = lab_of { a = { cut { "One," }, whole { " two." } } }
    watch(lab, CONTINUE)
    assert.not_equal(lab.log[1].request.headers["idempotency-key"], lab.log[2].request.headers["idempotency-key"])
  end)

  it("shows the usage of all rounds", function()
    local early = "data: " .. json.encode { choices = { { index = 0, delta = { content = "One," } } },
      usage = { prompt_tokens = 100, completion_tokens = 2, total_tokens = 102 } } .. "\n\n"
    local lab = lab_of { a = { cut { early }, whole { " two." } } }
    local stream, told = assert(lab.client:stream("Count", CONTINUE)), {}
    for chunk in stream:chunks() do
      told[#told + 1] = chunk.usage and chunk.usage.total_tokens
    end
    assert.same({ 102, 116 }, told)
    assert.same({ input_tokens = 110, output_tokens = 6, total_tokens = 116, estimated = true },
      stream:result().usage)
  end)

  it("works within answers that are carried on at their limit of tokens", function()
    local lab = lab_of { a = { cut { "1 " }, whole({ " 2" }, "length"), cut { " 3" }, whole { " 4" } } }
    local shown, result = watch(lab, { resume = "continue", continue_on_length = 2 })
    assert.equal("1 |2| 3| 4|stop", shown)
    assert.same({ "1 2 3 4", 2, 1, "stop", 4 }, { result.text, result.resumed, result.continued, result.finish_reason,
      #result.attempts })
    local roles = {}
    for i, message in ipairs(asked(lab, 4).messages) do
      roles[i] = message.role .. " " .. message.content:sub(1, 9)
    end
    assert.same({ "user Count", "assistant 1 2", "user Your last", "assistant  3" }, roles)
    lab = lab_of { a = { whole({ "1" }, "length"), cut { " 2" } } }
    local _, _, err = watch(lab, { resume = "continue", continue_on_length = 2, deadline = 20 })
    assert.same({ "truncated", "1" }, { err.kind, err.partial.text:sub(1, 1) })
  end)

  it("works within the rounds of run_tools, and of conversations", function()
    local calls = { { index = 0, id = "1", type = "function", ["function"] = { name = "f", arguments = "{}" } } }
    local lab = lab_of { a = { whole({ { tool_calls = calls } }, "tool_calls"), cut { "One," }, whole { " two." } } }
    local stream = assert(lab.client:run_tools("Count", { f = { call = function() return "ok" end } },
      { resume = "continue", stream = true }))
    local result = assert(stream:result())
    assert.same({ "One, two.", 2, 1 }, { result.text, #result.rounds, result.rounds[2].result.resumed })
    assert.same({ role = "assistant", content = "One, two." }, result.messages[4])
    lab = lab_of { a = { cut { "One," }, whole { " two." }, { after = 0.5, text = "Yes." } } }
    local talk = lab.client:conversation { options = CONTINUE }
    assert(assert(talk:stream "Count"):result())
    assert.equal("One, two.", talk.messages[2].content)
    assert.equal("Yes.", assert(talk:send "Really?").text)
  end)

  it("tells on_event of every round", function()
    local lab = lab_of { a = cut { "One," }, b = whole { " two." } }
    local names = {}
    watch(lab, { resume = "continue", on_event = function(name) names[#names + 1] = name end })
    local settled = 0
    for _, name in ipairs(names) do
      settled = settled + (name == "settled" and 1 or 0)
    end
    assert.equal(2, settled)
  end)

  it("leaves the request as it was", function()
    local request = request_with { max_tokens = 9, response_format = { type = "json_object" } }
    local copy = json.encode(request)
    watch(lab_of { a = { cut { "{" }, whole { "}" } } }, CONTINUE, request)
    assert.equal(copy, json.encode(request))
  end)

  -- Lines that know the whole text, take it up or not as their preset says, and fail as chance has it.
  it("shows every byte once, in order, or says that it is not all, whatever happens", function()
    local said = "Ten green bottles \n\n hanging  on the wall,\nten green bottles hanging on the wall. "
    local chance = 7
    local function draw(n)
      chance = (chance * 16807) % 2147483647
      return chance % n + 1
    end
    local function answer(text)
      local words = {}
      while text ~= "" do
        local size = draw(12)
        words[#words + 1], text = text:sub(1, size), text:sub(size + 1)
      end
      local fate = draw(4)
      if fate == 1 then
        return whole(words)
      end
      for _ = 1, draw(#words + 1) - 1 do
        table.remove(words)
      end
      words[#words + 1] = fate == 2 and OVERLOADED or nil
      return fate == 3 and silent(words) or cut(words)
    end
    local presets, resumed, failed = { "vllm", "mistral", "openai", "groq" }, 0, 0
    for _ = 1, 600 do
      local endpoints, lines = {}, {}
      for i = 1, draw(3) do
        local name, preset = ("abc"):sub(i, i), presets[draw(#presets)]
        endpoints[i] = { name = name, preset = preset, priority = i }
        lines[name] = function(_, request)
          local last = request.json.messages[#request.json.messages]
          local begun = last.role == "assistant" and last.content or ""
          assert.equal(begun, said:sub(1, #begun))
          if draw(8) == 1 then
            return fails(begun ~= "" and 400 or 500)
          end
          return answer(preset == "mistral" and said or said:sub(#begun + 1))
        end
      end
      local most = draw(6)
      local lab = lab_of(lines, { endpoints = endpoints, breaker = false, timeout = { idle = 5 },
        retry = { max_attempts = most, base_delay = 0.1 } })
      local texts, deadline = {}, 20 + draw(200)
      local stream, err = lab.client:stream("Sing", { resume = ({ "continue", "restart", "auto" })[draw(3)],
        deadline = deadline })
      local chunk, result = stream and stream:read(), nil
      while chunk do
        texts[#texts + 1] = chunk.text
        chunk = stream:read()
      end
      local shown = table.concat(texts)
      if stream then
        result, err = stream:result()
      end
      local trail = (result or err).attempts
      assert.equal(#lab.log, #trail)
      assert.is_true(#trail <= most)
      assert.is_true(lab.sim:now() <= deadline + 1e-6)
      if result then
        assert.same({ said, said, said }, { shown, result.text, result.message.content })
        resumed = resumed + (result.resumed and 1 or 0)
      elseif stream then
        assert.equal(said:sub(1, #shown), shown)
        assert.equal(shown, err.partial.text or "")
        failed = failed + 1
      end
    end
    assert.is_true(resumed > 100, "resumed " .. resumed)
    assert.is_true(failed > 100, "failed " .. failed)
  end)

  it("never mixes up streams that run side by side", function()
    local lab = lab_of { a = function(_, request)
      local messages = request.json.messages
      local n = tonumber(messages[1].content)
      return messages[2] and whole { "-" .. n } or cut { "n" .. n }
    end }
    local texts = {}
    for i = 1, 20 do
      lab.sim:spawn(function() texts[i] = select(2, watch(lab, CONTINUE, tostring(i))).text end)
    end
    lab.sim:run()
    for i = 1, 20 do
      assert.equal(("n%d-%d"):format(i, i), texts[i])
    end
  end)
end)
