--- What came of a load, for people (tables), for machines (a table for JSON), and as a picture (SVG).

local figures = require "surefoot.cli.figures"
local plot = require "surefoot.cli.plot"
local surefoot = require "surefoot"
local tables = require "surefoot.cli.tables"

local M = {}

local function right(title)
  return { title = title, right = true }
end

local LIVE = {
  { title = "" }, right "calls", right "in flight", right "rate", right "success", right "P50", right "P95",
  right "P99", right "attempts", right "429",
}

local FINAL = {
  { title = "" }, right "calls", right "success", right "rate", right "mean", right "P50", right "P95", right "P99",
  right "max", right "attempts", right "429",
}

local function pace(rate)
  return rate and (rate < 9.95 and "%.1f/s" or "%.0f/s"):format(rate) or "-"
end

local function per_call(value)
  return value and ("%.2f"):format(value) or "-"
end

local function success(terminal, samples, stream)
  local rate = samples:success_rate()
  local name = rate == nil and "dim" or rate == 1 and "green" or rate >= 0.99 and "yellow" or "red"
  return terminal:colour(name, figures.percent(rate), stream)
end

-- Calls a second over the time that a group took.
local function rate_of(group)
  return group.ended and group.ended > 0 and group.samples.calls / group.ended or nil
end

-- --------------------------------------------------------------------------------------------------------- for people

--- The lines of the table that is shown meanwhile.
---@param terminal surefoot.Terminal
---@param load surefoot.Load
---@return string[]
function M.live(terminal, load)
  local elapsed, rows = load:elapsed(), {}
  for i, group in ipairs(load.groups) do
    local samples = group.samples
    local latency = samples.latency
    rows[i] = {
      group.name, figures.count(samples.calls), figures.count(samples.began - samples.calls),
      pace(samples:recent_rate(elapsed)), success(terminal, samples, "stderr"), figures.time(latency:quantile(0.5)),
      figures.time(latency:quantile(0.95)), figures.time(latency:quantile(0.99)),
      per_call(samples:attempts_per_call()), figures.count(samples.throttled),
    }
  end
  local plan = load.plan
  local lines = tables.lines(LIVE, rows, function(text) return terminal:colour("bold", text, "stderr") end)
  table.insert(lines, 1, terminal:colour("dim", ("%s%s, Ctrl-C ends it"):format(figures.time(elapsed),
    plan.seconds and " of " .. figures.time(plan.seconds) or plan.calls and (" for %s"):format(
    figures.plural(plan.calls, "call")) or ""), "stderr"))
  return lines
end

--- The same as one line, where there is no terminal.
---@param load surefoot.Load
---@return string
function M.line(load)
  local parts = {}
  for i, group in ipairs(load.groups) do
    local samples = group.samples
    parts[i] = ("%s: %s, %s, P95 %s"):format(group.name, figures.plural(samples.calls, "call"),
      figures.percent(samples:success_rate()), figures.time(samples.latency:quantile(0.95)))
  end
  return figures.time(load:elapsed()) .. ": " .. table.concat(parts, "; ")
end

local function final_row(terminal, group)
  local samples = group.samples
  local latency = samples.latency:numbers()
  return {
    group.name, figures.count(samples.calls), success(terminal, samples), pace(rate_of(group)),
    figures.time(latency.mean), figures.time(latency.p50), figures.time(latency.p95), figures.time(latency.p99),
    figures.time(latency.max), per_call(samples:attempts_per_call()), figures.count(samples.throttled),
  }
end

local function has_any(load, of)
  for _, group in ipairs(load.groups) do
    if of(group.samples) > 0 then
      return true
    end
  end
  return false
end

-- Columns that only some loads have: title, whether there is something, and the cell.
local EXTRAS = {
  { "first token", function(samples) return samples.first_token.count end,
    function(samples) return figures.time(samples.first_token:quantile(0.5)) end },
  { "tokens", function(samples) return samples.tokens.input + samples.tokens.output end,
    function(samples) return figures.count(samples.tokens.input + samples.tokens.output) end },
  { "cost", function(samples) return samples.cost end, function(samples) return figures.money(samples.cost) end },
}

local function counts_text(counts)
  local names = {}
  for name in pairs(counts) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return counts[a] > counts[b] or counts[a] == counts[b] and a < b end)
  for i, name in ipairs(names) do
    names[i] = figures.count(counts[name]) .. " " .. name
  end
  return table.concat(names, ", ")
end

--- Prints the closing table, and what failed.
---@param terminal surefoot.Terminal
---@param load surefoot.Load
function M.print(terminal, load)
  local columns, rows = {}, {}
  for i, column in ipairs(FINAL) do
    columns[i] = column
  end
  for i, group in ipairs(load.groups) do
    rows[i] = final_row(terminal, group)
  end
  for _, extra in ipairs(EXTRAS) do
    if has_any(load, extra[2]) then
      columns[#columns + 1] = right(extra[1])
      for i, group in ipairs(load.groups) do
        rows[i][#rows[i] + 1] = extra[3](group.samples)
      end
    end
  end
  tables.print(terminal, columns, rows)
  for _, group in ipairs(load.groups) do
    if next(group.samples.errors) then
      terminal:print(("%s failed: %s"):format(group.name, counts_text(group.samples.errors)))
    end
  end
end

-- ------------------------------------------------------------------------------------------------------- for machines

local function timeline(samples)
  local last = 0
  for second in pairs(samples.seconds) do
    last = math.max(last, second)
  end
  local rows = surefoot.array {}
  for second = 1, last do
    rows[second] = samples.seconds[second] or { calls = 0, succeeded = 0, throttled = 0 }
  end
  return rows
end

local function group_document(group)
  local samples = group.samples
  return {
    name = group.name, calls = samples.calls, succeeded = samples.succeeded, success_rate = samples:success_rate(),
    seconds = group.ended, calls_per_second = rate_of(group), latency = samples.latency:numbers(),
    time_to_first_token = samples.first_token:numbers(), attempts = samples.attempts,
    attempts_per_call = samples:attempts_per_call(), throttled = samples.throttled,
    errors = surefoot.object(samples.errors), lines = surefoot.object(samples.lines), tokens = samples.tokens,
    cost = samples.cost, timeline = timeline(samples),
  }
end

--- Everything as a table for JSON.
---@param load surefoot.Load
---@return table
function M.document(load)
  local plan, groups = load.plan, {}
  for i, group in ipairs(load.groups) do
    groups[i] = group_document(group)
  end
  return {
    began_at = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() - math.floor(load:elapsed())), complete = not load:stopped(),
    surefoot = surefoot._VERSION, libcurl = surefoot.libcurl, groups = groups,
    plan = {
      calls = plan.calls, seconds = plan.seconds, rate = plan.rate, concurrency = plan.concurrency,
      stream = plan.stream or false, deadline = plan.deadline,
    },
  }
end

--- A picture: which share of the calls was answered after which time.
---@param load surefoot.Load
---@return string? svg nil: no call was answered
function M.svg(load)
  local series = {}
  for i, group in ipairs(load.groups) do
    local points = group.samples.latency:cumulated()
    for _, point in ipairs(points) do
      point[1], point[2] = point[1] * 1e3, 100 * point[2] / group.samples.calls
    end
    if #points > 0 then
      local label = ("%s, %s"):format(group.name, figures.percent(group.samples:success_rate()))
      series[#series + 1] = { name = label, points = points, style = i }
    end
  end
  if #series == 0 then
    return nil
  end
  local plan = load.plan
  return plot.lines {
    title = "Calls that were answered, by time", x = "milliseconds", y = "% of the calls", log_x = true,
    series = series, note = ("%s calls each, %d at a time%s"):format(figures.count(load.groups[1].samples.calls),
      plan.concurrency, plan.rate and (", %g a second"):format(plan.rate) or ""),
  }
end

return M
