-- A provider must not outlive who started it, not even after SIGKILL: each worker looks at the parent twice a second,
-- and at its own master. The first worker then clears the folder and ends the master.

local ffi = require "ffi"

ffi.cdef [[
int kill(int pid, int signal);
int getppid(void);
]]

local M = {}

local TERM = 15
local settings = {}

---@param parent integer|nil pid to watch, none when nil
---@param started integer|nil its start time, in ticks
---@param folder string removed at the end
function M.configure(parent, started, folder)
  settings = { parent = parent, started = started, folder = folder }
end

local function parent_alive()
  local file = io.open("/proc/" .. settings.parent .. "/stat", "r")
  if not file then
    return false
  end
  local rest = (file:read "*a" or ""):match "^.*%)%s(.*)$" or ""
  file:close()
  local fields = {}
  for field in rest:gmatch "%S+" do
    fields[#fields + 1] = field
  end
  return fields[1] ~= "Z" and fields[1] ~= "X" and (not settings.started or tonumber(fields[20]) == settings.started)
end

---Removes the folder and ends this nginx.
function M.stop()
  os.execute("rm -rf '" .. settings.folder .. "'")
  ffi.C.kill(ffi.C.getppid(), TERM)
end

---To be called in init_worker.
function M.start()
  local master = ffi.C.getppid()
  ngx.timer.every(0.5, function()
    if ffi.C.getppid() ~= master then
      ffi.C.kill(ngx.worker.pid(), TERM)
    elseif ngx.worker.id() == 0 and settings.parent and not parent_alive() then
      M.stop()
    end
  end)
end

return M
