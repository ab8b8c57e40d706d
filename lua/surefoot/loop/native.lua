--- The native loop: one scheduler over the engine of this Lua state.

local core = require "surefoot.binding"
local hosts = require "surefoot.loop.hosts"
local schedulers = require "surefoot.scheduler"

local M = {}

local scheduler

local function wait_for(engine, seconds)
  if scheduler.hosts:block(seconds) then
    return
  end
  local refusal = scheduler:refusal()
  if refusal then
    error("surefoot: " .. refusal, 0)
  end
  engine:wait(seconds)
end

--- The scheduler of the real engine, which is made on first use; a fork renews the engine in place.
---@return surefoot.Scheduler
function M.scheduler()
  local engine = core.engine()
  if not scheduler or scheduler.engine ~= engine then -- the first one, or the one before was closed
    scheduler = schedulers.new(engine, wait_for)
    scheduler.hosts = hosts.new(scheduler)
  end
  return scheduler
end

return M
