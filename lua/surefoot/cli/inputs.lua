--- Files that a command reads line by line.

local M = {}

--- Calls `each` with every line that is not empty, until it gives something back.
---@param path string - is standard input
---@param each fun(line: string, number: integer): string?  gives back what is wrong with the line
---@return boolean? well
---@return string? problem with the file, or with a line
function M.lines(path, each)
  local file, problem = io.stdin, nil
  if path ~= "-" then
    file, problem = io.open(path, "r")
  end
  if not file then
    return nil, problem
  end
  local number = 0
  repeat
    local line, unread = file:read "*l"
    number = number + 1
    problem = unread and ("%s: %s"):format(path, unread) or line and line:find "%S" and each(line, number) or nil
  until not line or problem
  if path ~= "-" then
    file:close()
  end
  return not problem or nil, problem
end

return M
