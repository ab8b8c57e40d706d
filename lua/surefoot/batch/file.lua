--- client:batch_file: many requests at a time from a file in OpenAI's batch format, and their answers into another.
--
-- Both files are streamed: in memory are the rows in flight, and one bit for each line. Rows are written as they end,
-- those that failed into a file of their own, which is an input as well. A batch can be taken up again wherever it was
-- stopped, by whatever (surefoot.batch.journal says how): then every row is in one of the files once, and only what was
-- in flight is asked again, under the same idempotency key.

local binding = require "surefoot.binding"
local check = require "surefoot.config.check"
local config = require "surefoot.config"
local journals = require "surefoot.batch.journal"
local loop = require "surefoot.loop"
local repeated = require "surefoot.batch.repeated"
local rows = require "surefoot.batch.rows"
local runs = require "surefoot.batch.file_run"
local schema = require "surefoot.config.schema"
local tasks = require "surefoot.tasks"

local M = {}

---@class surefoot.BatchFile
---@field input string                path of the requests, one a line
---@field output string               of the answers; beside it the journal
---@field failed string?              of the rows that failed (default: out.failed.jsonl for out.jsonl)
---@field concurrency integer?        rows at a time (default: the client's limit)
---@field retry_failed boolean?       what failed before is asked again
---@field accept_changed_input boolean?  lines were added to the input since; those that were there are the same
---@field accept_repeated_ids boolean?   rows may have the same custom_id
---@field patience number?            seconds without an answer after which rows that cannot be sent are left (600)
---@field give_up_after integer?      rows that failed one after the other, for no reason of their own (20); 0: never
---@field on_progress fun(progress: surefoot.FileProgress)?  after each row
---@field stop surefoot.Canceller?    begins no further row; what is out ends. The option `cancel` ends that, too

---@class surefoot.FileProgress
---@field done integer         rows that are in the files, those of earlier runs included
---@field succeeded integer
---@field failed integer
---@field earlier integer      how many of those that are done were so before this run
---@field total integer        rows of the input
---@field is_exact boolean     false: the total is an estimate, since not all were read
---@field in_flight integer
---@field tokens integer       of this run, as is the rest
---@field cost number          US dollars, of the answers whose price is known
---@field seconds number
---@field line integer         the row that has just ended
---@field custom_id string | number
---@field result surefoot.Result?
---@field error surefoot.Error?
---@field waits boolean?       it could not be sent, and will be asked again, or is being tried for some time

---@class surefoot.FileSummary
---@field complete boolean     every row of the input is in one of the files
---@field total integer        rows of the input
---@field is_exact boolean     false: the total is an estimate, since not all were read
---@field succeeded integer
---@field failed integer
---@field earlier integer      how many of these were so before this run
---@field errors table<surefoot.Kind, integer>  of this run, as is the rest
---@field seconds number
---@field tokens integer
---@field cost number
---@field ended "done" | "stopped" | "cancelled" | "gave_up"
---@field reason surefoot.Error?  why it gave up
---@field silence number?     seconds without an answer, where it gave up since no row could be sent
---@field failed_file string   where the rows that failed are

---@class surefoot.Error
---@field summary surefoot.FileSummary?  of client:batch_file: what was done before a file failed

local FIELDS = {
  { name = "input", type = "string", required = true, doc = "the path of the requests" },
  { name = "output", type = "string", required = true, doc = "the path of the answers" },
  { name = "failed", type = "string", doc = "the path of the rows that failed" },
  { name = "concurrency", type = "integer", min = 1, max = 100000, doc = "rows at a time" },
  { name = "retry_failed", type = "boolean", doc = "ask again what failed" },
  { name = "accept_changed_input", type = "boolean", doc = "lines were added to the input" },
  { name = "accept_repeated_ids", type = "boolean", doc = "rows may have the same custom_id" },
  { name = "patience", type = "seconds", min = 0, max = 86400, default = 600, doc = "how long rows wait to be sent" },
  { name = "give_up_after", type = "integer", min = 0, max = 1000, default = 20, doc = "rows that fail in a row" },
  { name = "on_progress", type = "function", doc = "on_progress { done =, total =, ... } after each row" },
  { name = "stop", type = "canceller", doc = "a surefoot.canceller() that begins no further row" },
}

local own, all_options = {}, {}
for _, field in ipairs(FIELDS) do
  own[field.name] = true
  all_options[#all_options + 1] = field
end
for _, field in ipairs(schema.options) do
  all_options[#all_options + 1] = field
end

local function failed_path(output)
  return (output:match "^(.*)%.jsonl$" or output) .. ".failed.jsonl"
end

local function limit_of(client)
  local concurrency = client.config.concurrency
  return concurrency.adaptive and concurrency.max or concurrency.limit
end

--- Reads the options. Throws a message without a position.
---@param client surefoot.Client
---@param given any
---@return table job
function M.read(client, given)
  if type(given) ~= "table" then
    check.fail("options", "expected { input =, output = }, got %s", check.show(given))
  end
  local mine, theirs = {}, {}
  for key, value in pairs(given) do
    (own[key] and mine or theirs)[key] = value
  end
  if theirs.idempotency_key ~= nil then
    check.fail("idempotency_key", "belongs to one call; every row gets its own")
  end
  check.fields(all_options, given, "")
  local job = check.fill_fields(FIELDS, check.fields(FIELDS, mine, ""))
  config.options(theirs, client.config)
  job.failed, job.journal = job.failed or failed_path(job.output), job.output .. ".journal"
  if job.failed == job.output then
    check.fail("failed", "is the output")
  end
  job.options, job.concurrency = theirs, math.min(job.concurrency or math.huge, limit_of(client))
  return job
end

-- Has a canceller of the user's do something; gives what undoes that.
local function on_cancel(canceller, act)
  if not canceller then
    return function() end
  elseif canceller:cancelled() then
    act()
  end
  local hook = { cancel = function(_, _, more)
    if not more then
      act()
    end
  end }
  canceller:add(hook)
  return function()
    canceller:remove(hook)
  end
end

-- The workers, and last, where nothing may run beside the first of them, who looks after them.
local function workers(run, job)
  local functions, thrown = {}, {}
  local function guarded(method)
    local ok, what = tasks.guarded(method, run)
    if not ok then -- a hook failed
      thrown[#thrown + 1] = { what }
      run:abort "failed"
    end
  end
  run.working = job.concurrency
  for i = 1, job.concurrency do
    functions[i] = function()
      guarded(run.work)
      run:left()
    end
  end
  functions[#functions + 1] = function()
    guarded(run.watch)
  end
  return functions, thrown
end

local function perform(run, client, job)
  local off_stop = on_cancel(job.stop, function() run:stop "stopped" end)
  local off_cancel = on_cancel(job.options.cancel, function() run:abort "cancelled" end)
  local functions, thrown = workers(run, job)
  loop.together(client.host.scheduler(), functions)
  off_stop()
  off_cancel()
  if not run.ended then
    run:write_held()
  end
  if not run.problem then
    run:save()
  end
  if thrown[1] then
    error(thrown[1][1], 0)
  end
end

-- What a batch is refused for before anything is written.
local function refused(client, job)
  local is_known = binding.file(job.journal, "read")
  if is_known then
    is_known:close()
  end
  if job.accept_repeated_ids or is_known and not job.accept_changed_input then
    return nil
  end
  local scheduler = client.host.scheduler()
  return repeated.find(job.input, client.codec, function() scheduler:sleep(0) end)
end

--- Asks what was not asked yet, and writes down what comes of it.
---@async
---@param client surefoot.Client
---@param job table from M.read
---@return surefoot.FileSummary?
---@return surefoot.Error? err a file cannot be read or written; err.summary: what was done until then
function M.run(client, job)
  local problem, journal = refused(client, job), nil
  if not problem then
    journal, problem = journals.open(job, job)
  end
  if not journal then
    return nil, rows.invalid(problem)
  end
  local run = runs.new(client, job, journal)
  local ok, thrown = tasks.guarded(perform, run, client, job)
  journal:close()
  if not ok then
    error(thrown, 0)
  elseif run.problem then
    local err = rows.invalid(run.problem)
    err.summary = run:report()
    return nil, err
  end
  return run:report()
end

return M
