--- nginx: callers wait in semaphores, and a dispatcher turns the engine (surefoot.loop.nginx.dispatcher).
--
-- A socket of nginx's Lua belongs to the request that made it, a semaphore to nobody: so the requests wait in the one,
-- and the dispatcher alone, in a timer of its own, holds the other.

local dispatchers = require "surefoot.loop.nginx.dispatcher"
local phases = require "surefoot.loop.nginx.phases"
local all_seats = require "surefoot.loop.nginx.seats"

local waits, has_timers, refusal_in = phases.waits, phases.has_timers, phases.refusal

local yield = coroutine.yield

-- Light threads of nginx begin at once, tasks when the one who begins them waits or ends.
local function later(f)
  yield()
  return f()
end

local function detached(_, f)
  return f()
end

---@param scheduler surefoot.Scheduler
---@param ngx table
---@return surefoot.HostAdapter
return function(scheduler, ngx)
  local seats = all_seats.new()
  local dispatcher = dispatchers.new(scheduler, seats, ngx)
  local get_phase, post = ngx.get_phase, seats.post
  local adapter = {}

  function adapter.owns()
    return waits(get_phase())
  end

  function adapter.refusal()
    return refusal_in(get_phase())
  end

  function adapter.spawns()
    return has_timers(get_phase())
  end

  function adapter.wait(token)
    local seat = token.seat or seats:take(token)
    local ok, problem = dispatcher:wait(seat)
    if token.woken or not ok then
      seats:leave(seat)
    end
    if not ok then
      scheduler:abandon(token)
      error("surefoot: cannot wait: " .. problem, 0)
    end
  end

  function adapter.wake(token)
    local seat = token.seat
    if seat then
      post(seat)
    end
  end

  -- A light thread of the request, which ends no earlier; where there is none, a timer.
  function adapter.spawn(f)
    if waits(get_phase()) then
      ngx.thread.spawn(later, f)
      return
    end
    local ok, problem = ngx.timer.at(0, detached, f)
    if not ok then
      error("surefoot.spawn: nginx gives no timer: " .. tostring(problem), 0)
    end
  end

  return adapter
end
