-- surefoot cost: prices, months and savings.

local env = require "spec.support.env"
local json = require "surefoot.json"
local prices = require "surefoot.prices"
local process = require "spec.support.process"

local unpack = table.unpack or unpack

describe("surefoot cost #once", function()
  local dir

  setup(function()
    dir = process.temp_dir "cost"
    process.write(dir .. "/config.lua", [[return { preset = "openai", model = "gpt-4.1", fallbacks = { "house-model" },
      prices = { builtin = true, ["house-model"] = { input = 1, output = 2 } },
      endpoints = { { url = "https://a.example/v1", name = "a" },
        { url = "https://b.example/v1", name = "b", prices = { ["house-model"] = { input = 0.5, output = 1 },
          ["gpt-4.1"] = { input = 1, output = 4 } } } } }]])
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  -- Without a configuration, unless one is named.
  local function run(...)
    local names = {}
    for _, name in ipairs { "CONFIG", "PRESET", "BASE_URL", "MODEL", "API_KEY" } do
      names["SUREFOOT_" .. name] = ""
    end
    names.HOME, names.XDG_CONFIG_HOME, names.OPENAI_API_KEY = dir, "", ""
    return env.run({ "build/surefoot", "cost", ... }, { env = names })
  end

  local function document(...)
    local result = run("--json", ...)
    assert.equal(0, result.status, result.stderr)
    return json.decode(result.stdout)
  end

  it("lists the prices that are known, with their sources", function()
    local result = run()
    assert.same({ 0, "" }, { result.status, result.stderr })
    for name, price in pairs(prices.builtin) do
      assert.is_truthy(result.stdout:find("\n" .. name:gsub("%p", "%%%0") .. " +list price +%$"), name)
      assert.is_truthy(result.stdout:find(price.source .. ", " .. price.date, 1, true))
    end
    result = run("-m", "nobody-knows")
    assert.equal(2, result.status)
    assert.matches("^surefoot: no price is known of nobody%-knows", result.stderr)
  end)

  it("ends with 1 where it cannot tell a month's cost", function()
    local result = run("-m", "nobody-knows", "-n", "5", "--input", "4", "--output", "5")
    assert.equal(1, result.status, result.stdout)
    assert.matches("^surefoot: no price is known of nobody%-knows", result.stderr)
    assert.equal(1, run("-m", "nobody-knows", "-n", "5", "--input", "4", "--json").status)
  end)

  it("tells what a month costs, and what another line saves", function()
    local price = prices.known "gpt-4.1"
    local model = document("-m", "gpt-4.1", "--calls", "1000", "--input", "1000", "--cached", "400", "--output", "100",
      "--rate", "8").models[1]
    local list, other = model.offers[1], model.offers[2]
    local month = 1000 * (600 * price.input + 400 * price.cached_input + 100 * price.output) / 1e6
    assert.near(month, list.month, 1e-9)
    assert.near(month * 8, list.month_yuan, 1e-9)
    assert.near(month * prices.yuan.per_list_dollar, other.month_yuan, 1e-9)
    assert.near(1 - prices.yuan.per_list_dollar / 8, other.saving, 1e-9)
    assert.same({ prices.yuan.source, prices.yuan.date }, { other.source, other.date })
    local result = run("-m", "claude-opus-4-7", "--calls", "300000", "--input", "900", "--output", "250", "--rate",
      "7.3")
    assert.matches("model +line +calls +a call +a month +a month +saves\n"
      .. "claude%-opus%-4%-7 +list price +300,000 +%$0.010[78] +%$3,225.00 +¥23,542.50 +%-\n"
      .. "claude%-opus%-4%-7 +holysheep +300,000 +%$0.0015 +%$441.78 +¥3,225.00 +86 %%\n", result.stdout)
  end)

  it("knows the lines of the configuration and their own prices, without keys", function()
    local function lines(model)
      local found = {}
      for i, offer in ipairs(model.offers) do
        found[i] = ("%s %.2f %s"):format(offer.line, offer.cost, offer.saving and ("%.0f %%"):format(100 * offer.saving)
          or "base")
      end
      return found
    end
    local models = document("-c", dir .. "/config.lua", "--calls", "1", "--input", "1000000", "--output", "0").models
    assert.same({ "gpt-4.1", "list price 2.00 base", "holysheep 0.27 86 %", "b 1.00 50 %" },
      { models[1].model, unpack(lines(models[1])) })
    assert.same({ "house-model", "a 1.00 base", "b 0.50 50 %" }, { models[2].model, unpack(lines(models[2])) })
    local result = run("-c", dir .. "/none.lua")
    assert.equal(2, result.status)
    assert.matches("^surefoot: .*none.lua: No such file", result.stderr)
  end)

  it("reads what was used from answers of every kind", function()
    local function row(value)
      return json.encode(value) .. "\n"
    end
    process.write(dir .. "/out.jsonl", row { response = { status_code = 200, body = { model = "gpt-4.1-2025-04-14",
      usage = { prompt_tokens = 1000, completion_tokens = 100, total_tokens = 1100,
        prompt_tokens_details = { cached_tokens = 500 } } } } }
      .. row { model = "gpt-4.1-2025-04-14", usage = { input_tokens = 1000, output_tokens = 100, total_tokens = 1100,
        cached_input_tokens = 500, estimated = false } }
      .. row { model = "claude-haiku-4-5", usage = { input_tokens = 100, output_tokens = 10,
        cache_read_input_tokens = 900, cache_creation_input_tokens = 0 } }
      .. "\n" .. row { error = { code = "server" } })
    local models = document(dir .. "/out.jsonl", "--days", "3").models
    local one = (500 * 2 + 500 * 0.5 + 100 * 8) / 1e6
    assert.same({ "gpt-4.1-2025-04-14", 2, 2000, 200 },
      { models[1].model, models[1].calls, models[1].input_tokens, models[1].output_tokens })
    assert.near(2 * one, models[1].offers[1].cost, 1e-12)
    assert.near(20 * one, models[1].offers[1].month, 1e-12)
    assert.near((100 * 1 + 900 * 0.10 + 10 * 5) / 1e6, models[2].offers[1].cost, 1e-12)
    models = document(dir .. "/out.jsonl", "--calls", "300").models
    assert.near(200 * one, models[1].offers[1].month, 1e-12)
    local result = run(dir .. "/out.jsonl")
    assert.equal("left out, since they tell no usage: 1 row\n", result.stderr)
    assert.matches("^model +line +calls +a call +these +saves\n", result.stdout)
  end)

  it("ends with 2 where it is asked for what cannot be", function()
    process.write(dir .. "/broken", "{}\nno json\n")
    process.write(dir .. "/empty", "{}\n")
    for words, said in pairs {
      ["--calls 3"] = "needs %-%-calls, and", ["--calls 0"] = "%-%-calls: expected a number from 1",
      ["--calls 1 --input 3 --cached 4"] = "%-%-cached: more than", [dir .. "/broken"] = "broken:2: expected a JSON",
      [dir .. "/empty"] = "no row of the files", [dir .. "/nowhere"] = "No such file", ["--rate x"] = "%-%-rate",
    } do
      local list = {}
      for word in words:gmatch "%S+" do
        list[#list + 1] = word
      end
      local result = run(unpack(list))
      assert.same({ 2, "" }, { result.status, result.stdout }, words)
      assert.matches("^surefoot: .*" .. said, result.stderr)
    end
  end)
end)
