-- See nginx_soak.sh. One line per slice: requests so far, requests a second, what the worker holds.

local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local usage = require "spec.support.usage"

local TOTAL = assert(tonumber(arg[1]), "how many requests?")
local SECONDS = 10 -- of a slice
local SETTLED = 0.2 -- after this share of all requests nothing may grow any more
local ALLOWED = 0.05 -- share of the memory that counts as noise

if not process.which "wrk" then
  io.stderr:write "skipped: wrk was not found: install the package wrk\n"
  os.exit(0)
end

local LAB = [[
local surefoot = require "surefoot"
local function new(base_url)
  return surefoot.new { base_url = base_url, api_key = "sk-test-0123456789", model = "m" }
end
return { client = new "{{url}}", streams = new "{{url}}/stream/20/0", count = 0 }
]]

local p = provider.start()
local n = nginx.start {
  init = [[require "lab"]],
  modules = { lab = (LAB:gsub("{{url}}", p.lines.a.bench_url)) },
  -- every tenth a stream
  locations = { ["/chat"] = [[
    local lab = require "lab"
    lab.count = lab.count + 1
    local result, err
    if lab.count % 10 == 0 then
      local stream, problem = lab.streams:stream "x"
      result, err = nil, problem
      if stream then
        result, err = stream:result()
      end
    else
      result, err = lab.client:chat "x"
    end
    if not result then
      ngx.log(ngx.ERR, tostring(err))
      return ngx.exit(502)
    end
    ngx.print(result.text)
  ]] },
}

local function fail(message)
  io.stderr:write("nginx soak: ", message, "\n")
  pcall(n.stop, n)
  p:stop()
  os.exit(1)
end

local function slice(seconds)
  local output = process.capture(("wrk -t1 -c64 -d%ds %s/chat 2>&1"):format(seconds, n.url))
  local count = tonumber(output:match "(%d+) requests in")
  if not count or output:find "Non%-2xx" or output:find "Socket errors" then
    fail(output)
  end
  return count, tonumber(output:match "Requests/sec:%s*([%d.]+)")
end

local worker = n:workers()[1]
local done, base = 0, nil
while done < TOTAL do
  local count, rate = slice(SECONDS)
  done = done + count
  local memory, threads, files = usage.memory(worker), usage.threads(worker), usage.files(worker)
  print(("%8d requests  %6.0f/s  %6.2f MB  %d threads  %d files"):format(done, rate, memory / 2 ^ 20, threads, files))
  io.stdout:flush()
  if not base and done >= SETTLED * TOTAL then
    base = memory
  elseif base and memory > base * (1 + ALLOWED) then
    fail(("memory grew from %.2f to %.2f MB"):format(base / 2 ^ 20, memory / 2 ^ 20))
  end
end
if n:workers()[1] ~= worker then
  fail "the worker was replaced"
end
n:stop()
p:stop()
print(("nginx soak: %d requests, none failed, memory flat"):format(done))
