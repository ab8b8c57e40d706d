--- The gateway's part of a configuration: checked, filled with defaults. What is wrong throws, and says where.

local check = require "surefoot.config.check"
local keys = require "surefoot.gateway.keys"
local text = require "surefoot.config.text"

local M = {}

local MIB = 2 ^ 20

-- A model as the gateway's callers know it: what to ask for, in order. A name, one entry, or a list of them.
check.define("gateway_model", function(_, value, path)
  if value == true then
    return true
  elseif type(value) ~= "table" or value[1] == nil then
    value = { value }
  end
  return check.list(value, path, function(item, at)
    return check.check({ type = "fallback" }, item, at)
  end)
end)

check.define("gateway_keys", function(_, value, path)
  if type(value) ~= "table" then
    check.fail(path, "expected a list of keys, got %s", check.show(value))
  end
  return value -- surefoot.gateway.keys reads it
end)

-- Every key: name, type, range, default, meaning.
local fields = {
  { name = "keys", type = "gateway_keys", of = { fields = keys.fields },
    doc = "who may call, and how much: at least one; without it everybody who reaches the address, which must be "
      .. "loopback then" },
  { name = "models", type = "map", of = { type = "gateway_model" },
    doc = "the models that callers may name: `true` (as it is), another name, { model =, endpoint =, request = {} }, "
      .. "or a list of those, tried in order; `\"claude-*\"` stands for all that begin so, and a `*` on the right for "
      .. "what the one on the left stood for (default: every name, as it is)" },
  { name = "max_body_bytes", type = "bytes", min = 1024, max = 2 ^ 31, default = 50 * MIB,
    doc = "a larger request is refused with 413" },
  { name = "max_timeout", type = "seconds", above = 0, max = 86400,
    doc = "the most that a caller's `x-surefoot-timeout` may ask for (default: timeout.total)" },
  { name = "keepalive_comments", type = "seconds", above = 0, max = 3600,
    doc = "a stream that is silent for so long gets a comment, so that nobody on the way gives it up (default: none); "
      .. "then an answer may begin with 200 before it is known whether it will come" },
  { name = "forward_headers", type = "list", of = { type = "string" }, default = {},
    doc = "names of callers' headers that go on to the provider; credentials and cookies never do" },
  { name = "public", type = "boolean", default = false,
    doc = "let everybody call on an address that is not loopback, without keys; on loopback: web pages of any host" },
  { name = "admin_key", type = "string",
    doc = "a bearer token, or a password for any user name, of 16 characters or more: /metrics and the status page ask "
      .. "for it (default: they answer loopback only)" },
}

local FORBIDDEN = { authorization = true, cookie = true, ["x-api-key"] = true, ["api-key"] = true,
  ["x-goog-api-key"] = true, ["proxy-authorization"] = true, host = true, connection = true, ["content-length"] = true,
  ["transfer-encoding"] = true, ["content-type"] = true, ["content-encoding"] = true, ["accept-encoding"] = true,
  te = true, trailer = true, upgrade = true, expect = true, ["keep-alive"] = true, accept = true }

local function check_forwarded(names)
  for i, name in ipairs(names) do
    local path = ("gateway.forward_headers[%d]"):format(i)
    name = name:lower()
    if not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then
      check.fail(path, "is no header name")
    elseif FORBIDDEN[name] then
      check.fail(path, "%s is never forwarded", name)
    end
    names[i] = name
  end
end

local function check_models(models)
  for name in pairs(models or {}) do
    local _, stars = name:gsub("%*", "")
    if stars > 1 or stars == 1 and name:sub(-1) ~= "*" then
      check.fail(check.join("gateway.models", name), "a `*` may only stand at the end")
    end
  end
end

-- Whether an address ("address:port", "port" or "unix:/path") is one that only this machine reaches.
local function is_loopback(listen)
  return listen:find "^unix:" ~= nil or listen:find "^127%.%d+%.%d+%.%d+:%d+$" ~= nil
    or listen:find "^localhost:%d+$" ~= nil or listen:find "^%[::1%]:%d+$" ~= nil
end

--- Whether an address is one that only this machine reaches, and a browser on it may: no socket with a path.
---@param listen string?
---@return boolean
function M.is_loopback_port(listen)
  return listen ~= nil and not listen:find "^unix:" and is_loopback(listen)
end

--- Checks the table `gateway` of a configuration and completes it. Throws a message without a position.
---@param given table?
---@param listen string? the address: without it nothing is said about that
---@return table config
function M.check(given, listen)
  if given ~= nil and type(given) ~= "table" then
    check.fail("gateway", "expected a table, got %s", check.show(given))
  end
  local config = check.fill_fields(fields, check.fields(fields, given or {}, "gateway"))
  check_forwarded(config.forward_headers)
  check_models(config.models)
  if config.keys then
    config.keys = keys.check(config.keys, "gateway.keys")
  end
  if config.admin_key then
    keys.check_secret(config.admin_key, "gateway.admin_key")
  end
  if listen and not config.keys and not config.public and not is_loopback(listen) then
    check.fail("gateway.keys", "%s can be reached from other machines, and without keys everybody may spend yours: "
      .. "give keys, listen on 127.0.0.1, or set public = true", listen)
  end
  return config
end

--- Checks that budgets have prices: what is spent is known by them alone. Throws a message without a position.
---@param config table checked
---@param client table the client's configuration, resolved
function M.check_budgets(config, client)
  for i, key in ipairs(config.keys or {}) do
    if key.budget and not client.prices then
      check.fail(("gateway.keys[%d].budget"):format(i), "needs `prices`, to know what is spent")
    end
  end
end

local function is_prefix(name)
  return name:sub(-1) == "*"
end

-- Whether there is a name that both stand for.
local function overlap(a, b)
  local one, other = a:gsub("%*$", ""), b:gsub("%*$", "")
  if not is_prefix(a) and not is_prefix(b) then
    return a == b
  end
  local length = math.min(is_prefix(a) and #one or #a, is_prefix(b) and #other or #b)
  return one:sub(1, length) == other:sub(1, length) and (is_prefix(a) or #a >= #other) and (is_prefix(b) or #b >= #one)
end

-- The names that are served, with wildcards; nil: any.
local function served(config, client)
  local names = {}
  for _, endpoint in ipairs(not config.models and client.endpoints or {}) do
    if not endpoint.models.only then
      return nil
    end
    for name in pairs(endpoint.models.only) do
      names[#names + 1] = name
    end
  end
  for name in pairs(config.models or {}) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- What is allowed, and hardly meant: models of keys that nobody serves.
---@param config table checked
---@param client table the client's configuration, resolved
---@return string[] remarks
function M.remarks(config, client)
  local names, list = served(config, client), {}
  for i, key in ipairs(names and config.keys or {}) do
    for k, model in ipairs(key.models or {}) do
      local found = false
      for _, name in ipairs(names) do
        found = found or overlap(model, name)
      end
      if not found then
        list[#list + 1] = ("gateway.keys[%d].models[%d]: nobody serves %q%s"):format(i, k, model,
          text.hint(model, names))
      end
    end
  end
  return list
end

--- The reference of all keys as Markdown.
---@return string
function M.reference()
  return text.reference(fields)
end

return M
