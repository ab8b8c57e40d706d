--- The files that `tls` names: can they be read? Asked when a client is made, since a connection would say so late.
--
-- A pipe is left unread, for it could be read once only; so is what is no file at all (a pkcs11: URI).

local binding = require "surefoot.binding"
local check = require "surefoot.config.check"

local M = {}

local FILES = { "ca_file", "cert", "key" }
local IS_DIRECTORY = 21 -- EISDIR

-- Why it cannot be used, or nil.
local function problem_of(path)
  local file, refusal = binding.file(path, "read")
  if not file then
    return ("cannot read %q: %s"):format(path, refusal)
  end
  local status, content, problem, number = file:status(), file:read(0, 1)
  file:close()
  if number == IS_DIRECTORY then
    return ("cannot read %q: %s"):format(path, problem)
  elseif content == "" and status and status.is_regular then
    return ("%q is empty"):format(path)
  end
end

--- Throws a message without a position where a file cannot be read.
---@param resolved table a resolved configuration
---@param given surefoot.Config what it was made of
function M.check(resolved, given)
  local top = type(given.tls) == "table" and given.tls or {}
  for i, endpoint in ipairs(resolved.endpoints) do
    for _, name in ipairs(FILES) do
      local path = endpoint.tls[name]
      local problem = path and not path:find "^pkcs11:" and problem_of(path)
      if problem then
        check.fail((path == top[name] and "tls." or ("endpoints[%d].tls."):format(i)) .. name, "%s", problem)
      end
    end
  end
end

return M
