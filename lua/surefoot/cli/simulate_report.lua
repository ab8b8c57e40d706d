--- What came of a simulation: tables for people, a document for machines, pictures.

local configurations = require "surefoot.fleet.configurations"
local figures = require "surefoot.cli.figures"
local json = require "surefoot.json"
local plot = require "surefoot.cli.plot"
local scenarios = require "surefoot.fleet.scenarios"
local surefoot = require "surefoot"
local tables = require "surefoot.cli.tables"

local M = {}

local OWN = configurations.OWN

--- Prints which scenarios there are.
---@param terminal surefoot.Terminal
function M.list(terminal)
  local rows = {}
  for i, scenario in ipairs(scenarios.list) do
    rows[i] = { scenario.id, scenario.name, scenario.about }
  end
  tables.print(terminal, { { title = "" }, { title = "scenario" }, { title = "what happens" } }, rows)
end

-- ---------------------------------------------------------------------------------------------------------------- rows

local function results_of(scenario, results)
  local list = {}
  for _, result in ipairs(results) do
    if result.job.scenario == scenario.id then
      list[#list + 1] = result
    end
  end
  return list
end

---@class surefoot.fleet.TableRow: surefoot.fleet.Row
---@field scenario string
---@field configuration string?  where configurations are compared
---@field as_defaults boolean?    of the user's: the mark is missed, by what the defaults miss it by in this play

-- What misses a mark just as the defaults do says nothing of the settings, but of how few seeds were played.
local function forgive(own, defaults)
  if own.pass == false and defaults.pass == false and own.measured == defaults.measured then
    own.pass, own.as_defaults = nil, true
  end
end

--- All rows; where configurations are compared, those of one figure follow each other, and only the user's are judged.
---@param work table
---@param results surefoot.fleet.Result[]
---@return surefoot.fleet.TableRow[]
function M.rows(work, results)
  local rows = {}
  local function add(scenario, row, configuration)
    row.scenario, row.configuration = scenario.id .. " " .. scenario.name, configuration
    if configuration and configuration ~= OWN then
      row.pass = nil
    end
    rows[#rows + 1] = row
  end
  for _, scenario in ipairs(work.list) do
    local own = results_of(scenario, results)
    if work.own then
      local columns, by_name = {}, {}
      for i, name in ipairs(configurations.compared) do
        columns[i] = scenario.figures(own, name)
        by_name[name] = columns[i]
      end
      for line in ipairs(columns[1]) do
        forgive(by_name[OWN][line], by_name[configurations.DEFAULTS][line])
        for i, name in ipairs(configurations.compared) do
          add(scenario, columns[i][line], name)
        end
      end
    else
      for _, row in ipairs(scenario.judge(own)) do
        add(scenario, row)
      end
    end
  end
  return rows
end

-- ---------------------------------------------------------------------------------------------------------- for people

local function verdict(terminal, row)
  if row.as_defaults then
    return terminal:colour("yellow", "as defaults")
  elseif row.pass == nil then
    return ""
  end
  return row.pass and terminal:colour("green", "pass") or terminal:colour("red", "FAIL")
end

local JUDGED = {
  { title = "scenario" }, { title = "figure" }, { title = "pass mark" }, { title = "measured" },
  { title = "seeds", right = true }, { title = "95 % confidence" }, { title = "" },
}

local function judged_cells(terminal, row)
  return { row.scenario, row.figure, row.mark or "-", row.measured, row.seeds and ("%d"):format(row.seeds) or "-",
    row.interval or "-", verdict(terminal, row) }
end

local function print_judged(terminal, rows)
  local cells = {}
  for i, row in ipairs(rows) do
    cells[i] = judged_cells(terminal, row)
  end
  tables.print(terminal, JUDGED, cells)
end

-- A figure to a line, a configuration to a column.
local function print_compared(terminal, rows)
  local columns, lines, width = { { title = "scenario" }, { title = "figure" } }, {}, #configurations.compared
  for _, name in ipairs(configurations.compared) do
    columns[#columns + 1] = { title = name, right = true }
  end
  columns[#columns + 1] = { title = "pass mark" }
  columns[#columns + 1] = { title = "" }
  for first = 1, #rows, width do
    local cells = { rows[first].scenario, rows[first].figure }
    for i = first, first + width - 1 do
      cells[#cells + 1] = rows[i].measured
    end
    cells[#cells + 1] = rows[first + width - 1].mark or "-"
    cells[#cells + 1] = verdict(terminal, rows[first + width - 1])
    lines[#lines + 1] = cells
  end
  tables.print(terminal, columns, lines)
end

-- Which policies the user's configuration has.
local function described(own)
  local names = {}
  for name in pairs(own) do
    names[#names + 1] = name ~= "each_line" and name or nil
  end
  for name in pairs(own.each_line or {}) do
    names[#names + 1] = name .. " of its line"
  end
  table.sort(names)
  return #names > 0 and table.concat(names, ", ") .. "; the rest as the defaults" or "no policy: the defaults"
end

local function has_forgiven(rows)
  for _, row in ipairs(rows) do
    if row.as_defaults then
      return true
    end
  end
  return false
end

-- What a mark that was missed need not mean.
local function print_doubts(terminal, work, rows, document)
  local forgiven = has_forgiven(rows)
  if forgiven then
    terminal:print "as defaults: with these seeds surefoot's defaults miss the mark by as much; it does not count"
  end
  if work.few and (forgiven or document.missed > 0) then
    terminal:print "few seeds were played: a mark may be missed by chance; without --quick or --seeds it is surer"
  end
end

--- Prints the table, and what it took.
---@param terminal surefoot.Terminal
---@param work table
---@param rows surefoot.fleet.TableRow[]
---@param document table
function M.print(terminal, work, rows, document)
  if work.own then
    print_compared(terminal, rows)
    terminal:print(("\n%s: %s"):format(OWN, described(work.own)))
    print_doubts(terminal, work, rows, document)
  else
    print_judged(terminal, rows)
    terminal:print()
  end
  local totals, met = document.totals, has_forgiven(rows) and "no other mark was missed" or "every mark was met"
  terminal:print(("%s: %s calls, %s attempts in %s"):format(
    document.missed == 0 and met or figures.plural(document.missed, "mark") .. " missed",
    figures.count(totals.requests), figures.count(totals.attempts), figures.time(document.seconds)))
end

-- -------------------------------------------------------------------------------------------------------- for machines

local function totals_of(results)
  local totals = { events = 0, attempts = 0, requests = 0, cpu = 0 }
  for _, result in ipairs(results) do
    for _, run in ipairs(result.value) do
      for name in pairs(totals) do
        totals[name] = totals[name] + (run[name] or 0)
      end
    end
  end
  return totals
end

--- Everything as a table for JSON.
---@param work table
---@param rows surefoot.fleet.TableRow[]
---@param results surefoot.fleet.Result[]
---@param seconds number that it took
---@return table
function M.document(work, rows, results, seconds)
  local missed = 0
  for _, row in ipairs(rows) do
    missed = missed + (row.pass == false and 1 or 0)
  end
  return {
    surefoot = surefoot._VERSION, compared = work.own ~= nil, rows = surefoot.array(rows), missed = missed,
    totals = totals_of(results), seconds = seconds,
  }
end

--- The same as text.
---@param document table
---@return string
function M.encoded(document)
  return assert(json.encode(document)) .. "\n"
end

-- What has no point, since no run has this series, is left out.
local function drawn(picture)
  if picture.svg then
    return picture.svg
  end
  local series = {}
  for _, one in ipairs(picture.series) do
    series[#series + 1] = #one.points > 0 and one or nil
  end
  picture.series = series
  return #series > 0 and plot.lines(picture) or nil
end

--- The pictures of all scenarios.
---@param work table
---@param results surefoot.fleet.Result[]
---@return { name: string, svg: string }[]
function M.pictures(work, results)
  local list = {}
  for _, scenario in ipairs(work.list) do
    for _, picture in ipairs(scenario.plots(results_of(scenario, results), work.own and configurations.compared)) do
      local svg = drawn(picture)
      list[#list + 1] = svg and { name = picture.name, svg = svg } or nil
    end
  end
  return list
end

return M
