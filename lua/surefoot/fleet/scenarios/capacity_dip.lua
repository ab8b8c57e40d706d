-- S1: a line serves half as fast for 30 s. The fleet must find back to where it was, and must not have made it worse.

local configurations = require "surefoot.fleet.configurations"
local dip = require "surefoot.fleet.dip"
local fleet = require "surefoot.fleet"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local statistics = require "surefoot.fleet.statistics"

local M = { id = "S1", name = "capacity dip", about = "a line serves half as fast for 30 s, at 70 to 95 % load" }

local LOADS = { 0.7, 0.75, 0.8, 0.85, 0.9, 0.95 }
local FROM, TO, ENDS = 20, 50, 300
local HIGH = 0.9 -- the load at which clients are compared
local MANY, FEW, CHUNK, SHOWN = 500, 30, 10, 12
local COMPARED, COMPARED_CHUNK = 12, 3 -- seeds, where configurations are compared

-- What must not collapse, what must, and what is there to compare.
local CASES = {
  { name = "defaults", seeds = MANY },
  { name = "no retry", seeds = 120 },
  { name = "defaults, queue of 10", seeds = 120 },
  { name = "3 retries", seeds = FEW, load = HIGH, control = "3 retries without jitter" },
  { name = "+ jitter", seeds = FEW, load = HIGH, control = "budget off" },
  { name = "+ budget", seeds = FEW, load = HIGH },
  { name = "+ breaker", seeds = FEW, load = HIGH },
  { name = "defaults, no budget", seeds = FEW, load = HIGH },
}
local NEVER = ": never recovers"
local FLEETS = { 1, 5, 10, 50 } -- clients that share the same load

function M.jobs(seeds)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name, load = case.load }, case.seeds, seeds, CHUNK)
  end
  for _, clients in ipairs(FLEETS) do
    jobs.add(list, { case = "defaults", load = HIGH, clients = clients }, FEW, seeds, CHUNK)
  end
  return list
end

function M.compared_jobs(seeds)
  return jobs.compared(COMPARED, seeds, COMPARED_CHUNK)
end

local function series_of(world)
  return {
    offered = fleet.list(world.offered_at, ENDS), attempts = fleet.list(world.attempts_at, ENDS),
    in_time = fleet.list(world.in_time_at, ENDS), waiting = fleet.list(world.waiting_at, ENDS),
  }
end

function M.run(job, own)
  local runs = {}
  for seed = job.first, job.last do
    local load = job.load or LOADS[seed % #LOADS + 1]
    local world, recovery = dip.dip {
      configuration = job.case, own = own, seed = seed, load = load, from = FROM, to = TO, ends = ENDS,
      clients = job.clients,
    }
    runs[#runs + 1] = jobs.account(world, {
      ratio = world.attempts / world.requests, recovery = recovery < math.huge and recovery or nil,
      wasted = dip.wasted(world), load = load,
      series = load == HIGH and #runs < SHOWN and seed <= 5 * SHOWN and series_of(world) or nil,
    })
  end
  return runs
end

local function runs_of(results, name, clients)
  return report.runs(results, function(job) return job.case == name and job.clients == clients end)
end

local function never(figure, mark, runs)
  local count = 0
  for _, run in ipairs(runs) do
    count = count + (run.recovery == nil and 1 or 0)
  end
  return report.share(figure, mark, count, #runs)
end

local function plot(name, runs)
  return {
    name = "s1_" .. name:gsub("^%W+", ""):gsub("%W+", "_"), title = ("S1 capacity dip: %s"):format(name),
    note = ("load %.2f, half the speed from %d to %d s, %d clients"):format(HIGH, FROM, TO, dip.CLIENTS),
    x = "seconds", y = "per second",
    series = {
      { name = "calls", points = report.mean_series(runs, "offered") },
      { name = "attempts", points = report.mean_series(runs, "attempts") },
      { name = "answered in time", points = report.mean_series(runs, "in_time") },
      { name = "waiting at the line / 10", points = report.mean_series(runs, "waiting", 0.1) },
    },
  }
end

local function times_to_recover(rows, figure, mark, runs)
  local times = report.column(runs, "recovery", math.huge)
  for _, q in ipairs { 0.5, 0.99 } do
    local name = ("time to recover, p%d%s"):format(q * 100, figure)
    rows[#rows + 1] = report.quantile(name, q == 0.99 and mark or nil, times, q, report.seconds)
  end
end

-- What is told of a configuration, beside a client that never retries.
local function judge_alone(runs, naive)
  local rows = { report.mean("attempts per call", report.at_most(1.10), report.column(runs, "ratio")) }
  local bound = statistics.quantile(report.column(naive, "recovery", math.huge), 0.99)
  times_to_recover(rows, "", report.at_most(bound, "<= no retry's"), runs)
  rows[#rows + 1] = report.mean("tokens made for nothing", nil, report.column(runs, "wasted"), report.percent)
  return rows
end

local function judge_defaults(runs, naive)
  local rows = judge_alone(runs, naive)
  times_to_recover(rows, ": no retry", nil, naive)
  rows[#rows + 1] = report.mean("tokens made for nothing: no retry", nil, report.column(naive, "wasted"),
    report.percent)
  return rows
end

function M.plots(results, names)
  local list = {}
  for i, name in ipairs(names or CASES) do
    name = names and name or name.name
    list[i] = plot(name, runs_of(results, name))
  end
  return list
end

function M.figures(results, name)
  local runs = runs_of(results, name)
  local rows = judge_alone(runs, runs_of(results, configurations.CONTROL))
  table.insert(rows, 2, never("runs that do not recover", nil, runs))
  return rows
end

function M.judge(results)
  local naive = runs_of(results, "no retry")
  local rows = judge_defaults(runs_of(results, "defaults"), naive)
  times_to_recover(rows, ": defaults, queue of 10", nil, runs_of(results, "defaults, queue of 10"))
  for _, case in ipairs(CASES) do
    local runs = runs_of(results, case.name)
    if case.control then
      rows[#rows + 1] = never("control, " .. case.control .. NEVER, report.collapse, runs)
    elseif case.load then
      rows[#rows + 1] = never(("%s, load %.1f"):format(case.name, HIGH) .. NEVER, nil, runs)
    end
  end
  for _, clients in ipairs(FLEETS) do
    local figure = ("defaults, load %.1f, %d client%s"):format(HIGH, clients, clients > 1 and "s" or "")
    rows[#rows + 1] = never(figure .. NEVER, nil, runs_of(results, "defaults", clients))
  end
  return rows
end

return M
