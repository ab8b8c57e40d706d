--- Files as request bodies.

local M = {}

--- The content of a file.
---@param path string
---@return string? content
---@return string? problem
function M.read(path)
  local file, problem = io.open(path, "rb")
  if not file then
    return nil, "cannot read the body's file: " .. problem
  end
  local content, read_problem = file:read "*a"
  file:close()
  if not content then
    return nil, "cannot read the body's file: " .. path .. ": " .. tostring(read_problem)
  end
  return content
end

return M
