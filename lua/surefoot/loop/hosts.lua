--- Which loop runs this coroutine: nginx, cqueues, copas, luv or Neovim's, found at every wait; or none that is known.
--
-- An adapter is made once per scheduler, when its library is first seen loaded, by a function (scheduler, library):
--   owns(on_main)   whether a wait here suspends this coroutine alone
--   wait(token)     suspends the running coroutine until token.woken is set or, harmlessly, earlier
--   wake(token)     called when token.woken has just been set: the coroutine may go on, but is not resumed in here
--   leave(token)    optional: called when wait(token) has thrown, and the same coroutine waits again
--   spawn(f)        runs f() in a new coroutine of the loop
--   spawns(on_main) optional: whether spawn() works here, where owns() says no
--   refusal()       optional: why nothing can wait here, and nothing may block either; nil where it can
--   block(seconds)  optional: lets time pass on the main thread, at most so long, until the engine has news. False: it
--                   cannot here
--   turn(finished, seconds) optional: turns the loop on the main thread, all of it, until finished(), at most so long:
--                   whether it has; or nil and why it cannot turn here. Without it nobody can wait there for its tasks
-- One pump per engine and loop waits on scheduler.engine:fd(), read anew whenever a watch begins (a fork changes it),
-- and calls scheduler:step(). It is there only while somebody waits, and keeps no loop from ending.

local M = {}

---@class surefoot.HostAdapter: surefoot.Adapter
---@field owns fun(on_main: boolean): boolean
---@field leave (fun(token: table))?
---@field spawns (fun(on_main: boolean): boolean)?
---@field refusal (fun(): string?)?
---@field block (fun(seconds: number?): boolean)?
---@field turn (fun(finished: (fun(): boolean), seconds: number?): boolean?, string?)?

-- In order of precedence: those who know their coroutines come before luv, which cannot tell.
local KNOWN = {
  { library = "ngx", adapter = "surefoot.loop.nginx", mark = "get_phase" },
  { library = "cqueues", adapter = "surefoot.loop.cqueues", mark = "running" },
  { library = "copas", adapter = "surefoot.loop.copas", mark = "addthread" },
  { library = "luv", adapter = "surefoot.loop.luv", mark = "new_poll" },
}

---@class surefoot.Hosts
---@field private scheduler surefoot.Scheduler
---@field private adapters table<string, surefoot.HostAdapter>
local Hosts = {}
Hosts.__index = Hosts

---@param scheduler surefoot.Scheduler
---@return surefoot.Hosts
function M.new(scheduler)
  return setmetatable({ scheduler = scheduler, adapters = {} }, Hosts)
end

local loaded = package.loaded

local function adapter_of(hosts, known)
  local library = loaded[known.library]
  if library == nil then
    return nil
  end
  local adapter = hosts.adapters[known.library]
  if not adapter and type(library) == "table" and library[known.mark] then
    adapter = require(known.adapter)(hosts.scheduler, library)
    hosts.adapters[known.library] = adapter
  end
  return adapter
end

--- The adapter of the loop that this coroutine belongs to.
---@param on_main boolean whether this is the main thread
---@return surefoot.HostAdapter?
function Hosts:owner(on_main)
  for _, known in ipairs(KNOWN) do
    local adapter = adapter_of(self, known)
    if adapter and adapter.owns(on_main) then
      return adapter
    end
  end
end

--- The adapter of a loop that can begin a coroutine here.
---@param on_main boolean
---@return surefoot.HostAdapter?
function Hosts:spawner(on_main)
  for _, known in ipairs(KNOWN) do
    local adapter = adapter_of(self, known)
    if adapter and (adapter.owns(on_main) or adapter.spawns and adapter.spawns(on_main)) then
      return adapter
    end
  end
end

--- Why nothing can wait here, in words for people; nil where it can.
---@return string?
function Hosts:refusal()
  for _, known in ipairs(KNOWN) do
    local adapter = adapter_of(self, known)
    local why = adapter and adapter.refusal and adapter.refusal()
    if why then
      return why
    end
  end
end

--- Lets time pass by the means of a loop that turns meanwhile, where one can on the main thread.
---@param seconds number?
---@return boolean done
function Hosts:block(seconds)
  for _, known in ipairs(KNOWN) do
    local adapter = adapter_of(self, known)
    if adapter and adapter.block and adapter.block(seconds) then
      return true
    end
  end
  return false
end

return M
