--- A user's own header of a name that surefoot sets too went out twice. The later, more particular one counts.

local surefoot = require "surefoot"

describe("a header that several levels set", function()
  it("is sent once, as the most particular level says", function()
    local seen
    local sim = surefoot.simulate {
      endpoints = {
        a = function(_, request)
          seen = request
          return { after = 0.1, text = "well" }
        end,
      },
    }
    local client = sim:client {
      model = "m", api_key = "secret", headers = { ["user-agent"] = "client", ["x-level"] = "client" },
      endpoints = { { name = "a", url = "http://127.0.0.1:1/v1", headers = { ["X-Level"] = "line" } } },
    }
    assert(client:chat("hello", { headers = { ["X-LEVEL"] = "call" } }))
    local count = {}
    for name, value in pairs(seen.headers) do
      count[name:lower()] = (count[name:lower()] or 0) + 1
      if name:lower() == "x-level" then
        assert.equal("call", value)
      elseif name:lower() == "user-agent" then
        assert.equal("client", value)
      end
    end
    assert.equal(1, count["x-level"])
    assert.equal(1, count["user-agent"])
  end)
end)
