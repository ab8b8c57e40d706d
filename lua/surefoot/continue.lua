--- Carrying on where an answer was cut by its token limit (finish_reason "length").
--
-- The partial answer goes back as it came, with a user's turn that asks for the rest; the texts are joined, up to
-- `continue_on_length` times, within the one deadline of the call. The result is that of the last round with the joined
-- text, message and reasoning; usage, cost, latency and attempts are those of all rounds, and result.continued says how
-- often it was carried on. A stream simply goes on. `validate` judges the joined answer.
--
-- Not carried on: tool calls, several choices (n), and answers without any text. The rest of structured output is asked
-- for without response_format, which would make the model begin a new document; result.parsed is read from the whole.
-- Where a later round fails, so does the call: err.partial is what had come.

local coalesce = require "surefoot.coalesce"
local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local join = require "surefoot.join"
local resume = require "surefoot.resume"
local rounds = require "surefoot.rounds"
local streams = require "surefoot.stream"

local M = {}

local PLEASE = "Your last answer was cut off by its length limit. Continue exactly where it stopped, beginning with "
  .. "the very next character. Repeat nothing, explain nothing, and do not mention that you continue."

---@class surefoot.Config
---@field continue_on_length integer?

---@class surefoot.CallOptions
---@field continue_on_length integer?  rounds to carry on after finish_reason "length"

---@class surefoot.Result
---@field continued integer?  how often it was carried on after finish_reason "length"

-- ------------------------------------------------------------------------------------------------------------ source

-- A call whose answer comes whole, as a source: over at once, so that nobody can cancel it.
local Plain = {}
Plain.__index = Plain

function Plain:read()
  return nil, true, coalesce.perform(self.job)
end

function Plain.so_far() end -- all or nothing

-- The pieces of an answer that is carried on.
---@class surefoot.ContinuedSource: surefoot.Source
---@field private rounds surefoot.Rounds
---@field private inner surefoot.Source?   the running round
---@field private left integer             further rounds that are allowed
---@field private before surefoot.Result?  what the rounds that are over gave, joined
---@field private said boolean?            the running round has shown text
---@field private called boolean?          or a tool call
---@field private hidden string?           a finish_reason that was not shown, since more follows
local Source = {}
Source.__index = Source

local function begin(job)
  if job.work.streams then
    return resume.source(job)
  end
  return setmetatable({ job = job }, Plain)
end

-- The request for the rest.
local function next_request(self)
  local request = copy(self.rounds.job.request)
  request.messages = copy(request.messages)
  request.messages[#request.messages + 1] = join.message_of(self.before)
  request.messages[#request.messages + 1] = { role = "user", content = PLEASE }
  request.response_format = nil
  return request
end

local function open_next(self)
  local job, problem = self.rounds:follow(next_request(self), "the answer was carried on")
  if not job then
    return nil, problem
  end
  self.said, self.called, self.hidden = nil, nil, nil
  return begin(job)
end

-- Whether what this round gave is to be carried on.
local function goes_on(self, result)
  return self.left > 0 and result.finish_reason == "length" and not result.tool_calls and (result.text or "") ~= ""
end

local function with_before(self, result)
  return self.before and join.results(self.before, result, self.rounds.job) or result
end

-- What the caller gets of the joined answer.
local function finished(self, result, uncounted)
  local whole = self.rounds:whole(result, uncounted)
  local further = self.rounds.count - (uncounted and 0 or 1)
  whole.continued = further > 0 and further or nil
  return whole
end

local function failed(self, err)
  if not self.before then
    return err
  end
  err = self.rounds:failed(err)
  if err.partial then
    err.partial = finished(self, with_before(self, err.partial), true)
  else
    err.partial = finished(self, self.before)
  end
  err.partial.truncated = true
  return err
end

-- A piece as the reader shall see it: usage is that of all rounds, and a round's end is no end while more follows.
local function shown(self, chunk)
  self.said, self.called = self.said or (chunk.text or "") ~= "", self.called or chunk.tool_calls ~= nil
  if chunk.usage then
    chunk.usage = self.rounds:with(chunk.usage)
  end
  if chunk.finish_reason == "length" and self.left > 0 and self.said and not self.called then
    self.hidden, chunk.finish_reason = chunk.finish_reason, nil
    if not (chunk.text or chunk.reasoning or chunk.usage) then
      return nil
    end
  end
  return chunk
end

-- Takes the answer of a round; true when more is to follow.
local function take(self, result)
  local more = goes_on(self, result)
  self.rounds:add(result)
  self.before = with_before(self, result)
  self.left = self.left - 1
  return more
end

function Source:read(task)
  if not self.inner then
    local problem
    self.inner, problem = open_next(self)
    if not self.inner then
      return nil, true, nil, failed(self, problem)
    end
  end
  local chunk, over, result, err = self.inner:read(task)
  chunk = chunk and shown(self, chunk)
  if not over then
    return chunk, false
  end
  self.inner = nil
  if not result then
    return chunk, true, nil, failed(self, err)
  elseif take(self, result) then
    return chunk, false
  elseif self.hidden then -- it was the end after all
    chunk = chunk or { index = 1 }
    chunk.finish_reason = self.hidden
  end
  return chunk, true, finished(self, self.before)
end

function Source:cancel()
  local inner, result, err = self.inner, nil, nil
  self.inner = nil
  if inner then
    result, err = inner:cancel()
  end
  if result and not take(self, result) then
    return finished(self, self.before)
  end
  return nil, failed(self, err or errors.new { kind = "cancelled", sent = true, attempts = {} })
end

--- What has been used until now, though nobody reads any more: nothing is ended.
---@return surefoot.Used?
function Source:so_far()
  local inner = self.inner
  return self.rounds:so_far(inner and inner:so_far())
end

-- Judges the joined answer, and only when it is the last.
local function watch(self, job)
  local validate = job.options.validate
  job.options = copy(job.options)
  job.options.validate = function(result)
    if goes_on(self, result) then
      return true
    end
    return validate(finished(self, with_before(self, result), true))
  end
end

-- How often an answer may be carried on.
local function allowed(job)
  local request = job.request
  if type(request.messages) ~= "table" or type(request.n) == "number" and request.n > 1 then
    return 0
  end
  return job.options.continue_on_length or job.client.config.continue_on_length or 0
end

--- Begins a chat call, in pieces or whole; carries on where the options or the configuration say so.
---@async
---@param job surefoot.Job
---@return surefoot.Source? source
---@return surefoot.Error? err
function M.source(job)
  local most = allowed(job)
  if most == 0 then
    return begin(job)
  end
  local self = setmetatable({ left = most }, Source)
  if job.options.validate then
    watch(self, job)
  end
  self.rounds = rounds.new(job, "part")
  local problem
  self.inner, problem = begin(job)
  if not self.inner then
    return nil, problem
  end
  job.source = self
  return self
end

--- Performs a chat call; carries on where the options or the configuration say so.
---@async
---@param job surefoot.Job
---@return surefoot.Result?
---@return surefoot.Error?
function M.perform(job)
  if allowed(job) == 0 then
    return coalesce.perform(job)
  end
  return streams.drain(M.source(job))
end

return M
