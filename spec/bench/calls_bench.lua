-- What a call costs: CPU, instructions, system calls and memory per chat call (JSON POST of 455 bytes, answer of 1 KB,
-- loopback HTTP/1.1 keep-alive), against libcurl alone driven as well as it can be, in the same run, interleaved.
-- Goals are reported, not enforced; a failed or wrong call ends the run.
-- lua5.4 -l spec.helper spec/bench/calls_bench.lua [ROUNDS]

local cjson = require "cjson"
local measure = require "spec.bench.measure"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local ROUNDS = tonumber(arg[1]) or 5
local RAW = { "build/lua5.4/test/bench/raw_curl" }
local CORE = { "lua5.4", "-l", "spec.helper", "spec/bench/core_load.lua" }
local CLIENT = { "lua5.4", "-l", "spec.helper", "spec/bench/client_load.lua" }
local QUEUED = 5000

local PROGRAMS = {
  { "raw", "libcurl alone, in C", RAW },
  { "core", "core, no JSON", CORE },
  { "client", "client:chat, JSON", CLIENT },
}
local DEPTHS = { { 1, 3000 }, { 32, 12000 }, { 256, 12000 } } -- in flight, requests

local p = provider.start { lines = { "fast", "slow" } }
measure.pin_server(p.pid)
local body_path = p.dir .. "/request.json"
do
  local message = { role = "user", content = "" }
  local request = { model = "sim-large", messages = { message }, temperature = 0.7, max_tokens = 256 }
  message.content = ("surefoot "):rep(60):sub(1, 455 - #cjson.encode(request))
  process.write(body_path, cjson.encode(request))
end

local function command(program, url, ...)
  local words = table.move(program, 1, #program, 1, {})
  for _, word in ipairs { url, body_path, ... } do
    words[#words + 1] = word
  end
  return words
end

local function progress(text)
  io.stderr:write(text, "\n")
end

-- ----------------------------------------------------------------------------------------------------------------- CPU

local rows = {}
for _, depth in ipairs(DEPTHS) do
  for _, program in ipairs(PROGRAMS) do
    rows[#rows + 1] = {
      key = program[1] .. depth[1], base = "raw" .. depth[1], name = program[2], depth = tostring(depth[1]),
      argv = command(program[3], p.lines.fast.bench_url, depth[2], depth[1]), cpu = {}, p50 = {}, p99 = {},
    }
  end
end
for _, program in ipairs { PROGRAMS[2], PROGRAMS[3] } do
  rows[#rows + 1] = {
    key = program[1] .. "_queued", base = program[1] .. "32", name = program[2] .. ", 5,000 queued", depth = "32",
    argv = command(program[3], p.lines.fast.bench_url, 12000, 32, QUEUED), cpu = {}, p50 = {}, p99 = {},
  }
end

local by_key = {}
for _, row in ipairs(rows) do
  by_key[row.key] = row
end

for round = 1, ROUNDS do
  progress(("CPU, round %d of %d"):format(round, ROUNDS))
  for _, row in ipairs(rows) do
    local numbers = measure.run(row.argv)
    table.insert(row.cpu, numbers.cpu_us_per_request)
    table.insert(row.p50, numbers.p50_us)
    table.insert(row.p99, numbers.p99_us)
  end
end

-- ------------------------------------------------------------------------------------------ instructions, system calls

-- The difference of a long and a short run: what starting costs cancels out.
local SHORT, LONG = 1000, 3000

local function per_call(counter, program)
  local short = counter(command(program, p.lines.fast.bench_url, SHORT, 32))
  local long = short and counter(command(program, p.lines.fast.bench_url, LONG, 32))
  if type(long) == "number" then
    return (long - short) / (LONG - SHORT)
  elseif long then
    local calls, total = {}, 0
    for name, count in pairs(long) do
      calls[name] = (count - (short[name] or 0)) / (LONG - SHORT)
      total = total + calls[name]
    end
    calls.total = total
    return calls
  end
end

local instructions, calls = {}, {}
for _, program in ipairs(PROGRAMS) do
  progress("instructions and system calls: " .. program[2])
  instructions[program[1]] = per_call(measure.instructions, program[3])
  calls[program[1]] = per_call(measure.system_calls, program[3])
end

-- -------------------------------------------------------------------------------------------------------------- memory

p:profile("slow", { delay = 60 })

local function resident_with(program, in_flight)
  p:wait("slow", function(counters) return counters.in_flight == 0 end)
  local url = p.lines.slow.url .. (program == CLIENT and "" or "/chat/completions") -- the client adds the path itself
  return measure.resident(command(program, url, in_flight, in_flight), function()
    return p:counters("slow").in_flight == in_flight
  end)
end

local memory = {}
for _, program in ipairs(PROGRAMS) do
  progress("memory: " .. program[2])
  local few = resident_with(program[3], 1)
  memory[program[1]] = (resident_with(program[3], 1001) - few) / 1000 / 1024
end
local complaints = p:errors()
p:stop()

-- ------------------------------------------------------------------------------------------------------------- telling

local function range(spread, format)
  return (format .. ".." .. format):format(spread.min, spread.max)
end

measure.introduce()
print(("CPU per call, microseconds: median of %d interleaved rounds\n"):format(ROUNDS))
local lines = { { "", "in flight", "cpu us", "min..max", "x", "min..max", "against", "p50 ms", "p99 ms" } }
local results = { rounds = ROUNDS, cpu = {}, instructions = instructions, system_calls = calls, memory_kb = memory }
for _, row in ipairs(rows) do
  local cpu, ratio = measure.spread(row.cpu), measure.ratio(row.cpu, by_key[row.base].cpu)
  row.ratio = ratio.median
  row.p50_ms, row.p99_ms = measure.spread(row.p50).median / 1e3, measure.spread(row.p99).median / 1e3
  local own = row.base == row.key
  lines[#lines + 1] = {
    row.name, row.depth, ("%.1f"):format(cpu.median), range(cpu, "%.1f"), own and "" or ("%.2f"):format(ratio.median),
    own and "" or range(ratio, "%.2f"), own and "" or row.key:find "queued" and "32, no queue" or "libcurl",
    ("%.2f"):format(row.p50_ms), ("%.2f"):format(row.p99_ms),
  }
  results.cpu[row.key] = { us = cpu, ratio = ratio, base = row.base, p50_ms = row.p50_ms, p99_ms = row.p99_ms }
end
measure.table(lines)

print "\nper call, 32 in flight; memory: 1,000 more slow calls in flight\n"
lines = { { "", "instructions", "system calls", "memory KB" } }
for _, program in ipairs(PROGRAMS) do
  local key, count = program[1], calls[program[1]]
  lines[#lines + 1] = {
    program[2], instructions[key] and ("%.0f"):format(instructions[key]) or "-",
    count and ("%.2f"):format(count.total) or "-", ("%.1f"):format(memory[key]),
  }
end
measure.table(lines)
print ""
for _, program in ipairs(PROGRAMS) do
  local parts = {}
  for name, count in pairs(calls[program[1]] or {}) do
    if name ~= "total" and count >= 0.005 then
      parts[#parts + 1] = ("%s %.2f"):format(name, count)
    end
  end
  table.sort(parts)
  print(("  %s: %s"):format(program[2], table.concat(parts, ", ")))
end

local goals = measure.goals()
goals:add("core, no JSON, 32 in flight, against libcurl", by_key.core32.ratio, 1.25, " x")
goals:add("client:chat with JSON, 32 in flight, against libcurl", by_key.client32.ratio, 1.6, " x")
goals:add("core, 5,000 queued, against 32 in flight", by_key.core_queued.ratio, 1.3, " x")
goals:add("client:chat, 5,000 queued, against 32 in flight", by_key.client_queued.ratio, 1.3, " x")
goals:add("client:chat, 5,000 queued, p99 / p50", by_key.client_queued.p99_ms / by_key.client_queued.p50_ms, 3)
goals:add("client:chat, 256 in flight, p99 / p50", by_key.client256.p99_ms / by_key.client256.p50_ms, 3)
goals:add("instructions per call, core", instructions.core, 115000)
for _, key in ipairs { "core", "client" } do
  local count = calls[key]
  goals:add("system calls per call, " .. key, count and count.total, 4.5)
  for _, name in ipairs { "timerfd_settime", "epoll_ctl" } do -- none in the steady state: less than one in 200 calls
    goals:add(name .. " per call, " .. key, count and math.floor((count[name] or 0) * 100 + 0.5) / 100, 0)
  end
end
goals:add("memory per call in flight, core", memory.core, 20, " KB")
goals:add("memory per call in flight, client:chat", memory.client, 20, " KB")
results.goals = goals.list
print ""
goals:print()
print ""
measure.save("calls", results)
if #complaints > 0 then
  error("the provider complained: " .. complaints[1], 0)
end
