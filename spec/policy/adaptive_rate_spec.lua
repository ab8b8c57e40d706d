local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("adaptive rate", function()
  local world, rate

  local function make(options)
    world = virtual.world(1000)
    rate = policy.adaptive_rate(virtual.with(world, options))
  end

  -- An even stream of `per_second` asks over some seconds: how many went, and how many of them in the first half.
  local function stream(per_second, seconds, on_go)
    local went, early, start = 0, 0, world.now
    for i = 1, per_second * seconds do
      world.now = start + i / per_second
      if rate:acquire() == 0 then
        went = went + 1
        if world.now - start <= 0.5 then early = early + 1 end
        if on_go then on_go() end
      end
    end
    return went, early
  end

  local function told(limit, remaining, reset)
    return { ["x-ratelimit-limit-requests"] = limit, ["X-RateLimit-Remaining-Requests"] = remaining,
      ["x-ratelimit-reset-requests"] = reset }
  end

  it("V-CU7 never makes anybody wait before the first throttle", function()
    make()
    for _ = 1, 10000 do
      assert.are.equal(0, rate:acquire())
    end
    rate:success()
    assert.are.equal(math.huge, rate:rate())
  end)

  it("V-CU5 measures in half seconds, smoothed", function()
    make { beta = 1 }
    for _ = 1, 6 do rate:acquire() end -- 12 per second
    world.now = world.now + 0.5
    rate:acquire()
    rate:throttled()
    assert.is_near(9.6, rate:rate(), 1e-9)
  end)

  it("measures on a clock that counts from 1970 as on any other", function()
    for _, now in ipairs { 0, 1.7e9 } do
      make { beta = 1 }
      world.now = now
      stream(8, 10)
      rate:throttled()
      assert.is_near(8, rate:rate(), 1e-3)
    end
  end)

  it("V-CU2 leaves 0.7 of the rate after a throttle, and grows back along the curve", function()
    make()
    for _ = 1, 4 do rate:acquire() end -- 8 per second in the open half second
    rate:throttled()
    assert.is_near(5.6, rate:rate(), 1e-9)
    rate:success()
    assert.is_near(5.6, rate:rate(), 1e-9)
  end)

  it("V-CU3 never grows above twice the measured rate", function()
    make()
    for _ = 1, 10 do rate:acquire() end
    rate:throttled() -- ceiling 20, rate 14
    stream(20, 10, function() rate:success() end)
    assert.is_true(rate:rate() <= 40 + 1e-6, "rate " .. rate:rate())
    assert.is_true(rate:rate() > 30)
  end)

  it("V-CU4 never falls below its least rate, and lets one go at once then", function()
    make { min_rate = 0.2 }
    rate:acquire()
    for _ = 1, 30 do
      rate:throttled()
      world.now = world.now + 1
    end
    assert.is_near(0.2, rate:rate(), 1e-9)
    world.now = world.now + 100
    assert.are.equal(0, rate:acquire())
    assert.is_near(5, rate:acquire(), 1e-6)
  end)

  it("acts at once on an even stream", function()
    make()
    assert.are.equal(150, (stream(50, 3)))
    rate:throttled()
    local went, early = stream(50, 2)
    assert.is_near(0.7 * 50 * 2, went, 4)
    assert.is_near(0.7 * 50 * 0.5, early, 3)
  end)

  it("cuts once for a burst of throttles", function()
    make()
    stream(50, 3)
    for _ = 1, 5 do
      rate:throttled()
      world.now = world.now + 0.05
    end
    assert.is_true(rate:rate() > 30, "rate " .. rate:rate())
    world.now = world.now + 0.5
    rate:throttled()
    assert.is_true(rate:rate() < 30)
  end)

  it("grows by time and not by successes", function()
    make()
    stream(50, 3)
    rate:throttled()
    local before = rate:rate()
    for _ = 1, 10000 do rate:success() end
    assert.is_near(before, rate:rate(), 1e-9)
    world.now = world.now + 0.2
    for _ = 1, 10000 do rate:success() end
    local first = rate:rate()
    rate:success()
    assert.are.equal(first, rate:rate())
    assert.is_true(first >= before and first <= 50 * 1.05)
  end)

  it("does not take idleness for a low rate", function()
    make()
    stream(50, 3)
    rate:throttled()
    local after_cut = rate:rate()
    world.now = world.now + 3600
    rate:acquire()
    rate:success()
    assert.is_true(rate:rate() >= after_cut - 1e-9)
  end)

  it("releases no second's worth in one burst after a throttle", function()
    make()
    stream(50, 3)
    rate:throttled()
    world.now = world.now + 10
    local burst = 0
    while rate:acquire() == 0 do burst = burst + 1 end
    assert.is_true(burst <= 4, burst .. " at once")
  end)

  it("lets nothing go before Retry-After, whatever else it knows", function()
    make()
    rate:acquire()
    rate:throttled(20)
    rate:throttled(3)
    assert.is_near(20, rate:acquire(), 1e-6)
    world.now = world.now + 19.99
    assert.is_true(rate:acquire() > 0)
    world.now = world.now + 2
    assert.are.equal(0, rate:acquire())
  end)

  it("follows the provider's headers while they count", function()
    make()
    rate:headers(told("60", "3", "57s"))
    assert.is_near(1, rate:rate(), 1e-9)
    for _ = 1, 3 do assert.are.equal(0, rate:acquire()) end
    assert.is_near(1, rate:acquire(), 1e-6)
    world.now = world.now + 1
    assert.are.equal(0, rate:acquire())
    assert.is_true(rate:acquire() > 0)
    world.now = world.now + 57
    assert.are.equal(math.huge, rate:rate())
    for _ = 1, 100 do assert.are.equal(0, rate:acquire()) end
  end)

  it("gives no heed to junk in headers", function()
    local junk = {
      told("-1", "-1", "0"), told("0", "0", "60s"), told("10", "0", "soon"), told("10", "0", "1696004800"), {},
    }
    for _, headers in ipairs(junk) do
      make()
      rate:headers(headers)
      assert.are.equal(math.huge, rate:rate())
      for _ = 1, 100 do assert.are.equal(0, rate:acquire()) end
    end
    assert.has_error(function() rate:headers "x: y" end)
    assert.has_error(function() rate:headers() end)
  end)

  it("keeps both rules when it was throttled and told", function()
    make()
    stream(50, 3)
    rate:throttled()
    rate:headers(told("6000", "5000", "10s"))
    assert.is_near(0.7 * 50, rate:rate(), 2)
    rate:headers(told("60", "0", "60s"))
    assert.is_near(1, rate:acquire(), 1e-3)
  end)

  it("takes nothing of what it was told when its own pace refuses", function()
    make()
    stream(50, 3)
    rate:throttled()
    rate:headers(told("10", "5", "5000s"))
    for _ = 1, 100 do assert.is_true(rate:acquire() > 0) end
    for _ = 1, 5 do
      world.now = world.now + 1
      assert.are.equal(0, rate:acquire())
    end
    world.now = world.now + 1
    assert.is_true(rate:acquire() > 900)
  end)

  it("mints nothing from a stale clock", function()
    make()
    stream(50, 3)
    rate:throttled()
    local start, random, went, latest = world.now, virtual.generator(8), 0, world.now
    for _ = 1, 2000 do
      world.now = math.max(start, latest - random() * 2)
      if random() < 0.3 then world.now = latest + random() * 0.01 end
      latest = math.max(latest, world.now)
      if rate:acquire() == 0 then went = went + 1 end
    end
    assert.is_true(went <= 35.1 * (latest - start) + 4, went .. " in " .. latest - start)
  end)

  it("refuses bad waits", function()
    make()
    for _, bad in ipairs { -1, 0 / 0, math.huge, "20", {} } do
      assert.has_error(function() rate:throttled(bad) end)
    end
    assert.are.equal(math.huge, rate:rate())
  end)
end)
