--- Waits in the coroutines of cqueues' controllers; what is nested in another coroutine blocks.
--
-- Each controller has a crew (surefoot.loop.crew), whose leader polls the engine's fd beside its own condition; the
-- others poll theirs. Whoever turns the engine wakes the waiters of all controllers.

local crews = require "surefoot.loop.crew"

local function rouse(token)
  token.news:signal()
end

local function follow(token)
  token.news:wait()
end

---@param scheduler surefoot.Scheduler
---@param cqueues table
---@return surefoot.HostAdapter
return function(scheduler, cqueues)
  local conditions = require "cqueues.condition"
  local poll, running = cqueues.poll, cqueues.running
  local crew_of = setmetatable({}, { __mode = "k" }) -- controller -> crew
  local spare, watch = {}, { events = "r" }
  local adapter = {}

  -- It comes out of the controller, as what any coroutine throws.
  local function report(problem)
    running():wrap(error, problem, 0)
  end

  local function lead(token)
    watch.pollfd = scheduler.engine:fd()
    poll(watch, token.news)
    if not token.woken then
      token.crew:turn(report)
    end
  end

  function adapter.owns()
    local _, is_direct = running()
    return is_direct
  end

  function adapter.wait(token)
    local controller = running()
    local crew, news = crew_of[controller] or crews.new(scheduler, rouse), table.remove(spare) or conditions.new()
    crew_of[controller], token.crew, token.news = crew, crew, news
    crew:wait(token, lead, follow)
    spare[#spare + 1] = news
  end

  function adapter.wake(token)
    if token.crew then
      token.crew:release(token)
    end
  end

  function adapter.leave(token)
    token.woken = true
    token.crew:release(token)
  end

  function adapter.spawn(f)
    running():wrap(f)
  end

  return adapter
end
