--- A function of api_key that gave no key, or threw, failed the whole call though other lines were well: also where its
--- line was not to be asked at all. verify blamed every line for it.

local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local function shut()
  return nil, "the vault is shut"
end

local WAYS = {
  { "gives none and says why", shut, "the function of api_key: the vault is shut" },
  { "gives nothing", function() end, "the function of api_key: expected a key" },
  { "gives an empty text", function() return "" end, "got an empty string" },
  { "gives a table", function() return {} end, "got a table" },
  { "gives a key with a line break", function() return "hush-secret\n" end, "contains a line break" },
  { "throws", function() error("no vault", 0) end, "the function of api_key threw: no vault" },
  { "throws a table", function() error {} end, "the function of api_key threw: a table" },
  { "throws late", function()
    surefoot.sleep(1)
    error "late"
  end, "the function of api_key threw: .*late" },
}

describe("a function of api_key that", function()
  after_each(sim.settled)

  local function lab_of(key, config)
    config = config or {}
    config.endpoints = { { name = "a", api_key = key }, { name = "b", api_key = "good", models = config.b_serves } }
    config.b_serves = nil
    return sim.lab({ a = { text = "of a" }, b = { text = "of b" } }, config)
  end

  for _, way in ipairs(WAYS) do
    local title, key, message = way[1], way[2], way[3]

    it(title .. " puts its line aside for the call", function()
      local lab = lab_of(key)
      local outcome = lab:start()
      lab.sim:run()
      assert.is_nil(outcome.err)
      assert.same({ "of b", "b" }, { outcome.result.text, outcome.result.endpoint })
      assert.equal("a unauthorized, b ok", sim.trail(outcome.result))
      local aside = outcome.result.attempts[1]
      assert.matches(message, aside.message)
      assert.is_false(aside.sent)
      assert.equal(1, #lab.log)
      assert.equal(0, lab:line "a".attempts)
    end)

    it(title .. " is told where no line is left", function()
      local lab = sim.lab({ a = { text = "of a" } }, { endpoints = { { name = "a", api_key = key } } })
      local outcome = lab:start()
      lab.sim:run()
      local err = outcome.err
      assert.same({ "unauthorized", false, "a" }, { err.kind, err.sent, err.endpoint })
      assert.matches(message, err.message)
      assert.is_falsy(tostring(err):find("hush", 1, true))
      assert.equal("a unauthorized", sim.trail(err))
      assert.equal(0, #lab.log)
    end)
  end

  it("fails is told of every line where there are several", function()
    local lab = sim.lab({ a = { text = "x" }, b = { text = "x" } }, { endpoints = {
      { name = "a", api_key = shut }, { name = "b", api_key = function() error("no vault", 0) end },
    } })
    local _, err = lab.client:chat "Hi"
    assert.equal("unauthorized", err.kind)
    assert.equal("a: the function of api_key: the vault is shut; b: the function of api_key threw: no vault",
      err.message)
    assert.equal("a unauthorized, b unauthorized", sim.trail(err))
  end)

  it("is not asked where its line does not serve the model", function()
    local asked = 0
    local lab = sim.lab({ a = { text = "of a" }, b = { text = "of b" } }, { endpoints = {
      { name = "a", models = { "m-a" }, api_key = function() asked = asked + 1 end },
      { name = "b", models = { "m-b" } },
    } })
    local result = assert(lab.client:chat { model = "m-b", messages = { { role = "user", content = "Hi" } } })
    assert.equal("b ok", sim.trail(result))
    assert.equal(0, asked)
    local _, err = lab.client:chat { model = "m-a", messages = { { role = "user", content = "Hi" } } }
    assert.equal("unauthorized", err.kind)
  end)

  it("fails leaves the routes that other lines serve", function()
    local lab = sim.lab({ a = { text = "of a" }, b = { text = "of b" } }, {
      endpoints = { { name = "a", models = { "m-a" }, api_key = shut }, { name = "b", models = { "m-b" } } },
      fallbacks = { "m-b" },
    })
    local result = assert(lab.client:chat { model = "m-a", messages = { { role = "user", content = "Hi" } } })
    assert.equal("a unauthorized, b ok", sim.trail(result))
  end)

  it("fails puts the line aside for one call only, and costs none of its attempts", function()
    local gives = nil
    local lab = sim.lab({ a = { text = "of a" }, b = { { status = 503 }, { text = "of b" } } }, {
      endpoints = { { name = "a", api_key = function() return gives end }, { name = "b" } },
      retry = { max_attempts = 2 },
    })
    assert.equal("a unauthorized, b overloaded, b ok", sim.trail(assert(lab.client:chat "Hi")))
    gives = "key"
    assert.equal("a ok", sim.trail(assert(lab.client:chat "Hi")))
    gives = nil
    assert.equal("a unauthorized, b ok", sim.trail(assert(lab.client:chat "Hi")))
  end)

  it("fails leaves the last word to the line that was asked", function()
    local lab = sim.lab({ a = { text = "x" }, b = { status = 400, body = { error = { message = "odd" } } } }, {
      endpoints = { { name = "a", api_key = shut }, { name = "b" } },
    })
    local _, err = lab.client:chat "Hi"
    assert.same({ "invalid_request", "odd", "b" }, { err.kind, err.message, err.endpoint })
    assert.equal("a unauthorized, b invalid_request", sim.trail(err))
  end)

  it("fails puts its line aside for streams as well", function()
    local text = { at = 0.1, data = { choices = { { index = 0, delta = { content = "Hello" } } } } }
    local lab = sim.lab({ a = { text = "x" }, b = { events = { text, { at = 0.2, data = "[DONE]" } } } }, {
      endpoints = { { name = "a", api_key = shut }, { name = "b" } },
    })
    local result = assert(assert(lab.client:stream "Hi"):result())
    assert.equal("Hello", result.text)
    assert.equal("a unauthorized, b ok", sim.trail(result))
  end)

  it("fails puts its line aside for calls that are shared", function()
    local lab = sim.lab({ a = { text = "x" }, b = { after = 1, text = "of b" } }, {
      endpoints = { { name = "a", api_key = shut }, { name = "b" } }, coalesce = true,
    })
    local request = { temperature = 0, messages = { { role = "user", content = "Hi" } } }
    local outcomes = { lab:start(nil, request), lab:start(nil, request) }
    lab.sim:run()
    for _, outcome in ipairs(outcomes) do
      assert.equal("a unauthorized, b ok", sim.trail(outcome.result))
    end
    assert.equal(1, #lab.log)
  end)

  it("fails is asked no more when the call has been cancelled meanwhile", function()
    local asked, cancel = 0, surefoot.canceller()
    local function key()
      asked = asked + 1
      cancel:cancel()
      return nil, "cancelled"
    end
    local lab = sim.lab({ a = { text = "x" }, b = { text = "x" } }, {
      endpoints = { { name = "a", api_key = key }, { name = "b", api_key = key } },
    })
    local _, err = lab.client:chat("Hi", { cancel = cancel })
    assert.same({ "cancelled", 1 }, { err.kind, asked })
  end)

  it("fails is told by verify, of its own line alone", function()
    for _, way in ipairs(WAYS) do
      local lab = lab_of(way[2])
      local report
      lab.sim:spawn(function() report = lab.client:verify() end)
      lab.sim:run()
      local a, b = report.endpoints[1], report.endpoints[2]
      assert.same({ false, false, "unauthorized" }, { report.ok, a.ok, a.kind })
      assert.matches(way[3], a.message)
      assert.matches("api_key", a.advice)
      assert.is_nil(a.phases)
      assert.is_falsy((b.message or ""):find("api_key", 1, true))
    end
  end)

  it("fails is told to the log", function()
    local lines = {}
    local lab = lab_of(shut, { log = { level = "warn", write = function(level, message)
      lines[#lines + 1] = level .. " " .. message
    end } })
    assert(lab.client:chat "Hi")
    assert.same({ "warn chat leaves a out: the function of api_key: the vault is shut" }, lines)
  end)
end)
