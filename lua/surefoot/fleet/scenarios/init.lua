--- The scenarios: what a fleet of clients has to live through. Each is a module:
--
--   return {
--     id = "S1", name = "two words", about = "what happens",
--     jobs = function(seeds) end,             -- what is to be played, for the marks of surefoot itself
--     compared_jobs = function(seeds) end,    -- and to compare the user's configuration
--     run = function(job, own) end,           -- plays a job: its runs, as plain data
--     judge = function(results) end,          -- -> rows of the table
--     figures = function(results, name) end,  -- -> the same of one configuration that is compared
--     plots = function(results, names) end,   -- -> pictures, of these configurations
--   }

local NAMES = {
  "capacity_dip", "hysteresis", "map", "failure_sweep", "shared_quota", "straggler", "black_hole", "recovery_herd",
}

local M = { list = {}, by_id = {} }

for i, name in ipairs(NAMES) do
  local scenario = require("surefoot.fleet.scenarios." .. name)
  M.list[i], M.by_id[scenario.id] = scenario, scenario
end

return M
