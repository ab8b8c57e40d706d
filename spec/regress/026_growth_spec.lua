--- A client kept something for every name of a model it was ever asked for, and every key a function ever gave.

local sim = require "spec.support.sim"

describe("a client that lives long", function()
  after_each(sim.settled)

  local MANY = 400

  local function size(list)
    local count = 0
    for _ in pairs(list) do
      count = count + 1
    end
    return count
  end

  it("keeps no plan for every name of a model", function()
    local lab = sim.lab({ a = { after = 0.01, text = "x" }, b = { after = 0.01, status = 500 } }, {
      endpoints = {
        { name = "b", models = { "*nothing*", ["renamed"] = "upstream" }, priority = 1 }, { name = "a", priority = 2 },
      },
      breaker = false, retry = { budget = false, base_delay = 0.001 },
    })
    local client, plans = lab.client, {}
    local core = client.core
    client.core = setmetatable({
      plan = function(_, targets)
        plans[#plans + 1] = targets
        return core:plan(targets)
      end,
      submit = function(_, ...)
        return core:submit(...)
      end,
    }, { __index = function(_, name)
      return function(_, ...)
        return core[name](core, ...)
      end
    end })
    for i = 1, MANY do
      local result = assert(client:chat { model = "model-" .. i, messages = {} })
      assert.equal("model-" .. i, result.model)
      assert.equal("model-" .. i, result.attempts[1].model)
      assert.equal("model-" .. i, lab.log[#lab.log].request.json.model)
    end
    assert.is_true(#plans <= 260, #plans .. " plans of C")
    assert.is_true(size(client.usual_routes) <= 256)
    assert.is_true(size(client.plans) <= 256)
    local result = assert(client:chat { model = "renamed", messages = {} })
    assert.equal("b upstream, a renamed", result.attempts[1].endpoint .. " " .. result.attempts[1].model .. ", "
      .. result.attempts[2].endpoint .. " " .. result.attempts[2].model)
    local _, err = client:chat({ model = "another", messages = {} }, {
      fallbacks = { { endpoint = "b", model = "renamed" } },
      validate = function() return false end,
    })
    local names = {}
    for _, attempt in ipairs(err.attempts) do
      names[attempt.endpoint] = attempt.model
    end
    assert.same({ a = "another", b = "upstream" }, names)
    client.core = core
  end)

  it("forgets the keys that a function gave long ago", function()
    local key = 0
    local lab = sim.lab({
      a = function(n)
        local message = ("no: steady-secret-key, %03d-fresh-secret"):format(n)
        return { after = 0.01, status = 400, body = { error = { message = message } } }
      end,
      b = { after = 0.01, text = "x" },
    }, { breaker = false, endpoints = {
      { name = "a", priority = 1, api_key = function()
        key = key + 1
        return ("%03d-fresh-secret"):format(key)
      end },
      { name = "b", priority = 2, api_key = function() return "steady-secret-key" end },
    } })
    for _ = 1, MANY do
      local _, err = lab.client:chat "Hi"
      assert.equal("no: [key], [key]", err.message)
    end
    assert.is_true(#lab.client.secrets <= 18)
  end)
end)
