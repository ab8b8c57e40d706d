-- S8: a line is away for a minute, and a thousand clients look for it. Their probes must not come as a herd, and
-- neither must their calls when it is back.

local fleet = require "spec.fleet.fleet"
local jobs = require "spec.fleet.jobs"
local report = require "spec.fleet.report"
local server = require "spec.fleet.server"

local M = { id = "S8", name = "recovery herd" }

local CLIENTS, RATE, FROM, TO, ENDS, SEEDS = 1000, 300, 20, 80, 110, 4
local USUAL, REFUSED = 0.4, 0.005
local PROBES, OPEN = 1, 5 * 1.05 -- at a time; seconds that a circuit is open at first, on average: the defaults
local IN_STEP = 2
local LATER = 10 -- seconds: circuits that were open for longer have opened before

local CASES = {
  { name = "defaults", config = {}, judged = true },
  { name = "no jitter", config = { breaker = { jitter = 0 } } },
  { name = "jitter 1", config = { breaker = { jitter = 1 } } },
}

local by_name = {}
for _, case in ipairs(CASES) do
  by_name[case.name] = case
end

function M.jobs(share)
  local list = {}
  for _, case in ipairs(CASES) do
    jobs.add(list, { case = case.name }, SEEDS, share, 1)
  end
  return list
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

local function play(name, seed)
  local probes = { at = {}, last = {}, again = {} }
  local world = fleet.run {
    seed = seed, clients = CLIENTS, config = by_name[name].config,
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

function M.run(job)
  local runs = {}
  for seed = job.first, job.last do
    runs[#runs + 1] = play(job.case, seed)
  end
  return runs
end

local function judge_case(rows, case, runs)
  local bound = math.floor(CLIENTS * PROBES / OPEN)
  local most = report.at_most(bound, ("<= clients / open time = %d"):format(bound))
  rows[#rows + 1] = report.mean(case.name .. ": probes a second, the most", case.judged and most or nil,
    report.column(runs, "peak"))
  rows[#rows + 1] = report.mean(case.name .. ": later probes a second, the most, of an even spread",
    case.judged and report.at_most(IN_STEP) or nil, report.column(runs, "in_step"))
  rows[#rows + 1] = report.mean(case.name .. ": attempts a second when it is back, the most, of the usual rate", nil,
    report.column(runs, "herd"))
  rows[#rows + 1] = report.mean(case.name .. ": time until it is used again", nil, report.column(runs, "idle"),
    report.seconds)
end

function M.judge(results)
  local rows, probes, attempts = {}, {}, {}
  for i, case in ipairs(CASES) do
    local runs = report.runs(results, function(job) return job.case == case.name end)
    judge_case(rows, case, runs)
    probes[i] = { name = case.name, points = report.mean_series(runs, "probes") }
    attempts[i] = { name = case.name, points = report.mean_series(runs, "attempts") }
  end
  local note = ("%d clients, away from %d to %d s"):format(CLIENTS, FROM, TO)
  return rows, {
    { name = "s8_probes", title = "S8 recovery herd: probes of the line", note = note, x = "seconds",
      y = "per second", series = probes },
    { name = "s8_attempts", title = "S8 recovery herd: attempts", note = note, x = "seconds", y = "per second",
      series = attempts },
  }
end

return M
