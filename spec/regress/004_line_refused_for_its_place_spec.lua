-- A 403 that speaks of the place and not of the key (unsupported country) made the key count as dead but left the
-- line's other routes among the candidates: the call ended with "the deadline leaves no room" or "out of memory".
local sim = require "spec.support.sim"

local refused = { status = 403, body = { error = { code = "unsupported_country_region_territory",
  message = "not here" } } }

describe("a line that refuses the place", function()
  after_each(sim.settled)

  it("is not asked for another model", function()
    local lab = sim.lab({ a = refused }, { fallbacks = { "other" } })
    local _, err = lab.client:chat "Hi"
    assert.equal("a 0", lab:sent())
    assert.equal("forbidden", err.kind)
    assert.equal("not here", err.message)
    assert.is_nil(err.retry_at)
  end)

  it("gives way to another line, for the model that was asked for", function()
    local lab = sim.lab({ a = refused, b = { text = "ok" } }, { fallbacks = { "other" } })
    local result = assert(lab.client:chat "Hi")
    assert.same({ "b", "simulated" }, { result.endpoint, result.model })
    assert.equal("a 0, b 0", lab:sent())
  end)

  it("is not asked with its other key", function()
    local lab = sim.lab({ a = refused }, { api_key = { "key-number-1", "key-number-2" }, fallbacks = { "other" } })
    local _, err = lab.client:chat "Hi"
    assert.same({ "a 0", "forbidden", "not here" }, { lab:sent(), err.kind, err.message })
  end)
end)
