-- A slow reader's waits were added up and put on top of every timer: silence was noticed minutes late.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local SSE = { ["content-type"] = "text/event-stream" }

local function say(text)
  return ('data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'):format(text)
end

describe("silence after a slow reader", function()
  after_each(sim.settled)

  it("is measured from the last that was read", function()
    local lab = sim.lab { a = { after = 1, headers = SSE, events = { { at = 1, data = say("x"):rep(20) },
      { at = 5000, data = say "y" } } } }
    local at, err
    lab.sim:spawn(function()
      local stream = assert(lab.client:stream("Hi", { deadline = 4000 }))
      local chunk
      repeat
        chunk, err = stream:read()
        surefoot.sleep(chunk and 5 or 0)
      until not chunk
      at = lab.sim:now()
    end)
    lab.sim:run()
    assert.equal("idle", err.phase)
    assert.is_true(at < 140, at)
  end)
end)
