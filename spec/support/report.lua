-- busted's usual output, and the counts of the run in the file that SUREFOOT_TALLY names, for the suite's last line.
local is_terminal = require("term").isatty(io.stdout)
local base = require("busted.outputHandlers." .. (is_terminal and "utfTerminal" or "plainTerminal"))

return function(options)
  local busted = require "busted"
  local handler = base(options)
  busted.subscribe({ "exit" }, function()
    local path = os.getenv "SUREFOOT_TALLY"
    if path then
      local file = assert(io.open(path, "w"))
      local failed = handler.failuresCount + handler.errorsCount
      file:write(handler.successesCount, " ", failed, " ", handler.pendingsCount, "\n")
      file:close()
    end
    return nil, true
  end)
  return handler
end
