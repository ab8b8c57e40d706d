-- on_status reached the C table only, while every answer was judged in Lua first: 429 and 500 were tried again although
-- they were not on the list.
local sim = require "spec.support.sim"

local function attempts(script, config)
  local lab = sim.lab({ a = script }, { retry = { max_attempts = 3, on_status = { 418, 500, 400 } }, breaker = false,
    fallbacks = config and config.fallbacks })
  lab.client:chat "Hi"
  return #lab.log
end

describe("on_status", function()
  after_each(sim.settled)

  for status, count in pairs { [418] = 3, [500] = 3, [400] = 3, [429] = 1, [503] = 1, [408] = 1, [401] = 1,
    [404] = 1 } do
    it(("with %d"):format(status), function()
      assert.equal(count, attempts { status = status })
    end)
  end

  it("leaves alone what only the body knows", function()
    assert.equal(1, attempts { status = 400, body = { error = { code = "content_filter", message = "no" } } })
    assert.equal(2, attempts({ status = 413, body = { error = { code = "context_length_exceeded", message = "no" } } },
      { fallbacks = { "longer" } }))
  end)
end)
