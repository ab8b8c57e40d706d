--- Waiting for a semaphore so that nginx may end the request meanwhile.
--
-- nginx cleans up after its light threads: what they waited for is taken back. After an ordinary coroutine of a request
-- (coroutine.create, coroutine.wrap) it does not: whatever that waits for, be it ngx.sleep, comes to a request that is
-- gone, and the worker crashes (lua-nginx-module, ngx_http_lua_finalize_threads, all versions up to 0.10.29). So
-- there a light thread waits in its place.

local M = {}

local running, getinfo = coroutine.running, debug.getinfo

-- Coroutines that are light threads. nginx uses those of requests again, as such.
local light = setmetatable({}, { __mode = "k" })

-- The first thread of a handler runs a chunk, ordinary coroutines run functions.
local function runs_a_chunk()
  local level = 3
  while getinfo(level, "f") do
    level = level + 1
  end
  return getinfo(level - 1, "S").what == "main"
end

local function is_light(ngx, co)
  if light[co] then
    return true
  end
  local _, refusal = ngx.thread.kill(co) -- nobody can end itself
  if refusal == "killer not parent" or ngx.get_phase() == "timer" or runs_a_chunk() then
    light[co] = true
    return true
  end
  return false
end

local function wait_there(semaphore, seconds)
  return semaphore:wait(seconds)
end

--- Waits until the semaphore is posted, at most so long.
---@async
---@param ngx table
---@param semaphore table
---@param seconds number
---@return boolean? posted
---@return string? problem
function M.wait(ngx, semaphore, seconds)
  if is_light(ngx, running()) then
    return semaphore:wait(seconds)
  end
  local ended, posted, problem = ngx.thread.wait(ngx.thread.spawn(wait_there, semaphore, seconds))
  return ended and posted, ended and problem or posted
end

return M
