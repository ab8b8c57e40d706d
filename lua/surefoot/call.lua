--- One call, from submit to settle: drives the core and answers its questions in the caller's own coroutine.
--
-- The core says "wait", or asks about an attempt: how a variant is written, what an answer means, what an event of a
-- stream means. Hooks of the caller (validate) run here, may wait, and their errors are the caller's; on_event is told
-- what happened and cannot disturb.

local events = require "surefoot.events"
local failure = require "surefoot.failure"
local plans = require "surefoot.client.plan"
local prices = require "surefoot.prices"
local results = require "surefoot.result"
local submit = require "surefoot.submit"
local tasks = require "surefoot.tasks"

local M = {}

local failure_of, trail_of, tell = failure.of, failure.trail, events.tell

---@class surefoot.Work
---@field name string
---@field encode fun(job: surefoot.Job, variant: table): string?, string?, string?, string?  method, path, headers, body
---@field judge fun(job: surefoot.Job, reply: surefoot.Reply, variant: table): table?, surefoot.Verdict?
---@field streams boolean?  the answer is wanted as events
---@field fold (fun(job: surefoot.Job, variant: table): surefoot.Folder)?  for streams
---@field counts_tokens boolean?  where the answer does not say, its tokens are estimated

-- A call is one table, the job, made by the client and completed here.
---@class surefoot.Job
---@field client table
---@field options table                        checked
---@field plan surefoot.Plan
---@field routes surefoot.Route[]
---@field request table?                       as the caller gave it
---@field work surefoot.Work                  what kind of request it is
---@field method string                        of the first variant, as path, headers and body
---@field path string
---@field headers string
---@field body string?
---@field upload (string | { file: string })[]? the body of all variants instead, files being read while they are sent
---@field output string?                      path of the file that the body of a 2xx answer goes to
---@field estimate number                      tokens
---@field has_effects boolean?                 asked twice it may be done twice: hedged only where the call says so
---@field timeout table?                       what is in it counts instead of the lines' own
---@field deadline number?                     seconds from submit for all of it
---@field request_id string?                   from here on: set by perform
---@field call table?                          C's call
---@field id integer                            of it
---@field watched boolean?                     somebody hears of its events
---@field tape surefoot.Tape?                   what is recorded of it
---@field is_probe boolean?                    nobody's call: a line is asked how it is
---@field aside surefoot.Attempt[]?            lines that are not asked, since their functions gave no key
---@field without integer[]?                  their places
---@field kept table?                          attempt -> { reply, verdict } of answers that would not do
---@field result surefoot.Result?              the answer that was accepted
---@field refused_cost number?                 dollars: of answers that validate refused
---@field thrown table?                        what validate threw
---@field sizes table?                         bytes of variants other than the first
---@field folds table?                         of a stream: attempt -> { folder, reply, endpoint, variant }
---@field committed integer?                   the attempt whose content was shown
---@field finishing boolean?                  every choice has finished, as far as is known
---@field more surefoot.Chunk[]?               what the last event shows beside what was read
---@field read function?                        of a stream: it is the source of its pieces
---@field cancel function?
---@field so_far function?
---@field source surefoot.Source?               of several calls, of which it is the first

-- ----------------------------------------------------------------------------------------------------------- answers

-- Under the name that was asked for on this route, which need not be the first; any other request may name one itself.
local function cost_of(job, usage, endpoint, variant, result)
  local asked = job.routes[variant.route].model or type(job.request) == "table" and job.request.model or nil
  local price = prices.find(job.client.config, endpoint, asked, variant.model, result.model)
  return price and prices.cost(price, usage)
end

local function result_of(job, fields, reply, endpoint, variant)
  local config = job.client.config
  local result = results.new(fields, reply)
  local usage = result.usage
  if not usage and job.work.counts_tokens then
    local size = job.sizes and job.sizes[variant] or job.body and #job.body or 0
    usage = results.estimate(size, result.text)
    result.usage = usage
  end
  if config.prices and usage then
    result.cost = cost_of(job, usage, endpoint, variant, result)
  end
  result.endpoint, result.tags = endpoint.name, job.options.tags
  if not result.model then
    result.model = variant.model
  end
  result.request_id = results.request_id(reply.headers) or job.request_id
  return result
end

-- Why validate said no, in words.
local function reason_of(reason)
  local mt = type(reason) == "table" and getmetatable(reason)
  if reason == nil then
    return "validate said no"
  elseif type(reason) == "table" and not (type(mt) == "table" and mt.__tostring) then
    local message = rawget(reason, "message")
    return type(message) == "string" and message or "validate said no, with a table for a reason instead of a string"
  end
  return tostring(reason)
end

-- Asks the caller's validate; its errors are the caller's, after the call has been cancelled.
local function validated(job, result)
  local validate, info = job.options.validate, job.call:info()
  result.latency, result.time_to_first_token = info.latency, info.time_to_first_token
  result.attempts = trail_of(job)
  local ok, verdict, reason = tasks.guarded(validate, result)
  if not ok then
    job.thrown = { verdict }
    job.call:cancel "cancelled"
    return false
  elseif not verdict then
    return false, { class = "again", kind = "rejected", message = reason_of(reason), body = result.body }
  end
  result.attempts = nil -- to be made anew at the end
  return true
end

local function refuse(job, attempt, reply, verdict)
  job.kept = job.kept or {}
  job.kept[attempt] = { reply = reply, verdict = verdict }
  local message = verdict.message and job.client.scrub(verdict.message)
  job.call:answer(attempt, verdict.class, verdict.kind, verdict.code, verdict.wait, nil, message)
end

-- Asks for the caller's approval, where it wants to be asked, and accepts.
local function accept(job, attempt, reply, result)
  if job.options.validate then
    local accepted, verdict = validated(job, result)
    if not accepted then
      job.client:count_cost(result)
      job.refused_cost = (job.refused_cost or 0) + (result.cost or 0)
    end
    if verdict then
      return refuse(job, attempt, reply, verdict)
    elseif not accepted then
      return
    end
  end
  job.result = result
  local usage = result.usage
  job.call:answer(attempt, "accept", nil, nil, nil, usage and usage.total_tokens)
end

local function result_or_verdict(job, endpoint_index, variant, reply)
  local fields, verdict = job.work.judge(job, reply, variant)
  return fields and result_of(job, fields, reply, job.client.config.endpoints[endpoint_index], variant), verdict
end

-- A body that ended early comes here only with an error's status, and that decides.
local function judge(job, attempt, endpoint_index, variant, reply)
  local read, result, verdict = pcall(result_or_verdict, job, endpoint_index, variant, reply)
  if not read then -- whatever failed, the call must be told
    result, verdict = nil, {
      class = "transient", kind = "malformed", message = "the answer could not be read: " .. tostring(result),
    }
  end
  if result then
    accept(job, attempt, reply, result)
  else
    refuse(job, attempt, reply, verdict)
  end
end

-- ----------------------------------------------------------------------------------------------------------- streams

local function fold_of(job, attempt, endpoint, route)
  local fold = job.folds and job.folds[attempt]
  if not fold then
    local variants = job.plan.variants
    local variant = #variants == 1 and variants[1] or plans.variant_on(job.plan, endpoint, route)
    local status, headers = job.call:head(attempt)
    fold = {
      folder = job.work.fold(job, variant), variant = variant, endpoint = job.client.config.endpoints[endpoint],
      reply = { status = status, headers = headers },
    }
    job.folds = job.folds or {}
    job.folds[attempt] = fold
  end
  return fold
end

local function folded(job, fold)
  return result_of(job, fold.folder:fields(), fold.reply, fold.endpoint, fold.variant)
end

local function unreadable(problem)
  return { class = "transient", kind = "malformed", message = "an event could not be read: " .. tostring(problem) }
end

local function commit(job, attempt)
  if not job.committed then
    job.committed = attempt
    job.call:commit(attempt)
  end
end

-- What the events so far amount to is the answer.
local function complete(job, attempt, fold)
  local read, result = pcall(folded, job, fold)
  if read then
    accept(job, attempt, fold.reply, result)
  else
    refuse(job, attempt, fold.reply, unreadable(result))
  end
end

local actions = {}

function actions.hold() end

function actions.commit(job, attempt)
  commit(job, attempt)
  if job.finishing then
    job.finishing = nil
    job.call:finishing(attempt, false)
  end
end

function actions.finish(job, attempt)
  commit(job, attempt)
  job.finishing = true
  job.call:finishing(attempt, true)
end

function actions.complete(job, attempt, fold)
  commit(job, attempt)
  complete(job, attempt, fold)
end

function actions.fail(job, attempt, fold, verdict)
  refuse(job, attempt, fold.reply, verdict)
end

-- ----------------------------------------------------------------------------------------------------------- driving

local questions = {}

function questions.encode(job, number)
  local variant = job.plan.variants[number]
  local method, path, headers, body = job.work.encode(job, variant)
  if method then
    job.sizes = job.sizes or {}
    job.sizes[variant] = body and #body or 0
    job.call:encode(number, method, path, headers, body)
    if job.tape then
      job.tape:encoded(number, method, path, body)
    end
  else
    job.call:skip(number, "invalid_request")
  end
end

function questions.response(job, attempt, endpoint, route, status, headers, body)
  if job.tape then
    job.tape:answered(attempt, status, headers, body)
  end
  local variants = job.plan.variants
  local variant = #variants == 1 and variants[1] or plans.variant_on(job.plan, endpoint, route)
  judge(job, attempt, endpoint, variant, { status = status, headers = headers, body = body })
end

local NO_FOLD = { reply = { status = 200, headers = "" } }

-- True and the chunk, if any, when the reader shall hear of it.
function questions.event(job, attempt, endpoint, route, name, data, must_decide)
  if job.tape then
    job.tape:event(attempt, name, data)
  end
  local fold, action, payload, more = job.folds and job.folds[attempt], nil, nil, nil
  local read, problem = true, nil
  if not fold then
    read, fold = pcall(fold_of, job, attempt, endpoint, route)
    problem = fold
  end
  if read then
    local folder = fold.folder
    read, action, payload, more = pcall(folder.event, folder, name, data)
    problem = action
  end
  if not read then -- whatever failed, the call must be told
    fold, action, payload = job.folds and job.folds[attempt] or NO_FOLD, "fail", unreadable(problem)
  end
  local committed, chunk = job.committed, action ~= "fail" and payload or nil
  if chunk then
    job.more = more
    if action == "commit" and committed and not job.finishing then -- as of nearly every event
      return true, chunk
    end
  elseif action == "hold" and must_decide then
    action = "commit"
  end
  actions[action](job, attempt, fold, payload)
  return chunk ~= nil or job.committed ~= committed, chunk
end

function questions.ended(job, attempt, endpoint, route, kind, phase, message)
  local read, fold = pcall(fold_of, job, attempt, endpoint, route)
  if not read then
    return refuse(job, attempt, NO_FOLD.reply, unreadable(fold))
  elseif fold.folder:whole() then
    return complete(job, attempt, fold)
  end
  local verdict = { class = kind == "too_large" and "final" or "transient", kind = kind }
  if kind == "truncated" then
    verdict.message = "the stream ended early" .. (message ~= "" and ": " .. message or "")
  elseif phase == "none" or kind ~= "timeout" then
    verdict.message = message ~= "" and message or nil
  end
  refuse(job, attempt, fold.reply, verdict)
end

--- Submits the job of a stream.
---@async
---@param job surefoot.Job
---@return true?
---@return surefoot.Error?
M.begin = submit.begin

-- Until the reader of a stream has news: true and the chunk, if any; or the call has settled: false, ok, kind, the
-- attempt that decided; of a success latency, time to first token, receipt. Cancelling the task cancels the call.
local function drive(job, task)
  local call, scheduler = job.call, job.scheduler
  local watched, outer = job.watched, nil
  local idle = job.options.on_idle -- of the gateway: nothing has come for now; must not wait
  if task then
    if task.waiting then
      tasks.forsake(task)
    end
    outer, task.call = task.call, call
  end
  while true do
    if watched then
      tell(job) -- may cancel the call: what it wants is asked afterwards
    end
    local question, a, b, c, d, e, f = call:next()
    if question == "wait" then
      if idle then
        idle()
      end
      scheduler:wait(job.id, task, call)
    elseif question == "settled" then
      if watched then
        tell(job)
      end
      if task then
        task.call = outer
      end
      return false, a, b, c, d, e, f
    else
      local has_news, chunk = questions[question](job, a, b, c, d, e, f)
      if has_news then
        if task then
          task.call = outer
        end
        return true, chunk
      end
    end
  end
end

local function finished(job, latency, first_token, receipt)
  local result = job.result
  result.latency, result.time_to_first_token = latency, first_token
  if receipt and not job.plan.nameless and not job.aside then
    result._receipt = receipt
  else
    result.attempts = trail_of(job)
  end
  job.client:count(result)
  return result
end

--- Answers what a plain call asks at this moment, without waiting: for those that nobody's coroutine drives.
---@param job surefoot.Job
---@return boolean settled
---@return boolean? accepted and what else M.conclude wants to know
---@return surefoot.Kind? kind
---@return integer? deciding
---@return number? latency
---@return number? first_token
---@return any receipt
function M.turn(job)
  local call, watched = job.call, job.watched
  while true do
    if watched then
      tell(job)
    end
    local question, a, b, c, d, e, f = call:next()
    if question == "wait" then
      return false
    elseif question == "settled" then
      if watched then
        tell(job)
      end
      return true, a, b, c, d, e, f
    end
    questions[question](job, a, b, c, d, e, f)
  end
end

--- What a stream has shown so far, as a part of a result; nil where that is nothing.
---@param job surefoot.Job
---@return surefoot.Result?
function M.partial(job)
  local fold = job.committed and job.folds[job.committed]
  if fold then
    local read, partial = pcall(folded, job, fold)
    if read and partial.usage then
      partial.usage.estimated = true -- more was written than was counted
    end
    return read and partial or nil
  end
end

local function charge(job, result, err)
  local answer = result or err and err.partial
  local dollars = (answer and answer.cost or 0) + (job.refused_cost or 0)
  if dollars > 0 then
    job.client.spend:charge(dollars)
  end
end

local function let_go(job)
  local tape = job.tape
  local entries = tape and tape:entries()
  job.call:free()
  job.call = nil
  if tape then
    tape:write(entries)
  end
end

--- The end of a call that has settled: its result, or nil and the error; throws what validate threw.
---@param job surefoot.Job
---@param task surefoot.Task? the one that waited
---@param accepted boolean
---@param kind surefoot.Kind
---@param deciding integer
---@param latency number?
---@param first_token number?
---@param receipt any
---@return surefoot.Result?
---@return surefoot.Error?
function M.conclude(job, task, accepted, kind, deciding, latency, first_token, receipt)
  local cancel = job.options.cancel
  if kind == "cancelled" then
    tasks.take_interrupt(task) -- the caller is told
  end
  if cancel then
    cancel:remove(job.call)
  end
  job.client:left()
  local spend = job.client.spend
  if job.thrown then
    if spend then
      charge(job)
    end
    let_go(job)
    error(job.thrown[1], 0)
  end
  local result, err
  if accepted then
    result = finished(job, latency, first_token, receipt)
  else
    err = failure_of(job, kind, deciding)
    local partial = M.partial(job)
    err.partial = partial
    if partial then
      job.client:count_cost(partial)
    end
  end
  if spend then
    charge(job, result, err)
  end
  if job.client.log then
    job.client.log:settled(job, result, err)
  end
  let_go(job)
  return result, err
end

--- Performs a call.
---@async
---@param job surefoot.Job
---@return surefoot.Result?
---@return surefoot.Error?
function M.perform(job)
  local ok, problem = submit.begin(job)
  if not ok then
    return nil, problem
  end
  local task = tasks.current()
  local _, accepted, kind, deciding, latency, first_token, receipt = drive(job, task)
  return M.conclude(job, task, accepted, kind, deciding, latency, first_token, receipt)
end

-- An answer that came whole, though events were wanted.
local function whole_chunk(result)
  return {
    text = result.text, index = 1, tool_calls = result.tool_calls, reasoning = result.reasoning,
    finish_reason = result.finish_reason, usage = result.usage, raw = result.body,
  }
end

--- Waits until a stream has something to show, or has ended.
---@async
---@param job surefoot.Job
---@param task surefoot.Task? the running one
---@return surefoot.Chunk? chunk
---@return boolean ended
---@return surefoot.Result? result
---@return surefoot.Error? err
function M.read(job, task)
  local more = job.more
  if more and more[1] then
    return table.remove(more, 1), false
  end
  local has_news, accepted, kind, deciding, latency, first_token, receipt = drive(job, task)
  if has_news then
    return accepted, false -- it is the chunk
  end
  local result, err = M.conclude(job, task, accepted, kind, deciding, latency, first_token, receipt)
  return result and not job.committed and whole_chunk(result) or nil, true, result, err
end

--- Ends a stream before its end.
---@param job surefoot.Job
---@return surefoot.Result? result where it had just ended by itself
---@return surefoot.Error? err
function M.cancel(job)
  if not job.call then -- it has settled, and thrown
    return nil, nil
  end
  job.more = nil
  job.call:cancel "cancelled"
  return select(3, M.read(job, tasks.current()))
end

return M
