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

---@param pid integer
---@return number seconds of processor time of its threads
function M.cpu(pid)
  return sum(pid, "schedstat", "(%d+) %d+ %d+") / 1e9
end

return M
