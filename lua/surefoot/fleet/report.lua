-- Rows of the table that `make simulate` prints, and the table itself: what was looked at, what it must be, what it
-- was, over how many seeds, how surely.

local statistics = require "surefoot.fleet.statistics"

local M = {}

---@class surefoot.fleet.Row
---@field figure string
---@field mark string?      what it must be; nil: told, not judged
---@field measured string
---@field seeds integer?
---@field interval string?  95 % confidence
---@field pass boolean?     nil: not judged

--- @param share number
--- @return string
function M.percent(share)
  return ("%.1f %%"):format(share * 100)
end

---@param seconds number
---@return string
function M.seconds(seconds)
  return seconds == math.huge and "never" or ("%.3g s"):format(seconds)
end

---@param value number
---@return string
function M.number(value)
  return value == math.huge and "inf" or ("%.3f"):format(value)
end

local function interval(low, high, show)
  low, high = show(low), show(high)
  return low == high and low or low .. " .. " .. high
end

-- A mark is { text =, holds = function(value, low, high) }.
local function row(figure, mark, n, show, value, low, high)
  return {
    figure = figure, mark = mark and mark.text, measured = show(value), seeds = n,
    interval = interval(low, high, show), pass = mark and mark.holds(value, low, high),
  }
end

--- The mean of values.
---@param figure string
---@param mark { text: string, holds: fun(value: number, low: number, high: number): boolean }?
---@param values number[]
---@param show (fun(value: number): string)?
---@return surefoot.fleet.Row
function M.mean(figure, mark, values, show)
  return row(figure, mark, #values, show or M.number, statistics.mean(values))
end

--- A quantile of values.
---@param figure string
---@param mark table?
---@param values number[]
---@param q number
---@param show (fun(value: number): string)?
---@return surefoot.fleet.Row
function M.quantile(figure, mark, values, q, show)
  return row(figure, mark, #values, show or M.number, statistics.quantile(values, q))
end

--- The share of runs of which something is true.
---@param figure string
---@param mark table?
---@param count integer
---@param n integer
---@return surefoot.fleet.Row
function M.share(figure, mark, count, n)
  return row(figure, mark, n, M.percent, statistics.share(count, n))
end

--- Marks. A bound from above must hold for the whole interval; one of shares, where zero is asked, for the count.
---@param bound number
---@param text string?
---@return table
function M.at_most(bound, text)
  return { text = text or ("<= %g"):format(bound), holds = function(_, _, high) return high <= bound end }
end

---@param bound number
---@param text string?
---@return table
function M.at_least(bound, text)
  return { text = text or (">= %g"):format(bound), holds = function(_, low) return low >= bound end }
end

-- What a negative control must do, or the model proves nothing.
M.collapse = { text = ">= 90 %", holds = function(share) return share >= 0.9 end }

M.none = { text = "0", holds = function(value) return value == 0 end }

-- -------------------------------------------------------------------------------------------------------- the results

--- The runs of the jobs for which `fits` holds.
---@param results { job: table, value: table[] }[]
---@param fits fun(job: table): boolean
---@return table[]
function M.runs(results, fits)
  local list = {}
  for _, result in ipairs(results) do
    if fits(result.job) then
      for _, run in ipairs(result.value) do
        list[#list + 1] = run
      end
    end
  end
  return list
end

--- One field of all runs.
---@param runs table[]
---@param field string
---@param otherwise any where a run has none
---@return any[]
function M.column(runs, field, otherwise)
  local values = {}
  for i, run in ipairs(runs) do
    values[i] = run[field] == nil and otherwise or run[field]
  end
  return values
end

--- The mean of a series over the runs that have it, as points of a plot.
---@param runs table[]
---@param field string of run.series
---@param scale number?
---@return number[][]
function M.mean_series(runs, field, scale)
  local sums, count = {}, 0
  for _, run in ipairs(runs) do
    if run.series then
      count = count + 1
      for at, value in ipairs(run.series[field]) do
        sums[at] = (sums[at] or 0) + value
      end
    end
  end
  local points = {}
  for at, sum in ipairs(sums) do
    points[at] = { at - 1, sum / count * (scale or 1) }
  end
  return points
end

-- ---------------------------------------------------------------------------------------------------------- the table

local COLUMNS = {
  { "scenario", function(each) return each.scenario end },
  { "figure", function(each) return each.figure end },
  { "pass mark", function(each) return each.mark or "-" end },
  { "measured", function(each) return each.measured end },
  { "seeds", function(each) return each.seeds and tostring(each.seeds) or "-" end },
  { "95 % confidence", function(each) return each.interval or "-" end },
  { "", function(each) return each.pass == nil and "" or each.pass and "pass" or "FAIL" end },
}

--- The table as text.
---@param rows surefoot.fleet.Row[] with scenario
---@return string
function M.table(rows)
  local widths, lines = {}, {}
  for i, column in ipairs(COLUMNS) do
    widths[i] = #column[1]
    for _, each in ipairs(rows) do
      widths[i] = math.max(widths[i], #column[2](each))
    end
  end
  local function line(cells)
    for i, cell in ipairs(cells) do
      cells[i] = cell .. (" "):rep(widths[i] - #cell)
    end
    lines[#lines + 1] = (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  local heads, rules = {}, {}
  for i, column in ipairs(COLUMNS) do
    heads[i], rules[i] = column[1], ("-"):rep(widths[i])
  end
  line(heads)
  line(rules)
  for _, each in ipairs(rows) do
    local cells = {}
    for i, column in ipairs(COLUMNS) do
      cells[i] = column[2](each)
    end
    line(cells)
  end
  return table.concat(lines, "\n")
end

return M
