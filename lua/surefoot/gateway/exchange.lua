--- One request of a caller as the gateway keeps it: how it is answered where it fails, how it is counted at the end.

local access = require "surefoot.gateway.access"
local call = require "surefoot.call"
local failures = require "surefoot.gateway.errors"
local prices = require "surefoot.prices"
local results = require "surefoot.result"

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
---@field has_begun boolean?  the head of a stream is out
---@field writing boolean?    something is on its way to the caller
---@field wrote_at number?    kept where comments are sent
---@field keeper thread?      sends them
---@field cancel surefoot.Canceller?  ends the calls at providers
---@field ended boolean?      it was counted

-- What is known of the answer of a request that nginx ended, since its caller left: what had come of it; before that
-- at least the question was read, by the first line if nobody knows which.
local function left_with(exchange)
  local job = exchange.job
  local partial = call.partial(job)
  if partial then
    return partial
  end
  local target = job.plan.targets[1]
  local config = job.client.config
  local usage = results.estimate(job.body and #job.body or 0, "")
  local price = prices.find(config, config.endpoints[target.endpoint], job.routes[1].model, target.model)
  return { usage = usage, cost = price and prices.cost(price, usage) }
end

-- Gives back what the request was let in with.
local function leave(exchange, usage, cost)
  local failure = exchange.failure
  if usage or exchange.result or failure and failure.unsent then
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
  local result, failure = exchange.result, exchange.failure
  local answer = result or failure and failure.partial or NOTHING
  if exchange.job and not result and not failure then
    answer = left_with(exchange)
  end
  local usage, attempts = answer.usage, (result or failure or NOTHING).attempts
  if exchange.ticket then
    leave(exchange, usage, answer.cost)
  end
  local numbers = {
    operation = exchange.format.operation, model = exchange.model, key = exchange.key and exchange.key.name,
    status = ngx.status, kind = failure and failure.kind or not result and "cancelled" or nil,
    endpoint = (failure or answer).endpoint, stream = exchange.streams,
    seconds = ngx.now() - exchange.began, first_token = result and result.time_to_first_token,
    input_tokens = usage and usage.input_tokens, output_tokens = usage and usage.output_tokens, cost = answer.cost,
    estimated = usage and usage.estimated, attempts = attempts and #attempts or 0,
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
  M.tell_way(exchange, failure.endpoint, failure.attempts and #failure.attempts or 0)
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
