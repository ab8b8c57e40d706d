--- What a command was asked wrongly: raised wherever it is found, told in one line, exit code 2.

local M = {}

local Mistake = {}

--- Ends the command.
---@param message string a format
---@param ... any
function M.fail(message, ...)
  error(setmetatable({ text = message:format(...) }, Mistake), 0)
end

--- A command's `run` that tells such mistakes. Other errors go on.
---@param run fun(args: table, terminal: surefoot.Terminal): integer
---@return fun(args: table, terminal: surefoot.Terminal): integer
function M.told(run)
  return function(args, terminal)
    local ok, result = pcall(run, args, terminal)
    if ok then
      return result
    elseif getmetatable(result) ~= Mistake then
      error(result, 0)
    end
    terminal:complain(result.text)
    return 2
  end
end

return M
