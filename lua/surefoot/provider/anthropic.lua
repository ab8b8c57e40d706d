--- Anthropic's Messages API. Pure functions; no I/O, no state. surefoot.provider says what each of them promises.

local answer = require "surefoot.provider.anthropic_answer"
local common = require "surefoot.provider.common"
local request_of = require "surefoot.provider.anthropic_request"
local stream = require "surefoot.provider.anthropic_stream"

local M = {}

local VERSION = "2023-06-01"

--- The header line that carries a key.
---@param key string
---@return string
function M.auth(key)
  return "x-api-key: " .. key
end

M.judge, M.usage = common.judge, answer.usage

local function headers_of(variant, streams)
  local version = variant.traits and variant.traits.api_version or VERSION
  return (streams and common.STREAM_HEADERS or common.JSON_HEADERS) .. "anthropic-version: " .. version .. "\n"
end

local chat = {}

function chat.encode(request, variant, codec, changes, streams)
  local changed = common.changed(request, variant.model, changes)
  changed.stream = streams or nil
  local body, problem = request_of.translate(changed, codec)
  local text
  if body then
    text, problem = codec.encode(body)
  end
  if not text then
    return nil, problem
  end
  return "POST", "/messages", headers_of(variant, streams), text
end

function chat.decode(reply, codec, request)
  local document, verdict = common.document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  elseif type(document.content) ~= "table" then
    return common.malformed("the answer has no content: " .. common.beginning(reply.body))
  end
  return answer.fields(document, codec, request)
end

chat.stream = stream.new

local embeddings = {}

function embeddings.encode()
  return nil, "Anthropic offers no embeddings"
end

local models = {}

function models.encode(_, variant)
  local version = variant.traits and variant.traits.api_version or VERSION
  return "GET", "/models?limit=1000", common.ACCEPT_JSON .. "anthropic-version: " .. version .. "\n"
end

function models.decode(reply, codec)
  local document, verdict = common.document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local found = {}
  for i, item in ipairs(common.some_table(document.data) or common.NOTHING) do
    if type(item) ~= "table" or not common.some_text(item.id) then
      return common.malformed(("the list of models has no data[%d].id"):format(i))
    end
    found[i] = item
  end
  if not common.some_table(document.data) then
    return common.malformed("the answer has no list of models: " .. common.beginning(reply.body))
  end
  return { models = found, body = document }
end

---@type table<string, surefoot.Operation>
M.operations = { chat = chat, embeddings = embeddings, models = models }

return M
