local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("histogram", function()
  it("is 0 everywhere while it is empty", function()
    local histogram = policy.histogram()
    assert.are.same({ 0, 0, 0, 0 }, { histogram:count(), histogram:quantile(0.99), histogram:mean(), histogram:max() })
  end)

  it("is off by 1 % at most, from 1 us to 1 h", function()
    local x = 1e-6
    while x <= 3600 do
      local histogram = policy.histogram()
      histogram:record(x)
      histogram:record(4000) -- so that the maximum does not correct the bucket
      local got = histogram:quantile(0.5)
      assert.is_true(math.abs(got - x) <= 0.01 * x, ("%g for %g"):format(got, x))
      x = x * 1.0037
    end
  end)

  it("gives the quantiles of what was recorded", function()
    local random, histogram, values = virtual.generator(12), policy.histogram(), {}
    for i = 1, 5000 do
      values[i] = math.exp(random() * 12 - 6)
      histogram:record(values[i])
    end
    table.sort(values)
    for _, q in ipairs { 0.001, 0.1, 0.5, 0.9, 0.99, 0.999 } do
      local exact = values[math.ceil(q * 5000)]
      assert.is_near(exact, histogram:quantile(q), exact * 0.01)
    end
    assert.is_near(values[5000], histogram:quantile(1), 1e-8)
    assert.is_near(values[1], histogram:quantile(0), values[1] * 0.01)
    assert.are.equal(5000, histogram:count())
  end)

  it("knows mean and maximum exactly", function()
    local histogram = policy.histogram()
    for _, x in ipairs { 1e-6, 2e-6, 1.5, 30 } do
      histogram:record(x)
    end
    assert.is_near(31.500003 / 4, histogram:mean(), 1e-8)
    assert.is_near(30, histogram:max(), 1e-9)
    assert.is_near(30, histogram:quantile(1), 1e-9)
  end)

  it("keeps what is longer than its range in its last place", function()
    local histogram = policy.histogram()
    histogram:record(1e9)
    assert.is_near(1e9, histogram:max(), 1)
    assert.is_true(histogram:quantile(0.5) > 3600)
    histogram:record(0)
    assert.are.equal(2, histogram:count())
  end)

  it("refuses what is no duration or no quantile", function()
    local histogram = policy.histogram()
    for _, bad in ipairs { -1, 0 / 0, math.huge, "1" } do
      assert.has_error(function() histogram:record(bad) end)
      assert.has_error(function() histogram:quantile(bad) end)
    end
    assert.has_error(function() histogram:quantile(1.1) end)
    assert.are.equal(0, histogram:count())
  end)
end)
