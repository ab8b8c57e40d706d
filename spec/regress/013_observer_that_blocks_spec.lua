-- An on_event hook that waited (made a call of its own, say) drove the engine and took the news of the call that it
-- observed: that call then slept until its deadline.
local sim = require "spec.support.sim"

describe("an observer that makes a call itself", function()
  after_each(sim.settled)

  for _, where in ipairs { "inside a task", "outside of one" } do
    it("does not put the observed one to sleep, " .. where, function()
      local lab = sim.lab { a = { after = 0.1, text = "ok" } }
      local told = {}
      local options = { on_event = function(name)
        told[#told + 1] = name
        if name == "attempt_started" then lab.client:chat("log", { deadline = 10 }) end
      end }
      local result
      if where == "inside a task" then
        local call = lab:start(options)
        lab.sim:run()
        result = call.result
      else
        result = lab.client:chat("Hi", options)
      end
      assert.equal("ok", result and result.text)
      assert.same({ "attempt_started", "first_token", "settled" }, told)
    end)
  end
end)
