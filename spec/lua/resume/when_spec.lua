-- Carrying on with a stream that broke off, on the simulated network: when, and in which way.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local streams = require "spec.lua.resume.streams"

local event, OVERLOADED, cut, whole = streams.event, streams.OVERLOADED, streams.cut, streams.whole
local silent, fails, lab_of, asked = streams.silent, streams.fails, streams.lab_of, streams.asked
local watch, CONTINUE, AUTO, request_with = streams.watch, streams.CONTINUE, streams.AUTO, streams.request_with

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
