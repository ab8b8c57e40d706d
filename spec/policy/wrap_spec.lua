local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("policy.wrap", function()
  local world, slept, calls, loaded

  before_each(function()
    loaded = package.loaded.surefoot
    world, slept, calls = virtual.world(1000), {}, 0
    world.draw = 1
    package.loaded.surefoot = { sleep = function(seconds)
      slept[#slept + 1] = seconds
      world.now = world.now + seconds
    end }
  end)

  after_each(function()
    package.loaded.surefoot = loaded
  end)

  -- Answers one after another, the last one for ever: a table is an error, anything else a result.
  local function wrap(answers, options)
    return policy.wrap(function(...)
      calls = calls + 1
      local answer = answers[math.min(calls, #answers)]
      if type(answer) == "function" then answer = answer() end
      if type(answer) == "table" then return nil, answer end
      return answer, ...
    end, virtual.with(world, options))
  end

  local server, slow_down = { kind = "server" }, { kind = "rate_limited" }

  it("gives arguments and results through, nils included", function()
    local guarded = wrap { "ok" }
    local function count(...) return select("#", ...), ... end
    assert.are.same({ 4, "ok", 1, nil, nil }, { count(guarded(1, nil, nil)) })
    assert.are.same({ 1, nil }, { count(policy.wrap(function() return nil end)()) })
    assert.are.equal(0, (count(policy.wrap(function() end)())))
  end)

  it("asks once without retry, and with max_attempts 1", function()
    local _, err = wrap { server }()
    assert.are.equal(server, err)
    assert.are.equal(1, calls)
    wrap({ server }, { retry = { max_attempts = 1 } })()
    assert.are.equal(2, calls)
    assert.are.same({}, slept)
  end)

  it("retries with its backoff, and has two bases", function()
    local guarded = wrap({ server, slow_down, server, "ok" },
      { retry = { base_delay = 0.5, throttled_base_delay = 1 } })
    assert.are.equal("ok", guarded())
    assert.are.same({ 0.5, 2, 2 }, slept)
  end)

  it("stops at max_attempts and gives the last failure", function()
    local _, err = wrap({ slow_down, slow_down, server }, { retry = { max_attempts = 3 } })()
    assert.are.equal(server, err)
    assert.are.equal(3, calls)
  end)

  it("does not retry what cannot get better, unless the error says so", function()
    for _, kind in ipairs { "invalid_request", "unauthorized", "quota", "context_length", "content_filter", "tls",
      "my own" } do
      calls = 0
      wrap({ { kind = kind }, "ok" }, { retry = true })()
      assert.are.equal(1, calls, kind)
    end
    calls = 0
    assert.are.equal("ok", wrap({ { kind = "my own", retryable = true }, "ok" }, { retry = true })())
    calls = 0
    wrap({ { kind = "server", retryable = false }, "ok" }, { retry = true })()
    assert.are.equal(1, calls)
  end)

  it("takes an error that is no table for a server failure", function()
    assert.are.equal("ok", policy.wrap(function()
      calls = calls + 1
      if calls == 1 then return nil, "broken" end
      return "ok"
    end, virtual.with(world, { retry = true }))())
  end)

  it("V-DL1 does not wait past the deadline", function()
    local guarded = wrap({ function()
      world.now = world.now + 0.7
      return server
    end }, { retry = { base_delay = 0.4 }, deadline = 1 })
    local _, err = guarded()
    assert.are.equal(server, err)
    assert.is_near(1000.7, world.now, 1e-9)
    assert.are.same({}, slept)
  end)

  it("V-RA24 fails at once when the server's wait is over the deadline, or too long", function()
    local _, err = wrap({ { kind = "rate_limited", retry_after = 20 }, "ok" }, { retry = true, deadline = 10 })()
    assert.are.equal(20, err.retry_after)
    assert.are.equal(1, calls)
    calls = 0
    _, err = wrap({ { kind = "rate_limited", retry_after = 121 }, "ok" }, { retry = true })()
    assert.are.equal(121, err.retry_after)
    assert.are.equal(1, calls)
    assert.are.same({}, slept)
  end)

  it("V-RA26 spreads a herd behind the server's wait, never before it", function()
    local random, seen = virtual.generator(26), {}
    for _ = 1, 1000 do
      world.draw, slept, calls = random(), {}, 0
      assert.are.equal("ok", wrap({ { kind = "rate_limited", retry_after = 20 }, "ok" },
        { retry = { throttled_base_delay = 1 } })())
      assert.is_true(slept[1] >= 20 and slept[1] <= 21)
      local tenth = math.floor((slept[1] - 20) * 10)
      seen[tenth] = (seen[tenth] or 0) + 1
    end
    for tenth = 0, 9 do
      assert.is_true(seen[tenth] > 50)
    end
  end)

  it("V-DL3 V-RQ6 pays retries from the budget, before the wait", function()
    local budget = policy.retry_budget(virtual.with(world, { capacity = 14, floor_per_second = 0 }))
    local _, err = wrap({ server }, { retry = { budget = budget } })()
    assert.are.equal(server, err)
    assert.are.equal(2, calls)
    assert.are.equal(0, budget:balance())
    wrap({ server }, { retry = { budget = budget, max_attempts = 1 } })()
    assert.are.equal(1, #slept)
  end)

  it("pays nothing for a retry that the deadline forbids", function()
    local budget = policy.retry_budget(virtual.with(world))
    wrap({ server }, { retry = { budget = budget, base_delay = 5 }, deadline = 5 })()
    assert.are.equal(1, calls)
    assert.are.equal(500, budget:balance())
  end)

  it("gets the last cost back by a success, and 1 by a clean one", function()
    local budget = policy.retry_budget(virtual.with(world, { floor_per_second = 0 }))
    local options = { retry = { budget = budget } }
    wrap({ server, server, "ok" }, options)()
    assert.are.equal(486, budget:balance())
    calls = 2
    wrap({ server, server, "ok" }, options)()
    assert.are.equal(487, budget:balance())
  end)

  it("stops retrying when its own budget is spent", function()
    local guarded = wrap({ server }, { retry = { max_attempts = 100, base_delay = 0,
      budget = { capacity = 28, floor_per_second = 0 } } })
    guarded()
    assert.are.equal(3, calls)
    calls = 0
    wrap({ server }, { retry = { max_attempts = 100, base_delay = 0, budget = false } })()
    assert.are.equal(100, calls)
  end)

  it("tells of a retry that was refused that it has run, and how that failed", function()
    local breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 2, jitter = 0 }))
    local guarded = policy.wrap(function()
      calls = calls + 1
      return nil, "disk full"
    end, virtual.with(world, { retry = { max_attempts = 5 }, breaker = breaker }))
    local _, err = guarded()
    assert.are.same({ 2, "circuit_open", "the circuit breaker is open; before that: disk full", true, "disk full" },
      { calls, err.kind, err.message, err.sent, err.cause })
  end)

  it("is refused by an open breaker without an attempt", function()
    local breaker = policy.circuit_breaker(virtual.with(world,
      { failure_threshold = 2, recovery_timeout = 5, jitter = 0 }))
    local guarded = wrap({ server }, { retry = { max_attempts = 5 }, breaker = breaker })
    local _, err = guarded()
    assert.are.equal(2, calls)
    assert.are.equal("circuit_open", err.kind)
    assert.is_near(4, err.retry_after, 1e-6) -- the second backoff, 1 s, was slept
    calls = 0
    _, err = guarded()
    assert.are.equal(0, calls)
    assert.are.same({ "circuit_open", "the circuit breaker is open", false }, { err.kind, err.message, err.sent })
  end)

  it("reports to the breaker by kind, once per attempt", function()
    local breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 2 }))
    wrap({ { kind = "unauthorized" } }, { breaker = breaker })()
    wrap({ { kind = "unauthorized" } }, { breaker = breaker })()
    assert.are.equal("closed", (breaker:state()))
    wrap({ server }, { breaker = breaker })()
    wrap({ { kind = "timeout" } }, { breaker = breaker })()
    assert.are.equal("open", (breaker:state()))
  end)

  it("counts a throw and throws it on, whatever it is", function()
    local breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 1 }))
    local slots = policy.concurrency_limiter { limit = 1 }
    local thrown = { code = 7 }
    local guarded = policy.wrap(function()
      calls = calls + 1
      error(thrown)
    end, virtual.with(world, { retry = true, breaker = breaker, concurrency = slots }))
    local ok, err = pcall(guarded)
    assert.is_false(ok)
    assert.are.equal(thrown, err)
    assert.are.equal(1, calls)
    assert.are.equal("open", (breaker:state()))
    assert.are.equal(0, slots:in_flight())
  end)

  it("holds a slot during the attempt only, and fails when all are taken", function()
    local slots = policy.concurrency_limiter { limit = 1 }
    local guarded = wrap({ function()
      assert.are.equal(1, slots:in_flight())
      return calls == 1 and server or "ok"
    end }, { retry = true, concurrency = slots })
    local sleep = package.loaded.surefoot.sleep
    package.loaded.surefoot.sleep = function(seconds)
      assert.are.equal(0, slots:in_flight())
      sleep(seconds)
    end
    assert.are.equal("ok", guarded())
    local slot = slots:acquire()
    local _, err = guarded()
    assert.are.equal("queue_full", err.kind)
    slot:release()
  end)

  it("tells an adaptive limiter about throttles and timeouts", function()
    local slots = policy.concurrency_limiter(virtual.with(world, { limit = 20, adaptive = true }))
    wrap({ server }, { concurrency = slots })()
    assert.are.equal(20, slots:limit())
    wrap({ slow_down }, { concurrency = slots })()
    assert.are.equal(18, slots:limit())
  end)

  it("waits for the rate without holding anything", function()
    local breaker = policy.circuit_breaker(virtual.with(world))
    local slots = policy.concurrency_limiter { limit = 1 }
    local rate = policy.rate_limiter(virtual.with(world, { rate = 2, burst = 1 }))
    local guarded = wrap({ "ok" }, { rate = rate, concurrency = slots, breaker = breaker })
    guarded()
    local sleep = package.loaded.surefoot.sleep
    package.loaded.surefoot.sleep = function(seconds)
      assert.are.equal(0, slots:in_flight())
      sleep(seconds)
    end
    assert.are.equal("ok", guarded())
    assert.is_near(0.5, slept[1], 1e-9)
    local _, err = wrap({ "ok" }, { rate = rate, deadline = 0.1 })()
    assert.are.equal("deadline", err.kind)
    assert.is_false(err.sent)
    assert.are.equal(2, calls)
  end)

  it("spends no cells on calls that the breaker refuses", function()
    local breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 1 }))
    breaker:allow():failure()
    local rate = policy.rate_limiter(virtual.with(world, { rate = 5, burst = 5 }))
    local guarded = wrap({ "ok" }, { rate = rate, breaker = breaker })
    for _ = 1, 40 do guarded() end
    assert.are.equal(5, rate:remaining())
    assert.are.same({}, slept)
  end)

  it("works inside coroutines", function()
    package.loaded.surefoot.sleep = function(seconds) coroutine.yield(seconds) end
    local guarded = wrap({ server, "ok" }, { retry = true })
    local task = coroutine.wrap(function() return "done", guarded() end)
    assert.are.equal(0.5, task())
    assert.are.same({ "done", "ok" }, { task() })
  end)

  it("refuses what it cannot guard, at the line that asked", function()
    local cases = {
      { 5, nil, "wrap: expected a function, got 5" },
      { print, 5, "wrap: expected a table of options, got 5" },
      { print, { brekaer = 1 }, 'did you mean "breaker"' },
      { print, { breaker = {} }, "wrap.breaker: expected a policy.circuit_breaker" },
      { print, { rate = 5 }, "wrap.rate: expected a policy.rate_limiter, got 5" },
      { print, { concurrency = policy.backoff() }, "wrap.concurrency: expected a policy.concurrency_limiter" },
      { print, { deadline = 0 }, "wrap.deadline: expected seconds above 0" },
      { print, { retry = { max_attempts = 0 } }, "wrap.retry.max_attempts: expected a whole number from 1" },
      { print, { retry = { max_retries = 3 } }, "wrap.retry.max_retries: unknown key" },
      { print, { retry = { budget = policy.backoff() } }, "wrap.retry.budget: expected a policy.retry_budget" },
      { print, { retry = { budget = { capacity = -1 } } }, "wrap.retry.budget.capacity" },
    }
    for _, case in ipairs(cases) do
      local ok, message = pcall(function()
        local guarded = policy.wrap(case[1], case[2])
        return guarded
      end)
      assert.is_false(ok, case[3])
      assert.matches("^%.?/?spec/policy/wrap_spec.lua:%d+: ", message)
      assert.matches(case[3], message, 1, true)
    end
  end)
end)
