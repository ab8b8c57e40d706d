--- Which path is answered by what.

local chat = require "surefoot.dialect.chat"
local dialects = require "surefoot.dialect"
local failures = require "surefoot.gateway.errors"
local inbounds = require "surefoot.gateway.inbound"
local json = require "surefoot.json"
local keys = require "surefoot.gateway.keys"
local origins = require "surefoot.gateway.origin"
local serve = require "surefoot.gateway.serve"

local M = {}

local ngx = ngx
local LISTED_FOR = 10 -- seconds that the lines' lists of models are believed
local SHOWN = 256 -- bytes of a path or a name, in messages

local usual = {}
for path, format in pairs(dialects) do
  usual["/v1" .. path] = format
end

local function answer(status, document, headers)
  local text = assert(json.encode(document))
  ngx.status = status
  for name, value in pairs(headers or {}) do
    ngx.header[name] = value
  end
  ngx.header["content-type"], ngx.header["content-length"] = "application/json", #text
  ngx.print(text)
end

local function refuse(kind, message, more, headers)
  local failure = failures.own(kind, message, more)
  headers = headers or {}
  headers["x-should-retry"] = "false"
  return answer(failure.status, chat.error(failure), headers)
end

-- ------------------------------------------------------------------------------------------------------------- models

-- The models that a key may see: those of the configuration, or what the lines say that they have, asked now and then.
local function names_of(gateway)
  local names, listed = gateway.routes:names(), gateway.listed
  if names then
    return names
  elseif listed and ngx.now() - listed.at < LISTED_FOR then
    return listed.names
  end
  names = {}
  local models, err = gateway.client:models()
  if not models then
    return nil, err
  end
  for i, model in ipairs(models) do
    names[i] = model.id
  end
  gateway.listed = { names = names, at = ngx.now() }
  return names
end

-- In OpenAI's words and in Anthropic's: each SDK finds what it reads.
local function model_document(name, gateway)
  local began = math.floor(gateway.started_at)
  return {
    id = name, object = "model", created = began, owned_by = "surefoot",
    type = "model", display_name = name, created_at = os.date("!%Y-%m-%dT%H:%M:%SZ", began),
  }
end

local function find_key(gateway)
  local key, kind, message, more = inbounds.key_of(gateway)
  if not key then
    refuse(kind, message, more, { ["www-authenticate"] = kind == "unauthorized" and "Bearer" or nil })
    return nil
  end
  return key
end

local function list_models(gateway, one)
  local key = find_key(gateway)
  if not key then
    return
  end
  local names, err = names_of(gateway)
  if not names then
    local failure = failures.of(err)
    return answer(failure.status, chat.error(failure))
  end
  local data = {}
  for _, name in ipairs(names) do
    if (key == true or key:allows(name)) and (not one or one == name) then
      data[#data + 1] = model_document(name, gateway)
    end
  end
  if not one then
    return answer(200, {
      object = "list", data = json.array(data), has_more = false,
      first_id = data[1] and data[1].id or json.null, last_id = data[1] and data[#data].id or json.null,
    })
  elseif data[1] then
    return answer(200, data[1])
  end
  return refuse("not_found", ("the model %q is not served here"):format(one:sub(1, SHOWN)), { param = "model" })
end

-- ----------------------------------------------------------------------------------------------------- for operators

-- Who may see numbers: with admin_key those who know it, else those on this machine.
local function is_operator(gateway)
  local secret = gateway.config.admin_key
  if not secret then
    local address = ngx.var.remote_addr
    local is_near = address:find "^127%." ~= nil or address == "::1" or address:find "^unix:" ~= nil
    local is_forwarded = ngx.var.http_x_forwarded_for or ngx.var.http_forwarded -- by a proxy that is near
    return is_near and not is_forwarded and not origins.problem(gateway)
  end
  local given = ngx.var.http_authorization or ""
  local token = given:match "^[Bb]earer +(.+)$"
  local basic = given:match "^[Bb]asic +(.+)$"
  if basic then
    token = (ngx.decode_base64(basic) or ""):match "^[^:]*:(.*)$"
  end
  return token ~= nil and keys.hash(token) == keys.hash(secret) -- the time it takes tells nothing of the secret
end

local function for_operators(show)
  return function(gateway)
    if not is_operator(gateway) then
      return refuse(gateway.config.admin_key and "unauthorized" or "forbidden",
        gateway.config.admin_key and "this is for those who know admin_key"
          or origins.problem(gateway)
          or "this is shown on this machine only: set gateway.admin_key to see it from others", nil,
        { ["www-authenticate"] = gateway.config.admin_key and 'Basic realm="surefoot"' or nil })
    end
    return show(gateway)
  end
end

local function metrics(gateway)
  local text = require("surefoot.gateway.metrics").text(gateway)
  ngx.header["content-type"], ngx.header["content-length"] = "text/plain; version=0.0.4; charset=utf-8", #text
  ngx.print(text)
end

local function status_document(gateway)
  ngx.header["cache-control"] = "no-store"
  return answer(200, require("surefoot.gateway.status").document(gateway))
end

local function page(_)
  local html = require("surefoot.gateway.page")
  ngx.header["content-type"], ngx.header["content-length"] = "text/html; charset=utf-8", #html.html
  ngx.header["content-security-policy"] = html.policy
  ngx.header["x-content-type-options"], ngx.header["referrer-policy"] = "nosniff", "no-referrer"
  ngx.print(html.html)
end

local function health()
  return answer(200, { status = "ok" })
end

-- Ready: at least one line may be asked.
local function ready(gateway)
  local open = 0
  for _, endpoint in pairs(gateway.client:stats().endpoints) do
    if endpoint.breaker == "open" then
      open = open + 1
    end
  end
  local lines = #gateway.client.config.endpoints
  local well = open < lines
  return answer(well and 200 or 503, { status = well and "ready" or "every line's circuit is open", lines = lines,
    open = open })
end

local gets = {
  ["/health"] = health, ["/ready"] = ready, ["/metrics"] = for_operators(metrics),
  ["/status.json"] = for_operators(status_document), ["/status"] = for_operators(page), ["/"] = for_operators(page),
  ["/models"] = list_models,
}

--- Answers a request, whatever it is.
---@async
---@param gateway surefoot.Gateway
function M.serve(gateway)
  local method, path = ngx.req.get_method(), ngx.var.uri
  local call = usual[path]
  if call and method == "POST" then
    serve.call(gateway, call)
    return
  end
  local bare = path:gsub("^/v1/", "/", 1)
  local get = gets[bare]
  call = dialects[bare]
  if call then
    if method == "POST" then
      serve.call(gateway, call)
      return
    end
    local message = ("%s takes POST, not %s"):format(path, method)
    refuse("invalid_request", message, { status = 405 }, { allow = "POST" })
    return
  end
  local model = bare:match "^/models/(.+)$"
  if get or model then
    if method == "GET" or method == "HEAD" then
      if model then
        list_models(gateway, model)
      else
        get(gateway)
      end
      return
    end
    refuse("invalid_request", ("%s takes GET, not %s"):format(path, method), { status = 405 }, { allow = "GET" })
    return
  end
  refuse("not_found", ("nothing is at %s: calls go to /v1/chat/completions, /v1/responses, /v1/embeddings, "
    .. "/v1/messages; models are at /v1/models"):format(path:sub(1, SHOWN)), { code = "unknown_path" })
end

return M
