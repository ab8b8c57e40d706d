-- W3C trace context, and the list of events with what each of them says.
local events = require "surefoot.events"
local surefoot = require "surefoot"

local PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
local TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

local function line(scripts, config)
  local seen = {}
  local sim = surefoot.simulate { seed = 1, endpoints = { a = function(n, request)
    seen[n] = request.headers
    return scripts and scripts(n) or { after = 0.1, text = "ok" }
  end } }
  return sim:client(config), seen, sim
end

describe("trace", function()
  it("is passed on, the same with every attempt", function()
    local client, seen = line(function(n) return n == 1 and { after = 0.1, status = 500 } or { text = "ok" } end)
    assert(client:chat("Hi", { trace = { traceparent = PARENT, tracestate = "vendor=1" }, headers = { a = "b" } }))
    for n = 1, 2 do
      assert.same({ PARENT, "vendor=1", "b" }, { seen[n].traceparent, seen[n].tracestate, seen[n].a })
    end
    assert(client:chat("Hi", { trace = PARENT }))
    assert.same({ PARENT }, { seen[3].traceparent, seen[3].tracestate })
    assert(client:chat("Hi", { headers = { traceparent = PARENT } }))
    assert.equal(PARENT, seen[4].traceparent)
  end)

  it("begins with true, one for each call", function()
    local client, seen = line()
    assert(client:chat("1", { trace = true }))
    assert(client:chat("2", { trace = true }))
    assert(client:chat("3", { trace = false }))
    for n = 1, 2 do
      assert.matches("^00%-" .. ("%x"):rep(32) .. "%-" .. ("%x"):rep(16) .. "%-01$", seen[n].traceparent)
    end
    assert.not_equal(seen[1].traceparent, seen[2].traceparent)
    assert.is_nil(seen[3].traceparent)
  end)

  it("is one for all rounds of an answer", function()
    local client, seen = line(function(n)
      return { body = { choices = { { index = 0, finish_reason = n == 1 and "length" or "stop",
        message = { role = "assistant", content = "x" } } } } }
    end)
    assert(client:chat("Hi", { trace = true, continue_on_length = 1 }))
    assert.equal(2, #seen)
    assert.equal(seen[1].traceparent, seen[2].traceparent)
  end)

  it("is named by events", function()
    local client, ids = line(), {}
    assert(client:chat("Hi", { trace = PARENT, on_event = function(_, event) ids[#ids + 1] = event.trace_id end }))
    assert.same({ TRACE, TRACE, TRACE }, ids)
  end)

  it("is refused where it is none", function()
    local client = line()
    local zero = ("0"):rep(32)
    for _, given in ipairs { "x", PARENT:upper(), PARENT .. "-1", "ff" .. PARENT:sub(3), PARENT:gsub(TRACE, zero),
      "00-" .. TRACE .. "-0000000000000000-01", 7, {}, { traceparent = "x" },
      { traceparent = PARENT, tracestate = ("x"):rep(513) }, { traceparent = PARENT, tracestat = "x" } } do
      assert.error_matches(function() client:chat("Hi", { trace = given }) end, "client:chat: trace")
    end
    assert(client:chat("Hi", { trace = "01" .. PARENT:sub(3) .. "-more" })) -- of a version that is to come
  end)
end)

describe("the list of events", function()
  local fields = {
    queued = {}, attempt_started = { "attempt", "endpoint", "wait" }, first_token = { "attempt", "endpoint", "wait" },
    retried = { "attempt", "endpoint", "kind", "wait" }, failed_over = { "attempt", "endpoint", "kind", "wait" },
    hedged = { "attempt", "endpoint", "wait" }, breaker_changed = { "attempt", "endpoint", "breaker" },
    rate_changed = { "attempt", "endpoint", "rate" }, settled = { "kind" },
  }

  -- Calls in which all of them happen.
  local function everything(on_event)
    local sim = surefoot.simulate { seed = 1, endpoints = {
      a = function(n)
        if n <= 50 then
          return { after = 0.1, text = "ok" }
        end
        return n == 51 and { after = 60, text = "late" } or { after = 0.1, status = n == 52 and 429 or 500 }
      end,
      b = function(n) return n == 1 and { after = 0.1, text = "ok" } or { after = 0.1, status = 500 } end,
    } }
    local client = sim:client { routing = "priority", hedge = true, concurrency = { limit = 2 },
      rate = { requests_per_second = 1000 }, breaker = { failure_threshold = 2 }, retry = { max_attempts = 6 },
      endpoints = { { name = "a", rate = { requests_per_second = 1000 } }, { name = "b", priority = 2 } } }
    for _ = 1, 53 do
      client:chat("Hi", { on_event = on_event })
    end
    for _ = 1, 4 do
      sim:spawn(function() client:chat("Hi", { on_event = on_event, deadline = 5 }) end)
    end
    sim:run()
    sim:client { endpoints = { { name = "b" } } }:chat("Hi", { on_event = on_event })
  end

  it("is what happens, each with its fields", function()
    local seen = {}
    everything(function(name, event)
      assert.is_table(fields[name], name)
      seen[name] = event
    end)
    for _, name in ipairs(events.names) do
      local event = seen[name]
      assert.is_table(event, name .. " never happened")
      assert.same({ "number", "string", "chat" }, { type(event.at), type(event.request_id), event.operation }, name)
      for _, field in ipairs(fields[name]) do
        assert.is_not_nil(event[field], name .. "." .. field)
      end
    end
  end)

  it("is the README's", function()
    local file = assert(io.open "README.md")
    local text = file:read "*a"
    file:close()
    for _, name in ipairs(events.names) do
      assert.is_truthy(text:find(name, 1, true), name)
    end
  end)
end)
