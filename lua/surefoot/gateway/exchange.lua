--- One request of a caller as the gateway keeps it: how it is answered where it fails, how it is counted at the end.

local failures = require "surefoot.gateway.errors"

local M = {}

local ngx = ngx

---@class surefoot.gateway.Exchange
---@field gateway surefoot.Gateway
---@field format surefoot.gateway.Format
---@field began number
---@field key table?          the caller's
---@field ticket table?       what it was let in with
---@field model string?
---@field streams boolean
---@field id string           of the request
---@field id_given boolean    by the caller
---@field result surefoot.Result?
---@field failure surefoot.gateway.Failure?
---@field has_begun boolean?  the head of a stream is out
---@field writing boolean?    something is on its way to the caller
---@field wrote_at number?    kept where comments are sent
---@field ended boolean?      it was counted

local function set_var(name, value)
  local var = ngx.var
  if var[name] ~= nil then -- where the configuration of nginx has it
    var[name] = value
  end
end

--- Counts the request, once: also when nginx ended it.
---@param exchange surefoot.gateway.Exchange
function M.settle(exchange)
  if exchange.ended then
    return
  end
  exchange.ended = true
  local result, failure, gateway = exchange.result, exchange.failure, exchange.gateway
  local usage, partial = result and result.usage, failure and failure.partial
  usage = usage or partial and partial.usage
  local cost = (result or partial or {}).cost
  if exchange.ticket then
    if usage or result or failure and failure.unsent then
      exchange.ticket:leave(usage and usage.total_tokens or 0, cost or 0)
    else
      exchange.ticket:leave(nil, cost) -- it may have cost what it was taken for
    end
  end
  local attempts = result and result.attempts or failure and failure.attempts
  local status = ngx.status
  local seconds = ngx.now() - exchange.began
  local key = exchange.key and exchange.key.name
  local kind = failure and failure.kind or not result and exchange.model and "cancelled" or nil
  local endpoint = result and result.endpoint or failure and failure.endpoint
  gateway.tally:ended {
    operation = exchange.format.operation, model = exchange.model, key = key, status = status, kind = kind,
    endpoint = endpoint, stream = exchange.streams, seconds = seconds,
    first_token = result and result.time_to_first_token, input_tokens = usage and usage.input_tokens,
    output_tokens = usage and usage.output_tokens, cost = cost, attempts = attempts and #attempts or 0,
  }
  if gateway.logs then
    set_var("surefoot_model", exchange.model)
    set_var("surefoot_endpoint", endpoint)
    set_var("surefoot_key", key)
    set_var("surefoot_kind", kind)
    set_var("surefoot_attempts", attempts and #attempts or 0)
    set_var("surefoot_request_id", exchange.id)
    set_var("surefoot_input_tokens", usage and usage.input_tokens)
    set_var("surefoot_output_tokens", usage and usage.output_tokens)
    set_var("surefoot_cost", cost and ("%.6f"):format(cost))
    set_var("surefoot_first_token", result and result.time_to_first_token
      and ("%.3f"):format(result.time_to_first_token))
  end
end

--- Says by which way the answer came.
function M.tell_way(exchange, endpoint, attempts)
  local header = ngx.header
  header["x-request-id"] = exchange.id
  header["request-id"] = exchange.id -- where Anthropic's SDKs look
  header["x-surefoot-endpoint"] = endpoint
  header["x-surefoot-attempts"] = attempts
  header["x-surefoot-time"] = ("%.3f"):format(ngx.now() - exchange.began)
end

--- Sends a whole answer.
function M.send(status, body, content_type)
  ngx.status = status
  local header = ngx.header
  header["content-type"], header["content-length"] = content_type, #body
  ngx.print(body)
end

--- The answer that is an error.
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
function M.own(exchange, kind, message, more)
  local failure = failures.own(kind, message, more)
  failure.unsent = true
  M.refuse(exchange, failure)
end

--- What the caller is told of an error.
function M.failure_of(err)
  local failure = failures.of(err)
  failure.attempts, failure.endpoint, failure.partial, failure.unsent =
    err.attempts, err.endpoint, err.partial, err.sent == false
  return failure
end

return M
