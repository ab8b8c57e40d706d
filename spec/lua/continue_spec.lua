-- Carrying on where an answer was cut by its token limit, on the simulated network.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local SSE = { ["content-type"] = "text/event-stream" }

-- An answer that says a text and ends for a reason; message: more of it.
local function part(text, reason, message)
  local whole = { role = "assistant", content = text }
  for key, value in pairs(message or {}) do
    whole[key] = value
  end
  return { after = 1, body = {
    id = "c", model = "m-1", choices = { { index = 0, finish_reason = reason or "length", message = whole } },
    usage = { prompt_tokens = 10, completion_tokens = 4, total_tokens = 14 },
  } }
end

local function event(delta, reason)
  return "data: " .. json.encode { id = "c", model = "m-1", choices = { { index = 0, delta = delta,
    finish_reason = reason or json.null } } } .. "\n\n"
end

-- The same as events: one per word, a second apart.
local function pieces(words, reason, more)
  local events = {}
  for i, word in ipairs(words) do
    events[i] = { at = i, data = event { content = word } }
  end
  events[#events + 1] = { at = #words + 1, data = event({}, reason or "length") .. "data: " .. json.encode {
    choices = json.array {}, usage = { prompt_tokens = 10, completion_tokens = 4, total_tokens = 14 } } .. "\n\n"
    .. "data: [DONE]\n\n" }
  local script = { after = 1, headers = SSE, events = events }
  for key, value in pairs(more or {}) do
    script[key] = value
  end
  return script
end

local function asked(lab, n)
  return json.decode(lab.log[n].request.body)
end

local TWICE = { continue_on_length = 2 }

describe("continue_on_length", function()
  after_each(sim.settled)

  it("asks for the rest, and joins it", function()
    local lab = sim.lab({ a = { part("One, ", nil, { x = "1" }), part "two, ", part("three.", "stop", { y = "2" }) } },
      { prices = { simulated = { output = 1e6 } } })
    local request = { messages = { { role = "user", content = "Count" } }, max_tokens = 4 }
    local copy = json.encode(request)
    local result = assert(lab.client:chat(request, TWICE))
    assert.same({ "One, two, three.", "stop", 2, 3, 12, 1 }, { result.text, result.finish_reason, result.continued,
      result.latency, result.cost, result.time_to_first_token })
    assert.is_nil(result.truncated)
    assert.same({ role = "assistant", content = "One, two, three.", x = "1", y = "2" }, result.message)
    assert.same({ input_tokens = 30, output_tokens = 12, total_tokens = 42, estimated = false }, result.usage)
    assert.equal("a ok, a ok, a ok", sim.trail(result))
    assert.equal(copy, json.encode(request))
    local second, third = asked(lab, 2), asked(lab, 3)
    assert.same({ "user", "assistant", "user", 4 }, { second.messages[1].role, second.messages[2].role,
      second.messages[3].role, second.max_tokens })
    assert.same({ role = "assistant", content = "One, ", x = "1" }, second.messages[2])
    assert.matches("Continue exactly where it stopped", second.messages[3].content)
    assert.equal(3, #third.messages)
    assert.same({ role = "assistant", content = "One, two, ", x = "1" }, third.messages[2])
  end)

  it("is off unless it is asked for", function()
    for _, options in ipairs { {}, { continue_on_length = 0 } } do
      local lab = sim.lab { a = part "One, " }
      local result = assert(lab.client:chat("Count", options))
      assert.same({ "One, ", true, 1 }, { result.text, result.truncated, #lab.log })
      assert.is_nil(result.continued)
    end
  end)

  it("may be configured for all calls of a client, those of a batch included", function()
    local lab = sim.lab({ a = { part "1", part "2", part("3", "stop"), part "4", part "5" } }, TWICE)
    assert.equal("123", assert(lab.client:chat "Count").text)
    assert.equal("4", assert(lab.client:chat("Count", { continue_on_length = 0 })).text)
    lab = sim.lab({ a = { part "1", part("2", "stop") } }, TWICE)
    assert.equal("12", assert(lab.client:batch({ "Count" })[1].result).text)
    lab = sim.lab { a = { part "1", part("2", "stop") } }
    for _, result in lab.client:each({ "Count" }, TWICE) do
      assert.equal("12", result.text)
    end
    lab = sim.lab({ a = { pieces { "1" }, pieces({ "2" }, "stop") } }, TWICE)
    assert.equal("12", assert(assert(lab.client:stream "Count"):result()).text)
  end)

  it("stops when it has been carried on as often as allowed", function()
    local lab = sim.lab { a = { part "1", part "2", part "3", part "4" } }
    local result = assert(lab.client:chat("Count", TWICE))
    assert.same({ "123", true, "length", 2, 3 }, { result.text, result.truncated, result.finish_reason,
      result.continued, #lab.log })
  end)

  it("leaves an answer alone that was not cut", function()
    local lab = sim.lab { a = part("One.", "stop") }
    local result = assert(lab.client:chat("Count", TWICE))
    assert.same({ "One.", 1, 1 }, { result.text, result.latency, #lab.log })
    assert.is_nil(result.continued)
    assert.equal("a ok", sim.trail(result))
    assert.equal(200, result.status)
    assert.equal("One.", result.body.choices[1].message.content)
  end)

  for name, script in pairs {
    ["tool calls"] = part("I will", nil, { tool_calls = { { id = "1", type = "function",
      ["function"] = { name = "f", arguments = '{"a' } } } }),
    ["no text"] = part(json.null), ["an empty text"] = part "",
  } do
    it("does not carry on with " .. name, function()
      local lab = sim.lab { a = script }
      assert.is_true(assert(lab.client:chat("Count", TWICE)).truncated)
      assert.equal(1, #lab.log)
    end)
  end

  it("does not carry on with several choices, nor without messages", function()
    local lab = sim.lab { a = part "x" }
    assert(lab.client:chat({ messages = {}, n = 2 }, TWICE))
    assert(lab.client:chat({ prompt = "x" }, TWICE))
    assert.equal(2, #lab.log)
  end)

  it("stops when nothing more comes", function()
    local lab = sim.lab { a = { part "One, ", part "", part "never" } }
    local result = assert(lab.client:chat("Count", TWICE))
    assert.same({ "One, ", true, 1 }, { result.text, result.truncated, result.continued })
  end)

  it("gives back tool calls that end it", function()
    local calls = { { id = "1", type = "function", ["function"] = { name = "f", arguments = "{}" } } }
    local lab = sim.lab { a = { part "I will ", part("look.", "tool_calls", { tool_calls = calls }) } }
    local result = assert(lab.client:chat("Count", TWICE))
    assert.same({ "I will look.", "tool_calls" }, { result.text, result.finish_reason })
    assert.same(calls, result.tool_calls)
    assert.same({ role = "assistant", content = "I will look.", tool_calls = calls }, result.message)
  end)

  it("joins lists, reasoning, and what the provider wants back", function()
    local native = function(text) return { provider = "p", items = { { text = text } }, of = text } end
    local null = json.null
    local lab = sim.lab { a = {
      part({ { type = "text", text = "a" } }, nil, { reasoning_content = "r", refusal = null, native = native "1" }),
      part("b", nil, { reasoning_content = "s", refusal = json.null, notes = { 1 } }),
      part({ { type = "text", text = "c" } }, "stop", { reasoning_content = json.null, notes = { 2 } }),
    } }
    local result = assert(lab.client:chat("Count", TWICE))
    assert.same({ "abc", "rs" }, { result.text, result.reasoning })
    assert.same({ role = "assistant", reasoning_content = "rs", refusal = null, notes = { 1, 2 },
      content = { { type = "text", text = "abc" } } }, result.message)
    lab = sim.lab { a = { part("a", nil, { native = native "1" }), part("b", "stop", { native = native "2" }) } }
    assert.same({ provider = "p", of = "2", items = { { text = "12" } } },
      assert(lab.client:chat("Count", TWICE)).message.native)
  end)

  for name, case in pairs {
    ["of one text"] = { { type = "text", text = "a", marks = { 1 } }, { type = "text", text = "b", marks = { 2 } },
      { { type = "text", text = "ab", marks = { 1, 2 } } } },
    ["of two kinds"] = { { type = "text", text = "a" }, { type = "thinking", text = "b" },
      { { type = "text", text = "a" }, { type = "thinking", text = "b" } } },
    ["of which one is signed"] = { { text = "a", signature = "s" }, { text = "b" },
      { { text = "a", signature = "s" }, { text = "b" } } },
    ["of which the other is"] = { { text = "a" }, { text = "b", signature = "s" },
      { { text = "a" }, { text = "b", signature = "s" } } },
    ["of which one has a mark"] = { { text = "a", mark = { type = "x" } }, { text = "b", mark = { type = "x" } },
      { { text = "a", mark = { type = "x" } }, { text = "b", mark = { type = "x" } } } },
    ["of one message"] = {
      { type = "message", id = "1", status = "incomplete", content = { { type = "x" }, { type = "o", text = "a" } } },
      { type = "message", id = "2", status = "completed", content = { { type = "o", text = "b" }, { type = "x" } } },
      { { type = "message", id = "1", status = "completed",
        content = { { type = "x" }, { type = "o", text = "ab" }, { type = "x" } } } } },
  } do
    it("joins items where it was cut, the halves " .. name, function()
      local function items(item) return { native = { provider = "p", items = { item } } } end
      local lab = sim.lab { a = { part("a", nil, items(case[1])), part("b", "stop", items(case[2])) } }
      assert.same(case[3], assert(lab.client:chat("Count", TWICE)).message.native.items)
    end)
  end

  it("drops what only one provider wants back, where another carried on", function()
    local function items(name) return { native = { provider = name, items = { { text = name } } } } end
    local lab = sim.lab { a = { part("a", nil, items "p"), part("b", "stop", items "q") } }
    assert.same({ role = "assistant", content = "ab" }, assert(lab.client:chat("Count", TWICE)).message)
  end)

  it("reads structured output from the whole", function()
    local lab = sim.lab { a = { part '{"a":[1,', part('2]}', "stop") } }
    local format = { type = "json_object" }
    local result = assert(lab.client:chat({ messages = {}, response_format = format }, TWICE))
    assert.same({ a = { 1, 2 } }, result.parsed)
    assert.same({ format, nil }, { asked(lab, 1).response_format, asked(lab, 2).response_format })
  end)

  it("has validate judge the whole, once", function()
    local lab = sim.lab({ a = { part "One, ", part("bad.", "stop"), part("two.", "stop") } },
      { retry = { base_delay = 1 } })
    local seen = {}
    local result = assert(lab.client:chat("Count", { continue_on_length = 1, validate = function(answer)
      seen[#seen + 1] = ("%s %d %d"):format(answer.text, answer.continued, answer.usage.total_tokens)
      return answer.text == "One, two."
    end }))
    assert.same({ "One, bad. 1 28", "One, two. 1 28" }, seen)
    assert.equal("One, two.", result.text)
    lab = sim.lab { a = part "One, " }
    assert.error_matches(function()
      lab.client:chat("Count", { continue_on_length = 1, validate = function() error("mine", 0) end })
    end, "^mine$")
    local err = select(2, sim.lab({ a = part("x", "stop") }, { retry = { max_attempts = 1 } }).client:chat("Count",
      { continue_on_length = 1, validate = function() return false, "no" end }))
    assert.same({ "rejected", "no" }, { err.kind, err.message })
  end)

  it("keeps one deadline, and gives what had come", function()
    local lab = sim.lab { a = { part "One, ", part "two, ", { fault = "hang" } } }
    local result, err = lab.client:chat("Count", { continue_on_length = 5, deadline = 10 })
    assert.is_nil(result)
    assert.same({ "deadline", true, 10 }, { err.kind, err.sent, lab.sim:now() })
    assert.same({ "One, two, ", true, "length", 1, 28 }, { err.partial.text, err.partial.truncated,
      err.partial.finish_reason, err.partial.continued, err.partial.usage.total_tokens })
    lab = sim.lab { a = { part "One, ", { after = 1, status = 400 } } }
    err = select(2, lab.client:chat("Count", TWICE))
    assert.same({ "invalid_request", "One, " }, { err.kind, err.partial.text })
    assert.is_nil(err.partial.continued)
    err = select(2, sim.lab({ a = { after = 1, status = 400 } }).client:chat("Count", TWICE))
    assert.is_nil(err.partial)
  end)

  it("numbers a given idempotency key, and keeps the other options", function()
    local lab = sim.lab { a = { part "1", part "2", part "3" } }
    assert(lab.client:chat("Count", { continue_on_length = 2, idempotency_key = "k", headers = { ["X-A"] = "1" } }))
    for i, key in ipairs { "k", "k-part2", "k-part3" } do
      assert.same({ key, "1" }, { lab.log[i].request.headers["idempotency-key"], lab.log[i].request.headers["x-a"] })
    end
  end)

  it("works within the rounds of run_tools", function()
    local calls = { { id = "1", type = "function", ["function"] = { name = "f", arguments = "{}" } } }
    local lab = sim.lab { a = { part("", "tool_calls", { tool_calls = calls }), part "One, ", part("two.", "stop") } }
    local judged = {}
    local result = assert(lab.client:run_tools("Count", { f = { call = function() return "ok" end } }, {
      continue_on_length = 1, idempotency_key = "k", validate = function(answer)
        judged[#judged + 1] = answer.text
        return true
      end,
    }))
    assert.same({ "One, two.", 2, 1, 42 }, { result.text, #result.rounds, result.continued, result.usage.total_tokens })
    assert.same({ "One, two." }, judged)
    assert.same({ "k", "k-round2", "k-round2-part2" }, { lab.log[1].request.headers["idempotency-key"],
      lab.log[2].request.headers["idempotency-key"], lab.log[3].request.headers["idempotency-key"] })
    assert.same({ role = "assistant", content = "One, two." }, result.messages[4])
  end)

  it("is a whole number", function()
    local client = sim.lab({ a = part "x" }).client
    for _, value in ipairs { -1, 0.5, 101, "2", true } do
      assert.error_matches(function() client:chat("x", { continue_on_length = value }) end,
        "client:chat: continue_on_length: expected a whole number from 0 to 100, got")
    end
  end)
end)

describe("a stream with continue_on_length", function()
  after_each(sim.settled)

  local function watch(lab, options)
    local shown = {}
    local stream = assert(lab.client:stream("Count", options or TWICE))
    for chunk in stream:chunks() do
      shown[#shown + 1] = chunk.text or chunk.finish_reason or chunk.usage and "usage " .. chunk.usage.total_tokens
        or chunk.error and chunk.error.kind
    end
    local result, err = stream:result()
    return table.concat(shown, "|"), result, err
  end

  it("simply goes on", function()
    local lab = sim.lab { a = { pieces { "One, ", "two, " }, pieces { "three, " }, pieces({ "four." }, "stop") } }
    local shown, result = watch(lab)
    assert.equal("One, |two, |usage 14|three, |usage 28|four.|stop|usage 42", shown)
    assert.same({ "One, two, three, four.", "stop", 2, 42, 7, 1 }, { result.text, result.finish_reason,
      result.continued, result.usage.total_tokens, result.latency, result.time_to_first_token })
    assert.is_nil(result.truncated)
    assert.equal("One, two, three, ", asked(lab, 3).messages[2].content)
    assert.is_true(asked(lab, 3).stream)
  end)

  it("ends as it is when it may go on no more", function()
    local lab = sim.lab { a = { pieces { "1" }, pieces { "2" } } }
    local shown, result = watch(lab, { continue_on_length = 1 })
    assert.equal("1|usage 14|2|length|usage 28", shown)
    assert.is_true(result.truncated)
    assert.equal("1|length|usage 14", (watch(sim.lab { a = pieces { "1" } }, {})))
    assert.equal("1|stop|usage 14", (watch(sim.lab { a = pieces({ "1" }, "stop") })))
  end)

  it("goes on after answers that came whole", function()
    local lab = sim.lab { a = { part "One, ", part("two.", "stop") } }
    local shown, result = watch(lab)
    assert.equal("One, |two.", shown)
    assert.same({ "One, two.", "stop" }, { result.text, result.finish_reason })
  end)

  it("tells the end that it kept back, where nothing follows after all", function()
    local fragment = { tool_calls = { { index = 0, id = "1", type = "function",
      ["function"] = { name = "f", arguments = "{" } } } }
    local data = event { content = "I" } .. event({}, "length") .. event(fragment) .. "data: [DONE]\n\n"
    local script = { after = 1, headers = SSE, events = { { at = 1, data = data } } }
    local shown, result = watch(sim.lab { a = script })
    assert.equal(1, #result.tool_calls)
    assert.matches("length$", shown)
  end)

  it("fails with what had come, joined", function()
    local ends_early = { after = 1, headers = SSE, events = { { at = 1, data = event { content = "two, " } } } }
    local lab = sim.lab { a = { pieces { "One, " }, ends_early } }
    local shown, result, err = watch(lab)
    assert.equal("One, |usage 14|two, |truncated", shown)
    assert.is_nil(result)
    assert.same({ "truncated", "One, two, ", true, true, 1 }, { err.kind, err.partial.text, err.partial.truncated,
      err.sent, err.partial.continued })
    lab = sim.lab { a = { pieces { "One, " }, { after = 1, status = 400 } } }
    shown, result, err = watch(lab)
    assert.same({ "One, |usage 14|invalid_request", "One, " }, { shown, err.partial.text })
    assert.is_nil(result)
    assert.is_nil(select(2, lab.client:stream("Count", TWICE)).partial)
  end)

  it("keeps one deadline", function()
    local lab = sim.lab { a = { pieces { "One, " }, { fault = "hang" } } }
    local shown, _, err = watch(lab, { continue_on_length = 1, deadline = 9 })
    assert.same({ "One, |usage 14|deadline", "One, ", 9 }, { shown, err.partial.text, lab.sim:now() })
    lab = sim.lab { a = part "One, " }
    local stream = assert(lab.client:stream("Count", { continue_on_length = 1, deadline = 9 }))
    stream:read()
    lab.sim:run(20)
    err = select(2, stream:result())
    assert.equal("deadline: the deadline of 9 s passed while the answer was carried on", tostring(err))
    assert.equal(1, #lab.log)
  end)

  it("is cancelled in every round, and between them", function()
    for reads, text in pairs { [0] = "One, ", [1] = "One, ", [2] = "One, ", [3] = "One, two, " } do
      local lab = sim.lab { a = { pieces { "One, " }, pieces { "two, ", "three." } } }
      local stream = assert(lab.client:stream("Count", { continue_on_length = 1 }))
      for _ = 1, reads do
        stream:read()
      end
      stream:close()
      local result, err = stream:result()
      assert.is_nil(result)
      assert.same({ "cancelled", text }, { err.kind, err.partial.text })
    end
  end)

  it("shows the pieces of tools that run in between", function()
    local lab = sim.lab { a = { pieces { "1" }, pieces({ "2" }, "stop") } }
    local texts = {}
    local stream = assert(lab.client:run_tools("Count", { f = { call = print } },
      { stream = true, continue_on_length = 1 }))
    for chunk in stream do
      texts[#texts + 1] = chunk.text
    end
    assert.equal("12", table.concat(texts))
    assert.same({ "12", 1 }, { stream:result().text, #stream:result().rounds })
    assert.is_nil(surefoot.stream)
  end)
end)
