-- Other people's clients and gateways, for benches that measure beside them: installed on first use into build/, from
-- npm and PyPI. Whoever has no node, no python or no network measures without them, and is told so.

local process = require "spec.support.process"

local M = {}

M.OPENAI = "openai@6.49.0"
M.LITELLM = "litellm[proxy]==1.106.2"

local function here()
  return process.capture({ "pwd" }):match "%S+"
end

-- Both give where it is, or nil and why it is not to be had here.

---@param name string of its folder
---@param package string for npm: name@version, or the text of a package.json
---@return string|nil folder that has node_modules, string? why
function M.node(name, package)
  if not process.which "node" or not process.which "npm" then
    return nil, "node and npm were not found"
  end
  local folder, document = here() .. "/build/npm/" .. name, package:find "^{" and package
  local ready = folder .. "/ready"
  if process.read(ready) == package then
    return folder
  end
  process.capture { "rm", "-rf", folder }
  process.capture { "mkdir", "-p", folder }
  if document then
    process.write(folder .. "/package.json", document)
  end
  local output, code = process.capture(("cd %s && timeout 120 npm install --prefix . --no-audit --no-fund --silent "
    .. "%s 2>&1"):format(process.quote(folder), document and "" or process.quote(package)))
  if code ~= 0 then
    return nil, "npm could not install it: " .. output
  end
  process.write(ready, package)
  return folder
end

---@param package string for pip, name==version
---@return string|nil folder of a virtual environment, string? why
function M.python(package)
  if not process.which "python3" then
    return nil, "python3 was not found"
  end
  local folder = here() .. "/build/pip/" .. package:match "^%w+"
  local ready = folder .. "/ready"
  if process.read(ready) == package then
    return folder
  end
  local output, code = process.capture(("{ python3 -m venv --clear %s && timeout 600 %s/bin/pip install --quiet "
    .. "--disable-pip-version-check %s; } 2>&1"):format(folder, folder, process.quote(package)))
  if code ~= 0 then
    return nil, "pip could not install it: " .. output
  end
  process.write(ready, package)
  return folder
end

return M
