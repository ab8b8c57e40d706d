-- What the rounds of lines_bench.lua amount to: success, latencies over the verified answers, attempts, the goals; as a
-- table, as JSON and as plots.

local cjson = require "cjson"
local measure = require "spec.bench.measure"
local plot = require "spec.bench.plot"
local process = require "spec.support.process"

local M = {}

-- ------------------------------------------------------------------------------------------------------------ numbers

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(#sorted * q))]
end

local function merge_shares(rounds)
  local merged = {}
  for _, round in ipairs(rounds) do
    for i, window in ipairs(round.shares) do
      local sum = merged[i] or { from = window.from, to = window.to, bad = 0, all = 0 }
      sum.bad, sum.all = sum.bad + window.bad, sum.all + window.all
      merged[i] = sum
    end
  end
  return merged
end

-- The share of attempts on the bad line from `within` seconds after it went bad, and in the second after that.
local function judge_shares(bad, windows)
  local later, soon = { bad = 0, all = 0 }, nil
  for _, window in ipairs(windows) do
    if window.from >= bad.within then
      later.bad, later.all = later.bad + window.bad, later.all + window.all
      soon = soon or window
    end
  end
  local function share(window)
    return window.all > 0 and window.bad / window.all or 0
  end
  local worst = math.max(share(soon), share(later))
  return worst, { soon = share(soon), later = share(later), ok = worst < bad.share }
end

---One row of the table out of its rounds.
---@param scenario table
---@param key string of the client
---@param client table
---@param rounds table[] of lines_run.lua
---@return table row
function M.row(scenario, key, client, rounds)
  local row = { scenario = scenario.key, client = key, name = client.name, style = client.style, calls = 0,
    attempts = 0, wall = 0, outcomes = {}, rounds = rounds, latencies = {} }
  local sum = 0
  for _, round in ipairs(rounds) do
    row.attempts, row.wall = row.attempts + round.attempts, row.wall + round.wall
    for i, outcome in ipairs(round.outcome) do
      row.calls = row.calls + 1
      row.outcomes[outcome] = (row.outcomes[outcome] or 0) + 1
      if outcome == "ok" then
        row.latencies[#row.latencies + 1] = round.latency[i]
        sum = sum + round.latency[i]
      end
    end
  end
  table.sort(row.latencies)
  row.ok, row.wrong = #row.latencies, row.outcomes["false"] or 0
  row.success, row.attempts_per_call = row.ok / row.calls, row.attempts / row.calls
  row.wall = row.wall / #rounds
  if row.ok > 0 then
    row.mean = sum / row.ok
    row.p50, row.p99, row.p999 = quantile(row.latencies, 0.5), quantile(row.latencies, 0.99),
      quantile(row.latencies, 0.999)
  end
  if scenario.bad then
    row.shares = merge_shares(rounds)
    row.bad_share, row.bad = judge_shares(scenario.bad, row.shares)
  end
  row.goal = client.judged and (scenario.goals[key] or scenario.goals.all) or nil
  row.missed = row.goal and M.missed(row, row.goal) or nil
  return row
end

local NAMES = { { "p99", "P99" }, { "p999", "P99.9" }, { "wall", "time" }, { "attempts_per_call", "attempts" } }

---@return string[] the goals that a row misses
function M.missed(row, goal)
  local missed = {}
  if row.wrong > 0 then
    missed[1] = "false answers"
  end
  if row.success < goal.success then
    missed[#missed + 1] = "success"
  end
  for _, pair in ipairs(NAMES) do
    local most = goal[pair[1] == "attempts_per_call" and "attempts" or pair[1]]
    if most and (not row[pair[1]] or row[pair[1]] > most) then
      missed[#missed + 1] = pair[2]
    end
  end
  if row.bad and not row.bad.ok then
    missed[#missed + 1] = "share"
  end
  return missed
end

-- -------------------------------------------------------------------------------------------------------------- table

local function milliseconds(seconds)
  if not seconds then
    return "-"
  end
  local text = ("%.0f"):format(seconds * 1000)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function percent(share)
  local text = ("%.2f"):format(100 * share)
  return share < 1 and text == "100.00" and "99.99+" or text
end

local function show_goal(goal)
  local parts = { "success >= " .. ("%.4g"):format(100 * goal.success) .. " %" }
  for _, item in ipairs { { "p99", "P99 <= %s ms" }, { "p999", "P99.9 <= %s ms" } } do
    if goal[item[1]] then
      parts[#parts + 1] = item[2]:format(milliseconds(goal[item[1]]))
    end
  end
  if goal.wall then
    parts[#parts + 1] = ("in <= %g s"):format(goal.wall)
  end
  parts[#parts + 1] = ("attempts/call <= %.4g"):format(goal.attempts)
  return table.concat(parts, ", ")
end

local function verdict(row)
  if not row.missed then
    return "-"
  end
  return #row.missed == 0 and "met" or "missed: " .. table.concat(row.missed, ", ")
end

local function introduce(scenario)
  local load = scenario.starts and ("at most %g starts/s"):format(scenario.starts) or "no pacing"
  return ("%s: timeout of an attempt %g s, %s, clock x %g"):format(scenario.title, scenario.timeout, load,
    scenario.scale)
end

local HEAD = { "client", "calls", "success %", "false", "mean", "P50", "P99", "P99.9", "att./call", "time s", "goal" }

---Prints a scenario: its rows, its goals, what was skipped.
---@param scenario table
---@param rows table[]
---@param skipped string[]
function M.print(scenario, rows, skipped)
  print("\n== " .. introduce(scenario))
  local lines = { HEAD }
  for _, row in ipairs(rows) do
    lines[#lines + 1] = { row.name, milliseconds(row.calls / 1000), percent(row.success), tostring(row.wrong),
      milliseconds(row.mean), milliseconds(row.p50), milliseconds(row.p99), milliseconds(row.p999),
      ("%.3f"):format(row.attempts_per_call), ("%.1f"):format(row.wall), verdict(row) }
  end
  measure.table(lines)
  for _, what in ipairs(skipped) do
    print("  " .. what)
  end
  print("  goal: " .. show_goal(scenario.goals.all))
  for _, row in ipairs(rows) do
    local own = scenario.goals[row.client]
    if own then
      print(("  goal of %s: %s"):format(row.name, show_goal(own)))
    end
  end
  if scenario.bad then
    M.print_shares(scenario.bad, rows)
  end
end

---Prints how the attempts divided while a line was bad.
function M.print_shares(bad, rows)
  print(("  line %s's share of the attempts, by seconds since it went bad (goal: under %g %% after %g s):"):format(
    bad.line, 100 * bad.share, bad.within))
  local lines = {}
  for _, row in ipairs(rows) do
    local head, cells = { "client" }, { row.name }
    for i, window in ipairs(row.shares) do
      head[i + 1] = ("%g to %g s"):format(window.from, window.to)
      cells[i + 1] = window.all > 0 and ("%.1f %% of %d"):format(100 * window.bad / window.all, window.all) or "-"
    end
    head[#head + 1], cells[#cells + 1] = "goal", row.goal and (row.bad.ok and "met" or "missed") or "-"
    lines[1] = lines[1] or head
    lines[#lines + 1] = cells
  end
  measure.table(lines)
end

-- -------------------------------------------------------------------------------------------------------------- plots

-- The share of all calls that have no verified answer yet, by time: where a curve stays level, calls never got one.
local function still_waiting(row, last)
  local points, n = {}, row.calls
  for k, latency in ipairs(row.latencies) do
    points[#points + 1] = { latency, (n - k + 1) / n }
    if k < n then
      points[#points + 1] = { latency, (n - k) / n }
    end
  end
  if row.ok < n then
    points[#points + 1] = { last, (n - row.ok) / n }
  end
  return points
end

local function time_label(seconds)
  return seconds < 1 and ("%g ms"):format(seconds * 1000) or ("%g s"):format(seconds)
end

local function share_label(share)
  return ("%g %%"):format(100 * share)
end

---@return string|nil svg of a scenario; nil when no row of it has an answer
function M.plot(scenario, rows)
  local series, last = {}, 0
  for _, row in ipairs(rows) do
    last = math.max(last, row.latencies[row.ok] or 0)
  end
  for _, row in ipairs(rows) do
    if row.ok > 0 then
      series[#series + 1] = { name = row.name, points = still_waiting(row, last), style = row.style }
    end
  end
  return #series > 0 and plot.lines {
    title = scenario.title .. ": calls still without an answer",
    note = ("simulated lines, clock x %g, timeout of an attempt %g s; what stays level to the end has failed"):format(
      scenario.scale, scenario.timeout),
    x = "time since the call began", y = "share of the calls", series = series, log_x = true, log_y = true,
    x_format = time_label, y_format = share_label,
  } or nil
end

-- --------------------------------------------------------------------------------------------------------------- file

-- They are in the rounds, call by call.
local function without_latencies(row)
  local copy = {}
  for key, value in pairs(row) do
    copy[key] = key ~= "latencies" and value or nil
  end
  return copy
end

---Writes what was measured, raw numbers included, and the plots.
---@param folder string
---@param done { scenario: table, rows: table[], skipped: string[] }[]
---@param about table versions and configuration
---@return string[] paths
function M.save(folder, done, about)
  process.capture { "mkdir", "-p", folder }
  local paths, list = { folder .. "/lines.json" }, {}
  for i, one in ipairs(done) do
    list[i] = { scenario = one.scenario, skipped = one.skipped, rows = {} }
    for k, row in ipairs(one.rows) do
      list[i].rows[k] = without_latencies(row)
    end
    local svg = one.scenario.plot and M.plot(one.scenario, one.rows)
    if svg then
      paths[#paths + 1] = ("%s/%s.svg"):format(folder, one.scenario.key)
      process.write(paths[#paths], svg)
    end
  end
  local encoder = cjson.new()
  encoder.encode_number_precision(6)
  encoder.encode_sparse_array(true)
  process.write(paths[1], encoder.encode { about = about, scenarios = list } .. "\n")
  return paths
end

return M
