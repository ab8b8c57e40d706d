--- Protected calls that may wait: pcall, wherever one can yield across it.
--
-- PUC Lua 5.1 cannot. There the function runs in a coroutine of its own, and what that one yields its caller yields in
-- turn. Whoever resumes the caller knows nothing of it: so running() tells the caller's coroutine, and what only that
-- one may do (wait by the means of a loop, ask which loop it belongs to) goes through outside().
-- Nothing helps 5.1 where the caller itself cannot yield: in a pcall of the user's, the iterator of a for loop, or a
-- metamethod.

local M = {}

local function with_reason(reason)
  return function(problem)
    if type(problem) == "string" and problem:find("attempt to yield across", 1, true) then
      return problem .. ": " .. reason
    end
    return problem
  end
end

local resume, running, status, yield = coroutine.resume, coroutine.running, coroutine.status, coroutine.yield

-- It is not tried out: nginx lets no coroutine be made in init_worker_by_lua, nor resumed inside require.
if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then
  --- As pcall.
  ---@async
  ---@param f function
  ---@param ... any
  ---@return boolean ok
  ---@return any ...
  M.call = pcall

  --- As coroutine.running, for those who ask who will be resumed.
  ---@return thread?
  ---@return boolean? is_main
  M.running = running

  --- Calls a function in the coroutine that running() tells. What it throws is no guard's.
  ---@async
  ---@param f function
  ---@param ... any
  ---@return any ...
  function M.outside(f, ...)
    return f(...)
  end

  --- An error's message, with the reason where it is that this Lua cannot yield everywhere.
  ---@type fun(problem: any): any
  M.explain = with_reason "nothing can wait in what table.sort, string.gsub or another function of C calls"

  return M
end

-- ------------------------------------------------------------------------------------------------------------ Lua 5.1

local function pack(...)
  return { n = select("#", ...), ... }
end

local function rethrown(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

local OUTSIDE = {}
local caller_of = setmetatable({}, { __mode = "kv" }) -- coroutine of a function -> that of the guard
local led = setmetatable({}, { __mode = "k" }) -- those that their guard has resumed
local returned = setmetatable({}, { __mode = "k" }) -- what functions returned when it was not the guard

-- Who waits by coroutine.running() and coroutine.yield() is resumed without the guard, and its caller only now.
local function leave(caller, ...)
  local co = running()
  if led[co] then
    return ...
  end
  returned[co] = pack(...)
  return rethrown(resume(caller))
end

local function apply(caller, f, ...)
  return leave(caller, f(...))
end

local go_on

local function lead(co, ...)
  led[co] = true
  return go_on(co, resume(co, ...))
end

-- The caller was resumed.
local function come_back(co, ...)
  local values = returned[co]
  if values then
    returned[co] = nil
    return true, unpack(values, 1, values.n)
  end
  return lead(co, ...)
end

-- Goes on with a coroutine that has been resumed, until its function has ended.
function go_on(co, ok, ...)
  led[co] = nil
  if status(co) == "dead" then
    if ok then
      return true, ...
    end
    return false, M.explain((...))
  elseif (...) == OUTSIDE then
    return lead(co, M.outside(select(2, ...)))
  end
  return come_back(co, yield(...))
end

function M.call(f, ...)
  local caller = running()
  if not caller then -- the main thread, where nothing can yield
    return pcall(f, ...)
  end
  local co = coroutine.create(apply)
  caller_of[co] = caller
  return lead(co, caller, f, ...)
end

function M.running()
  local co = running()
  while caller_of[co] do
    co = caller_of[co]
  end
  return co
end

function M.outside(f, ...)
  if led[running()] then
    return yield(OUTSIDE, f, ...)
  end
  return f(...)
end

M.explain = with_reason "Lua 5.1 cannot wait inside of pcall, the iterator of a for loop, or a metamethod"

return M
