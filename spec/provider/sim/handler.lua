-- One request from head to log: who asks, how the line behaves this time, the right answer, and what is made of it.

local cjson = require "cjson.safe"
local draw = require "sim.draw"
local fault = require "sim.fault"
local rate = require "sim.rate"
local routes = require "sim.routes"
local send = require "sim.send"
local store = require "sim.store"
local stream = require "sim.stream"
local upload = require "sim.upload"

local M = {}

local EMPTY = {}

local reply = routes.reply

local function read_body()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local path = not body and ngx.req.get_body_file()
  if path then
    local file = assert(io.open(path, "rb"))
    body = file:read "*a"
    file:close()
  end
  return body or ""
end

local function head_of()
  if ngx.req.http_version() < 2 then
    return ngx.req.raw_header()
  end
  return cjson.encode(ngx.req.get_headers(0))
end

local function copy_of(headers)
  local copy = {}
  for name, value in pairs(headers or EMPTY) do
    copy[name] = value
  end
  return copy
end

local function refusal(ctx, status, message, headers, info)
  return reply(status, ctx.api.error(status, message, info), headers)
end

-- The key, wherever one of the APIs wants it.
local function key_of(var)
  local bearer = var.http_authorization
  return bearer and (bearer:match "^[Bb]earer%s+(.+)$" or bearer)
    or var.http_x_api_key or var.http_api_key or var.http_x_goog_api_key or var.arg_key
end

local function not_found(ctx)
  if ctx.api.not_found then
    return reply(404, ctx.api.not_found())
  end
  return refusal(ctx, 404, "Invalid URL (" .. ngx.req.get_method() .. " " .. ngx.var.uri .. ")")
end

local function no_model(ctx, route)
  if ctx.api.model_error then
    return reply(ctx.api.model_error(ctx.model, route.verb))
  end
  return refusal(ctx, 404, ("The model `%s` does not exist"):format(tostring(ctx.model)))
end

local function right_answer(ctx, request, behaviour, profile)
  local route, answer = ctx.route, behaviour.answer or EMPTY
  if not route then
    return not_found(ctx)
  elseif (route.takes or "json") == "json" and not request then
    return refusal(ctx, 400, "We could not parse the JSON body of your request.")
  elseif profile.model_set and (request or ctx.model) and not profile.model_set[ctx.model] then
    return no_model(ctx, route)
  elseif answer.body then
    return reply(200, answer.body)
  end
  return route.run(ctx, request, answer, profile)
end

local function key_refusal(ctx, profile)
  local key = ctx.key
  local bad = key and (profile.bad_keys or EMPTY)[key]
  if bad then
    local code = bad.code or 401
    return reply(code, bad.body or ctx.api.error(code, "This key is not accepted"), copy_of(bad.headers))
  elseif profile.key_set and not profile.key_set[key or ""] then
    return reply(ctx.api.key_error(key))
  end
end

local function estimate(request, body)
  local asked = request and tonumber(request.max_tokens or request.max_completion_tokens or request.max_output_tokens)
  return math.ceil(#body / 4) + (asked or 256)
end

local function rate_refusal(ctx, limit, request, body)
  local wait, headers = rate.admit(ctx.line, limit, estimate(request, body), ctx.api.name == "anthropic")
  ctx.rate_headers = headers
  if not wait then
    return nil
  end
  wait = limit.wait or wait
  local in_body = limit.retry_after == "body"
  local message = "Rate limit reached"
  if in_body then
    message = ("%s. Please try again in %.3fs."):format(message, wait)
  end
  local name, value = rate.hint(limit.retry_after, wait)
  local given = name and { [name] = value } or {}
  local code = limit.code or 429
  return limit.body and reply(code, limit.body, given)
    or refusal(ctx, code, message, given, in_body and { wait = wait } or nil)
end

local function behaviour_of(ctx, profile)
  local behaviour = profile
  if profile.sequence then
    behaviour = profile.sequence[store.next(ctx.line, "step")] or profile
  end
  local by_model = behaviour.by_model
  return by_model and ctx.model and by_model[ctx.model] or behaviour
end

local function status_reply(ctx, status)
  local code = status.code or 500
  return reply(code, status.body or ctx.api.error(code, ("Simulated %d"):format(code)), copy_of(status.headers))
end

-- Latency, and the fault that chance or the profile picks for this request.
local function fate(ctx, behaviour)
  local name, code = behaviour.fault, nil
  local seconds = behaviour.delay or 0
  if behaviour.random then
    local seed, n = behaviour.seed or ctx.seed, store.next(ctx.line, "draw")
    if behaviour.fault_table and not name then
      name, code = draw.fault(behaviour.fault_table, seed, n)
    end
    if behaviour.latency then
      seconds = seconds + draw.latency(behaviour.latency, seed, n)
    end
  end
  return seconds, name, code
end

local REQUEST_ID = { anthropic = "request-id", azure = "apim-request-id" }

local function answer(ctx, behaviour, made, name)
  local id = ("req_%s_%d"):format(ctx.line, ctx.number)
  made.headers["x-request-id"] = id
  if REQUEST_ID[ctx.api.name] then
    made.headers[REQUEST_ID[ctx.api.name]] = id
  end
  made.headers["x-sim-line"] = ctx.line
  for header, value in pairs(ctx.rate_headers or EMPTY) do
    made.headers[header] = value
  end
  ctx.fault = name
  if fault[name] then
    return fault[name](ctx, made, behaviour)
  elseif made.stream then
    return stream.send(ctx, made, behaviour)
  end
  return send.body(ctx, made, behaviour)
end

local function serve(ctx, profile, behaviour, request, body)
  ctx.seed = profile.seed or ngx.crc32_short(ctx.line)
  ctx.options = behaviour.stream or EMPTY
  local refused = key_refusal(ctx, profile)
  local limit = behaviour.rate or profile.rate
  if not refused and limit then
    refused = rate_refusal(ctx, limit, request, body)
  end
  if refused then
    return answer(ctx, EMPTY, refused)
  end
  local seconds, name, code = fate(ctx, behaviour)
  if name == "hang" then
    ctx.fault = name
    return send.hang(ctx, behaviour)
  end
  if seconds > 0 then
    ngx.sleep(seconds)
  end
  local status = code and { code = code } or behaviour.status
  local made = status and status_reply(ctx, status) or right_answer(ctx, request, behaviour, profile)
  return answer(ctx, behaviour, made, name)
end

local function request_of(ctx)
  local takes = ctx.route and ctx.route.takes
  ctx.body = read_body()
  local request = takes ~= "parts" and ctx.body ~= "" and cjson.decode(ctx.body) or nil
  request = type(request) == "table" and request or nil
  ctx.model = ctx.route and ctx.route.model or request and request.model
  if request and ctx.route and ctx.route.model and not request.model then
    request.model = ctx.route.model
  end
  return request
end

-- The body of an upload is read after it is known how the line behaves: it may end within the body.
local function take_upload(ctx, profile)
  store.remember(ctx.line, head_of(), "")
  local behaviour = behaviour_of(ctx, profile)
  if behaviour.upload and upload.leave(ctx, behaviour.upload) then
    return true
  end
  ctx.upload = upload.read()
  return serve(ctx, profile, behaviour, nil, "")
end

local function take(ctx, profile)
  if ctx.route and ctx.route.takes == "upload" then
    return take_upload(ctx, profile)
  end
  local request = request_of(ctx)
  store.remember(ctx.line, head_of(), ctx.body)
  return serve(ctx, profile, behaviour_of(ctx, profile), request, ctx.body)
end

---The content phase of a line.
function M.content()
  local var, ctx = ngx.var, ngx.ctx
  local line = var.sim_line
  ctx.line = line
  ctx.key = key_of(var)
  ctx.generation = store.begin(line, var, ctx.key)
  ctx.route, ctx.api = routes.find(var.uri)
  ctx.time = ngx.time()
  ctx.number = store.next(line, "served")
  if take(ctx, store.profile(line)) then
    ctx.done = true
  end
end

---The log phase of a line.
function M.log()
  local var, ctx = ngx.var, ngx.ctx
  if ctx.line then
    store.finish(ctx, ngx.status, tonumber(var.request_length), tonumber(var.bytes_sent))
  end
end

return M
