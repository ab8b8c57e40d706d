-- What a gateway costs: surefoot's beside nginx's proxy_pass, which is the floor, Portkey's and LiteLLM's, before the
-- same upstream, in one run, one after another, in interleaved rounds. How much later an answer comes with 1, 64 and
-- 256 connections at a rate that all of them bear; how many answers one core gives when it is asked for all it can, and
-- what each costs; what an event of a stream costs, paced and in bursts; what an open stream keeps in memory.
-- LiteLLM's proxy is asked for whole answers only, on 64 connections at most and as fast as it can: it bears no more.
-- What else the machine does adds to CPU and latency, and never takes away: goals look at the least of all rounds, too.
-- They are reported, not enforced; an answer that is not 200 ends the run. About eight minutes; --quick: three.
-- lua5.4 -l spec.helper spec/bench/gateway_bench.lua [--quick] [ROUNDS]

local cjson = require "cjson"
local measure = require "spec.bench.measure"
local process = require "spec.support.process"
local sites = require "spec.bench.gateway_sites"
local socket = require "socket"

local quick = arg[1] == "--quick"
local ROUNDS = quick and 1 or tonumber(arg[1]) or 3
local SECONDS, WARM = quick and 1 or 2, quick and 0.5 or 0.7
local CONNECTIONS = { 1, 64, 256 }
local RATE = 200 -- requests a second, which the slowest of them can bear
local STREAMS = 200 -- that are open at once, paced
local BURSTS = 8 -- at once
local FEW, MANY = 50, 1000 -- streams that are open while memory is looked at

local LOADS = {}
for _, count in ipairs(CONNECTIONS) do
  LOADS[#LOADS + 1] = { key = "added " .. count, kind = "whole", connections = count, rate = RATE }
  LOADS[#LOADS + 1] = { key = "full " .. count, kind = "whole", connections = count, rate = 0 }
end
LOADS[#LOADS + 1] = { key = "paced", kind = "paced", connections = STREAMS, rate = 0 }
LOADS[#LOADS + 1] = { key = "burst", kind = "burst", connections = BURSTS, rate = 0 }
LOADS[#LOADS + 1] = { key = "burst16", kind = "burst16", connections = BURSTS, rate = 0 }

-- ----------------------------------------------------------------------------------------------------------- the cores

-- The front under test has a core of its own; callers, upstream and this process share the other one.
local CORES = {}
for first, last in ((process.read "/proc/self/status"):match "Cpus_allowed_list:%s*(%S+)"):gmatch "(%d+)%-?(%d*)" do
  for core = tonumber(first), tonumber(last) or tonumber(first) do
    CORES[#CORES + 1] = core
  end
end
local pinned = #CORES >= 2 and process.which "taskset" ~= nil

local function pin(core, pids)
  for _, pid in ipairs(pinned and pids or {}) do
    process.capture(("taskset -apc %d %d >/dev/null"):format(CORES[core], pid))
  end
end

local dir = process.temp_dir "surefoot-bench"
local upstream = sites.upstream(dir)
local fronts, skipped = { sites.direct(upstream), sites.proxy(upstream) }, {}
fronts[3], fronts[4] = sites.gateway(upstream, dir)
fronts[5] = sites.keyed(upstream, dir)
for _, name in ipairs { "portkey", "litellm" } do
  local front, missing = sites[name](upstream, dir)
  fronts[#fronts + 1], skipped[#skipped + 1] = front, missing
end
pin(2, upstream.pids)
pin(2, { process.self() })
for i = 2, #fronts do
  pin(1, fronts[i].pids)
end

-- --------------------------------------------------------------------------------------------------------------- a run

local function run(front, load, warm, seconds)
  local path = dir .. "/request"
  process.write(path, front.requests[load.kind])
  local words = { "sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh", "build/lua5.4/test/bench/front_load",
    tostring(front.port), path, tostring(load.connections), tostring(load.rate),
    tostring(warm or WARM), tostring(seconds or SECONDS), table.concat(front.pids, ",") }
  local output, code = process.capture(process.command(words) .. " 2>&1")
  local numbers = code == 0 and cjson.decode(output:match "([^\n]+)\n*$") or {}
  local stream = sites.STREAMS[load.kind]
  if numbers.errors ~= 0 or (stream and numbers.events or numbers.requests) == 0 then
    error(("%s, %s: status %d, %s"):format(front.name, load.key, code, output), 0)
  end
  if front.lingers and stream and stream.lasts then
    socket.sleep(stream.lasts)
  end
  return numbers
end

local function progress(text)
  io.stderr:write(text, "\n")
end

-- Resident kilobytes of a stream more: before anything else has made the processes grow.
local memory = {}
for _, front in ipairs(fronts) do
  if front.requests.slow and front.key ~= "translated" then
    progress("memory of open streams: " .. front.name)
    local few = run(front, { key = "slow", kind = "slow", connections = FEW, rate = 0 }, 1, 2)
    local many = run(front, { key = "slow", kind = "slow", connections = MANY, rate = 0 }, 4, 3)
    memory[front.key] = (many.rss_kb - few.rss_kb) / (MANY - FEW)
  end
end

local function bears(front, load)
  return front.requests[load.kind] and not (front.slow and (load.rate > 0 or load.connections > 64))
end

local cells = {}
for round = 1, ROUNDS do
  for _, load in ipairs(LOADS) do
    progress(("%s: round %d of %d"):format(load.key, round, ROUNDS))
    local cell = cells[load.key] or {}
    cells[load.key] = cell
    for _, front in ipairs(fronts) do
      if bears(front, load) then
        local n = run(front, load)
        local row = cell[front.key] or { cpu = {}, p50 = {}, p99 = {}, rate = {}, busy = {} }
        cell[front.key] = row
        local count = sites.STREAMS[load.kind] and n.events or n.requests
        row.cpu[round], row.rate[round], row.busy[round] = n.cpu_s * 1e6 / count, count / n.wall_s, n.cpu_s / n.wall_s
        row.p50[round], row.p99[round] = n.p50_us / 1000, n.p99_us / 1000
      end
    end
  end
end

for _, front in ipairs(fronts) do
  front.stop()
end
upstream.stop()
process.remove_dir(dir)

-- ------------------------------------------------------------------------------------------------------------- telling

local results = { rounds = ROUNDS, seconds = SECONDS, rate = RATE, cells = {}, memory_kb = memory }
local goals = measure.goals()

local function median(list)
  return list and measure.spread(list).median
end

local function least(list)
  return measure.spread(list).min
end

local function show(value, format)
  return value and format:format(value) or ""
end

-- Differences to another row, round by round.
local function added(list, base)
  local differences = {}
  for i, value in ipairs(list) do
    differences[i] = value - base[i]
  end
  return measure.spread(differences)
end

print(pinned and ("the front on core %d; callers and upstream on core %d"):format(CORES[1], CORES[2])
  or "not pinned (fewer than two cores, or no taskset): all disturb each other")
print(("one worker; CPU: all its threads; medians of %d interleaved rounds of %g s"):format(ROUNDS, SECONDS))

local function each(load, tell)
  for i, front in ipairs(fronts) do
    local row = cells[load][front.key]
    if row then
      tell(front, row, i)
    end
  end
end

for _, load in ipairs(LOADS) do
  results.cells[load.key] = {}
  each(load.key, function(front, row)
    local told = {}
    for name, list in pairs(row) do
      told[name] = measure.spread(list)
    end
    results.cells[load.key][front.key] = told
  end)
end

print(("\n%d requests a second: how much later an answer comes\n"):format(RATE))
local lines = { { "connections", "by", "p50 ms", "p99 ms", "p50 added", "min..max", "p99 added", "cpu us" } }
for _, count in ipairs(CONNECTIONS) do
  local key = "added " .. count
  local direct = cells[key].direct
  each(key, function(front, row, i)
    local p50, p99 = added(row.p50, direct.p50), added(row.p99, direct.p99)
    local own = row == direct
    lines[#lines + 1] = {
      i == 1 and tostring(count) or "", front.name, show(median(row.p50), "%.3f"), show(median(row.p99), "%.3f"),
      own and "" or show(p50.median, "%.3f"), own and "" or ("%.3f..%.3f"):format(p50.min, p50.max),
      own and "" or show(p99.median, "%.3f"), show(median(row.cpu), "%.1f"),
    }
    if front.key == "gateway" then
      goals:add(("p50 added at %d connections, least"):format(count), p50.min, 0.25, " ms")
    end
  end)
end
measure.table(lines)

print "\nas many requests as it answers\n"
lines = { { "connections", "by", "req/s", "p50 ms", "p99 ms", "cpu us", "least", "x proxy_pass", "min..max", "busy",
  "req/s per core" } }
for _, count in ipairs(CONNECTIONS) do
  local key = "full " .. count
  local proxy = cells[key].proxy
  each(key, function(front, row, i)
    local ratio = measure.ratio(row.cpu, proxy.cpu)
    local cpu = median(row.cpu)
    lines[#lines + 1] = {
      i == 1 and tostring(count) or "", front.name, show(median(row.rate), "%.0f"), show(median(row.p50), "%.3f"),
      show(median(row.p99), "%.3f"), show(cpu, "%.1f"), show(least(row.cpu), "%.1f"), show(ratio.median, "%.2f"),
      ("%.2f..%.2f"):format(ratio.min, ratio.max), show(median(row.busy), "%.2f"), show(1e6 / cpu, "%.0f"),
    }
    if front.key == "gateway" then
      goals:add(("CPU per request at %d connections, least"):format(count), least(row.cpu), 50, " us")
    end
  end)
end
measure.table(lines)

print(("\nevents of streams: %d paced, one each %g ms; bursts of 200, %d streams at once, an event or 16 a write\n")
  :format(STREAMS, sites.STREAMS.paced.every * 1000, BURSTS))
lines = { { "streams", "by", "events/s", "cpu us", "x proxy_pass", "min..max", "busy" } }
for _, key in ipairs { "paced", "burst", "burst16" } do
  local proxy = cells[key].proxy
  each(key, function(front, row, i)
    local ratio = measure.ratio(row.cpu, proxy.cpu)
    lines[#lines + 1] = {
      i == 2 and key or "", front.name, show(median(row.rate), "%.0f"), show(median(row.cpu), "%.2f"),
      show(ratio.median, "%.2f"), ("%.2f..%.2f"):format(ratio.min, ratio.max), show(median(row.busy), "%.2f"),
    }
    if front.key == "gateway" and key == "paced" then
      goals:add("CPU of a paced event against proxy_pass", ratio.median, 3, " x")
    end
  end)
end
measure.table(lines)

print(("\nresident memory of one open stream more, of %d\n"):format(MANY))
lines = { { "by", "KB" } }
for _, front in ipairs(fronts) do
  if memory[front.key] then
    lines[#lines + 1] = { front.name, ("%.1f"):format(memory[front.key]) }
  end
end
measure.table(lines)

results.goals = goals.list
print ""
goals:print()
print ""
for _, what in ipairs(skipped) do
  print(what)
end
measure.save("gateway", results)
