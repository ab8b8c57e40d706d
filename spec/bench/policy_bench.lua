-- What a policy adds to each call, in C and through Lua: nanoseconds, median of interleaved rounds.
-- lua5.4 -l spec.helper spec/bench/policy_bench.lua [ROUNDS]

local measure = require "spec.bench.measure"

local ROUNDS = tonumber(arg[1]) or 7
local PROGRAMS = {
  { "C", { "build/lua5.4/test/bench/policy_cost", 3000000 } },
  { "Lua", { "lua5.4", "-l", "spec.helper", "spec/bench/policy_load.lua", 200000 } },
}
local OPERATIONS = {
  { "rate_limiter_granted", "rate limiter, granted" },
  { "rate_limiter_refused", "rate limiter, refused" },
  { "breaker", "circuit breaker, allow and report" },
  { "hedge_sample", "hedge, one sample" },
  { "hedge_sample_and_delay", "hedge, one sample and the delay" },
}

local taken = {}
for _ = 1, ROUNDS do
  for _, program in ipairs(PROGRAMS) do
    for name, nanoseconds in pairs(measure.run(program[2])) do
      local key = program[1] .. " " .. name
      taken[key] = taken[key] or {}
      table.insert(taken[key], nanoseconds)
    end
  end
end

local rows, numbers = { { "ns per operation", "in C", "min..max", "through Lua", "min..max" } }, {}
for _, operation in ipairs(OPERATIONS) do
  local row = { operation[2] }
  for _, program in ipairs(PROGRAMS) do
    local spread = measure.spread(taken[program[1] .. " " .. operation[1]])
    numbers[program[1] .. " " .. operation[1]] = spread
    row[#row + 1] = ("%.0f"):format(spread.median)
    row[#row + 1] = ("%.0f..%.0f"):format(spread.min, spread.max)
  end
  rows[#rows + 1] = row
end
measure.table(rows)
measure.save("policy", numbers)
