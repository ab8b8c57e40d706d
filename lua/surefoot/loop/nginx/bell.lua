--- The engine's doorbell and the socket of nginx that it rings on: a byte comes when the engine has work.

local core = require "surefoot.binding"

local M = {}

local BYTES = 16      -- to read at once; there is never more than one
local TIMEOUT = 10000 -- milliseconds, of the socket; the dispatcher's tick comes long before

---@class surefoot.nginx.Bell
---@field private bell table
---@field private line table
local Bell = {}
Bell.__index = Bell

--- Opens both, in the light thread that will listen.
---@async
---@param engine table
---@param ngx table
---@return surefoot.nginx.Bell? bell
---@return string? problem
function M.open(engine, ngx)
  local bell, problem = core.doorbell(engine)
  if not bell then
    return nil, problem
  end
  local line = ngx.socket.tcp()
  line:settimeouts(TIMEOUT, TIMEOUT, TIMEOUT)
  local self = setmetatable({ bell = bell, line = line }, Bell)
  local ok
  ok, problem = line:connect("unix:" .. bell:path())
  if ok then
    ok, problem = bell:attach()
  end
  if ok then
    return self
  end
  self:close()
  return nil, problem
end

--- Calls turn() each time that it rings, until that says true; or nil and how the line was lost.
---@async
---@param turn fun(): boolean
---@return true? done
---@return string? problem
function Bell:answer(turn)
  local bell, line = self.bell, self.line
  while true do
    local rung, problem = line:receiveany(BYTES)
    if not rung and problem ~= "timeout" then
      return nil, problem
    elseif turn() then
      return true
    end
    assert(bell:arm())
  end
end

function Bell:close()
  self.line:close()
  self.bell:close()
end

return M
