-- S8: a line is away for a minute, and a thousand clients look for it. Their probes must not come as a herd, and
-- neither must their calls when it is back.

local configurations = require "surefoot.fleet.configurations"
local fleet = require "surefoot.fleet"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local server = require "surefoot.fleet.server"

local M = {
  id = "S8", name = "recovery herd", about = "a line is away for a minute, and a thousand clients look for it",
}

local CLIENTS, RATE, FROM, TO, ENDS, SEEDS, COMPARED = 1000, 300, 20, 80, 110, 4, 1
local USUAL, REFUSED = 0.4, 0.005
local PROBES, OPEN = 1, 5 * 1.05 -- at a time; seconds that a circuit is open at first, on average: the defaults
local IN_STEP = 2
local LATER = 10 -- seconds: circuits that were open for longer have opened before

local CASES = {
  { name = "defaults", config = {}, judged = true },
  { name = "no jitter", config = { breaker = { jitter = 0 } } },
  { name = "jitter 1", config = { breaker = { jitter = 1 } } },
}

local by_name = jobs.by_name(CASES)

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

local function is_probe(call)
  return call.client.handle:stats().endpoints.line.breaker == "half_open"
end

-- By the second: probes, and for how long the circuits of those that came again had been open.
local function note_probe(probes, call, now)
  local at, last = math.floor(now) + 1, probes.last[call.client]
  probes.at[at] = (probes.at[at] or 0) + 1
  if last and now - last > LATER then
    local again = probes.again[at] or { count = 0, open = 0 }
    again.count, again.open = again.count + 1, again.open + now - last
    probes.again[at] = again
  end
  probes.last[call.client] = now
end

-- The most probes in a second, of what there would be were they spread evenly over the time that circuits are open.
local function in_step(probes)
  local most = 0
  for _, again in pairs(probes.again) do
    most = math.max(most, again.count * (again.open / again.count) / CLIENTS)
  end
  return most
end

-- Seconds until the line is used again: half of the usual rate.
local function idle(world)
  for at = TO + 1, ENDS do
    if world.attempts_at[at] >= RATE / 2 then
      return at - TO - 1
    end
  end
  return ENDS - TO
end

local function play(job, own, seed)
  local case = by_name[job.case]
  local probes = { at = {}, last = {}, again = {} }
  local world = fleet.run {
    seed = seed, clients = CLIENTS, config = case and case.config or configurations.with(job.case, nil, own),
    arrivals = { { from = 0, rate = RATE }, { from = ENDS, rate = 0 } },
    lines = { line = function(now, call, world)
      if now >= FROM and now < TO then
        if is_probe(call) then
          note_probe(probes, call, now)
        end
        return { connect = REFUSED, fail = "connect" }
      end
      return { after = world.luck:exponential(USUAL), body = server.answer(1) }
    end },
  }
  local peak, herd, series = 0, 0, {}
  for at = 1, ENDS do
    series[at] = probes.at[at] or 0
    peak = math.max(peak, series[at])
    herd = math.max(herd, at > TO and world.attempts_at[at] or 0)
  end
  return jobs.account(world, {
    peak = peak, in_step = in_step(probes), herd = herd / RATE, idle = idle(world),
    series = { probes = series, attempts = fleet.list(world.attempts_at, ENDS) },
  })
end

M.run = jobs.by_seed(play)

-- Rows of a configuration; `what` begins them.
local function rows_of(runs, what, is_judged)
  local bound = math.floor(CLIENTS * PROBES / OPEN)
  local most = report.at_most(bound, ("<= clients / open time = %d"):format(bound))
  return {
    report.mean(what .. "probes a second, the most", is_judged and most or nil, report.column(runs, "peak")),
    report.mean(what .. "later probes a second, the most, of an even spread",
      is_judged and report.at_most(IN_STEP) or nil, report.column(runs, "in_step")),
    report.mean(what .. "attempts a second when it is back, the most, of the usual rate", nil,
      report.column(runs, "herd")),
    report.mean(what .. "time until it is used again", nil, report.column(runs, "idle"), report.seconds),
  }
end

local function runs_of(results, name)
  return report.runs(results, function(job) return job.case == name end)
end

function M.plots(results, names)
  local probes, attempts = {}, {}
  for i, name in ipairs(names or CASES) do
    name = names and name or name.name
    local runs = runs_of(results, name)
    probes[i] = { name = name, points = report.mean_series(runs, "probes") }
    attempts[i] = { name = name, points = report.mean_series(runs, "attempts") }
  end
  local note = ("%d clients, away from %d to %d s"):format(CLIENTS, FROM, TO)
  return {
    { name = "s8_probes", title = "S8 recovery herd: probes of the line", note = note, x = "seconds",
      y = "per second", series = probes },
    { name = "s8_attempts", title = "S8 recovery herd: attempts", note = note, x = "seconds", y = "per second",
      series = attempts },
  }
end

function M.figures(results, name)
  return rows_of(runs_of(results, name), "", true)
end

function M.judge(results)
  local rows = {}
  for _, case in ipairs(CASES) do
    for _, row in ipairs(rows_of(runs_of(results, case.name), case.name .. ": ", case.judged)) do
      rows[#rows + 1] = row
    end
  end
  return rows
end

return M
