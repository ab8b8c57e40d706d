--- The policies alone, for calls that are not surefoot's: databases, queues, other HTTP clients.
---   lua5.4 examples/policies.lua

local policy = require "surefoot.policy"

-- A service that fails three times, then answers.
local calls = 0
local function fetch(name)
  calls = calls + 1
  if calls < 4 then
    return nil, { kind = "server", message = "try later" }
  end
  return "hello, " .. name
end

local guarded = policy.wrap(fetch, {
  retry = { max_attempts = 5, base_delay = 0.01, max_delay = 0.05 },
  breaker = policy.circuit_breaker { failure_threshold = 10 },
  rate = policy.rate_limiter { rate = 100, burst = 10 },
  deadline = 5,
})
print(guarded "policies", calls .. " calls")

-- Delays before the retries of one call: the cap comes before the jitter, so that clients do not march in step.
local backoff = policy.backoff { base_delay = 0.5, max_delay = 8, jitter = "full",
  random = function() return 0.999 end }
for n = 1, 6 do
  io.write(("%.1f "):format(backoff:delay(n)))
end
print "seconds at most before retry 1 to 6"

-- A limiter never sleeps: it says how long to wait.
local now = 0
local limiter = policy.rate_limiter { rate = 2, burst = 2, clock = function() return now end }
for i = 1, 3 do
  local ok, wait = limiter:try(1)
  print(("request %d: %s"):format(i, ok and "go" or ("wait %.1f s"):format(wait)))
end

-- What a server asks for.
print(policy.retry_after({ ["retry-after"] = "Sun, 06 Nov 1994 08:49:37 GMT", date = "Sun, 06 Nov 1994 08:49:30 GMT" },
  { now = 784111770, cap = 120 }), "seconds by an HTTP date, measured against the server's own clock")
