local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("hedge", function()
  local world, hedge

  local function make(options)
    world = virtual.world(1000)
    hedge = policy.hedge(virtual.with(world, options))
  end

  local function answered(count, seconds)
    for _ = 1, count do hedge:answered(seconds) end
  end

  -- The delay lies on its samples, or above by 1.6 % at most.
  local function about(seconds, delay)
    assert.is_number(delay)
    assert.is_true(delay > seconds and delay <= seconds * 1.017, ("%g for %g"):format(delay, seconds))
  end

  describe("delay", function()
    it("V-HE7 is unknown before there are 50 answers", function()
      make()
      for _ = 1, 49 do
        hedge:answered(0.2)
        hedge:censored(0.3)
        assert.is_nil(hedge:delay())
      end
      hedge:answered(0.2)
      about(0.3, hedge:delay())
    end)

    it("is the quantile of the answers", function()
      make { quantile = 0.9 }
      for i = 1, 200 do hedge:answered(1 + i / 200) end
      about(1.9, hedge:delay())
    end)

    it("is at least min_delay and at most 2.5 medians", function()
      make()
      answered(100, 0.01)
      assert.are.equal(0.05, hedge:delay())
      answered(100, 0.1)
      answered(20, 3)
      about(0.25, hedge:delay())
      make { min_delay = 0 }
      answered(100, 0.01)
      about(0.01, hedge:delay())
    end)

    it("takes what was given up as longer than that", function()
      make()
      answered(90, 0.2)
      for _ = 1, 10 do hedge:censored(0.1) end -- as if they had not been
      about(0.2, hedge:delay())
      for _ = 1, 20 do hedge:censored(0.3) end
      about(0.3, hedge:delay()) -- the longest time seen: the quantile is beyond it
    end)

    it("follows a new regime, by the median and then by the quantile", function()
      make()
      answered(1000, 0.05)
      about(0.05, hedge:delay())
      local function until_about(latency, delay)
        for count = 1, 1000 do
          hedge:answered(latency)
          if math.abs(hedge:delay() / delay - 1) < 0.02 then return count end
        end
      end
      assert.is_true(until_about(0.5, 0.125) <= 26 + 64)
      assert.is_true(until_about(0.5, 0.5) <= 257 + 64)
    end)

    it("does not depend on a stale now, and forgets after an hour", function()
      make()
      answered(100, 0.2)
      about(0.2, hedge:delay())
      world.now = 900
      about(0.2, hedge:delay())
      hedge:answered(0.2)
      about(0.2, hedge:delay())
      world.now = 1000 + 3600 + 61
      assert.is_nil(hedge:delay())
      world.now = 1000
      assert.is_nil(hedge:delay())
    end)
  end)

  describe("estimator", function()
    local CALLS = 60000

    -- A day of calls: log-normal latency around 0.4 s, 2 % stragglers ten times slower; who is slower than the delay
    -- is hedged, and the loser is cancelled when the winner answers. `learn` tells the estimator about a hedged call:
    -- the first attempt's latency, the hedge's, and when the hedge began. Returns the share of hedged calls.
    local function day(seed, learn)
      make { min_delay = 0 }
      local random, asked, hedged = virtual.generator(seed), 0, 0
      local function latency()
        local normal = math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())
        return 0.4 * math.exp(0.3 * normal) * (random() < 0.02 and 10 or 1)
      end
      for _ = 1, CALLS do
        world.now = world.now + 0.05
        local delay, first = hedge:delay(), latency()
        asked = asked + (delay and 1 or 0)
        if delay and first > delay then
          hedged = hedged + 1
          learn(first, latency(), delay)
        else
          hedge:answered(first)
        end
      end
      assert.is_true(asked > CALLS - 100)
      return hedged / asked
    end

    it("V-HE12 keeps to its 5 % under 2 % stragglers", function()
      for seed = 1, 3 do
        local share = day(seed, function(first, second, delay)
          local won = delay + second < first
          hedge:answered(won and second or first)
          hedge:censored(won and delay + second or first - delay)
        end)
        assert.is_near(0.05, share, 0.003)
      end
    end)

    it("V-HE12 would drift to 6.8 % if it heard of winners alone", function()
      local share = day(1, function(first, second, delay)
        hedge:answered(delay + second < first and second or first)
      end)
      assert.is_near(0.068, share, 0.004)
    end)
  end)

  describe("bucket", function()
    local function withdraw_all()
      local count = 0
      while hedge:withdraw() do count = count + 1 end
      return count
    end

    it("starts full", function()
      make()
      assert.are.equal(20, hedge:balance())
      assert.are.equal(20, withdraw_all())
      assert.are.equal(0, hedge:balance())
    end)

    it("earns its budget per first attempt, up to its burst", function()
      make { budget = 0.05, burst = 2 }
      withdraw_all()
      for _ = 1, 19 do hedge:began() end
      assert.is_false(hedge:withdraw())
      hedge:began()
      assert.is_true(hedge:withdraw())
      for _ = 1, 1000 do hedge:began() end
      assert.are.equal(2, withdraw_all())
    end)

    it("takes a hedge back that was not sent, never above its burst", function()
      make { burst = 3 }
      assert.is_true(hedge:withdraw())
      hedge:refund()
      hedge:refund()
      assert.are.equal(3, hedge:balance())
      assert.are.equal(3, withdraw_all())
      hedge:refund()
      assert.are.equal(1, withdraw_all())
    end)

    it("bounds hedges to a share of the first attempts when everything is slow", function()
      make()
      local random, hedges = virtual.generator(5), 0
      for calls = 1, 10000 do
        hedge:began()
        if random() < 0.5 and hedge:withdraw() then hedges = hedges + 1 end
        assert.is_true(hedges <= 20 + 0.05 * calls + 1e-6)
      end
      assert.is_true(hedges > 500)
    end)

    it("has nothing to do with time", function()
      make()
      withdraw_all()
      world.now = 1e6
      assert.is_false(hedge:withdraw())
      world.now = 0
      assert.is_false(hedge:withdraw())
    end)
  end)

  it("refuses what is no option, no duration and no hedge", function()
    local function problem(...)
      local ok, message = pcall(...)
      assert.is_false(ok)
      return message
    end
    assert.matches('hedge.quantil: unknown key; did you mean "quantile"', problem(policy.hedge, { quantil = 1 }), 1,
      true)
    for key, wrong in pairs { quantile = 0, budget = 2, burst = 0.5, min_delay = -1, clock = 5 } do
      assert.matches("hedge." .. key .. ": expected", problem(policy.hedge, { [key] = wrong }), 1, true)
    end
    make()
    for _, bad in ipairs { -1, 0 / 0, math.huge, "1" } do
      assert.has_error(function() hedge:answered(bad) end)
      assert.has_error(function() hedge:censored(bad) end)
    end
    assert.has_error(function() hedge:answered() end)
    assert.has_error(function() hedge.delay(policy.backoff()) end)
    answered(49, 1)
    assert.is_nil(hedge:delay()) -- what was refused has left nothing
  end)
end)
