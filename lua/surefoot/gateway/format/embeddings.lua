--- Callers who want embeddings, in OpenAI's format.

local chat = require "surefoot.gateway.format.chat"
local json = require "surefoot.json"

local M = {}

M.native = { openai = true }
M.path = "/embeddings"
M.operation = "embeddings"
M.error = chat.error

--- The caller's document as a request: it is one.
---@param document table
---@return table? request
---@return string? message
---@return string? param
function M.read(document)
  if document.input == nil or document.input == json.null then
    return nil, "input: is required", "input"
  end
  return document
end

--- The document of an answer.
---@param result surefoot.Result
---@param context surefoot.gateway.Context
---@return table
function M.whole(result, context)
  local data, usage = {}, result.usage
  for i, vector in ipairs(result.embeddings) do
    data[i] = { object = "embedding", index = i - 1, embedding = vector }
  end
  return {
    object = "list", data = json.array(data), model = result.model or context.model,
    usage = { prompt_tokens = usage and usage.input_tokens or 0, total_tokens = usage and usage.total_tokens or 0 },
  }
end

return M
