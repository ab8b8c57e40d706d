--- What was used, read from a file of answers, one a line: of surefoot batch, of OpenAI's batches, results of
--- surefoot chat --json, or the providers' own documents. Rows without usage (failures) are counted, and left out.

local anthropic = require "surefoot.provider.anthropic_answer"
local inputs = require "surefoot.cli.inputs"
local json = require "surefoot.json"
local openai = require "surefoot.provider.openai_answer"
local responses = require "surefoot.provider.responses_answer"

local M = {}

-- Whose names the counts have.
local function usage_of(usage)
  if type(usage) ~= "table" then
    return nil
  elseif usage.estimated ~= nil then -- ours
    return usage
  elseif usage.cache_read_input_tokens ~= nil or usage.cache_creation_input_tokens ~= nil then
    return anthropic.usage(usage)
  end
  return usage.prompt_tokens and openai.usage(usage) or responses.usage(usage)
end

-- The document of an answer in a row.
local function document_of(row)
  local response = row.response
  if type(response) == "table" then
    return type(response.body) == "table" and response.body or nil
  end
  return row
end

--- Reads a file.
---@param path string - is standard input
---@param each fun(model: string, usage: surefoot.Usage)
---@return integer? without rows that have no usage
---@return string? problem
function M.read(path, each)
  local without = 0
  local well, problem = inputs.lines(path, function(line, number)
    local row = json.decode(line)
    if type(row) ~= "table" then
      return ("%s:%d: expected a JSON object"):format(path, number)
    end
    local document = document_of(row)
    local usage = document and usage_of(document.usage)
    if usage and type(document.model) == "string" then
      each(document.model, usage)
    else
      without = without + 1
    end
  end)
  return well and without, problem
end

return M
