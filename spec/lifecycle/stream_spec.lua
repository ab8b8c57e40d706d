-- Streams on the simulated network: when the caller is shown what, who else is asked until then, and every way to end.
local env = require "spec.support.env"
local sim = require "spec.support.sim"
local json = require "surefoot.json"
local surefoot = require "surefoot"

local SSE = { ["content-type"] = "text/event-stream" }

local function event(delta, finish_reason)
  return "data: " .. json.encode { id = "c-1", model = "m-1", choices = { { index = 0, delta = delta,
    finish_reason = finish_reason or json.null } } } .. "\n\n"
end

local ROLE, STOP, DONE = event { role = "assistant", content = "" }, event({}, "stop"), "data: [DONE]\n\n"
local OVERLOADED = 'data: {"error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'

local function say(text)
  return event { content = text }
end

-- A line that streams: { seconds, bytes, seconds, bytes ... }.
local function line(events, more)
  local script = { after = events[1], headers = SSE, events = {} }
  for i = 1, #events, 2 do
    script.events[#script.events + 1] = { at = events[i], data = events[i + 1] }
  end
  for key, value in pairs(more or {}) do
    script[key] = value
  end
  return script
end

local good = line { 1, ROLE, 2, say "Hel", 3, say "lo", 4, STOP .. DONE }

-- What a reader sees, and when: "2 Hel, 3 lo, 4 stop", and how it ends.
local function watch(lab, options, request)
  local seen = { at = {} }
  seen.task = lab.sim:spawn(function()
    local stream, err = lab.client:stream(request or "Hi", options)
    seen.opened, seen.err = lab.sim:now(), err
    seen.stream = stream
    if not stream then
      return
    end
    local chunk = stream()
    while chunk do
      local what = chunk.error and chunk.error.kind or chunk.text or chunk.finish_reason or "?"
      seen.at[#seen.at + 1] = sim.time(lab.sim:now()) .. " " .. what
      chunk = stream()
    end
    seen.result, seen.err = stream:result()
  end)
  lab.sim:run()
  seen.shown = table.concat(seen.at, ", ")
  return seen
end

describe("a stream", function()
  after_each(sim.settled)

  it("is shown from its first content on, and is whole at its farewell", function()
    local lab = sim.lab { a = good }
    local seen = watch(lab)
    assert.equal("2 Hel, 3 lo, 4 stop", seen.shown)
    assert.equal(2, seen.opened)
    local result = seen.result
    assert.same({ "Hello", "stop", "m-1", "c-1", "a", 200 }, { result.text, result.finish_reason, result.model,
      result.id, result.endpoint, result.status })
    assert.same({ 2, 4 }, { result.time_to_first_token, result.latency })
    assert.is_true(result.usage.estimated)
    assert.same({ role = "assistant", content = "Hello" }, result.message)
    assert.equal("a ok", sim.trail(result))
    local stats = lab.client:stats()
    assert.same({ 1, 1, 2 }, { stats.requests, stats.successes, stats.time_to_first_token.max })
  end)

  it("ends at [DONE], though the bytes go on", function()
    local lab = sim.lab { a = line { 1, say "Hi", 2, STOP .. DONE .. OVERLOADED, 50, OVERLOADED } }
    assert.equal("1 Hi, 2 stop", watch(lab).shown)
    assert.equal(2, lab.sim:now())
  end)

  it("is whole without [DONE] where every choice has finished", function()
    assert.is_truthy(watch(sim.lab { a = line { 1, say "Hi", 2, STOP } }).result)
  end)

  it("waits only briefly for a farewell that does not come", function()
    local lab = sim.lab { a = line { 1, say "Hi", 2, STOP, 100, "" } }
    local seen = watch(lab)
    assert.equal("Hi", assert(seen.result, seen.err).text)
    assert.equal(7, lab.sim:now())
    assert.equal(0, lab.client:stats().timeouts)
  end)

  it("gives an answer that comes whole as one piece", function()
    local lab = sim.lab { a = { after = 1, text = "whole" } }
    local seen = watch(lab)
    assert.equal("1 whole", seen.shown)
    assert.equal("whole", seen.result.text)
  end)

  it("of several choices shows them all", function()
    local both = "data: " .. json.encode { choices = { { index = 0, delta = { content = "a" } },
      { index = 1, delta = { content = "b" } } } } .. "\n\n"
    local done = "data: " .. json.encode { choices = { { index = 0, delta = {}, finish_reason = "stop" },
      { index = 1, delta = {}, finish_reason = "length" } } } .. "\n\n"
    local lab = sim.lab { a = line { 1, both, 2, done } }
    local shown = {}
    for chunk in assert(lab.client:stream { messages = {}, n = 2 }) do
      shown[#shown + 1] = chunk.index .. (chunk.text or chunk.finish_reason)
    end
    assert.same({ "1a", "2b", "1stop", "2length" }, shown)
  end)

  it("is not asked for with stream = false", function()
    local lab = sim.lab { a = good }
    assert.error_matches(function() lab.client:stream { messages = {}, stream = false } end, "use client:chat")
  end)

  it("is a loop over itself, and a reader", function()
    local lab = sim.lab { a = good }
    local texts = {}
    for chunk in assert(lab.client:stream "Hi") do
      texts[#texts + 1] = chunk.text
    end
    assert.same({ "Hel", "lo" }, texts)
    local stream = assert(lab.client:stream "Hi")
    assert.equal("Hel", stream:read().text)
    assert.equal("Hello", stream:result().text)
    assert.same({}, { stream:read() })
    assert.equal("surefoot.stream (ended)", tostring(stream))
  end)
end)

describe("until something was shown", function()
  after_each(sim.settled)

  for name, script in pairs {
    ["a cut"] = line({ 1, ROLE }, { fault = "cut" }),
    ["an early end"] = line { 1, ROLE },
    ["an end without an event"] = line { 1, ": nothing\n\n" },
    ["an error event"] = line { 1, ROLE .. OVERLOADED, 9, say "Hi" },
    ["a broken event"] = line { 1, ROLE .. "data: {\"choices\":[\n\n" },
    ["an error status"] = { after = 1, status = 500 },
    ["HTML"] = { after = 1, headers = { ["content-type"] = "text/html" }, body = "<html>sorry</html>" },
  } do
    it(name .. " is left for another line", function()
      local lab = sim.lab { a = script, b = good }
      local seen = watch(lab)
      assert.equal("3 Hel, 4 lo, 5 stop", seen.shown)
      assert.equal("a 0, b 1", lab:sent())
      assert.equal(2, #seen.result.attempts)
      assert.equal(0, lab:line("a").in_flight)
    end)
  end

  it("silence is given up after first_byte, and after first_token", function()
    local ping = ": ping\n\n"
    local lab = sim.lab {
      a = { fault = "hang" }, b = line { 1, ROLE, 2, ping, 25, ping, 50, ping, 70, say "late" }, c = good,
    }
    local seen = watch(lab, { timeout = { first_byte = 20 } })
    assert.equal("a 0, b 20, c 80", lab:sent())
    assert.equal("82 Hel, 83 lo, 84 stop", seen.shown)
    local trail = seen.result.attempts
    assert.same({ "timeout first_byte", "timeout first_token" }, { trail[1].kind .. " " .. trail[1].phase,
      trail[2].kind .. " " .. trail[2].phase })
    assert.equal(2, lab.client:stats().timeouts)
  end)

  it("first_byte is 60 seconds, whatever an attempt may take", function()
    local lab = sim.lab({ a = { fault = "hang" }, b = good }, { timeout = { attempt = 200, first_token = 100 } })
    watch(lab)
    assert.equal("a 0, b 60", lab:sent())
  end)

  it("and no longer, an attempt is bounded by timeout.attempt", function()
    local lab = sim.lab({ a = line { 1, say "x", 20, say "y", 40, STOP } }, { timeout = { attempt = 10 } })
    assert.equal("1 x, 20 y, 40 stop", watch(lab).shown)
  end)

  it("every line's failure is the caller's", function()
    local lab = sim.lab({ a = line { 1, OVERLOADED } }, { retry = { max_attempts = 2, base_delay = 1 } })
    local seen = watch(lab)
    assert.is_nil(seen.stream)
    assert.same({ "overloaded", "overloaded_error", 2 }, { seen.err.kind, seen.err.code, #seen.err.attempts })
    assert.is_nil(seen.err.partial)
  end)

  it("64 start-up events are held back, no more", function()
    local lab = sim.lab { a = line { 1, ROLE:rep(63), 2, ROLE, 3, say "x", 4, STOP } }
    local seen = watch(lab)
    assert.equal(2, seen.opened)
    assert.equal("3 x, 4 stop", seen.shown)
    lab = sim.lab { a = line { 1, ROLE:rep(63), 3, say "x", 4, STOP } }
    assert.equal(3, watch(lab).opened)
  end)
end)

describe("after something was shown", function()
  after_each(sim.settled)

  for name, row in pairs {
    ["a cut"] = { line({ 1, say "Hel", 2, say "lo" }, { fault = "cut" }), "truncated", 2 },
    ["an early end"] = { line { 1, say "Hel", 2, say "lo" }, "truncated", 2 },
    ["an unterminated last event"] = { line { 1, say "Hel", 2, say "lo", 3, "data: [DONE]" }, "truncated", 3 },
    ["an error event"] = { line { 1, say "Hel", 2, say "lo", 3, OVERLOADED, 9, STOP }, "overloaded", 3 },
    ["a broken event"] = { line { 1, say "Hel", 2, say "lo", 3, "data: {\n\n", 9, STOP }, "malformed", 3 },
    ["silence"] = { line { 1, say "Hel", 2, say "lo", 99, STOP }, "timeout", 32, "idle" },
  } do
    it(name .. " is the caller's, with what had come", function()
      local lab = sim.lab { a = row[1], b = good }
      local seen = watch(lab)
      assert.equal(("1 Hel, 2 lo, %d %s"):format(row[3], row[2]), seen.shown)
      assert.equal("a 0", lab:sent())
      assert.equal(row[2], seen.err.kind)
      assert.equal("Hello", seen.err.partial.text)
      assert.is_true(seen.err.partial.usage.estimated)
      assert.equal("a", seen.err.endpoint)
      if row[4] then
        assert.equal(row[4], seen.err.phase)
      end
      assert.same({ 1, 0, 1 }, { lab.client:stats().requests, lab.client:stats().successes,
        lab.client:stats().errors[row[2]] })
    end)
  end

  it("the deadline ends it", function()
    local lab = sim.lab { a = good }
    local seen = watch(lab, { deadline = 3.5 })
    assert.equal("2 Hel, 3 lo, 3.5 deadline", seen.shown)
    assert.equal("Hello", seen.err.partial.text)
  end)

  it("a slow reader is no silence of the line's", function()
    local lab = sim.lab { a = good }
    local texts
    lab.sim:spawn(function()
      local stream = assert(lab.client:stream("Hi", { deadline = 1000 }))
      texts = stream:read().text
      surefoot.sleep(100)
      texts = texts .. stream:read().text
      assert.equal("Hello", stream:result().text)
    end)
    lab.sim:run()
    assert.equal("Hello", texts)
  end)

  it("validate has its word at the end", function()
    local lab = sim.lab { a = good, b = good }
    local seen = watch(lab, { validate = function(result)
      return result.text ~= "Hello", "no greeting"
    end })
    assert.equal("2 Hel, 3 lo, 4 stop, 4 rejected", seen.shown)
    assert.equal("a 0", lab:sent())
  end)
end)

describe("a reader that leaves", function()
  after_each(sim.settled)

  local function open(lab)
    return assert(lab.client:stream "Hi")
  end

  it("cancels by close()", function()
    local lab = sim.lab { a = good }
    local stream = open(lab)
    stream:close()
    assert.equal(0, lab:line("a").in_flight)
    local result, err = stream:result()
    assert.is_nil(result)
    assert.same({ "cancelled", "Hel" }, { err.kind, err.partial.text })
    stream:close()
  end)

  it("cancels by leaving the loop, where Lua closes it", function()
    env.need_of_lua "closing"
    local lab = sim.lab { a = good }
    local stream = open(lab)
    for _ in stream:chunks() do -- luacheck: ignore 512
      break
    end
    assert.equal(0, lab:line("a").in_flight)
    assert(load [[
      local open, lab = ...
      do local stream <close> = open(lab) end
      assert(lab:line("a").in_flight == 0)
      local ended
      do
        local stream <close> = open(lab)
        ended = stream:result()
      end
      assert(ended.text == "Hello")
    ]])(open, lab)
  end)

  it("cancels by being collected", function()
    local lab = sim.lab { a = good }
    open(lab)
    collectgarbage()
    collectgarbage()
    assert.equal(0, lab:line("a").in_flight)
  end)

  it("is told when its task or canceller was used", function()
    local lab = sim.lab { a = good }
    local canceller = surefoot.canceller()
    local kinds = {}
    local task = lab.sim:spawn(function()
      local _, err = open(lab):result()
      kinds[1] = err.kind
    end)
    lab.sim:spawn(function()
      local _, err = assert(lab.client:stream("Hi", { cancel = canceller })):result()
      kinds[2] = err.kind
    end)
    lab.sim:spawn(function()
      surefoot.sleep(2.5)
      task:cancel()
      canceller:cancel()
    end)
    lab.sim:run()
    assert.same({ "cancelled", "cancelled" }, kinds)
    assert.equal(2.5, lab.sim:now())
  end)

  it("is alone", function()
    local lab = sim.lab { a = good }
    local problem
    lab.sim:spawn(function()
      local stream = open(lab)
      lab.sim:spawn(function()
        problem = select(2, pcall(stream.read, stream))
      end)
      stream:result()
    end)
    lab.sim:run()
    assert.matches("another task is reading this stream", problem)
    local stream = open(lab)
    assert.error_matches(function() stream.read() end, "with a colon")
    stream:close()
  end)

  it("finds it closed with its client", function()
    local lab = sim.lab { a = good }
    local stream = open(lab)
    lab.client:close()
    local _, err = stream:result()
    assert.equal("closed", err.kind)
  end)
end)

describe("a reader that is slow", function()
  after_each(sim.settled)

  local function flood(lab, options)
    local stream = assert(lab.client:stream("Hi", options))
    lab.sim:run(10)
    return stream
  end

  it("holds the line up, and misses nothing", function()
    local events, piece = {}, ("x"):rep(1000)
    for i = 1, 500 do
      events[2 * i - 1], events[2 * i] = 1 + i / 1000, say(piece)
    end
    events[#events + 1], events[#events + 2] = 2, STOP .. DONE
    local lab = sim.lab({ a = line(events) }, { limits = { stream_buffer_bytes = 1024 } })
    local stream = flood(lab)
    assert.equal(500000, #assert(stream:result()).text)
  end)

  it("holds the line up no longer than until what it has may be read: an event may be larger than that", function()
    local large, events = say(("x"):rep(200000)), { 1, say "a", 2, say "b" }
    for from = 1, #large, 10000 do
      events[#events + 1], events[#events + 2] = 3 + from / 1e6, large:sub(from, from + 9999)
    end
    events[#events + 1], events[#events + 2] = 4, STOP .. DONE
    local lab = sim.lab { a = line(events) }
    local stream = flood(lab)
    local result = assert(stream:result())
    assert.same({ 200002, 11 }, { #result.text, lab.sim:now() })
  end)
end)

describe("the limits of a stream", function()
  after_each(sim.settled)

  it("bound an event", function()
    local limits = { limits = { event_bytes = 2000 } }
    local lab = sim.lab({ a = line { 1, say "Hi", 2, say(("x"):rep(3000)) }, b = good }, limits)
    local seen = watch(lab)
    assert.equal("1 Hi, 2 too_large", seen.shown)
    assert.matches("event_bytes", seen.err.message)
    lab = sim.lab({ a = line { 1, say(("x"):rep(3000)) }, b = good }, limits)
    assert.equal("too_large", watch(lab).err.kind)
  end)

  it("bound all of its events together, as they bound an answer", function()
    local events = {}
    for i = 1, 100 do
      events[2 * i - 1], events[2 * i] = i, say(("x"):rep(100))
    end
    local lab = sim.lab({ a = line(events) }, { limits = { response_bytes = 2000 } })
    local seen = watch(lab)
    assert.equal("too_large", seen.err.kind)
    assert.matches("the stream is larger than limits.response_bytes", seen.err.message)
    assert.is_true(#seen.err.partial.text > 500 and #seen.err.partial.text <= 2000, #seen.err.partial.text)
  end)
end)
