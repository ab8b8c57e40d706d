-- A stream that broke off, carried on by asking for the rest of its text.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local streams = require "spec.lua.resume.streams"

local SSE, cut, whole, fails, lab_of = streams.SSE, streams.cut, streams.whole, streams.fails, streams.lab_of
local asked, watch, CONTINUE, AUTO = streams.asked, streams.watch, streams.CONTINUE, streams.AUTO
local request_with = streams.request_with

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
