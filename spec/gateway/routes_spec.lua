-- What a caller's model stands for.

local routes = require "surefoot.gateway.routes"
local plans = require "surefoot.client.plan"
local surefoot = require "surefoot"

describe("the routes of a gateway", function()
  local function client()
    return surefoot.new { api_key = "sk-0123456789", endpoints = {
      { name = "a", url = "http://127.0.0.1:9" }, { name = "b", url = "http://127.0.0.1:8" },
    } }
  end

  local function models(list)
    local names = {}
    for i, route in ipairs(list) do
      names[i] = route.model
    end
    return names
  end

  it("ask each name of a request once", function()
    local of = routes.new(client(), nil)
    assert.same({ "m", "x", "y" }, models(of:with("m", { "x", "m", "x", "y", "y" })))
    assert.same({ "m" }, models(of:with("m", { "m" })))
  end)

  it("leave nothing behind, however a request repeats its names", function()
    local c = client()
    local of, shapes = routes.new(c, nil), 0
    for i = 1, 3000 do
      local names, rest = {}, i
      for k = 1, 16 do
        names[k], rest = "m" .. rest % 3, math.floor(rest / 3)
      end
      plans.of(c, of:with("first-" .. i % 300, names))
    end
    for _ in pairs(c.common_plans) do
      shapes = shapes + 1
    end
    assert.is_true(shapes <= 17, shapes)
    c:close()
  end)
end)
