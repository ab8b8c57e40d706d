-- One request from head to log: who asks, how the line behaves this time, the right answer, and what is made of it.

local cjson = require "cjson.safe"
local anthropic = require "sim.anthropic"
local draw = require "sim.draw"
local fault = require "sim.fault"
local openai = require "sim.openai"
local rate = require "sim.rate"
local send = require "sim.send"
local store = require "sim.store"

local M = {}

local EMPTY = {}

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

local function reply(status, body, headers)
  headers = headers or {}
  headers["Content-Type"] = headers["Content-Type"] or "application/json"
  return { status = status, headers = headers, body = type(body) == "table" and cjson.encode(body) or body }
end

local function shape(ctx)
  return ctx.path == "/messages" and anthropic or openai
end

local function copy_of(headers)
  local copy = {}
  for name, value in pairs(headers or EMPTY) do
    copy[name] = value
  end
  return copy
end

local function refusal(ctx, status, message, headers)
  return reply(status, shape(ctx).error(status, message), headers)
end

-- What an event stream says when it fails half-way, and an "ok" answer that is an error.
local function failure_of(ctx, status)
  return function(given)
    local body = given or shape(ctx).error(status or 529, "Overloaded")
    local name = shape(ctx) == anthropic and "error" or nil
    return { name = name, data = type(body) == "string" and body or cjson.encode(body) }
  end
end

local function stream_reply(ctx, events)
  return {
    status = 200, events = events,
    headers = { ["Content-Type"] = "text/event-stream; charset=utf-8", ["Cache-Control"] = "no-cache" },
    failure = failure_of(ctx),
  }
end

local ROUTES = {
  ["/chat/completions"] = function(ctx, request, answer)
    if type(request.messages) ~= "table" then
      return refusal(ctx, 400, "'messages' is a required property")
    elseif request.stream == true then
      return stream_reply(ctx, openai.chat_events(request, answer, ctx))
    end
    return reply(200, openai.chat(request, answer, ctx))
  end,
  ["/messages"] = function(ctx, request, answer)
    if type(request.messages) ~= "table" or not tonumber(request.max_tokens) then
      return refusal(ctx, 400, "messages and max_tokens: Field required")
    elseif request.stream == true then
      return stream_reply(ctx, anthropic.message_events(request, answer, ctx))
    end
    return reply(200, anthropic.message(request, answer, ctx))
  end,
  ["/embeddings"] = function(ctx, request)
    local body, err = openai.embeddings(request, ctx)
    return body and reply(200, body) or refusal(ctx, 400, err)
  end,
  ["/models"] = function(_, _, _, profile)
    return reply(200, openai.models(profile.models))
  end,
}

local function right_answer(ctx, request, behaviour, profile)
  local route = ROUTES[ctx.path]
  local models = profile.model_set
  if not route then
    return refusal(ctx, 404, "Invalid URL (" .. ngx.req.get_method() .. " " .. ngx.var.uri .. ")")
  elseif ctx.path ~= "/models" and not request then
    return refusal(ctx, 400, "We could not parse the JSON body of your request.")
  elseif models and request and not models[request.model] then
    return refusal(ctx, 404, ("The model `%s` does not exist"):format(tostring(request.model)))
  end
  local made = route(ctx, request, behaviour.answer or EMPTY, profile)
  if behaviour.answer and behaviour.answer.body then
    made = reply(200, behaviour.answer.body)
  end
  return made
end

local function key_refusal(ctx, profile)
  local key = ngx.var.http_x_api_key or (ngx.var.http_authorization or ""):match "^[Bb]earer%s+(.+)$"
  local bad = key and (profile.bad_keys or EMPTY)[key]
  if bad then
    local code = bad.code or 401
    return reply(code, bad.body or shape(ctx).error(code, "This key is not accepted"), copy_of(bad.headers))
  elseif profile.key_set and not profile.key_set[key or ""] then
    local message = key and "Incorrect API key provided" or "You didn't provide an API key"
    return refusal(ctx, 401, message)
  end
end

local function estimate(request, body)
  local asked = request and tonumber(request.max_tokens or request.max_completion_tokens)
  return math.ceil(#body / 4) + (asked or 256)
end

local function rate_refusal(ctx, limit, request, body)
  local wait, headers = rate.admit(ctx.line, limit, estimate(request, body), shape(ctx) == anthropic)
  ctx.rate_headers = headers
  if not wait then
    return nil
  end
  wait = limit.wait or wait
  local message = "Rate limit reached"
  if limit.retry_after == "body" then
    message = ("%s. Please try again in %.3fs."):format(message, wait)
  end
  local name, value = rate.hint(limit.retry_after, wait)
  local given = name and { [name] = value } or {}
  local code = limit.code or 429
  return limit.body and reply(code, limit.body, given) or refusal(ctx, code, message, given)
end

local function behaviour_of(line, profile, request)
  local behaviour = profile
  if profile.sequence then
    behaviour = profile.sequence[store.next(line, "step")] or profile
  end
  local by_model = behaviour.by_model
  return by_model and request and by_model[request.model] or behaviour
end

local function status_reply(ctx, status)
  local code = status.code or 500
  return reply(code, status.body or shape(ctx).error(code, ("Simulated %d"):format(code)), copy_of(status.headers))
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

local function answer(ctx, behaviour, made, name)
  made.headers["x-request-id"] = ("req_%s_%d"):format(ctx.line, ctx.number)
  made.headers["x-sim-line"] = ctx.line
  for header, value in pairs(ctx.rate_headers or EMPTY) do
    made.headers[header] = value
  end
  ctx.fault = name
  if fault[name] then
    return fault[name](ctx, made, behaviour)
  elseif made.events then
    return send.events(ctx, made, behaviour)
  end
  return send.body(ctx, made, behaviour)
end

local function serve(ctx, profile, request, body)
  local behaviour = behaviour_of(ctx.line, profile, request)
  ctx.seed = profile.seed or ngx.crc32_short(ctx.line)
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
  made.failure = made.failure or failure_of(ctx)
  return answer(ctx, behaviour, made, name)
end

---The content phase of a line.
function M.content()
  local var, ctx = ngx.var, ngx.ctx
  local line = var.sim_line
  ctx.line = line
  ctx.generation = store.begin(line, var)
  ctx.path = var.uri:match "/v1(/.*)$" or var.uri
  ctx.time = ngx.time()
  local body = read_body()
  store.remember(line, head_of(), body)
  ctx.number = store.next(line, "served")
  local request = body ~= "" and cjson.decode(body) or nil
  if type(request) ~= "table" then
    request = nil
  end
  if serve(ctx, store.profile(line), request, body) then
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
