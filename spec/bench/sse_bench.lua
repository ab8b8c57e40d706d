-- What parsing an event stream costs in C: nanoseconds per event and megabytes per second, median of rounds. The copy
-- of the bytes into the parser's buffer is part of each figure.
-- lua5.4 -l spec.helper spec/bench/sse_bench.lua [ROUNDS]

local measure = require "spec.bench.measure"

local ROUNDS = tonumber(arg[1]) or 7
local STREAMS = {
  { "data", "200 bytes, one line of data", 200 },
  { "named", "200 bytes, a name and one line", 200 },
  { "crlf", "200 bytes, CRLF", 200 },
  { "four_lines", "200 bytes, four lines of data", 200 },
  { "large", "2000 bytes, one line of data", 2000 },
  { "byte_by_byte", "200 bytes, fed byte by byte", 200 },
  { "copy", "the copy alone, per 200 bytes", 200 },
}

local taken = {}
for _ = 1, ROUNDS do
  for name, nanoseconds in pairs(measure.run { "build/lua5.4/test/bench/sse_cost", 1024 }) do
    taken[name] = taken[name] or {}
    table.insert(taken[name], nanoseconds)
  end
end

local rows, numbers = { { "events of", "ns per event", "min..max", "MB/s" } }, {}
for _, stream in ipairs(STREAMS) do
  local name, title, bytes = stream[1], stream[2], stream[3]
  local spread = measure.spread(taken[name])
  numbers[name] = spread
  rows[#rows + 1] = { title, ("%.1f"):format(spread.median), ("%.1f..%.1f"):format(spread.min, spread.max),
    ("%.0f"):format(bytes / spread.median * 1000) }
end
measure.table(rows)

local goals = measure.goals()
goals:add("an event of 200 bytes (4 GB/s)", numbers.data.median, 50, " ns")
goals:print()
measure.save("sse", numbers)
