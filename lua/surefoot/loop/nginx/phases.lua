--- Which phases of nginx's Lua can wait, which can at least begin a timer, and what to tell in the others.

local M = {}

-- Those in which nginx lets a coroutine yield. Some are of newer or of stream modules: their names come from no other.
local WAITS = {
  server_rewrite = true, rewrite = true, access = true, precontent = true, content = true, timer = true,
  ssl_client_hello = true, ssl_cert = true, ssl_session_fetch = true, proxy_ssl_cert = true, proxy_ssl_verify = true,
  preread = true,
}

local WITHOUT_TIMERS = {
  init = "nothing can wait or be spawned in init_by_lua, which runs before nginx has forked its workers; "
    .. "make clients there, and call in a worker: surefoot.spawn in init_worker_by_lua runs it detached, in a timer",
  exit_worker = "nothing can wait or be spawned in exit_worker_by_lua: the worker's timers have ended",
}

--- Whether a coroutine can wait in the phase.
---@param phase string as ngx.get_phase names it
---@return boolean
function M.waits(phase)
  return WAITS[phase] == true
end

--- Whether a timer can be begun in the phase.
---@param phase string
---@return boolean
function M.has_timers(phase)
  return WITHOUT_TIMERS[phase] == nil
end

--- Why nothing can wait in the phase, in words for people; nil where it can.
---@param phase string
---@return string?
function M.refusal(phase)
  if WAITS[phase] then
    return nil
  end
  return WITHOUT_TIMERS[phase]
    or ("nothing can wait in nginx's %s phase; surefoot.spawn runs it detached, in a timer"):format(phase)
end

return M
