--- The URL of an endpoint: scheme, host, port and a path to which others are appended; nothing else.

local M = {}

---@class surefoot.Url
---@field scheme "http" | "https"
---@field host string  lower case; IPv6 addresses without brackets
---@field port integer
---@field text string  without a slash at the end
---@field loopback boolean

--- Whether a host is this machine.
---@param host string
---@return boolean
local function is_loopback(host)
  return host == "localhost" or host:find "%.localhost$" ~= nil or host == "::1"
    or host:find "^127%.%d+%.%d+%.%d+$" ~= nil
end

-- A host, with its port, that can only be one: a key looks otherwise.
local function plain_host(authority)
  local host = authority:match "^([%w.-]+):%d%d?%d?%d?%d?$" or authority:match "^[%w.-]+$"
  if not host or #host > 60 or host:find(("[%w-]"):rep(25)) then
    return nil
  end
  local named = host == "localhost" or host:find "^[%l%d.-]+%.%l%l+$" or host:find "^%d+%.%d+%.%d+%.%d+$"
  return named and authority or nil
end

-- "got ..." about a URL that may hold a key or a password: nothing but a plain host is shown, and no path.
local function given(text)
  local host = not text:find "[@?#]" and plain_host(text:match "^[^/]*")
  return host and ("got %q, "):format(host .. (#text > #host and "/..." or "")) or ""
end

--- Why a part of a URL cannot stand in one as it is; nil: it can.
---@param text string
---@return string? problem
function M.odd_byte(text)
  local at = text:find "[%z\1-\32\127-\255]"
  if not at then
    return nil
  elseif text:find "^ " or text:find "^[^ ]+ +$" then
    return text:find "^ " and "begins with a space" or "ends with a space"
  elseif text:find("^ ", at) then
    return ("contains a space at byte %d: it is written as %%20"):format(at)
  elseif text:byte(at) < 128 then
    return ("contains a control character at byte %d"):format(at)
  end
  local character = text:match("^[\192-\255][\128-\191]+", at) or text:sub(at, at)
  local encoded = character:gsub(".", function(byte) return ("%%%02X"):format(byte:byte()) end)
  return ("contains a character beyond ASCII at byte %d: it is written as %s"):format(at, encoded)
end

--- What is wrong with a path that is appended to an endpoint's URL; nil: nothing.
---@param path string
---@return string? problem
function M.path_problem(path)
  if not path:find "^/" then
    return ("expected a path that begins with /, without spaces, got %q"):format(path:sub(1, 60))
  end
  return M.odd_byte(path) or path:find("#", 1, true) and "contains a #, which begins a fragment: it is written as %23"
    or nil
end

local function problem_of(text)
  local scheme = text:match "^(%a[%w+.-]*)://"
  if not scheme and text:find "^ " then
    return M.odd_byte(text)
  elseif not scheme then
    return "no scheme: " .. given(text) .. "begin with https://"
  elseif not text:find "^[hH][tT][tT][pP][sS]?://" then
    local shown = scheme:find "^%l+$" and #scheme < 9 and (": got %q"):format(scheme) or ""
    return "the scheme is neither https nor http" .. shown
  elseif text:find "^%a+://[^/]*@" then
    return "has credentials before the host: use api_key or headers"
  elseif text:find "^%a+://[^/]*[\128-\255]" then
    return "the host contains a character beyond ASCII: it is written as in DNS (xn--...)"
  elseif M.odd_byte(text) then
    return M.odd_byte(text)
  elseif text:find("#", 1, true) then
    return "has a fragment (#...)"
  elseif text:find("?", 1, true) then
    return "has a query (?...): put what it says into headers, or the key into api_key"
  end
end

--- Reads the URL of an endpoint.
---@param text string
---@return surefoot.Url?
---@return string? problem
function M.parse(text)
  local problem = problem_of(text)
  if problem then
    return nil, problem
  end
  local scheme, authority, path = text:match "^(%a+)://([^/]*)(.*)$"
  local host, port = authority:match "^%[([%x:.]+)%]:?(%d*)$"
  if not host then
    host, port = authority:match "^([%w._-]+):?(%d*)$"
  end
  if not host or authority:find ":$" then
    return nil, authority == "" and "no host" or "the host is malformed"
  end
  scheme, host = scheme:lower(), host:lower()
  port = port ~= "" and tonumber(port) or scheme == "https" and 443 or 80
  if port < 1 or port > 65535 then
    return nil, ("the port is out of range: got %.14g, allowed are 1 to 65535"):format(port)
  end
  return {
    scheme = scheme, host = host, port = port, loopback = is_loopback(host),
    text = scheme .. "://" .. authority:lower() .. path:gsub("/+$", ""),
  }
end

M.is_loopback = is_loopback

return M
