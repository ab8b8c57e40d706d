-- What widely copied client code gets wrong, shown right: one test for each defect, named by its number in the list of
-- defects that such code was measured to have (T rate limiter, B breaker, V order of guards, A adaptive limiter).
local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

local world

before_each(function()
  world = virtual.world(1000)
end)

-- Asks every `tick` seconds with up to `eager` asks: how many went through per whole second.
local function saturate(ask, seconds, tick, eager)
  local per_second = {}
  for second = 1, seconds do
    per_second[second] = 0
    for _ = 1, 1 / tick do
      for _ = 1, eager do
        if ask() then per_second[second] = per_second[second] + 1 end
      end
      world.now = world.now + tick
    end
  end
  return per_second
end

describe("against naive rate limiters:", function()
  it("T1 the real rate is the nominal one under load", function()
    for _, rate in ipairs { 50, 200 } do
      local limiter = policy.rate_limiter(virtual.with(world, { rate = rate, burst = 1 }))
      local counts = saturate(function() return (limiter:try()) end, 5, 0.001, 3)
      for second = 1, 5 do
        assert.is_near(rate, counts[second], 1)
      end
    end
  end)

  it("T1 the first second passes burst + rate, no more", function()
    local limiter = policy.rate_limiter(virtual.with(world, { rate = 100, burst = 100 }))
    assert.is_near(200, saturate(function() return (limiter:try()) end, 1, 0.001, 100)[1], 1)
  end)

  it("T2 a big ask that must wait does not block a small one", function()
    local limiter = policy.rate_limiter(virtual.with(world, { rate = 10, burst = 25 }))
    assert.is_true((limiter:try(20)))
    local granted, wait = limiter:try(25)
    assert.is_false(granted)
    assert.is_near(2, wait, 1e-6)
    assert.is_true((limiter:try(1))) -- at once, the clock has not moved
  end)

  it("T2 an ask above the burst is refused for ever, not let through", function()
    local limiter = policy.rate_limiter(virtual.with(world, { rate = 10, burst = 25 }))
    assert.are.same({ false, math.huge }, { limiter:try(26) })
    assert.are.equal(25, limiter:remaining())
  end)
end)

describe("against naive circuit breakers:", function()
  local function make(options)
    return policy.circuit_breaker(virtual.with(world, options))
  end

  it("B1 one failure per hundred calls never opens it", function()
    local breaker = make()
    for i = 1, 5000 do
      world.now = world.now + 0.05
      local permit = assert(breaker:allow())
      if i % 100 == 0 then permit:failure() else permit:success() end
    end
    assert.are.equal("closed", (breaker:state()))
  end)

  local function opened(options)
    local breaker = make(options)
    local before = {}
    for i = 1, 8 do before[i] = breaker:allow() end
    for i = 1, 5 do before[i]:failure() end
    assert.are.equal("open", (breaker:state()))
    return breaker, { before[6], before[7], before[8] }
  end

  it("B2 half-open lets half_open_requests of fifty through", function()
    local breaker = opened { half_open_requests = 3, recovery_timeout = 1, jitter = 0 }
    world.now = world.now + 1
    local through = {}
    for _ = 1, 50 do through[#through + 1] = breaker:allow() end
    assert.are.equal(3, #through)
  end)

  it("B3 calls begun before the trip do not close it", function()
    local breaker, old = opened { half_open_requests = 3, recovery_timeout = 1, jitter = 0 }
    world.now = world.now + 1
    local probe = breaker:allow()
    for _, permit in ipairs(old) do permit:success() end
    assert.are.equal("half_open", (breaker:state()))
    probe:cancel()
  end)

  it("B4 late failures of old calls do not push the recovery", function()
    local breaker, old = opened { recovery_timeout = 1, jitter = 0 }
    for _, permit in ipairs(old) do
      world.now = world.now + 0.3
      permit:failure()
    end
    assert.is_near(0.1, select(2, breaker:state()), 1e-6)
    world.now = world.now + 0.1
    assert.is_userdata((breaker:allow()))
  end)

  it("B5 a bad key does not block good requests", function()
    local breaker = make()
    for _ = 1, 500 do breaker:allow():failure "unauthorized" end
    assert.are.equal("closed", (breaker:state()))
  end)

  it("an open breaker is told by kind, with the time to come back", function()
    local breaker = opened { recovery_timeout = 5, jitter = 0 }
    local result, err = policy.wrap(function() return true end, { breaker = breaker })()
    assert.is_nil(result)
    assert.are.equal("circuit_open", err.kind)
    assert.is_near(5, err.retry_after, 1e-6)
  end)
end)

describe("against naive concurrency limiters and orders of guards:", function()
  local loaded

  before_each(function()
    loaded = package.loaded.surefoot
  end)

  after_each(function()
    package.loaded.surefoot = loaded
  end)

  it("the limit holds, and no slot is held while waiting for the rate", function()
    local slots = policy.concurrency_limiter { limit = 3 }
    local rate = policy.rate_limiter(virtual.with(world, { rate = 1, burst = 1 }))
    local seen = {}
    package.loaded.surefoot = { sleep = function(seconds)
      seen[#seen + 1] = slots:in_flight()
      world.now = world.now + seconds
    end }
    local guarded = policy.wrap(function() return slots:in_flight() end,
      virtual.with(world, { concurrency = slots, rate = rate }))
    for _ = 1, 4 do assert.are.equal(1, guarded()) end
    assert.are.same({ 0, 0, 0 }, seen)
    local held = { slots:acquire(), slots:acquire(), slots:acquire() }
    assert.are.equal(3, #held)
    assert.is_nil(slots:acquire())
    assert.are.equal(3, slots:peak())
  end)

  it("V3 refused calls spend neither tokens nor time", function()
    local breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 1 }))
    breaker:allow():failure()
    local rate = policy.rate_limiter(virtual.with(world, { rate = 40, burst = 10 }))
    package.loaded.surefoot = { sleep = function() error "slept" end }
    local guarded = policy.wrap(function() return true end, virtual.with(world, { breaker = breaker, rate = rate }))
    for _ = 1, 40 do guarded() end
    assert.are.equal(10, rate:remaining())
  end)

  it("V4 a cancelled call is no success and no failure", function()
    local breaker = policy.circuit_breaker(virtual.with(world,
      { failure_threshold = 2, recovery_timeout = 1, jitter = 0 }))
    breaker:allow():failure()
    breaker:allow():failure "cancelled"
    assert.are.equal("closed", (breaker:state()))
    breaker:allow():failure() -- the run was not forgiven either
    assert.are.equal("open", (breaker:state()))
  end)
end)

describe("against naive adaptive limiters:", function()
  local rate

  before_each(function()
    rate = policy.adaptive_rate(virtual.with(world))
  end)

  local function even_stream(per_second, seconds, on_go)
    local went = 0
    for _ = 1, per_second * seconds do
      world.now = world.now + 1 / per_second
      if rate:acquire() == 0 then
        went = went + 1
        if on_go then on_go() end
      end
    end
    return went / seconds
  end

  it("A1 no 50 ms window takes a whole second's quota", function()
    even_stream(50, 4)
    rate:throttled()
    world.now = world.now + 5
    local burst = 0
    for _ = 1, 50 do
      world.now = world.now + 0.001
      if rate:acquire() == 0 then burst = burst + 1 end
    end
    assert.is_true(burst <= 6, burst .. " in 50 ms")
  end)

  it("A1b a cut acts at once on an evenly spaced stream", function()
    local before = even_stream(50, 4)
    rate:throttled()
    local first = even_stream(50, 1)
    assert.is_near(50, before, 1)
    assert.is_true(first <= 36, "still " .. first .. " per second")
  end)

  it("A2 a burst of five 429s cuts once, and successes alone do not raise it", function()
    even_stream(50, 4)
    for _ = 1, 5 do
      rate:throttled()
      world.now = world.now + 0.02
    end
    assert.is_near(35, rate:rate(), 1)
    rate:success() -- takes up the growth of the tenth of a second that has passed
    local now = rate:rate()
    assert.is_true(now < 37)
    for _ = 1, 62 do rate:success() end
    assert.are.equal(now, rate:rate())
  end)

  it("A3 fifty eager workers on a line of 30 per second: few 429s, and a belief near the truth", function()
    local line = policy.rate_limiter(virtual.with(world, { rate = 30, burst = 30 }))
    local good, refused, late_good, late_refused = 0, 0, 0, 0
    local start = world.now
    while world.now - start < 60 do
      world.now = world.now + 0.004
      for _ = 1, 50 do
        if rate:acquire() > 0 then break end
        local late = world.now - start > 10
        if line:try() then
          good, late_good = good + 1, late_good + (late and 1 or 0)
          rate:success()
        else
          refused, late_refused = refused + 1, late_refused + (late and 1 or 0)
          rate:throttled()
        end
      end
    end
    assert.is_true(late_good / 50 > 24, ("%.1f good per second"):format(late_good / 50))
    assert.is_true(late_refused / (late_good + late_refused) < 0.05, late_refused .. " of "
      .. late_good + late_refused .. " refused")
    assert.is_true(rate:rate() < 45, "belief " .. rate:rate())
  end)

  it("A3 Retry-After is obeyed by the limiter itself", function()
    even_stream(50, 1)
    rate:throttled(3)
    assert.are.equal(0, even_stream(50, 2.9))
  end)

  it("A4 a 500 neither raises nor lowers the rate", function()
    even_stream(50, 4)
    rate:throttled()
    local before = rate:rate()
    assert.are.same({ true, "server" }, { policy.retryable(500) })
    world.now = world.now + 30 -- failures report nothing to the limiter
    assert.are.equal(before, rate:rate())
  end)

  it("A5 a date in Retry-After is a wait like any other", function()
    assert.are.equal(20, policy.retry_after({ ["Retry-After"] = "Fri, 29 Sep 2023 16:26:57 GMT" },
      { now = 1696004797 }))
  end)
end)

describe("against naive retry loops:", function()
  local slept, loaded

  before_each(function()
    slept, loaded = {}, package.loaded.surefoot
    package.loaded.surefoot = { sleep = function(seconds)
      slept[#slept + 1] = seconds
      world.now = world.now + seconds
    end }
  end)

  after_each(function()
    package.loaded.surefoot = loaded
  end)

  local function failing(err, options)
    local calls = 0
    policy.wrap(function()
      calls = calls + 1
      return nil, err
    end, virtual.with(world, options))()
    return calls
  end

  it("C6 C8 the server's wait is obeyed, the cap is read, and the first linear delay is not 0", function()
    world.draw = 1
    failing({ kind = "rate_limited", retry_after = 3 }, { retry = { max_attempts = 2 } })
    assert.is_true(slept[1] >= 3)
    local linear = policy.backoff(virtual.with(world, { strategy = "linear", base_delay = 0.5, max_delay = 2 }))
    assert.are.same({ 0.5, 2, 2 }, { linear:delay(1), linear:delay(4), linear:delay(400) })
  end)

  it("C9 max_attempts counts attempts, and none means an error, not silence", function()
    assert.are.equal(1, failing({ kind = "server" }, { retry = { max_attempts = 1 } }))
    assert.are.equal(3, failing({ kind = "server" }, { retry = { max_attempts = 3 } }))
    assert.has_error(function() failing({ kind = "server" }, { retry = { max_attempts = 0 } }) end)
  end)

  it("C11 529 and 520-524 are retried, an exhausted quota is not", function()
    for _, status in ipairs { 529, 520, 521, 522, 523, 524 } do
      assert.is_true((policy.retryable(status)))
    end
    assert.are.same({ false, "quota" }, { policy.retryable(429, {}, "quota exhausted") })
  end)

  it("C12 fifty clients that fail together do not retry together", function()
    local times = {}
    for i = 1, 50 do
      times[i] = policy.backoff({ base_delay = 1, max_delay = 1 }):delay(1)
    end
    table.sort(times)
    assert.is_true(times[50] - times[1] > 0.5)
    local largest_crowd = 0
    for i = 1, 50 do
      local n = i
      while times[n] and times[n] - times[i] <= 0.015 do n = n + 1 end
      largest_crowd = math.max(largest_crowd, n - i)
    end
    assert.is_true(largest_crowd < 15, largest_crowd .. " within 15 ms")
  end)

  it("C16 there is one deadline over all attempts", function()
    world.draw = 1
    local start = world.now
    local calls = 0
    policy.wrap(function()
      calls = calls + 1
      world.now = world.now + 1
      return nil, { kind = "timeout" }
    end, virtual.with(world, { retry = { max_attempts = 100 }, deadline = 4 }))()
    assert.is_true(world.now - start <= 5)
    assert.are.equal(3, calls)
  end)
end)
