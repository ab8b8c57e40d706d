-- S7: one of three lines fails at once, and so looks like the quickest and the idlest. It must not attract the traffic.

local configurations = require "surefoot.fleet.configurations"
local fleet = require "surefoot.fleet"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local server = require "surefoot.fleet.server"

local M = { id = "S7", name = "black hole", about = "one of three lines fails at once, and looks like the quickest" }

local CLIENTS, RATE, FROM, WITHIN, ENDS, SEEDS, COMPARED = 20, 100, 20, 10, 60, 20, 4
local MOST, ANSWERED = report.at_most(0.10, "<= 10 %"), report.at_least(0.999, ">= 99.9 %")
local QUICK, USUAL = 0.005, 0.4
local NAMES = { "a", "b", "c" } -- a fails
local CASES = {
  { name = "defaults", config = {}, judged = true },
  { name = "defaults, no breaker", config = { breaker = false } },
  { name = "round robin, no breaker", config = { breaker = false, routing = "round_robin" } },
}

local by_name = jobs.by_name(CASES)

function M.jobs(seeds)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name }, SEEDS, seeds, 5)
  end
  return list
end

function M.compared_jobs(seeds)
  return jobs.compared(COMPARED, seeds, 2)
end

local function play(job, own, seed)
  local case = by_name[job.case]
  local bad, all, lines = {}, {}, {}
  for at = 1, ENDS do
    bad[at], all[at] = 0, 0
  end
  for _, line in ipairs(NAMES) do
    lines[line] = function(now, _, world)
      local fails, at = line == "a" and now >= FROM, math.floor(now) + 1
      if all[at] then
        all[at], bad[at] = all[at] + 1, bad[at] + (line == "a" and 1 or 0)
      end
      return fails and { after = QUICK, status = 500, body = "{}" }
        or { after = world.luck:exponential(USUAL), body = server.answer(1) }
    end
  end
  local world = fleet.run {
    seed = seed, clients = CLIENTS, lines = lines,
    config = case and case.config or configurations.with(job.case, nil, own),
    arrivals = { { from = 0, rate = RATE }, { from = ENDS, rate = 0 } },
  }
  local later = { bad = 0, all = 0 }
  for at = FROM + WITHIN + 1, ENDS do
    later.bad, later.all = later.bad + bad[at], later.all + all[at]
  end
  local share = {}
  for at = 1, ENDS do
    share[at] = all[at] > 0 and bad[at] / all[at] or 0
  end
  return jobs.account(world, {
    share = later.bad / later.all, success = world.successes / world.requests, series = { share = share },
  })
end

M.run = jobs.by_seed(play)

local function runs_of(results, name)
  return report.runs(results, function(job) return job.case == name end)
end

function M.plots(results, names)
  local series = {}
  for i, name in ipairs(names or CASES) do
    name = names and name or name.name
    series[i] = { name = name, points = report.mean_series(runs_of(results, name), "share", 100) }
  end
  return { {
    name = "s7_black_hole", title = ("S7 black hole: one of three lines fails at once from %d s on"):format(FROM),
    x = "seconds", y = "its share of the attempts, percent", series = series,
  } }
end

function M.figures(results, name)
  local runs = runs_of(results, name)
  return {
    report.mean(("its share of the attempts after %d s"):format(WITHIN), MOST, report.column(runs, "share"),
      report.percent),
    report.mean("calls answered", ANSWERED, report.column(runs, "success"), report.percent),
  }
end

function M.judge(results)
  local rows = {}
  for _, case in ipairs(CASES) do
    local runs = runs_of(results, case.name)
    rows[#rows + 1] = report.mean(("%s: its share of the attempts after %d s"):format(case.name, WITHIN),
      case.judged and MOST or nil, report.column(runs, "share"), report.percent)
    if case.judged then
      rows[#rows + 1] = report.mean("calls answered", ANSWERED, report.column(runs, "success"), report.percent)
    end
  end
  return rows
end

return M
