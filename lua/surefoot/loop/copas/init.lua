--- Waits in the coroutines that copas resumes; what is nested in another coroutine blocks.
--
-- The leader of the crew (surefoot.loop.crew) waits for the engine's fd as others do for a socket; the rest sleeps.
-- Before copas 4 sleepers are woken one a turn, or never: there all wait for the fd, and are ready when they are woken.

local Ear = require "surefoot.loop.copas.ear"
local crews = require "surefoot.loop.crew"
local threads = require "surefoot.loop.copas.threads"

local running = coroutine.running

---@param scheduler surefoot.Scheduler
---@param copas table
---@return surefoot.HostAdapter
return function(scheduler, copas)
  local is_direct, limit = threads.of(copas), require "socket"._SETSIZE or 1024
  local sleep, remove, cancel_all = copas.pauseforever, copas.removethread, copas.cancelall
  local tokens = setmetatable({}, { __mode = "kv" }) -- coroutine -> what it waits by
  local crew, adapter = nil, { owns = is_direct }

  -- It goes where copas sends what its coroutines throw.
  local function report(problem)
    copas.addthread(function() error(problem, 0) end)
  end

  local function lead(token)
    copas.receive(setmetatable({ token = token, crew = crew, engine = scheduler.engine, report = report }, Ear))
  end

  crew = crews.new(scheduler, function(token)
    if sleep then
      copas.wakeup(token.co)
    end
  end)

  -- copas drops what was removed when it is to go on: it gives up what it waits for, and is.
  if remove then
    function copas.removethread(co, ...)
      local token = tokens[co]
      remove(co, ...)
      if token and token.co then
        scheduler:abandon(token)
        token:wake()
      end
    end
  end

  if cancel_all then
    function copas.cancelall(...)
      crew:disband()
      return cancel_all(...)
    end
  end

  function adapter.refusal()
    local fd = is_direct() and scheduler.engine:fd()
    if fd and fd >= limit then
      return ("copas watches file descriptors below %d only, and surefoot's is %d: make a first call before so many "
        .. "files are open"):format(limit, fd)
    end
  end

  function adapter.wait(token)
    token.co = running()
    tokens[token.co] = token
    crew:wait(token, lead, sleep or lead)
    token.co = nil
  end

  function adapter.wake(token)
    crew:release(token)
  end

  function adapter.leave(token)
    token.woken = true
    crew:release(token)
  end

  -- It begins when who spawns it waits: before copas 4 threads begin at once.
  function adapter.spawn(f)
    local token = {}
    copas.addthread(function()
      lead(token)
      return f()
    end)
    token.woken = true
  end

  return adapter
end
