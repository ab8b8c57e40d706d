--- A switch that ends calls: one canceller may be given to any number of calls, also before they begin.

local check = require "surefoot.config.check"

local M = {}

local WEAK = { __mode = "k" }

---@class surefoot.Canceller
---@field private calls table<table, true> unsettled calls that it was given to
---@field private used boolean
local methods = {}
local mt = { __index = methods, __name = "surefoot.canceller" }

--- Ends every call that it was or will be given to; they fail with kind "cancelled". Further calls do nothing.
function methods:cancel()
  if self.used then
    return
  end
  self.used = true
  local calls = self.calls
  self.calls = setmetatable({}, WEAK)
  for call in pairs(calls) do
    call:cancel("cancelled", true)
  end
  for call in pairs(calls) do -- all are ended: now others may move up
    call:cancel "cancelled"
  end
end

--- Those of its calls that have not ended.
---@private
---@return table<table, true>
function methods:all()
  return self.calls
end

--- Ends those that somebody picks; the others, and further ones, go on.
---@private
---@param picks fun(call: table): boolean
function methods:end_some(picks)
  local picked = {}
  for call in pairs(self.calls) do
    picked[call] = picks(call) or nil
  end
  for call in pairs(picked) do
    call:cancel("cancelled", true)
  end
  for call in pairs(picked) do
    call:cancel "cancelled"
  end
end

--- Whether it has been used.
---@return boolean
function methods:cancelled()
  return self.used
end

---@private
function methods:add(call)
  self.calls[call] = true
end

---@private
function methods:remove(call)
  self.calls[call] = nil
end

--- Makes a canceller.
---@param ... nil there is none
---@return surefoot.Canceller
function M.new(...)
  local ok, problem = pcall(check.nothing, ...)
  if not ok then
    error("surefoot.canceller: " .. problem, 2)
  end
  return setmetatable({ calls = setmetatable({}, WEAK), used = false }, mt)
end

---@param value any
---@return boolean
function M.is(value)
  return getmetatable(value) == mt
end

return M
