-- S7: one of three lines fails at once, and so looks like the quickest and the idlest. It must not attract the traffic.

local fleet = require "spec.fleet.fleet"
local jobs = require "spec.fleet.jobs"
local report = require "spec.fleet.report"
local server = require "spec.fleet.server"

local M = { id = "S7", name = "black hole" }

local CLIENTS, RATE, FROM, WITHIN, ENDS, SEEDS = 20, 100, 20, 10, 60, 20
local QUICK, USUAL = 0.005, 0.4
local NAMES = { "a", "b", "c" } -- a fails
local CASES = {
  { name = "defaults", config = {}, mark = 0.10 },
  { name = "defaults, no breaker", config = { breaker = false } },
  { name = "round robin, no breaker", config = { breaker = false, routing = "round_robin" } },
}

local by_name = {}
for _, case in ipairs(CASES) do
  by_name[case.name] = case
end

function M.jobs(share)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name }, SEEDS, share, 5)
  end
  return list
end

local function play(name, seed)
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
    seed = seed, clients = CLIENTS, config = by_name[name].config, lines = lines,
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

function M.run(job)
  local runs = {}
  for seed = job.first, job.last do
    runs[#runs + 1] = play(job.case, seed)
  end
  return runs
end

function M.judge(results)
  local rows, series = {}, {}
  for i, case in ipairs(CASES) do
    local runs = report.runs(results, function(job) return job.case == case.name end)
    rows[#rows + 1] = report.mean(("%s: its share of the attempts after %d s"):format(case.name, WITHIN),
      case.mark and report.at_most(case.mark, "<= 10 %"), report.column(runs, "share"), report.percent)
    if case.mark then
      rows[#rows + 1] = report.mean("calls answered", report.at_least(0.999, ">= 99.9 %"),
        report.column(runs, "success"), report.percent)
    end
    series[i] = { name = case.name, points = report.mean_series(runs, "share", 100) }
  end
  return rows, { {
    name = "s7_black_hole", title = ("S7 black hole: one of three lines fails at once from %d s on"):format(FROM),
    x = "seconds", y = "its share of the attempts, percent", series = series,
  } }
end

return M
