-- busted's usual output; and in the file that SUREFOOT_TALLY names, for the suite's last lines, the counts of the run
-- and what failed, each in one line.
local is_terminal = require("term").isatty(io.stdout)
local base = require("busted.outputHandlers." .. (is_terminal and "utfTerminal" or "plainTerminal"))

local WIDTH = 300

-- One failure in one line: which test, and how its message begins.
local function line_of(failure)
  local message = failure.message
  if type(message) ~= "string" then
    message = require("pl.pretty").write(message)
  end
  return ("%s: %s"):format(failure.name, message):gsub("%s+", " "):sub(1, WIDTH)
end

return function(options)
  local busted = require "busted"
  local handler = base(options)
  busted.subscribe({ "exit" }, function()
    local path = os.getenv "SUREFOOT_TALLY"
    if path then
      local file = assert(io.open(path, "w"))
      local failed = handler.failuresCount + handler.errorsCount
      file:write(handler.successesCount, " ", failed, " ", handler.pendingsCount, "\n")
      for _, list in ipairs { handler.failures, handler.errors } do
        for _, failure in ipairs(list) do
          file:write(line_of(failure), "\n")
        end
      end
      file:close()
    end
    return nil, true
  end)
  return handler
end
