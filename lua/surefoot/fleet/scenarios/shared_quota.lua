-- S5: many clients work through their jobs on one account. Its quota of tokens is known to the provider alone, who
-- answers 429 with Retry-After and tells in its headers what is left. How many 429s does it take until all is done?

local configurations = require "surefoot.fleet.configurations"
local fleet = require "surefoot.fleet"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local server = require "surefoot.fleet.server"
local statistics = require "surefoot.fleet.statistics"

local M = { id = "S5", name = "shared quota", about = "10 to 1000 clients work through their jobs on one account" }

local TOKENS_PER_MINUTE, REQUESTS_PER_MINUTE, BURST = 600000, 1200, 0.1
local TOKENS = 500             -- of a job, on average: 20 jobs a second are what the quota admits
local JOBS, WORKERS = 2000, 100 -- of all clients; a client has at least one worker
local FLEETS = { 10, 100, 1000 }
local SEEDS, COMPARED = 5, 1
local BIN, TREND, LAGS = 0.1, 10, 3 -- seconds
local PUBLISHED = 0.973 -- fewer 429s than exponential backoff: AATB, arXiv 2510.04516
local UNCORRELATED = 0.1
local patient = { total = 3600 }

local CASES = {
  { name = "exponential backoff", deaf = true, config = {
    timeout = patient, breaker = false, retry = { max_attempts = 100, budget = false } } },
  { name = "defaults", config = { timeout = patient } },
  { name = "rate = {}", config = { timeout = patient, rate = {} } },
  { name = "rate = its share", config = function(clients)
    local share = TOKENS_PER_MINUTE / clients
    return { timeout = patient, rate = { tokens_per_minute = share, token_burst = math.max(TOKENS, share * BURST) } }
  end },
}

local by_name = jobs.by_name(CASES)

function M.jobs(seeds)
  local list = {}
  for _, case in ipairs(CASES) do
    for _, clients in ipairs(FLEETS) do
      jobs.add(list, { case = case.name, clients = clients }, SEEDS, seeds, 1)
    end
  end
  return list
end

function M.compared_jobs(seeds)
  local variants = {}
  for i, clients in ipairs(FLEETS) do
    variants[i] = { clients = clients }
  end
  return jobs.compared(COMPARED, seeds, 1, variants)
end

local function tokens(draws)
  return math.ceil(draws:exponential(TOKENS))
end

local function drive_all(clients, finished)
  return function(world)
    for index = 1, clients do
      local left = JOBS / clients
      local function work()
        while left > 0 do
          left = left - 1
          if world:call(index) then
            finished[index], finished.last = world.sim:now(), world.sim:now()
          end
        end
      end
      for _ = 1, math.max(1, WORKERS / clients) do
        world.sim:spawn(work)
      end
    end
  end
end

-- How much the second attempts and later ones come in step: the mean autocorrelation at whole seconds, in which
-- Retry-After is given, while all are at work, and apart from their becoming fewer.
local function in_step(sent, until_when)
  local series, from, to = {}, math.floor(0.1 * until_when / BIN), math.floor(0.8 * until_when / BIN)
  for i = 1, to - from do
    series[i] = 0
  end
  for _, at in ipairs(sent) do
    local i = math.floor(at / BIN) - from + 1
    if series[i] then
      series[i] = series[i] + 1
    end
  end
  series = statistics.detrended(series, TREND / BIN / 2)
  local sum = 0
  for seconds = 1, LAGS do
    sum = sum + statistics.autocorrelation(series, seconds / BIN)
  end
  return sum / LAGS
end

local function config_of(job, own)
  local case = by_name[job.case]
  local config = case and case.config or configurations.with(job.case, patient, own)
  return type(config) == "function" and config(job.clients) or config, case and case.deaf
end

local function play(job, own, seed)
  local config, deaf = config_of(job, own)
  local finished, sent = { last = 0 }, {}
  local line = server.new {
    slots = 100000, prefill = 0.2, itl = 0.002, burst = BURST, tells = true,
    tokens_per_minute = TOKENS_PER_MINUTE, requests_per_minute = REQUESTS_PER_MINUTE,
  }
  local world = fleet.run {
    seed = seed, clients = job.clients, config = config, tokens = tokens, drive = drive_all(job.clients, finished),
    lines = { line = function(now, call)
      local script = line:serve(now, call.tokens)
      if call.attempts > 1 then
        sent[#sent + 1] = now
      end
      if deaf then
        script.headers = nil
      end
      return script
    end },
  }
  local times = {}
  for index = 1, job.clients do
    times[index] = finished[index] or 0
  end
  return jobs.account(world, {
    throttled = line.throttled, answered = world.successes / world.requests, makespan = finished.last,
    fairness = statistics.fairness(times), in_step = in_step(sent, finished.last),
  })
end

M.run = jobs.by_seed(play)

local function runs_of(results, name, clients)
  return report.runs(results, function(job) return job.case == name and job.clients == clients end)
end

-- 429s of a configuration beside those of exponential backoff, seed by seed: what is saved.
local function saved(results, name, clients)
  local own, plain, list = runs_of(results, name, clients), runs_of(results, "exponential backoff", clients), {}
  for i, run in ipairs(own) do
    list[i] = 1 - run.throttled / plain[i].throttled
  end
  return list
end

local function best_saving(results)
  local best
  for _, clients in ipairs(FLEETS) do
    local row = report.mean(("429s saved, rate = {}, best of the fleets (%d clients)"):format(clients),
      report.at_least(PUBLISHED, ">= 97.3 %"), saved(results, "rate = {}", clients), report.percent)
    local mean = statistics.mean(saved(results, "rate = {}", clients))
    if not best or mean > best.mean then
      best = { mean = mean, row = row }
    end
  end
  return best.row
end

local function throttled(figure, runs)
  local ratios = {}
  for i, run in ipairs(runs) do
    ratios[i] = run.throttled / run.attempts
  end
  return report.mean(figure, nil, ratios, report.percent)
end

local function told(results, name, clients)
  local runs = runs_of(results, name, clients)
  local function mean(field)
    return (statistics.mean(report.column(runs, field)))
  end
  local row = throttled(("%s, %d clients: 429s of all attempts"):format(name, clients), runs)
  row.figure = ("%s (jobs done %s, fairness %.2f, %.0f s)"):format(row.figure, report.percent(mean "answered"),
    mean "fairness", mean "makespan")
  return row
end

-- All fleets of a configuration: how much their retries come in step.
local function correlation(results, name, mark, figure)
  local values = {}
  for _, clients in ipairs(FLEETS) do
    for _, run in ipairs(runs_of(results, name, clients)) do
      values[#values + 1] = run.in_step
    end
  end
  return report.mean(figure or ("autocorrelation of retries at 1 to %d s: %s"):format(LAGS, name), mark, values)
end

function M.plots(results, names)
  local plot = {}
  for i, name in ipairs(names or CASES) do
    name = names and name or name.name
    plot[i] = { name = name, points = {} }
    for _, clients in ipairs(FLEETS) do
      local row = throttled("", runs_of(results, name, clients))
      plot[i].points[#plot[i].points + 1] = { clients, tonumber(row.measured:match "[%d.]+") }
    end
  end
  return { {
    name = "s5_shared_quota", title = "S5 shared quota: 429s, of all attempts", x = "clients", y = "percent",
    log_x = true, series = plot,
  } }
end

function M.figures(results, name)
  local rows = {}
  for _, clients in ipairs(FLEETS) do
    local runs, who = runs_of(results, name, clients), ("%d clients: "):format(clients)
    rows[#rows + 1] = throttled(who .. "429s of all attempts", runs)
    rows[#rows + 1] = report.mean(who .. "jobs done", nil, report.column(runs, "answered"), report.percent)
    rows[#rows + 1] = report.mean(who .. "time until the last is done", nil, report.column(runs, "makespan"),
      report.seconds)
  end
  rows[#rows + 1] = correlation(results, name, nil, ("autocorrelation of retries at 1 to %d s"):format(LAGS))
  return rows
end

function M.judge(results)
  local rows = { best_saving(results), correlation(results, "rate = {}", report.at_most(UNCORRELATED)) }
  rows[3] = correlation(results, "defaults")
  for _, case in ipairs(CASES) do
    for _, clients in ipairs(FLEETS) do
      rows[#rows + 1] = told(results, case.name, clients)
    end
  end
  return rows
end

return M
