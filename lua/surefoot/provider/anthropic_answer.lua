--- What an Anthropic message says, in the fields of a result: of a whole answer, and of a stream folded into one.
--
-- Only calls that the caller is to run are tool calls: those of tools that the server runs (server_tool_use) are among
-- message.native's items, which hold every block as it came.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local shape = require "surefoot.provider.shape"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text, count = common.some, common.some_table, common.some_text, common.count

local REASONS = {
  end_turn = "stop", stop_sequence = "stop", max_tokens = "length", model_context_window_exceeded = "length",
  tool_use = "tool_calls", refusal = "content_filter",
}

--- A stop reason in OpenAI's words; others as they are (pause_turn).
---@param reason any
---@return string?
function M.finish_reason(reason)
  reason = some_text(reason)
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
  local kept = written ~= 0 and written and some_table(usage.cache_creation) or NOTHING
  return {
    input_tokens = input, output_tokens = output or 0, total_tokens = input + (output or 0),
    cached_input_tokens = read, cache_write_tokens = written ~= 0 and written or nil,
    cache_write_hour_tokens = count(kept.ephemeral_1h_input_tokens),
    reasoning_tokens = count(details.thinking_tokens), estimated = false,
  }
end

local TEXTS = { text = { "text" }, thinking = { "thinking", "signature" }, tool_use = { "id", "name" } }

--- What has another type in a block than it must have; nil where all is well.
---@param block table
---@param path string
---@return string?
function M.fault_of(block, path)
  for _, slot in ipairs(TEXTS[block.type] or NOTHING) do
    local fault = shape.text(block[slot], path .. "." .. slot)
    if fault then
      return fault
    end
  end
  return block.type == "tool_use" and shape.text_or_object(block.input, path .. ".input") or nil
end

-- The input of a tool_use block, written.
local function arguments_of(block, codec, told)
  local input = some(block.input)
  if told and told[block] then
    return told[block]
  elseif input == nil then
    return "{}"
  elseif type(input) == "string" then
    return input
  end
  local text, problem = codec.encode(input)
  if text then
    return text
  end
  return nil, { class = "final", kind = "malformed", -- it would be the same again
    message = ("the input of the call of %s cannot be written: %s"):format(tostring(block.name), problem) }
end

local function read_blocks(blocks, codec, told)
  local texts, thoughts, calls = {}, {}, nil
  for _, block in ipairs(blocks) do
    local kind = block.type
    if kind == "text" and type(block.text) == "string" then
      texts[#texts + 1] = block.text
    elseif kind == "thinking" and type(block.thinking) == "string" then
      thoughts[#thoughts + 1] = block.thinking
    elseif kind == "tool_use" then
      local arguments, verdict = arguments_of(block, codec, told)
      if not arguments then
        return nil, verdict
      end
      calls = calls or {}
      calls[#calls + 1] = { id = some(block.id), type = "function",
        ["function"] = { name = some(block.name), arguments = arguments } }
    end
  end
  return { text = #texts > 0 and table.concat(texts) or nil, calls = calls,
    reasoning = some_text(table.concat(thoughts)) }
end

-- Structured output. JSON of any form is asked for in the prompt alone; then it is wont to come in a fence.
local function parsed_of(text, request, codec)
  if not text or not request then
    return nil
  end
  local own = some_table((some_table(request.output_config) or NOTHING).format)
  local format = own or some_table(request.response_format) or NOTHING
  if format.type == "json_object" then
    text = text:match "^%s*```%w*%s*\n(.-)%s*```%s*$" or text
  elseif format.type ~= "json_schema" then
    return nil
  end
  return (codec.decode(text))
end

--- The fields of a result.
---@param document table  a message, its content a list of blocks
---@param codec surefoot.Codec
---@param request table?
---@param told table<table, string>?  what is known of the arguments of tool_use blocks, as text
---@return table? fields
---@return surefoot.Verdict?
function M.fields(document, codec, request, told)
  local said, verdict = read_blocks(document.content, codec, told)
  if not said then
    verdict.body = document
    return nil, verdict
  end
  local reason = M.finish_reason(document.stop_reason)
  return {
    text = said.text,
    message = {
      role = "assistant", content = said.text or json.null, tool_calls = said.calls,
      native = { provider = "anthropic", items = document.content },
    },
    tool_calls = said.calls, reasoning = said.reasoning, parsed = parsed_of(said.text, request, codec),
    finish_reason = reason, truncated = reason == "length" or nil, usage = M.usage(document.usage),
    model = some_text(document.model), id = some_text(document.id), body = document,
  }
end

return M
