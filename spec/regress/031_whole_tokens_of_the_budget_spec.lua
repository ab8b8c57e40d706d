-- The budget counts whole tokens, but took a cost of 0.5, and made it 0: retries were free.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local function message_of(budget)
  local config = { base_url = "http://127.0.0.1:1", api_key = "k", retry = { budget = budget } }
  local ok, message = pcall(surefoot.new, config)
  assert.is_false(ok)
  return message
end

describe("a retry budget", function()
  after_each(sim.settled)

  it("has whole tokens", function()
    assert.matches("retry%.budget%.transient_cost: expected a whole number from 0 to 32767, got 0%.5",
      message_of { transient_cost = 0.5 })
    assert.matches("retry%.budget%.throttled_cost: expected a whole number", message_of { throttled_cost = 1.5 })
    assert.matches("retry%.budget%.capacity: expected a whole number", message_of { capacity = 10.5 })
  end)

  it("may be told that retries cost nothing", function()
    local lab = sim.lab({ a = { status = 500 } }, {
      retry = { max_attempts = 4, budget = { capacity = 1, transient_cost = 0, floor_per_second = 0 } },
    })
    local _, err = lab.client:chat "x"
    assert.equal(4, #err.attempts)
  end)
end)
