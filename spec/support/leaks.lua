-- What a spec may leave behind: nothing. Closing the engine gives back every file descriptor, every call has ended, and
-- no timer is set; `begin` and `check` stand around what is tried.

local core = require "surefoot.core"
local process = require "spec.support.process"

local M = {}

-- The pipe by which a listing comes is left out: its other end may still be open here while the listing is made.
local LISTING = 'readlink "/proc/$$/fd/1"; ls -l "/proc/%d/fd" 2>/dev/null'

---@param pid? integer default: this process
---@return string[] what is open, without the folder that tells it, sorted
function M.open_files(pid)
  local found = {}
  local listing = io.popen(LISTING:format(pid or process.self()))
  local own = listing:read()
  for line in listing:lines() do
    local target = line:match "%d+ %-> (.*)$"
    if target ~= own then
      found[#found + 1] = target
    end
  end
  listing:close()
  table.sort(found)
  return found
end

local function rest_of(calls, others)
  return ("%d calls in flight, %d waiting or timers"):format(calls, others)
end

local function collect()
  collectgarbage()
  collectgarbage() -- what finalizers have let go
end

---Closes the engine of this state, with all its connections; the next use makes a new one.
function M.close_engine()
  collect()
  core.engine():close()
end

-- The heap after the last check, in KB: whoever begins right after it finds it as it was, and need not collect again,
-- which takes long in the one state of a whole run.
local at_rest = 0
local NOTHING = 200

---What is open before; connections that are kept count for nothing.
---@return integer
function M.begin()
  if collectgarbage "count" > at_rest + NOTHING then
    M.close_engine()
  end
  at_rest = 0
  return #M.open_files()
end

---Fails when something was left behind.
---@param before integer from begin
---@param ... table clients whose calls must have ended
function M.check(before, ...)
  for _, client in ipairs { ... } do
    local stats = client:stats()
    assert(stats.in_flight == 0 and stats.queue == 0, rest_of(stats.in_flight, stats.queue))
    for name, line in pairs(stats.endpoints) do
      assert(line.in_flight == 0, name .. " has attempts in flight")
    end
  end
  collect()
  local engine = core.engine()
  assert(engine:in_flight() == 0 and engine:pending() == 0, rest_of(engine:in_flight(), engine:pending()))
  engine:close()
  local after
  -- A resolver's thread that was left alone closes its pipe when it ends.
  local clean = process.wait_for(function()
    after = M.open_files()
    return #after <= before
  end, 2)
  assert(clean, ("%d files were open, now these are:\n%s"):format(before, table.concat(after, "\n")))
  at_rest = collectgarbage "count"
end

return M
