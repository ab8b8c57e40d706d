--- Several lines to one service: the near one goes down for a minute, and nobody notices. Simulated, so that it takes
-- no - time and no key; with real URLs in `endpoints` the client is the same. -   lua5.4 examples/lines.lua

local surefoot = require "surefoot"

-- What the lines do, in virtual time.
local function near(_, _, now)
  if now >= 60 and now < 120 then
    return { fault = "hang" }
  end
  return { after = 0.05, text = "from near" }
end
local function far()
  return { after = 0.4, text = "from far" }
end

local sim = surefoot.simulate { seed = 1, endpoints = { near = near, far = far } }
local client = sim:client {
  endpoints = {
    { name = "near" },              -- url = "https://api-hk.example.com/v1"
    { name = "far", priority = 2 }, -- url = "https://api.example.com/v1": asked when near is unwell
  },
  timeout = { attempt = 2 },
}

local minutes = {}
sim:spawn(function()
  while surefoot.now() < 180 do
    local minute = math.floor(surefoot.now() / 60) + 1
    local result, err = client:chat "Hello"
    local row = minutes[minute] or { near = 0, far = 0, failed = 0, slowest = 0 }
    minutes[minute] = row
    local name = result and result.endpoint or "failed"
    row[name] = row[name] + 1
    row.slowest = math.max(row.slowest, result and result.latency or 0)
    if err then
      print(err)
    end
    surefoot.sleep(0.5)
  end
end)
sim:run()

print "minute   near    far  failed  slowest"
for minute, row in ipairs(minutes) do
  print(("%6d %6d %6d %7d %6.2f s"):format(minute, row.near, row.far, row.failed, row.slowest))
end
local stats = client:stats()
print(("%d calls, %d attempts, near's circuit is %s"):format(stats.requests, stats.attempts,
  stats.endpoints.near.breaker))
