--- Gemini's format (Google's Generative Language API, v1beta): generateContent, batchEmbedContents, models.
-- Pure functions; no I/O, no state. surefoot.provider says what each function promises.
--
-- Sources: ai.google.dev/api, googleapis/python-genai and js-genai (their converters and recorded exchanges).

local answer = require "surefoot.provider.gemini_answer"
local common = require "surefoot.provider.common"
local gemini_request = require "surefoot.provider.gemini_request"
local stream = require "surefoot.provider.gemini_stream"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, malformed, beginning, document_of = common.some, common.some_table, common.malformed,
  common.beginning, common.document_of

--- The header line that carries a key. (As `?key=` it would stand in logs and error messages.)
---@param key string
---@return string
function M.auth(key)
  return "x-goog-api-key: " .. key
end

M.judge = common.judge
M.usage = answer.usage

local function escaped(part)
  return (part:gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- "models/gemini-...": a name with one of the two collections in front is whole already.
local function resource(name)
  if name:find "^models/" or name:find "^tunedModels/" then
    return name
  end
  return "models/" .. name
end

local function path_of(name, verb)
  local collection, rest = resource(name):match "^(%w+)/(.*)$"
  return ("/%s/%s:%s"):format(collection, escaped(rest), verb)
end

local function merged(request, variant, changes)
  local whole = common.changed(request, variant.model, changes)
  if type(whole.model) ~= "string" or whole.model == "" then
    return nil, "model: missing; Gemini has it in the path"
  end
  return whole
end

-- Schemas are written with their keys in order: providers cache prompts by the bytes.
local function write(body, codec)
  local config = some_table(body.generationConfig) or NOTHING
  if body.tools or config.responseJsonSchema or config.responseSchema then
    return codec.encode(body)
  end
  return codec.quick(body)
end

local chat = {}

function chat.encode(request, variant, codec, changes, streams)
  local whole, problem = merged(request, variant, changes)
  local body, text
  if whole then
    body, problem = gemini_request.content(whole, whole.model, codec)
  end
  if body then
    text, problem = write(body, codec)
  end
  if not text then
    return nil, problem
  elseif streams then
    return "POST", path_of(whole.model, "streamGenerateContent?alt=sse"), common.STREAM_HEADERS, text
  end
  return "POST", path_of(whole.model, "generateContent"), common.JSON_HEADERS, text
end

function chat.decode(reply, codec, request)
  local document, verdict = document_of(reply, codec.read)
  if not document then
    return nil, verdict
  end
  local first = document[1] -- errors may come as a list
  if type(first) == "table" and common.is_error(first) then
    return nil, common.judge(reply, document)
  end
  local candidates = some_table(document.candidates)
  local candidate = candidates and some_table(candidates[1])
  if not candidate then
    verdict = answer.blocked(codec.finish and codec.finish(document) or document)
    if verdict then
      return nil, verdict
    end
    return malformed("the answer has no candidates: " .. beginning(reply.body))
  end
  local fault = answer.fault_of(candidate, "candidates[1]")
  if fault then
    return malformed(("the answer's %s: %s"):format(fault, beginning(reply.body)))
  end
  local parts = answer.parts_of(candidate)
  if (not parts or #parts == 0) and not answer.reason_of(candidate) then
    return malformed("the answer's candidate has neither parts nor a reason for its end: " .. beginning(reply.body))
  elseif parts and codec.finish then
    codec.finish(parts)
  end
  local fields, failure = answer.fields(document, candidate, codec, request, document.responseId)
  if not fields then
    if failure.body and codec.finish then
      codec.finish(document)
    end
    return nil, failure
  elseif codec.finish then
    fields._body = document
  else
    fields.body = document
  end
  return fields
end

function chat.stream(codec, request)
  return stream.new(codec, request)
end

local embeddings = {}

function embeddings.encode(request, variant, codec, changes)
  local whole, problem = merged(request, variant, changes)
  local body, text
  if whole then
    body, problem = gemini_request.embeddings(whole, resource(whole.model))
  end
  if body then
    text, problem = codec.quick(body)
  end
  if not text then
    return nil, problem
  end
  return "POST", path_of(whole.model, "batchEmbedContents"), common.JSON_HEADERS, text
end

local function wanted_of(request)
  local asked = request and (some_table(request.requests) or some_table(request.input))
  return asked and #asked or 1
end

function embeddings.decode(reply, codec, request)
  local document, verdict = document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local list, wanted = some_table(document.embeddings), wanted_of(request)
  if not list then
    return malformed("the answer has no embeddings: " .. beginning(reply.body))
  elseif #list ~= wanted then
    return malformed(("%d embeddings for %d inputs"):format(#list, wanted))
  end
  local vectors = {}
  for i, item in ipairs(list) do
    vectors[i] = type(item) == "table" and some_table(item.values)
    if not vectors[i] then
      return malformed(("the answer has no embeddings[%d].values"):format(i))
    end
  end
  return { embeddings = vectors, usage = M.usage(document.usageMetadata), body = document }
end

local models = {}

function models.encode()
  return "GET", "/models?pageSize=1000", common.ACCEPT_JSON -- all in one page; else there are 50
end

function models.decode(reply, codec)
  local document, verdict = document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local list = some_table(document.models)
  if not list then
    return malformed("the answer has no list of models: " .. beginning(reply.body))
  end
  local found = {}
  for i, item in ipairs(list) do
    local name = type(item) == "table" and some(item.name)
    if type(name) ~= "string" then
      return malformed(("the list of models has no models[%d].name"):format(i))
    end
    found[i] = common.copy(item)
    found[i].id = name:match "^models/(.+)$" or name
  end
  return { models = found, body = document }
end

---@type table<string, surefoot.Operation>
M.operations = { chat = chat, embeddings = embeddings, models = models }

return M
