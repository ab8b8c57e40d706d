-- A client's budget: refused politely, charged with all that is known, shared where the client is.
local json = require "surefoot.json"
local process = require "spec.support.process"
local surefoot = require "surefoot"

local PRICES = { simulated = { output = 1e6 } } -- a dollar a token

local function answer(tokens, more)
  local document = {
    id = "x", object = "chat.completion", model = "simulated",
    usage = { prompt_tokens = 0, completion_tokens = tokens, total_tokens = tokens },
    choices = { { index = 0, finish_reason = "stop", message = { role = "assistant", content = "Hi" } } },
  }
  for key, value in pairs(more or {}) do
    document[key] = value
  end
  return { after = 1, body = json.encode(document) }
end

local function event(document)
  return "data: " .. json.encode(document) .. "\n\n"
end

local function delta(text, finish)
  return event { id = "x", choices = { { index = 0, delta = { content = text }, finish_reason = finish } } }
end

-- A client whose line answers as the script says, and the simulation.
local function spender(spend, script, more)
  local seen = { count = 0 }
  local sim = surefoot.simulate { seed = 1, endpoints = { a = function(n, request, now)
    seen.count = seen.count + 1
    return type(script) == "function" and script(n, request, now) or answer(script or 1)
  end } }
  local config = { prices = PRICES, spend = spend }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return sim:client(config), sim, seen
end

-- What the budget was charged with; the client's cost, which is the same.
local function spent(client)
  local stats = client:stats()
  assert.equal(stats.spend.spent, stats.cost)
  return stats.cost
end

describe("spend", function()
  it("refuses before anything is sent, when the budget is spent", function()
    local client, _, seen = spender { limit = 3, per = "total" }
    for _ = 1, 3 do
      assert.equal(1, assert(client:chat "Hi").cost)
    end
    local result, err = client:chat "Hi"
    assert.is_nil(result)
    assert.same({ "quota", "budget_spent", false, false }, { err.kind, err.code, err.sent, err.retryable })
    assert.is_nil(err.retry_after)
    assert.same({}, err.attempts)
    assert.matches("the budget of 3 dollars is spent", err.message)
    assert.equal(3, seen.count)
    assert.same({ limit = 3, per = "total", spent = 3 }, client:stats().spend)
  end)

  it("says when the window ends, and goes on then", function()
    local client, sim, seen = spender({ limit = 1, per = "hour" })
    assert(client:chat "Hi")
    local _, err = client:chat "Hi"
    assert.near(3599, err.retry_after, 1e-6)
    assert.near(3600, err.retry_at, 1e-6)
    assert.matches("1 dollar per hour", err.message)
    sim:run(3600)
    assert(client:chat "Hi")
    assert.equal(2, seen.count)
    assert.equal(1, client:stats().spend.spent)
  end)

  it("takes any number of seconds", function()
    local client, sim = spender { limit = 1, per = 10 }
    assert(client:chat "Hi")
    local _, err = client:chat "Hi"
    assert.equal("budget_spent", err.code)
    assert.is_true(err.retry_after > 0 and err.retry_after <= 10)
    sim:run(err.retry_after)
    assert(client:chat "Hi")
  end)

  it("does not stop what is out already", function()
    local client, sim = spender { limit = 1 }
    local done = 0
    for _ = 1, 5 do
      sim:spawn(function()
        assert(client:chat "Hi")
        done = done + 1
      end)
    end
    sim:run()
    assert.same({ 5, 5 }, { done, client:stats().spend.spent })
    assert.equal("budget_spent", select(2, client:chat "Hi").code)
  end)

  it("counts what validate refused", function()
    local client = spender({ limit = 100 }, 2)
    local tries = 0
    local result = assert(client:chat("Hi", { validate = function()
      tries = tries + 1
      return tries == 3
    end }))
    assert.same({ 2, 6 }, { result.cost, spent(client) })
    assert.error(function() client:chat("Hi", { validate = function() error "mine" end }) end)
    assert.equal(8, spent(client))
  end)

  it("counts a stream by its usage, and one that broke off by what was shown", function()
    local cut = false
    local client = spender({ limit = 100 }, function()
      local events = { { at = 0.1, data = delta "one two " }, { at = 0.2, data = delta "three" } }
      if not cut then
        events[3] = { at = 0.3, data = delta("", "stop") }
        events[4] = { at = 0.3, data = event { id = "x", choices = json.array {},
          usage = { prompt_tokens = 0, completion_tokens = 7, total_tokens = 7 } } .. "data: [DONE]\n\n" }
      end
      return { after = 0.1, events = events }
    end)
    local stream = assert(client:stream "Hi")
    assert.equal(7, assert(stream:result()).cost)
    assert.equal(7, spent(client))
    cut = true
    local _, err = assert(client:stream "Hi"):result()
    assert.equal("truncated", err.kind)
    assert.equal(4, err.partial.usage.output_tokens) -- 13 bytes
    assert.equal(11, spent(client))
    stream = assert(client:stream "Hi")
    stream:close()
    assert.equal(13, spent(client)) -- "one two "
    local tokens = client:stats().tokens
    assert.same({ 13, 6 }, { tokens.output, tokens.estimated - tokens.input })
  end)

  it("ends the rounds of tools politely", function()
    local client, _, seen = spender({ limit = 2 }, function()
      return answer(1, { choices = { { index = 0, finish_reason = "tool_calls", message = { role = "assistant",
        tool_calls = { { id = "1", type = "function", ["function"] = { name = "f", arguments = "{}" } } } } } } })
    end)
    local result, err = client:run_tools("Hi", { f = { call = function() return "again" end } })
    assert.is_nil(result)
    assert.same({ "quota", "budget_spent", 2 }, { err.kind, err.code, seen.count })
    assert.equal(2, err.partial.cost)
  end)

  it("counts a shared answer once", function()
    local client, sim, seen = spender({ limit = 10 }, 3, { coalesce = true })
    for _ = 1, 4 do
      sim:spawn(function()
        assert(client:chat { messages = { { role = "user", content = "Hi" } }, temperature = 0 })
      end)
    end
    sim:run()
    assert.same({ 1, 3 }, { seen.count, spent(client) })
  end)

  it("refuses the rest of a batch", function()
    local client = spender { limit = 2 }
    local outcomes, summary = client:batch({ "1", "2", "3", "4" }, { concurrency = 1 })
    assert.same({ 2, 2, { quota = 2 }, 2 }, { summary.succeeded, summary.failed, summary.errors, summary.cost })
    assert.equal("budget_spent", outcomes[4].error.code)
  end)

  it("refuses models without a price, which would be spending unseen", function()
    local client, _, seen = spender { limit = 2 }
    local _, err = client:chat { model = "other", messages = { { role = "user", content = "Hi" } } }
    assert.same({ "invalid_request", "no_price", 0 }, { err.kind, err.code, seen.count })
    assert.matches('no price is known for the model "other" on a', err.message)
    _, err = client:chat("Hi", { fallbacks = { "other" } })
    assert.equal("no_price", err.code)
    assert(client:chat "Hi")
  end)

  it("lets lists of models through", function()
    local client = spender({ limit = 1 }, function(n)
      return n == 1 and answer(5) or { body = '{"object":"list","data":[{"id":"m"}]}' }
    end)
    assert(client:chat "Hi")
    assert.equal("quota", select(2, client:chat "Hi").kind)
    assert.equal("m", assert(client:models())[1].id)
    assert.equal("quota", select(2, client:request { path = "/x", json = { model = "simulated" } }).kind)
  end)

  it("is checked with the configuration", function()
    assert.error_matches(function() spender({ limit = 1 }, 1, { prices = false }) end,
      "spend: needs `prices`, to know what is spent")
    assert.error_matches(function() spender {} end, "spend.limit: is required")
    assert.error_matches(function() spender { limit = 2e6 } end,
      "spend.limit: expected a number from 1e%-06 to 1099511")
    assert.error_matches(function() spender { limit = 1, per = "week" } end, "spend.per: expected one of")
    assert.is_nil(spender(false):stats().spend)
    assert.equal(1099511, spender({ limit = 1099511 }):stats().spend.limit)
  end)

  it("is one budget for all that share the client's name", function()
    local name = ("spec-spend-%d"):format(process.self())
    finally(function() process.capture("rm -f /dev/shm/surefoot-*-" .. name) end)
    local function another()
      return surefoot.new { base_url = "http://127.0.0.1:9/v1", api_key = "k", model = "m", shared = name,
        prices = { m = { output = 1e6 } }, spend = { limit = 5, per = "total" } }
    end
    local first, second = another(), another()
    first.spend:charge(2)
    second.spend:charge(3)
    assert.equal(5, first:stats().spend.spent)
    local _, err = second:chat "Hi"
    assert.equal("budget_spent", err.code)
  end)
end)
