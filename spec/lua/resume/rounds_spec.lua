-- A stream and those that carry it on are one call: budget, deadline, cancelling, usage, and never a wrong byte.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local streams = require "spec.lua.resume.streams"
local surefoot = require "surefoot"

local OVERLOADED, cut, whole, silent = streams.OVERLOADED, streams.cut, streams.whole, streams.silent
local fails, lab_of, asked, watch = streams.fails, streams.lab_of, streams.asked, streams.watch
local CONTINUE, AUTO, request_with = streams.CONTINUE, streams.AUTO, streams.request_with

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
