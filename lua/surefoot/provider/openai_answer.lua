--- What a chat completion in OpenAI's shape says: of a whole answer, and of a stream folded into one.

local common = require "surefoot.provider.common"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text, count = common.some, common.some_table, common.some_text, common.count

--- Token counts in surefoot's names, or nil when the answer holds none.
---@param usage any
---@return surefoot.Usage?
function M.usage(usage)
  if type(usage) ~= "table" then
    return nil
  end
  local input, output = count(usage.prompt_tokens), count(usage.completion_tokens)
  local total = count(usage.total_tokens)
  if not (input or output or total) then
    return nil
  end
  local read = some_table(usage.prompt_tokens_details) or NOTHING
  local written = some_table(usage.completion_tokens_details) or NOTHING
  input = input or total and math.max(0, total - (output or 0)) or 0
  output = output or total and math.max(0, total - input) or 0
  return {
    input_tokens = input, output_tokens = output, total_tokens = total or input + output,
    cached_input_tokens = count(read.cached_tokens) or count(usage.prompt_cache_hit_tokens),
    reasoning_tokens = count(written.reasoning_tokens), estimated = false,
  }
end

-- The texts of a list of parts, joined; nil when there is none.
local function texts_of(list)
  local parts = {}
  for _, part in ipairs(list) do
    if type(part) == "table" and type(part.text) == "string" then
      parts[#parts + 1] = part.text
    end
  end
  return #parts > 0 and table.concat(parts) or nil
end

--- What content says: itself, or its text parts joined.
---@param content any
---@return string?
function M.text_of(content)
  if type(content) == "string" then
    return content
  end
  return type(content) == "table" and texts_of(content) or nil
end

--- What the thinking parts of content say (Mistral puts them there).
---@param content any
---@return string?
function M.thinking_of(content)
  local thoughts
  for _, part in ipairs(some_table(content) or NOTHING) do
    local thinking = type(part) == "table" and part.thinking
    thinking = type(thinking) == "table" and texts_of(thinking) or thinking
    if type(thinking) == "string" then
      thoughts = (thoughts or "") .. thinking
    end
  end
  return thoughts
end

--- The verdict on a choice that says that it failed (OpenRouter, under status 200), or nil.
---@param choice table
---@param document table
---@return surefoot.Verdict?
function M.failure_of(choice, document)
  local err = some(choice.error)
  if err and err ~= "" then
    local verdict = common.judge_event({ error = err }, "the answer ended with an error")
    verdict.body = document
    return verdict
  elseif choice.finish_reason == "error" then
    return { class = "transient", kind = "server", code = some_text(choice.native_finish_reason),
      message = "the answer ended with an error", body = document }
  end
end

--- The fields of a result.
---@param document table   a chat completion
---@param choice table     the choice that counts
---@param message table    its message, finished
---@param codec surefoot.Codec
---@param request table?
---@param body table?      the document, if it is finished; else it will be when somebody asks
---@return table fields
function M.fields(document, choice, message, codec, request, body)
  local said = message or NOTHING
  local text, calls = M.text_of(said.content), some_table(said.tool_calls)
  local reason = some_text(choice.finish_reason)
  return { -- the empty fields are filled by others: named here, the table has their places
    text = text, message = message, tool_calls = calls and #calls > 0 and calls or nil,
    parsed = common.parsed_of(text, request, codec), finish_reason = reason, truncated = reason == "length" or nil,
    reasoning = some_text(said.reasoning_content) or some_text(said.reasoning) or M.thinking_of(said.content),
    usage = M.usage(document.usage), model = some(document.model), id = some(document.id),
    body = body, _body = not body and document or nil,
    status = nil, raw = nil, _headers = nil, _receipt = nil, endpoint = nil, request_id = nil, latency = nil,
    time_to_first_token = nil,
  }
end

return M
