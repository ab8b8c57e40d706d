-- make simulate: plays the scenarios on two processes, prints the table, writes plots and numbers to build/simulate.
-- Exit status 0: every mark was met.
--
--   luajit -l spec.helper spec/fleet/run.lua [S1 S5 ...]     all of them unless named
--   FLEET_SEEDS=0.1    a tenth of the seeds (a look, not a judgement)
--   FLEET_WORKERS=4    processes
--
-- Jobs are files in a folder; a worker takes one by renaming it, and leaves what came out beside it.

local cjson = require "cjson"
local process = require "spec.support.process"

local FOLDER = "build/simulate"
local NAMES = {
  "capacity_dip", "hysteresis", "map", "failure_sweep", "shared_quota", "straggler", "black_hole", "recovery_herd",
}
local PATIENCE = 900 -- seconds without a finished job

local scenarios = {}
for i, name in ipairs(NAMES) do
  scenarios[i] = require("spec.fleet.scenarios." .. name)
  scenarios[scenarios[i].id] = scenarios[i]
end

local function write(path, text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  assert(os.rename(path .. ".new", path))
end

local function job_path(number, what)
  return ("%s/jobs/%04d.%s"):format(FOLDER, number, what)
end

-- ------------------------------------------------------------------------------------------------------------ workers

local function take(number)
  local path = job_path(number, "taken")
  if not os.rename(job_path(number, "job"), path) then
    return nil
  end
  return cjson.decode((assert(process.read(path))))
end

-- Does every job that nobody has taken, until the one who wants them is gone.
local function work(count, parent, ticks)
  collectgarbage("setpause", 400) -- memory is not what is short
  for number = 1, count do
    local job = process.alive(parent, ticks) and take(number)
    if job then
      local began = os.clock()
      local value = scenarios[job.scenario].run(job)
      write(job_path(number, "done"), cjson.encode { job = job, value = value, cpu = os.clock() - began })
    end
  end
end

-- -------------------------------------------------------------------------------------------------------------- parent

local function chosen()
  local list = {}
  for _, id in ipairs(arg) do
    if not scenarios[id] then
      io.stderr:write(("simulate: no scenario %q; there are S1 to S8\n"):format(id))
      os.exit(2)
    end
    list[#list + 1] = scenarios[id]
  end
  return #list > 0 and list or scenarios
end

local function write_jobs(list, share)
  process.capture { "rm", "-rf", list == scenarios and FOLDER or FOLDER .. "/jobs" }
  process.capture { "mkdir", "-p", FOLDER .. "/jobs" }
  local count = 0
  for _, scenario in ipairs(list) do
    for _, job in ipairs(scenario.jobs(share)) do
      count, job.scenario = count + 1, scenario.id
      write(job_path(count, "job"), cjson.encode(job))
    end
  end
  return count
end

local function interpreter()
  local i = 0
  while arg[i - 1] do
    i = i - 1
  end
  return arg[i]
end

local function start_workers(count, n)
  local me, workers = process.self(), {}
  for i = 1, n do
    local log = ("%s/worker-%d.log"):format(FOLDER, i)
    local pid = process.spawn({ interpreter(), "-l", "spec.helper", arg[0], "--work", count, me,
      process.started(me) }, { stdout = log })
    workers[i] = { pid = pid, started = process.started(pid), log = log }
  end
  return workers
end

local on_terminal = os.execute "test -t 2"
on_terminal = on_terminal == true or on_terminal == 0

local function progress(done, count, began)
  if on_terminal then
    local width = math.floor(40 * done / count)
    io.stderr:write(("\r[%s%s] %d of %d, %d s "):format(("#"):rep(width), ("."):rep(40 - width), done, count,
      os.time() - began))
  end
end

local function collect(count, workers)
  local results, left, began, last = {}, {}, os.time(), os.time()
  for number = 1, count do
    left[number] = true
  end
  while next(left) do
    for number in pairs(left) do
      local text = process.read(job_path(number, "done"))
      if text then
        left[number], last = nil, os.time()
        results[#results + 1] = cjson.decode(text)
        results[#results].number = number
      end
    end
    progress(#results, count, began)
    local alive = false
    for _, worker in ipairs(workers) do
      alive = alive or worker.started and process.alive(worker.pid, worker.started)
    end
    if next(left) and (not alive or os.time() - last > PATIENCE) and not process.read(job_path(next(left), "done")) then
      for _, worker in ipairs(workers) do
        io.stderr:write("\n", process.read(worker.log) or "")
      end
      error("simulate: the workers have ended, or are stuck, before their work was done", 0)
    end
    process.wait_for(function() end, 0.2)
  end
  table.sort(results, function(a, b) return a.number < b.number end)
  if on_terminal then
    io.stderr:write "\n"
  end
  return results, os.time() - began
end

local function judge(list, results)
  local plot, report = require "spec.bench.plot", require "spec.fleet.report"
  local rows, missed = {}, 0
  for _, scenario in ipairs(list) do
    local own = {}
    for _, result in ipairs(results) do
      if result.job.scenario == scenario.id then
        own[#own + 1] = result
      end
    end
    local judged, plots = scenario.judge(own)
    for _, row in ipairs(judged) do
      row.scenario = scenario.id .. " " .. scenario.name
      missed = missed + (row.pass == false and 1 or 0)
      rows[#rows + 1] = row
    end
    for _, each in ipairs(plots) do
      write(("%s/%s.svg"):format(FOLDER, each.name), each.svg or plot.lines(each))
    end
  end
  return rows, missed, report.table(rows)
end

local function speed(results)
  local totals, by_scenario = { events = 0, attempts = 0, requests = 0, cpu = 0 }, {}
  for _, result in ipairs(results) do
    local id = result.job.scenario
    by_scenario[id] = (by_scenario[id] or 0) + result.cpu
    for _, run in ipairs(result.value) do
      for name in pairs(totals) do
        totals[name] = totals[name] + (run[name] or 0)
      end
    end
  end
  return totals, by_scenario
end

local function account(list, results, wall)
  local totals, by_scenario = speed(results)
  print(("\n%d calls, %d attempts, %d events in %d s; %.0f s of CPU: %.0f calls, %.0f events a second"):format(
    totals.requests, totals.attempts, totals.events, wall, totals.cpu, totals.requests / totals.cpu,
    totals.events / totals.cpu))
  local shares = {}
  for i, scenario in ipairs(list) do
    shares[i] = ("%s %.0f s"):format(scenario.id, by_scenario[scenario.id] or 0)
  end
  print("CPU: " .. table.concat(shares, ", "))
  return totals
end

local function main()
  local list, share = chosen(), tonumber(os.getenv "FLEET_SEEDS" or "1")
  local count = write_jobs(list, share)
  local results, wall = collect(count, start_workers(count, tonumber(os.getenv "FLEET_WORKERS" or "2")))
  local rows, missed, text = judge(list, results)
  print(text)
  local totals = account(list, results, wall)
  process.capture { "rm", "-rf", FOLDER .. "/jobs" }
  print(("%s; plots in %s"):format(missed == 0 and "every mark was met" or missed .. " marks were missed", FOLDER))
  write(FOLDER .. "/table.txt", text .. "\n")
  write(FOLDER .. "/table.json", cjson.encode { rows = rows, totals = totals, wall = wall })
  os.exit(missed == 0 and 0 or 1)
end

if arg[1] == "--work" then
  work(tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]))
else
  main()
end
