-- What a chunk of a stream costs, and an open stream: CPU, instructions, system calls and memory of streamed chat
-- calls (events of 195 bytes, loopback) against libcurl alone, in the same run, interleaved.
--   apart     100 streams, an event each 20 ms, each stream at a moment of its own: every chunk wakes the process
--   together  the same, all at one moment: one wake brings many chunks
--   burst     8 streams, as fast as they are read: written one by one, and 16 events at once
--   slow      8,000 streams over HTTP/1.1 and 10,000 over HTTP/2, an event each second
-- Goals are reported, not enforced; a failed or wrong stream ends the run.
-- lua5.4 -l spec.helper spec/bench/streams_bench.lua [ROUNDS]

local cjson = require "cjson"
local measure = require "spec.bench.measure"
local peers = require "spec.bench.peers"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local ROUNDS = tonumber(arg[1]) or 5
local SLOW_ROUNDS = math.min(ROUNDS, 3) -- each takes minutes
local IN_FLIGHT, WINDOW = 100, 4
local SLOW_WINDOW, FEW = 10, 100

local PROGRAMS = {
  { "raw", "libcurl alone, in C", { "build/lua5.4/test/bench/raw_stream" } },
  { "core", "core, no JSON", { "lua5.4", "-l", "spec.helper", "spec/bench/core_stream.lua" } },
  { "client", "client:stream, JSON", { "lua5.4", "-l", "spec.helper", "spec/bench/client_stream.lua" } },
}

local function progress(text)
  io.stderr:write(text, "\n")
end

local skipped = {}

local function skip(what)
  skipped[#skipped + 1] = what
  progress(what)
end

-- ------------------------------------------------------------------------------------------------------- the servers

local dir = process.temp_dir "surefoot-streams"
local body_path = dir .. "/request.json"
do
  local message = { role = "user", content = "" }
  local request = { model = "sim-large", messages = { message }, temperature = 0.7, max_tokens = 256 }
  message.content = ("surefoot "):rep(60):sub(1, 455 - #cjson.encode(request))
  process.write(body_path, cjson.encode(request))
end

-- The server listens on all of 127.0.0.0/8, so that no address runs out of ports.
local function start_server()
  local path = dir .. "/port"
  local pid = process.spawn(measure.client { "build/lua5.4/test/bench/stream_server", 0, process.self() },
    { stdout = path, stderr = "/dev/stderr" })
  local port = process.wait_for(function()
    return (process.read(path) or ""):match "^(%d+)\n"
  end)
  measure.pin_server(pid)
  return pid, assert(port, "the stream server did not start: `make bench` builds it")
end

local server, port = start_server()

local function url(options, host)
  return ("http://127.0.0.%d:%s/%s"):format(host or 2, port, options)
end

local function start_provider()
  local ok, p = pcall(provider.start, { tls = true })
  if not ok then
    return nil, tostring(p)
  end
  measure.pin_server(p.pid)
  local line = p.lines.a
  return p, line.tls_bench_url and line.tls_bench_url .. "/stream/100000/1"
end

-- nil, and it is said why, where there is no SDK to compare with.
local function sdk_program()
  local folder, why = peers.node("openai", peers.OPENAI)
  if not folder then
    return skip("without OpenAI's SDK: " .. why)
  end
  return { "sdk", peers.OPENAI .. ", node", { "node", "spec/bench/openai_sdk.mjs", folder } }
end

-- --------------------------------------------------------------------------------------------------------- programs

local function command(program, address, in_flight, streams, seconds)
  local words = table.move(program[3], 1, #program[3], 1, {})
  for _, word in ipairs { address, body_path, in_flight, streams, seconds } do
    words[#words + 1] = word
  end
  return words
end

-- A window in which no chunk came, or far fewer than were sent, measures nothing.
local function run(argv, expected)
  local numbers = measure.run(argv)
  if numbers.chunks < expected then
    error(("%s: %d chunks came, of %d"):format(table.concat(argv, " "), numbers.chunks, expected), 0)
  end
  return numbers
end

local rows, by_key = {}, {}

local function add_row(kind, program, argv, expected, rounds)
  local row = {
    key = kind .. "_" .. program[1], base = kind .. "_raw", kind = kind, name = program[2], argv = argv,
    expected = expected, rounds = rounds, cpu = {}, rss = {},
  }
  rows[#rows + 1], by_key[row.key] = row, row
  return row
end

local function add_rows(kind, address, list, in_flight, streams, seconds, expected, rounds)
  for i, program in ipairs(list) do
    local to = type(address) == "function" and address(i) or address
    add_row(kind, program, command(program, to, in_flight, streams, seconds), expected, rounds)
  end
end

local beats = IN_FLIGHT * WINDOW * 50 * 0.98
local with_sdk = { table.unpack(PROGRAMS) }
with_sdk[#with_sdk + 1] = sdk_program()
add_rows("apart", url "chunks=1000000/delay_ms=20", with_sdk, IN_FLIGHT, 0, WINDOW, beats, ROUNDS)
add_rows("together", url "chunks=1000000/delay_ms=20/spread=0", PROGRAMS, IN_FLIGHT, 0, WINDOW, beats, ROUNDS)
add_rows("burst", url "chunks=196", PROGRAMS, 8, 400, nil, 400 * 200, ROUNDS)
add_rows("burst of 16", url "chunks=196/per_write=16", PROGRAMS, 8, 400, nil, 400 * 200, ROUNDS)

local limit = tonumber((process.capture("ulimit -Hn"):match "%d+")) or 1e6

local function most(count, files_each)
  local possible = math.min(count, math.floor((limit - 200) / files_each))
  if possible < count then
    skip(("only %d slow streams instead of %d: the hard limit is %d open files"):format(possible, count, limit))
  end
  return possible
end

local slow = most(8000, 1)
add_rows("slow", function(i) return url("chunks=100000/delay_ms=1000", 2 + i) end, PROGRAMS, slow, 0, SLOW_WINDOW,
  slow * SLOW_WINDOW * 0.98, SLOW_ROUNDS)
add_rows("few", url "chunks=100000/delay_ms=1000", PROGRAMS, FEW, 0, 2, FEW, SLOW_ROUNDS)

local tls, tls_url = start_provider()
local shared = most(10000, 0.01)
if tls and tls_url then
  add_rows("slow h2", tls_url, PROGRAMS, shared, 0, SLOW_WINDOW, shared * SLOW_WINDOW * 0.9, SLOW_ROUNDS)
  add_rows("few h2", tls_url, PROGRAMS, FEW, 0, 2, FEW, SLOW_ROUNDS)
else
  skip("without HTTP/2: " .. (tls and "the simulated provider has no /bench/stream" or tls_url))
end

for round = 1, ROUNDS do
  progress(("CPU, round %d of %d"):format(round, ROUNDS))
  for _, row in ipairs(rows) do
    if round <= row.rounds then
      local numbers = run(row.argv, row.expected)
      row.cpu[round], row.rss[round] = numbers.cpu_us_per_chunk, numbers.rss_kb
    end
  end
end

-- ------------------------------------------------------------------------------------------ instructions, system calls

-- The difference of a long and a short run of ten streams, after ten that warm up: what starting costs cancels out.
local SHORT, LONG = 100, 300

local function per_chunk(counter, program)
  local function count(chunks)
    return counter(command(program, url(("chunks=%d/delay_ms=20"):format(chunks)), 10, 10))
  end
  local short = count(SHORT)
  local long, each = short and count(LONG), 20 * (LONG - SHORT)
  if type(long) == "number" then
    return (long - short) / each
  elseif long then
    local calls, total = {}, 0
    for name, number in pairs(long) do
      calls[name] = (number - (short[name] or 0)) / each
      total = total + calls[name]
    end
    calls.total = total
    return calls
  end
end

local instructions, calls = {}, {}
for _, program in ipairs(PROGRAMS) do
  progress("instructions and system calls: " .. program[2])
  instructions[program[1]] = per_chunk(measure.instructions, program)
  calls[program[1]] = per_chunk(measure.system_calls, program)
end

local complaints = tls and tls:errors() or {}
if tls then
  tls:stop()
end
process.stop(server)
process.remove_dir(dir)

-- ------------------------------------------------------------------------------------------------------------ telling

local function range(spread)
  return ("%.1f..%.1f"):format(spread.min, spread.max)
end

local results = { rounds = ROUNDS, skipped = skipped, cpu = {}, instructions = instructions, system_calls = calls,
  memory_kb = {}, streams = { slow = slow, ["slow h2"] = shared } }

measure.introduce()
print(("CPU per chunk, microseconds: median of %d interleaved rounds (slow: %d)\n"):format(ROUNDS, SLOW_ROUNDS))
local lines = { { "", "streams", "cpu us", "min..max", "x libcurl", "min..max" } }
for _, row in ipairs(rows) do
  if not row.kind:find "^few" then
    local cpu, ratio = measure.spread(row.cpu), measure.ratio(row.cpu, by_key[row.base].cpu)
    local own = row.key == row.base
    row.us, row.ratio = cpu.median, ratio.median
    lines[#lines + 1] = {
      row.name, row.kind, ("%.1f"):format(cpu.median), range(cpu), own and "" or ("%.2f"):format(ratio.median),
      own and "" or ("%.2f..%.2f"):format(ratio.min, ratio.max),
    }
    results.cpu[row.key] = { us = cpu, ratio = ratio }
  end
end
measure.table(lines)

-- Kilobytes of one stream more: what many hold beyond what a few do.
local function memory(kind, few, count)
  local key = kind .. "_"
  local found = {}
  for _, program in ipairs(PROGRAMS) do
    local many, little = by_key[key .. program[1]], by_key[few .. "_" .. program[1]]
    found[program[1]] = many
      and (measure.spread(many.rss).median - measure.spread(little.rss).median) / (count - FEW) or nil
  end
  results.memory_kb[kind] = found
  return found
end

local plain, multiplexed = memory("slow", "few", slow), memory("slow h2", "few h2", shared)

local function show(value, format)
  return value and format:format(value) or "-"
end

print(("\nper chunk, each a wake; memory of one open stream (%d over HTTP/1.1, %d over HTTP/2)\n"):format(slow, shared))
lines = { { "", "instructions", "system calls", "HTTP/1.1 KB", "HTTP/2 KB" } }
for _, program in ipairs(PROGRAMS) do
  local key = program[1]
  lines[#lines + 1] = {
    program[2], show(instructions[key], "%.0f"), show(calls[key] and calls[key].total, "%.2f"),
    show(plain[key], "%.1f"), show(multiplexed[key], "%.1f"),
  }
end
measure.table(lines)

local goals = measure.goals()
goals:add("core, no JSON, streams apart, against libcurl", by_key.apart_core.ratio, 1.25, " x")
goals:add("client:stream, streams apart, against libcurl", by_key.apart_client.ratio, 1.5, " x")
for _, kind in ipairs { "slow", "slow h2" } do
  local found, core, client = results.memory_kb[kind], by_key[kind .. "_core"], by_key[kind .. "_client"]
  goals:add(kind .. ": CPU per chunk, core", core and core.us, 12, " us")
  goals:add(kind .. ": CPU per chunk, client:stream", client and client.us, 16, " us")
  for _, program in ipairs { PROGRAMS[2], PROGRAMS[3] } do
    local kilobytes = found[program[1]] and found[program[1]] - found.raw
    goals:add(kind .. ": memory per stream beyond libcurl's, " .. program[2], kilobytes, 6, " KB")
  end
end
local sdk = by_key.apart_sdk
local against = sdk and measure.ratio(by_key.apart_client.cpu, sdk.cpu).median
goals:add("client:stream, streams apart, against OpenAI's SDK", against, 0.2, " x")
results.goals = goals.list
print ""
goals:print()
print ""
for _, what in ipairs(skipped) do
  print(what)
end
measure.save("streams", results)
if #complaints > 0 then
  error("the provider complained: " .. complaints[1], 0)
end
