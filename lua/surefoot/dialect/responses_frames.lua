--- The events of a Responses stream, numbered and written.

local json = require "surefoot.json"

local M = {}

---@class surefoot.dialect.ResponsesFrames
---@field private codec surefoot.Codec
---@field private number integer  of the next event
---@field private out string[]    events to be taken
local Frames = {}
Frames.__index = Frames

--- No events yet.
---@param codec surefoot.Codec
---@return surefoot.dialect.ResponsesFrames
function M.new(codec)
  return setmetatable({ codec = codec, number = 0, out = {} }, Frames)
end

-- A caller that reads bytes that are no UTF-8 sees U+FFFD in their place: so here.
local function repaired(value)
  if type(value) == "string" then
    return json.well_formed(value)
  elseif type(value) ~= "table" then
    return value
  end
  local copy = setmetatable({}, getmetatable(value))
  for key, item in pairs(value) do
    copy[repaired(key)] = repaired(item)
  end
  return copy
end

--- A value as JSON.
---@param value any
---@return string
function Frames:written(value)
  return self.codec.quick(value) or assert(self.codec.encode(repaired(value)))
end

--- Adds an event whose members are written already, a comma before the first.
---@param kind string
---@param members string
function Frames:frame(kind, members)
  self.out[#self.out + 1] = "event: " .. kind .. '\ndata: {"type":"' .. kind .. '","sequence_number":' .. self.number
    .. members .. "}\n\n"
  self.number = self.number + 1
end

--- Adds an event.
---@param kind string
---@param fields table  its members; at least one
function Frames:emit(kind, fields)
  self:frame(kind, "," .. self:written(fields):sub(2, -2))
end

--- The events since it was last asked for them.
---@return string
function Frames:taken()
  local out = self.out
  if #out == 0 then
    return ""
  end
  self.out = {}
  return #out == 1 and out[1] or table.concat(out)
end

return M
