--- The native loop: one scheduler over the engine of this Lua state.

local core = require "surefoot.binding"
local tasks = require "surefoot.tasks"

local M = {}

local scheduler

local function wait_for(engine, seconds)
  engine:wait(seconds)
end

--- The scheduler of the real engine. After a fork the child gets an engine, and a scheduler, of its own.
---@return surefoot.Scheduler
function M.scheduler()
  local engine = core.engine()
  if not scheduler or scheduler.engine ~= engine then
    local adapter = scheduler and scheduler.adapter
    scheduler = tasks.scheduler(engine, wait_for)
    scheduler.adapter = adapter
  end
  return scheduler
end

return M
