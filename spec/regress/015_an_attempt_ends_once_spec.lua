--- An attempt whose connection died at the very time of its timeout was ended twice, and used after it was freed.

local surefoot = require "surefoot"

describe("an attempt that dies when its time is up", function()
  for _, fault in ipairs { "reset", "cut" } do
    it("ends once, by " .. fault, function()
      local sim = surefoot.simulate {
        endpoints = { a = function() return { after = 2, fault = fault, body = "{}" } end },
      }
      local client = sim:client {
        endpoints = { { name = "a" } }, timeout = { attempt = 2 },
        retry = { max_attempts = 2, jitter = "none", base_delay = 1 },
      }
      local result, err
      sim:spawn(function() result, err = client:chat "x" end)
      sim:run()
      assert.is_nil(result)
      assert.equal(2, #err.attempts)
      assert.near(5, sim:now(), 1e-6)
      assert.equal(0, client:stats().in_flight)
      assert.equal(2, client:stats().endpoints.a.attempts)
    end)
  end
end)
