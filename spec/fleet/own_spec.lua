-- The user's own configuration in a fleet: which of its policies count, and that its promises are held to.
local configurations = require "surefoot.fleet.configurations"
local dip = require "surefoot.fleet.dip"
local fleet = require "surefoot.fleet"
local hysteresis = require "surefoot.fleet.scenarios.hysteresis"
local json = require "surefoot.json"
local server = require "surefoot.fleet.server"

local OWN = configurations.OWN

describe("the policies of a configuration", function()
  it("are what is left of it, and of its first line", function()
    local policies = configurations.policies {
      preset = "openai", api_key = "secret", model = "m", headers = {}, prices = true, health = true,
      timeout = { total = 60 }, hedge = true, routing = "priority",
      endpoints = { { url = "https://a.example/v1", breaker = false, weight = 2 }, { url = "https://b/v1" } },
    }
    assert.same({ timeout = { total = 60 }, hedge = true, routing = "priority", each_line = { breaker = false } },
      policies)
    assert.same({}, configurations.policies { preset = "openai" })
  end)

  it("have timeouts as much shorter as those of the model are", function()
    local own = { timeout = { attempt = 60, connect = math.huge }, each_line = { timeout = { total = 24 } } }
    assert.same({ timeout = { attempt = 5, total = 25, connect = math.huge }, each_line = { timeout = { total = 2 } } },
      configurations.with(OWN, { attempt = 10, total = 25 }, own, 12))
    assert.equal(60, own.timeout.attempt)
    assert.same({ attempt = 10 }, configurations.with("defaults", { attempt = 10 }, own, 12).timeout)
  end)
end)

describe("a fleet with the user's policies", function()
  local function play(own)
    return dip.run {
      configuration = OWN, own = own, seed = 3, clients = 3,
      arrivals = { { from = 0, rate = dip.CAPACITY }, { from = 20, rate = 0 } }, speed = { { from = 5, factor = 0.5 } },
    }
  end

  it("does what they say", function()
    local patient = play { retry = { max_attempts = 1 } }
    assert.equal(patient.requests, patient.attempts)
    local narrow = play { each_line = { concurrency = { limit = 1 } }, concurrency = { queue = 0 } }
    assert.is_true((narrow.errors.queue or narrow.errors.rate_limited or 0) > 0 or narrow.successes < patient.successes)
    assert.is_true(play({ timeout = { total = 12 } }).successes < patient.successes)
  end)

  it("may be of no use at all", function()
    local runs = hysteresis.run({ case = OWN, first = 1, last = 1 }, { timeout = { attempt = 0.01, total = 0.02 } })
    assert.equal(0, runs[1].area)
    assert.is_string((json.encode(runs)))
  end)

  it("may hedge beside a small retry budget", function()
    local function serve(_, _, world)
      return { after = world.luck:exponential(0.5), body = server.answer(1) }
    end
    local world = fleet.run {
      seed = 1, clients = 2, arrivals = { { from = 0, rate = 20 }, { from = 60, rate = 0 } },
      config = { hedge = { quantile = 0.5, budget = 1, burst = 1000, min_delay = 0, max = 3 },
        retry = { budget = { capacity = 60, floor_per_second = 0 } } },
      lines = { a = serve, b = serve },
    }
    assert.is_true(world.attempts > 1.2 * world.requests, world.attempts .. " of " .. world.requests)
  end)
end)
