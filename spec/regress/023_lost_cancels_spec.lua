--- Cancels that came at a bad moment did nothing: after a nested call had ended, while the function of api_key waited,
--- while a closing client drained, or in the very moment in which the call settled.

local sim = require "spec.support.sim"
local surefoot = require "surefoot"

describe("a cancel", function()
  after_each(sim.settled)

  it("finds the outer call after a nested one", function()
    local line = { { after = 1, text = "first" }, { after = 0.1, text = "nested" }, { after = 100, text = "x" } }
    local lab = sim.lab({ a = line }, { retry = { budget = false, base_delay = 0.01 } })
    local call = lab:start { validate = function(result)
      assert(lab.client:chat "nested")
      return result.text ~= "first"
    end }
    lab:pass(20)
    call.task:cancel()
    lab:pass(1)
    assert.equal("cancelled", call.err and call.err.kind)
    assert.equal(20, call.at)
  end)

  it("is not lost in the moment in which the call settles", function()
    local lab = sim.lab { a = { fault = "hang" } }
    local task, failure, slept, err
    lab.sim:spawn(function()
      surefoot.sleep(1)
      assert.equal(0, lab.client:stats().in_flight)
      task:cancel()
    end)
    task = lab.sim:spawn(function()
      failure = select(2, lab.client:chat("Hi", { deadline = 1 }))
      slept, err = surefoot.sleep(50)
    end)
    lab.sim:run()
    assert.equal("deadline", failure.kind)
    assert.is_nil(slept)
    assert.equal("cancelled", err.kind)
  end)

  it("is told once", function()
    local lab = sim.lab { a = { after = 10, text = "x" } }
    local err, slept
    local task = lab.sim:spawn(function()
      err = select(2, lab.client:chat "Hi")
      slept = surefoot.sleep(1)
    end)
    lab:pass(1)
    task:cancel()
    lab.sim:run()
    assert.equal("cancelled", err.kind)
    assert.is_true(slept)
  end)

  it("ends the draining of a client", function()
    local lab = sim.lab { a = { after = 10, text = "x" } }
    local call = lab:start()
    lab:pass(1)
    local closed_at
    local task = lab.sim:spawn(function()
      lab.client:close { drain = 60 }
      closed_at = lab.sim:now()
    end)
    lab:pass(1)
    task:cancel()
    lab.sim:run()
    assert.equal(2, closed_at)
    assert.equal("closed", call.err.kind)
  end)

  describe("while the function of api_key waits", function()
    local function laboratory()
      return sim.lab({ a = { after = 1, text = "x" } }, {
        endpoints = { { name = "a", api_key = function()
          surefoot.sleep(5)
          return "a-key"
        end } },
      })
    end

    it("counts, of a canceller", function()
      local lab, canceller = laboratory(), surefoot.canceller()
      local call = lab:start { cancel = canceller }
      lab:pass(1)
      canceller:cancel()
      lab.sim:run()
      assert.equal("cancelled", call.err and call.err.kind)
      assert.equal("", lab:sent())
    end)

    it("counts, of the task", function()
      local lab = laboratory()
      local call = lab:start()
      lab:pass(1)
      call.task:cancel()
      lab.sim:run()
      assert.equal("cancelled", call.err and call.err.kind)
      assert.is_false(call.err.sent)
      assert.equal(1, call.at) -- the sleep was ended, too
      assert.equal("", lab:sent())
    end)

    it("counts, of the whole client", function()
      local lab = laboratory()
      local call = lab:start()
      lab:pass(1)
      lab.client:close()
      lab.sim:run()
      assert.equal("closed", call.err and call.err.kind)
      assert.equal("", lab:sent())
    end)
  end)
end)
