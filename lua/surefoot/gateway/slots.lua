--- The last minutes, in slots of time: what was counted in each. Slots are named by when they began (unix seconds), so
--- those of several processes add up.

local M = {}

---@class surefoot.gateway.Slots
---@field width integer   seconds
---@field number integer  how many are kept, the one that goes on included
---@field list table<string, table>
---@field private began integer?  of the newest
---@field private newest table?
local Slots = {}
Slots.__index = Slots

--- Begins.
---@param width integer
---@param number integer
---@return surefoot.gateway.Slots
function M.new(width, number)
  return setmetatable({ width = width, number = number, list = {} }, Slots)
end

local function start_of(now, width)
  return math.floor(now / width) * width
end

local function name_of(start)
  return ("%.0f"):format(start)
end

--- Leaves out the slots that are too old.
---@param list table<string, table> changed
---@param width integer
---@param number integer
---@param now number
---@return table<string, table> list
function M.prune(list, width, number, now)
  local oldest = start_of(now, width) - (number - 1) * width
  for name in pairs(list) do
    if tonumber(name) < oldest then
      list[name] = nil
    end
  end
  return list
end

--- The slot of this moment.
---@param now number unix seconds
---@return table slot
function Slots:at(now)
  local start = start_of(now, self.width)
  if start ~= self.began then
    local name = name_of(start)
    M.prune(self.list, self.width, self.number, now)
    self.list[name] = self.list[name] or {}
    self.began, self.newest = start, self.list[name]
  end
  return self.newest
end

--- All slots in order, the oldest first; those in which nothing was counted are false.
---@param list table<string, table>
---@param width integer
---@param number integer
---@param now number
---@return (table | false)[] slots
---@return integer start of the first one
function M.series(list, width, number, now)
  local series, first = {}, start_of(now, width) - (number - 1) * width
  for i = 1, number do
    series[i] = list[name_of(first + (i - 1) * width)] or false
  end
  return series, first
end

return M
