-- The faults by name. Each takes (ctx, reply, behaviour), where `reply` is the answer that would have been right,
-- and puts something else on the wire.

local inband = require "sim.inband"
local send = require "sim.send"
local stream = require "sim.stream"

local M = {}

local HTML = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n"
  .. "<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>\n"

-- A stream is hurt in its middle by the means that a profile has anyway.
local function hurt_stream(ctx, reply, behaviour, how)
  local hurt = { [how] = math.floor(stream.content_events(reply) / 2) }
  local settings = setmetatable(hurt, { __index = behaviour.stream })
  return stream.send(ctx, reply, setmetatable({ stream = settings }, { __index = behaviour }))
end

local function plain(reply, body, content_type)
  reply.stream = nil
  reply.body = body
  reply.headers["Content-Type"] = content_type or "application/json"
  return reply
end

local function half_then(how, stream_how)
  return function(ctx, reply, behaviour)
    if reply.stream then
      return hurt_stream(ctx, reply, behaviour, stream_how)
    end
    if not send.body(ctx, reply, behaviour, math.max(1, math.floor(#reply.body / 2))) then
      return nil
    end
    return how(ctx, behaviour)
  end
end

M.hang = function(ctx, _, behaviour)
  return send.hang(ctx, behaviour)
end

M.reset = function(ctx)
  return send.drop(ctx, "reset")
end

M.close = function(ctx)
  return send.drop(ctx, "close")
end

M.truncate = half_then(function(ctx)
  return send.drop(ctx, "close")
end, "cut_after")

M.reset_midway = half_then(function(ctx)
  return send.drop(ctx, "reset")
end, "reset_after")

M.stall = half_then(send.hang, "stall_after")

function M.short_json(ctx, reply, behaviour)
  if reply.stream then
    return hurt_stream(ctx, reply, behaviour, "end_after")
  end
  reply.body = reply.body:sub(1, math.max(1, math.floor(#reply.body * 0.6)))
  return send.body(ctx, reply, behaviour)
end

function M.malformed(ctx, reply, behaviour)
  if reply.stream then
    return hurt_stream(ctx, reply, behaviour, "malformed_after")
  end
  reply.body = reply.body:gsub(":", "=", 1)
  return send.body(ctx, reply, behaviour)
end

function M.html(ctx, reply, behaviour)
  return send.body(ctx, plain(reply, HTML, "text/html"), behaviour)
end

function M.empty(ctx, reply, behaviour)
  return send.body(ctx, plain(reply, ""), behaviour)
end

-- Content-Length promises fewer bytes than are sent.
function M.wrong_length(ctx, reply, behaviour)
  if reply.stream then
    plain(reply, stream.text(reply), "text/event-stream")
  end
  reply.length = math.max(1, math.floor(#reply.body / 2))
  return send.body(ctx, reply, behaviour)
end

function M.error_200(ctx, reply, behaviour)
  return send.body(ctx, plain(reply, inband.event(ctx, behaviour.stream or {}).data), behaviour)
end

local BLOCK = ("x"):rep(65536)

-- One endless string, in chunks, without ever being held here.
function M.huge(ctx, reply, behaviour)
  local left = (behaviour.answer or {}).huge_bytes or 100 * 1024 * 1024
  ngx.status = 200
  for name, value in pairs(reply.headers) do
    ngx.header[name] = value
  end
  ctx.answered = true
  ngx.print(reply.stream and "data: " or "", '{"id":"')
  while left > 0 do
    if not ngx.print(left >= #BLOCK and BLOCK or BLOCK:sub(1, left)) or not ngx.flush(true) then
      return nil
    end
    left = left - #BLOCK
  end
  return ngx.print('"}', reply.stream and "\n\n" or "")
end

return M
