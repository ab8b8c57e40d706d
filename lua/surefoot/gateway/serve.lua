--- One request of a caller, from its first byte to the last of the answer; in nginx, in the content phase.
--
-- The caller's time and the upstream's are one: who leaves takes its call with it, who reads slowly slows the upstream.
-- What fails before the first byte is a status and an error in the caller's format; after it an event that says so, and
-- the connection is broken off, so that nobody takes a part for the whole.

local coalesce = require "surefoot.coalesce"
local continue = require "surefoot.continue"
local errors = require "surefoot.errors"
local exchanges = require "surefoot.gateway.exchange"
local failures = require "surefoot.gateway.errors"
local inbounds = require "surefoot.gateway.inbound"
local relay = require "surefoot.gateway.relay"
local spend = require "surefoot.spend"
local streams = require "surefoot.stream"

local M = {}

local MOST_UNSENT = 32768 -- bytes that are written before it waits for the reader
local TICK = 0.005 -- seconds: nginx's clock stands still meanwhile

local ngx = ngx
local failure_of, own, refuse, send, tell_way = exchanges.failure_of, exchanges.own, exchanges.refuse, exchanges.send,
  exchanges.tell_way

-- Comments while a stream is silent, by a light thread of its own.
local function keep_alive(exchange, begin)
  local every = exchange.gateway.config.keepalive_comments
  if not every then
    return
  end
  exchange.wrote_at = ngx.now()
  exchange.keeper = ngx.thread.spawn(function()
    while true do
      local due = exchange.wrote_at + every - ngx.now()
      if due > 0 then
        ngx.sleep(math.max(due, TICK))
      elseif exchange.writing then -- the caller is slow: it has something to read
        ngx.sleep(every)
      else
        begin()
        exchange.wrote_at = ngx.now()
        if not ngx.print(": keep-alive\n\n") or not ngx.flush() then
          return
        end
      end
    end
  end)
end

local function end_comments(exchange)
  if exchange.keeper then
    ngx.thread.kill(exchange.keeper)
    exchange.keeper = nil
  end
end

-- Ends an answer without the end that a whole one has.
local function break_off(exchange)
  exchanges.settle(exchange)
  ngx.exit(ngx.ERROR)
end

-- Events that have come together go out together, at the latest when the next one has to be waited for. Now and
-- then, and at the end, it waits for a slow reader, and so does the provider.
local function write(exchange, text, is_last)
  local ok, problem = ngx.print(text)
  local unsent = exchange.unsent + #text
  if ok and (is_last or unsent >= MOST_UNSENT) then
    exchange.writing = true
    ok, problem = ngx.flush(true)
    exchange.writing, unsent = false, 0
  end
  exchange.unsent, exchange.is_fresh, exchange.wrote_at = unsent, unsent > 0, exchange.wrote_at and ngx.now()
  return ok, problem
end

-- Sends what was written, without waiting for the reader.
local function sender(exchange)
  exchange.unsent, exchange.is_fresh = 0, false
  return function()
    if exchange.is_fresh then
      exchange.is_fresh = false
      ngx.flush()
    end
  end
end

local function begin_stream(exchange, endpoint, attempts)
  if exchange.has_begun then
    return
  end
  exchange.has_begun = true
  tell_way(exchange, endpoint, attempts)
  local header = ngx.header
  header["content-type"], header["cache-control"] = "text/event-stream; charset=utf-8", "no-cache"
  header["x-accel-buffering"] = "no"
  ngx.status = 200
end

-- The line that a stream comes from, and how many attempts there were until now.
local function way_of(job)
  local fold = job.committed and job.folds[job.committed]
  return fold and fold.endpoint.name, job.call and job.call:info().attempts
end

local function end_stream(exchange, writer, result, err)
  end_comments(exchange)
  local format = exchange.format
  if result then
    exchange.result = result
    if not exchange.has_begun then
      begin_stream(exchange, result.endpoint, errors.sent(result.attempts))
    end
    if result.verbatim == format.path then
      local tail = result.tail
      if format.farewell and not tail:find(format.farewell, 1, true) then
        tail = tail .. format.farewell
      end
      return write(exchange, tail, true)
    end
    return write(exchange, writer():finish(result), true)
  end
  local failure = failure_of(err)
  if not exchange.has_begun then
    return refuse(exchange, failure)
  end
  exchange.failure, failure.request_id = failure, exchange.id
  write(exchange, writer():failure(failure), true)
  break_off(exchange)
end

local function serve_stream(exchange, inbound, job)
  job.options.on_idle = sender(exchange)
  local made
  local function writer()
    made = made or exchange.format.events(inbound.context)
    return made
  end
  keep_alive(exchange, function()
    begin_stream(exchange)
  end)
  local stream, err = streams.open(continue.source(job))
  if stream then
    begin_stream(exchange, way_of(job))
    local chunk
    chunk, err = stream:read()
    while chunk do
      local text = chunk.data or writer():chunk(chunk)
      if text ~= "" then
        if not write(exchange, text) then -- the caller has left
          stream:close()
          exchange.result, exchange.departure = stream:result()
          end_comments(exchange)
          return ngx.exit(499)
        end
      end
      chunk, err = stream:read()
    end
  end
  end_stream(exchange, writer, stream and stream:result() or nil, err)
end

local function serve_whole(exchange, inbound, job)
  local client = exchange.gateway.client
  local result, err
  if exchange.format.operation == "chat" then
    result, err = continue.perform(job)
  else
    result, err = coalesce.perform(job)
  end
  if not result then
    return refuse(exchange, failure_of(err))
  end
  exchange.result = result
  local body = result.raw
  if result.verbatim ~= exchange.format.path or result.continued then
    local problem
    body, problem = client.codec.quick(exchange.format.whole(result, inbound.context))
    if not body then
      exchange.result = nil
      return own(exchange, "malformed", "the answer cannot be written: " .. tostring(problem))
    end
  end
  tell_way(exchange, result.endpoint, errors.sent(result.attempts))
  send(200, body, "application/json")
end

local function enter(exchange, job)
  if not exchange.key then
    return true
  end
  local unpriced = exchange.key.has_budget and spend.unpriced(exchange.gateway.client, job)
  if unpriced then
    own(exchange, "invalid_request", "this key has a budget, and " .. unpriced, { code = "no_price", param = "model" })
    return false
  end
  local ticket, kind, message, retry_after, code = exchange.key:enter(job.estimate)
  if not ticket then
    own(exchange, kind, message, { retry_after = retry_after and math.max(1, math.ceil(retry_after)), code = code,
      final = kind == "quota" })
    return false
  end
  exchange.ticket = ticket
  return true
end

-- Where nginx does not tell who leaves, the calls of those go on to their end: that is worth a line in the log.
local function cancel_on_abort(gateway, cancel)
  local ok, problem = ngx.on_abort(function()
    cancel:cancel()
    ngx.exit(499)
  end)
  if not ok and not gateway.is_unwatched then
    gateway.is_unwatched = true
    ngx.log(ngx.WARN, "surefoot.gateway: callers that leave are not noticed: ", tostring(problem))
  end
end

-- Who leaves is heard of in the log phase, which follows at once. Until it is known to be there, a coroutine waits for
-- that, of every request: nginx keeps none of them for the next one.
local function watch_caller(exchange, options)
  exchange.cancel = options.cancel
  if not exchange.gateway.hears_ends then
    cancel_on_abort(exchange.gateway, options.cancel)
  end
end

-- What was thrown for the caller's sake; faults go on.
local function thrown(exchange, problem)
  if type(problem) ~= "table" then
    error(problem, 0)
  end
  return own(exchange, "invalid_request", problem.message, { param = problem.param })
end

local function serve(exchange)
  local gateway = exchange.gateway
  local key, kind, message, more = inbounds.key_of(gateway)
  if not key then
    return own(exchange, kind, message, more)
  end
  exchange.key = key ~= true and key or nil
  local body
  body, kind, message = inbounds.read_body(gateway)
  if not body then
    return own(exchange, kind, message or ("the body is larger than %d bytes"):format(gateway.config.max_body_bytes))
  end
  local members, param
  members, message, param = inbounds.read_members(exchange, body)
  if not members then
    return own(exchange, "invalid_request", message, { param = param })
  end
  exchange.model, exchange.streams = members.model, members.streams and exchange.format.events ~= nil
  members.streams = exchange.streams
  local routes
  routes, kind, message, more = inbounds.routes_of(exchange, members)
  if not routes then
    return own(exchange, kind, message, more)
  end
  local options
  options, message = inbounds.options_of(exchange)
  if not options then
    return own(exchange, "invalid_request", message)
  end
  local inbound = inbounds.inbound_of(exchange, body, members)
  local ok, job, err = pcall(relay.job, gateway.client, inbound, routes, options)
  if not ok then
    return thrown(exchange, job)
  elseif not job then
    return refuse(exchange, failure_of(err))
  elseif not enter(exchange, job) then
    return
  end
  exchange.job = job
  watch_caller(exchange, options)
  if exchange.streams then
    return serve_stream(exchange, inbound, job)
  end
  return serve_whole(exchange, inbound, job)
end

-- A fault of the gateway's. Its caller is told as of any failure, and the provider is let go; the log says what it was.
local function failed(exchange, problem)
  ngx.log(ngx.ERR, "surefoot.gateway: the request ", exchange.id, ": ", tostring(problem))
  if exchange.cancel then
    exchange.cancel:cancel()
  end
  end_comments(exchange)
  local failure = failures.own("error", "the gateway failed; its log tells more")
  if not ngx.headers_sent then
    return refuse(exchange, failure)
  end
  exchange.failure = failure
  break_off(exchange)
end

local function id_of(gateway)
  local given = ngx.var.http_x_request_id
  if given and #given <= 128 and given:find "^[%w%-_.:]+$" then
    return given, true
  end
  return gateway.client.host.new_id(), false
end

--- Serves one request of an operation.
---@async
---@param gateway surefoot.Gateway
---@param format surefoot.Dialect
function M.call(gateway, format)
  local id, id_given = id_of(gateway)
  local exchange = { -- the empty fields are filled later: named here, the table has their places
    gateway = gateway, format = format, began = ngx.req.start_time(), id = id, id_given = id_given, streams = false,
    key = nil, ticket = nil, job = nil, model = nil, result = nil, failure = nil, cancel = nil, ended = nil,
    attempts = nil, departure = nil,
  }
  ngx.ctx.surefoot = exchange
  gateway.tally:began()
  local ok, problem = pcall(serve, exchange)
  if not ok then
    failed(exchange, problem)
  end
  exchanges.settle(exchange)
end

return M
