--- What an Anthropic message says, in the fields of a result: of a whole answer, and of a stream folded into one.

local common = require "surefoot.provider.common"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, count = common.some, common.some_table, common.count

local REASONS = {
  end_turn = "stop", stop_sequence = "stop", max_tokens = "length", model_context_window_exceeded = "length",
  tool_use = "tool_calls", refusal = "content_filter",
}

--- A stop reason in OpenAI's words; unknown ones as they are.
---@param reason any
---@return string?
function M.finish_reason(reason)
  reason = common.some_text(reason)
  return reason and (REASONS[reason] or reason)
end

--- Token counts in surefoot's names: as OpenAI's, the input includes what came from and went to the cache.
---@param usage any
---@return surefoot.Usage?
function M.usage(usage)
  if type(usage) ~= "table" then
    return nil
  end
  local fresh, output = count(usage.input_tokens), count(usage.output_tokens)
  if not (fresh or output) then
    return nil
  end
  local read, written = count(usage.cache_read_input_tokens), count(usage.cache_creation_input_tokens)
  local input = (fresh or 0) + (read or 0) + (written or 0)
  local details = some_table(usage.output_tokens_details) or NOTHING
  return {
    input_tokens = input, output_tokens = output or 0, total_tokens = input + (output or 0),
    cached_input_tokens = read, reasoning_tokens = count(details.thinking_tokens), estimated = false,
  }
end

-- A tool_use block as OpenAI's tool call. A stream may have been cut within its input: then that is a text still.
local function call_of(block, codec)
  local arguments = block.input
  if type(arguments) ~= "string" then
    arguments = codec.encode(arguments) or "{}"
  end
  return { id = block.id, type = "function", ["function"] = { name = block.name, arguments = arguments } }
end

local function read_blocks(blocks, codec)
  local texts, thoughts, calls = {}, {}, nil
  for _, block in ipairs(blocks) do
    local kind = type(block) == "table" and block.type
    if kind == "text" and type(block.text) == "string" then
      texts[#texts + 1] = block.text
    elseif kind == "thinking" and type(block.thinking) == "string" then
      thoughts[#thoughts + 1] = block.thinking
    elseif kind == "tool_use" then
      calls = calls or {}
      calls[#calls + 1] = call_of(block, codec)
    end
  end
  return #texts > 0 and table.concat(texts) or nil, #thoughts > 0 and table.concat(thoughts) or nil, calls
end

--- The fields of a result.
---@param document table a message, its content a list of blocks
---@param codec surefoot.Codec
---@param request table?
---@return table fields
function M.fields(document, codec, request)
  local text, reasoning, calls = read_blocks(document.content, codec)
  local reason = M.finish_reason(document.stop_reason)
  return {
    text = text,
    message = {
      role = "assistant", content = text, tool_calls = calls,
      native = { provider = "anthropic", items = document.content },
    },
    tool_calls = calls, reasoning = reasoning, parsed = common.parsed_of(text, request, codec), finish_reason = reason,
    truncated = reason == "length" or nil, usage = M.usage(document.usage), model = some(document.model),
    id = some(document.id), body = document,
  }
end

return M
