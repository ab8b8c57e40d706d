-- What waiting in a loop costs: CPU and wall time of a call (JSON POST of 455 bytes, answer of 1 KB, loopback HTTP/1.1
-- keep-alive, 20,000 calls, 32 in flight) through surefoot's adapters, against the engine driven without any coroutine
-- on the same interpreter, in the same run, interleaved; and what 50 pending calls cost while nothing happens.
-- Goals are reported, not enforced. What is not installed is left out, and said; so is a home in which a call failed,
-- and the run fails in the end.
-- lua5.4 -l spec.helper spec/bench/loops_bench.lua [--quick] [ROUNDS]

local cjson = require "cjson"
local measure = require "spec.bench.measure"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local quick = arg[1] == "--quick"
local ROUNDS = quick and 1 or tonumber(arg[1]) or 5
local REQUESTS, IN_FLIGHT = quick and 1000 or 20000, 32
local PENDING, SECONDS = 50, quick and 0.5 or 2

-- home, interpreter, how it is called; the module or program that it needs, CPU at most so many times the engine's
local HOMES = {
  { "engine", "lua5.4", "the engine alone" },
  { "tasks", "lua5.4", "surefoot.run", goal = 1.2 },
  { "use", "lua5.4", "own loop, surefoot.use", needs = "socket", goal = 1.3 },
  { "cqueues", "lua5.4", "cqueues", needs = "cqueues", goal = 1.3 },
  { "luv", "lua5.4", "luv", needs = "luv", goal = 1.3 },
  { "engine", "luajit", "the engine alone" },
  { "tasks", "luajit", "surefoot.run", goal = 1.2 },
  { "cqueues", "luajit", "cqueues", needs = "cqueues", goal = 1.3 },
  { "copas", "luajit", "copas", needs = "copas", goal = 1.5 },
  { "luv", "luajit", "luv", needs = "luv", goal = 1.3 },
  { "neovim", "nvim", "Neovim, headless", goal = 1.5 },
}

local skipped = {}

local function is_missing(home)
  local name = home[2]
  local build = "build/" .. (name == "nvim" and "luajit" or name)
  if not process.which(name) then
    return name .. " was not found"
  elseif not process.read(build .. "/surefoot/core.so") then
    return build .. " was not built"
  elseif home.needs then
    local _, code = process.capture { "sh", "-c", ("%s -e 'require %q' 2>/dev/null"):format(name, home.needs) }
    return code ~= 0 and ("%s has no module %s"):format(name, home.needs)
  end
end

local p = provider.start { lines = { "fast", "slow" } }
measure.pin_server(p.pid)
p:profile("slow", { fault = "hang" })
local body_path = p.dir .. "/request.json"
do
  local message = { role = "user", content = "" }
  local request = { model = "sim-large", messages = { message }, temperature = 0.7, max_tokens = 256 }
  message.content = ("surefoot "):rep(60):sub(1, 455 - #cjson.encode(request))
  process.write(body_path, cjson.encode(request))
end

-- Neovim runs a script, and its print goes elsewhere.
local NEOVIM = [[
arg = { [0] = "loops_load.lua", %s }
print = function(text) io.stdout:write(text, "\n") end
dofile "spec/helper.lua"
dofile "spec/bench/loops_load.lua"
]]

local function command(home, ...)
  local build = "SUREFOOT_BUILD=build/" .. (home[2] == "nvim" and "luajit" or home[2])
  local words = { "timeout", "60", "env", build, home[2] }
  local rest = { "-l", "spec.helper", "spec/bench/loops_load.lua", ... }
  if home[2] == "nvim" then
    local quoted = {}
    for i, word in ipairs { ... } do
      quoted[i] = ("%q"):format(tostring(word))
    end
    home.script = os.tmpname()
    process.write(home.script, NEOVIM:format(table.concat(quoted, ", ")))
    rest = { "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", "luafile " .. home.script, "-c", "qa!" }
  end
  return table.move(rest, 1, #rest, #words + 1, words)
end

local function run(home, ...)
  local numbers = measure.run(command(home, ...))
  if home.script then
    os.remove(home.script)
  end
  return numbers
end

-- ----------------------------------------------------------------------------------------------------------- running

local rows, engines = {}, {}
for _, home in ipairs(HOMES) do
  local why = is_missing(home)
  if why then
    skipped[#skipped + 1] = ("without %s: %s"):format(home[3], why)
  else
    local row = { home = home, cpu = {}, wall = {}, p99 = {}, idle = {}, steps = {}, wakeups = {} }
    rows[#rows + 1] = row
    if home[1] == "engine" then
      engines[home[2]] = row
    end
    row.base = engines[home[2] == "nvim" and "luajit" or home[2]]
  end
end

local pending_url = p.lines.slow.url .. "/chat/completions"

local function measure_row(row, round)
  local numbers = run(row.home, p.lines.fast.bench_url, body_path, REQUESTS, IN_FLIGHT, row.home[1])
  row.cpu[round], row.p99[round] = numbers.cpu_us_per_request, numbers.p99_us
  row.wall[round] = numbers.wall_s * 1e6 / numbers.requests
  if round <= 3 then
    local pending = run(row.home, pending_url, body_path, 0, PENDING, row.home[1], SECONDS)
    row.idle[round], row.steps[round], row.wakeups[round] = pending.cpu_ms, pending.steps, pending.wakeups
  end
end

local failed = {}
for round = 1, ROUNDS do
  for i = #rows, 1, -1 do
    local row = rows[i]
    io.stderr:write(("round %d of %d: %s, %s\n"):format(round, ROUNDS, row.home[3], row.home[2]))
    local ok, problem = pcall(measure_row, row, round)
    if not ok then
      failed[#failed + 1] = ("%s, %s: %s"):format(row.home[3], row.home[2], problem)
      table.remove(rows, i)
    end
  end
end

-- Instructions of a call in user space, which other work on the machine does not change: the difference of a long and a
-- short run, so that what starting costs cancels out. Neovim goes without.
local SHORT, LONG = 500, 1500

local function instructions_of(home)
  local function count(requests)
    return measure.instructions {
      home[2], "-l", "spec.helper", "spec/bench/loops_load.lua", p.lines.fast.bench_url, body_path, requests, IN_FLIGHT,
      home[1],
    }
  end
  local short = count(SHORT)
  return short and (count(LONG) - short) / (LONG - SHORT)
end

for _, row in ipairs(quick and {} or rows) do
  if row.home[2] ~= "nvim" then
    io.stderr:write(("instructions: %s, %s\n"):format(row.home[3], row.home[2]))
    row.instructions = instructions_of(row.home)
  end
end

local complaints = p:errors()
p:stop()

-- ----------------------------------------------------------------------------------------------------------- telling

measure.introduce()
print(("%d calls, %d in flight, and %d calls pending for %g s; median of %d interleaved rounds\n"):format(REQUESTS,
  IN_FLIGHT, PENDING, SECONDS, ROUNDS))

local results, goals = { rounds = ROUNDS, requests = REQUESTS, homes = {}, skipped = skipped }, measure.goals()
local most_cpu, most_steps = 0, 0
local lines = { { "", "on", "cpu us", "min..max", "x engine", "min..max", "instructions", "x", "wall us", "p99 ms",
  "pending: cpu ms", "steps", "wake-ups" } }
for _, row in ipairs(rows) do
  local home = row.home
  local name = ("%s, %s"):format(home[3], home[2])
  local cpu, ratio, own = measure.spread(row.cpu), measure.ratio(row.cpu, row.base.cpu), row == row.base
  local wall, p99 = measure.spread(row.wall).median, measure.spread(row.p99).median / 1e3
  local idle, steps = measure.spread(row.idle).median, measure.spread(row.steps).median
  local wakeups = measure.spread(row.wakeups).median
  local more = row.instructions and row.base.instructions and row.instructions / row.base.instructions
  lines[#lines + 1] = {
    home[3], home[2], ("%.1f"):format(cpu.median), ("%.1f..%.1f"):format(cpu.min, cpu.max),
    own and "" or ("%.2f"):format(ratio.median), own and "" or ("%.2f..%.2f"):format(ratio.min, ratio.max),
    row.instructions and ("%.0f"):format(row.instructions) or "-", more and not own and ("%.2f"):format(more) or "",
    ("%.1f"):format(wall), ("%.2f"):format(p99), ("%.2f"):format(idle), ("%d"):format(steps), ("%d"):format(wakeups),
  }
  results.homes[name] = {
    cpu_us = cpu, ratio = ratio, instructions = row.instructions, instructions_ratio = more, wall_us = wall,
    p99_ms = p99, pending_cpu_ms = idle, pending_steps = steps, pending_wakeups = wakeups,
  }
  if home.goal then
    goals:add(name .. ": CPU per call against the engine", ratio.median, home.goal, " x")
    if more then
      goals:add(name .. ": instructions per call against the engine", more, home.goal, " x")
    end
    most_cpu, most_steps = math.max(most_cpu, idle / SECONDS), math.max(most_steps, steps / SECONDS)
  end
end
measure.table(lines)
goals:add("50 calls pending in any home: CPU a second", most_cpu, 1, " ms")
goals:add("50 calls pending in any home: steps a second", most_steps, 10)
results.goals = goals.list
print ""
goals:print()
print ""
for _, what in ipairs(skipped) do
  print(what)
end
for _, what in ipairs(failed) do
  print("failed: " .. what)
end
measure.save("loops", results)
if #failed > 0 then
  error("calls failed in some homes", 0)
elseif #complaints > 0 then
  error("the provider complained: " .. complaints[1], 0)
end
