-- What keys are charged for calls that come to nothing, and what is known of those whose caller left.

local lab = require "spec.gateway.lab"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local unpack = table.unpack or unpack

local KEY = "sk-team-a-0123456789"
local QUESTION = 50 -- tokens of 40 words, at least
local CONFIG = [[{
  api_key = "sk-upstream-0123456789", http_version = "1.1", breaker = %s, shared = "%s",
  retry = { base_delay = 600, throttled_base_delay = 600, max_delay = 600, jitter = "none", max_attempts = %d },
  timeout = { total = 3600 }, coalesce = true,
  prices = { refusing = { input = 1000, output = 1000 }, silent = { input = 1000, output = 1000 },
    m = { input = 1000, output = 1000 } },
  endpoints = {
    { name = "refusing", url = "%s", models = { "refusing" } },
    { name = "silent", url = "%s", models = { "silent" }, timeout = { connect = 600 } },
    { name = "a", url = "%s", models = { "m" } },
  },
  gateway = {
    keys = { { name = "team-a", key = "]] .. KEY .. [[", budget = { limit = 1, per = "day" },
      rate = { tokens_per_minute = 0.001, token_burst = 1000 } } },
  },
}]]

-- Answers that are made of several: resumed, or carried on beyond their limit of length.
local ROUNDS = [[{
  api_key = "sk-upstream-0123456789", http_version = "1.1", breaker = false, shared = "%s", preset = "vllm",
  resume = "restart", continue_on_length = 1, retry = { base_delay = 0.01 }, timeout = { total = 3600 },
  prices = { m = { input = 1000, output = 1000 } },
  base_url = "%s",
  gateway = { keys = { { name = "team-a", key = "]] .. KEY .. [[", budget = { limit = 1, per = "day" } } } },
}]]

describe("a key's budget #once", function()
  local p, n, name, refusing, silent
  local headers = { Authorization = "Bearer " .. KEY }

  local function start(breaker, attempts)
    n = lab.start(CONFIG:format(breaker, name, attempts, refusing.url, silent.url, p.lines.a.url))
  end

  local function numbers()
    return lab.ask(n, "/status.json").json
  end

  -- What the key has spent, its cost in all, and how many tokens were kept.
  local function charged()
    local document = numbers()
    local key = document.keys[1]
    return { key.spent, key.cost, key.tokens.input + key.tokens.output }
  end

  setup(function()
    p, refusing, silent = provider.start(), provider.refusing(), provider.silent()
  end)

  teardown(function()
    p:stop()
    refusing:close()
    silent:close()
  end)

  before_each(function()
    p:reset()
    name = ("charges-%d-%d"):format(process.self(), math.random(1e6))
  end)

  after_each(function()
    n:stop()
    process.capture("rm -f /dev/shm/surefoot-*-" .. name)
  end)

  -- Asks, leaves when the provider's side is as `ready` says, and waits until that is counted.
  local function leave(request, ready, pieces)
    local before = numbers()
    local connection = lab.open(n, "/v1/chat/completions", request, headers)
    assert(lab.wait_for(ready, 10 * lab.pace), "it was not asked")
    for _ = 1, pieces or 0 do
      assert(connection:take_until '"content"')
    end
    connection:close()
    local after
    assert(lab.wait_for(function()
      after = numbers()
      return after.requests.total > before.requests.total
    end, 10 * lab.pace), "it was not counted")
    return after.requests.attempts - before.requests.attempts
  end

  for _, how in ipairs { "a whole answer", "a stream", "a shared answer" } do
    local more = { stream = how == "a stream" or nil, seed = how == "a shared answer" and 1 or nil }
    local function ask(model)
      local request = lab.question(("word "):rep(40), more)
      request.model = model
      return request
    end

    it("pays nothing for " .. how .. " that no line was asked for, whoever leaves", function()
      start("false", 3)
      assert.equal(1, leave(ask "refusing", function() return numbers().lines[1].errors.network == 1 end))
      assert.equal(1, leave(ask "silent", function() return numbers().lines[2].in_flight == 1 end))
      assert.same({ 0, 0, 0 }, charged())
    end)

    it("pays nothing for " .. how .. " that every line refused, whoever leaves", function()
      start("false", 3)
      p:profile("a", { status = { code = 503 } })
      assert.equal(1, leave(ask "m", function() return numbers().lines[3].errors.overloaded == 1 end))
      assert.same({ 0, 0, 0 }, charged())
    end)

    it("pays for " .. how .. " that a line was at when its caller left", function()
      start("false", 3)
      p:profile("a", { fault = "hang" })
      assert.equal(1, leave(ask "m", function() return p:counters("a").in_flight == 1 end))
      local spent, cost, tokens = unpack(charged())
      assert.is_true(spent > 0.04 and math.abs(spent - cost) < 1e-6 and tokens > 40, spent .. " " .. cost)
    end)
  end

  it("pays for what a stream had shown, whose attempts are counted", function()
    start("false", 3)
    p:profile("a", { answer = { chunks = 1000 }, stream = { chunk_delay = 0.01 } })
    local connection = lab.open(n, "/v1/chat/completions", lab.question("hello", { stream = true }), headers)
    assert(connection:take_until "content")
    connection:close()
    assert(lab.wait_for(function() return numbers().requests.total == 1 end, 10 * lab.pace))
    assert.equal(1, numbers().requests.attempts)
    assert.is_true(charged()[1] > 0)
  end)

  for how, settings in pairs {
    resumed = { { stream = { cut_after = 2 } }, { stream = { stall_after = 6 } } },
    ["carried on"] = { { scale = 1 }, { stream = { stall_after = 4 } } },
  } do
    it("pays for all rounds of a stream that was " .. how .. " when its caller left", function()
      n = lab.start(ROUNDS:format(name, p.lines.a.url))
      p:profile("a", { sequence = settings })
      local request = lab.question(("word "):rep(40), { stream = true, max_tokens = how == "carried on" and 20 or nil })
      leave(request, function() return p:counters("a").requests == 2 end, 4)
      assert.is_true(numbers().keys[1].tokens.input > 2 * QUESTION)
    end)
  end

  it("pays for all rounds of an answer that was being carried on when its caller left", function()
    n = lab.start(ROUNDS:format(name, p.lines.a.url))
    p:profile("a", { sequence = { { scale = 1 }, { fault = "hang" } } })
    leave(lab.question(("word "):rep(40), { max_tokens = 20 }), function() return p:counters("a").requests == 2 end)
    local key = numbers().keys[1]
    assert.is_true(key.tokens.output >= 20, key.tokens.output)
    assert.near(key.cost, key.spent, 1e-9)
  end)

  it("pays nothing for an answer that others still wait for", function()
    start("false", 3)
    p:profile("a", { fault = "hang" })
    local request = lab.question(("word "):rep(40), { seed = 1 })
    local stays = lab.open(n, "/v1/chat/completions", request, headers)
    leave(request, function() return numbers().requests.in_flight == 2 end)
    assert.same({ 0, 0, 0 }, charged())
    stays:close()
    assert(lab.wait_for(function() return numbers().requests.total == 2 end, 10 * lab.pace))
    assert.is_true(charged()[1] > 0.04)
  end)

  it("pays nothing where nothing was sent, nor does its rate", function()
    start("{ failure_threshold = 1, recovery_timeout = 7200, max_recovery_timeout = 7200 }", 1)
    for _ = 1, 3 do -- the first is refused, the circuit is open for the others
      local request = lab.question(("word "):rep(500))
      request.model = "refusing"
      local response = lab.ask(n, "/v1/chat/completions", request, headers)
      assert.is_true(response.status == 502 or response.status == 503, response.body)
    end
    p:profile("a", { status = { code = 503 } })
    for _ = 1, 3 do
      assert.equal(503, lab.ask(n, "/v1/chat/completions", lab.question(("word "):rep(500)), headers).status)
    end
    assert.same({ 0, 0, 0 }, charged())
  end)
end)
