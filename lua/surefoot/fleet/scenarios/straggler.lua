-- S6: now and then an attempt takes ten times as long; or one line does; or all of them. Hedging must cut the tail in
-- the first two, for few attempts more, and must not add load to a fleet that is slow as a whole.

local configurations = require "surefoot.fleet.configurations"
local fleet = require "surefoot.fleet"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local server = require "surefoot.fleet.server"
local statistics = require "surefoot.fleet.statistics"

local M = { id = "S6", name = "straggler", about = "attempts, a line, or all lines take ten times as long" }

local CLIENTS, RATE, ENDS, LEARNING, SEEDS, COMPARED = 4, 40, 300, 60, 10, 2
local MEDIAN, SPREAD, SLOWER = 0.4, 0.4, 10 -- seconds; of the logarithm
local CHANCE = 0.02
local CUT, NEAR, EXTRA = 0.5, 1.05, 0.05
local HEDGE = { quantile = 0.95, budget = EXTRA, burst = 20 }
local OF_BUDGET = ("<= %d %% and the burst"):format(EXTRA * 100)
local SHOCK = 30 -- seconds after the change
local NAMES = { "a", "b", "c" }

-- The share of attempts that take longer, among those of which CHANCE are stragglers.
local function tail(seconds)
  local function longer(median)
    return 1 - statistics.normal(math.log(seconds / median) / SPREAD)
  end
  return (1 - CHANCE) * longer(MEDIAN) + CHANCE * longer(MEDIAN * SLOWER)
end

local function solve(share, of)
  local low, high = 1e-6, 1000
  for _ = 1, 60 do
    local middle = (low + high) / 2
    if of(middle) > share then
      low = middle
    else
      high = middle
    end
  end
  return high
end

-- The p99 of calls that are hedged at the true quantile, on another line, once, without a budget.
local function ideal()
  local delay = solve(1 - HEDGE.quantile, tail)
  return solve(0.01, function(x) return x <= delay and tail(x) or tail(x) * tail(x - delay) end)
end

-- How many times as long an attempt takes.
local REGIMES = {
  { name = "2 % of attempts", factor = function(world) return world.luck:unit() < CHANCE and SLOWER or 1 end },
  { name = "one line", factor = function(_, line) return line == "a" and SLOWER or 1 end },
  { name = "all lines", factor = function() return SLOWER end },
}

local by_name = jobs.by_name(REGIMES)

function M.jobs(seeds)
  local list = {}
  for _, regime in ipairs(REGIMES) do
    for _, hedge in ipairs { true, false } do
      jobs.add(list, { regime = regime.name, hedge = hedge }, SEEDS, seeds, 2)
    end
  end
  return list
end

function M.compared_jobs(seeds)
  local variants = {}
  for i, regime in ipairs(REGIMES) do
    variants[i] = { regime = regime.name }
  end
  return jobs.compared(COMPARED, seeds, 1, variants)
end

local function count(tally, call)
  tally.calls, tally.attempts = tally.calls + 1, tally.attempts + call.attempts
end

local function extra(tally)
  return tally.attempts / tally.calls - 1
end

local function play(job, own, seed)
  local regime, latencies, lines = by_name[job.regime], {}, {}
  local later, shock = { calls = 0, attempts = 0 }, { calls = 0, attempts = 0 }
  for _, name in ipairs(NAMES) do
    lines[name] = function(now, _, world)
      local factor = now >= LEARNING and regime.factor(world, name) or 1
      return { after = MEDIAN * math.exp(SPREAD * world.luck:normal()) * factor, body = server.answer(1) }
    end
  end
  local world = fleet.run {
    seed = seed, clients = CLIENTS, lines = lines,
    config = job.case and configurations.with(job.case, nil, own) or { hedge = job.hedge and HEDGE or nil },
    arrivals = { { from = 0, rate = RATE }, { from = ENDS, rate = 0 } },
    on_settled = function(world, call)
      if call.began >= LEARNING then
        latencies[#latencies + 1] = world.sim:now() - call.began
        count(later, call)
      end
      if call.began >= LEARNING and call.began < LEARNING + SHOCK then
        count(shock, call)
      end
    end,
  }
  return jobs.account(world, {
    p50 = (statistics.quantile(latencies, 0.5)), p99 = (statistics.quantile(latencies, 0.99)),
    extra = extra(later), shock = extra(shock), calls = later.calls, latencies = seed == 1 and latencies or nil,
  })
end

M.run = jobs.by_seed(play)

local function runs_of(results, regime, hedge)
  return report.runs(results, function(job) return job.regime == regime and job.hedge == hedge end)
end

local function compared_runs(results, regime, name)
  return report.runs(results, function(job) return job.regime == regime and job.case == name end)
end

local function cdf(runs)
  local list, points = runs[1].latencies, {}
  table.sort(list)
  for i = 1, #list, math.max(1, math.floor(#list / 500)) do
    points[#points + 1] = { list[i], 1 - (i - 1) / #list }
  end
  return points
end

function M.plots(results, names)
  local list = {}
  for i, regime in ipairs(REGIMES) do
    local series = {}
    for n, name in ipairs(names or {}) do
      series[n] = { name = name, points = cdf(compared_runs(results, regime.name, name)) }
    end
    list[i] = {
      name = "s6_" .. regime.name:gsub("%W+", "_"), x = "seconds", y = "share of calls that take longer",
      title = ("S6 straggler: %s ten times as slow"):format(regime.name), log_x = true, log_y = true,
      series = names and series or { { name = "hedged", points = cdf(runs_of(results, regime.name, true)) },
        { name = "not hedged", points = cdf(runs_of(results, regime.name, false)) } },
    }
  end
  return list
end

-- Attempts that hedging may add, where each of so many calls is hedged at most as its budget allows.
local function bound_of(runs)
  return EXTRA + HEDGE.burst * CLIENTS / (statistics.mean(report.column(runs, "calls")))
end

function M.figures(results, name)
  local rows = {}
  for _, regime in ipairs(REGIMES) do
    local runs, what = compared_runs(results, regime.name, name), regime.name .. ": "
    rows[#rows + 1] = report.mean(what .. "p50", nil, report.column(runs, "p50"), report.seconds)
    rows[#rows + 1] = report.mean(what .. "p99", nil, report.column(runs, "p99"), report.seconds)
    rows[#rows + 1] = report.mean(what .. "attempts more", report.at_most(bound_of(runs), OF_BUDGET),
      report.column(runs, "extra"), report.percent)
  end
  return rows
end

local function judge_regime(rows, name, hedged, plain)
  local cut = {}
  for i, run in ipairs(hedged) do
    cut[i] = 1 - run.p99 / plain[i].p99
  end
  if name == REGIMES[1].name then
    local best = ideal()
    rows[#rows + 1] = report.mean(name .. ": p99 with hedging",
      report.at_most(NEAR * best, ("<= 1.05 x ideal = %.2f s"):format(NEAR * best)), report.column(hedged, "p99"),
      report.seconds)
  end
  rows[#rows + 1] = report.mean(name .. ": p99 cut by hedging",
    name ~= "all lines" and report.at_least(CUT, (">= %d %%"):format(CUT * 100)) or nil, cut, report.percent)
  rows[#rows + 1] = report.mean(name .. ": attempts more", report.at_most(bound_of(hedged), OF_BUDGET),
    report.column(hedged, "extra"), report.percent)
  rows[#rows + 1] = report.mean(("%s: attempts more in the first %d s"):format(name, SHOCK), nil,
    report.column(hedged, "shock"), report.percent)
end

function M.judge(results)
  local rows = {}
  for _, regime in ipairs(REGIMES) do
    local hedged, plain = runs_of(results, regime.name, true), runs_of(results, regime.name, false)
    judge_regime(rows, regime.name, hedged, plain)
  end
  return rows
end

return M
