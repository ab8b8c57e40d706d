-- Processes as specs need them: run, capture, spawn, signal, and know when one is gone. POSIX shell and /proc only.
-- Every wait looks at the thing itself; nothing here trusts a pid without its start time when one is known.

local socket = require "socket"

local M = {}

---@param text string|number
---@return string quoted for a POSIX shell
function M.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

---@param argv string[]
---@return string
function M.command(argv)
  local words = {}
  for i, word in ipairs(argv) do
    words[i] = M.quote(word)
  end
  return table.concat(words, " ")
end

local function line(argv)
  return type(argv) == "table" and M.command(argv) or argv
end

---Runs a command to its end.
---@param argv string[]|string a list of words, or a shell line
---@return string output standard output (and error, when the line says so)
---@return integer code exit status
function M.capture(argv)
  local pipe = assert(io.popen("{ " .. line(argv) .. "\n}; printf '\\n%s' $?", "r"))
  local text = pipe:read "*a"
  pipe:close()
  local output, code = text:match "^(.*)\n(%d+)$"
  return output, tonumber(code)
end

---@param name string
---@return string|nil path of a program on PATH or in the system folders
function M.which(name)
  local output, code = M.capture("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v " .. M.quote(name))
  return code == 0 and output:match "^(%S+)" or nil
end

---Starts a process that goes on by itself.
---@param argv string[]
---@param options? { stdout?: string, stderr?: string }
---@return integer pid
function M.spawn(argv, options)
  options = options or {}
  local out = options.stdout or "/dev/null"
  local err = options.stderr or out
  local redirect = (" >%s 2>%s </dev/null & echo $!"):format(M.quote(out), err == out and "&1" or M.quote(err))
  local pipe = assert(io.popen(M.command(argv) .. redirect, "r"))
  local pid = tonumber(pipe:read "*l")
  pipe:close()
  return assert(pid, "no pid for " .. argv[1])
end

local function stat(pid)
  local file = io.open("/proc/" .. pid .. "/stat", "r")
  if not file then
    return nil
  end
  local text = file:read "*a" or ""
  file:close()
  local fields = {}
  for field in (text:match "^.*%)%s(.*)$" or ""):gmatch "%S+" do
    fields[#fields + 1] = field
  end
  return tonumber(text:match "^%d+"), fields[1], tonumber(fields[20])
end

---@return integer pid of this process
function M.self()
  return assert((stat "self"))
end

---@param pid integer
---@return integer|nil ticks when it was started; tells a process from a later one with the same pid
function M.started(pid)
  local _, _, ticks = stat(pid)
  return ticks
end

---@param pid integer
---@param started? integer
---@return boolean
function M.alive(pid, started)
  local found, state, ticks = stat(pid)
  return found ~= nil and state ~= "Z" and state ~= "X" and (started == nil or started == ticks)
end

---@param pid integer
---@param signal? string default "TERM"
function M.signal(pid, signal)
  M.capture(("kill -%s %d 2>/dev/null"):format(signal or "TERM", pid))
end

---Waits until `check` gives something true.
---@param check function
---@param seconds? number default 10
---@return any value of check, or nil when the time is over
function M.wait_for(check, seconds)
  local deadline = socket.gettime() + (seconds or 10)
  repeat
    local value = check()
    if value then
      return value
    end
    socket.sleep(0.005)
  until socket.gettime() >= deadline
  return check() or nil
end

---Ends a process: the signal first, SIGKILL when it does not go.
---@param pid integer
---@param signal? string
---@param seconds? number
---@return boolean went by itself
function M.stop(pid, signal, seconds)
  M.signal(pid, signal)
  local function gone()
    return not M.alive(pid)
  end
  if M.wait_for(gone, seconds or 5) then
    return true
  end
  M.signal(pid, "KILL")
  M.wait_for(gone, 2)
  return false
end

---@param name? string
---@return string path of a fresh folder, readable by its owner only
function M.temp_dir(name)
  local base = (os.getenv "TMPDIR" or "/tmp"):gsub("/+$", "")
  local output, code = M.capture { "mktemp", "-d", base .. "/" .. (name or "surefoot") .. ".XXXXXXXX" }
  assert(code == 0, "mktemp failed")
  return (output:match "^[^\n]+")
end

---@param dir string a folder made by temp_dir
function M.remove_dir(dir)
  assert(dir:match "%.%w%w%w%w%w%w%w%w$", "not a folder of temp_dir: " .. dir)
  M.capture { "rm", "-rf", dir }
end

---@param path string
---@param text string
function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

---@param path string
---@return string|nil
function M.read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

return M
