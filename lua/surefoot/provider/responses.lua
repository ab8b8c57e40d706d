--- OpenAI's Responses API, asked and answered in the chat shape; embeddings and models are those of the OpenAI format.
--
-- The items of an answer (reasoning, encrypted or not, calls of tools that the provider runs) stand in message.native
-- and go back as they came when the message is sent again; so do requests that are in the API's own shape.

local answer = require "surefoot.provider.responses_answer"
local common = require "surefoot.provider.common"
local openai = require "surefoot.provider.openai"
local request = require "surefoot.provider.responses_request"
local shape = require "surefoot.provider.shape"
local stream = require "surefoot.provider.responses_stream"

local M = {}

M.auth, M.usage = openai.auth, answer.usage

--- The verdict on an answer that is no success.
---@param reply surefoot.Reply
---@param document any
---@return surefoot.Verdict
function M.judge(reply, document)
  return answer.corrected(common.judge(reply, document))
end

local chat = { stream = stream.new }

function chat.encode(asked, variant, codec, changes, streams)
  local body, problem = request.write(asked, variant, codec, changes, streams)
  if not body then
    return nil, problem
  end
  return "POST", "/responses", streams and common.STREAM_HEADERS or common.JSON_HEADERS, body
end

local FAILED = { failed = true, cancelled = true }

function chat.decode(reply, codec, asked)
  local document, verdict = common.document_of(reply, codec.decode)
  if not document then
    return nil, answer.corrected(verdict)
  elseif FAILED[document.status] then
    return nil, answer.failure(document)
  elseif type(document.output) ~= "table" then
    return common.malformed("the answer has no output: " .. common.beginning(reply.body))
  end
  local fault = shape.list(document.output, "output", answer.fault_of)
    or shape.no_empty_object(document.output, "output", codec)
  if fault then
    return nil, answer.malformed("the answer's ", fault .. ": " .. common.beginning(reply.body))
  end
  return answer.fields(document, codec, asked)
end

---@type table<string, surefoot.Operation>
M.operations = { chat = chat, embeddings = openai.operations.embeddings, models = openai.operations.models }

return M
