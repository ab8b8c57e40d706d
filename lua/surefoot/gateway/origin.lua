--- Where a request comes from, for a gateway whose only lock is that it listens on loopback. A browser on the same
--- machine reaches it as well, for every page that is open there: such a page is no caller. It is known by its
--- `Origin`, or, where its author has led a name of their own to this machine, by the `Host` that it asks for.

local M = {}

local ngx = ngx

local function name_of(authority)
  return authority:match "^%[([%x:.]+)%]" or authority:match "^([^:]*)"
end

local function is_loopback(name)
  return name == "localhost" or name == "::1" or name:find "%.localhost$" ~= nil
    or name:find "^127%.%d+%.%d+%.%d+$" ~= nil
end

-- Addresses, and names that nobody outside can give away: without a dot, or under .internal.
local function is_private(name)
  return is_loopback(name) or not name:find("%.") or name:find "^[%d.]+$" ~= nil or name:find(":", 1, true) ~= nil
    or name:find "%.internal$" ~= nil
end

-- Whether a browser sent it, for a page that has no business here: by the headers of these names.
local function is_foreign(origin, host)
  origin, host = origin and origin:lower(), host and host:lower()
  if host and not is_private(name_of(host)) then
    return true
  elseif not origin or origin == "null" then
    return origin == "null"
  end
  local authority = origin:match "^https?://(.*)$" -- what has another scheme is a program
  return authority ~= nil and authority ~= host and not is_loopback(name_of(authority))
end

--- Why the request is refused; nil: it is not. To be asked where there is no key.
---@param gateway surefoot.Gateway
---@return string? message
function M.problem(gateway)
  if gateway.loopback_only and is_foreign(ngx.var.http_origin, ngx.var.http_host) then
    return "web pages of other hosts, and other names of this one, are refused without keys: give gateway.keys and "
      .. "gateway.admin_key, or set gateway.public = true"
  end
end

return M
