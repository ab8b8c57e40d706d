--- A client: the calls that can be made, over the endpoints of one configuration.
--
-- Every call blocks on the main thread, and yields in a task or in a coroutine of a loop that surefoot knows. Misuse
-- throws; what the world does comes back as nil, err.

local any_request = require "surefoot.client.request"
local batch = require "surefoot.batch"
local batch_file = require "surefoot.batch.file"
local binding = require "surefoot.binding"
local bounds = require "surefoot.client.bounds"
local check = require "surefoot.config.check"
local coalesce = require "surefoot.coalesce"
local config = require "surefoot.config"
local continue = require "surefoot.continue"
local conversation = require "surefoot.conversation"
local core_config = require "surefoot.client.core_config"
local errors = require "surefoot.errors"
local form = require "surefoot.client.form"
local health = require "surefoot.health"
local json = require "surefoot.json"
local log = require "surefoot.log"
local metrics = require "surefoot.client.metrics"
local plans = require "surefoot.client.plan"
local providers = require "surefoot.provider"
local schema = require "surefoot.config.schema"
local spend = require "surefoot.spend"
local stats = require "surefoot.client.stats"
local streams = require "surefoot.stream"
local tasks = require "surefoot.tasks"
local tools = require "surefoot.tools"
local verify = require "surefoot.verify"
local version = require "surefoot.version"

local M = {}

local NO_OPTIONS, ANY_ROUTE = {}, { {} } -- shared: never written to

---@class surefoot.Client
---@field private config table
---@field private core table           C's client
---@field private codec surefoot.Codec
---@field private host table           where calls run: { scheduler = function, new_id = function }
---@field private plans table
---@field private closed boolean
---@field private scrub fun(value: any): any
local Client = {}
local mt = { __index = Client, __name = "surefoot.client" }

function mt.__tostring(client)
  local names = {}
  for i, endpoint in ipairs(client.config.endpoints) do
    names[i] = endpoint.name
  end
  return ("surefoot.client (%s)"):format(table.concat(names, ", "))
end

-- Throws at the line of the user; callers stand directly in a method, or one function deeper.
local function misuse(method, problem, deeper)
  error(("client:%s: %s"):format(method, problem), deeper and 4 or 3)
end

local function of(self, method)
  if getmetatable(self) ~= mt then
    error(("client.%s: call it with a colon, client:%s(...)"):format(method, method), 3)
  end
  return self
end

-- Reads what a user gave; what is wrong with it is thrown at the user's line.
local function read(method, reader, ...)
  local ok, value, problem = pcall(reader, ...)
  if not ok then
    misuse(method, value, true)
  end
  return value, problem
end

-- ------------------------------------------------------------------------------------------- what calls need from it

---@private
function Client:left()
  local waiters = self.drainers
  if next(waiters) == nil then
    return
  end
  self.drainers = {}
  for waiter in pairs(waiters) do
    waiter:wake()
  end
end

---@private
function Client:count(result)
  stats.count(self.tallies, result)
  metrics.count(self.measured, result)
end

---@private
--- Counts the tokens and the cost of an answer that no call has: validate refused it, or it broke off.
---@param result surefoot.Result
function Client:count_cost(result)
  stats.count(self.tallies, result)
end

-- ------------------------------------------------------------------------------------------------------------ the jobs

-- How the jobs of an operation are written and judged.
local function encode_operation(job, variant)
  local operation = providers.formats[variant.provider].operations[job.work.name]
  return operation.encode(job.request, variant, job.client.codec, job.routes[variant.route].request, job.work.streams)
end

local function judge_operation(job, reply, variant)
  local format, codec = providers.formats[variant.provider], job.client.codec
  if reply.status >= 200 and reply.status < 300 then
    return format.operations[job.work.name].decode(reply, codec, job.request)
  end
  return nil, format.judge(reply, (codec.decode(reply.body)))
end

local function fold_operation(job, variant)
  return providers.formats[variant.provider].operations[job.work.name].stream(job.client.codec, job.request)
end

local operations = {
  chat = { name = "chat", encode = encode_operation, judge = judge_operation, counts_tokens = true },
  stream = {
    name = "chat", encode = encode_operation, judge = judge_operation, fold = fold_operation, streams = true,
    counts_tokens = true,
  },
  embeddings = { name = "embeddings", encode = encode_operation, judge = judge_operation, counts_tokens = true },
  models = { name = "models", encode = encode_operation, judge = judge_operation },
}

-- A job for an operation of the provider's. Nil and an error where nobody serves it; nil, nil and what is wrong with
-- the request where it cannot be written.
local function prepare(self, work, routes, request, options)
  local plan = routes.plan or plans.of(self, routes)
  if not plan then
    return nil, errors.new {
      kind = "not_found", message = ("no endpoint serves the model %q"):format(tostring(routes[1].model)), sent = false,
      attempts = {},
    }
  end
  local job = { -- the empty fields are filled later: named here, the table has their places
    work = work, client = self, options = options, plan = plan, routes = routes, request = request, method = nil,
    path = nil, headers = nil, body = nil, estimate = nil, request_id = nil, call = nil, result = nil, deadline = nil,
    scheduler = nil, tape = nil, watched = nil, id = nil,
  }
  local method, path, headers, body = work.encode(job, plan.variants[1])
  if not method then
    return nil, nil, path
  end
  job.method, job.path, job.headers, job.body = method, path, headers, body
  job.estimate = bounds.estimate(self, request, #(body or ""), options)
  if options.timeout then
    job.timeout = bounds.timeout(options)
  end
  return job
end

-- The same; what is wrong with the request is thrown as a string.
local function operation_job(...)
  local job, err, problem = prepare(...)
  if problem then
    error(problem, 0)
  end
  return job, err
end

local function routes_of(self, request, options)
  local model = request.model or self.config.model
  if model == nil then
    error("model: the request names none, and the client has no default", 0)
  elseif type(model) ~= "string" or model == "" then
    error("model: expected a name, got " .. check.show(model), 0)
  end
  local usual = not options.fallbacks and self.usual_routes[model]
  if usual then
    return usual
  end
  local routes = { { model = model } }
  for _, fallback in ipairs(options.fallbacks or self.config.fallbacks) do
    routes[#routes + 1] = fallback
  end
  if not options.fallbacks then
    local plan = plans.of(self, routes)
    if plan and not plan.nameless then -- the others would be too many to keep
      self.usual_routes[model] = routes
    end
    routes.plan = plan
  end
  return routes
end

-- The job for a request of the user's, or nil and an error. What is wrong with the request is thrown as a string.
local function user_job(self, work, request, options)
  options = options == nil and NO_OPTIONS or config.options(options, self.config)
  form.check(request, work)
  return operation_job(self, work, routes_of(self, request, options), request, options)
end

-- The job for one request of a batch. What is wrong with it is thrown as a string.
---@private
function Client:chat_job(request, options, work)
  if type(request) == "string" then
    request = { messages = { { role = "user", content = request } } }
  end
  return user_job(self, work or operations.chat, request, options)
end

-- The same, for an answer in pieces.
---@private
function Client:stream_job(request, options)
  return self:chat_job(request, options, operations.stream)
end

-- The job of whoever writes requests and reads answers by itself, as the gateway does. What is wrong with the request
-- is a third value.
---@private
function Client:foreign_job(work, routes, request, options)
  return prepare(self, work, routes, request, options)
end

-- The job for a request that goes on with another job's.
---@private
function Client:follow(job, request, options)
  return operation_job(self, job.work, job.routes, request, options)
end

--- Asks for a chat completion.
---@async
---@param request string | table the provider's request body, or the text of one user message
---@param options surefoot.CallOptions?
---@return surefoot.Result? result
---@return surefoot.Error? err
function Client:chat(request, options)
  local job, problem = read("chat", Client.chat_job, of(self, "chat"), request, options)
  if not job then
    return nil, problem
  end
  return continue.perform(job)
end

--- Asks for a chat completion that arrives in pieces: returns with the first content.
---@async
---@param request string | table the provider's request body, or the text of one user message
---@param options surefoot.CallOptions?
---@return surefoot.Stream? stream
---@return surefoot.Error? err
function Client:stream(request, options)
  local job, problem = read("stream", Client.stream_job, of(self, "stream"), request, options)
  if not job then
    return nil, problem
  end
  return streams.open(continue.source(job))
end

--- Asks, runs the tools that the model calls, tells it the outcomes, asks again, until it answers.
---@async
---@param request string | table the provider's request body, or the text of one user message
---@param definitions surefoot.Tool[] | table<string, surefoot.Tool>
---@param options surefoot.ToolOptions?
---@return surefoot.Result | surefoot.Stream | nil result a stream with { stream = true }
---@return surefoot.Error? err with err.partial: the rounds so far
function Client:run_tools(request, definitions, options)
  local loop, problem = read("run_tools", tools.read, of(self, "run_tools"), request, definitions, options)
  if not loop then
    return nil, problem
  end
  return tools.run(loop)
end

--- Begins a conversation: it remembers what has been said.
---@param options surefoot.ConversationOptions?
---@return surefoot.Conversation
function Client:conversation(options)
  return (read("conversation", conversation.new, of(self, "conversation"), options))
end

--- Asks for embeddings; result.embeddings has one vector per input, in order.
---@async
---@param request table the provider's request body: { input = string or list }
---@param options surefoot.CallOptions?
---@return surefoot.Result? result
---@return surefoot.Error? err
function Client:embeddings(request, options)
  of(self, "embeddings")
  local job, problem = read("embeddings", user_job, self, operations.embeddings, request, options)
  if not job then
    return nil, problem
  end
  return coalesce.perform(job)
end

--- Lists the models that the provider offers.
---@async
---@param options surefoot.CallOptions?
---@return { id: string }[]? models
---@return surefoot.Error? err
function Client:models(options)
  of(self, "models")
  options = read("models", config.options, options, self.config)
  local result, err = coalesce.perform(operation_job(self, operations.models, ANY_ROUTE, nil, options))
  return result and result.models, err
end

--- Makes any other request to the API, with the same care.
---@async
---@param request surefoot.Request
---@param options surefoot.CallOptions?
---@return surefoot.Result? reply  status, headers, body (decoded where it is JSON), raw
---@return surefoot.Error? err
function Client:request(request, options)
  of(self, "request")
  options = read("request", config.options, options, self.config)
  return any_request.perform((read("request", any_request.job, self, request, options)))
end

--- Performs many chat requests at a time and waits for all of them.
---@async
---@param requests (string | table)[]
---@param options surefoot.BatchOptions? and surefoot.CallOptions for each of the calls
---@return { result: surefoot.Result?, error: surefoot.Error? }[] outcomes in the order of the requests
---@return surefoot.BatchSummary summary
function Client:batch(requests, options)
  of(self, "batch")
  return batch.run(self, read("batch", batch.read, requests, options, self.config))
end

--- Performs many chat requests at a time; the loop gets each as it ends: index, result, err.
---@async
---@param requests (string | table)[]
---@param options surefoot.BatchOptions? and surefoot.CallOptions for each of the calls
---@return fun(): integer?, surefoot.Result?, surefoot.Error?
function Client:each(requests, options)
  of(self, "each")
  return batch.each(self, read("each", batch.read, requests, options, self.config))
end

--- Performs the requests of a file in OpenAI's batch format, and writes the answers into another. Taken up again where
--- it was stopped, it asks what is left.
---@async
---@param options surefoot.BatchFile and surefoot.CallOptions for each of the calls
---@return surefoot.FileSummary? summary
---@return surefoot.Error? err a file cannot be read or written; err.summary: what was done until then
function Client:batch_file(options)
  of(self, "batch_file")
  return batch_file.run(self, (read("batch_file", batch_file.read, self, options)))
end

--- Asks every endpoint for its models, with every key: does it work, and what has to be changed where it does not?
---@async
---@param ... nil there is none
---@return surefoot.Report report
function Client:verify(...)
  of(self, "verify")
  read("verify", check.nothing, ...)
  return verify.verify(self)
end

--- Opens a connection to every endpoint, so that the first call need not.
---@async
---@param ... nil there is none
---@return surefoot.Report report ok where an answer came, whatever it was
function Client:warm(...)
  of(self, "warm")
  read("warm", check.nothing, ...)
  return verify.warm(self)
end

--- What has happened so far.
---@param ... nil there is none
---@return surefoot.Stats
function Client:stats(...)
  of(self, "stats")
  read("stats", check.nothing, ...)
  return stats.report(self)
end

--- The same for Prometheus, in the words of OpenTelemetry where it has some.
---@param options surefoot.MetricsOptions?
---@return string text in the exposition format 0.0.4
function Client:metrics(options)
  return (read("metrics", metrics.text, of(self, "metrics"), options))
end

-- A job that asks one endpoint for its models.
---@private
function Client:models_job(endpoint, options)
  return operation_job(self, operations.models, { { endpoint = endpoint } }, nil, options)
end

-- Waits until no call is in flight, at most so long, or until the task is cancelled.
local function drain(self, seconds)
  local scheduler = self.host.scheduler()
  local deadline = scheduler.engine:now() + seconds
  while self.core:in_flight() > 0 do
    local left = deadline - scheduler.engine:now()
    if left <= 0 then
      return
    end
    local waiter, task = scheduler:waiter()
    self.drainers[waiter] = true
    local timer = left < math.huge and scheduler.engine:timer(left)
    if timer then
      scheduler.parked[timer] = waiter
    end
    tasks.suspend(waiter, task)
    self.drainers[waiter] = nil
    if timer and scheduler.parked[timer] then
      scheduler.parked[timer] = nil
      scheduler.engine:cancel_timer(timer)
    end
    if tasks.take_interrupt(task) then
      return
    end
  end
end

--- Ends the client. Calls in flight fail with kind "closed", as do all later ones and those that still wait for a key;
--- the keys are wiped from memory. Cancelling a task that drains ends the draining.
---@async
---@param options { drain: number? }? drain: let the calls in flight end first, at most so many seconds
function Client:close(options)
  of(self, "close")
  options = read("close", check.fields, schema.close, options or {}, "")
  if self.closed then
    return
  end
  self.closed = true
  if self.watch then
    self.watch:stop()
  end
  if options.drain then
    drain(self, options.drain)
  end
  self.core:close "closed"
end

local function collect_secrets(resolved)
  local secrets, has_functions = {}, false
  for _, endpoint in ipairs(resolved.endpoints) do
    if type(endpoint.keys) == "function" then
      has_functions = true
    else
      for _, key in ipairs(endpoint.keys) do
        secrets[#secrets + 1] = key
      end
    end
    for name, value in pairs(endpoint.headers) do
      if value ~= "" and (name:find "auth" or name:find "key" or name:find "token" or name:find "secret"
        or name == "cookie") then
        secrets[#secrets + 1] = value
      end
    end
    secrets[#secrets + 1] = endpoint.proxy and endpoint.proxy:match "//([^/@]+)@"
  end
  return secrets, has_functions
end

--- Makes a client of a resolved configuration.
---@param resolved table
---@param host { scheduler: (fun(): surefoot.Scheduler), new_id: (fun(): string) }
---@return surefoot.Client
function M.new(resolved, host)
  local secrets, has_functions = collect_secrets(resolved)
  local codec = json.new(resolved.limits.json_depth)
  if resolved.json then
    codec = json.custom(resolved.json, resolved.limits.json_depth)
  end
  local client = setmetatable({
    config = resolved, host = host, core = binding.client(core_config(resolved, "surefoot/" .. version)), codec = codec,
    plans = {}, plan_count = 0, common_plans = {}, usual_routes = {}, closed = false, drainers = {},
    tallies = stats.new(), measured = metrics.new(), event_errors = 0, secrets = secrets,
    scrub = errors.scrubber(secrets), key_functions = has_functions, current_keys = {}, past_keys = {},
    shared = setmetatable({}, { __mode = "v" }), sharing = stats.correction(),
  }, mt)
  client.watch = resolved.health and health.new(client) or nil
  client.log = log.new(client)
  client.spend = resolved.spend and spend.new(client) or nil
  return client
end

return M
