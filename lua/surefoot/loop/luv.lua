--- Waits by libuv's loop, which uv.run turns; Neovim's is surefoot.loop.neovim's.
--
-- luv knows no coroutines: any one counts as its own, and is held while it waits, for nothing else may hold it. It goes
-- on in a callback of its own, and what it throws comes out of that as luv shows it. The main thread blocks; where it
-- waits for a task, the loop turns meanwhile.

local create, resume, running = coroutine.create, coroutine.resume, coroutine.running
local status, yield = coroutine.status, coroutine.yield

local LONGEST = 2 ^ 31 -- seconds; nobody waits for longer ones

---@class surefoot.LuvPump
---@field scheduler surefoot.Scheduler
---@field uv table
---@field waiting integer   coroutines that do
---@field blocking boolean? the main thread does
---@field on_news fun()     what libuv calls while the engine's fd is readable
---@field later fun(f: fun())
---@field private poll table?
local Pump = {}
Pump.__index = Pump

--- Watches the engine. A fork gives it another fd, and who ends a loop may close all handles, so no poll is kept.
function Pump:watch()
  local poll = self.poll
  if not poll or poll:is_closing() then
    poll = assert(self.uv.new_poll(self.scheduler.engine:fd()))
    self.poll = poll
  end
  if not poll:is_active() then
    assert(poll:start("r", self.on_news))
  end
end

function Pump:pause()
  self.poll:stop()
end

--- Watches the engine as long as somebody waits.
function Pump:rest()
  if self.waiting > 0 or self.blocking then
    self:watch()
  elseif self.poll and not self.poll:is_closing() then
    self.poll:close()
  end
end

-- Resumes token.co in a callback to come, unless it has gone on by then.
function Pump:resume_later(token)
  self.later(function()
    local co, ok, problem = token.co, true, nil
    if co and status(co) == "dead" then -- it was closed
      token.co, self.waiting = nil, self.waiting - 1
      self.scheduler:lost(token)
    elseif co then
      ok, problem = resume(co)
    end
    self:rest()
    if not ok then
      error(debug.traceback(co, tostring(problem)), 0)
    end
  end)
end

-- Turns the loop until finished(), or the deadline has come; false, too, when nothing is left that could come.
local function turn_until(pump, finished, deadline)
  local scheduler = pump.scheduler
  while not finished() do
    pump.blocking = next(scheduler.parked) ~= nil or scheduler.bell ~= nil
    pump:rest()
    local is_alive = pump.uv.run "once"
    if deadline and scheduler.engine:now() >= deadline then
      return finished()
    elseif not is_alive and not finished() then
      error("every task waits for another task: none of them can go on", 0)
    end
  end
  return true
end

--- Turns the loop on the main thread until finished().
---@param finished fun(): boolean
---@param seconds number? at most so long
---@return boolean? finished nil: it cannot turn here
---@return string? why
function Pump:turn(finished, seconds)
  local uv, timer, deadline = self.uv, nil, nil
  if uv.loop_mode and uv.loop_mode() then -- it cannot be turned within
    return nil, "a callback of libuv must not wait for a task: begin a coroutine there"
  elseif seconds and seconds < LONGEST then
    deadline, timer = self.scheduler.engine:now() + seconds, assert(uv.new_timer())
    timer:start(math.ceil(seconds * 1000), 1, function() end) -- libuv's clock may be before ours
  end
  local was = self.blocking
  local ok, result = pcall(turn_until, self, finished, deadline)
  self.blocking = was
  if timer and not timer:is_closing() then
    timer:close()
  end
  self:rest()
  uv.run "nowait" -- what is closed goes: luv crashes at the end of a program that leaves it
  if not ok then
    error(result, 0)
  end
  return result
end

---@param scheduler surefoot.Scheduler
---@param uv table
---@return surefoot.HostAdapter
return function(scheduler, uv)
  local pump = setmetatable({ scheduler = scheduler, uv = uv, waiting = 0 }, Pump)
  local adapter = {}
  function pump.on_news()
    scheduler:step()
  end
  function pump.later(f)
    local timer = assert(uv.new_timer())
    timer:start(0, 0, function()
      timer:close()
      f()
    end)
  end
  function adapter.owns(on_main) -- within surefoot.run a coroutine would wait for a loop that stands still
    return not on_main and not scheduler.running
  end
  function adapter.spawns(on_main)
    return on_main
  end
  function adapter.wait(token)
    pump:watch()
    pump.waiting, token.co = pump.waiting + 1, running()
    yield()
    pump.waiting, token.co = pump.waiting - 1, nil
  end
  function adapter.wake(token)
    pump:resume_later(token)
  end
  function adapter.leave(token)
    pump.waiting, token.co = pump.waiting - 1, nil
  end
  function adapter.turn(finished, seconds)
    return pump:turn(finished, seconds)
  end
  function adapter.spawn(f)
    pump:resume_later { co = create(f) }
  end
  local is_neovims = type(vim) == "table" and (vim.uv or vim.loop) == uv and vim.schedule -- which its threads have not
  return is_neovims and require "surefoot.loop.neovim"(pump, adapter) or adapter
end
