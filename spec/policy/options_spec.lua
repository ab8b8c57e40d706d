-- What every constructor promises about its options.
local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

describe("the options of a policy", function()
  local minimal = { rate_limiter = { rate = 1 }, balancer = { endpoints = { {} } } }
  local names = { "backoff", "rate_limiter", "circuit_breaker", "retry_budget", "concurrency_limiter",
    "adaptive_rate", "balancer", "hedge" }

  local function with(name, key, value)
    local options = { [key] = value }
    for k, v in pairs(minimal[name] or {}) do
      options[k] = v
    end
    return options
  end

  it("may be absent where nothing is required", function()
    for _, name in ipairs(names) do
      assert.is_userdata(policy[name](minimal[name]))
    end
    assert.is_userdata(policy.histogram())
  end)

  it("name an unknown key and the nearest known one", function()
    local wrong = {
      backoff = { "base_dely", "base_delay" }, rate_limiter = { "bust", "burst" },
      circuit_breaker = { "failure_treshold", "failure_threshold" }, retry_budget = { "capcity", "capacity" },
      concurrency_limiter = { "adaptiv", "adaptive" }, adaptive_rate = { "min_rat", "min_rate" },
      balancer = { "strateg", "strategy" },
    }
    for name, pair in pairs(wrong) do
      local message = message_of(policy[name], with(name, pair[1], 1))
      assert.matches(name .. "." .. pair[1], message, 1, true)
      assert.matches(('did you mean "%s"'):format(pair[2]), message, 1, true)
    end
  end)

  it("are blamed on the line that gave them", function()
    for _, name in ipairs(names) do
      local message = message_of(function()
        local object = policy[name](with(name, "nonsense", 1))
        return object
      end)
      assert.matches("^%.?/?spec/policy/options_spec.lua:%d+: " .. name, message)
    end
  end)

  it("say what was given and what is allowed", function()
    local cases = {
      { "backoff", { base_delay = -1 }, "seconds from 0 to 3600, got -1" },
      { "backoff", { max_delay = 0 / 0 }, "got NaN" },
      { "backoff", { base_delay = "1" }, 'got "1"' },
      { "backoff", { strategy = "exponental" }, 'did you mean "exponential"' },
      { "backoff", { jitter = 2 }, "a number from 0 to 1, got 2" },
      { "rate_limiter", {}, "rate_limiter.rate: is required" },
      { "rate_limiter", { rate = 0 }, "a number above 0" },
      { "rate_limiter", { rate = math.huge }, "got inf" },
      { "rate_limiter", { rate = 1, burst = 0 }, "rate_limiter.burst: expected a number from 1" },
      { "circuit_breaker", { failure_threshold = 1.5 }, "a whole number from 1" },
      { "circuit_breaker", { failure_ratio = -0.1 }, "above 0, up to 1, got -0.1" },
      { "circuit_breaker", { half_open_requests = 64 }, "from 1 to 63, got 64" },
      { "circuit_breaker", { window = false }, "got false" },
      { "retry_budget", { capacity = 1.5 }, "a whole number from 0" },
      { "concurrency_limiter", { limit = 0 }, "a whole number from 1" },
      { "concurrency_limiter", { min = 10, max = 5 }, "above max (10 > 5)" },
      { "concurrency_limiter", { adaptive = 1 }, "true or false, got 1" },
      { "adaptive_rate", { beta = 0 }, "above 0, up to 1, got 0" },
      { "balancer", {}, "balancer.endpoints: is required" },
      { "balancer", { endpoints = {} }, "balancer.endpoints: is empty" },
      { "balancer", { endpoints = { { weight = 0 } } }, "balancer.endpoints[1].weight" },
      { "balancer", { endpoints = { { wieght = 1 } } }, 'did you mean "weight"' },
      { "backoff", { clock = 5 }, "backoff.clock: expected a function, got 5" },
      { "backoff", { random = 0.5 }, "backoff.random: expected a function" },
    }
    for _, case in ipairs(cases) do
      assert.matches(case[3], message_of(policy[case[1]], case[2]), 1, true)
    end
    assert.matches("circuit_breaker: expected a table of options, got 5", message_of(policy.circuit_breaker, 5), 1,
      true)
  end)

  it("are not changed, and not kept", function()
    local world = virtual.world()
    local options = virtual.with(world, { rate = 1, burst = 1 })
    local limiter = policy.rate_limiter(options)
    options.burst, options.clock = 100, nil
    assert.is_true(limiter:try())
    assert.is_false((limiter:try()))
  end)

  it("name a clock that returns no number", function()
    for _, value in ipairs { "soon", 0 / 0, math.huge, {} } do
      local limiter = policy.rate_limiter { rate = 1, clock = function() return value end }
      assert.matches("clock returned .* instead of a number", message_of(limiter.try, limiter))
    end
    local backoff = policy.backoff { random = function() end }
    assert.matches("random returned nil instead of a number", message_of(backoff.delay, backoff, 1), 1, true)
  end)

  it("accept a callable table as clock", function()
    local limiter = policy.rate_limiter { rate = 1, clock = setmetatable({}, { __call = function() return 5 end }) }
    assert.is_true(limiter:try())
  end)

  it("let an error of the clock through, and nothing is taken", function()
    local broken = true
    local limiter = policy.concurrency_limiter { limit = 1, clock = function()
      if broken then error("no time", 0) end
      return 1
    end }
    assert.are.equal("no time", message_of(limiter.acquire, limiter))
    assert.are.equal(0, limiter:in_flight())
    broken = false
    assert.is_userdata(limiter:acquire())
  end)

  it("make objects that refuse other objects", function()
    local limiter, backoff = policy.rate_limiter { rate = 1 }, policy.backoff()
    assert.has_error(function() limiter.try(backoff) end)
    assert.has_error(function() limiter.try {} end)
    assert.has_error(function() limiter.try() end)
    assert.has_error(function() limiter.try(io.stdout) end)
  end)
end)
