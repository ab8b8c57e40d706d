--- Who waits in one loop: one of them leads, and turns the engine for all when its fd has news; the others wait to be
-- roused. Who leaves as the leader names another. So does a coroutine that is closed (Lua 5.4) or collected while it
-- waits; it gives up its call.
--
-- A crew holds no coroutine and no loop, or those that nobody turns any more would never be collected.

local guard = require "surefoot.guard"

local M = {}

-- PUC 5.1 cannot wait under pcall. There whose wait has thrown is found when its coroutine waits again, or by the
-- collector, which has to know that the coroutine is still there.
local is_protected = guard.call == pcall
local protected = is_protected and pcall or function(f, ...)
  f(...)
  return true
end

local newproxy = rawget(_G, "newproxy") -- where tables have no finalizers: 5.1, LuaJIT

---@class surefoot.Crew
---@field private scheduler surefoot.Scheduler
---@field private rouse fun(token: table)
---@field private waiting table<table, true> tokens
---@field private leader table?  token
---@field private spare table[]  seats
local Crew = {}
Crew.__index = Crew

-- What a coroutine holds while it waits, and nothing else does.
local Seat = {}

-- The coroutine does not wait any more: it is gone, or what it waited by has thrown.
local function give_up(seat, has_thrown)
  local token = seat.token
  if token then
    local scheduler = seat.crew.scheduler
    seat.token, token.woken = nil, true
    seat.crew:release(token) -- a loop may forget a coroutine only when it tries to resume it
    if has_thrown then
      scheduler:abandon(token)
    else
      scheduler:lost(token)
    end
  end
end

function Seat.__close(seat, problem)
  give_up(seat, problem ~= nil)
end

-- A finalizer must move nothing in the engine: the call that is let go of here ends when it is collected, too.
function Seat.__gc(seat)
  if seat.token then
    seat.token.holder = nil
    give_up(seat, seat.place ~= nil and seat.place[1] ~= nil)
  end
end

local function new_seat(crew)
  local seat = setmetatable({ crew = crew }, Seat)
  seat.place = not is_protected and setmetatable({}, { __mode = "v" }) or nil
  if newproxy then
    seat.guard = newproxy(true)
    getmetatable(seat.guard).__gc = function() Seat.__gc(seat) end
  end
  return seat
end

---@param scheduler surefoot.Scheduler
---@param rouse fun(token: table) makes the coroutine that waits by the token look around
---@return surefoot.Crew
function M.new(scheduler, rouse)
  return setmetatable({ scheduler = scheduler, rouse = rouse, waiting = {}, spare = {} }, Crew)
end

local function waits(seat)
  if not seat.token.woken then
    return true
  end
  seat.token = nil
end

local function turn_in(self, seat, lead, follow)
  local token = seat.token
  for _ in waits, seat, nil, seat do -- 5.4 closes the seat with the coroutine
    self.leader = self.leader or token
    if self.leader == token then
      lead(token)
    else
      follow(token)
    end
  end
end

--- Waits until the token is woken.
---@async
---@param token table
---@param lead fun(token: table)   waits for news of the engine, or to be roused, and turns the engine
---@param follow fun(token: table) waits to be roused
function Crew:wait(token, lead, follow)
  local seat = table.remove(self.spare) or new_seat(self)
  seat.token, self.waiting[token] = token, true
  if seat.place then
    seat.place[1] = coroutine.running()
  end
  local ok, problem = protected(turn_in, self, seat, lead, follow)
  if not ok then
    give_up(seat, true)
    error(problem, 0)
  end
  self.spare[#self.spare + 1] = seat
end

--- Rouses one that waits, for it need not wait any more.
---@param token table
function Crew:release(token)
  if self.waiting[token] then
    self:leave(token)
    self.rouse(token)
  end
end

---@param token table
function Crew:leave(token)
  self.waiting[token] = nil
  if self.leader == token then
    local heir = next(self.waiting)
    self.leader = heir
    if heir then
      self.rouse(heir)
    end
  end
end

--- The loop drops its coroutines: they give up what they wait for. One that it resumes nevertheless goes on.
function Crew:disband()
  local waiting = self.waiting
  self.waiting, self.leader = {}, nil
  for token in pairs(waiting) do
    token.woken = true
    self.scheduler:lost(token)
  end
end

--- Turns the engine.
---@param report fun(err: any) is told what came out of it, which is no waiter's
function Crew:turn(report)
  local ok, problem = pcall(self.scheduler.step, self.scheduler)
  if not ok then
    report(problem)
  end
end

return M
