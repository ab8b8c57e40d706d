-- S2: the load rises from half of what the line can serve to 1.2 times, and falls again. What the fleet gets done at a
-- load must not depend on where the load came from.

local configurations = require "surefoot.fleet.configurations"
local dip = require "surefoot.fleet.dip"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local statistics = require "surefoot.fleet.statistics"

local M = { id = "S2", name = "hysteresis", about = "the load rises to 1.2 times what the line can serve, and falls" }

local LOADS = { 0.5, 0.6, 0.7, 0.8, 0.9, 1.2 }
local STEP, SETTLING = 30, 15 -- seconds at each load; looked at after the first of them
local PEAK = 3                -- steps at the highest load: the line's queue is full by then
local STUCK = dip.SHARE
local SHOWN_LOSS = 0.02 -- of loop area, beside a client that never retries
local SHOWN_LOAD = 4 -- of the loads: where the share of stuck runs is told
local COMPARED, COMPARED_CHUNK = 6, 2 -- seeds, where configurations are compared
local CASES = {
  { name = "defaults", seeds = 500 }, { name = "no retry", seeds = 100 },
  { name = "3 retries", seeds = 30, control = true }, { name = "+ jitter", seeds = 30, control = true },
  { name = "defaults, queue of 10", seeds = 60 },
}

-- Loads by step: up, at the peak, down.
local STEPS = {}
for _, load in ipairs(LOADS) do
  STEPS[#STEPS + 1] = load
end
for _ = 2, PEAK do
  STEPS[#STEPS + 1] = LOADS[#LOADS]
end
for i = #LOADS - 1, 1, -1 do
  STEPS[#STEPS + 1] = LOADS[i]
end

function M.jobs(seeds)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name }, case.seeds, seeds, 10)
  end
  return list
end

function M.compared_jobs(seeds)
  return jobs.compared(COMPARED, seeds, COMPARED_CHUNK)
end

-- The share of the calls in the later part of a step that was answered in time.
local function goodness(world, step)
  local offered, good = 0, 0
  for at = (step - 1) * STEP + SETTLING + 1, step * STEP do
    offered, good = offered + world.offered_at[at], good + world.in_time_at[at]
  end
  return good / offered
end

function M.run(job, own)
  local arrivals = {}
  for i, load in ipairs(STEPS) do
    arrivals[i] = { from = (i - 1) * STEP, rate = load * dip.CAPACITY }
  end
  arrivals[#arrivals + 1] = { from = #STEPS * STEP, rate = 0 }
  local runs = {}
  for seed = job.first, job.last do
    local world = dip.run { configuration = job.case, own = own, seed = seed, arrivals = arrivals }
    local run = { up = {}, down = {}, area = 0 }
    for i in ipairs(LOADS) do
      run.up[i], run.down[i] = goodness(world, i), goodness(world, #STEPS + 1 - i)
      run.area = run.area + (run.up[i] - run.down[i]) * LOADS[i]
    end
    local all = 0
    for i, load in ipairs(LOADS) do
      all = all + run.up[i] * load
    end
    run.area = all > 0 and run.area / all or 0 -- who answers nothing on the way up has no way down to compare
    runs[#runs + 1] = jobs.account(world, run)
  end
  return runs
end

local function runs_of(results, name)
  return report.runs(results, function(job) return job.case == name end)
end

local function stuck_at(runs, i)
  local count = 0
  for _, run in ipairs(runs) do
    count = count + (run.down[i] < STUCK and 1 or 0)
  end
  return count
end

-- The highest load up to which, on the way down, no run was stuck.
local function safe_load(runs)
  local safe
  for i, load in ipairs(LOADS) do
    if stuck_at(runs, i) > 0 then
      break
    end
    safe = load
  end
  return safe
end

local function branch(runs, which)
  local points = {}
  for i, load in ipairs(LOADS) do
    local sum = 0
    for _, run in ipairs(runs) do
      sum = sum + run[which][i] * load
    end
    points[i] = { load, sum / #runs }
  end
  return points
end

function M.plots(results, names)
  local series = {}
  for _, name in ipairs(names or { "defaults", "no retry", "3 retries" }) do
    local runs = runs_of(results, name)
    series[#series + 1] = { name = name .. ", up", points = branch(runs, "up") }
    series[#series + 1] = { name = name .. ", down", points = branch(runs, "down") }
  end
  return { {
    name = "s2_hysteresis", title = "S2 hysteresis: answered in time, load going up and down", x = "load",
    note = ("%d s at each load, %d clients"):format(STEP, dip.CLIENTS), y = "answered in time, of the capacity",
    series = series,
  } }
end

local function area(runs, naive)
  local bound = statistics.mean(report.column(naive, "area")) + SHOWN_LOSS
  return report.mean("area of the loop", report.at_most(bound, ("<= no retry's + %g"):format(SHOWN_LOSS)),
    report.column(runs, "area"))
end

local function safe(figure, runs, naive)
  local own, bound = safe_load(runs), naive and safe_load(naive)
  return {
    figure = figure, seeds = #runs, measured = own and tostring(own) or "none",
    mark = naive and ">= no retry's" or nil, pass = naive and (own or 0) >= (bound or 0),
  }
end

function M.figures(results, name)
  local runs, naive = runs_of(results, name), runs_of(results, configurations.CONTROL)
  return {
    area(runs, naive), safe("largest load at which no run is stuck on the way down", runs, naive),
    report.share(("stuck at load %.1f on the way down"):format(LOADS[SHOWN_LOAD]), nil, stuck_at(runs, SHOWN_LOAD),
      #runs),
  }
end

function M.judge(results)
  local runs, naive = runs_of(results, "defaults"), runs_of(results, "no retry")
  local rows = { area(runs, naive) }
  for _, name in ipairs { "no retry", "defaults, queue of 10" } do
    rows[#rows + 1] = report.mean("area of the loop: " .. name, nil, report.column(runs_of(results, name), "area"))
  end
  rows[#rows + 1] = safe("largest load at which no run is stuck on the way down", runs, naive)
  rows[#rows + 1] = safe("largest such load: no retry", naive)
  for _, case in ipairs(CASES) do
    local own = runs_of(results, case.name)
    rows[#rows + 1] = report.share(("%s%s: stuck at load %.1f on the way down"):format(
      case.control and "control, " or "", case.name, LOADS[SHOWN_LOAD]), case.control and report.collapse,
      stuck_at(own, SHOWN_LOAD), #own)
  end
  return rows
end

return M
