--- The engine never explored: a line that was slow once, under a long memory, was hardly asked again.

local surefoot = require "surefoot"

describe("a line that was slow once", function()
  it("is asked now and then, and found again", function()
    local asked = 0
    local sim = surefoot.simulate {
      seed = 1,
      endpoints = {
        a = function() return { after = 0.1, text = "a" } end,
        b = function(n)
          asked = asked + 1
          return { after = n == 1 and 30 or 0.05, text = "b" }
        end,
      },
    }
    local client = sim:client {
      endpoints = { { name = "a" }, { name = "b" } }, routing = { strategy = "latency", decay = 86400, slow_start = 0 },
    }
    sim:spawn(function()
      for _ = 1, 3000 do
        client:chat "x"
      end
    end)
    sim:run()
    assert.is_true(asked > 10, asked)
  end)
end)
