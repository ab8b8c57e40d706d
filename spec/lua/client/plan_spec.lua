-- How many plans a client's core keeps, whatever its users ask for: it frees none before the client ends.

local plans = require "surefoot.client.plan"
local surefoot = require "surefoot"

describe("the plans of a client", function()
  local client, core, made

  -- Three endpoints, each with models of its own: lists of their names are of very many shapes.
  before_each(function()
    local endpoints = {}
    for i, name in ipairs { "a", "b", "c" } do
      endpoints[i] = { name = name, url = "http://127.0.0.1:9/v1", models = { name .. "1", name .. "2" } }
    end
    client = surefoot.new { api_key = "sk-0123456789", endpoints = endpoints }
    made, core = 0, client.core
    client.core = setmetatable({}, { __index = { plan = function(_, targets)
      made = made + 1
      return core:plan(targets)
    end } })
  end)

  after_each(function()
    client.core = core
    client:close()
  end)

  local function routes(number)
    local list = {}
    for i = 1, 8 do
      local at = number % 6
      number = (number - at) / 6
      list[i] = { model = ("abc"):sub(at % 3 + 1, at % 3 + 1) .. (at < 3 and "1" or "2") }
    end
    return list
  end

  it("are bounded, however the lists of routes differ, and each begins as its list does", function()
    for number = 1, 800 do
      local list = routes(number * 2099)
      local plan = assert(plans.of(client, list))
      local last = plan.targets[#plan.targets]
      assert.equal(1, plan.routes[1])
      assert.equal(list[1].model, plan.targets[1].model)
      assert.equal(list[plan.routes[last.route]].model, last.model)
      local variants = 0
      for _, target in ipairs(plan.targets) do
        variants = math.max(variants, target.variant)
      end
      assert.equal(variants, #plan.variants, "C's variants and those here")
    end
    assert.is_true(made > 256, "the first lists have plans of their own")
    assert.is_true(made <= 256 + 64 + 3, made)
  end)

  it("skip what nobody serves, and are none where nobody serves anything", function()
    for number = 1, 800 do
      plans.of(client, routes(number * 2099))
    end
    local list = routes(4711)
    table.insert(list, 1, { model = "unknown" })
    list[#list + 1] = { model = "unknown" }
    local plan = assert(plans.of(client, list))
    assert.equal(2, plan.routes[1])
    assert.equal(list[2].model, plan.targets[1].model)
    assert.is_nil(plans.of(client, { { model = "unknown" }, { model = "unknown" } }))
  end)
end)
