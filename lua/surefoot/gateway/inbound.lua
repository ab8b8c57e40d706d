--- What a caller's request says: who asks, for which model; read without decoding the body where that will do.

local binding = require "surefoot.binding"
local canceller = require "surefoot.canceller"
local copy = require "surefoot.copy"
local glance = require "surefoot.gateway.glance"
local origins = require "surefoot.gateway.origin"

local M = {}

local ngx = ngx
local NO_FALLBACKS = {}
local USAGE = { include_usage = true }
local UNKNOWN_MODEL = { param = "model", code = "model_not_found" }
local MOST_FALLBACKS = 16
local LONGEST_NAME = 256 -- bytes of a model's name: they are kept, and go into the log

---@class surefoot.gateway.Members
---@field model string
---@field first integer        where it stands, with its quotes
---@field last integer
---@field streams boolean
---@field fallbacks string[]
---@field told table           fields that the client looks at
---@field stream_options string?  as they stand in the body
---@field lists_models boolean  it has `models`, which OpenRouter and its like take for fallbacks

--- The body; nil and a failure's kind and message.
---@async
---@param gateway surefoot.Gateway
---@return string? body
---@return surefoot.Kind? kind
---@return string? message
function M.read_body(gateway)
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if body then
    return #body <= gateway.config.max_body_bytes and body or nil, "too_large"
  end
  local path = ngx.req.get_body_file()
  if not path then
    return nil, "invalid_request", "the request has no body"
  end
  local file, problem = io.open(path, "rb")
  if not file then
    return nil, "error", "the body could not be read: " .. tostring(problem)
  end
  local size = file:seek "end"
  if size > gateway.config.max_body_bytes then
    file:close()
    return nil, "too_large"
  end
  file:seek("set", 0)
  body = file:read "*a"
  file:close()
  return body
end

local UNKNOWN_KEY = { code = "invalid_api_key" }
local WRONG_ORIGIN = { code = "origin_not_allowed" }

--- The caller's key: nil and a failure where there must be one. No keys: nobody has one.
---@param gateway surefoot.Gateway
---@return surefoot.gateway.Key | true | nil key
---@return surefoot.Kind? kind
---@return string? message
---@return table? more fields of the failure
function M.key_of(gateway)
  if not gateway.keys then
    local problem = origins.problem(gateway)
    if problem then
      return nil, "forbidden", problem, WRONG_ORIGIN
    end
    return true
  end
  local var = ngx.var
  local given = var.http_authorization
  local secret = given and given:match "^[Bb][Ee][Aa][Rr][Ee][Rr] +(.-) *$" or var.http_x_api_key or var.http_api_key
  if not secret or secret == "" then
    return nil, "unauthorized", "no API key was given: send it as `Authorization: Bearer KEY`, or as `x-api-key: KEY`",
      UNKNOWN_KEY
  end
  local key = gateway.keys:find(secret)
  if not key then
    return nil, "unauthorized", "the API key is not known here", UNKNOWN_KEY
  end
  return key
end

local STREAMS = { ["true"] = true, ["false"] = false, ["null"] = false }

-- Whether a stream is asked for; nil: something else stands there, which no provider shall take for a yes of its own.
local function streams_of(body, first, last)
  if not first then
    return false
  end
  return STREAMS[body:sub(first, last)]
end

local function number_at(body, first, last)
  return first and tonumber(body:sub(first, last)) or nil
end

-- Why it is no name of a model, or nil.
local function name_problem(name)
  if type(name) ~= "string" or name == "" then
    return "expected a name"
  elseif #name > LONGEST_NAME or name:find "%c" or binding.utf8_error(name) then
    return ("expected a name of at most %d bytes of UTF-8, without control characters"):format(LONGEST_NAME)
  end
end

-- A list of names, if it is one.
local function names_of(list)
  if type(list) ~= "table" or #list > MOST_FALLBACKS then
    return nil
  end
  for _, name in ipairs(list) do
    if name_problem(name) then
      return nil
    end
  end
  return list
end

--- What the document says, found in passing. Nil, message, param: it is not what it must be.
---@param exchange surefoot.gateway.Exchange
---@param body string
---@return surefoot.gateway.Members?
---@return string? message
---@return string? param
function M.read_members(exchange, body)
  local codec = exchange.gateway.client.codec
  local m1, m2, s1, s2, t1, t2, c1, c2, r1, r2, n1, n2, f1, f2, o1, o2, l1 = binding.members(body, "model", "stream",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "fallbacks", "stream_options", "models")
  if m1 == nil then
    local encoding = ngx.var.http_content_encoding
    return nil, encoding and encoding ~= "identity" and ("the body is compressed (Content-Encoding: %s): this gateway "
      .. "takes it as it is"):format(encoding:sub(1, 20)) or "the body is no JSON object: " .. tostring(m2)
  end
  local model = m1 and glance.string_at(body, m1, m2)
  if m1 and not model then
    local value = codec.decode("[" .. body:sub(m1, m2) .. "]")
    model = value and value[1]
  end
  local problem = name_problem(model)
  if problem then
    return nil, "model: " .. (m1 and problem or "is required"), "model"
  end
  local fallbacks = f1 and names_of(codec.decode(body:sub(f1, f2))) or not f1 and NO_FALLBACKS
  if not fallbacks then
    return nil, ("fallbacks: expected a list of at most %d names of models"):format(MOST_FALLBACKS), "fallbacks"
  end
  local wants_stream = streams_of(body, s1, s2)
  if wants_stream == nil and exchange.format.events then
    return nil, "stream: expected true or false", "stream"
  end
  return {
    model = model, first = m1, last = m2, streams = wants_stream or false, fallbacks = fallbacks,
    told = {
      model = model, max_tokens = number_at(body, t1, t2), n = number_at(body, n1, n2),
      max_completion_tokens = number_at(body, c1, c2) or number_at(body, r1, r2),
    },
    stream_options = o1 and body:sub(o1, o2) or nil, lists_models = l1 and true or false,
  }
end

-- A text without one of its members: cut out, so that all else stays as it came. No quote can be within its name.
local function without_member(body, name)
  local first, last = binding.members(body, name)
  local closing = body:sub(1, first - 1):match '.*()"'
  local start = body:sub(1, closing - 1):match '.*()"'
  local comma_after = body:match("^%s*,()", last + 1)
  local comma_before = not comma_after and body:sub(1, start - 1):match ".*(),%s*$"
  return body:sub(1, (comma_before or start) - 1) .. body:sub(comma_after or last + 1)
end

-- The options by which a stream tells its usage, whatever else its caller asks for; nil: it is asked for already, or no
-- options stand there, and a provider shall say so.
local function usage_options(given, codec)
  if not given or given == "null" then
    return USAGE
  end
  local options = given:find "^{" and codec.decode(given)
  if options and options.include_usage ~= true then
    return copy(options, USAGE)
  end
end

--- The request as the relay takes it: without the member that only the gateway understands, and without a stream's
--- options where it is to be asked with others.
---@param exchange surefoot.gateway.Exchange
---@param body string
---@param members surefoot.gateway.Members
---@return surefoot.gateway.Inbound
function M.inbound_of(exchange, body, members)
  local gateway, first, last, length = exchange.gateway, members.first, members.last, #body
  local counts = members.streams and gateway.counts_usage and exchange.format.path == "/chat/completions"
  local wants_usage = counts and usage_options(members.stream_options, gateway.client.codec) or nil
  if members.fallbacks ~= NO_FALLBACKS then
    body = without_member(body, "fallbacks")
  end
  if wants_usage and members.stream_options then
    body = without_member(body, "stream_options")
  end
  if #body < length then
    first, last = binding.members(body, "model")
  end
  return { -- the empty fields are filled later: named here, the table has their places
    format = exchange.format, body = body, first = first, last = last, streams = members.streams,
    told = members.told, wants_usage = wants_usage, request = nil, passes = nil, is_marked = nil, alters = nil,
    context = {
      codec = gateway.client.codec, model = members.model, id = exchange.id, created = math.floor(ngx.time()),
      document = nil,
    },
  }
end

--- The options of the call. Nil and a message.
---@param exchange surefoot.gateway.Exchange
---@return surefoot.CallOptions?
---@return string? message
function M.options_of(exchange)
  local gateway, var = exchange.gateway, ngx.var
  local options = { cancel = canceller.new(), deadline = nil, headers = nil, on_idle = nil }
  local asked = var.http_x_surefoot_timeout
  if asked then
    local seconds = tonumber(asked)
    if not seconds or seconds ~= seconds or seconds <= 0 then
      return nil, "x-surefoot-timeout: expected seconds, above 0"
    end
    options.deadline = math.min(seconds, gateway.max_timeout)
  end
  local headers
  for name, variable in pairs(gateway.forwarded) do
    local value = var[variable]
    if value then
      headers = headers or {}
      headers[name] = value
    end
  end
  if exchange.id_given then
    headers = headers or {}
    headers["x-request-id"] = exchange.id
  end
  options.headers = headers
  return options
end

--- Whether the caller may have the models; nil and the failure's message.
---@param exchange surefoot.gateway.Exchange
---@param members surefoot.gateway.Members
---@return surefoot.Route[]?
---@return surefoot.Kind? kind
---@return string? message
---@return table? more fields of the failure
function M.routes_of(exchange, members)
  local key, routes = exchange.key, exchange.gateway.routes
  if members.lists_models and (key and not key.has_all_models or routes:are_bounded()) then
    return nil, "invalid_request", "models: names to try next stand in `fallbacks` here", { param = "models" }
  end
  for i = 0, key and #members.fallbacks or -1 do
    local name = i == 0 and members.model or members.fallbacks[i]
    if not key:allows(name) then
      return nil, "forbidden", ("this key may not use the model %q"):format(name), UNKNOWN_MODEL
    end
  end
  local found, unknown, problem
  if members.fallbacks == NO_FALLBACKS then
    found, unknown = routes:of(members.model), members.model
  else
    found, unknown, problem = routes:with(members.model, members.fallbacks)
  end
  if problem then
    return nil, "invalid_request", problem, { param = "fallbacks" }
  elseif not found then
    return nil, "not_found", ("the model %q is not served here"):format(unknown), UNKNOWN_MODEL
  end
  return found
end

return M
