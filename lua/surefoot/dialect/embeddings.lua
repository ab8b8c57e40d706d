--- Callers who want embeddings, in OpenAI's format. OpenAI's SDKs ask for base64 unless they are told otherwise, and
--- read nothing else then; lines of other formats give numbers, which become that here.

local binding = require "surefoot.binding"
local chat = require "surefoot.dialect.chat"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"

local M = {}

M.native = { openai = true }
M.path = "/embeddings"
M.operation = "embeddings"
M.error = chat.error

local function wants_base64(document)
  return document ~= nil and document.encoding_format == "base64"
end

--- The caller's document as a request: it is one, but for how numbers are written.
---@param document table
---@return table? request
---@return string? message
---@return string? param
function M.read(document)
  if document.input == nil or document.input == json.null then
    return nil, "input: is required", "input"
  end
  if wants_base64(document) then
    document = common.copy(document)
    document.encoding_format = nil
  end
  return document
end

--- The document of an answer.
---@param result surefoot.Result
---@param context surefoot.dialect.Context
---@return table
function M.whole(result, context)
  local data, usage, packs = {}, result.usage, wants_base64(context.document)
  for i, vector in ipairs(result.embeddings) do
    local packed = packs and type(vector) == "table" and binding.base64_floats(vector)
    data[i] = { object = "embedding", index = i - 1, embedding = packed or vector }
  end
  return {
    object = "list", data = json.array(data), model = result.model or context.model,
    usage = { prompt_tokens = usage and usage.input_tokens or 0, total_tokens = usage and usage.total_tokens or 0 },
  }
end

return M
