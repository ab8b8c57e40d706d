-- Runs the specs under each interpreter named, and ends with a line "failed: ..." for each failure, and one for people
-- and machines alike: "N passed, N failed, N skipped". A run that dies, fails without saying where, or finds no spec
-- counts as one failure. The files are dealt out to several processes, of which as many run at once as there are
-- processors (at most four; SUREFOOT_JOBS says otherwise), since most specs wait for something most of the time.
-- Where few files fail they are run once more by themselves, since a machine may stand still in the midst of a test of
-- time: what passes then is told ("unsteady: ..."), and counts as passed.
-- Usage: lua5.4 spec/support/suite.lua lua5.4 luajit -- spec/policy [busted options]
-- Specs tagged #once do not depend on the interpreter: only the first one runs them.
local FEW = 4
local MOST_JOBS = 4
local HANDS_PER_JOB = 3 -- so that the one that ends last has little left to do

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

local function lines_of(command)
  local lines = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  pipe:close()
  return lines
end

local jobs = tonumber(os.getenv "SUREFOOT_JOBS") or math.min(MOST_JOBS, tonumber(lines_of("nproc")[1]) or 1)

-- An interpreter may be several words: a tool and what it runs. A run that does not end well adds a line to its tally.
local function command(interpreter, tally, words_for_busted)
  local words = { "SUREFOOT_TALLY=" .. quote(tally), "SUREFOOT_LUA=" .. quote(interpreter:match "%S+$"), interpreter,
    "spec/support/busted.lua", "--output=spec/support/report.lua" }
  for _, word in ipairs(words_for_busted) do
    words[#words + 1] = quote(word)
  end
  return table.concat(words, " ") .. " || echo ended badly >>" .. quote(tally)
end

-- The options among the words, and the rest; nil where one cannot tell files from values of options.
local function apart(words)
  local chosen, roots = {}, {}
  for _, word in ipairs(words) do
    if not word:find "^%-" then
      roots[#roots + 1] = word
    elseif word:find "=" then
      chosen[#chosen + 1] = word
    else
      return nil
    end
  end
  return chosen, roots
end

local function with_files(words, files)
  local all = {}
  for _, from in ipairs { words, files } do
    for _, word in ipairs(from) do
      all[#all + 1] = word
    end
  end
  return all
end

-- The words for each run of busted: every file in one of them, dealt out in turn.
local function deal(words, at_once)
  local chosen, roots = apart(words)
  if not chosen or #roots == 0 or at_once == 1 then
    return { words }
  end
  for index, root in ipairs(roots) do
    roots[index] = quote(root)
  end
  local files = lines_of("LC_ALL=C find " .. table.concat(roots, " ") .. " -name '*_spec.lua' | sort -u")
  local hands = {}
  for index, file in ipairs(files) do
    local place = (index - 1) % (at_once * HANDS_PER_JOB) + 1
    hands[place] = hands[place] or {}
    table.insert(hands[place], file)
  end
  for place, hand in ipairs(hands) do
    hands[place] = with_files(chosen, hand)
  end
  return #hands > 0 and hands or { words }
end

-- Adds what one run told of itself in its tally.
local function add_tally(result, path)
  local file = assert(io.open(path))
  local passed, failed, skipped, tests = file:read("n", "n", "n", "n", "l")
  local ended_badly = false
  for text in file:lines() do
    local kind, rest = text:match "^(%l+) (.*)$"
    if kind == "ended" then
      ended_badly = true
    else
      table.insert(kind == "file" and result.files or result.lines, rest)
    end
  end
  file:close()
  os.remove(path)
  if (ended_badly or not tests) and (failed or 0) == 0 then
    failed = 1
    result.lines[#result.lines + 1] = "the run ended early"
    result.files[#result.files + 1] = "-"
  end
  result.passed = result.passed + (passed or 0)
  result.failed = result.failed + (failed or 0)
  result.skipped = result.skipped + (skipped or 0)
  result.tests = result.tests + (tests or 0)
end

---@param at_once integer how many processes
---@return { passed: integer, failed: integer, skipped: integer, tests: integer, files: string[], lines: string[] }
---result as spec/support/report.lua tells it; tests: how many of the failures are tests
local function run(interpreter, words, at_once)
  local tallies, commands = {}, {}
  for index, hand in ipairs(deal(words, at_once)) do
    tallies[index] = os.tmpname()
    commands[index] = command(interpreter, tallies[index], hand)
  end
  local xargs = assert(io.popen(("xargs -d '\\n' -n 1 -P %d sh -c"):format(at_once), "w"))
  xargs:write(table.concat(commands, "\n"), "\n")
  xargs:close()
  local result = { passed = 0, failed = 0, skipped = 0, tests = 0, files = {}, lines = {} }
  for _, tally in ipairs(tallies) do
    add_tally(result, tally)
  end
  return result
end

local function are_few(files)
  for _, file in ipairs(files) do
    if file == "-" then -- something outside of any file
      return false
    end
  end
  return #files > 0 and #files <= FEW
end

-- Runs the few files that something failed in once more.
local function passes_again(interpreter, words, files)
  local chosen = are_few(files) and apart(words)
  if not chosen then
    return false
  end
  print(("== once more on %s: %s"):format(interpreter, table.concat(files, " ")))
  io.stdout:flush()
  local second = run(interpreter, with_files(chosen, files), 1)
  return second.failed == 0 and second.passed > 0
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
  local result = run(interpreter, words, jobs)
  local unsteady = result.failed > 0 and passes_again(interpreter, words, result.files)
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
