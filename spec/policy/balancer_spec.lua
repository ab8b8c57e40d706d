local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("balancer", function()
  local world

  local function make(endpoints, options)
    world = virtual.world(1000)
    options = virtual.with(world, options)
    options.endpoints, options.explore = endpoints, options.explore or 0
    options.random = virtual.generator(42)
    return policy.balancer(options)
  end

  local function shares(balancer, count, picks, excluded)
    local list = {}
    for i = 1, count do list[i] = 0 end
    for _ = 1, picks do
      local i = balancer:pick(excluded)
      list[i] = list[i] + 1 / picks
    end
    return list
  end

  local function answered(balancer, i, seconds, failed)
    balancer:started(i)
    balancer:finished(i, seconds, failed)
  end

  it("V-LB2 compares two lines at a time", function()
    world = virtual.world(1000)
    local balancer = policy.balancer { endpoints = { {}, {}, {} }, clock = world.clock, random = virtual.generator(42) }
    for i = 1, 3 do answered(balancer, i, i) end
    local list = shares(balancer, 3, 20000)
    assert.is_near(2 / 3, list[1], 0.0134)
    assert.is_near(1 / 3, list[2], 0.0134)
    assert.are.equal(0, list[3])
  end)

  it("V-LB3 takes weights as shares with the strategy weighted", function()
    local list = shares(make({ { weight = 5 }, { weight = 3 }, { weight = 2 } }, { strategy = "weighted" }), 3, 20000)
    assert.is_near(0.5, list[1], 0.0142)
    assert.is_near(0.3, list[2], 0.013)
    assert.is_near(0.2, list[3], 0.0114)
  end)

  it("V-LB4 draws nothing for one line", function()
    local balancer = policy.balancer { endpoints = { {} }, random = function() error "drawn" end }
    assert.are.equal(1, balancer:pick())
    local two = policy.balancer { endpoints = { {}, {} }, random = function() error "drawn" end }
    assert.are.equal(2, two:pick { true })
    assert.has_error(function() two:pick() end)
  end)

  it("V-LB5 shares evenly among equals", function()
    local list = shares(make { {}, {}, {}, {} }, 4, 20000)
    for i = 1, 4 do
      assert.is_near(0.25, list[i], 0.0123)
    end
  end)

  it("V-LB9 leaves out what is excluded, until nothing is left", function()
    local balancer = make { {}, {}, {} }
    local tried = {}
    for _ = 1, 3 do
      local i = balancer:pick(tried)
      assert.is_nil(tried[i])
      tried[i] = true
    end
    assert.is_nil(balancer:pick(tried))
  end)

  it("V-LB10 gives a line without history one request until it answers", function()
    local balancer = make { {}, {} }
    answered(balancer, 1, 0.5)
    local picks = {}
    for n = 1, 50 do
      picks[n] = balancer:pick()
      balancer:started(picks[n])
    end
    assert.are.equal(2, picks[1])
    for n = 2, 50 do
      assert.are.equal(1, picks[n])
    end
    balancer:finished(2, 0.1)
    assert.are.equal(2, balancer:pick())
  end)

  it("V-LB10 explores such a line no more, as long as another can be asked", function()
    local balancer = make({ {}, {} }, { explore = 1 })
    answered(balancer, 1, 0.5)
    balancer:started(2)
    for _ = 1, 50 do
      assert.are.equal(1, balancer:pick())
    end
    balancer:started(1)
    balancer = make({ {}, {}, {} }, { explore = 1 })
    for i = 1, 3 do balancer:started(i) end
    assert.is_near(1 / 3, shares(balancer, 3, 3000)[1], 0.04)
  end)

  it("asks the lowest priority first, and the next only without it", function()
    for _, strategy in ipairs { "latency", "weighted", "round_robin", "priority" } do
      local balancer = make({ { priority = 2 }, {}, { priority = 3 }, {} }, { strategy = strategy })
      for _ = 1, 50 do
        local i = balancer:pick()
        assert.is_true(i == 2 or i == 4)
      end
      assert.are.equal(4, balancer:pick { [2] = true })
      assert.are.equal(1, balancer:pick { [2] = true, [4] = true })
      assert.are.equal(3, balancer:pick { true, true, false, true })
    end
  end)

  it("goes round with round_robin, and takes the first with priority", function()
    local balancer = make({ {}, {}, {} }, { strategy = "round_robin" })
    local order = {}
    for n = 1, 6 do order[n] = balancer:pick() end
    assert.are.same({ 1, 2, 3, 1, 2, 3 }, order)
    balancer = make({ {}, {}, {} }, { strategy = "priority" })
    assert.are.equal(1, balancer:pick())
    assert.are.equal(3, balancer:pick { true, true })
  end)

  it("prefers the line with less in flight, by weight", function()
    local balancer = make { { weight = 3 }, { weight = 1 } }
    answered(balancer, 1, 1)
    answered(balancer, 2, 1)
    local counts = { 0, 0 }
    for _ = 1, 40 do
      local i = balancer:pick()
      balancer:started(i)
      counts[i] = counts[i] + 1
    end
    assert.are.same({ 30, 10 }, counts)
  end)

  it("steers away from a line that fails fast, and comes back in time", function()
    local balancer = make { {}, {} }
    answered(balancer, 1, 0.4)
    answered(balancer, 2, 0.005, true) -- recorded as 5 s
    assert.are.equal(0, shares(balancer, 2, 200)[2])
    world.now = world.now + 30
    answered(balancer, 1, 0.4)
    assert.is_true(shares(balancer, 2, 200)[2] > 0.9)
  end)

  it("records a failure without a time, and a time above the penalty as it is", function()
    local balancer = make({ {}, {} }, { penalty = 2 })
    answered(balancer, 1, nil, true)
    answered(balancer, 2, 1.9)
    assert.are.equal(2, balancer:pick())
    answered(balancer, 2, 9, true)
    assert.are.equal(1, balancer:pick())
    answered(balancer, 1) -- nothing measured: no sample
    assert.are.equal(1, balancer:pick())
  end)

  it("explores a share of its picks", function()
    local balancer = make({ {}, {} }, { explore = 0.1 })
    answered(balancer, 1, 0.1)
    answered(balancer, 2, 10)
    assert.is_near(0.05, shares(balancer, 2, 20000)[2], 0.0062)
  end)

  it("starves no line and overfills none when all answer alike", function()
    local balancer, random = make { {}, {}, {} }, virtual.generator(6)
    local out, asked = {}, { 0, 0, 0 }
    for _ = 1, 6000 do
      world.now = world.now + 0.01
      local i = balancer:pick()
      balancer:started(i)
      asked[i] = asked[i] + 1
      out[#out + 1] = { line = i, ends = world.now + 0.05 + random() * 0.05 }
      for n = #out, 1, -1 do
        if out[n].ends <= world.now then
          balancer:finished(table.remove(out, n).line, 0.05 + random() * 0.05)
        end
      end
    end
    for i = 1, 3 do
      assert.is_true(asked[i] > 1200, "line " .. i .. ": " .. asked[i])
    end
  end)

  it("refuses what is no line, and an end without a start", function()
    local balancer = make { {}, {} }
    for _, bad in ipairs { 0, 3, 1.5, -1, 0 / 0, "1", {} } do
      assert.has_error(function() balancer:started(bad) end)
      assert.has_error(function() balancer:finished(bad, 1) end)
    end
    assert.has_error(function() balancer:finished(1, 1) end)
    balancer:started(1)
    assert.has_error(function() balancer:finished(1, -1) end)
    assert.has_error(function() balancer:finished(1, 0 / 0) end)
    balancer:finished(1, 1)
    assert.has_error(function() balancer:finished(1, 1) end)
    assert.has_error(function() balancer:pick(1) end)
  end)
end)
