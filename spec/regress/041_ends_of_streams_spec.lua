-- Ends of streams that were told wrongly, or not at all.
local sim = require "spec.support.sim"

local SSE = { ["content-type"] = "text/event-stream" }

local function line(list, more)
  local script = { after = 1, headers = SSE, events = {} }
  for i, data in ipairs(list) do
    script.events[i] = { at = i, data = data }
  end
  for key, value in pairs(more or {}) do
    script[key] = value
  end
  return script
end

local function say(text)
  return ('data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'):format(text)
end

describe("a stream that is closed", function()
  after_each(sim.settled)

  it("before all choices of an event were read has ended all the same", function()
    local both = 'data: {"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}\n\n'
    local lab = sim.lab { a = line { both, both, both } }
    local stream = assert(lab.client:stream { messages = {}, n = 2 })
    assert.equal("a", stream:read().text)
    stream:close()
    local _, err = stream:result()
    assert.equal("cancelled", err.kind)
    lab.client:close { drain = 1000 }
    assert.is_true(lab.sim:now() < 10)
  end)
end)

describe("an event that is too large", function()
  after_each(sim.settled)

  it("is final, whenever it is found", function()
    local large = say(("x"):rep(3000))
    for _, events in ipairs { { ": x\n\n", 'data: {"choices":[]}\n\n' .. large }, { large } } do
      local lab = sim.lab({ a = line(events), b = line { say "Hi" } }, { limits = { event_bytes = 2000 } })
      local _, err = lab.client:stream "Hi"
      assert.same({ "too_large", 1 }, { err.kind, #err.attempts })
    end
  end)
end)

describe("a farewell that does not come", function()
  after_each(sim.settled)

  it("is a cut, not 30 seconds of silence", function()
    local begun = 'data: {"type":"message_start","message":{}}\n\ndata: {"type":"content_block_start","index":0,'
      .. '"content_block":{"type":"text","text":"Hi"}}\n\n'
    local events = { { at = 1, data = begun },
      { at = 2, data = 'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n' },
      { at = 500, data = ": late\n\n" } }
    local lab = sim.lab({ a = { after = 1, headers = SSE, events = events } },
      { endpoints = { { name = "a", url = "http://127.0.0.1:1", provider = "anthropic" } } })
    local stream = assert(lab.client:stream "Hi")
    local _, err = stream:result()
    assert.same({ "truncated", 7 }, { err.kind, lab.sim:now() })
    assert.equal("Hi", err.partial.text)
    assert.is_nil(tostring(err):find("30 s", 1, true))
  end)
end)

describe("what a hook throws while a stream is read", function()
  after_each(sim.settled)

  it("ends the stream, and stays its failure", function()
    local done = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    local lab = sim.lab { a = line { say "Hi", done } }
    local stream = assert(lab.client:stream("Hi", { validate = function() error("no good", 0) end }))
    local ok, problem = pcall(stream.result, stream)
    assert.same({ false, "no good" }, { ok, problem })
    local result, err = stream:result()
    assert.is_nil(result)
    assert.same({ "error", "no good" }, { err.kind, err.cause })
  end)
end)
