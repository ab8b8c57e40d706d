--- Ctrl-C for commands that end well: SIGINT and SIGTERM call a function, at a moment when it may cancel calls, instead
--- of ending the process. It is called when the native loop turns: in the middle of a wait, at once.

local native = require "surefoot.loop.native"
local process = require("surefoot.binding").process

local M = {}

local LONGEST = 0.5 -- seconds of one wait: a signal may come just before the wait that it should end

--- What the shell is told of a command that a signal ended.
---@param signal integer
---@return integer exit_code 130 after Ctrl-C
function M.exit_code(signal)
  return 128 + signal
end

--- From now on `notice` is called for each interrupt.
---@param notice fun(count: integer, signal: integer) count: the interrupts so far
---@return fun() release lets them end the process again
function M.catch(notice)
  local scheduler, seen = native.scheduler(), 0
  local wait_for = scheduler.wait_for
  local function wait(engine, seconds)
    wait_for(engine, math.min(seconds or LONGEST, LONGEST))
    local count, signal = process.interrupts()
    if count > seen then
      seen = count
      notice(count, signal)
    end
  end
  process.catch_interrupts(true)
  scheduler.wait_for = wait
  return function()
    if scheduler.wait_for == wait then
      scheduler.wait_for = wait_for
    end
    process.catch_interrupts(false)
  end
end

return M
