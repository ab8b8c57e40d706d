-- Puts an answer on the wire, whole or hurt, fast or slow. One rule: `ctx.done` is set when the provider itself has
-- decided how the exchange ends; a request that ends without it was left by its client.

local gzip = require "sim.gzip"

local M = {}

-- nginx closes for both; with reset_timedout_connection on, 444 closes with a TCP reset and 499 with an orderly end.
local CLOSE, RESET = 499, 444

---Ends the exchange without finishing it.
---@param how "close"|"reset"
function M.drop(ctx, how)
  ctx.done = true
  return ngx.exit(how == "reset" and RESET or CLOSE)
end

---Says nothing more; the client will have to leave.
function M.hang(ctx, behaviour)
  ngx.sleep(behaviour.hang_for or 3600)
  return M.drop(ctx, "close")
end

local function start(ctx, reply, behaviour)
  ngx.status = reply.status
  for name, value in pairs(reply.headers) do
    ngx.header[name] = value
  end
  for name, value in pairs(behaviour.headers or {}) do
    ngx.header[name] = value
  end
  ctx.answered = true
  if behaviour.first_byte_delay then
    ngx.send_headers()
    ngx.flush(true)
    ngx.sleep(behaviour.first_byte_delay)
  end
end

-- Piece size and pause for a body that does not go out at once.
local function pace(body, behaviour)
  local trickle, answer = behaviour.trickle, behaviour.answer or {}
  if trickle then
    return trickle.bytes or 1, trickle.every or 0.01
  elseif answer.chunks or answer.chunk_delay then
    return math.max(1, math.ceil(#body / (answer.chunks or 8))), answer.chunk_delay or 0
  end
end

local function write_paced(body, size, pause)
  for at = 1, #body, size do
    if at > 1 and pause > 0 then
      ngx.sleep(pause)
    end
    if not ngx.print(body:sub(at, at + size - 1)) or not ngx.flush(true) then
      return nil
    end
  end
  return true
end

---Sends a body; with `limit`, only so many of its bytes while the headers promise them all.
---@return boolean|nil sent
function M.body(ctx, reply, behaviour, limit)
  local answer = behaviour.answer
  if answer and answer.gzip then
    reply.headers["Content-Encoding"] = "gzip"
    reply.body = gzip(reply.body)
  end
  local body = reply.body
  local chunked = answer and (answer.chunked or answer.chunks or answer.chunk_delay)
  if not chunked then
    reply.headers["Content-Length"] = reply.length or #body
  end
  start(ctx, reply, behaviour)
  if limit then
    body = body:sub(1, limit)
  end
  local size, pause = pace(body, behaviour)
  if size then
    return write_paced(body, size, pause)
  elseif limit then
    return ngx.print(body) and ngx.flush(true)
  end
  return ngx.print(body)
end

local function format_event(event, stream)
  local stop = stream.crlf and "\r\n" or "\n"
  return (stream.comments and ": ping" .. stop .. stop or "")
    .. (event.name and "event: " .. event.name .. stop or "") .. "data: " .. event.data .. stop .. stop
end

local function write_event(event, stream)
  local bytes = format_event(event, stream)
  if stream.split then
    return write_paced(bytes, stream.split, 0)
  end
  return ngx.print(bytes) and (stream.burst or ngx.flush(true))
end

local STOPS = { "cut_after", "reset_after", "stall_after", "end_after", "error_after", "malformed_after" }

-- What shall happen before the content event numbered `count` (from 0): nil for nothing.
local function stop_at(stream, count)
  for _, name in ipairs(STOPS) do
    if stream[name] == count then
      return name
    end
  end
end

local ENDS = {
  cut_after = function(ctx)
    return M.drop(ctx, "close")
  end,
  reset_after = function(ctx)
    return M.drop(ctx, "reset")
  end,
  stall_after = M.hang,
  end_after = function()
    return true
  end,
  error_after = function(_, behaviour, reply)
    return write_event(reply.failure(behaviour.stream.error), behaviour.stream)
  end,
}

local function skipped(event, stream)
  return (event.done and stream.no_done) or (event.finish and stream.no_finish)
end

---Sends a stream of events as the profile's `stream` says.
---@return boolean|nil sent
function M.events(ctx, reply, behaviour)
  local stream, answer = behaviour.stream or {}, behaviour.answer or {}
  local pause = stream.chunk_delay or answer.chunk_delay
  local count = 0
  start(ctx, reply, behaviour)
  for _, event in ipairs(reply.events) do
    if event.content or event.finish then
      local stop = stop_at(stream, count)
      if ENDS[stop] then
        return ENDS[stop](ctx, behaviour, reply)
      elseif stop then
        event = { name = event.name, data = event.data:sub(1, math.floor(#event.data / 2)), content = event.content }
      end
    end
    if event.content then
      local wait = count == 0 and stream.first_token_delay or count > 0 and pause
      if wait then
        ngx.sleep(wait)
      end
      count = count + 1
    end
    if not skipped(event, stream) and not write_event(event, stream) then
      return nil
    end
  end
  return true
end

return M
