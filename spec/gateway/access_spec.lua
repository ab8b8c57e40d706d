-- What the access log says of a request is JSON, whatever callers and providers call things.
local access = require "surefoot.gateway.access"
local cjson = require "cjson"

local function logged(id, ended)
  return cjson.decode("{" .. access.members(id, ended) .. "}")
end

describe("the members of the access log", function()
  it("are all there, null where nothing is known", function()
    local members, count = logged(nil, {}), 0
    for _, value in pairs(members) do
      assert.equal(cjson.null, value)
      count = count + 1
    end
    assert.equal(10, count)
    assert.equal(cjson.null, logged("", { model = "" }).model)
  end)

  it("tell what is known", function()
    assert.same({
      request_id = "r-1", key = "team", model = "m", endpoint = "a", kind = "timeout", attempts = 2, input_tokens = 10,
      output_tokens = 0, cost = 0.000125, first_token = 0.25,
    }, logged("r-1", {
      key = "team", model = "m", endpoint = "a", kind = "timeout", attempts = 2, input_tokens = 10, output_tokens = 0,
      cost = 0.000125, first_token = 0.25, status = 200,
    }))
  end)

  it("stay words with quotes, backslashes and control characters", function()
    assert.equal([[a"b\c?d]], logged("x", { model = 'a"b\\c\nd' }).model)
    assert.equal("100%", logged("x", { model = "100%" }).model)
  end)
end)
