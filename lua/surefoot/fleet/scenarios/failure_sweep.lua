-- S4: every attempt fails with the same probability, whatever else happens. How many attempts does a call cost, and how
-- many calls get through? No configuration may exceed the bound that it promises.
--
--   no retry        1
--   3 attempts      1 + p + p^2
--   quota           1 + (successes + 500 a client) / 14 / calls + calls repaired / calls; no floor
--   defaults        the same, and one retry a second for each client

local configurations = require "surefoot.fleet.configurations"
local fleet = require "surefoot.fleet"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local server = require "surefoot.fleet.server"
local statistics = require "surefoot.fleet.statistics"

local M = { id = "S4", name = "failure sweep", about = "every attempt fails with the same probability, 0 to 100 %" }

local CHANCES = { 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 }
local CLIENTS, RATE, ENDS, SEEDS, COMPARED = 4, 40, 100, 5, 2
local TOLD = { 0.1, 0.5, 1 } -- of the chances, where configurations are compared
local MOST = 1.2 -- attempts per call that a line which is down may get
local SLOW, QUICK = 0.2, 0.005
local CAPACITY, COST = 500, 14
local off = { limit = 100000, queue = 0 }

local CASES = {
  { name = "no retry", config = { retry = { max_attempts = 1, budget = false }, breaker = false, concurrency = off } },
  { name = "3 attempts", config = { retry = { max_attempts = 3, budget = false }, breaker = false,
    concurrency = off } },
  { name = "quota, no floor", config = { retry = { budget = { floor_per_second = 0 } }, breaker = false,
    concurrency = off } },
  { name = "defaults, no breaker", config = { breaker = false, concurrency = off } },
  { name = "defaults", config = {} },
}

local by_name = jobs.by_name(CASES)

-- Attempts per call that are allowed, by what happened. The second is a mean: runs lie around it, four standard errors
-- are left for that.
local bounds = {
  ["no retry"] = function() return 1 end,
  ["3 attempts"] = function(p, run)
    local mean, squares = 1 + p + p * p, 1 - p + 4 * p * (1 - p) + 9 * p * p
    return mean + 4 * math.sqrt(math.max(0, squares - mean * mean) / run.requests)
  end,
}

local function quota_bound(clean, repaired, calls, floor)
  return 1 + ((clean + CAPACITY * CLIENTS) / COST + repaired + floor) / calls
end

bounds["quota, no floor"] = function(_, run)
  return quota_bound(run.clean, run.repaired, run.requests, 0)
end

bounds["defaults, no breaker"] = function(_, run)
  return quota_bound(run.clean, run.repaired, run.requests, CLIENTS * (run.lasted + 1))
end
bounds.defaults = bounds["defaults, no breaker"]

function M.jobs(seeds)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name }, SEEDS, seeds, 1)
  end
  return list
end

function M.compared_jobs(seeds)
  return jobs.compared(COMPARED, seeds, 1)
end

local function play(name, own, chance, seed)
  local case = by_name[name]
  local world = fleet.run {
    seed = seed, clients = CLIENTS, config = case and case.config or configurations.with(name, nil, own),
    arrivals = { { from = 0, rate = RATE }, { from = ENDS, rate = 0 } },
    lines = { line = function(_, _, world)
      if world.luck:unit() < chance then
        return { after = QUICK, status = 500, body = "{}" }
      end
      return { after = SLOW, body = server.answer(1) }
    end },
  }
  local clean, repaired = 0, 0
  for _, client in ipairs(world.clients) do
    clean, repaired = clean + client.clean, repaired + client.repaired
  end
  return jobs.account(world, {
    chance = chance, clean = clean, repaired = repaired, lasted = world.sim:now(),
    success = world.successes / world.requests,
  })
end

function M.run(job, own)
  local runs = {}
  for seed = job.first, job.last do
    for _, chance in ipairs(CHANCES) do
      runs[#runs + 1] = play(job.case, own, chance, seed)
    end
  end
  return runs
end

-- By chance: amplification with its interval, bound, success.
local function points_of(runs, name)
  local points, bound = {}, bounds[name]
  for i, chance in ipairs(CHANCES) do
    local ratios, allowed, successes = {}, {}, {}
    for _, run in ipairs(runs) do
      if run.chance == chance then
        ratios[#ratios + 1] = run.attempts / run.requests
        allowed[#allowed + 1] = bound and bound(chance, run)
        successes[#successes + 1] = run.success
      end
    end
    local ratio, low, high = statistics.mean(ratios)
    points[i] = {
      chance = chance, ratio = ratio, low = low, high = high, bound = (statistics.mean(allowed)),
      ratios = ratios, successes = successes, success = (statistics.mean(successes)),
    }
  end
  return points
end

local function curve(points, field)
  local list = {}
  for i, point in ipairs(points) do
    list[i] = { point.chance, point[field] }
  end
  return list
end

-- The chance above 0 at which a configuration comes nearest to its bound, or exceeds it most.
local function nearest(points)
  local worst = points[#points]
  for i = 2, #points do
    if points[i].low - points[i].bound > worst.low - worst.bound then
      worst = points[i]
    end
  end
  return worst
end

local function runs_of(results, name)
  return report.runs(results, function(job) return job.case == name end)
end

function M.plots(results, names)
  local attempts, successes = {}, {}
  for i, name in ipairs(names or CASES) do
    name = names and name or name.name
    local points = points_of(runs_of(results, name), name)
    attempts[i] = { name = name, points = curve(points, "ratio") }
    successes[i] = { name = name, points = curve(points, "success") }
  end
  attempts[#attempts + 1] = { name = "1 + 1/14", points = { { 0, 1 + 1 / COST }, { 1, 1 + 1 / COST } } }
  attempts[#attempts + 1] = { name = "1.2", points = { { 0, MOST }, { 1, MOST } } }
  return {
    { name = "s4_attempts", title = "S4 failure sweep: attempts per call", x = "chance that an attempt fails",
      y = "attempts per call", series = attempts },
    { name = "s4_success", title = "S4 failure sweep: calls answered", x = "chance that an attempt fails",
      y = "share of calls", series = successes },
  }
end

function M.figures(results, name)
  local rows, by_chance = {}, {}
  for _, point in ipairs(points_of(runs_of(results, name), name)) do
    by_chance[point.chance] = point
  end
  for _, chance in ipairs(TOLD) do
    local percent, point = ("%.0f %%"):format(chance * 100), by_chance[chance]
    rows[#rows + 1] = report.mean(("%s of the attempts fail: attempts per call"):format(percent),
      chance == 1 and report.at_most(MOST) or nil, point.ratios)
    if chance < 1 then
      rows[#rows + 1] = report.mean(("%s of the attempts fail: calls answered"):format(percent), nil, point.successes,
        report.percent)
    end
  end
  return rows
end

function M.judge(results)
  local rows = {}
  for _, case in ipairs(CASES) do
    local runs = runs_of(results, case.name)
    local points = points_of(runs, case.name)
    local worst = nearest(points)
    rows[#rows + 1] = {
      figure = ("%s: attempts per call, nearest to its bound (p = %.1f)"):format(case.name, worst.chance),
      mark = ("<= %.3f"):format(worst.bound), measured = report.number(worst.ratio), seeds = #runs / #CHANCES,
      interval = report.number(worst.low) .. " .. " .. report.number(worst.high),
      pass = worst.low <= worst.bound + 1e-9,
    }
  end
  return rows
end

return M
