-- busted's usual output; and in the file that SUREFOOT_TALLY names, for the suite's last lines: the counts of the run
-- (tests that passed, failures and errors, tests left out, tests that failed), the files that something failed in, and
-- what failed, each in one line.
local is_terminal = require("term").isatty(io.stdout)
local base = require("busted.outputHandlers." .. (is_terminal and "utfTerminal" or "plainTerminal"))

local WIDTH = 300
local NOWHERE = "-"

-- One failure in one line: which test, and how its message begins.
local function line_of(failure)
  local message = failure.message
  if type(message) ~= "string" then
    message = require("pl.pretty").write(message)
  end
  return (("%s: %s"):format(failure.name, message):gsub("%s+", " "):sub(1, WIDTH))
end

local function write_tally(path, handler, files)
  local file = assert(io.open(path, "w"))
  local failed = handler.failuresCount + handler.errorsCount
  file:write(("%d %d %d %d\n"):format(handler.successesCount, failed, handler.pendingsCount, handler.failuresCount))
  for _, name in ipairs(files) do
    file:write("file ", name, "\n")
  end
  for _, list in ipairs { handler.failures, handler.errors } do
    for _, failure in ipairs(list) do
      file:write("line ", line_of(failure), "\n")
    end
  end
  file:close()
end

return function(options)
  local busted = require "busted"
  local handler = base(options)
  local files = {}

  local function note_file(element)
    while element and element.descriptor ~= "file" do
      element = busted.parent(element)
    end
    local name = element and element.name or NOWHERE
    if not files[name] then
      files[name], files[#files + 1] = true, name
    end
    return nil, true
  end
  busted.subscribe({ "failure" }, note_file)
  busted.subscribe({ "error" }, note_file)

  busted.subscribe({ "exit" }, function()
    local path = os.getenv "SUREFOOT_TALLY"
    if path then
      write_tally(path, handler, files)
    end
    return nil, true
  end)
  return handler
end
