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

  local function endpoints(list)
    local places = {}
    for i, route in ipairs(list) do
      places[i] = route.endpoint
    end
    return places
  end

  it("ask each name of a request once", function()
    local of = routes.new(client(), nil)
    assert.same({ "m", "x", "y" }, models(of:with("m", { "x", "m", "x", "y", "y" })))
    assert.same({ "m" }, models(of:with("m", { "m" })))
  end)

  it("are all of a listed model's, also where a request names what to try next", function()
    local of = routes.new(client(), { m = { { model = "m", endpoint = "a" }, { model = "m2", endpoint = "b" } },
      x = { { model = "x1", endpoint = "b" }, { model = "x2", endpoint = "a" } } })
    assert.same({ "m", "m2" }, models(of:of "m"))
    assert.same({ "m", "m2", "x1", "x2" }, models(of:with("m", { "x" })))
    assert.same({ 1, 2, 2, 1 }, endpoints(of:with("m", { "x" })))
  end)

  it("are the request's own fallbacks instead of the client's", function()
    local c = surefoot.new { api_key = "sk-0123456789", endpoints = { { name = "a", url = "http://127.0.0.1:9" } },
      fallbacks = { "mine" } }
    local of = routes.new(c, nil)
    assert.same({ "m", "mine" }, models(of:of "m"))
    assert.same({ "m", "x" }, models({ of:with("m", { "x" })[1], of:with("m", { "x" })[2] }))
    c:close()
  end)

  it("are not more than one call can have", function()
    local lines, names = {}, {}
    for i = 1, 16 do
      lines[i], names[i] = { name = "line" .. i, url = "http://127.0.0.1:9" }, "x" .. i
    end
    local c = surefoot.new { api_key = "sk-0123456789", endpoints = lines }
    local of = routes.new(c, nil)
    local found, unknown, problem = of:with("m", names)
    assert.same({ nil, nil, "fallbacks: lines x models may be 256, got 272" },
      { found, unknown, problem })
    names[16] = nil
    assert.equal(16, #of:with("m", names))
    c:close()
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
