--- The way to a line, as a configuration or the environment gives it: proxies, addresses, name servers.
--
-- The environment is read when a client is made, as curl reads it: https_proxy, HTTPS_PROXY, http_proxy (small letters
-- only), then all_proxy, ALL_PROXY; no_proxy, NO_PROXY. What a proxy's URL may hold beside host and port is a secret.

local check = require "surefoot.config.check"
local url = require "surefoot.config.url"

local M = {}

local floor = math.floor

-- --------------------------------------------------------------------------------------------------------- addresses

local function ipv4_bytes(text)
  local bytes = { text:match "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$" }
  for i, byte in ipairs(bytes) do
    bytes[i] = tonumber(byte)
    if bytes[i] > 255 then
      return nil
    end
  end
  return #bytes == 4 and bytes or nil
end

-- "1:2:3" as numbers, appended to `words`; nil: that is no part of an address.
local function append_words(words, text)
  if text == "" then
    return words
  end
  for word in (text .. ":"):gmatch "([^:]*):" do
    local four = word:find(".", 1, true) and ipv4_bytes(word)
    if four then
      words[#words + 1], words[#words + 2] = four[1] * 256 + four[2], four[3] * 256 + four[4]
    elseif word:find "^%x%x?%x?%x?$" then
      words[#words + 1] = tonumber(word, 16)
    else
      return nil
    end
  end
  return words
end

local function ipv6_words(text)
  local head, tail = text:match "^(.-)::(.*)$"
  if not head then
    local words = append_words({}, text)
    return words and #words == 8 and words or nil
  end
  local words, last = append_words({}, head), append_words({}, tail)
  if not words or not last or #words + #last > 7 then
    return nil
  end
  for _ = #words + 1, 8 - #last do
    words[#words + 1] = 0
  end
  for _, word in ipairs(last) do
    words[#words + 1] = word
  end
  return words
end

-- The numbers of an address, and how many bits each has.
local function parts_of(text)
  local bytes = ipv4_bytes(text)
  if bytes then
    return bytes, 8
  end
  return ipv6_words(text), 16
end

-- Do two addresses have the first `bits` in common?
local function share_bits(a, b, width, bits)
  for i = 1, #a do
    local rest = math.max(0, math.min(width, bits - (i - 1) * width))
    local scale = 2 ^ (width - rest)
    if floor(a[i] / scale) ~= floor(b[i] / scale) then
      return false
    end
  end
  return true
end

-- ----------------------------------------------------------------------------------------------------------- proxies

local DEFAULT_PORTS = { http = 1080, https = 443, socks4 = 1080, socks4a = 1080, socks5 = 1080, socks5h = 1080 }

---@class surefoot.ProxyUrl
---@field scheme string
---@field place string  "host:port"
---@field text string   the whole, as libcurl is given it

local function read_authority(authority)
  local login, place = authority:match "^(.*)@([^@]*)$"
  place = place or authority
  local host, port = place:match "^(%[[%x:.]+%]):?(%d*)$"
  if not host then
    host, port = place:match "^([%w._-]+):?(%d*)$"
  end
  if not host or place:find ":$" then
    return nil
  end
  return host:lower(), port, login
end

--- Reads the URL of a proxy.
---@param text string
---@return surefoot.ProxyUrl?
---@return string? problem that shows nothing of what was given
function M.parse_proxy(text)
  local scheme, rest = text:match "^(%a[%w+.-]*)://(.*)$"
  scheme, rest = (scheme or "http"):lower(), rest or text
  if not DEFAULT_PORTS[scheme] then
    return nil, "the scheme is none of http, https, socks5, socks5h, socks4, socks4a"
  elseif rest:find "[%z\1-\32\127-\255]" then
    return nil, "contains a space, a control character or a character beyond ASCII: in a password they are written as "
      .. "%XX, in a host's name as in DNS (xn--...)"
  end
  local authority = rest:gsub("/$", "")
  if authority:find "[/?#]" then
    return nil, "has a path: a proxy is scheme://host:port, and special characters of a password are written as %XX"
  end
  local host, port, login = read_authority(authority)
  if not host then
    return nil, authority == "" and "no host" or "the host or the port is malformed"
  end
  port = port ~= "" and tonumber(port) or DEFAULT_PORTS[scheme]
  if port < 1 or port > 65535 then
    return nil, "the port is out of range: allowed are 1 to 65535"
  end
  local place = ("%s:%d"):format(host, port)
  login = login and login:gsub("@", "%%40") .. "@" or ""
  return { scheme = scheme, place = place, text = ("%s://%s%s"):format(scheme, login, place) }
end

local function is_exempt(parsed, list)
  local host_parts, width = parts_of(parsed.host)
  for item in list:lower():gmatch "[^,%s]+" do
    local name, port = item:match "^([^:]+):(%d+)$"
    name = name or item:match "^%[(.*)%]$" or item
    local network, bits = name:match "^([^/]+)/(%d+)$"
    local parts, same_width = parts_of(network or name)
    if port and tonumber(port) ~= parsed.port then -- of another service there
      parts, name = nil, nil
    end
    if name == "*" then
      return true
    elseif host_parts and parts and width == same_width then
      if share_bits(host_parts, parts, width, tonumber(bits) or 128) then
        return true
      end
    elseif name and not host_parts then
      name = name:gsub("^%.", ""):gsub("%.$", "")
      if name ~= "" and ("." .. parsed.host:gsub("%.$", "")):sub(-#name - 1) == "." .. name then
        return true
      end
    end
  end
  return false
end

local VARIABLES = {
  https = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" },
  http = { "http_proxy", "all_proxy", "ALL_PROXY" },
}

local function first_of(names, environment)
  for _, name in ipairs(names) do
    local value = environment(name)
    if value and value ~= "" then
      return value, name
    end
  end
end

--- The proxy that the environment names for a URL; throws when it cannot be read. This machine is reached without.
---@param parsed surefoot.Url
---@param environment fun(name: string): string?
---@return string? url
function M.environment_proxy(parsed, environment)
  local value, name = first_of(VARIABLES[parsed.scheme], environment)
  if not value or parsed.loopback or is_exempt(parsed, first_of({ "no_proxy", "NO_PROXY" }, environment) or "") then
    return nil
  end
  local proxy, problem = M.parse_proxy(value)
  if not proxy then
    check.fail("environment variable " .. name, "%s", problem)
  end
  return proxy.text
end

-- ------------------------------------------------------------------------------------------------------------ values

check.define("proxy", function(_, value, path)
  if type(value) ~= "string" then
    check.fail(path, "expected a proxy's URL, or \"\" for none, got %s", check.show(value))
  elseif value == "" then
    return value
  end
  local proxy, problem = M.parse_proxy(value)
  return proxy and proxy.text or check.fail(path, "%s", problem)
end)

check.define("address", function(_, value, path)
  local text = type(value) == "string" and (value:match "^%[(.*)%]$" or value)
  if not text or not parts_of(text) then
    check.fail(path, "expected an IP address, got %s", check.show(value))
  end
  return text
end)

check.define("doh_url", function(_, value, path)
  local problem = type(value) == "string" and url.odd_byte(value)
  if problem then
    check.fail(path, "%s", problem)
  end
  local rest = type(value) == "string" and not value:find "[%z\1-\32\127-\255#{}]"
    and value:match "^[hH][tT][tT][pP][sS]://[^/?@]+(.*)$"
  if not rest or not rest:find "^[/?]" and rest ~= "" then
    check.fail(path, "expected the URL of a DNS-over-HTTPS server, like https://1.1.1.1/dns-query")
  end
  return value
end)

return M
