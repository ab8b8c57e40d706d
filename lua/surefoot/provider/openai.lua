--- The OpenAI format: chat completions, embeddings, models. Pure functions; no I/O, no state.
-- surefoot.provider says what each function promises. A 2xx answer is good only if it is a whole JSON document of the
-- right form: HTML with 200, an `error` object with 200 and a text that ends early are failures, whatever the status
-- says.

local answer = require "surefoot.provider.openai_answer"
local common = require "surefoot.provider.common"
local stream = require "surefoot.provider.openai_stream"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, malformed, beginning, document_of = common.some, common.some_table, common.malformed,
  common.beginning, common.document_of

--- The header line that carries a key.
---@param key string
---@return string
function M.auth(key)
  return "authorization: Bearer " .. key
end

-- What only other formats have a place for (native items, whether a tool failed) is not for this one.
local function without_foreign(messages)
  local copy
  for i, message in ipairs(some_table(messages) or NOTHING) do
    if type(message) == "table" and (message.native ~= nil or message.is_error ~= nil) then
      copy = copy or common.copy(messages)
      copy[i] = common.copy(message)
      copy[i].native, copy[i].is_error = nil, nil
    end
  end
  return copy
end

-- For those who know the bound of an answer by its old name alone.
local function with_max_tokens(body)
  if body.max_completion_tokens == nil then
    return body
  end
  body = common.copy(body)
  body.max_tokens = body.max_tokens == nil and body.max_completion_tokens or body.max_tokens
  body.max_completion_tokens = nil
  return body
end

-- The last chunk holds the usage only if it is asked for.
local function ask_for_events(body, traits)
  local options, quirks = body.stream_options, traits and traits.quirks or NOTHING
  body.stream = true
  if not quirks.no_stream_options and (options == nil or type(options) == "table" and options.include_usage == nil) then
    body.stream_options = common.copy(options or NOTHING)
    body.stream_options.include_usage = true
  end
end

--- The request's bytes. Strings of schemas are written with their keys in order: providers cache prompts by the bytes.
---@param request table
---@param variant surefoot.Variant
---@param codec surefoot.Codec
---@param changes table?
---@param streams boolean?
---@return string? body
---@return string? problem
function M.write(request, variant, codec, changes, streams)
  local model, body = variant.model, request
  local messages = without_foreign(changes and changes.messages or request.messages)
  if changes or streams or messages or model and request.model ~= model then
    body = common.changed(request, model, changes)
    body.messages = messages or body.messages
    if streams then
      ask_for_events(body, variant.traits)
    end
  end
  if variant.traits and variant.traits.quirks and variant.traits.quirks.max_tokens then
    body = with_max_tokens(body)
  end
  if body.tools or body.response_format or body.functions then
    return codec.encode(body)
  end
  return codec.quick(body)
end

local function post(path)
  return function(request, variant, codec, changes, streams)
    local body, problem = M.write(request, variant, codec, changes, streams)
    if not body then
      return nil, problem
    end
    return "POST", path, streams and common.STREAM_HEADERS or common.JSON_HEADERS, body
  end
end

M.judge, M.usage = common.judge, answer.usage

local chat = { encode = post "/chat/completions", stream = stream.new }

function chat.decode(reply, codec, request)
  local finish = codec.finish
  local document, verdict = document_of(reply, codec.read)
  if not document then
    return nil, verdict
  end
  local choices = document.choices
  local choice = type(choices) == "table" and choices[1]
  if type(choice) == "table" then
    verdict = answer.failure_of(choice, document)
    if verdict then
      return nil, verdict
    end
  end
  local message = type(choice) == "table" and choice.message
  if type(message) ~= "table" then
    return malformed("the answer has no choices[1].message: " .. beginning(reply.body))
  end
  for i = 1, #choices do
    local said = type(choices[i]) == "table" and choices[i].message
    local fault = type(said) == "table" and answer.fault_of(said, ("choices[%d].message"):format(i), codec)
    if fault then
      return malformed(("the answer's %s: %s"):format(fault, beginning(reply.body)))
    end
  end
  message = answer.with_texts(finish and finish(message) or message, codec)
  return answer.fields(document, choice, message, codec, request, not finish and document or nil)
end

local embeddings = { encode = post "/embeddings" }

function embeddings.decode(reply, codec, request)
  local document, verdict = document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local data = some_table(document.data)
  if not data then
    return malformed("the answer has no data: " .. beginning(reply.body))
  end
  local input = request and request.input
  local wanted = type(input) == "table" and type(input[1]) ~= "number" and #input or 1
  local vectors, found = {}, 0
  for i, item in ipairs(data) do
    local vector = type(item) == "table" and item.embedding
    local is_list = type(vector) == "table" and (type(vector[1]) == "number" or next(vector) == nil)
    if not is_list and type(vector) ~= "string" then
      return malformed(("the answer has no data[%d].embedding"):format(i))
    end
    local place = type(item.index) == "number" and item.index + 1 or i
    if place >= 1 and place <= wanted and place % 1 == 0 and not vectors[place] then
      vectors[place], found = vector, found + 1
    end
  end
  if found ~= wanted or #data ~= wanted then
    return malformed(("%d embeddings for %d inputs"):format(found, wanted))
  end
  return { embeddings = vectors, usage = answer.usage(document.usage), model = some(document.model), body = document }
end

local models = {}

function models.encode()
  return "GET", "/models", common.ACCEPT_JSON
end

function models.decode(reply, codec)
  local document, verdict = document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local list = some_table(document.data) or some_table(document.models) or document
  local found = {}
  for i, item in ipairs(list) do
    local id = type(item) == "table" and (some(item.id) or some(item.name)) or type(item) == "string" and item
    if not id then
      return malformed(("the list of models has no data[%d].id"):format(i))
    end
    found[i] = type(item) == "table" and item or {}
    found[i].id = id
  end
  if #found == 0 and not some_table(document.data) then
    return malformed("the answer has no list of models: " .. beginning(reply.body))
  end
  return { models = found, body = document }
end

---@type table<string, surefoot.Operation>
M.operations = { chat = chat, embeddings = embeddings, models = models }

return M
