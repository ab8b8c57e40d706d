--- A 401 that the server wanted retried left the line open without a key, and the call ended as "out of memory".

local surefoot = require "surefoot"

describe("a line whose only key was refused", function()
  it("is left, though the server says x-should-retry", function()
    local sim = surefoot.simulate {
      endpoints = {
        a = function() return { after = 0.1, status = 401, headers = { ["x-should-retry"] = "true" } } end,
        b = function(n) return n == 1 and { after = 0.1, status = 503 } or { after = 0.1, text = "b" } end,
      },
    }
    local client = sim:client {
      endpoints = { { name = "a" }, { name = "b", priority = 2 } }, retry = { on_status = { 503 } },
    }
    local result, err
    sim:spawn(function() result, err = client:chat "x" end)
    sim:run()
    assert.is_nil(err)
    assert.equal("b", result.endpoint)
    assert.same({ "a", "b", "b" },
      { result.attempts[1].endpoint, result.attempts[2].endpoint, result.attempts[3].endpoint })
  end)
end)
