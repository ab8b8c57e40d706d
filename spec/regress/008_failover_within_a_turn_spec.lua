-- An attempt that the engine began in the very turn that ended the one before (refused connection, cut body) was
-- given its script only after the simulation's clock had moved to the next timer: the other line seemed to time out.
local sim = require "spec.support.sim"

describe("the simulation", function()
  after_each(sim.settled)

  for name, script in pairs {
    ["a refused connection"] = { fail = "connect" }, ["a cut body"] = { fault = "cut", body = "{" },
    ["a dead kept connection"] = { fault = "reset", reused = true },
  } do
    it("scripts the next attempt at once after " .. name, function()
      local lab = sim.lab({ a = { script, { fail = "resolve" } }, b = { text = "ok" } }, { breaker = false })
      local result = assert(lab.client:chat "Hi")
      assert.same({ "b", 0 }, { result.endpoint, result.latency })
    end)
  end
end)
