-- What the load programs in Lua share: their arguments, the count of calls, and the one JSON line they print, the same
-- as load.h's. CPU time (user and system) and wall time run from begin() to report().

local core = require "surefoot.binding"

local M = {}

---@return { url: string, body: string, requests: integer, in_flight: integer, submitted: integer }
function M.arguments()
  local url, path, requests, in_flight, submitted = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5])
  if not in_flight then
    io.stderr:write("usage: ", arg[0], " URL BODY_FILE REQUESTS IN_FLIGHT [SUBMITTED_AT_ONCE]\n")
    os.exit(2)
  end
  local file = assert(io.open(path, "rb"))
  local body = file:read "*a"
  file:close()
  return { url = url, body = body, requests = requests, in_flight = in_flight, submitted = submitted or in_flight }
end

---@return table load
function M.begin()
  local load = { good = 0, errors = 0 }
  collectgarbage()
  load.wall, load.cpu = core.now(), os.clock()
  return load
end

---@param load table
---@param what string
function M.bad(load, what)
  load.errors = load.errors + 1
  if load.errors <= 3 then
    io.stderr:write(what, "\n")
  end
end

---@param load table
---@param latency { p50: number, p99: number } seconds
function M.report(load, latency)
  local cpu, wall = os.clock() - load.cpu, core.now() - load.wall
  local requests = load.good + load.errors
  print(('{"requests":%d,"errors":%d,"wall_s":%.6f,"cpu_us_per_request":%.3f,"rps":%.1f,"p50_us":%.1f,"p99_us":%.1f}')
    :format(requests, load.errors, wall, cpu * 1e6 / requests, requests / wall, latency.p50 * 1e6, latency.p99 * 1e6))
end

return M
