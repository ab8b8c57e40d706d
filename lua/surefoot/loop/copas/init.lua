--- Waits in the coroutines that copas resumes; what is nested in another coroutine blocks.
--
-- The leader of the crew (surefoot.loop.crew) waits for the engine's fd as others do for a socket; the rest sleeps.
-- Before copas 4 sleepers are woken one a turn, or never: there all wait for the fd, and are ready when they are woken.

local Ear = require "surefoot.loop.copas.ear"
local all_crews = require "surefoot.loop.crew"
local tasks = require "surefoot.tasks"
local threads = require "surefoot.loop.copas.threads"

local running = coroutine.running

local tokens = setmetatable({}, { __mode = "kv" })   -- coroutine -> what it waits by
local known = setmetatable({}, { __mode = "k" })     -- copas -> its crews, one of each scheduler

-- copas drops what was removed when it is to go on: it gives up what it waits for, and is.
local function hear_of_removals(copas)
  local remove = copas.removethread
  function copas.removethread(co, ...)
    local token, task = tokens[co], tasks.of(co)
    remove(co, ...)
    if token and token.co then
      token.scheduler:lost(token)
      token:wake()
    elseif task and coroutine.status(co) == "suspended" then
      tasks.bury(task)
    end
  end
end

local function hear_of_the_end(copas, crews)
  local cancel_all = copas.cancelall
  function copas.cancelall(...)
    for crew in pairs(crews) do
      crew:disband()
    end
    return cancel_all(...)
  end
end

-- The crews of a copas, whose functions are replaced once.
local function crews_of(copas)
  local crews = known[copas]
  if not crews then
    crews = setmetatable({}, { __mode = "k" })
    known[copas] = crews
    if copas.removethread then
      hear_of_removals(copas)
    end
    if copas.cancelall then
      hear_of_the_end(copas, crews)
    end
  end
  return crews
end

---@param scheduler surefoot.Scheduler
---@param copas table
---@return surefoot.HostAdapter
return function(scheduler, copas)
  local is_direct, limit = threads.of(copas), require "socket"._SETSIZE or 1024
  local sleep = copas.pauseforever
  local crew, adapter = nil, { owns = is_direct }

  -- It goes where copas sends what its coroutines throw.
  local function report(problem)
    copas.addthread(function() error(problem, 0) end)
  end

  local function lead(token)
    copas.receive(setmetatable({ token = token, crew = crew, engine = scheduler.engine, report = report }, Ear))
  end

  crew = all_crews.new(scheduler, function(token)
    if sleep then
      copas.wakeup(token.co)
    end
  end)

  crews_of(copas)[crew] = true

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
