-- In small: a fleet whose line serves half as fast for 30 s comes back with the defaults; with retries that nothing
-- bounds it stays down. Else the model would prove nothing.
local dip = require "surefoot.fleet.dip"
local heat_map = require "surefoot.fleet.heat_map"
local report = require "surefoot.fleet.report"

local SEEDS = 2

local function play(configuration, load, ends)
  local runs = {}
  for seed = 1, SEEDS do
    local world, recovery = dip.dip {
      configuration = configuration, seed = seed, load = load, from = 10, to = 40, ends = ends,
    }
    runs[seed] = { recovery = recovery, ratio = world.attempts / world.requests, wasted = dip.wasted(world) }
  end
  return runs
end

describe("a capacity dip #once", function()
  for _, name in ipairs { "3 retries", "+ jitter" } do
    it(("brings a fleet down for good: %s, no budget"):format(name), function()
      for _, run in ipairs(play(name, 0.8, 120)) do
        assert.equal(math.huge, run.recovery)
        assert.is_true(run.ratio > 2, "attempts per call: " .. run.ratio)
        assert.is_true(run.wasted > 0.5, "tokens made for nothing: " .. run.wasted)
      end
    end)
  end

  it("does no lasting harm to the defaults", function()
    for _, run in ipairs(play("defaults", 0.8, 250)) do
      assert.is_true(run.recovery < math.huge)
      assert.is_true(run.ratio <= 1.10, "attempts per call: " .. run.ratio)
    end
  end)

  it("does none to clients that never retry", function()
    for _, run in ipairs(play("no retry", 0.8, 120)) do
      assert.is_true(run.recovery < 60)
      assert.equal(1, run.ratio)
    end
  end)
end)

describe("every scenario", function()
  for _, name in ipairs { "capacity_dip", "hysteresis", "map", "failure_sweep", "shared_quota", "straggler",
    "black_hole", "recovery_herd" } do
    it("has jobs that cover its seeds once: " .. name, function()
      local scenario, seen = require("surefoot.fleet.scenarios." .. name), {}
      assert.matches("^S[1-8]$", scenario.id)
      for _, job in ipairs(scenario.jobs {}) do
        local key = table.concat({ tostring(job.case or job.regime), tostring(job.clients), tostring(job.load),
          tostring(job.hedge) }, " ")
        for seed = job.first, job.last do
          assert.is_nil(seen[key .. seed], key .. seed)
          seen[key .. seed] = true
        end
      end
      assert.is_true(next(seen) ~= nil)
    end)

    it("compares three configurations over the same seeds: " .. name, function()
      local scenario, counts = require("surefoot.fleet.scenarios." .. name), {}
      for _, job in ipairs(scenario.compared_jobs { exactly = 7 }) do
        counts[job.case] = (counts[job.case] or 0) + job.last - job.first + 1
      end
      assert.same({ counts["no retry"], counts["no retry"] }, { counts.defaults, counts.yours })
      assert.equal(0, counts.yours % 7)
    end)
  end
end)

describe("the failure sweep #once", function()
  it("tells of a configuration what it did at some chances", function()
    local runs = {}
    for tenths = 0, 10 do
      runs[#runs + 1] = { chance = tenths == 0 and 0 or tenths == 10 and 1 or tonumber("0." .. tenths), requests = 10,
        attempts = 10 + tenths, success = 1 - tenths / 10 }
    end
    local sweep = require "surefoot.fleet.scenarios.failure_sweep"
    local results, told = { { job = { case = "yours" }, value = runs } }, {}
    for i, row in ipairs(sweep.figures(results, "yours")) do
      told[i] = row.figure .. " " .. row.measured
    end
    assert.same({ "10 % of the attempts fail: attempts per call 1.100",
      "10 % of the attempts fail: calls answered 90.0 %",
      "50 % of the attempts fail: attempts per call 1.500", "50 % of the attempts fail: calls answered 50.0 %",
      "100 % of the attempts fail: attempts per call 2.000" }, told)
    assert.equal(3, #sweep.plots(results, { "yours" })[1].series)
  end)
end)

describe("a row", function()
  it("says what was measured, how surely, and whether the mark was met", function()
    local rows = {
      report.mean("a", report.at_most(2), { 1, 1, 1, 1 }), report.mean("b", report.at_most(2), { 1.9, 2.0, 2.1, 1.9 }),
      report.share("c", report.none, 0, 100), report.share("d", nil, 50, 100),
    }
    assert.same({ true, false, true }, { rows[1].pass, rows[2].pass, rows[3].pass })
    assert.same({ figure = "b", mark = "<= 2", measured = "1.975", interval = "1.881 .. 2.069", seeds = 4,
      pass = false }, rows[2])
    assert.same({ "-", "50.0 %", "40.4 % .. 59.6 %" }, { rows[4].mark or "-", rows[4].measured, rows[4].interval })
    assert.is_nil(rows[4].pass)
  end)
end)

describe("a heat map", function()
  it("has a cell for each number, and says where there is none", function()
    local svg = heat_map.draw {
      title = "a < b", note = "", rows = { "1", "2" }, columns = { "x", "y", "z" }, most = 10,
      panels = { { name = "one", cells = { { 0, 5, 10 }, { 1, math.huge, 3 } } },
        { name = "two", cells = { { 0, 0, 0 }, { 0, 0, 0 } } } },
    }
    local _, cells = svg:gsub('<rect x="', "")
    local _, never = svg:gsub(">never<", "")
    assert.same({ 12, 1 }, { cells, never })
    assert.matches("a &lt; b", svg, 1, true)
    local _, opened = svg:gsub("<text", "")
    local _, closed = svg:gsub("</text>", "")
    assert.equal(opened, closed)
  end)
end)
