--- What copas.receive and LuaSocket's select take for a socket: ready when the engine has news, or its token is woken.

---@class surefoot.CopasEar
---@field token table        whose coroutine waits for it
---@field crew surefoot.Crew
---@field engine table
---@field report fun(err: any)
---@field private fd integer
local Ear = {}
Ear.__index = Ear

function Ear:getfd()
  return self.fd
end

function Ear:dirty()
  return self.token.woken
end

function Ear:receive()
  local token = self.token
  if self.fd and not token.woken then
    self.crew:turn(self.report)
  end
  self.fd = self.engine:fd()
  return token.woken, "timeout"
end

-- Before copas 4 it closes what a coroutine has waited for last, when that ends.
function Ear:close() end -- luacheck: no unused

return Ear
