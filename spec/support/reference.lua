--- Writes the configuration reference into the README, between its two markers (make reference).

local M = {}

local HEAD = "<!%-%- reference: [^\n]*%-%->\n"
local FOOT = "<!%-%- end of reference %-%->"

--- The README with the reference that belongs there.
---@param readme string
---@return string
function M.renew(readme)
  local head_end = select(2, readme:find(HEAD))
  local foot_start = readme:find(FOOT)
  assert(head_end and foot_start, "README.md has lost the markers of the reference")
  local reference = require("surefoot.config").reference() .. "\n### Gateway\n\n"
    .. require("surefoot.gateway.config").reference()
  return readme:sub(1, head_end) .. "\n" .. reference .. "\n" .. readme:sub(foot_start)
end

function M.read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

if arg and arg[0] and arg[0]:match "reference%.lua$" then
  local renewed = M.renew(M.read "README.md")
  local file = assert(io.open("README.md", "w"))
  file:write(renewed)
  file:close()
end

return M
