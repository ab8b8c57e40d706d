--- A caller's request as a job of the client. On lines that speak the caller's format its bytes go through as they are,
--- both ways, but for the model's name; on others request and answer are translated.
--
-- What surefoot has to change in an answer (resume, continue_on_length) is translated on every line.

local common = require "surefoot.provider.common"
local glance = require "surefoot.gateway.glance"
local plans = require "surefoot.client.plan"
local providers = require "surefoot.provider"

local M = {}

local formats = providers.formats
local NOTHING = common.NOTHING

---@class surefoot.gateway.Inbound
---@field format surefoot.Dialect
---@field context surefoot.dialect.Context
---@field body string            as it came
---@field first integer          where the model's name stands in it, with its quotes
---@field last integer
---@field streams boolean
---@field told table             what is known of the document without decoding it
---@field request table?         the document as a chat request, where somebody needs it
---@field passes boolean?         it may go to lines of its own format as it is
---@field is_marked boolean?      it goes to them as the format's as_native has it
---@field alters boolean?         surefoot may change the answer
---@field wants_usage table?     the options by which a stream is asked for its usage, though the caller did not

---@class surefoot.Result
---@field verbatim string?       the path of the format that it came in, where the gateway passes it on
---@field tail string?           of a stream: events after the last that was shown

-- ---------------------------------------------------------------------------------------------------------- requests

local function text_with_model(inbound, model, options, codec)
  local body = inbound.body
  if options then
    return body:sub(1, inbound.first - 1) .. codec.encode(model) .. ',"stream_options":'
      .. codec.quick(options) .. body:sub(inbound.last + 1)
  elseif model == inbound.context.model then
    return body
  end
  return body:sub(1, inbound.first - 1) .. codec.encode(model) .. body:sub(inbound.last + 1)
end

-- The caller's bytes, for a line of its own format.
local function pass(inbound, variant, changes, codec)
  local model, options = variant.model or inbound.context.model, inbound.wants_usage
  local body, problem
  if options and variant.traits.quirks.no_stream_options then
    options = nil
  end
  if changes or inbound.is_marked then
    local document = inbound.context.document
    document = common.changed(inbound.is_marked and inbound.format.as_native(document) or document, model, changes)
    document.stream_options = document.stream_options or options
    body, problem = codec.encode(document)
    if not body then
      return nil, problem
    end
  else
    body = text_with_model(inbound, model, options, codec)
  end
  local headers_of = formats[variant.provider].headers
  local headers = headers_of and headers_of(variant, inbound.streams)
    or inbound.streams and common.STREAM_HEADERS or common.JSON_HEADERS
  return "POST", inbound.format.path, headers, body
end

local function operation_of(job, variant)
  return formats[variant.provider].operations[job.work.inbound.format.operation]
end

local function encode(job, variant)
  local inbound, codec = job.work.inbound, job.client.codec
  local changes = job.routes[variant.route].request
  if inbound.format.native[variant.provider] and job.request == inbound.request and inbound.passes then
    return pass(inbound, variant, changes, codec)
  end
  return operation_of(job, variant).encode(job.request, variant, codec, changes, job.work.streams)
end

-- ----------------------------------------------------------------------------------------------------------- answers

-- Whether the line speaks the caller's format itself.
local function is_same(inbound, variant)
  return inbound.format.native[variant.provider]
end

local function judge(job, reply, variant)
  local codec, inbound = job.client.codec, job.work.inbound
  if reply.status < 200 or reply.status >= 300 then
    return nil, formats[variant.provider].judge(reply, (codec.decode(reply.body)))
  end
  local passed = not inbound.streams and is_same(inbound, variant)
  local fields, verdict
  if passed and codec.is_ours and inbound.format.path == "/chat/completions" and job.request == inbound.told then
    fields = glance.read(reply.body, codec)
  end
  if not fields then
    fields, verdict = operation_of(job, variant).decode(reply, codec, job.request)
  end
  if fields and passed then
    fields.verbatim = inbound.format.path
  end
  return fields, verdict
end

--- Passes events on: each chunk has in `data` what it, and the events before it that showed nothing, looked like.
---@class surefoot.gateway.Folder: surefoot.Folder
---@field private inner surefoot.Folder
---@field private path string       the caller's format's
---@field private held string       events that no chunk stands for yet
---@field private shown boolean     something was shown
---@field private finished boolean  every choice has finished
---@field private hides_usage boolean
local Folder = {}
Folder.__index = Folder

local function framed(name, data)
  if data:find("\n", 1, true) then
    data = data:gsub("\n", "\ndata: ")
  end
  if name then
    return "event: " .. name .. "\ndata: " .. data .. "\n\n"
  end
  return "data: " .. data .. "\n\n"
end

local function shows_usage_alone(chunk)
  return chunk.usage and not (chunk.text or chunk.reasoning or chunk.tool_calls or chunk.finish_reason)
end

function Folder:event(name, data)
  local action, chunk, more = self.inner:event(name, data)
  if action == "fail" then
    return action, chunk
  end
  local text = self.held .. framed(name, data)
  if action == "finish" then
    self.finished = true
  end
  if not chunk then
    if action == "hold" and self.shown and not self.finished then -- a ping: now, not with the next word
      chunk, action = { index = 1 }, "commit"
    else
      self.held = text
      return action
    end
  elseif self.hides_usage and shows_usage_alone(chunk) then
    text = self.held
  end
  self.held, self.shown, chunk.data = "", true, text
  for _, other in ipairs(more or NOTHING) do
    other.data = ""
  end
  return action, chunk, more
end

function Folder:whole()
  return self.inner:whole()
end

function Folder:fields()
  local fields = self.inner:fields()
  fields.verbatim, fields.tail = self.path, self.held
  return fields
end

local function fold(job, variant)
  local inbound = job.work.inbound
  local inner = operation_of(job, variant).stream(job.client.codec, job.request)
  if inbound.alters or not is_same(inbound, variant) then
    return inner
  end
  return setmetatable({
    inner = inner, path = inbound.format.path, held = "", shown = false, finished = false,
    hides_usage = inbound.wants_usage ~= nil,
  }, Folder)
end

-- ------------------------------------------------------------------------------------------------------------ the job

-- How many variants of a plan are in a format that is the same as the caller's. The plan keeps it.
local function count_native(plan, native)
  local counts = plan.native_counts or {}
  local count = counts[native]
  if not count then
    count = 0
    for _, variant in ipairs(plan.variants) do
      count = count + (native[variant.provider] and 1 or 0)
    end
    plan.native_counts, counts[native] = counts, count
  end
  return count
end

-- The routes over lines of the caller's own format alone.
local function native_routes(client, routes, native)
  local only, copies = {}, {}
  for i, endpoint in ipairs(client.config.endpoints) do
    only[#only + 1] = native[endpoint.provider] and i or nil
  end
  for i, route in ipairs(routes) do
    copies[i] = { model = route.model, endpoint = route.endpoint, request = route.request, only = only }
    if route.endpoint and not native[client.config.endpoints[route.endpoint].provider] then
      copies[i].endpoint, copies[i].only = nil, {}
    end
  end
  return copies
end

local function has_changes(routes)
  for _, route in ipairs(routes) do
    if route.request then
      return true
    end
  end
  return false
end

-- Decodes what the caller asked.
local function read_document(inbound)
  local context = inbound.context
  if not context.document then
    local document, _, message = context.codec.decode(inbound.body)
    if type(document) ~= "table" then
      error({ message = "the body is no JSON document: " .. tostring(message) }, 0)
    end
    context.document = document
  end
  return context.document
end

-- What the caller asked of its stream beside the usage, which each line is asked for as it needs: all was cut out.
local function other_options(inbound)
  local rest = inbound.wants_usage and common.copy(inbound.wants_usage) or {}
  rest.include_usage = nil
  return next(rest) ~= nil and rest or nil
end

-- What the client is to know of the request: all of it where a line needs a translation or the answer may be carried
-- on, else only what was found in passing. And the routes: what cannot be translated goes to lines of its own format.
local function request_of(client, inbound, routes, plan)
  local config, format = client.config, inbound.format
  local native = count_native(plan, format.native)
  local is_native = native == #plan.variants
  inbound.is_marked = native > 0 and format.mark ~= nil and inbound.body:find(format.mark, 1, true) ~= nil
  inbound.alters = inbound.streams and config.resume ~= "off" or (config.continue_on_length or 0) > 0
  inbound.passes = true
  if format.operation == "embeddings" or inbound.alters or config.coalesce or not is_native then
    local document = read_document(inbound)
    local request, message, param = format.read(document, inbound.context)
    if not request and native > 0 then -- a line of that format will know what it means; surefoot cannot alter it
      inbound.alters = false
      return inbound.told, is_native and routes or native_routes(client, routes, format.native)
    elseif not request then
      error({ message = message, param = param }, 0)
    end
    inbound.passes = not format.passes or format.passes(document)
    request = common.copy(request)
    request.stream, request.model = nil, inbound.context.model
    request.stream_options = other_options(inbound) or request.stream_options
    return request, routes
  elseif inbound.is_marked or has_changes(routes) then
    read_document(inbound)
  end
  return inbound.told, routes
end

--- The job of a request. Nil and an error where nobody serves it; what is wrong with the request is thrown as a table
--- { message, param }.
---@param client surefoot.Client
---@param inbound surefoot.gateway.Inbound
---@param routes surefoot.Route[]
---@param options surefoot.CallOptions checked
---@return surefoot.Job?
---@return surefoot.Error?
function M.job(client, inbound, routes, options)
  local plan = routes.plan or plans.of(client, routes)
  if plan then
    if not plan.nameless then -- the others would be too many to keep
      routes.plan = plan
    end
    inbound.request, routes = request_of(client, inbound, routes, plan)
  end
  local name = inbound.format.operation
  local work = {
    name = name, encode = encode, judge = judge, fold = inbound.streams and fold or nil, streams = inbound.streams,
    counts_tokens = true, inbound = inbound,
  }
  local job, err, problem = client:foreign_job(work, routes, inbound.request, options)
  if problem then
    error({ message = problem }, 0)
  end
  return job, err
end

return M
