-- See batch_soak.sh. One line per run of the command: how it ended, rows so far, rows a second, what it held at most.

local cjson = require "cjson.safe"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"

local ROWS = assert(tonumber(arg[1]), "how many rows?")
local SHORT = math.max(1000, ROWS / 20)
local KILLS = 3
local LIMIT = 60
local BAD = 1000 -- every so many rows asks for a model that refuses it
local ALLOWED = 4096 -- kB that a long batch may hold beyond a short one: the bits of its lines, and noise

local dir = process.temp_dir "soak"
local p = provider.start { lines = { "a", "b" } }
local bad = { bad = { status = { code = 400 } } }
local faults = { reset = 0.004, close = 0.004, truncate = 0.004, malformed = 0.002, status = {
  ["503"] = 0.01, ["500"] = 0.005, ["429"] = 0.005 } }

local function reset()
  p:reset()
  p:profile("a", { latency = { median = 0.008, sigma = 0.6 }, faults = faults, by_model = bad })
  p:profile("b", { latency = { median = 0.012, sigma = 0.6 }, faults = faults, by_model = bad })
end

local function finish(code)
  p:stop()
  process.remove_dir(dir)
  os.exit(code)
end

local function fail(message, ...)
  io.stderr:write("batch soak: ", message:format(...), "\n")
  finish(1)
end

local function path(name)
  return dir .. "/" .. name
end

local function is_bad(row)
  return row % BAD == 0
end

local function write_input(name, count)
  local file = assert(io.open(path(name), "w"))
  for row = 1, count do
    file:write(('{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","messages":'
      .. '[{"role":"user","content":"question %d %s"}]}}\n'):format(row, is_bad(row) and "bad" or "m", row,
      ("x"):rep(row % 300)))
  end
  file:close()
end

process.write(path "main.lua", 'os.exit(require("surefoot.cli").main(arg), true)')
process.write(path "config.lua", ([[return { model = "m", api_key = "sk-test-0123456789",
  endpoints = { { url = %q }, { url = %q } }, concurrency = { limit = %d } }]]):format(p.lines.a.url, p.lines.b.url,
  LIMIT))

local function begin(input, output)
  local line = process.command { "lua5.4", "-l", "spec.helper", path "main.lua", "batch", path(input),
    "-o", path(output), "--config", path "config.lua" }
  os.remove(path "code")
  os.remove(path "pid")
  process.spawn { "sh", "-c", ("%s >%s 2>%s & echo $! >%s; wait $!; echo $? >%s"):format(line, path "stdout",
    path "stderr", path "pid", path "code") }
  return process.wait_for(function()
    return tonumber((process.read(path "pid") or ""):match "%d+")
  end)
end

local function exit_code()
  return tonumber((process.read(path "code") or ""):match "%d+")
end

-- The size says how far it is: reading the rows would take longer than writing them.
local function size_of(name)
  local file = io.open(path(name), "rb")
  local size = file and file:seek "end" or 0
  if file then
    file:close()
  end
  return size
end

-- Runs it until it has ended, or its output is so large, when it is killed; what it held at most, in kB.
local function run(input, output, kill_at)
  local pid, began, peak, samples = begin(input, output), socket.gettime(), 0, {}
  while not exit_code() do
    local status = process.read("/proc/" .. pid .. "/status") or ""
    peak = math.max(peak, tonumber(status:match "VmHWM:%s+(%d+)") or 0)
    samples[#samples + 1] = tonumber(status:match "VmRSS:%s+(%d+)")
    if kill_at and size_of(output) >= kill_at then
      process.signal(pid, "KILL")
      kill_at = nil
    end
    socket.sleep(0.02)
  end
  return exit_code(), peak, socket.gettime() - began, samples
end

local function count_lines(name)
  local count = 0
  local file = io.open(path(name), "rb")
  for _ in function() return file and file:read "*l" end do
    count = count + 1
  end
  if file then
    file:close()
  end
  return count
end

local function check_row(row, name, seen)
  local number = row and tonumber((row.custom_id or ""):match "^r(%d+)$")
  if not number or seen[number] then
    fail("%s: a row twice, or no row: %s", name, number and "r" .. number or "?")
  end
  seen[number] = true
  if name == "out.failed.jsonl" then
    if not is_bad(number) or row.error.code ~= "invalid_request" then
      fail("r%d failed: %s", number, row.error.message)
    end
  elseif row.response.body.choices[1].message.content ~= ("echo: question %d %s"):format(number,
    ("x"):rep(number % 300)) then
    fail("r%d has the answer of another", number)
  end
end

local function check_rows()
  local seen = {}
  for _, name in ipairs { "out.jsonl", "out.failed.jsonl" } do
    for line in io.lines(path(name)) do
      check_row(cjson.decode(line), name, seen)
    end
  end
  for row = 1, ROWS do
    if not seen[row] then
      fail("r%d is nowhere", row)
    end
  end
end

local function tell(what, rows, seconds, peak)
  print(("%-10s %7d rows  %6.0f rows/s  at most %d kB"):format(what, rows, rows / seconds, peak))
end

reset()
write_input("short.jsonl", SHORT)
local code, short_peak, seconds = run("short.jsonl", "short.out.jsonl")
if code ~= 1 then
  fail("the short one ended with %d: %s", code, process.read(path "stderr"))
end
tell("short", SHORT, seconds, short_peak)
reset()
write_input("in.jsonl", ROWS)
math.randomseed(os.time())
local whole = size_of "short.out.jsonl" / SHORT * ROWS
local before, peak = 0, 0
for kill = 1, KILLS do
  local _, held, took = run("in.jsonl", "out.jsonl", whole * (kill - 1 + math.random()) / (KILLS + 1))
  local rows = count_lines "out.jsonl" + count_lines "out.failed.jsonl"
  if exit_code() ~= 137 or rows >= ROWS then
    fail("it had ended before the kill: %s", process.read(path "stderr"))
  end
  tell("killed", rows - before, took, held)
  before, peak = rows, math.max(peak, held)
end
local held, took, samples
code, held, took, samples = run("in.jsonl", "out.jsonl")
if code ~= 1 then
  fail("it ended with %d: %s", code, process.read(path "stderr"))
end
tell("to the end", ROWS - before, took, held)
print(process.read(path "stdout"))
check_rows()
local requests = p:counters("a").requests + p:counters("b").requests
print(("%d rows, each once; %d requests, %.3f a row"):format(ROWS, requests, requests / ROWS))
print(("resident of the last run: %d kB after a tenth, %d kB at the end"):format(samples[math.ceil(#samples / 10)],
  samples[#samples]))
peak = math.max(peak, held)
if peak > short_peak + ALLOWED then
  fail("%d kB, the short one %d kB", peak, short_peak)
end
finish(0)
