local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("retry budget", function()
  local world, budget

  local function make(capacity, floor)
    world = virtual.world(100)
    budget = policy.retry_budget(virtual.with(world, { capacity = capacity, floor_per_second = floor or 0 }))
  end

  it("V-RQ1 gives back only the last cost", function()
    make(500)
    assert.are.equal(14, budget:withdraw "transient")
    assert.are.equal(486, budget:balance())
    assert.are.equal(14, budget:withdraw "transient")
    assert.are.equal(472, budget:balance())
    budget:success(true)
    assert.are.equal(486, budget:balance())
    budget:success(true)
    assert.are.equal(486, budget:balance()) -- the last cost comes back once
  end)

  it("V-RQ2 V-RQ3 charges less for a throttle than for a failure or a timeout", function()
    make(500)
    local cost = budget:withdraw "throttled"
    assert.are.equal(495, budget:balance())
    budget:success(cost)
    assert.are.equal(500, budget:balance())
    budget:withdraw "transient"
    assert.are.equal(486, budget:balance())
  end)

  it("V-RQ4 earns 1 by a clean success, up to the capacity", function()
    make(500)
    budget:withdraw "transient"
    budget:success(false)
    assert.are.equal(487, budget:balance())
    for _ = 1, 20 do budget:success() end
    assert.are.equal(500, budget:balance())
  end)

  it("V-RQ5 gives nothing back for a final failure", function()
    make(464)
    budget:withdraw "transient"
    assert.are.equal(450, budget:balance())
  end)

  it("V-RQ6 V-RQ7 refuses without a charge when too little is left", function()
    make(14)
    assert.are.equal(14, budget:withdraw "transient")
    assert.is_false(budget:withdraw "transient")
    assert.is_false(budget:withdraw "throttled")
    assert.are.equal(0, budget:balance())
    make(0)
    assert.is_false(budget:withdraw "throttled")
  end)

  it("V-RQ10 does not overdraw", function()
    world = virtual.world()
    budget = policy.retry_budget(virtual.with(world, { capacity = 50, transient_cost = 49, throttled_cost = 10,
      floor_per_second = 0 }))
    assert.are.equal(49, budget:withdraw "transient")
    assert.is_false(budget:withdraw "throttled")
    assert.are.equal(1, budget:balance())
    for _ = 1, 44 do budget:success() end
    assert.are.equal(45, budget:balance())
    budget:success(10)
    assert.are.equal(50, budget:balance())
  end)

  it("lets a floor of retries through when nothing is left", function()
    make(0, 1)
    assert.are.equal(0, budget:withdraw "transient")
    assert.is_false(budget:withdraw "transient")
    world.now = world.now + 0.999
    assert.is_false(budget:withdraw "transient")
    world.now = world.now + 0.002
    assert.are.equal(0, budget:withdraw "transient")
    budget:success(0)
    assert.are.equal(0, budget:balance())
  end)

  it("bounds failing retries to successes / 14, plus what it holds", function()
    make(500)
    local random, retries, successes = virtual.generator(9), 0, 0
    for _ = 1, 20000 do
      if random() < 0.5 then
        budget:success(false)
        successes = successes + 1
      elseif budget:withdraw "transient" then
        retries = retries + 1
      end
      local balance = budget:balance()
      assert.is_true(balance >= 0 and balance <= 500)
    end
    assert.is_true(retries <= successes / 14 + 36, retries .. " retries, " .. successes .. " successes")
    assert.is_true(retries > successes / 15)
  end)

  it("refuses words and costs it does not know", function()
    make(500)
    assert.has_error(function() budget:withdraw "timeout" end)
    assert.has_error(function() budget:withdraw() end)
    assert.has_error(function() budget:withdraw(14) end)
    assert.has_error(function() budget:success(-1) end)
    assert.has_error(function() budget:success "14" end)
    assert.has_error(function() budget:success(0 / 0) end)
    assert.are.equal(500, budget:balance())
  end)
end)
