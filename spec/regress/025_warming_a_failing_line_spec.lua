--- Warming a line that answered 500 counted as its success: it closed a breaker, and the numbers were too good.

local sim = require "spec.support.sim"
local surefoot = require "surefoot"

describe("client:warm of a line that fails", function()
  after_each(sim.settled)

  it("is well where an answer came, and counts as what it was", function()
    local lab = sim.lab({ a = { after = 0.01, status = 500, body = "{}" } }, {
      endpoints = { { name = "a", breaker = { failure_threshold = 2, recovery_timeout = 1, jitter = 0 } } },
      retry = { max_attempts = 1 },
    })
    local report
    lab.sim:spawn(function()
      lab.client:chat "x"
      lab.client:chat "x"
      assert.equal("open", lab:line("a").breaker)
      surefoot.sleep(2)
      report = lab.client:warm()
    end)
    lab.sim:run()
    assert.is_true(report.ok)
    assert.is_true(report.endpoints[1].ok)
    assert.is_nil(report.endpoints[1].kind)
    assert.not_equal("closed", lab:line("a").breaker)
    assert.equal(0, lab.client:stats().successes)
    assert.equal(3, #lab.log)
  end)

  it("is not well where none came", function()
    local lab = sim.lab { a = { fail = "connect" } }
    local report
    lab.sim:spawn(function() report = lab.client:warm() end)
    lab.sim:run()
    assert.is_false(report.ok)
    assert.equal("network", report.endpoints[1].kind)
  end)
end)
