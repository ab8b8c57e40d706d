--- The dispatcher of a worker: a light thread in a timer of its own that turns the engine, and so wakes who waits. It
-- is there while somebody waits or a call is in flight, and half a second more at most; a worker that is about to leave
-- it keeps for those who wait alone.
--
-- It turns the engine when the doorbell rings (surefoot.loop.nginx.bell); where there is none, every millisecond. Twice
-- a second a timer of the engine lets it look for callers that nginx has killed while they waited. Of those whom it
-- killed elsewhere, with a stream open, nobody tells: the collector finds what they held, and is helped along.
--
-- When it fails, everybody is woken: who cannot go on waits again, and that begins a new one. While none can begin,
-- because nginx has no timer left, those who wait turn the engine themselves now and then.

local bells = require "surefoot.loop.nginx.bell"
local core = require "surefoot.binding"
local threads = require "surefoot.loop.nginx.threads"

local M = {}

local TICK = 0.5        -- seconds between two looks at who is there
local INTERVAL = 0.001  -- between two turns without a bell
local PATIENCE = 10     -- nginx waits for no semaphore without an end: a caller looks anew this often
local IMPATIENCE = 0.02 -- the same while there is no dispatcher
local OVERDUE = 1       -- after which a timer that was begun will not come any more, and a failure is past
local MOST_FAILURES = 3 -- in a row, before those who wait are told
local COLLECTED = 1024  -- KiB that the collector goes on by at a look: about a millisecond

---@class surefoot.nginx.Dispatcher
---@field alive boolean
---@field private scheduler surefoot.Scheduler
---@field private seats surefoot.nginx.Seats
---@field private ngx table
---@field private due number?       when the timer that will be it was begun
---@field private over boolean      nobody is left
---@field private tick integer?     the timer of the next look
---@field private bell surefoot.nginx.Bell?
---@field private failures integer  since it was last seen well
---@field private problem string?   the last of them
---@field private failed_at number?
local Dispatcher = {}
Dispatcher.__index = Dispatcher

local has_told = false -- in this worker, that there is no bell

---@param scheduler surefoot.Scheduler
---@param seats surefoot.nginx.Seats
---@param ngx table
---@return surefoot.nginx.Dispatcher
function M.new(scheduler, seats, ngx)
  return setmetatable({ scheduler = scheduler, seats = seats, ngx = ngx, alive = false, failures = 0 }, Dispatcher)
end

-- ----------------------------------------------------------------------------------------------------------- the tick

local function set_tick(self)
  local scheduler = self.scheduler
  self.tick = scheduler.engine:timer(TICK)
  scheduler.background[self.tick] = self
end

local function clear_tick(self)
  local scheduler, tick = self.scheduler, self.tick
  if tick then
    self.tick, scheduler.background[tick] = nil, nil
    pcall(scheduler.engine.cancel_timer, scheduler.engine, tick) -- a closed engine has none
  end
end

--- The tick has come.
function Dispatcher:wake()
  local scheduler, seats = self.scheduler, self.seats
  self.tick, self.failures = nil, 0
  local calls = seats:sweep(function(token) scheduler:lost(token) end)
  local strays = scheduler.engine:in_flight() > calls
  if strays then
    collectgarbage("step", COLLECTED)
  end
  if seats.taken > 0 or strays and not self.ngx.worker.exiting() then
    set_tick(self)
  else
    self.over = true
  end
end

-- ------------------------------------------------------------------------------------------------------ beginning, end

local function poll(self, turn)
  local sleep = self.ngx.sleep
  repeat
    sleep(INTERVAL)
  until turn()
end

-- Until nobody is left: nil, or how the line was lost.
local function serve(self)
  local scheduler = self.scheduler
  local function turn()
    scheduler:step()
    return self.over
  end
  set_tick(self)
  local bell, problem = bells.open(scheduler.engine, self.ngx)
  if bell then
    self.bell = bell
    return select(2, bell:answer(turn))
  elseif not has_told then
    has_told = true
    self.ngx.log(self.ngx.WARN, "surefoot: no doorbell, the engine is looked after every millisecond: ", problem)
  end
  poll(self, turn)
end

-- Calls end as cancelled where nginx has closed the line because the worker's time for leaving is over; others, and
-- who waits for anything else, wait anew.
local function fail(self, problem, cancels)
  local ngx = self.ngx
  self.failures, self.problem, self.failed_at = self.failures + 1, problem:match "^[^\n]*", core.now()
  ngx.log(cancels and ngx.WARN or ngx.ERR, "surefoot: the dispatcher ended: ", problem)
  self.seats:each(function(token)
    if cancels and token.holder then
      token.holder:cancel "cancelled"
    end
    token:wake()
  end)
end

-- The timer. A worker that is leaving calls it as well, and the calls that are under way are finished.
local function run(_, self)
  self.due = nil
  if self.alive then
    return
  end
  self.alive, self.over = true, false
  local ok, problem = xpcall(serve, debug.traceback, self)
  self.alive = false
  clear_tick(self)
  if self.bell then
    self.bell:close()
    self.bell = nil
  end
  if problem then
    fail(self, tostring(problem), ok and self.ngx.worker.exiting())
  else
    self.seats:trim()
  end
end

local function begin(self)
  local now = core.now()
  if self.due and now - self.due < OVERDUE then
    return
  end
  self.due = self.ngx.timer.at(0, run, self) and now
end

--- Waits in a seat until it is posted, or for a while.
---@async
---@param seat surefoot.nginx.Seat
---@return boolean? ok
---@return string? problem
function Dispatcher:wait(seat)
  if not self.alive then
    if self.failures >= MOST_FAILURES then
      if core.now() - self.failed_at < OVERDUE then
        return nil, self.problem
      end
      self.failures = 0
    end
    begin(self)
  end
  local posted, problem = threads.wait(self.ngx, seat.semaphore, self.alive and PATIENCE or IMPATIENCE)
  if posted then
    seat.posted = false
  elseif problem ~= "timeout" then
    return nil, problem
  elseif not self.alive then
    self.scheduler:step()
  end
  return true
end

return M
