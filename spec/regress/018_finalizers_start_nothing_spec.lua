--- A call that was collected moved the queue from within its finalizer: the next call began while somebody was reading
--- it.

local core = require "surefoot.core"

describe("a call that is collected", function()
  it("leaves what follows to the next turn", function()
    local engine = core.simulation(1)
    local client = core.client {
      max_attempts = 1, strategy = "exponential", base_delay = 1, throttled_base_delay = 1, max_delay = 1,
      jitter = "none", budget = false, concurrency = { limit = 1, queue = 10 }, routing = { strategy = "priority" },
      limits = { response_bytes = 1000, header_bytes = 1000 },
      endpoints = { { name = "a", url = "http://127.0.0.1:1", keys = {}, headers = "", breaker = false } },
    }
    local plan = client:plan { { route = 1, endpoint = 1, variant = 1, model = "m" } }
    local function submit()
      return client:submit(engine, plan, { deadline = 100, variant = 1, method = "GET", path = "/" })
    end
    local calls = { first = submit() }
    local second = submit()
    assert.equal(1, calls.first:info().attempts)
    assert.equal(0, second:info().attempts)
    calls.first = nil
    collectgarbage()
    collectgarbage()
    assert.equal(0, second:info().attempts)
    engine:step()
    assert.equal(1, second:info().attempts)
  end)
end)
