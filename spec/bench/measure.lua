-- How the benches measure: programs pinned to a core and run one after another, medians over rounds, instructions
-- counted by callgrind, system calls by strace, memory by /proc; and how they tell: tables for people, JSON under
-- build/bench/.

local cjson = require "cjson"
local process = require "spec.support.process"

local M = {}

-- ----------------------------------------------------------------------------------------------------------- running

local function allowed_cpus()
  local list = (process.read "/proc/self/status" or ""):match "Cpus_allowed_list:%s*(%S+)" or "0"
  local cpus = {}
  for first, last in list:gmatch "(%d+)%-?(%d*)" do
    for cpu = tonumber(first), tonumber(last) or tonumber(first) do
      cpus[#cpus + 1] = cpu
    end
  end
  return cpus
end

local cpus = allowed_cpus()
local pinned = #cpus >= 2 and process.which "taskset" ~= nil

---Says once how programs run here.
function M.introduce()
  if pinned then
    print(("clients on core %d, provider on core %d; CPU is the client's, user and system"):format(cpus[1], cpus[2]))
  else
    print "not pinned (fewer than two cores, or no taskset): client and provider disturb each other"
  end
end

---Puts a running process and its children on the provider's core.
---@param pid integer
function M.pin_server(pid)
  if pinned then
    local children = process.read(("/proc/%d/task/%d/children"):format(pid, pid)) or ""
    for each in (pid .. " " .. children):gmatch "%d+" do
      process.capture(("taskset -pc %d %s >/dev/null"):format(cpus[2], each))
    end
  end
end

---@param argv string[]
---@return string[] runs on the clients' core, with as many files as may be open
function M.client(argv)
  local words = { "sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh" }
  if pinned then
    words[#words + 1], words[#words + 2], words[#words + 3] = "taskset", "-c", tostring(cpus[1])
  end
  for _, word in ipairs(argv) do
    words[#words + 1] = tostring(word)
  end
  return words
end

---Runs a load program and reads the JSON line that it prints. Throws when it fails, or one of its requests.
---@param argv string[]
---@return table numbers
function M.run(argv)
  local output, code = process.capture(M.client(argv))
  local numbers = code == 0 and cjson.decode(output:match "([^\n]+)\n*$" or "null") or cjson.null
  if type(numbers) ~= "table" or (numbers.errors or 0) > 0 then
    error(("%s: status %d, %s"):format(table.concat(argv, " "), code, output), 0)
  end
  return numbers
end

---Runs a program under callgrind.
---@param argv string[]
---@return number|nil instructions in user space; nil where there is no valgrind
function M.instructions(argv)
  if not process.which "valgrind" then
    return nil
  end
  local path = os.tmpname()
  local words = { "valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=" .. path, table.unpack(argv) }
  M.run(words)
  local count = tonumber((process.read(path) or ""):match "\nsummary: (%d+)")
  os.remove(path)
  return assert(count, "callgrind wrote no summary")
end

---Runs a program under strace.
---@param argv string[]
---@return table<string, number>|nil count by name of the system call; nil where strace may not trace
function M.system_calls(argv)
  local path = os.tmpname()
  local traceable = process.which "strace" and select(2, process.capture { "strace", "-qq", "-o", path, "true" }) == 0
  local counts
  if traceable then
    M.run { "strace", "-f", "-c", "-U", "name,calls", "-o", path, table.unpack(argv) }
    counts = {}
    for name, calls in process.read(path):gmatch "\n([%w_]+)%s+(%d+)" do
      counts[name] = name ~= "total" and tonumber(calls) or nil
    end
  end
  os.remove(path)
  return counts
end

---Starts a program, and takes its resident memory when `check` says that it is where it should be.
---@param argv string[]
---@param check fun(): any
---@return number bytes
function M.resident(argv, check)
  local pid = process.spawn(M.client(argv), { stderr = "/dev/stderr" })
  local there = process.wait_for(check, 20)
  local kilobytes = tonumber((process.read("/proc/" .. pid .. "/status") or ""):match "VmRSS:%s+(%d+)")
  process.stop(pid, "KILL")
  return there and kilobytes and kilobytes * 1024 or error(table.concat(argv, " ") .. ": it did not get that far", 0)
end

-- ----------------------------------------------------------------------------------------------------------- telling

---@param list number[]
---@return { median: number, min: number, max: number }
function M.spread(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local half = #sorted // 2
  local median = #sorted % 2 == 1 and sorted[half + 1] or (sorted[half] + sorted[half + 1]) / 2
  return { median = median, min = sorted[1], max = sorted[#sorted] }
end

---Ratios of two rows, round by round: what drifts from round to round cancels out.
---@param list number[]
---@param base number[]
function M.ratio(list, base)
  local ratios = {}
  for i, value in ipairs(list) do
    ratios[i] = value / base[i]
  end
  return M.spread(ratios)
end

---Prints rows of equal length, the first is the head; text to the left, numbers to the right.
---@param rows string[][]
function M.table(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, utf8.len(cell))
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local gap = (" "):rep(widths[i] - utf8.len(cell))
      cells[i] = i == 1 and cell .. gap or gap .. cell
    end
    print("  " .. table.concat(cells, "  "):gsub("%s+$", ""))
  end
end

---@class spec.bench.Goals
local Goals = {}
Goals.__index = Goals

---Collects goals and how they were met.
---@return spec.bench.Goals
function M.goals()
  return setmetatable({ list = {} }, Goals)
end

---@param what string
---@param value number|nil nil: could not be measured here
---@param most number
---@param unit string?
function Goals:add(what, value, most, unit)
  local ok = value and value <= most
  self.list[#self.list + 1] = { what = what, value = value, goal = most, ok = ok, unit = unit or "" }
end

function Goals:print()
  local rows = { { "goal", "measured", "at most", "" } }
  for _, goal in ipairs(self.list) do
    local function show(number)
      return number and ("%.4g%s"):format(number, goal.unit) or "-"
    end
    local verdict = goal.ok and "ok" or goal.value and "missed" or "not measured"
    rows[#rows + 1] = { goal.what, show(goal.value), show(goal.goal), verdict }
  end
  M.table(rows)
end

---Keeps the numbers in build/bench/NAME.json.
---@param name string
---@param numbers table
function M.save(name, numbers)
  process.capture { "mkdir", "-p", "build/bench" }
  local path = "build/bench/" .. name .. ".json"
  process.write(path, cjson.encode(numbers) .. "\n")
  print("all numbers: " .. path)
end

return M
