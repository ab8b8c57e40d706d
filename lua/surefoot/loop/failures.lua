--- What tasks threw that nobody has waited for, in the order in which they ended. The first of it is rethrown when the
-- run ends. Where there is no run, and none comes, it is told on stderr when the program ends.
--
-- A run may be long: what somebody has seen is not kept. Nor is what comes after the failure of a task that nobody
-- holds any more: no one can wait for that one, so that it stays before all others.

local M = {}

local FEW = 16 -- failures among which nothing is sought

---@class surefoot.Failures
---@field private entries { thrown: surefoot.Error, seen: boolean? }[]
---@field private tasks table<integer, surefoot.Task>  whose they are; held weakly
---@field private last integer
---@field private limit integer   of `last`, at which what is seen is sought
---@field private is_full boolean the last one stays
---@field private guard userdata? has the finalizer
local Failures = {}
Failures.__index = Failures

local newproxy = rawget(_G, "newproxy") -- where tables have no finalizers: 5.1, LuaJIT

---@return surefoot.Failures
function M.new()
  local self = setmetatable({
    entries = {}, tasks = setmetatable({}, { __mode = "v" }), last = 0, limit = FEW, is_full = false,
  }, Failures)
  if newproxy then
    self.guard = newproxy(true)
    getmetatable(self.guard).__gc = function() Failures.__gc(self) end
  end
  return self
end

local function is_seen(self, i)
  local task = self.tasks[i]
  return self.entries[i].seen or task ~= nil and task.observed
end

local function prune(self)
  local entries, tasks, kept = self.entries, self.tasks, 0
  for i = 1, self.last do
    local entry, task, seen = entries[i], tasks[i], is_seen(self, i)
    entries[i], tasks[i] = nil, nil
    if not seen and not self.is_full then
      kept = kept + 1
      entries[kept], tasks[kept] = entry, task
      self.is_full = task == nil
    end
  end
  self.last, self.limit = kept, 2 * kept + FEW
end

--- Notes what a task has thrown.
---@param task surefoot.Task
function Failures:add(task)
  if self.is_full then
    return
  end
  local last, entry = self.last + 1, { thrown = task.thrown }
  self.last, self.entries[last], self.tasks[last], task.failure = last, entry, task, entry
  if last > self.limit then
    prune(self)
  end
end

--- Somebody has seen how the task ended, or will.
---@param task surefoot.Task
function M.see(task)
  task.observed = true
  if task.failure then
    task.failure.seen = true
  end
end

--- Forgets all of it.
---@return surefoot.Error? first
function Failures:take()
  local first
  for i = 1, self.last do
    if not first and not is_seen(self, i) then
      first = self.entries[i].thrown
    end
    self.entries[i], self.tasks[i] = nil, nil
  end
  self.last, self.limit, self.is_full = 0, FEW, false
  return first
end

function Failures:__gc()
  local thrown = self.last > 0 and self:take()
  if thrown then
    io.stderr:write("surefoot: a task that nobody waited for threw: ", thrown.message, "\n",
      thrown.traceback and thrown.traceback .. "\n" or "")
  end
end

return M
