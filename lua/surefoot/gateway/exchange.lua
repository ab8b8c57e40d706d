--- One request of a caller as the gateway keeps it: how it is answered where it fails, how it is counted at the end.

local access = require "surefoot.gateway.access"
local call = require "surefoot.call"
local errors = require "surefoot.errors"
local failures = require "surefoot.gateway.errors"
local prices = require "surefoot.prices"
local results = require "surefoot.result"
local trails = require "surefoot.failure"

local M = {}

local ngx = ngx
local NOTHING = {}

---@class surefoot.gateway.Exchange
---@field gateway surefoot.Gateway
---@field format surefoot.Dialect
---@field began number
---@field key table?          the caller's
---@field ticket table?       what it was let in with
---@field job surefoot.Job?   once it was let in
---@field model string?
---@field streams boolean
---@field id string           of the request
---@field id_given boolean    by the caller
---@field result surefoot.Result?
---@field failure surefoot.gateway.Failure?
---@field departure surefoot.Error?  of a stream that was closed since its caller had left
---@field attempts integer?   those that the caller was told of
---@field has_begun boolean?  the head of a stream is out
---@field writing boolean?    something is on its way to the caller
---@field wrote_at number?    kept where comments are sent
---@field keeper thread?      sends them
---@field cancel surefoot.Canceller?  ends the calls at providers
---@field ended boolean?      it was counted

-- Whether none of these attempts can have cost anything: each was refused by an error's status, or not sent at all.
local function is_free(attempts)
  for _, attempt in ipairs(attempts) do
    local is_refused = attempt.status and attempt.status >= 400
    if attempt.sent ~= false and attempt.phase ~= "connect" and not is_refused then
      return false
    end
  end
  return true
end

-- The attempts that were made for a caller that has left, as far as they are known, and whether any was sent.
local function attempts_of(exchange)
  local job = exchange.job
  local err = exchange.departure or job.caller and job.caller.err
  if err then
    return err.attempts, err.sent ~= false
  elseif job.call then
    return trails.trail(job), job.call:info().sent
  end
  return nil, job.id ~= nil -- it was submitted: that call is over, and another may carry its answer on
end

-- What has come of the answer, in however many calls.
local function known_of(exchange)
  local job, departure = exchange.job, exchange.departure
  if departure and departure.partial then
    return departure.partial
  elseif job.source then
    return job.source:so_far()
  end
  return job.caller and job.caller.result or call.partial(job)
end

-- What is known of the answer of a request that nginx ended, since its caller left: what had come of it; before that
-- at least the question was read where one was sent, by the first line if nobody knows which.
local function left_with(exchange)
  local job = exchange.job
  local attempts, is_sent = attempts_of(exchange)
  local number = attempts and errors.sent(attempts) or exchange.attempts or is_sent and 1 or 0
  local partial = known_of(exchange)
  if partial then
    return { usage = partial.usage, cost = partial.cost, endpoint = partial.endpoint, number = number }
  elseif not is_sent or attempts and is_free(attempts) or job.caller and job.caller:is_joined() then
    return { is_free = true, number = number }
  end
  local target = job.plan.targets[1]
  local config = job.client.config
  local usage = results.estimate(job.body and #job.body or 0, "")
  local price = prices.find(config, config.endpoints[target.endpoint], job.routes[1].model, target.model)
  return { usage = usage, cost = price and prices.cost(price, usage), number = number }
end

-- What came of the request: an answer, a part of one, or nothing; number: of the attempts.
local function outcome_of(exchange)
  local result, failure = exchange.result, exchange.failure
  if exchange.job and not result and not failure then
    return left_with(exchange)
  end
  local answer, attempts = result or failure and failure.partial or NOTHING, (result or failure or NOTHING).attempts
  return {
    usage = answer.usage, cost = answer.cost, endpoint = (failure or answer).endpoint,
    number = errors.sent(attempts), is_free = failure and (failure.unsent or attempts and is_free(attempts)),
  }
end

-- Gives back what the request was let in with.
local function leave(exchange, outcome)
  local usage, cost = outcome.usage, outcome.cost
  if usage or exchange.result or outcome.is_free then
    exchange.ticket:leave(usage and usage.total_tokens or 0, cost or 0)
  else
    exchange.ticket:leave(nil, cost) -- it may have cost what it was taken for
  end
end

local function set_members(text)
  ngx.var.surefoot_members = text
end

-- After an upgrade nginx may go on with a configuration that was written before, until it is started anew.
local function log(exchange, numbers)
  local ok, problem = pcall(set_members, access.members(exchange.id, numbers))
  if not ok then
    exchange.gateway.logs = false
    ngx.log(ngx.WARN, "surefoot.gateway: the access log tells nothing of calls until nginx is started anew: ", problem)
  end
end

--- Counts the request, once: also when nginx ended it.
---@param exchange surefoot.gateway.Exchange
function M.settle(exchange)
  if exchange.ended then
    return
  end
  exchange.ended = true
  local result, failure, outcome = exchange.result, exchange.failure, outcome_of(exchange)
  local usage = outcome.usage
  if exchange.ticket then
    leave(exchange, outcome)
  end
  local numbers = {
    operation = exchange.format.operation, model = exchange.model, key = exchange.key and exchange.key.name,
    status = ngx.status, kind = failure and failure.kind or not result and "cancelled" or nil,
    endpoint = outcome.endpoint, stream = exchange.streams,
    seconds = ngx.now() - exchange.began, first_token = result and result.time_to_first_token,
    input_tokens = usage and usage.input_tokens, output_tokens = usage and usage.output_tokens, cost = outcome.cost,
    estimated = usage and usage.estimated, attempts = outcome.number,
  }
  exchange.gateway.tally:ended(numbers)
  if exchange.gateway.logs then
    log(exchange, numbers)
  end
end

--- Says by which way the answer came.
---@param exchange surefoot.gateway.Exchange
---@param endpoint string?
---@param attempts integer?
function M.tell_way(exchange, endpoint, attempts)
  exchange.attempts = attempts
  local header = ngx.header
  header["x-request-id"] = exchange.id
  header["request-id"] = exchange.id -- where Anthropic's SDKs look
  header["x-surefoot-endpoint"] = endpoint
  header["x-surefoot-attempts"] = attempts
  header["x-surefoot-time"] = ("%.3f"):format(ngx.now() - exchange.began)
end

--- Sends a whole answer.
---@param status integer
---@param body string
---@param content_type string
function M.send(status, body, content_type)
  ngx.status = status
  local header = ngx.header
  header["content-type"], header["content-length"] = content_type, #body
  ngx.print(body)
end

--- The answer that is an error.
---@param exchange surefoot.gateway.Exchange
---@param failure surefoot.gateway.Failure
function M.refuse(exchange, failure)
  exchange.failure = failure
  failure.request_id = exchange.id
  local header = ngx.header
  if failure.retry_after then
    header["retry-after"] = failure.retry_after
  end
  if failure.final then
    header["x-should-retry"] = "false" -- the SDKs of OpenAI and Anthropic ask no more then
  end
  if failure.status == 401 and not failure.endpoint then
    header["www-authenticate"] = "Bearer"
  end
  M.tell_way(exchange, failure.endpoint, errors.sent(failure.attempts))
  local text = assert(exchange.gateway.client.codec.quick(exchange.format.error(failure)))
  M.send(failure.status, text, "application/json")
end

--- Refuses for a reason of the gateway's own.
---@param exchange surefoot.gateway.Exchange
---@param kind surefoot.Kind
---@param message string
---@param more table? fields of the failure
function M.own(exchange, kind, message, more)
  local failure = failures.own(kind, message, more)
  failure.unsent = true
  M.refuse(exchange, failure)
end

--- What the caller is told of an error.
---@param err surefoot.Error
---@return surefoot.gateway.Failure
function M.failure_of(err)
  local failure = failures.of(err)
  failure.attempts, failure.endpoint, failure.partial, failure.unsent =
    err.attempts, err.endpoint, err.partial, err.sent == false
  return failure
end

return M
