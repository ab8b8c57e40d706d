-- Seeds as jobs: chunks that take a worker some seconds each.

local M = {}

--- Adds the jobs for so many seeds.
---@param jobs table[]
---@param fields table  of each of them
---@param seeds integer
---@param share number  of the seeds that are wanted; two at least, where there are two
---@param chunk integer seeds of one job
function M.add(jobs, fields, seeds, share, chunk)
  seeds = math.min(seeds, math.max(2, math.floor(seeds * share + 0.5)))
  for first = 1, seeds, chunk do
    local job = { first = first, last = math.min(seeds, first + chunk - 1) }
    for key, value in pairs(fields) do
      job[key] = value
    end
    jobs[#jobs + 1] = job
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
