--- The dispatcher of a worker: a light thread in a timer of its own that turns the engine, and so wakes who waits. It
-- is there while somebody waits, and half a second more at most.
--
-- nginx's Lua can watch only sockets that it has connected itself: the engine's fd rings a doorbell, which sends a byte
-- to the dispatcher's socket. Where no bell is to be had it looks every millisecond instead.
--
-- Twice a second a timer of the engine lets it look for callers that nginx has killed, and whether anybody is left.
-- When it fails, everybody is woken: who cannot go on waits again, and that begins a new one. While none can begin,
-- because nginx has no timer left, those who wait turn the engine themselves now and then.

local core = require "surefoot.binding"

local M = {}

local TICK = 0.5        -- seconds between two looks at who is there
local INTERVAL = 0.001  -- between two turns without a bell
local PATIENCE = 10     -- nginx waits for no semaphore without an end: a caller looks anew this often
local IMPATIENCE = 0.02 -- the same while there is no dispatcher
local OVERDUE = 1       -- after which a timer that was begun will not come any more, and a failure is past
local MOST_FAILURES = 3 -- in a row, before those who wait are told

local BYTES = 16      -- to read at once; there is never more than one
local TIMEOUT = 10000 -- milliseconds, of the socket; the tick comes long before

---@class surefoot.nginx.Dispatcher
---@field alive boolean
---@field private scheduler surefoot.Scheduler
---@field private seats surefoot.nginx.Seats
---@field private ngx table
---@field private due number?       when the timer that will be it was begun
---@field private over boolean      nobody is left
---@field private tick integer?     the timer of the next look
---@field private bell table?
---@field private line table?       the socket that the bell rings on
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

-- ----------------------------------------------------------------------------------------------------------- the bell

local function close_bell(self)
  local bell, line = self.bell, self.line
  self.bell, self.line = nil, nil
  if line then
    line:close()
  end
  if bell then
    bell:close()
  end
end

-- True, or nil and why there is no bell.
local function open_bell(self)
  local bell, problem = core.doorbell(self.scheduler.engine)
  if not bell then
    return nil, problem
  end
  local line = self.ngx.socket.tcp()
  self.bell, self.line = bell, line
  line:settimeouts(TIMEOUT, TIMEOUT, TIMEOUT)
  local ok
  ok, problem = line:connect("unix:" .. bell:path())
  if ok then
    ok, problem = bell:attach()
  end
  if not ok then
    close_bell(self)
  end
  return ok, problem
end

-- Until nobody is left: nil, or how the line was lost.
local function answer_bell(self)
  local scheduler, bell, line = self.scheduler, self.bell, self.line
  while true do
    local rung, problem = line:receiveany(BYTES)
    if not rung and problem ~= "timeout" then
      return problem
    end
    scheduler:step()
    if self.over then
      return nil
    end
    assert(bell:arm())
  end
end

local function poll(self)
  local scheduler, sleep = self.scheduler, self.ngx.sleep
  repeat
    sleep(INTERVAL)
    scheduler:step()
  until self.over
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
  self.tick, self.failures = nil, 0
  self.seats:sweep(function(token) self.scheduler:abandon(token) end)
  if self.seats.taken == 0 then
    self.over = true
  else
    set_tick(self)
  end
end

-- ------------------------------------------------------------------------------------------------------ beginning, end

local function serve(self)
  set_tick(self)
  local ok, problem = open_bell(self)
  if ok then
    return answer_bell(self)
  end
  if not has_told then
    has_told = true
    self.ngx.log(self.ngx.WARN, "surefoot: no doorbell, the engine is looked after every millisecond: ", problem)
  end
  poll(self)
end

-- Calls end as cancelled where nginx has closed the line because the worker's time for leaving is over; others, and
-- who waits for anything else, wait anew.
local function fail(self, problem, cancels)
  local ngx = self.ngx
  self.failures, self.problem, self.failed_at = self.failures + 1, problem, core.now()
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
  close_bell(self)
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
  local posted, problem = seat.semaphore:wait(self.alive and PATIENCE or IMPATIENCE)
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
