--- Tags are the caller's, and may be anything; only tables were taken.

local sim = require "spec.support.sim"

describe("the tags of a call", function()
  after_each(sim.settled)

  it("come back whatever they are", function()
    local lab = sim.lab { a = { after = 0.1, text = "x" } }
    for _, tags in ipairs { "job-7", 7, true, { job = 7 }, print } do
      assert.equal(tags, assert(lab.client:chat("Hi", { tags = tags })).tags)
    end
  end)

  it("are the very table that was given", function()
    local lab, tags = sim.lab { a = { after = 0.1, text = "x" } }, setmetatable({}, { __index = error })
    assert.is_true(rawequal(tags, assert(lab.client:chat("Hi", { tags = tags })).tags))
  end)
end)
