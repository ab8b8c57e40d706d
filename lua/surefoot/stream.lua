--- An answer that arrives in pieces.
--
--   local stream, err = client:stream { messages = {...} }     -- returns with the first content, or nil, err
--   for chunk in stream:chunks() do io.write(chunk.text or "") end
--   local result, err = stream:result()
--
-- Until something was shown a failing line is left for another; afterwards a failure ends the stream, unless it is
-- resumed (surefoot.resume), and the error holds what had come (err.partial). The call is cancelled by close(), by the
-- end of a `local stream <close>`, by leaving a loop over chunks() where Lua closes it (5.4), by its deadline, and when
-- nobody holds the stream any more.

local call = require "surefoot.call"
local errors = require "surefoot.errors"
local guard = require "surefoot.guard"
local tasks = require "surefoot.tasks"

local M = {}

local current, guarded, running, MAIN = tasks.current, guard.call, guard.running, "main thread"

-- Where the pieces of a stream come from: one call, or several that make one answer.
--   read(task)  a piece, or nil when there is none yet; whether it is over; and then how: a result, or nil and an
--               error. task: the running one, if any. Not called again once it is over, or has thrown
--   cancel()    ends it: nil and an error, or a result where it had just ended by itself
--   so_far()    what it has used until now (usage, cost, endpoint), whoever reads it; nil where that is nothing
---@class surefoot.Source
---@field so_far fun(self: surefoot.Source): surefoot.Used?
---@field read fun(self: surefoot.Source, task: surefoot.Task?): surefoot.Chunk?, boolean, surefoot.Result?,
--- surefoot.Error?
---@field cancel fun(self: surefoot.Source): surefoot.Result?, surefoot.Error?

---@class surefoot.Stream
---@field private source surefoot.Source? nil: it has ended
---@field private first surefoot.Chunk?   the content it was opened with
---@field private outcome surefoot.Result?
---@field private failure surefoot.Error?
---@field private told boolean?           the failure was the last chunk
---@field private reader any               the coroutine that is reading
---@overload fun(): surefoot.Chunk?
local Stream = {}
local mt = { __index = Stream, __name = "surefoot.stream" }

-- A reader whose source threw is none any more.
local function is_read_elsewhere(reader)
  return reader ~= nil and reader ~= MAIN and reader ~= running() and coroutine.status(reader) ~= "dead"
end

function mt.__tostring(stream)
  local is_open = stream.source or is_read_elsewhere(stream.reader)
  return "surefoot.stream (" .. (is_open and "open" or stream.failure and "failed" or "ended") .. ")"
end

local function check(stream, method)
  if getmetatable(stream) ~= mt then
    error(("stream.%s: call it with a colon, stream:%s()"):format(method, method), 3)
  elseif is_read_elsewhere(stream.reader) then
    error(("stream:%s: another task is reading this stream"):format(method), 3)
  end
end

local function ended(stream, result, err)
  stream.source, stream.outcome, stream.failure = nil, result, err
end

-- One turn of reading: a chunk, or nil when the stream has ended, or only begun. What a source throws ends the stream:
-- it has none while it is read (5.1 cannot yield under a pcall), and nothing of it goes on.
local function turn(stream, task, co)
  local source = stream.source
  stream.source, stream.reader = nil, co or MAIN
  local ok, chunk, over, result, err = guarded(source.read, source, task)
  stream.source, stream.reader = source, nil
  if not ok then
    pcall(source.cancel, source)
    ended(stream, nil, errors.thrown(chunk))
    stream.told = true
    error(chunk, 0)
  elseif over then
    ended(stream, result, err)
  end
  return chunk
end

local function read(stream)
  local chunk = stream.first
  if chunk then
    stream.first = nil
    return chunk
  end
  local task, co = current()
  while not chunk and stream.source do
    if task and tasks.take_interrupt(task) then
      Stream.close(stream)
    else
      chunk = turn(stream, task, co)
    end
  end
  if chunk then
    return chunk
  end
  return nil, stream.failure
end

--- The next piece.
---@async
---@return surefoot.Chunk? chunk nil at the end
---@return surefoot.Error? err why it ended, unless it is whole
function Stream:read()
  check(self, "read")
  return read(self)
end

-- As an iterator: a failure is the last chunk.
local function next_chunk(stream)
  local chunk, err = read(stream)
  if not chunk and err and not stream.told then
    stream.told = true
    return { error = err }
  end
  return chunk
end

--- Iterates over the pieces; leaving the loop cancels the call where Lua closes it (5.4).
---@async
---@return fun(stream: surefoot.Stream): surefoot.Chunk?
---@return surefoot.Stream
function Stream:chunks()
  check(self, "chunks")
  return next_chunk, self, nil, self
end

function mt.__call(stream)
  check(stream, "read")
  return next_chunk(stream)
end

--- Reads to the end.
---@async
---@return surefoot.Result? result as client:chat gives it
---@return surefoot.Error? err with err.partial: what had come
function Stream:result()
  check(self, "result")
  while read(self) do end -- luacheck: ignore 542
  return self.outcome, self.failure
end

--- Cancels what still runs. result() then gives nil and an error of kind "cancelled", unless the stream had ended.
function Stream:close()
  check(self, "close")
  self.first = nil
  if self.source then
    ended(self, self.source:cancel())
  end
end

mt.__close = function(stream)
  if stream.source then
    Stream.close(stream)
  end
end

-- ----------------------------------------------------------------------------------------------------------- sources

--- Submits the job of a stream, and makes it the source of its pieces.
---@async
---@param job surefoot.Job
---@return surefoot.Source? source
---@return surefoot.Error? err
function M.source(job)
  local ok, problem = call.begin(job)
  if not ok then
    return nil, problem
  end
  job.read, job.cancel, job.so_far = call.read, call.cancel, call.partial
  return job
end

--- Opens a stream: waits for its first content.
---@async
---@param source surefoot.Source?
---@param problem surefoot.Error? why there is no source
---@return surefoot.Stream? stream
---@return surefoot.Error? err
function M.open(source, problem)
  if not source then
    return nil, problem
  end
  local stream = setmetatable({ source = source }, mt)
  stream.first = turn(stream, current())
  if stream.failure and not stream.first then
    return nil, stream.failure
  end
  return stream
end

--- Reads a source to its end.
---@async
---@param source surefoot.Source
---@return surefoot.Result? result
---@return surefoot.Error? err
function M.drain(source)
  local task = current()
  while true do
    local _, over, result, err = source:read(task)
    if over then
      return result, err
    end
  end
end

return M
