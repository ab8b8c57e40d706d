local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("rate limiter", function()
  local world, limiter

  local function make(rate, burst, now)
    world = virtual.world(now)
    limiter = policy.rate_limiter(virtual.with(world, { rate = rate, burst = burst }))
  end

  local function ok(ms, cost)
    world.now = ms / 1000
    assert.is_true((limiter:try(cost)))
  end

  local function deny(ms, wait_ms, cost)
    world.now = ms / 1000
    local granted, wait = limiter:try(cost)
    assert.is_false(granted)
    if wait_ms then
      assert.is_near(wait_ms / 1000, wait, 1e-9)
    end
  end

  it("V-GC1..11 grants a burst, then one per period", function()
    make(5, 5)
    for left = 4, 0, -1 do
      ok(0)
      assert.are.equal(left, limiter:remaining())
    end
    deny(0, 200)
    deny(150, 50)
    ok(200)
    ok(1000)
    assert.are.equal(3, limiter:remaining())
    ok(1000, 3)
    assert.are.equal(0, limiter:remaining())
  end)

  it("V-GC12 tells a cost that never fits from one that must wait", function()
    make(5, 5)
    local granted, wait = limiter:try(6)
    assert.is_false(granted)
    assert.are.equal(math.huge, wait)
    assert.are.equal(math.huge, limiter:reserve(6))
    assert.are.equal(5, limiter:remaining())
  end)

  it("V-GC13..18 mints nothing from a stale clock", function()
    make(10, 1)
    ok(1000)
    deny(900, 200)
    deny(1099, 1)
    ok(1100)
    deny(900, 300)
    ok(1200)
  end)

  it("V-GC19 counts what remains", function()
    make(1, 5)
    deny(0, nil, 6)
    assert.are.equal(5, limiter:remaining())
    for left = 4, 0, -1 do
      ok(0)
      assert.are.equal(left, limiter:remaining())
    end
    deny(0, 1000)
    ok(0, 0)
  end)

  it("V-GC21 V-GC22 gives no extra cell after an idle time", function()
    make(2, 2)
    ok(0) ok(1) deny(2) ok(1002) ok(1003) deny(1004)
    make(5, 5)
    for _ = 1, 5 do ok(0) end
    deny(0)
    for _ = 1, 5 do ok(2000) end
    deny(2000)
  end)

  it("V-GC25 refunds, but never beyond the burst", function()
    make(5, 5)
    ok(0, 3)
    limiter:settle(3, 1)
    assert.are.equal(4, limiter:remaining())
    limiter:settle(4, 0)
    limiter:settle(4, 0)
    assert.are.equal(5, limiter:remaining())
    for _ = 1, 5 do ok(0) end
    deny(0, 200)
  end)

  it("V-GC24 charges what was used beyond the estimate", function()
    make(1000, 100)
    ok(0, 100)
    limiter:settle(100, 500)
    deny(100, 301)
    ok(401)
  end)

  it("reserves into debt", function()
    make(2, 2)
    assert.are.equal(0, limiter:reserve(2))
    assert.is_near(0.5, limiter:reserve(), 1e-9)
    assert.is_near(1.5, limiter:reserve(2), 1e-9)
    deny(1500, 500)
    assert.are.equal(0, limiter:remaining())
    ok(2000)
  end)

  it("takes one second's worth as burst, at least 1", function()
    make(7)
    assert.are.equal(7, limiter:remaining())
    make(0.1)
    assert.are.equal(1, limiter:remaining())
  end)

  it("lets the whole burst through when the period is no whole number", function()
    for _, rate in ipairs { 3, 7, 49, 1 / 3, 0.7, 999 } do
      local burst = 13
      make(rate, burst, 1000)
      for left = burst - 1, 0, -1 do
        assert.is_true((limiter:try()))
        assert.are.equal(left, limiter:remaining())
      end
      assert.is_false((limiter:try()))
    end
  end)

  it("grants exactly when remaining says so", function()
    local random = virtual.generator(11)
    for _ = 1, 50 do
      make(1 + random() * 30, random(20))
      for _ = 1, 100 do
        world.now = world.now + random() * 0.2
        local left = limiter:remaining()
        if left >= 1 then
          assert.is_true((limiter:try(left)))
        end
        assert.is_false((limiter:try(1)))
      end
    end
  end)

  it("never grants more than burst + elapsed * rate, whatever the clock does", function()
    local random = virtual.generator(2026)
    for _ = 1, 60 do
      local rate, burst = 1 + random(200), random(20)
      make(rate, burst, 100)
      local latest, granted = 100, 1
      assert.is_true((limiter:try()))
      for _ = 1, 400 do
        local step = random() < 0.3 and -random() * 0.5 or random() * 0.05
        world.now = math.max(0, world.now + step)
        latest = math.max(latest, world.now)
        local cost = random(math.min(3, burst))
        if limiter:try(cost) then
          granted = granted + cost
        elseif random() < 0.1 then
          limiter:settle(0, 0)
        end
        assert.is_true(granted <= burst + (latest - 100) * rate + 1e-4,
          ("%d cells in %.3f s at %d/s, burst %d"):format(granted, latest - 100, rate, burst))
      end
    end
  end)

  it("tells a wait after which it grants", function()
    local random = virtual.generator(3)
    make(13, 4, 10)
    for _ = 1, 500 do
      local cost = random(4)
      local granted, wait = limiter:try(cost)
      if not granted then
        world.now = world.now + wait * 0.999 - 1e-6
        assert.is_false((limiter:try(cost)))
        world.now = world.now + wait * 0.001 + 2e-6
        assert.is_true((limiter:try(cost)))
      end
    end
  end)

  it("refuses bad costs", function()
    make(5, 5)
    for _, bad in ipairs { -1, 0 / 0, math.huge, "1", true, {} } do
      assert.has_error(function() limiter:try(bad) end)
      assert.has_error(function() limiter:reserve(bad) end)
      assert.has_error(function() limiter:settle(bad, 1) end)
      assert.has_error(function() limiter:settle(1, bad) end)
    end
    assert.has_error(function() limiter:settle(1) end)
    assert.are.equal(5, limiter:remaining())
  end)
end)
