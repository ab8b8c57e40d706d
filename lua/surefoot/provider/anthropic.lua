--- Anthropic's Messages API. Pure functions; no I/O, no state. surefoot.provider says what each of them promises.

local answer = require "surefoot.provider.anthropic_answer"
local common = require "surefoot.provider.common"
local request = require "surefoot.provider.anthropic_request"
local shape = require "surefoot.provider.shape"
local stream = require "surefoot.provider.anthropic_stream"

local M = {}

local VERSION = "2023-06-01"
local NO_EMBEDDINGS = "Anthropic offers no embeddings"

--- The header line that carries a key.
---@param key string
---@return string
function M.auth(key)
  return "x-api-key: " .. key
end

M.judge, M.usage = common.judge, answer.usage

local function version_of(variant)
  return "anthropic-version: " .. (variant.traits and variant.traits.api_version or VERSION) .. "\n"
end

--- The headers of a request that is passed on as it is.
---@param variant surefoot.Variant
---@param streams boolean?
---@return string
function M.headers(variant, streams)
  return (streams and common.STREAM_HEADERS or common.JSON_HEADERS) .. version_of(variant)
end

-- Schemas are written with their keys in order: prompts are cached by their bytes.
local function text_of(body, codec)
  if body.tools or body.output_config then
    return codec.encode(body)
  end
  return codec.quick(body)
end

local chat = {}

function chat.encode(given, variant, codec, changes, streams)
  local changed = common.changed(given, variant.model, changes)
  changed.stream = streams or nil
  local body, problem = request.translate(changed, codec)
  if not body then
    return nil, problem
  end
  local text
  text, problem = text_of(body, codec)
  if not text then
    local _, own = codec.encode(changed) -- the path in the problem is to be the caller's
    return nil, own or problem
  end
  return "POST", "/messages", M.headers(variant, streams), text
end

-- Why the list of blocks is none, or nil.
local function fault_of(content, codec)
  if type(content) ~= "table" or #content == 0 and next(content) ~= nil
    or shape.no_empty_object(content, "content", codec) then
    return "the answer has no list of content"
  end
  for i, block in ipairs(content) do
    if type(block) ~= "table" or type(block.type) ~= "string" then
      return ("the answer has no content[%d].type"):format(i)
    end
    local fault = answer.fault_of(block, ("content[%d]"):format(i))
    if fault then
      return "the answer's " .. fault
    end
  end
end

function chat.decode(reply, codec, asked)
  local document, verdict = common.document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local fault = fault_of(document.content, codec)
  if fault then
    return common.malformed(fault .. ": " .. common.beginning(reply.body))
  end
  return answer.fields(document, codec, asked)
end

chat.stream = stream.new

local embeddings = {}

function embeddings.encode()
  return nil, NO_EMBEDDINGS
end

function embeddings.decode()
  return common.malformed(NO_EMBEDDINGS)
end

local models = {}

-- The list comes in pages, of 20 unless a number up to 1000 is asked for.
function models.encode(_, variant)
  return "GET", "/models?limit=1000", common.ACCEPT_JSON .. version_of(variant)
end

function models.decode(reply, codec)
  local document, verdict = common.document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local data = common.some_table(document.data)
  if not data then
    return common.malformed("the answer has no list of models: " .. common.beginning(reply.body))
  end
  local found = {}
  for i, item in ipairs(data) do
    if type(item) ~= "table" or not common.some_text(item.id) then
      return common.malformed(("the list of models has no data[%d].id"):format(i))
    end
    found[i] = item
  end
  return { models = found, body = document }
end

---@type table<string, surefoot.Operation>
M.operations = { chat = chat, embeddings = embeddings, models = models }

return M
