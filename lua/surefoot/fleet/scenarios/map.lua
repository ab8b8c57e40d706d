-- S3: at which loads does which trigger bring a fleet down for good? One map per configuration, from a client that
-- never retries to the defaults. A cell is vulnerable when one of its runs does not recover.

local configurations = require "surefoot.fleet.configurations"
local dip = require "surefoot.fleet.dip"
local heat_map = require "surefoot.fleet.heat_map"
local jobs = require "surefoot.fleet.jobs"
local report = require "surefoot.fleet.report"
local statistics = require "surefoot.fleet.statistics"

local unpack = table.unpack or unpack

local M = { id = "S3", name = "map", about = "which dips bring a fleet down for good, at which loads" }

local LOADS = { 0.5, 0.6, 0.7, 0.8, 0.9, 0.95 }
local DIPS = { 5, 10, 20, 30, 45, 60 } -- seconds at half the speed
local FROM, AFTER = 10, 150
local SEEDS, COMPARED = 3, 1
local NAMES = {
  "no retry", "3 retries", "+ jitter", "+ budget", "+ breaker", "defaults", "defaults, queue of 10",
}

function M.jobs(seeds)
  local list = {}
  for _, name in ipairs(NAMES) do
    for _, load in ipairs(LOADS) do
      jobs.add(list, { case = name, load = load }, SEEDS, seeds, SEEDS)
    end
  end
  return list
end

function M.compared_jobs(seeds)
  local variants = {}
  for i, load in ipairs(LOADS) do
    variants[i] = { load = load }
  end
  return jobs.compared(COMPARED, seeds, 1, variants)
end

function M.run(job, own)
  local runs = {}
  for seed = job.first, job.last do
    for _, length in ipairs(DIPS) do
      local world, recovery = dip.dip {
        configuration = job.case, own = own, seed = seed, load = job.load, from = FROM, to = FROM + length,
        ends = FROM + length + AFTER,
      }
      runs[#runs + 1] = jobs.account(world, {
        case = job.case, load = job.load, length = length, recovery = recovery < math.huge and recovery or nil,
      })
    end
  end
  return runs
end

-- The worst and the median recovery by load and length.
local function cells_of(runs)
  local worst, median, vulnerable = {}, {}, 0
  for row, load in ipairs(LOADS) do
    worst[row], median[row] = {}, {}
    for column, length in ipairs(DIPS) do
      local times = {}
      for _, run in ipairs(runs) do
        if run.load == load and run.length == length then
          times[#times + 1] = run.recovery or math.huge
        end
      end
      worst[row][column], median[row][column] = math.max(unpack(times)), (statistics.quantile(times, 0.5))
      vulnerable = vulnerable + (worst[row][column] == math.huge and 1 or 0)
    end
  end
  return median, vulnerable / (#LOADS * #DIPS)
end

local function words(list, format)
  local texts = {}
  for i, value in ipairs(list) do
    texts[i] = format:format(value)
  end
  return texts
end

local function runs_of(results, name)
  return report.runs(results, function(job) return job.case == name end)
end

function M.plots(results, names)
  local panels = {}
  for i, name in ipairs(names or NAMES) do
    panels[i] = { name = name, cells = (cells_of(runs_of(results, name))) }
  end
  return { {
    name = "s3_map", svg = heat_map.draw {
      title = "S3: seconds until calls are answered in time again after the trigger",
      note = "down: load; across: seconds at half the speed; median of the seeds",
      rows = words(LOADS, "%.2f"), columns = words(DIPS, "%d"), most = AFTER, panels = panels,
    },
  } }
end

function M.figures(results, name)
  local runs, naive = runs_of(results, name), runs_of(results, configurations.CONTROL)
  local _, area = cells_of(runs)
  local _, bound = cells_of(naive)
  return { {
    figure = "vulnerable area", mark = "<= no retry's", measured = report.percent(area), pass = area <= bound,
    seeds = #runs / (#LOADS * #DIPS),
  } }
end

function M.judge(results)
  local areas, rows, seeds = {}, {}, 0
  for _, name in ipairs(NAMES) do
    local runs = runs_of(results, name)
    local _, area = cells_of(runs)
    seeds, areas[name] = #runs / (#LOADS * #DIPS), area
  end
  local marks = {
    defaults = { "<= no retry's", areas.defaults <= areas["no retry"] },
    ["3 retries"] = { "> defaults'", areas["3 retries"] > areas.defaults },
  }
  for _, name in ipairs(NAMES) do
    local mark = marks[name] or {}
    rows[#rows + 1] = {
      figure = ("vulnerable area: %s"):format(name), mark = mark[1], measured = report.percent(areas[name]),
      seeds = seeds, pass = mark[2],
    }
  end
  return rows
end

return M
