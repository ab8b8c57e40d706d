-- What a policy costs per call through Lua, as policy_cost.c measures it in C; here the real clock is read.
--
--   lua5.4 -l spec.helper spec/bench/policy_load.lua OPERATIONS    prints one line of JSON, nanoseconds per operation

local policy = require "surefoot.policy"

local operations = assert(tonumber(arg[1]), "how many operations?")

local function each(f)
  local began = os.clock()
  f()
  return (os.clock() - began) * 1e9 / operations
end

local function rate_limiter(rate, granted)
  local limiter, grants = policy.rate_limiter { rate = rate, burst = 1000000 }, 0
  if not granted then
    limiter:reserve(1000000)
  end
  local cost = each(function()
    for _ = 1, operations do
      grants = grants + (limiter:try(1) and 1 or 0)
    end
  end)
  assert(grants == (granted and operations or 0), "the rate limiter granted " .. grants)
  return cost
end

local function breaker()
  local guard = policy.circuit_breaker { slow_call = 10 }
  return each(function()
    for _ = 1, operations do
      guard:allow():success(0.001)
    end
  end)
end

local function hedge(read)
  local estimator, sum = policy.hedge(), 0
  local cost = each(function()
    for i = 1, operations do
      estimator:answered(0.2 + i % 97 / 97)
      if read then
        sum = sum + (estimator:delay() or 0)
      end
    end
  end)
  assert(not read or sum > 0)
  return cost
end

print(('{"rate_limiter_granted":%.2f,"rate_limiter_refused":%.2f,"breaker":%.2f,"hedge_sample":%.2f,'
  .. '"hedge_sample_and_delay":%.2f}'):format(rate_limiter(1000000, true), rate_limiter(0.001, false), breaker(),
  hedge(false), hedge(true)))
