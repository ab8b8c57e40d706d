-- Only 429, 503 and 529 were waited for as the server asked: a 500 or 409 with Retry-After was asked again after the
-- client's own backoff.
local sim = require "spec.support.sim"

describe("Retry-After", function()
  after_each(sim.settled)

  for _, status in ipairs { 408, 409, 429, 500, 502, 503, 504, 529 } do
    it(("is obeyed on %d"):format(status), function()
      local lab = sim.lab({ a = { { status = status, headers = { ["retry-after"] = "7" } }, { text = "ok" } } },
        { retry = { base_delay = 0, throttled_base_delay = 0 } })
      assert(lab.client:chat "Hi")
      assert.equal("a 0, a 7", lab:sent())
    end)
  end

  it("holds for the next call on that line too", function()
    local lab = sim.lab({ a = { { status = 500, headers = { ["retry-after"] = "7" } }, { text = "ok" } } },
      { retry = { max_attempts = 1 } })
    lab.client:chat "Hi"
    assert(lab.client:chat "Hi")
    assert.equal("a 0, a 7", lab:sent())
  end)
end)
