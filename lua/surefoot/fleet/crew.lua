--- Jobs of scenarios on several processes. Worker k of n does the jobs k, k + n, k + 2n ... and writes what came of
--- each as a line of JSON; the parent reads the lines in the order of the jobs. A worker whose parent has gone ends at
--- its next line. Nothing is written to disk.

local json = require "surefoot.json"
local scenarios = require "surefoot.fleet.scenarios"

local M = {}

local VARIABLE = "SUREFOOT_SIMULATE_WORKER"

---@class surefoot.fleet.Work
---@field jobs table[]
---@field own surefoot.fleet.Policies?

---@class surefoot.fleet.Result
---@field job table
---@field value table[] the runs
---@field cpu number

-- ------------------------------------------------------------------------------------------------------------ workers

--- Which worker this process is: nothing for who is none.
---@return integer? index
---@return integer? count
function M.role()
  local index, count = (os.getenv(VARIABLE) or ""):match "^(%d+)/(%d+)$"
  return tonumber(index), tonumber(count)
end

--- Does a worker's jobs.
---@param work surefoot.fleet.Work
---@param index integer
---@param count integer
---@param write fun(line: string): boolean? false: nobody reads any more
function M.work(work, index, count, write)
  collectgarbage("setpause", 400) -- memory is not what is short
  write "ready"
  for number = index, #work.jobs, count do
    local job = work.jobs[number]
    local began = os.clock()
    local value = scenarios.by_id[job.scenario].run(job, work.own)
    if not write(assert(json.encode { job = job, value = value, cpu = os.clock() - began })) then
      return
    end
  end
end

-- ------------------------------------------------------------------------------------------------------------- parent

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The command line that this process was started with.
local function own_command()
  local words, first = {}, 0
  while arg[first - 1] do
    first = first - 1
  end
  for i = first, #arg do
    words[#words + 1] = quoted(arg[i])
  end
  return table.concat(words, " ")
end

---@class surefoot.fleet.Crew
---@field private pipes file*[]
---@field private pids string[]
---@field is_ready boolean
local Crew = {}
Crew.__index = Crew

--- Starts workers: processes with the command line of this one.
---@param count integer
---@return surefoot.fleet.Crew
function M.start(count)
  local self = setmetatable({ pipes = {}, pids = {} }, Crew)
  for i = 1, count do
    self.pipes[i] = assert(io.popen(("echo $$; exec env %s=%d/%d %s </dev/null"):format(VARIABLE, i, count,
      own_command()), "r"))
  end
  for _, pipe in ipairs(self.pipes) do
    self.pids[#self.pids + 1] = pipe:read "*l"
    self.is_ready = pipe:read "*l" ~= nil
  end
  return self
end

--- What came of a job; jobs are asked for in their order.
---@param number integer
---@return surefoot.fleet.Result? result nil: its worker has ended, or a signal came
function Crew:result(number)
  local line = self.pipes[(number - 1) % #self.pipes + 1]:read "*l"
  return line and json.decode(line) or nil
end

--- Ends the workers, whatever they are at.
function Crew:stop()
  if #self.pids > 0 then
    os.execute("kill " .. table.concat(self.pids, " ") .. " 2>/dev/null")
  end
  for _, pipe in ipairs(self.pipes) do
    pipe:close()
  end
end

--- How many processors there are.
---@return integer
function M.processors()
  local pipe = io.popen("getconf _NPROCESSORS_ONLN 2>/dev/null", "r")
  local count = pipe and tonumber(pipe:read "*l")
  if pipe then
    pipe:close()
  end
  return count or 1
end

return M
