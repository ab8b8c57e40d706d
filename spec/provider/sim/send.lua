-- Puts a whole answer on the wire, right or hurt, fast or slow. One rule: `ctx.done` is set when the provider itself
-- has decided how the exchange ends; a request that ends without it was left by its client.

local compress = require "sim.compress"

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

---Begins an answer: status, headers, and the wait after them.
function M.start(ctx, reply, behaviour)
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
  local encoding = answer and (answer.encoding or (answer.gzip and "gzip"))
  if encoding then
    reply.headers["Content-Encoding"] = encoding
    reply.body = compress[encoding](reply.body)
  end
  local body = reply.body
  local chunked = answer and (answer.chunked or answer.chunks or answer.chunk_delay)
  if not chunked then
    reply.headers["Content-Length"] = reply.length or #body
  end
  M.start(ctx, reply, behaviour)
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

return M
