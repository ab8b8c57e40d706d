-- What the gateway's part of a configuration is refused for.

require "surefoot.config" -- which knows what a fallback is
local config = require "surefoot.gateway.config"

describe("the gateway's configuration", function()
  local function problem(given)
    local ok, message = pcall(config.check, given)
    return not ok and message or nil
  end

  it("leaves it to the caller whether there is a stream", function()
    for _, value in ipairs { true, false, 1 } do
      assert.equal("gateway.models.forced[1].request.stream: whether there is a stream is the caller's to say",
        problem { models = { forced = { model = "m", request = { stream = value } } } })
    end
    assert.is_nil(problem { models = { forced = { model = "m", request = { temperature = 0 } } } })
  end)

  it("takes no empty list of keys for none, and no secret that can be guessed", function()
    assert.matches("^gateway%.keys: the list is empty", problem { keys = {} })
    assert.is_nil(problem {})
    assert.matches("^gateway%.admin_key: a secret of at least 16 characters", problem { admin_key = "fifteen-letters" })
    assert.is_nil(problem { admin_key = "sixteen-letters-" })
  end)
end)
