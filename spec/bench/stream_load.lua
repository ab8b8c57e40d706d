-- What the load programs of streams in Lua share with each other, and with raw_stream.c: arguments, counts, and the one
-- JSON line they print.
--
--   PROGRAM URL BODY_FILE IN_FLIGHT STREAMS       so many streams to their ends, after IN_FLIGHT that warm up
--   PROGRAM URL BODY_FILE IN_FLIGHT 0 SECONDS     IN_FLIGHT streams that outlast the window in which is measured
--
-- An https URL is asked over HTTP/2, certificates are not verified.

local core = require "surefoot.binding"

local M = {}

M.SETTLING = 2 -- seconds from the last stream's first event to the window

---@return { url: string, body: string, in_flight: integer, streams: integer, seconds: number?, http: string }
function M.arguments()
  local url, path, in_flight, streams, seconds = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5])
  if not streams then
    io.stderr:write("usage: ", arg[0], " URL BODY_FILE IN_FLIGHT STREAMS [SECONDS]\n")
    os.exit(2)
  end
  local file = assert(io.open(path, "rb"))
  local body = file:read "*a"
  file:close()
  return {
    url = url, body = body, in_flight = in_flight, streams = streams, seconds = seconds,
    http = url:find "^https:" and "2" or "1.1",
  }
end

---@return { streams: integer, errors: integer, chunks: integer, begun: integer }
function M.new()
  return { streams = 0, errors = 0, chunks = 0, begun = 0 }
end

---From here on is measured.
---@param load table
function M.begin(load)
  load.chunks, load.wall, load.cpu = 0, core.now(), os.clock()
end

---@param load table
---@param what any
function M.bad(load, what)
  load.errors = load.errors + 1
  if load.errors <= 3 then
    io.stderr:write(tostring(what), "\n")
  end
end

local function resident_kb()
  local file = assert(io.open "/proc/self/status")
  local kilobytes = file:read("*a"):match "VmRSS:%s+(%d+)"
  file:close()
  return tonumber(kilobytes)
end

---@param load table
function M.report(load)
  local cpu, wall = os.clock() - load.cpu, core.now() - load.wall
  print(('{"streams":%d,"errors":%d,"chunks":%d,"wall_s":%.6f,"cpu_us_per_chunk":%.3f,"rss_kb":%d,"lua_kb":%d}'):format(
    load.streams, load.errors, load.chunks, wall, load.chunks > 0 and cpu * 1e6 / load.chunks or 0, resident_kb(),
    math.floor(collectgarbage "count")))
end

return M
