--- Is every endpoint there, are its keys good, and what has to be changed where they are not?
--
-- One small request to each endpoint, and one more for each further key of it, over connections of their own and past
-- breakers, limits and queues: what is seen is the line itself. Where it answers, but not as an API, the URLs that
-- were likely meant are tried.

local advice = require "surefoot.advice"
local binding = require "surefoot.binding"
local call = require "surefoot.call"
local clock = require "surefoot.clock"
local copy = require "surefoot.copy"
local errors = require "surefoot.errors"
local loop = require "surefoot.loop"

local M = {}

local PATIENCE = 30 -- seconds for one request

---@class surefoot.Report
---@field ok boolean  every endpoint is
---@field endpoints surefoot.EndpointReport[]

---@class surefoot.Phases  seconds that each step took; a step that was not reached, or not needed, is not there
---@field dns number?         the lookup of the name
---@field tcp number?         TCP, to the proxy if there is one
---@field tls number?         TLS, and the way through the proxy
---@field first_byte number?  from the connection to the first byte of the answer
---@field total number        all of it

---@class surefoot.EndpointReport
---@field endpoint string
---@field ok boolean
---@field kind surefoot.Kind?  why not
---@field message string?      what happened
---@field advice string?       what to change; also where all is well but for the name of a model
---@field status integer?      of the answer, if one came
---@field phases surefoot.Phases?  nil: it was not asked
---@field address string?      the IP address that was reached; without a connection those that were tried
---@field proxy string?        "host:port" of the proxy on the way
---@field models integer?      how many the line lists
---@field clock number?         seconds that this machine's clock is ahead of the server's, by its Date header
---@field keys { ok: boolean, kind: surefoot.Kind?, message: string? }[]?  of each key, where there are several

-- One attempt is enough to know: what would be tried again is final. `seen` gets the answer.
local function once(judge, seen)
  return function(job, reply, ...)
    seen.reply = reply
    local fields, verdict = judge(job, reply, ...)
    if verdict then
      verdict.class = "final"
    end
    return fields, verdict
  end
end

-- A client for these endpoints alone, without any policy: nothing is kept back, and nothing is learnt.
local function bare_client(client, endpoints)
  local config = copy(client.config)
  config.retry = copy(config.retry)
  config.retry.budget, config.retry.max_attempts = false, 1
  config.keepalive = { idle = 0, age = config.keepalive.age }
  config.concurrency = { limit = #endpoints, queue = #endpoints, adaptive = false, min = 1, max = #endpoints }
  for _, policy in ipairs { "rate", "hedge", "coalesce", "health", "spend", "shared", "log" } do
    config[policy] = nil
  end
  config.endpoints = {}
  for i, endpoint in ipairs(endpoints) do
    local bare = copy(endpoint)
    bare.rate, bare.concurrency, bare.breaker = nil, nil, nil
    config.endpoints[i] = bare
  end
  return require("surefoot.client").new(config, client.host) -- which requires this module
end

-- Where the time went: the steps of the attempt, one after the other.
local function phases_of(attempt)
  local phases = { dns = attempt.dns, tcp = attempt.tcp, tls = attempt.tls, total = attempt.latency }
  if attempt.first_byte then
    local connected = (attempt.dns or 0) + (attempt.tcp or 0) + (attempt.tls or 0)
    phases.first_byte = math.max(0, attempt.first_byte - connected)
  end
  return phases
end

-- Asks an endpoint of a client for its models: what came of it, and the answer itself.
local function ask(client, index)
  local job = client:models_job(index, { deadline = math.min(PATIENCE, client.config.timeout.total), max_attempts = 1 })
  local seen = {}
  job.work = { name = job.work.name, encode = job.work.encode, judge = once(job.work.judge, seen) }
  local result, err = call.perform(job)
  local trail = (result or err).attempts or {}
  local last = trail[#trail]
  return { result = result, err = err, attempt = last and last.sent ~= false and last or nil, reply = seen.reply }
end

local function ask_alone(client, endpoint)
  local bare = bare_client(client, { endpoint })
  local outcome = ask(bare, 1)
  bare:close()
  return outcome
end

local function entry_of(endpoint, outcome, ok)
  local err, attempt, reply = outcome.err, outcome.attempt, outcome.reply
  return {
    endpoint = endpoint.name, ok = ok, kind = not ok and err.kind or nil, message = not ok and err.message or nil,
    status = reply and reply.status, phases = attempt and phases_of(attempt) or nil,
    address = attempt and attempt.address, proxy = endpoint.proxy and endpoint.proxy:match "([^/@]+)$",
    clock = reply and reply.headers and clock.ahead(binding.header(reply.headers, "date")) or nil,
  }
end

-- ------------------------------------------------------------------------------------------------------------ verify

-- What may have been meant by the URL, where it leads elsewhere.
local function bases_of(endpoint, outcome)
  local reply, err = outcome.reply, outcome.err
  local is_elsewhere = reply and (reply.status == 404 or reply.status == 405
    or advice.is_page(reply) and reply.status ~= 400 and reply.status < 500)
  if is_elsewhere and endpoint.provider ~= "azure" then
    return advice.bases(endpoint.url)
  elseif err.kind == "network" and err.phase ~= "connect" and endpoint.url:find "^http:" then
    return { (endpoint.url:gsub("^http:", "https:")) } -- hung up on: by a port for TLS?
  end
  return {}
end

-- A URL at which the API answers instead; for another scheme any sign of life will do.
local function found_base(client, endpoint, outcome)
  for _, base in ipairs(bases_of(endpoint, outcome)) do
    local other = copy(endpoint)
    other.url = base
    local there = ask_alone(client, other)
    local kind, cause = there.err and there.err.kind, there.attempt and there.attempt.cause
    local is_api = there.result or (kind == "unauthorized" or kind == "forbidden") and not advice.is_page(there.reply)
    if is_api or not outcome.reply and (there.reply or cause and cause:find "^certificate") then
      return base
    end
  end
end

-- The key that was sent, in clear, for its form.
local function key_of(client, index, outcome)
  local keys = client.config.endpoints[index].keys
  if type(keys) == "function" then
    return client.current_keys[index]
  end
  return keys[outcome.attempt and outcome.attempt.key or 1]
end

local function advise(client, index, outcome, entry)
  local endpoint, err = client.config.endpoints[index], outcome.err
  return advice.of {
    endpoint = endpoint, kind = err.kind, message = err.message, phase = err.phase, attempt = outcome.attempt,
    reply = outcome.reply, key = key_of(client, index, outcome), via = entry.proxy,
    base = found_base(client, endpoint, outcome),
  }
end

-- What is asked of a line under which names, as far as its configuration knows.
local function wanted_models(config, endpoint)
  local wanted, models = {}, endpoint.models
  local function want(name)
    local is_served = not models.only or models.only[name] or models.rename[name]
    if name and is_served then
      wanted[#wanted + 1] = models.rename[name] or name
    end
  end
  want(config.model)
  for _, fallback in ipairs(config.fallbacks) do
    want((not fallback.endpoint or config.endpoints[fallback.endpoint].name == endpoint.name) and fallback.model or nil)
  end
  return wanted
end

local function check_models(client, endpoint, result, entry)
  local body = result.body
  local is_whole = type(body) == "table" and not (body.has_more == true or type(body.nextPageToken) == "string")
  entry.models = #result.models
  if is_whole and endpoint.provider ~= "azure" then -- whose deployments have names of their own
    entry.advice = advice.of_models(wanted_models(client.config, endpoint), result.models)
  end
end

-- The outcome for an endpoint with several keys: the first that is not well decides.
local function check_keys(client, bare, index, outcome)
  local endpoint = bare.config.endpoints[index]
  if type(endpoint.keys) ~= "table" or #endpoint.keys < 2 or not outcome.reply then
    return outcome
  end
  local report = {}
  local first = outcome.attempt and outcome.attempt.key or 1
  for place, key in ipairs(endpoint.keys) do
    local one = outcome
    if place ~= first then
      one = ask_alone(client, copy(endpoint, { keys = { key } }))
      if one.attempt then
        one.attempt.key = place
      end
    end
    report[place] = { ok = one.result ~= nil, kind = one.err and one.err.kind, message = one.err and one.err.message }
    if one.err and not outcome.err then
      outcome = one
    end
  end
  return outcome, report
end

local function examine(client, bare, index)
  local endpoint = client.config.endpoints[index]
  local outcome, keys = check_keys(client, bare, index, ask(bare, index))
  local entry = entry_of(endpoint, outcome, outcome.result ~= nil)
  entry.keys = keys
  if keys and outcome.err then
    entry.message = ("key %d of %d: %s"):format(outcome.attempt and outcome.attempt.key or 1, #keys, entry.message)
  end
  if outcome.result then
    check_models(client, endpoint, outcome.result, entry)
  else
    entry.advice = advise(bare, index, outcome, entry)
  end
  return entry
end

-- ------------------------------------------------------------------------------------------------------------ report

-- Makes an entry for every endpoint, all at once.
local function report(client, entry_at)
  local functions = {}
  for i in ipairs(client.config.endpoints) do
    functions[i] = function()
      return entry_at(i)
    end
  end
  local all = { ok = true, endpoints = {} }
  for i, task in ipairs(loop.together(client.host.scheduler(), functions)) do
    if task.thrown then
      error(errors.is(task.thrown) and task.thrown.cause or task.thrown, 0)
    end
    local entry = task.values[1]
    all.endpoints[i] = entry
    all.ok = all.ok and entry.ok
  end
  return all
end

--- Asks every endpoint for its models, with every key.
---@async
---@param client table
---@return surefoot.Report
function M.verify(client)
  if client.closed then
    return M.warm(client) -- which says so
  end
  local bare = bare_client(client, client.config.endpoints)
  local all = report(client, function(index)
    return examine(client, bare, index)
  end)
  bare:close()
  return all
end

--- Opens a connection to every endpoint: any answer will do.
---@async
---@param client table
---@return surefoot.Report
function M.warm(client)
  return report(client, function(index)
    local outcome = ask(client, index)
    local is_there = outcome.result ~= nil or outcome.err.status ~= nil
    return entry_of(client.config.endpoints[index], outcome, is_there)
  end)
end

return M
