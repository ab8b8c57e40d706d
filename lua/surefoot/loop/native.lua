--- The native loop: one scheduler over the engine of this Lua state.

local core = require "surefoot.binding"
local tasks = require "surefoot.tasks"

local M = {}

local scheduler

local function wait_for(engine, seconds)
  engine:wait(seconds)
end

--- The scheduler of the real engine, which is made on first use; a fork renews the engine in place.
---@return surefoot.Scheduler
function M.scheduler()
  local engine = core.engine()
  if not scheduler or scheduler.engine ~= engine then -- the first one, or the one before was closed
    scheduler = tasks.scheduler(engine, wait_for)
  end
  return scheduler
end

return M
