-- Sends a stream of events, right or hurt, fast or slow, as the profile's `stream` says. Events are made while they are
-- sent, one at a time, and each is flushed: a client that does not read stops the making, and nothing piles up here.

local inband = require "sim.inband"
local send = require "sim.send"
local store = require "sim.store"

local M = {}

local STOP = {}
local BLOCK = ("x"):rep(65536)

---@class sim.Event
---@field name? string of the event
---@field data string
---@field raw? boolean without the framing of events
---@field start? boolean comes before content, or between
---@field content? boolean a token's worth
---@field finish? boolean says why it ends
---@field usage? boolean
---@field trailer? boolean between finish and end
---@field done? boolean the end

local Sink = {}
Sink.__index = Sink

-- Ends the stream from within the making of its events; `how` runs once that is unwound.
local function stop(sink, how)
  sink.ending = how
  error(STOP, 0)
end

local function left()
  return nil
end

local function over()
  return true
end

function Sink:put(bytes)
  if not ngx.print(bytes) then
    return stop(self, left)
  end
  self.unsent = self.unsent + #bytes
  if not self.stream.burst then
    self:flush()
  end
end

function Sink:flush()
  if not ngx.flush(true) then
    return stop(self, left)
  end
  store.sent(self.ctx, self.unsent)
  self.unsent = 0
end

function Sink:write(bytes)
  local size = self.stream.split
  if not size then
    return self:put(bytes)
  end
  for at = 1, #bytes, size do
    self:put(bytes:sub(at, at + size - 1))
  end
end

local FRAME = {
  sse = function(sink, event)
    local line = sink.line
    return (sink.stream.comments and ": ping" .. line .. line or "")
      .. (event.name and "event: " .. event.name .. line or "") .. "data: " .. event.data .. line .. line
  end,
  -- One JSON array; an element over several lines, as the API writes it.
  array = function(sink, event)
    local first = sink.written == 0
    return (first and "[" or "\n,\n") .. event.data:gsub("^{", "{\n  "):gsub("}$", "\n}")
  end,
}

function Sink:event(event)
  local bytes = event.raw and self.framing == "sse" and event.data .. self.line or FRAME[self.framing](self, event)
  self.written = self.written + 1
  self:write(bytes)
end

function Sink:ping()
  if self.framing == "sse" then
    local ping = self.ctx.api.name == "anthropic" and "event: ping" .. self.line .. 'data: {"type": "ping"}' or ": ping"
    self:write(ping .. self.line .. self.line)
  end
end

-- Waits; with `pings` it is not silent meanwhile.
function Sink:wait(seconds)
  local every = self.stream.pings
  if self.unsent > 0 then
    self:flush()
  end
  while every and seconds > every do
    ngx.sleep(every)
    seconds = seconds - every
    self:ping()
  end
  ngx.sleep(seconds)
end

local function dropped(how)
  return function(sink)
    return send.drop(sink.ctx, how)
  end
end

local ENDS = {
  cut_after = function(sink)
    return stop(sink, dropped "close")
  end,
  reset_after = function(sink)
    return stop(sink, dropped "reset")
  end,
  end_after = function(sink)
    return stop(sink, over)
  end,
  stall_after = function(sink)
    sink:wait(sink.behaviour.hang_for or 3600)
    return stop(sink, dropped "close")
  end,
  error_after = function(sink)
    sink:event(inband.event(sink.ctx, sink.stream))
    return stop(sink, over)
  end,
}

local ORDER = { "cut_after", "reset_after", "stall_after", "end_after", "error_after" }

-- What shall happen before the content event numbered `count` (from 0; -1 is before any event).
function Sink:meet(count)
  local stream = self.stream
  for _, name in ipairs(ORDER) do
    if stream[name] == count then
      ENDS[name](self)
    end
  end
  return stream.malformed_after == count
end

-- An event as long as that, in blocks: it is never held here.
function Sink:long_event(event, bytes)
  local padding = bytes - #event.data - #',"padding":""'
  local head = event.data:sub(1, -2) .. ',"padding":"'
  local framed = FRAME[self.framing](self, { name = event.name, data = "\0" })
  local before, after = framed:match "^(.*)%z(.*)$"
  self.written = self.written + 1
  self:put(before .. head)
  while padding > 0 do
    self:put(BLOCK:sub(1, padding))
    padding = padding - #BLOCK
  end
  self:put('"}' .. after)
end

function Sink:send(event)
  if event.content and self.count == 1 and self.stream.event_bytes then
    return self:long_event(event, self.stream.event_bytes)
  end
  self:event(event)
  if event.finish and self.stream.double_finish then
    self:event(event)
  end
end

function Sink:take(event)
  local stream = self.stream
  if event.content or event.finish then
    if self:meet(self.count) then
      event = { name = event.name, data = event.data:sub(1, math.floor(#event.data / 2)), content = event.content }
    end
  end
  if event.content then
    local wait = self.count == 0 and stream.first_token_delay or self.count > 0 and self.pause
    if wait and wait > 0 then
      self:wait(wait)
    end
    self.count = self.count + 1
  end
  if not (event.done and stream.no_done) and not (event.finish and stream.no_finish) then
    self:send(event)
  end
end

function Sink:close()
  if self.framing == "array" then
    self:write((self.written == 0 and "[" or "\n") .. "]\n")
  end
  if self.stream.open_end then
    self:wait(self.stream.open_end)
  end
end

---Sends a stream of events as the profile's `stream` says.
---@return boolean|nil sent
function M.send(ctx, reply, behaviour)
  local stream, answer = behaviour.stream or {}, behaviour.answer or {}
  local crlf = stream.crlf
  if crlf == nil then
    crlf = reply.crlf
  end
  local sink = setmetatable({
    ctx = ctx, stream = stream, behaviour = behaviour, framing = reply.framing or "sse", count = 0, written = 0,
    unsent = 0, pause = stream.chunk_delay or answer.chunk_delay, line = crlf and "\r\n" or "\n",
  }, Sink)
  send.start(ctx, reply, behaviour)
  if not stream.burst then
    ngx.send_headers()
    ngx.flush(true)
  end
  local ok, why = pcall(function()
    sink:meet(-1)
    reply.stream(function(event)
      return sink:take(event)
    end)
    sink:close()
  end)
  if not ok and why ~= STOP then
    error(why, 0)
  end
  return (sink.ending or over)(sink)
end

---Counts the content events of a stream, by making and throwing them away.
---@return integer count no more than 1000: there are streams without end
function M.content_events(reply)
  local count = 0
  local ok, why = pcall(reply.stream, function(event)
    count = count + (event.content and 1 or 0)
    if count == 1000 then
      error(STOP, 0)
    end
  end)
  if not ok and why ~= STOP then
    error(why, 0)
  end
  return count
end

---@return string the whole stream, as one text
function M.text(reply)
  local parts = {}
  reply.stream(function(event)
    parts[#parts + 1] = (event.name and "event: " .. event.name .. "\n" or "") .. "data: " .. event.data .. "\n\n"
  end)
  return table.concat(parts)
end

return M
