--- The rows of a batch: what a line of the input asks for, and the lines that tell what came of it, in OpenAI's batch
-- format.
--
-- A line of the input is { custom_id, method, url, body }, or simply a request ({ messages = ... }), { prompt = ... }
-- or a JSON string; then its id is its `custom_id` or `id`, else its number. The row of a failure has the request
-- again (or, as `line`, what was none), so that a file of them is an input as well.

local chat_format = require "surefoot.dialect.chat"
local coalesce = require "surefoot.coalesce"
local continue = require "surefoot.continue"
local embeddings_format = require "surefoot.dialect.embeddings"
local errors = require "surefoot.errors"
local json = require "surefoot.json"
local providers = require "surefoot.provider"

local M = {}

local unpack = table.unpack or unpack
local formats = providers.formats
local null = json.null

---@class surefoot.Row
---@field custom_id string | number
---@field target surefoot.RowTarget?  nil: nothing can be asked
---@field request table?
---@field problem string?     why
---@field text string         the line

-- ---------------------------------------------------------------------------------------------------------- operations

-- An answer's own operation of a format, whatever the line speaks.
local function encode_operation(job, variant)
  local operation = formats[variant.provider].operations[job.work.name]
  return operation.encode(job.request, variant, job.client.codec, job.routes[variant.route].request)
end

local function judge_with(operation_of)
  return function(job, reply, variant)
    local format, codec = formats[variant.provider], job.client.codec
    if reply.status >= 200 and reply.status < 300 then
      return operation_of(job, variant).decode(reply, codec, job.request)
    end
    return nil, format.judge(reply, (codec.decode(reply.body)))
  end
end

local embeddings = {
  name = "embeddings", counts_tokens = true, encode = encode_operation,
  judge = judge_with(function(job, variant)
    return formats[variant.provider].operations[job.work.name]
  end),
}

-- The Responses API in its own shape, on lines that have it beside the chat completions.
local RESPONSES = { openai = true, responses = true }
local responses_operation = formats.responses.operations.chat

local responses = {
  name = "responses", counts_tokens = true,
  judge = judge_with(function()
    return responses_operation
  end),
  encode = function(job, variant)
    if not RESPONSES[variant.provider] then
      return nil, ("no line of the format %q has the Responses API"):format(variant.provider)
    end
    return responses_operation.encode(job.request, variant, job.client.codec, job.routes[variant.route].request)
  end,
}

---@class surefoot.RowTarget
---@field url string
---@field work surefoot.Work?
---@field perform fun(job: surefoot.Job): surefoot.Result?, surefoot.Error?
---@field verbatim table<string, true>  formats of lines whose answer is passed on as it came
---@field whole (fun(result: surefoot.Result, context: table): table)?  the answer of others

---@type table<string, surefoot.RowTarget>  by the end of the URL
local targets = {
  ["/chat/completions"] = {
    url = "/v1/chat/completions", perform = continue.perform, verbatim = { openai = true },
    whole = chat_format.whole,
  },
  ["/embeddings"] = {
    url = "/v1/embeddings", work = embeddings, perform = coalesce.perform, verbatim = { openai = true },
    whole = embeddings_format.whole,
  },
  ["/responses"] = {
    url = "/v1/responses", work = responses, perform = coalesce.perform, verbatim = RESPONSES,
  },
}

local function target_of(url)
  for ending, target in pairs(targets) do
    if url:sub(-#ending) == ending then
      return target
    end
  end
end

-- -------------------------------------------------------------------------------------------------------------- input

local function some(value)
  if value ~= null then
    return value
  end
end

-- { custom_id, method, url, body }
local function read_whole(row, document)
  local method, url, body = some(document.method), some(document.url), some(document.body)
  if method ~= nil and method ~= "POST" then
    row.problem = 'method: expected "POST"'
  elseif type(body) ~= "table" then
    row.problem = "body: expected an object"
  elseif url == nil and body.messages == nil then
    row.problem = "url: is required"
  else
    row.target = target_of(tostring(url or "/chat/completions"))
    row.request = body
    row.problem = not row.target
      and "url: expected /v1/chat/completions, /v1/embeddings or /v1/responses, got " .. tostring(url) or nil
  end
end

-- A request, or a text.
local function read_plain(row, document)
  local request = {}
  for key, value in pairs(document) do
    request[key] = value
  end
  request.custom_id, request.id = nil, nil
  if request.messages == nil and type(request.prompt) == "string" then
    request.messages = { { role = "user", content = request.prompt } }
    request.prompt = nil
  end
  if request.messages == nil then
    row.problem = "expected { custom_id, method, url, body }, { messages } or { prompt }"
  else
    row.target, row.request = targets["/chat/completions"], request
  end
end

--- What a row calls itself.
---@param document any of its line
---@return string | number | nil
function M.own_id(document)
  for _, name in ipairs(type(document) == "table" and { "custom_id", "id" } or {}) do
    local id = some(document[name])
    if type(id) == "string" or type(id) == "number" then
      return id
    end
  end
end

--- What a line asks for. A line that asks for nothing is a row with a problem.
---@param text string
---@param number integer
---@param codec surefoot.Codec
---@return surefoot.Row
function M.read(text, number, codec)
  local row = { custom_id = ("%d"):format(number), text = text }
  local document, _, message = codec.decode(text)
  if type(document) == "string" then
    document = { prompt = document }
  end
  if document == nil then
    row.problem = "the line is no JSON: " .. message
  elseif type(document) ~= "table" then
    row.problem = "the line is no JSON object"
  else
    local id = M.own_id(document) or row.custom_id
    if type(document.line) == "string" and document.error ~= nil then -- of a failure
      row = M.read(document.line, number, codec)
    elseif document.body ~= nil then
      read_whole(row, document)
    else
      read_plain(row, document)
    end
    row.custom_id = id
    if row.request and some(row.request.stream) then
      row.problem = "stream: a batch writes whole answers; leave it out"
    end
  end
  return row
end

-- --------------------------------------------------------------------------------------------------------------- calls

local function invalid(message)
  return errors.new { kind = "invalid_request", message = message, sent = false, attempts = {} }
end

M.invalid = invalid

--- Asks.
---@async
---@param client surefoot.Client
---@param row surefoot.Row
---@param options surefoot.CallOptions
---@return surefoot.Result?
---@return surefoot.Error?
function M.perform(client, row, options)
  if row.problem then
    return nil, invalid(row.problem)
  end
  local ok, job, problem = pcall(client.chat_job, client, row.request, options, row.target.work)
  if not ok then
    return nil, invalid(tostring(job))
  elseif not job then
    return nil, problem
  end
  return row.target.perform(job)
end

-- -------------------------------------------------------------------------------------------------------------- output

local function quoted(value)
  return assert(json.encode(type(value) == "string" and json.well_formed(value) or value))
end

-- On one line, as UTF-8: between the tokens of a document a line's end means nothing, and one bad byte must not keep
-- readers from a whole file.
local function on_one_line(text)
  return (json.well_formed(text):gsub("[\r\n]+", " "))
end

local function provider_of(client, name)
  for _, endpoint in ipairs(client.config.endpoints) do
    if endpoint.name == name then
      return endpoint.provider
    end
  end
end

local function document_of(client, row, result, id)
  local target = row.target
  if result.raw and not result.continued and target.verbatim[provider_of(client, result.endpoint)] then
    return on_one_line(result.raw)
  end
  local whole = target.whole(result, { model = result.model, id = id, created = os.time() })
  return assert(json.encode(whole))
end

-- An object of names and values that are JSON already, in this order.
local function object(members)
  local parts = {}
  for i = 1, #members, 2 do
    parts[#parts + 1] = (i == 1 and '{"' or ',"') .. members[i] .. '":'
    parts[#parts + 1] = members[i + 1]
  end
  parts[#parts + 1] = "}"
  return table.concat(parts)
end

--- The line of an answer.
---@param client surefoot.Client
---@param row surefoot.Row
---@param result surefoot.Result
---@param id string
---@return string
function M.answer(client, row, result, id)
  local response = object {
    "status_code", ("%d"):format(result.status), "request_id", quoted(result.request_id),
    "body", document_of(client, row, result, id),
  }
  return object { "id", quoted(id), "custom_id", quoted(row.custom_id), "response", response, "error", "null" }
end

local function response_of(err)
  return err.status and object {
    "status_code", ("%d"):format(err.status), "request_id", quoted(err.request_id or null),
    "body", err.body ~= nil and json.encode(err.body) or "null",
  } or "null"
end

--- The line of a failure: with the request, as a line of an input has it; of what is none the line as it was.
---@param row surefoot.Row
---@param err surefoot.Error
---@param id string
---@return string
function M.failure(row, err, id)
  local body = row.target and json.encode(row.request)
  local request = body and { "method", '"POST"', "url", quoted(row.target.url), "body", body }
    or { "line", quoted(row.text) }
  return object {
    "id", quoted(id), "custom_id", quoted(row.custom_id), "response", response_of(err),
    "error", object { "code", quoted(err.kind), "message", quoted(tostring(err)) }, unpack(request),
  }
end

return M
