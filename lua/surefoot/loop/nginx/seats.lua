--- Where callers wait: each in a seat of its own, which is a semaphore of nginx that many callers use in turn.
--
-- A semaphore keeps what was posted until somebody takes it: a seat is given on only when nothing is left in it.

local semaphores = require "ngx.semaphore"

local M = {}

local SPARE = 64 -- seats that are kept when nobody waits

---@class surefoot.nginx.Seat
---@field semaphore table
---@field index integer    its place in the list of all
---@field token table?     who waits in it
---@field posted boolean   woken, and has not run since

---@class surefoot.nginx.Seats
---@field taken integer
---@field private all surefoot.nginx.Seat[]
---@field private free surefoot.nginx.Seat[]
local Seats = {}
Seats.__index = Seats

---@return surefoot.nginx.Seats
function M.new()
  return setmetatable({ taken = 0, all = {}, free = {} }, Seats)
end

local function make(seats)
  local semaphore, problem = semaphores.new(0)
  if not semaphore then
    error("surefoot: nginx gives no semaphore: " .. tostring(problem), 0)
  end
  local seat = { semaphore = semaphore, index = #seats.all + 1, posted = false }
  seats.all[seat.index] = seat
  return seat
end

--- A seat for a token, which keeps it until it leaves.
---@param token table
---@return surefoot.nginx.Seat
function Seats:take(token)
  local free = self.free
  local count = #free
  local seat = free[count]
  if seat then
    free[count] = nil
  else
    seat = make(self)
  end
  seat.token, token.seat = token, seat
  self.taken = self.taken + 1
  return seat
end

local function drop(seats, seat)
  local all = seats.all
  local last = all[#all]
  all[#all] = nil
  if last ~= seat then
    all[seat.index], last.index = last, seat.index
  end
end

--- Gives the seat of a token back.
---@param seat surefoot.nginx.Seat
function Seats:leave(seat)
  local semaphore = seat.semaphore
  seat.token.seat, seat.token = nil, nil
  self.taken = self.taken - 1
  if seat.posted then -- while it was leaving
    seat.posted = false
    semaphore:wait(0)
    if semaphore:count() ~= 0 then
      return drop(self, seat)
    end
  end
  self.free[#self.free + 1] = seat
end

--- Wakes who waits in the seat.
---@param seat surefoot.nginx.Seat
function Seats.post(seat)
  if not seat.posted then
    seat.posted = true
    seat.semaphore:post(1)
  end
end

--- Calls f with the token of every seat that is taken.
---@param f fun(token: table)
function Seats:each(f)
  local all = self.all
  for i = #all, 1, -1 do
    local token = all[i].token
    if token then
      f(token)
    end
  end
end

--- Takes the seats of those whom nginx has killed while they waited, and calls f with their tokens. A dead one has left
--- the semaphore's queue, so nobody is behind the count of what was posted.
---@param f fun(token: table)
---@return integer calls that somebody waits for
function Seats:sweep(f)
  local calls = 0
  self:each(function(token)
    local seat = token.seat
    if seat.semaphore:count() > (seat.posted and 0 or -1) then
      self:leave(seat)
      f(token)
    elseif token.holder then
      calls = calls + 1
    end
  end)
  return calls
end

--- Lets go what a rush has left.
function Seats:trim()
  if self.taken == 0 and #self.all > SPARE then
    self.all, self.free = {}, {}
  end
end

return M
