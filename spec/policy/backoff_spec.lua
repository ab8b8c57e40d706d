local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

local function delays(options, draw, count)
  local world = virtual.world()
  world.draw = draw
  local backoff, list = policy.backoff(virtual.with(world, options)), {}
  for n = 1, count do
    list[n] = backoff:delay(n)
  end
  return list
end

local function near(wanted, got)
  assert.are.equal(#wanted, #got)
  for i = 1, #wanted do
    assert.is_near(wanted[i], got[i], 1e-8)
  end
end

describe("backoff", function()
  local aws = { base_delay = 0.05, max_delay = 20 }

  it("V-B1 doubles up to the cap", function()
    near({ 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20, 20 }, delays(aws, 1, 11))
  end)

  it("V-B2 has another base for throttling", function()
    near({ 1, 2, 4, 8, 16, 20, 20 }, delays({ base_delay = 1, max_delay = 20 }, 1, 7))
  end)

  it("V-B3 may be 0 with full jitter", function()
    near({ 0, 0, 0, 0, 0 }, delays(aws, 0, 5))
  end)

  it("V-B4 applies the cap before the jitter", function()
    assert.is_near(10, delays(aws, 0.5, 10)[10], 1e-9)
  end)

  it("V-B5 draws between 0 and the delay", function()
    local random = virtual.generator(5)
    local backoff = policy.backoff { base_delay = 0.05, max_delay = 20, random = random }
    for _ = 1, 1000 do
      local delay = backoff:delay(3)
      assert.is_true(delay >= 0 and delay <= 0.2)
    end
  end)

  it("V-B6 does not overflow", function()
    local world = virtual.world()
    world.draw = 0.5
    for _, strategy in ipairs { "exponential", "linear", "fibonacci" } do
      local backoff = policy.backoff(virtual.with(world, { base_delay = 0.05, max_delay = 20, strategy = strategy }))
      for _, n in ipairs { 1e4, 1e6, 2 ^ 31, 2 ^ 53, 1e300 } do
        assert.is_near(10, backoff:delay(n), 1e-9)
      end
    end
  end)

  it("V-B7 spreads evenly at the cap", function()
    local backoff = policy.backoff { base_delay = 0.05, max_delay = 20, random = virtual.generator(7) }
    local bins = {}
    for _ = 1, 10000 do
      local bin = math.floor(backoff:delay(10))
      bins[bin] = (bins[bin] or 0) + 1
    end
    for bin = 0, 19 do
      assert.is_true(math.abs(bins[bin] - 500) <= 100, ("bin %d holds %d"):format(bin, bins[bin]))
    end
  end)

  it("V-B8 grows linearly from the base on", function()
    near({ 0.1, 0.2, 0.3 }, delays({ strategy = "linear", base_delay = 0.1, jitter = "none" }, 0, 3))
  end)

  it("V-B9 takes a fraction off, and never goes over the cap", function()
    local grpc = { base_delay = 0.1, max_delay = 1, jitter = 0.2 }
    assert.is_near(0.1, delays(grpc, 0, 1)[1], 1e-9)
    assert.is_near(0.08, delays(grpc, 1, 1)[1], 1e-9)
    assert.is_near(1, delays(grpc, 0, 5)[5], 1e-9)
    assert.is_near(0.8, delays(grpc, 1, 5)[5], 1e-9)
  end)

  it("grows by Fibonacci's numbers", function()
    near({ 1, 1, 2, 3, 5, 8, 13, 20, 20 }, delays({ strategy = "fibonacci", base_delay = 1, max_delay = 20,
      jitter = "none" }, 0, 9))
  end)

  it("keeps half with equal jitter", function()
    near({ 0.5, 1, 2 }, delays({ base_delay = 1, jitter = "equal" }, 0, 3))
    near({ 1, 2, 4 }, delays({ base_delay = 1, jitter = "equal" }, 1, 3))
  end)

  it("walks between base and three times the last when decorrelated, and starts anew at 1", function()
    local world = virtual.world()
    world.draw = 1
    local backoff = policy.backoff(virtual.with(world, { strategy = "decorrelated", base_delay = 1, max_delay = 20 }))
    assert.is_near(3, backoff:delay(1), 1e-9)
    assert.is_near(9, backoff:delay(2), 1e-9)
    assert.is_near(20, backoff:delay(3), 1e-9)
    world.draw = 0.5
    assert.is_near(10.5, backoff:delay(4), 1e-9) -- between 1 and the cap: clients at the cap do not march in step
    assert.is_near(2, backoff:delay(1), 1e-9)
    world.draw = 0
    assert.is_near(1, backoff:delay(2), 1e-9)
  end)

  it("is 0 when the base is 0", function()
    near({ 0, 0 }, delays({ base_delay = 0, strategy = "linear", jitter = "none" }, 0, 2))
    near({ 0, 0 }, delays({ base_delay = 0, strategy = "decorrelated" }, 1, 2))
  end)

  it("draws other numbers in every object, from 0 up to 1", function()
    local seen, count = {}, 0
    for _ = 1, 100 do
      local delay = policy.backoff({ base_delay = 1, max_delay = 1 }):delay(1)
      assert.is_true(delay >= 0 and delay < 1)
      count = count + (seen[delay] and 0 or 1)
      seen[delay] = true
    end
    assert.is_true(count > 95)
  end)

  it("refuses what is no retry number", function()
    local backoff = policy.backoff()
    assert.has_error(function() backoff:delay(0) end)
    assert.has_error(function() backoff:delay(1.5) end)
    assert.has_error(function() backoff:delay(-1) end)
    assert.has_error(function() backoff:delay(0 / 0) end)
    assert.has_error(function() backoff:delay "1" end)
    assert.has_error(function() backoff:delay() end)
  end)
end)
