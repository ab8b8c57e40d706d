--- Carrying on with a stream that broke off after something of it was shown.
--
--   continue  what was shown goes back as the beginning of the answer, to lines that are known to take one up
--             (surefoot.provider.prefill); the stream goes on
--   restart   the model is asked anew, and what it says is not shown as long as it repeats what was shown; where it
--             differs before that, the two cannot be joined: kind "truncated"
--   auto      continue where a line is known to take it up, restart where none is, or where that was refused
--
-- Text alone can be resumed: not several choices, nor an answer of which calls of tools, reasoning, anything else or
-- the end was shown. Then, and whatever resuming meets, the error is the stream's own and says why it was not resumed.
-- Lines that have not broken off go first; one that has is asked again after a backoff. All of it is one call: one
-- deadline, retry.max_attempts over all attempts, each resumption paid from the retry budget. The result is whole:
-- text, usage, cost, latency and attempts are those of all rounds, result.resumed says how often it was resumed.

local common = require "surefoot.provider.common"
local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local join = require "surefoot.join"
local prefill = require "surefoot.provider.prefill"
local rounds = require "surefoot.rounds"
local schema = require "surefoot.config.schema"
local seams = require "surefoot.seam"
local streams = require "surefoot.stream"
local way = require "surefoot.resume.way"

local M = {}

---@class surefoot.Config
---@field resume ("off" | "continue" | "restart" | "auto")?

---@class surefoot.CallOptions
---@field resume ("off" | "continue" | "restart" | "auto")?

---@class surefoot.Result
---@field resumed integer?  how often the stream was resumed

---@class surefoot.Attempt
---@field resume ("continue" | "restart")?  it was to resume a stream

-- How a stream may end that is worth resuming.
local BROKEN = { truncated = true, timeout = true, network = true, server = true, overloaded = true,
  rate_limited = true, malformed = true }
-- Ends of the whole call, whatever came before.
local ENDS = { cancelled = true, closed = true, deadline = true }

-- The pieces of an answer that is resumed.
---@class surefoot.ResumedSource: surefoot.Source
---@field private mode string
---@field private rounds surefoot.Rounds
---@field private inner surefoot.Source?   the running round
---@field private job surefoot.Job         of the last round
---@field private how string?              "continue" or "restart"; nil: the first round
---@field private seam surefoot.Seam?      of the running round
---@field private told string              what "continue" told, and
---@field private space string             the white space behind it
---@field private before surefoot.Result?  what was shown of rounds that are over, joined
---@field private failure surefoot.Error?  of the stream that broke off last
---@field private beyond string?           what was shown cannot be resumed: why
---@field private refused boolean?         what was told was not taken up
---@field private attempts surefoot.Attempt[]  of rounds that are over
---@field private broken table<integer, true>  endpoints whose streams broke off
---@field private tries integer            rounds after the first
---@field private resumed integer          those that went on
---@field private counted boolean?         the running one did
---@field private said boolean?            the running one has brought text
---@field private cost integer?            what the running one took from the retry budget
---@field private first_token number?
local Source = {}
Source.__index = Source

-- ---------------------------------------------------------------------------------------------------------- the whole

local function add_attempts(self, list)
  for _, attempt in ipairs(list or common.NOTHING) do
    attempt.resume = self.how
    self.attempts[#self.attempts + 1] = attempt
  end
end

-- What all rounds amount to with the answer, or the part of one, that came last; nil when it is another text.
local function with_before(self, result)
  if not self.how then
    return result
  end
  local shown_again = self.seam and self.seam:within(result.text or "") or not self.seam and 0
  if not shown_again then
    return nil
  elseif self.how == "restart" then
    return copy(result)
  end
  return join.results(self.before, join.without(result, shown_again), self.rounds.job)
end

-- An answer as the caller gets it. uncounted: it was not added to the rounds.
local function finished(self, whole, attempts, uncounted)
  whole = self.rounds:whole(whole, uncounted)
  whole.attempts, whole.time_to_first_token = attempts, self.first_token
  whole.resumed = self.resumed > 0 and self.resumed or nil
  return whole
end

local function most_attempts(self)
  local job = self.rounds.job
  return job.options.max_attempts or job.client.config.retry.max_attempts
end

-- An error as the caller gets it: it tells of all rounds.
local function of_all(self, err, message)
  err = self.rounds:failed(err)
  err.message, err.attempts, err.max_attempts = message or err.message, self.attempts, most_attempts(self)
  if self.before then
    err.partial = self.rounds:whole(self.before)
    err.partial.attempts, err.partial.resumed = nil, self.resumed > 0 and self.resumed or nil
  end
  return err
end

-- The error of the stream that broke off, and why it was not resumed.
local function broken_off(self, why, kind)
  local err = of_all(self, self.failure, ("%s; not resumed: %s"):format(self.failure.message, why))
  if kind then
    err.kind, err.retryable, err.phase = kind, errors.kinds[kind].retryable, nil -- it is the text that counts now
  end
  return err
end

-- ---------------------------------------------------------------------------------------------------------- the pieces

local function has(chunk, name)
  return rawget(chunk, name) ~= nil
end

-- Where the new text goes on: not before its first piece, since that depends on the line that answers.
local function seam_of(self)
  if self.how == "restart" then
    return seams.repeating(self.before.text or "")
  end
  local fold = self.job.committed and self.job.folds[self.job.committed]
  return seams.going_on(self.told, self.space, fold and prefill.may_repeat(fold.variant))
end

-- Takes out of a piece what was shown before: false when it belongs to another text.
local function cut(self, chunk)
  local seam, text = self.seam, rawget(chunk, "text")
  if text then
    text = seam:take(text)
    if not text then
      return false
    end
  end
  if not seam.over and (has(chunk, "tool_calls") or has(chunk, "finish_reason")) then
    local held = seam:finish()
    if not held then
      return false
    end
    text = (text or "") .. held
  end
  chunk.text = text ~= "" and text or nil
  if not seam.over and self.how == "restart" then
    chunk.reasoning = nil -- it leads to what was shown
  end
  return true
end

-- What makes an answer more than a text.
local function beyond_text(chunk)
  return has(chunk, "tool_calls") and "calls of tools had begun" or has(chunk, "finish_reason") and "its end was shown"
    or has(chunk, "reasoning") and "reasoning was shown"
    or not has(chunk, "text") and not has(chunk, "usage") and "more than text was shown" or nil
end

local function count(self)
  if self.how and not self.counted then
    self.counted, self.resumed = true, self.resumed + 1
  end
end

-- A piece as the reader shall see it, or nil; and false when it belongs to another text.
local function shown(self, chunk)
  self.first_token = self.first_token or self.rounds:elapsed()
  if self.how then
    self.seam = self.seam or seam_of(self)
    if self.how == "continue" and not self.said and has(chunk, "reasoning") then
      return nil, false -- who goes on has nothing to think about
    end
    self.said = self.said or has(chunk, "text")
    if not self.seam.over then
      if not cut(self, chunk) then
        return nil, false
      elseif not (has(chunk, "text") or has(chunk, "tool_calls") or has(chunk, "finish_reason")
        or has(chunk, "usage") or has(chunk, "reasoning")) then
        return nil, true
      end
    end
    if self.seam.over then
      count(self)
    end
  end
  self.beyond = self.beyond or beyond_text(chunk)
  if has(chunk, "usage") then
    chunk.usage = self.rounds:with(chunk.usage)
  end
  return chunk, true
end

-- ------------------------------------------------------------------------------------------------------- after the end

-- The running round gives another text: nil where yet another round may follow, else the error of the call.
local function another_text(self, is_over, result)
  local err
  if not is_over then
    result, err = self.inner:cancel()
  end
  self.inner = nil
  self.rounds:add(result or err and err.partial or {})
  add_attempts(self, (result or err or {}).attempts)
  local seam = self.seam
  if self.how == "continue" and self.mode == "auto" then
    self.refused = true
    return nil
  elseif self.how == "continue" then
    return broken_off(self, "the answer was not taken up, the model began to reason anew")
  end
  return broken_off(self, ("asked anew, the answer is another one after %d of %d bytes"):format(seam.at,
    #(self.before.text or "")), "truncated")
end

local function index_of(list, value)
  for i, item in ipairs(list) do
    if item == value then
      return i
    end
  end
end

-- A stream broke off: what had come is kept.
local function take_part(self, err)
  local job, partial = self.job, err.partial
  local fold = job.folds and job.folds[job.committed]
  local endpoint = fold and index_of(job.client.config.endpoints, fold.endpoint)
  self.failure = err
  if endpoint then
    self.broken[endpoint] = true
    self.place = job.routes[fold.variant.route].place or fold.variant.route
  end
  self.rounds:add(partial or {})
  if not partial then
    self.beyond = self.beyond or "what had come cannot be read"
  elseif self.how == "continue" then
    local seam = self.seam
    local again = not seam and 0 or seam.over and seam.at or #(partial.text or "")
    self.before = join.results(self.before, join.without(partial, again), self.rounds.job)
  elseif not self.how or self.seam and self.seam.over then
    self.before = partial
  end
end

-- The error of a call that ended while its stream was to be resumed.
local function cut_short(self, err)
  return of_all(self, err, ("%s; before that the stream failed: %s: %s"):format(err.message, self.failure.kind,
    self.failure.message))
end

-- A round has failed: nil where another one may follow, else the error of the call.
local function after_failure(self, err)
  local is_first, has_begun = not self.how, self.job and self.job.committed
  if is_first and not has_begun then
    return err -- nothing was shown
  end
  add_attempts(self, err.attempts)
  if has_begun then
    take_part(self, err)
    if not BROKEN[err.kind] then
      return of_all(self, err)
    elseif self.beyond then
      return broken_off(self, self.beyond)
    end
    return nil
  end
  self.rounds:add {}
  if ENDS[err.kind] then
    return cut_short(self, err)
  elseif self.how == "continue" and self.mode == "auto" then
    self.refused = true
    return nil
  end
  return broken_off(self, ("%s: %s"):format(err.kind, err.message))
end

-- ----------------------------------------------------------------------------------------------------------- resuming

-- Waits where all lines have broken off; nil and why there is no use in it, or an error that ends the call.
local function wait(self, delay)
  delay = math.max(delay, self.failure.retry_after or 0)
  if delay > schema.hint_cap and delay == self.failure.retry_after then
    return nil, "the server asks for a longer wait than is allowed"
  elseif delay >= self.rounds:left() then
    return nil, "the deadline leaves no room for another attempt"
  elseif delay > 0 then
    local err = self.rounds:pause(delay)
    return not err, nil, err
  end
  return true
end

-- Begins the next round; the error of the call where there is none.
local function reopen(self)
  local core, kind = self.rounds.job.client.core, self.failure.kind
  local text = self.before.text or ""
  self.told = text:match "^(.*%S)" or ""
  self.space = text:sub(#self.told + 1)
  local how, routes, all_broken = way.choose(self.rounds.job, self)
  if not how then
    return broken_off(self, routes)
  end
  local left = most_attempts(self) - errors.sent(self.attempts)
  if left <= 0 then
    return broken_off(self, "no attempts left")
  end
  local is_throttled = kind == "rate_limited" or kind == "overloaded" and self.failure.retry_after ~= nil
  local cost, delay = core:withdraw(is_throttled and "throttled" or "transient", self.tries + 1)
  if not cost then
    return broken_off(self, "the retry budget is spent")
  end
  if all_broken then
    local ready, why, err = wait(self, delay)
    if not ready then
      core:refund(cost)
      return why and broken_off(self, why) or cut_short(self, err)
    end
  end
  self.how, self.tries, self.cost = how, self.tries + 1, cost
  self.job, self.seam, self.counted, self.said = nil, nil, nil, nil
  local first = self.rounds.job
  local job, problem = self.rounds:follow(first.request, "the stream was resumed", { routes = routes,
    work = how == "continue" and way.telling(first.work, self.told) or first.work, max_attempts = left })
  if job then
    self.inner, problem = streams.source(job)
  end
  if not self.inner then
    core:refund(cost)
    return after_failure(self, problem)
  end
  self.job = job
end

-- ------------------------------------------------------------------------------------------------------------- source

-- The end of a round that gave an answer.
local function ended(self, chunk, result)
  if not self.how then
    return chunk, true, result
  end
  self.seam = self.seam or seam_of(self)
  local held = self.seam:finish()
  local whole = held and with_before(self, result)
  if not whole then
    return nil, true, nil, another_text(self, true, result)
  elseif held ~= "" then
    chunk = chunk or { index = 1 }
    chunk.text = (chunk.text or "") .. held
  end
  count(self)
  self.rounds:add(result)
  self.rounds.job.client.core:refund(self.cost)
  add_attempts(self, result.attempts)
  return chunk, true, finished(self, whole, self.attempts)
end

function Source:read(task)
  while not self.inner do
    local err = reopen(self)
    if err then
      return nil, true, nil, err
    end
  end
  local chunk, over, result, err = self.inner:read(task)
  if chunk then
    local fits
    chunk, fits = shown(self, chunk)
    if not fits then
      err = another_text(self, over, result)
      return nil, err ~= nil, nil, err
    end
  end
  if not over then
    return chunk, false
  end
  self.inner = nil
  if result then
    return ended(self, chunk, result)
  end
  err = after_failure(self, err)
  return nil, err ~= nil, nil, err
end

function Source:cancel()
  local inner, result, err = self.inner, nil, nil
  self.inner = nil
  if inner then
    result, err = inner:cancel()
  end
  if result then
    return select(3, ended(self, nil, result))
  end
  err = err or errors.new { kind = "cancelled", sent = true, attempts = {} }
  if not inner then -- between two rounds
    return nil, of_all(self, err)
  end
  return nil, after_failure(self, err) or of_all(self, err)
end

--- What has been used until now, though nobody reads any more: nothing is ended.
---@return surefoot.Used?
function Source:so_far()
  local inner = self.inner
  return self.rounds:so_far(inner and inner:so_far())
end

-- Judges the whole; a text that is another one shows when it is read.
local function watch(self, job)
  local validate = job.options.validate
  job.options = copy(job.options)
  job.options.validate = function(result)
    if not self.how then
      return validate(result)
    end
    self.seam = self.seam or seam_of(self)
    local whole = with_before(self, result)
    if not whole then
      return true
    end
    count(self)
    return validate(finished(self, whole, join.appended(self.attempts, result.attempts), true))
  end
end

--- Submits the job of a stream, which is resumed where the options or the configuration say so.
---@async
---@param job surefoot.Job
---@return surefoot.Source? source
---@return surefoot.Error? err
function M.source(job)
  local mode, request = job.options.resume or job.client.config.resume or "off", job.request
  if mode == "off" then
    return streams.source(job)
  end
  local self = setmetatable({ mode = mode, job = job, attempts = {}, broken = {}, tries = 0, resumed = 0 }, Source)
  if type(request.n) == "number" and request.n > 1 then
    self.beyond = "there are several choices"
  end
  if job.options.validate then
    watch(self, job)
  end
  self.rounds = rounds.new(job, "resume")
  local problem
  self.inner, problem = streams.source(job)
  if not self.inner then
    return nil, problem
  end
  job.source = self
  return self
end

return M
