-- What a call costs inside nginx: requests per second, latency and CPU of one worker that asks an upstream of 0, 20 and
-- 200 ms for 64 and for 1,000 clients; by surefoot (client:request with a body that is written already, the transport
-- alone; client:chat, JSON both ways), by a plain cosocket with a pool and honest HTTP/1.1, and by proxy_pass with
-- keepalive; in one nginx, one after another, in interleaved rounds. Then how much later a piece of a stream arrives,
-- and what 100 pending calls cost while nothing happens. Needs wrk.
-- Goals are reported, not enforced; an answer that is not 2xx ends the run. About five minutes; --quick: one.
-- lua5.4 -l spec.helper spec/bench/nginx_bench.lua [--quick] [ROUNDS]

local http = require "spec.support.http"
local measure = require "spec.bench.measure"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local sites = require "spec.bench.nginx_sites"
local socket = require "socket"
local usage = require "spec.support.usage"

local quick = arg[1] == "--quick"
local ROUNDS = quick and 1 or tonumber(arg[1]) or 3
local SECONDS, WARM = quick and 1 or 3, 1 -- of a run, as wrk takes them
local CLIENTS = { 64, 1000 }
local PENDING = 100

local WAYS = {
  { "proxy", "proxy_pass" },
  { "cosocket", "cosocket" },
  { "request", "client:request" },
  { "chat", "client:chat" },
}
local STREAMS = {
  { "direct", "no nginx between" },
  { "proxy_stream", "proxy_pass" },
  { "cosocket_stream", "cosocket" },
  { "chat_stream", "client:stream" },
}

if not process.which "wrk" then
  error("wrk was not found: install the package wrk", 0)
end

local function progress(text)
  io.stderr:write(text, "\n")
end

-- ----------------------------------------------------------------------------------------------------------- the cores

-- The front has a core of its own; wrk, the upstream and this process share the other one.
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

local upstream = nginx.start(sites.upstream())
local front = nginx.start(sites.front(upstream.port))
local worker = front:workers()[1]
pin(1, { worker })
pin(2, { upstream:workers()[1], process.self() })

-- ------------------------------------------------------------------------------------------------------------- a run

local SUFFIX = { us = 1e-3, ms = 1, s = 1000, m = 60000 }

local function milliseconds(output, percentile)
  local number, unit = output:match("\n%s+" .. percentile .. "%%%s+([%d.]+)(%a+)")
  return number and tonumber(number) * SUFFIX[unit] or error("wrk did not say its latency:\n" .. output, 0)
end

local function asked()
  local status = assert(upstream:get "/status")
  local accepted, requests = status.body:match "\n%s*(%d+)%s+%d+%s+(%d+)"
  return tonumber(requests), tonumber(accepted)
end

local function wrk(way, delay, clients, seconds)
  local words = { "sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh" }
  local rest = {
    "wrk", "-t1", "-c" .. clients, ("-d%ds"):format(seconds), "--timeout", "10s", "--latency",
    ("%s/%s/d%d/v1/chat/completions"):format(front.url, way, delay),
  }
  local path = front.dir .. "/wrk"
  local pid = process.spawn(table.move(rest, 1, #rest, #words + 1, words), { stdout = path })
  return pid, path
end

local function finish(pid, path, seconds)
  if not process.wait_for(function() return not process.alive(pid) end, seconds + 15) then
    process.stop(pid, "KILL")
    error("wrk did not end", 0)
  end
  local output = process.read(path)
  if output:find "Non%-2xx" or not output:find "requests in" then
    error("wrong answers, or none:\n" .. output .. front:log(), 0)
  end
  return output
end

local function warm(way, delay, clients)
  local pid, path = wrk(way, delay, clients, WARM)
  finish(pid, path, WARM)
end

-- CPU and requests of the middle of a run of wrk, latencies of the whole.
local function run(way, delay, clients)
  local pid, path = wrk(way, delay, clients, SECONDS)
  socket.sleep(0.25 * SECONDS)
  local requests, accepted = asked()
  local began, cpu = socket.gettime(), usage.cpu(worker)
  socket.sleep(0.6 * SECONDS)
  cpu = usage.cpu(worker) - cpu
  local seconds = socket.gettime() - began
  local more, more_accepted = asked()
  local output = finish(pid, path, SECONDS)
  requests = more - requests
  return {
    cpu = cpu * 1e6 / requests, rps = requests / seconds, busy = cpu / seconds,
    connects = (more_accepted - accepted - 1) * 1000 / requests, p50 = milliseconds(output, 50),
    p99 = milliseconds(output, 99),
  }
end

-- ---------------------------------------------------------------------------------------------------------- all runs

local cells = {}
for _, delay in ipairs(sites.DELAYS) do
  for _, clients in ipairs(CLIENTS) do
    local cell = { delay = delay, clients = clients, ways = {} }
    cells[#cells + 1] = cell
    for _, way in ipairs(WAYS) do
      cell.ways[way[1]] = { cpu = {}, rps = {}, p50 = {}, p99 = {}, connects = {}, busy = {} }
      warm(way[1], delay, clients)
    end
    for round = 1, ROUNDS do
      progress(("upstream of %d ms, %d clients: round %d of %d"):format(delay, clients, round, ROUNDS))
      for _, way in ipairs(WAYS) do
        for name, value in pairs(run(way[1], delay, clients)) do
          table.insert(cell.ways[way[1]][name], value)
        end
      end
    end
  end
end

-- ----------------------------------------------------------------------------------------------------------- streams

-- How late each piece of a stream is here, in milliseconds, sorted.
local function lateness(way)
  local from = way == "direct" and upstream or front
  local path = (way == "direct" and "/stream" or "/" .. way .. "/stream") .. "/v1/chat/completions"
  local connection = assert(http.connect("127.0.0.1", from.port, 60))
  assert(connection:send(http.format { url = from.url .. path }))
  local late, rest = {}, ""
  repeat
    local data = connection:fill()
    local now = socket.gettime()
    rest = rest .. (data or "")
    local last = 0
    for moment, stop in rest:gmatch "T(%d+%.%d%d%d%d%d%d);()" do
      late[#late + 1], last = (now - tonumber(moment)) * 1000, stop - 1
    end
    rest = rest:sub(last + 1)
  until #late == sites.PIECES or not data
  connection:close()
  if #late ~= sites.PIECES then
    error(("%s: %d pieces came, of %d:\n%s"):format(way, #late, sites.PIECES, front:log()), 0)
  end
  table.sort(late)
  return late
end

local streams = {}
for _, way in ipairs(STREAMS) do
  streams[way[1]] = { p50 = {}, p99 = {} }
end
for round = 1, ROUNDS do
  progress(("streams: round %d of %d"):format(round, ROUNDS))
  for _, way in ipairs(STREAMS) do
    local late = lateness(way[1])
    streams[way[1]].p50[round], streams[way[1]].p99[round] = late[#late // 2], late[math.floor(#late * 0.99)]
  end
end

-- ----------------------------------------------------------------------------------------------------------- pending

-- CPU milliseconds per second with so many calls more that wait; they stay to the end.
local kept = {}

local function pending(way)
  local before = tonumber(assert(upstream:get "/status").body:match "Writing: (%d+)")
  for _ = 1, PENDING do
    kept[#kept + 1] = front:open("/" .. way .. "/hang/v1/chat/completions", nil, 600)
  end
  assert(process.wait_for(function()
    return tonumber(assert(upstream:get "/status").body:match "Writing: (%d+)") >= before + PENDING
  end), way .. ": the calls did not reach the upstream")
  socket.sleep(1)
  local began, cpu, woken = socket.gettime(), usage.cpu(worker), usage.wakeups(worker)
  socket.sleep(SECONDS)
  local seconds = socket.gettime() - began
  return { cpu_ms = (usage.cpu(worker) - cpu) * 1000 / seconds, wakeups = (usage.wakeups(worker) - woken) / seconds }
end

progress "pending calls"
local idle = { cosocket = pending "cosocket" }
idle.request = pending "request"
idle.request.cpu_ms = idle.request.cpu_ms - idle.cosocket.cpu_ms -- those of the cosocket wait still
local complaints = front:complaints()
for _, connection in ipairs(kept) do
  connection:close()
end
front:stop(complaints)
upstream:stop()

-- ----------------------------------------------------------------------------------------------------------- telling

local function number(spread, format)
  return format:format(spread.median)
end

print(pinned and ("nginx under test on core %d; upstream and wrk on core %d"):format(CORES[1], CORES[2])
  or "not pinned (fewer than two cores, or no taskset): all disturb each other")
print(("one worker, lua_check_client_abort off; CPU: all its threads; median of %d interleaved rounds of %d s\n")
  :format(ROUNDS, SECONDS))

local results, goals = { rounds = ROUNDS, cells = {}, streams = {}, pending = idle }, measure.goals()
local lines = { { "upstream, clients", "by", "req/s", "p50 ms", "p99 ms", "cpu us", "x cosocket", "min..max", "busy",
  "connects/1000" } }
for _, cell in ipairs(cells) do
  local base = cell.ways.cosocket
  for i, way in ipairs(WAYS) do
    local row = cell.ways[way[1]]
    local ratio = measure.ratio(row.cpu, base.cpu)
    local told = { delay_ms = cell.delay, clients = cell.clients, way = way[1], ratio = ratio }
    for name, list in pairs(row) do
      told[name] = measure.spread(list)
    end
    results.cells[#results.cells + 1] = told
    lines[#lines + 1] = {
      i == 1 and ("%d ms, %d"):format(cell.delay, cell.clients) or "", way[2], number(told.rps, "%.0f"),
      number(told.p50, "%.2f"), number(told.p99, "%.2f"), number(told.cpu, "%.1f"),
      row == base and "" or ("%.2f"):format(ratio.median),
      row == base and "" or ("%.2f..%.2f"):format(ratio.min, ratio.max), number(told.busy, "%.2f"),
      number(told.connects, "%.1f"),
    }
    if cell.delay == 20 and way[1] == "request" then
      goals:add(("client:request, 20 ms, %d clients: CPU against a cosocket"):format(cell.clients), ratio.median, 1.1,
        " x")
    end
  end
end
measure.table(lines)

print(("\na stream of %d pieces, one each %g ms: how late a piece is\n"):format(sites.PIECES, sites.GAP * 1000))
lines = { { "by", "p50 ms", "p99 ms", "added to direct" } }
local direct = measure.spread(streams.direct.p50).median
for _, way in ipairs(STREAMS) do
  local row = streams[way[1]]
  local p50, p99 = measure.spread(row.p50).median, measure.spread(row.p99).median
  results.streams[way[1]] = { p50_ms = p50, p99_ms = p99 }
  lines[#lines + 1] = {
    way[2], ("%.3f"):format(p50), ("%.3f"):format(p99), way[1] == "direct" and "" or ("%.3f"):format(p50 - direct),
  }
end
measure.table(lines)

print(("\n%d calls pending, a second: cosocket %.2f ms of CPU, %.1f wake-ups; surefoot %.2f ms, %.1f wake-ups\n")
  :format(PENDING, idle.cosocket.cpu_ms, idle.cosocket.wakeups, idle.request.cpu_ms, idle.request.wakeups))

goals:add("client:stream: latency added to a piece", results.streams.chat_stream.p50_ms - direct, 0.15, " ms")
goals:add("100 calls pending: CPU per second", idle.request.cpu_ms, 1, " ms")
results.goals = goals.list
goals:print()
print ""
measure.save("nginx", results)
if #complaints > 0 then
  error("nginx complained: " .. complaints[1], 0)
end
