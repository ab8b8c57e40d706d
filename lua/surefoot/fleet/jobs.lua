-- Seeds as jobs: chunks that take a worker some seconds each.

local configurations = require "surefoot.fleet.configurations"
local copy = require "surefoot.copy"

local M = {}

---@class surefoot.fleet.Seeds
---@field exactly integer?  of each configuration
---@field share number?     of those that a scenario wants, two at least; 1 unless given

local function count_of(wanted, seeds)
  return seeds.exactly or math.min(wanted, math.max(2, math.floor(wanted * (seeds.share or 1) + 0.5)))
end

--- Adds the jobs for so many seeds.
---@param jobs table[]
---@param fields table  of each of them
---@param wanted integer how many seeds the scenario wants
---@param seeds surefoot.fleet.Seeds how many it gets
---@param chunk integer seeds of one job
function M.add(jobs, fields, wanted, seeds, chunk)
  local count = count_of(wanted, seeds)
  for first = 1, count, chunk do
    jobs[#jobs + 1] = copy({ first = first, last = math.min(count, first + chunk - 1) }, fields)
  end
end

--- The jobs that compare the user's configuration.
---@param wanted integer seeds
---@param seeds surefoot.fleet.Seeds
---@param chunk integer
---@param variants table[]? fields of jobs: each of them with each configuration
---@return table[] jobs
function M.compared(wanted, seeds, chunk, variants)
  local list = {}
  for _, name in ipairs(configurations.compared) do
    for _, fields in ipairs(variants or { {} }) do
      M.add(list, copy({ case = name }, fields), wanted, seeds, chunk)
    end
  end
  return list
end

--- Cases by their names.
---@param cases { name: string }[]
---@return table<string, table>
function M.by_name(cases)
  local named = {}
  for _, case in ipairs(cases) do
    named[case.name] = case
  end
  return named
end

--- A scenario's `run`, where each seed of a job is one run.
---@param play fun(job: table, own: table?, seed: integer): table
---@return fun(job: table, own: table?): table[]
function M.by_seed(play)
  return function(job, own)
    local runs = {}
    for seed = job.first, job.last do
      runs[#runs + 1] = play(job, own, seed)
    end
    return runs
  end
end

--- What a run did, for the account at the end.
---@param world table
---@param run table what the scenario keeps of it
---@return table run
function M.account(world, run)
  run.requests, run.attempts, run.events, run.cpu = world.requests, world.attempts, world.sim.events, world.cpu
  return run
end

return M
