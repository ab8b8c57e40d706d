--- A half-open probe that ended with an answer that says nothing of the line (404) was given back without a word:
--- whoever waited for it slept until another line's probe was due.

local surefoot = require "surefoot"

describe("a probe that is given back", function()
  it("goes to the next call at once", function()
    local sim = surefoot.simulate {
      endpoints = {
        a = function(n)
          if n == 1 then
            return { after = 0.01, status = 500 }
          end
          return n == 2 and { after = 0.5, status = 404 } or { after = 0.1, text = "a" }
        end,
        b = function(n) return n == 1 and { after = 0.01, status = 500 } or { after = 0.1, text = "b" } end,
      },
    }
    local function shut(seconds)
      return { failure_threshold = 1, recovery_timeout = seconds, max_recovery_timeout = 60, jitter = 0 }
    end
    local client = sim:client {
      endpoints = { { name = "a", breaker = shut(1) }, { name = "b", priority = 2, breaker = shut(50) } },
      retry = { budget = false, jitter = "none", base_delay = 0.1 },
    }
    local took = {}
    sim:spawn(function()
      surefoot.spawn(function() client:chat "the one that probes" end)
      surefoot.sleep(1.3)
      for i = 1, 3 do
        surefoot.spawn(function()
          local began = sim:now()
          assert.equal("a", client:chat("waiting").text)
          took[i] = sim:now() - began
        end)
      end
    end)
    sim:run()
    assert.equal(3, #took)
    for i = 1, 3 do
      assert.is_true(took[i] < 1, took[i])
    end
  end)
end)
