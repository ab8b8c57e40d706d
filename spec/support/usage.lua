-- What a process uses, by its pid: memory, threads, open files, processor time, and how often it was woken. /proc only.

local process = require "spec.support.process"

local M = {}

local function status(pid, name)
  local text = assert(process.read(("/proc/%d/status"):format(pid)), "no such process")
  return tonumber(text:match(name .. ":%s*(%d+)"))
end

---@param pid integer
---@return integer bytes that are in memory
function M.memory(pid)
  return status(pid, "VmRSS") * 1024
end

---@param pid integer
---@return integer
function M.threads(pid)
  return status(pid, "Threads")
end

---@param pid integer
---@return integer open files
function M.files(pid)
  return select(2, process.capture(("ls /proc/%d/fd"):format(pid)):gsub("%d+", ""))
end

local function sum(pid, file, pattern)
  local total = 0
  for number in process.capture(("cat /proc/%d/task/*/%s"):format(pid, file)):gmatch(pattern) do
    total = total + tonumber(number)
  end
  return total
end

---@param pid integer
---@return integer how often its threads have waited for something and were woken
function M.wakeups(pid)
  return sum(pid, "status", "\nvoluntary_ctxt_switches:%s*(%d+)")
end

-- What the kernel counts for the process as a whole, threads that have ended too, in hundredths of a second.
local function ticks(pid)
  local fields = assert(process.read(("/proc/%d/stat"):format(pid)), "no such process"):match ".*%) %S(.*)"
  local user, system = fields:match(("%s+%S+"):rep(10) .. "%s+(%d+)%s+(%d+)")
  return (tonumber(user) + tonumber(system)) / 100
end

---Exact as long as no thread has ended; what those had used is known to 20 ms.
---@param pid integer
---@return number seconds of processor time of all its threads, those that have ended too
function M.cpu(pid)
  return math.max(sum(pid, "schedstat", "(%d+) %d+ %d+") / 1e9, ticks(pid))
end

return M
