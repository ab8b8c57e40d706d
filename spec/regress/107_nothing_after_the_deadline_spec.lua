--- A deadline that had passed before the first attempt began let it begin all the same.

local surefoot = require "surefoot"

describe("a deadline that has passed at once", function()
  it("sends nothing, and says so", function()
    local client = surefoot.new { base_url = "http://127.0.0.1:1/v1", api_key = "sk-1", model = "m" }
    for _ = 1, 20 do
      local result, err = client:chat("x", { deadline = 1e-9 })
      assert.is_nil(result)
      assert.same({ "deadline", false, 0 }, { err.kind, err.sent, #err.attempts })
    end
    client:close()
  end)

  it("tells an observer which line decided", function()
    local sim = surefoot.simulate {
      endpoints = {
        a = function() return { after = 0.1, status = 503 } end,
        b = function() return { after = 0.1, text = "b" } end,
      },
    }
    local client = sim:client { endpoints = { { name = "a" }, { name = "b", priority = 2 } } }
    local settled
    sim:spawn(function()
      client:chat("x", { on_event = function(name, event)
        settled = name == "settled" and event.endpoint or settled
      end })
    end)
    sim:run()
    assert.equal("b", settled)
  end)
end)
