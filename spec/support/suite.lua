-- Runs the specs under each interpreter named, and ends with a line "failed: ..." for each failure, and one for people
-- and machines alike: "N passed, N failed, N skipped". A run that dies, fails without saying where, or finds no spec
-- counts as one failure.
-- Usage: lua5.4 spec/support/suite.lua lua5.4 luajit -- spec/policy [busted options]
-- Specs tagged #once do not depend on the interpreter: only the first one runs them.
local interpreters, options = {}, {}
local list = interpreters
for _, word in ipairs(arg) do
  if word == "--" then
    list = options
  else
    list[#list + 1] = word
  end
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- An interpreter may be several words: a tool and what it runs.
local function command(interpreter, tally, later)
  local words = { "SUREFOOT_TALLY=" .. tally, "SUREFOOT_LUA=" .. quote(interpreter:match "%S+$"), interpreter,
    "spec/support/busted.lua", "--output=spec/support/report.lua" }
  if later then words[#words + 1] = "--exclude-tags=once" end
  for _, option in ipairs(options) do
    words[#words + 1] = quote(option)
  end
  return table.concat(words, " ")
end

local total = { passed = 0, failed = 0, skipped = 0 }
local failures = {}
local tally = os.tmpname()

for index, interpreter in ipairs(interpreters) do
  print(("== specs on %s"):format(interpreter))
  io.stdout:flush()
  assert(io.open(tally, "w")):close()
  local ok = os.execute(command(interpreter, tally, index > 1))
  local file = assert(io.open(tally))
  local passed, failed, skipped = file:read("n", "n", "n", "l")
  for line in file:lines() do
    failures[#failures + 1] = ("failed: %s: %s"):format(interpreter, line)
  end
  file:close()
  if not ok and (failed or 0) == 0 then
    failed = 1
    failures[#failures + 1] = ("failed: the run on %s ended early"):format(interpreter)
  end
  total.passed = total.passed + (passed or 0)
  total.failed = total.failed + (failed or 0)
  total.skipped = total.skipped + (skipped or 0)
end
os.remove(tally)

if total.passed == 0 and total.failed == 0 then
  print "no spec passed: nothing was found that could be tested"
  total.failed = 1
end
for _, line in ipairs(failures) do
  print(line)
end
print(("%d passed, %d failed, %d skipped"):format(total.passed, total.failed, total.skipped))
os.exit(total.failed == 0)
