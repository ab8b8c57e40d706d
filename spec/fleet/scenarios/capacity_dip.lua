-- S1: a line serves half as fast for 30 s. The fleet must find back to where it was, and must not have made it worse.

local dip = require "spec.fleet.dip"
local fleet = require "spec.fleet.fleet"
local jobs = require "spec.fleet.jobs"
local report = require "spec.fleet.report"
local statistics = require "spec.fleet.statistics"

local M = { id = "S1", name = "capacity dip" }

local LOADS = { 0.7, 0.75, 0.8, 0.85, 0.9, 0.95 }
local FROM, TO, ENDS = 20, 50, 300
local HIGH = 0.9 -- the load at which clients are compared
local MANY, FEW, CHUNK, SHOWN = 500, 30, 10, 12

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
local FLEETS = { 1, 5, 10, 50 } -- clients that share the same load

function M.jobs(share)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name, load = case.load }, case.seeds, share, CHUNK)
  end
  for _, clients in ipairs(FLEETS) do
    jobs.add(list, { case = "defaults", load = HIGH, clients = clients }, FEW, share, CHUNK)
  end
  return list
end

local function series_of(world)
  return {
    offered = fleet.list(world.offered_at, ENDS), attempts = fleet.list(world.attempts_at, ENDS),
    in_time = fleet.list(world.in_time_at, ENDS), waiting = fleet.list(world.waiting_at, ENDS),
  }
end

function M.run(job)
  local runs = {}
  for seed = job.first, job.last do
    local load = job.load or LOADS[seed % #LOADS + 1]
    local world, recovery = dip.dip {
      configuration = job.case, seed = seed, load = load, from = FROM, to = TO, ends = ENDS, clients = job.clients,
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
  return report.share(figure .. ": never recovers", mark, count, #runs)
end

local function plot(case, runs)
  return {
    name = "s1_" .. case.name:gsub("^%W+", ""):gsub("%W+", "_"), title = ("S1 capacity dip: %s"):format(case.name),
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

local function judge_defaults(runs, naive)
  local rows = { report.mean("attempts per call", report.at_most(1.10), report.column(runs, "ratio")) }
  local bound = statistics.quantile(report.column(naive, "recovery", math.huge), 0.99)
  times_to_recover(rows, "", report.at_most(bound, "<= no retry's"), runs)
  times_to_recover(rows, ": no retry", nil, naive)
  rows[#rows + 1] = report.mean("tokens made for nothing", nil, report.column(runs, "wasted"), report.percent)
  rows[#rows + 1] = report.mean("tokens made for nothing: no retry", nil, report.column(naive, "wasted"),
    report.percent)
  return rows
end

function M.judge(results)
  local naive = runs_of(results, "no retry")
  local rows, plots = judge_defaults(runs_of(results, "defaults"), naive), {}
  times_to_recover(rows, ": defaults, queue of 10", nil, runs_of(results, "defaults, queue of 10"))
  for _, case in ipairs(CASES) do
    local runs = runs_of(results, case.name)
    plots[#plots + 1] = plot(case, runs)
    if case.control then
      rows[#rows + 1] = never("control, " .. case.control, report.collapse, runs)
    elseif case.load then
      rows[#rows + 1] = never(("%s, load %.1f"):format(case.name, HIGH), nil, runs)
    end
  end
  for _, clients in ipairs(FLEETS) do
    local figure = ("defaults, load %.1f, %d client%s"):format(HIGH, clients, clients > 1 and "s" or "")
    rows[#rows + 1] = never(figure, nil, runs_of(results, "defaults", clients))
  end
  return rows, plots
end

return M
