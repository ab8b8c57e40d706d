-- Runs the specs under each interpreter named, and ends with one line for people and machines alike:
-- "N passed, N failed, N skipped". A run that dies, or fails without saying where, counts as one failure.
-- Usage: lua5.4 spec/support/suite.lua lua5.4 luajit -- spec/policy [busted options]
-- Specs tagged #once do not depend on the interpreter: only the first one runs them.
local interpreters, options = {}, {}
local list = interpreters
for _, word in ipairs(arg) do
  if word == "--" then
    list = options
  else
    list[#list + 1] = "'" .. word .. "'"
  end
end

local total = { passed = 0, failed = 0, skipped = 0 }
local tally = os.tmpname()

for index, interpreter in ipairs(interpreters) do
  print(("== specs on %s"):format(interpreter:sub(2, -2)))
  io.stdout:flush()
  assert(io.open(tally, "w")):close()
  local command = table.concat({
    "SUREFOOT_TALLY=" .. tally, interpreter, "spec/support/busted.lua --output=spec/support/report.lua",
    index > 1 and "--exclude-tags=once" or "", table.concat(options, " "),
  }, " ")
  local ok = os.execute(command)
  ok = ok == true or ok == 0
  local file = assert(io.open(tally))
  local passed, failed, skipped = file:read("*n", "*n", "*n")
  file:close()
  passed, failed, skipped = passed or 0, failed or 0, skipped or 0
  if not ok and failed == 0 then failed = 1 end
  total.passed, total.failed, total.skipped = total.passed + passed, total.failed + failed, total.skipped + skipped
end
os.remove(tally)

print(("%d passed, %d failed, %d skipped"):format(total.passed, total.failed, total.skipped))
os.exit(total.failed == 0)
