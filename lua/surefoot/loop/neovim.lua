--- Waits by Neovim's loop (0.7 and later), which is libuv's: vim.uv, vim.loop and package.loaded.luv are one. Made of
--- surefoot.loop.luv's adapter.
--
-- libuv's callbacks are fast events, where most of Neovim's API is closed: they turn the engine, and nothing else. Lua
-- goes on by vim.schedule, where all of it is open, and where Neovim shows what is thrown.
-- On the main thread a call waits by vim.wait: Neovim turns its loop, Ctrl-C throws, but what is scheduled has to wait.
-- Who waits there for a task lets that run as well, for the task is.
-- In a fast event that cannot be, and is refused; but a coroutine that is begun there waits like any other.

local running = coroutine.running

-- Seconds in one vim.wait: at its end Neovim 0.7 sees Ctrl-C, and we what somebody else has been told.
local LONGEST = 0.2

local function on_main_thread()
  local co, is_main = running()
  return co == nil or is_main == true
end

local function refusal()
  if vim.in_fast_event() and on_main_thread() then
    return "a callback of libuv must not wait in Neovim: begin a coroutine there, or use vim.schedule"
  end
end

-- Waits until check(), at most so long; what ended it otherwise.
local function wait(seconds, check, is_fast)
  local ms = math.ceil(math.min(seconds or LONGEST, LONGEST) * 1000)
  local ok, problem, why = pcall(vim.wait, ms, check, ms, is_fast)
  if not ok or why == -2 then
    return ok and "Keyboard interrupt" or problem
  end
end

---@param pump surefoot.LuvPump
---@param adapter surefoot.HostAdapter
---@return surefoot.HostAdapter
return function(pump, adapter)
  local scheduler, has_news = pump.scheduler, false
  local function turn()
    pump:rest()
    scheduler:step()
  end
  pump.later = vim.schedule
  function pump.on_news()
    if scheduler.engine:step() > 0 then
      has_news = true
      if not pump.blocking then
        pump:pause() -- until Neovim has time
        vim.schedule(turn)
      end
    end
  end
  local owns = adapter.owns
  function adapter.owns(on_main)
    return owns(on_main) or not on_main and vim.in_fast_event()
  end
  function adapter.block(seconds)
    if seconds == 0 or vim.in_fast_event() then
      return false
    end
    pump:watch()
    pump.blocking, has_news = true, false
    local problem = wait(seconds, function() return has_news end, true)
    pump.blocking = false
    pump:rest()
    if problem then
      error(problem, 0)
    end
    return true
  end
  function adapter.turn(finished, seconds)
    local engine = scheduler.engine
    local deadline = seconds and engine:now() + seconds
    while not finished() do
      local left = deadline and deadline - engine:now()
      if left and left <= 0 then
        return false
      end
      local problem = wait(left, finished, false)
      if problem then
        error(problem, 0)
      end
    end
    return true
  end
  adapter.refusal = refusal
  return adapter
end
