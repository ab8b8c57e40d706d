--- Which coroutines copas itself resumes: not those that are nested in one of them, or have nothing to do with it.
-- copas does not tell. The stack of the main thread does, in which its loop turns: all versions resume in
-- _doTick(co, ...). A loop that turns in a coroutine is not seen: there calls block.

local core = require "surefoot.binding"

local M = {}

local getinfo, getlocal, running = debug.getinfo, debug.getlocal, coroutine.running

-- Where a coroutine has loaded the core, it does not know. From 5.2 on Lua does (LUA_RIDX_MAINTHREAD).
local MAIN = core.main_thread or _VERSION ~= "Lua 5.1" and debug.getregistry()[1] or nil

-- Whom the thread has resumed, if by code of this source.
local function resumed_by(thread, source)
  for level = 0, 4 do
    local frame = getinfo(thread, level, "S")
    if not frame then
      return nil
    elseif frame.what ~= "C" and frame.what ~= "tail" then
      local _, co = getlocal(thread, level, 1)
      return frame.source == source and type(co) == "thread" and co or nil
    end
  end
end

--- Makes a function that tells whether the running coroutine is one that copas resumes.
---@param copas table
---@return fun(): boolean
function M.of(copas)
  local source = getinfo(copas.addthread, "S").source
  local known = setmetatable({}, { __mode = "k" })
  return function()
    local co, is_main = running()
    if not co or is_main then
      return false
    elseif known[co] then
      return true
    end
    local above = MAIN
    while above and above ~= co do -- before copas 3 one thread may begin another
      above = resumed_by(above, source)
    end
    known[co] = above and true
    return above ~= nil
  end
end

return M
