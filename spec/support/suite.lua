-- Runs the specs under each interpreter named, and ends with a line "failed: ..." for each failure, and one for people
-- and machines alike: "N passed, N failed, N skipped". A run that dies, fails without saying where, or finds no spec
-- counts as one failure. Where few files fail they are run once more by themselves, since a machine may stand still in
-- the midst of a test of time: what passes then is told ("unsteady: ..."), and counts as passed.
-- Usage: lua5.4 spec/support/suite.lua lua5.4 luajit -- spec/policy [busted options]
-- Specs tagged #once do not depend on the interpreter: only the first one runs them.
local FEW = 4

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
local function command(interpreter, tally, words_for_busted)
  local words = { "SUREFOOT_TALLY=" .. quote(tally), "SUREFOOT_LUA=" .. quote(interpreter:match "%S+$"), interpreter,
    "spec/support/busted.lua", "--output=spec/support/report.lua" }
  for _, word in ipairs(words_for_busted) do
    words[#words + 1] = quote(word)
  end
  return table.concat(words, " ")
end

---One run of busted.
---@return { ok: boolean, passed: integer, failed: integer, skipped: integer, tests: integer, files: string[],
---lines: string[] } run as spec/support/report.lua tells it; tests: how many of the failures are tests
local function run(interpreter, words)
  local tally = os.tmpname()
  local ok = os.execute(command(interpreter, tally, words)) == true
  local file = assert(io.open(tally))
  local passed, failed, skipped, tests = file:read("n", "n", "n", "n", "l")
  local files, lines = {}, {}
  for text in file:lines() do
    local kind, rest = text:match "^(%l+) (.*)$"
    local into = kind == "file" and files or lines
    into[#into + 1] = rest
  end
  file:close()
  os.remove(tally)
  if not ok and (failed or 0) == 0 then
    failed, files, lines = 1, {}, { "the run ended early" }
  end
  return { ok = ok, passed = passed or 0, failed = failed or 0, skipped = skipped or 0, tests = tests or 0,
    files = files, lines = lines }
end

local function are_few(files)
  for _, file in ipairs(files) do
    if file == "-" then -- something outside of any file
      return false
    end
  end
  return #files > 0 and #files <= FEW
end

-- The same words for busted with other files; nil where one cannot tell files from values of options.
local function with_files(words, files)
  local chosen = {}
  for _, word in ipairs(words) do
    if word:find "^%-" then
      if not word:find "=" then
        return nil
      end
      chosen[#chosen + 1] = word
    end
  end
  for _, file in ipairs(files) do
    chosen[#chosen + 1] = file
  end
  return chosen
end

-- Runs the few files that something failed in once more.
local function passes_again(interpreter, words, files)
  local chosen = are_few(files) and with_files(words, files)
  if not chosen then
    return false
  end
  print(("== once more on %s: %s"):format(interpreter, table.concat(files, " ")))
  io.stdout:flush()
  local second = run(interpreter, chosen)
  return second.ok and second.passed > 0
end

local total = { passed = 0, failed = 0, skipped = 0 }
local last_lines = {}

for index, interpreter in ipairs(interpreters) do
  print(("== specs on %s"):format(interpreter))
  io.stdout:flush()
  local words = {}
  if index > 1 then
    words[1] = "--exclude-tags=once"
  end
  for _, option in ipairs(options) do
    words[#words + 1] = option
  end
  local result = run(interpreter, words)
  local unsteady = not result.ok and passes_again(interpreter, words, result.files)
  for _, line in ipairs(result.lines) do
    last_lines[#last_lines + 1] = ("%s: %s: %s"):format(unsteady and "unsteady" or "failed", interpreter, line)
  end
  total.passed = total.passed + result.passed + (unsteady and result.tests or 0)
  total.failed = total.failed + (unsteady and 0 or result.failed)
  total.skipped = total.skipped + result.skipped
end

if total.passed == 0 and total.failed == 0 then
  print "no spec passed: nothing was found that could be tested"
  total.failed = 1
end
for _, line in ipairs(last_lines) do
  print(line)
end
print(("%d passed, %d failed, %d skipped"):format(total.passed, total.failed, total.skipped))
os.exit(total.failed == 0)
