-- The time that Lua took to answer a question was charged to the provider: the latency that routing learns from, and
-- the wait that the server had asked for, were counted from the answer instead of from the arrival.
local binding = require "surefoot.binding"

local function attempt(script, late, class, kind)
  local engine = binding.simulation(1)
  local client = binding.client {
    max_attempts = 2, strategy = "exponential", base_delay = 0, throttled_base_delay = 0, max_delay = 60,
    jitter = "none", hint_cap = 120, budget = false, concurrency = { limit = 10, queue = 10 },
    routing = { strategy = "priority", decay = 10, slow_start = 0, penalty = 5 },
    endpoints = { { name = "a", url = "https://a.invalid", keys = {}, headers = "", timeout = {}, breaker = false } },
  }
  local plan = client:plan { { route = 1, endpoint = 1, variant = 1, model = "m" } }
  local call = client:submit(engine, plan, { deadline = 300, variant = 1, method = "GET", path = "/" })
  engine:script(engine:started(), script)
  engine:advance(60) -- connected
  engine:advance(60) -- headers
  while call:next() == "wait" do
    engine:advance(60)
  end
  assert.equal("response", (call:next()))
  engine:advance(late)
  call:answer(1, class, kind)
  local ewma = client:stats().endpoints[1].ewma
  while call:next() == "wait" and not engine:started() do
    assert.is_true(engine:advance(600))
  end
  local now = engine:now()
  call:cancel()
  return ewma, now
end

describe("an answer that Lua gives late", function()
  it("does not make the line look slow", function()
    local ewma = attempt({ after = 1, status = 500, body = "x" }, 30, "transient", "server")
    assert.near(5, ewma, 1e-4)
  end)

  it("does not prolong the server's wait", function()
    local _, now = attempt({ after = 1, status = 429, headers = { ["retry-after"] = "40" } }, 30, "throttled",
      "rate_limited")
    assert.near(41, now, 1e-6)
  end)
end)
