--- One run of a batch over a file: its workers each take the next line that is not done, ask, and write down what came.
--
-- A row that could not even be sent (no connection, every circuit open, its turn did not come in time) is asked again
-- as long as others get through, or did a short time ago (`patience`); after that, where nothing is out any more, the
-- run gives up, and what waited stays open. Where the last rows all failed for what lies with the line or the account
-- (a wrong key, a spent quota), no further row is begun (`give_up_after`), and they stay open. Once it has ended, only
-- what is out is waited for.

local cancellers = require "surefoot.canceller"
local lines = require "surefoot.batch.lines"
local rows = require "surefoot.batch.rows"
local tasks = require "surefoot.tasks"
local waiting = require "surefoot.batch.waiting"

local M = {}

local LONGEST_LINE = 64 * 2 ^ 20
local SHOWN = 64 * 1024 -- bytes of a longer one that are kept
local CHECKPOINT = 30 -- seconds between two
local AT_ONCE = 5000 -- lines that are passed over before others may run
local LONGEST_PAUSE = 30 -- seconds, before a row is asked again that could not be sent
local LOOK = 0.5 -- seconds between two looks at what waits
local SILENCE = 2 -- seconds without an answer, after which it is told that rows cannot be sent, and ...
local TELL = 5 -- ... seconds between two such words

-- What lies with the line or the account: the next row would fail as well.
local COMMON = { unauthorized = true, forbidden = true, not_found = true, quota = true, tls = true, network = true }

---@class surefoot.FileRun
---@field ended string?          why no further row is begun
---@field problem string?        a file that cannot be read or written, and why
---@field private client surefoot.Client
---@field private job table      as surefoot.batch.file reads it
---@field private journal surefoot.Journal
---@field private reader surefoot.Lines
---@field private canceller surefoot.Canceller  of all calls
---@field private scheduler surefoot.Scheduler
---@field private began number
---@field private saved number   when the last checkpoint was
---@field private open table<integer, surefoot.JournalPlace>  lines that were begun and are in no file: where they begin
---@field private held table[]   rows that have failed one after the other, for what may be no reason of their own
---@field private in_flight integer
---@field private rows integer   in the lines that were read
---@field private read_all boolean
---@field private heard number?  when a row last got through
---@field private working integer        workers that have not ended
---@field private asking table<integer, surefoot.Row>  rows that are asked, by their lines
---@field private paused integer         rows of these that were given back by their calls, since they could not be sent
---@field private unsent surefoot.Error? why, of the last one
---@field private told number            when that was told
---@field private watcher surefoot.Task? the one who looks at what waits, while it sleeps
---@field private summary surefoot.FileSummary
local Run = {}
Run.__index = Run

--- Makes a run. Nothing is asked yet.
---@param client surefoot.Client
---@param job table
---@param journal surefoot.Journal
---@return surefoot.FileRun
function M.new(client, job, journal)
  local scheduler, place = client.host.scheduler(), journal.place
  local began = scheduler.engine:now()
  return setmetatable({
    client = client, job = job, journal = journal, canceller = cancellers.new(), scheduler = scheduler,
    reader = lines.new(journal.input, LONGEST_LINE, place.offset, place.line), rows = place.rows,
    began = began, saved = began, open = {}, held = {}, in_flight = 0, read_all = false, working = 0, asking = {},
    paused = 0, told = began,
    summary = { errors = {}, tokens = 0, cost = 0, earlier = journal.done.count },
  }, Run)
end

--- Begins no further row; those in flight go on.
---@param why string
function Run:finish(why)
  self.ended = self.ended or why
end

--- Begins no further row, and ends those that only wait; those that are out go on.
---@param why string
function Run:stop(why)
  self:finish(why)
  self.canceller:end_some(waiting.is_idle)
end

--- Ends those in flight, too.
---@param why string
function Run:abort(why)
  self.ended = why
  self.canceller:cancel()
end

local function fail(self, problem)
  self.problem = self.problem or problem
  self:abort "failed"
end

-- The place in the input before which all is done.
local function place_of(self)
  local reader = self.reader
  local place = { line = reader.number, offset = reader.offset, rows = self.rows }
  for _, open in pairs(self.open) do
    place = open.line < place.line and open or place
  end
  return place
end

--- Makes a checkpoint.
function Run:save()
  self.saved = self.scheduler.engine:now()
  local ok, problem = self.journal:checkpoint(place_of(self))
  if not ok then
    fail(self, problem)
  end
end

-- ------------------------------------------------------------------------------------------------------------- numbers

local function seconds(self)
  return self.scheduler.engine:now() - self.began
end

local function count_rows(self, numbers)
  local journal = self.journal
  numbers.failed = journal.failures.count
  numbers.succeeded = journal.done.count - numbers.failed
  numbers.earlier, numbers.seconds = self.summary.earlier, seconds(self)
  return numbers
end

local function total_of(self)
  local offset = self.reader.offset
  if self.read_all or offset == 0 then
    return self.rows
  end
  return math.max(self.rows, math.floor(self.rows / offset * self.journal.size + 0.5))
end

-- waits: the row will be asked again.
local function tell(self, number, row, result, err, waits)
  if self.job.on_progress then
    local summary = self.summary
    self.job.on_progress(count_rows(self, {
      done = self.journal.done.count, total = total_of(self), is_exact = self.read_all, in_flight = self.in_flight,
      tokens = summary.tokens, cost = summary.cost,
      line = number, custom_id = row.custom_id, result = result, error = err, waits = waits,
    }))
  end
end

local function count(summary, result, err)
  if result then
    summary.tokens = summary.tokens + (result.usage and result.usage.total_tokens or 0)
    summary.cost = summary.cost + (result.cost or 0)
  else
    summary.errors[err.kind] = (summary.errors[err.kind] or 0) + 1
  end
end

--- What has come of it so far.
---@return surefoot.FileSummary
function Run:report()
  local summary = count_rows(self, self.summary)
  summary.complete = self.read_all and next(self.open) == nil
  summary.total, summary.is_exact = total_of(self), self.read_all
  summary.ended, summary.failed_file = self.ended or "done", self.job.failed
  return summary
end

-- --------------------------------------------------------------------------------------------------------------- input

-- Lets others run; no longer than rows are begun.
local function pause(self, time)
  repeat
    local slept = self.scheduler:sleep(math.min(time, 1))
    time = time - 1
    if not slept then
      self:finish "cancelled"
    end
  until time <= 0 or self.ended
end

-- The next line that is to be asked, and its number; nil where there is none.
local function take(self)
  local reader, passed = self.reader, 0
  while not self.ended do
    local text, problem = reader:next()
    if problem then
      fail(self, ("%s: %s"):format(self.job.input, problem))
    elseif not text then
      self.read_all = true
    end
    if not text then
      return nil
    elseif text:find "%S" then
      self.rows = self.rows + 1
      if not self.journal.done:has(reader.number) then
        self.open[reader.number] = { line = reader.number - 1, offset = reader.start, rows = self.rows - 1 }
        return text, reader.number, reader.cut
      end
    end
    passed = passed + 1
    if passed % AT_ONCE == 0 then
      pause(self, 0)
    end
  end
end

local function read_row(self, text, number, is_cut)
  if is_cut then
    return {
      custom_id = ("%d"):format(number), text = text:sub(1, SHOWN),
      problem = ("the line is longer than %d MiB"):format(LONGEST_LINE / 2 ^ 20),
    }
  elseif number == 1 then
    text = text:gsub("^\239\187\191", "")
  end
  return rows.read(text, number, self.client.codec)
end

-- -------------------------------------------------------------------------------------------------------------- calls

local function was_never_sent(err)
  return err.retryable and err.sent == false
end

-- Whether it says nothing about the row.
local function is_common(err)
  return COMMON[err.kind] or was_never_sent(err)
end

local function options_of(self, number)
  local options = { cancel = self.canceller }
  if not self.client.config.coalesce then -- keys of their own would keep rows from sharing an answer
    options.idempotency_key = ("%s-%d"):format(self.journal:id(number), self.journal.round)
  end
  for name, value in pairs(self.job.options) do
    options[name] = options[name] or value
  end
  return options
end

local function may_wait(self, err)
  local heard = self.heard or err.kind == "queue_full" and self.began
  return heard and not self.ended and was_never_sent(err) and self.scheduler.engine:now() - heard < self.job.patience
end

-- Asks; again where it could not be sent.
local function ask(self, row, number)
  local options = options_of(self, number)
  local result, err = rows.perform(self.client, row, options)
  while err and may_wait(self, err) do
    self.unsent, self.paused = err, self.paused + 1
    tell(self, number, row, nil, err, true)
    pause(self, math.min(math.max(1, err.retry_after or 1), LONGEST_PAUSE))
    self.paused = self.paused - 1
    if self.ended then
      break
    end
    result, err = rows.perform(self.client, row, options)
  end
  return result, err
end

-- -------------------------------------------------------------------------------------------------------------- output

local function write(self, number, method, text)
  if not self.problem then
    local ok, problem = self.journal[method](self.journal, number, text)
    if ok then
      self.open[number] = nil
    else
      fail(self, problem)
    end
  end
end

local function write_failure(self, number, row, err)
  write(self, number, "failed_row", rows.failure(row, err, self.journal:id(number)))
end

--- Writes down the rows that failed one after the other: it was for reasons of their own, since others got through.
function Run:write_held()
  local held = self.held
  self.held = {}
  for _, one in ipairs(held) do
    write_failure(self, one.number, one.row, one.err)
  end
end

local function hold(self, number, row, err)
  local held = self.held
  held[#held + 1] = { number = number, row = row, err = err }
  if #held >= self.job.give_up_after then
    self:finish "gave_up"
    self.summary.reason = err
  end
end

-- Puts down what came of a row. What was cancelled, or could not be asked before the end, stays open.
local function settle(self, number, row, result, err)
  local is_hopeless = err and is_common(err)
  if err and (err.kind == "cancelled" or err.kind == "closed") then
    return self:finish "cancelled"
  elseif self.ended and is_hopeless then
    return
  end
  count(self.summary, result, err)
  if is_hopeless and self.job.give_up_after > 0 then
    hold(self, number, row, err)
  else
    if not self.ended then
      self:write_held()
    end
    if result then
      self.heard = self.scheduler.engine:now()
      write(self, number, "succeeded", rows.answer(self.client, row, result, self.journal:id(number)))
    else
      write_failure(self, number, row, err)
    end
  end
  tell(self, number, row, result, err)
  if not self.problem and self.scheduler.engine:now() - self.saved >= CHECKPOINT then
    self:save()
  end
end

-- -------------------------------------------------------------------------------------------------------- what waits

local function obstacle(self)
  local calls = self.canceller:all()
  if not next(calls) then
    return self.paused > 0 and self.unsent or nil
  end
  return waiting.obstacle(self.client, calls)
end

-- Tells that rows cannot be sent, and gives up when that lasts too long.
local function look(self)
  local now = self.scheduler.engine:now()
  local silence, patience = now - (self.heard or self.began), self.job.patience
  if self.ended then
    return self.canceller:end_some(waiting.is_idle)
  elseif silence < math.min(patience, SILENCE) then
    return
  end
  local err = obstacle(self)
  if err and silence >= patience then
    self.summary.reason, self.summary.silence = err, silence
    self:stop "gave_up"
  elseif err and now - self.told >= TELL then
    local number, row = next(self.asking)
    self.told = now
    tell(self, number, row, nil, err, true)
  end
end

--- Looks at what waits, until all workers have ended.
---@async
function Run:watch()
  local slept = true
  while slept and self.working > 0 do
    look(self)
    self.watcher = tasks.current()
    slept = self.scheduler:sleep(LOOK)
    self.watcher = nil
  end
end

--- A worker has ended.
function Run:left()
  self.working = self.working - 1
  if self.working == 0 and self.watcher then
    self.watcher:cancel()
  end
end

--- Works until no line is left, or it has ended.
---@async
function Run:work()
  local text, number, is_cut = take(self)
  while text do
    local row = read_row(self, text, number, is_cut)
    self.in_flight, self.asking[number] = self.in_flight + 1, row
    local result, err = ask(self, row, number)
    self.in_flight, self.asking[number] = self.in_flight - 1, nil
    settle(self, number, row, result, err)
    text, number, is_cut = take(self)
  end
end

return M
