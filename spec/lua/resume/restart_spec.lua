-- A stream that broke off, carried on by asking anew and leaving out what was shown.
local sim = require "spec.support.sim"
local streams = require "spec.lua.resume.streams"

local cut, whole, silent, fails, lab_of = streams.cut, streams.whole, streams.silent, streams.fails, streams.lab_of
local watch, RESTART, request_with = streams.watch, streams.RESTART, streams.request_with

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
