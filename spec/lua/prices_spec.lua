-- What an answer costs: by the built-in table, by the user's prices, by those of a line.
local json = require "surefoot.json"
local prices = require "surefoot.prices"
local surefoot = require "surefoot"

local function answer(model, usage)
  return json.encode { id = "x", object = "chat.completion", model = model, usage = usage,
    choices = { { index = 0, finish_reason = "stop", message = { role = "assistant", content = "Hi" } } } }
end

-- A million tokens either way, so that costs are prices.
local MILLION = { prompt_tokens = 1000000, completion_tokens = 1000000, total_tokens = 2000000 }

local function lines(config, scripts)
  scripts = scripts or { a = function(_, request)
    return { after = 0.1, body = answer(request.json.model, MILLION) }
  end }
  return surefoot.simulate { seed = 1, endpoints = scripts }:client(config)
end

local function cost(config, scripts)
  return assert(lines(config, scripts):chat "Hello").cost
end

describe("the built-in prices", function()
  it("have a source and a date each, and no nonsense", function()
    local count = 0
    for name, price in pairs(prices.builtin) do
      assert.matches("^https://", price.source, nil, name)
      assert.matches("^20%d%d%-%d%d%-?%d*$", price.date)
      assert.is_true(price.input > 0 and price.output >= 0, name)
      assert.is_true((price.cached_input or 0) <= price.input, name)
      assert.is_true(not price.long or price.long.above > 0 and price.long.input > price.input, name)
      count = count + 1
    end
    assert.is_true(count > 20)
  end)

  it("know dated snapshots, and Claude's versions with a dot", function()
    assert.equal(2, prices.known("gpt-4.1-2025-04-14").input)
    assert.equal(3, prices.known("claude-sonnet-4-5-20250929").input)
    assert.equal(5, prices.known("claude-opus-4.7").input)
    assert.equal(3, prices.known("claude-sonnet-4-5-latest").input)
    assert.equal(5, prices.known("gpt-4o-2024-05-13").input)
    assert.equal(2.5, prices.known("gpt-4o-2024-08-06").input)
  end)

  it("do not guess", function()
    for _, name in ipairs { "gpt-4", "gpt-4.1-turbo", "my-gpt-4o", "claude-sonnet", "simulated", "" } do
      assert.is_nil(prices.known(name))
    end
  end)
end)

describe("prices = ", function()
  it("nothing, or false: no answer has a cost", function()
    assert.is_nil(cost { model = "gpt-4.1" })
    assert.is_nil(cost { model = "gpt-4.1", prices = false })
  end)

  it("true: the built-in table", function()
    assert.near(10, cost { model = "gpt-4.1", prices = true }, 1e-9)
    assert.is_nil(cost { model = "somebody-elses", prices = true })
  end)

  it("a table: its models and no others", function()
    assert.near(3, cost { model = "mine", prices = { mine = { input = 1, output = 2 } } }, 1e-9)
    assert.is_nil(cost { model = "gpt-4.1", prices = { mine = { input = 1, output = 2 } } })
  end)

  it("a table with builtin = true: the built-in table for all others", function()
    local given = { builtin = true, mine = { input = 1, output = 2 }, ["gpt-4o"] = { input = 1 } }
    assert.near(3, cost { model = "mine", prices = given }, 1e-9)
    assert.near(1, cost { model = "gpt-4o", prices = given }, 1e-9)
    assert.near(10, cost { model = "gpt-4.1", prices = given }, 1e-9)
    assert.is_nil(cost { model = "unknown", prices = given })
  end)

  it("refuses what is no price", function()
    assert.error_matches(function() lines { prices = { m = { inptu = 1 } } } end, 'did you mean "input"')
    assert.error_matches(function() lines { prices = 3 } end, "prices: expected true")
    assert.error_matches(function() lines { prices = { builtin = 1 } } end, "prices.builtin: expected a table")
    assert.error_matches(function() lines { prices = { m = { long = { input = 1 } } } } end, "long.above: is required")
  end)
end)

describe("a line's own prices", function()
  local scripts = {
    a = function() return { after = 0.1, status = 503 } end,
    b = function(_, request) return { after = 0.1, body = answer(request.json.model, MILLION) } end,
  }

  local function on_b(own, common)
    return cost({ model = "gpt-4.1", prices = common, routing = "priority", endpoints = {
      { name = "a" }, { name = "b", priority = 2, prices = own, models = { ["gpt-4.1"] = "four-one" } },
    } }, scripts)
  end

  it("win, and only there", function()
    assert.near(5, on_b({ ["gpt-4.1"] = { input = 1, output = 4 } }, true), 1e-9)
    assert.near(10, on_b(nil, true), 1e-9)
    assert.near(7, on_b({ other = { input = 1 } }, { ["gpt-4.1"] = { input = 7 } }), 1e-9)
  end)

  it("may name the model as the line does", function()
    assert.near(2, on_b({ ["four-one"] = { input = 2 } }, { ["gpt-4.1"] = { input = 7 } }), 1e-9)
  end)

  it("need none of the client's, and may be switched off", function()
    assert.near(10, on_b(true, nil), 1e-9)
    assert.is_nil(on_b(false, true))
  end)
end)

describe("the cost of an answer", function()
  it("is that of the model that answered, not of the one asked for first", function()
    local asked = { big = function() return { status = 503 } end, small = function() end }
    local result = assert(lines({ model = "big", fallbacks = { "small" }, retry = { max_attempts = 2 },
      prices = { big = { input = 100 }, small = { input = 1 } } }, {
      a = function(_, request)
        return asked[request.json.model]() or { body = answer("small", MILLION) }
      end,
    }):chat "Hi")
    assert.same({ "small", 1 }, { result.model, result.cost })
  end)

  it("tells apart what was read from the cache and written to it", function()
    local usage = { input_tokens = 1000000, output_tokens = 0, cached_input_tokens = 500000,
      cache_write_tokens = 300000, cache_write_hour_tokens = 100000 }
    local price = { input = 10, output = 0, cached_input = 1, cache_write = 12.5, cache_write_hour = 20 }
    assert.near(0.2 * 10 + 0.5 * 1 + 0.2 * 12.5 + 0.1 * 20, prices.cost(price, usage), 1e-9)
    assert.near(10, prices.cost({ input = 10 }, usage), 1e-9)
  end)

  it("counts what Anthropic's lines write to their cache", function()
    local client = lines({ model = "claude-sonnet-4-5", prices = true, provider = "anthropic" }, { a = function()
      return { body = { id = "m", type = "message", role = "assistant", model = "claude-sonnet-4-5-20250929",
        stop_reason = "end_turn", content = { { type = "text", text = "Hi" } },
        usage = { input_tokens = 1000, output_tokens = 100, cache_read_input_tokens = 2000,
          cache_creation_input_tokens = 3000, cache_creation = { ephemeral_1h_input_tokens = 1000 } } } }
    end })
    local result = assert(client:chat { messages = { { role = "user", content = "Hi" } }, max_tokens = 9 })
    assert.same({ 6000, 3000, 1000 }, { result.usage.input_tokens, result.usage.cache_write_tokens,
      result.usage.cache_write_hour_tokens })
    assert.near((1000 * 3 + 2000 * 0.3 + 2000 * 3.75 + 1000 * 6 + 100 * 15) / 1e6, result.cost, 1e-12)
  end)

  it("is higher for the whole of a long request, where the provider says so", function()
    local price = prices.known "gemini-2.5-pro"
    assert.near(0.25, prices.cost(price, { input_tokens = 200000, output_tokens = 0 }), 1e-9)
    assert.near(0.500005, prices.cost(price, { input_tokens = 200002, output_tokens = 0 }), 1e-9)
    assert.near(0.75 + 15, prices.cost(price, { input_tokens = 300000, output_tokens = 1000000 }), 1e-9)
  end)

  it("of client:request goes by the model that the request names", function()
    local client = lines { prices = { m = { input = 1, output = 2 } } }
    assert.near(3, assert(client:request { path = "/chat/completions", json = { model = "m" } }).cost, 1e-9)
    assert.is_nil(assert(client:request { path = "/chat/completions", json = { model = "n" } }).cost)
  end)
end)
