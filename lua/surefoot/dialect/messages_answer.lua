--- Results as documents of Anthropic's Messages API: messages, and errors. Pure.

local common = require "surefoot.provider.common"
local ids = require "surefoot.dialect.messages_ids"
local json = require "surefoot.json"

local M = {}

local null, NOTHING = json.null, common.NOTHING
local some_table, some_text, count = common.some_table, common.some_text, common.count

-- ----------------------------------------------------------------------------------------------------------- the end

local REASONS = { stop = "end_turn", length = "max_tokens", tool_calls = "tool_use", function_call = "tool_use",
  content_filter = "refusal", pause_turn = "pause_turn" }

-- What the provider says for itself: a message of this very API, or which stop sequence it has met (vLLM).
local function own_reason(result, context)
  local body = some_table(result.body) or NOTHING
  if body.type == "message" and some_text(body.stop_reason) then
    return body.stop_reason, some_text(body.stop_sequence)
  end
  local choice = some_table((some_table(body.choices) or NOTHING)[1]) or NOTHING
  local met = result.finish_reason == "stop" and some_text(choice.stop_reason)
  for _, text in ipairs(met and some_table((context.document or NOTHING).stop_sequences) or NOTHING) do
    if text == met then
      return "stop_sequence", met
    end
  end
end

--- Why the model stopped.
---@param result surefoot.Result
---@param context surefoot.dialect.Context
---@return string reason
---@return string? sequence
function M.stop_of(result, context)
  local reason, sequence = own_reason(result, context)
  if reason then
    return reason, sequence
  elseif some_text((result.message or NOTHING).refusal) then
    return "refusal"
  end
  reason = REASONS[result.finish_reason] or "end_turn"
  if reason == "end_turn" and result.tool_calls and #result.tool_calls > 0 then
    return "tool_use" -- there are servers that say stop; callers would not run the tools
  end
  return reason
end

--- Token counts in the API's names, where the input is what came from no cache.
---@param usage surefoot.Usage?
---@param told table?  the provider's own, where it is of this API
---@return table
function M.usage_of(usage, told)
  usage = usage or NOTHING
  local read = usage.cached_input_tokens or 0
  local written = count((told or NOTHING).cache_creation_input_tokens) or 0
  local input = (usage.input_tokens or 0) - read - written
  return {
    input_tokens = input > 0 and input or 0, output_tokens = usage.output_tokens or 0,
    cache_read_input_tokens = read, cache_creation_input_tokens = written,
    output_tokens_details = usage.reasoning_tokens and { thinking_tokens = usage.reasoning_tokens } or nil,
  }
end

--- The same of a result.
---@param result surefoot.Result
---@return table
function M.usage_of_result(result)
  local body = some_table(result.body) or NOTHING
  return M.usage_of(result.usage, body.type == "message" and some_table(body.usage) or nil)
end

-- -------------------------------------------------------------------------------------------------------- the content

--- Whether the caller is to see thoughts: only who asks for them expects blocks before the text.
---@param context surefoot.dialect.Context
---@return boolean
function M.shows_thinking(context)
  local thinking = some_table((context.document or NOTHING).thinking) or NOTHING
  return (thinking.type == "enabled" or thinking.type == "adaptive") and thinking.display ~= "omitted"
end

--- What stands for arguments that are no JSON object, as the API's documentation has it.
---@param text string
---@return table
function M.unreadable(text)
  return { INVALID_JSON = text }
end

--- The input of a call.
---@param arguments any  a JSON object in a string, or a table
---@param codec surefoot.Codec
---@return table
function M.input_of(arguments, codec)
  if type(arguments) == "table" then
    return #arguments > 0 and M.unreadable(codec.encode(arguments) or "") or arguments
  elseif type(arguments) ~= "string" or not arguments:find "%S" or arguments:find "^%s*null%s*$" then
    return json.object {}
  end
  local input = arguments:find "^%s*{" and codec.decode(arguments)
  return type(input) == "table" and input or M.unreadable(arguments)
end

-- The blocks of an answer that came from this very API.
local function native_blocks(result)
  local native = some_table((result.message or NOTHING).native) or NOTHING
  return native.provider == "anthropic" and some_table(native.items) or nil
end

--- What an answer says in plain text: itself, or why it says nothing.
---@param result surefoot.Result
---@return string?
function M.text_of(result)
  return some_text(result.text) or some_text((result.message or NOTHING).refusal)
end

local function blocks_of(result, context)
  local blocks, text = {}, M.text_of(result)
  if some_text(result.reasoning) and M.shows_thinking(context) then
    blocks[1] = { type = "thinking", thinking = result.reasoning, signature = "" }
  end
  if text then
    blocks[#blocks + 1] = { type = "text", text = text, citations = null }
  end
  for i, call in ipairs(result.tool_calls or NOTHING) do
    local body = some_table(call["function"]) or NOTHING
    blocks[#blocks + 1] = { type = "tool_use", id = ids.shown(call.id, context, i),
      name = some_text(body.name) or "", input = M.input_of(body.arguments, context.codec) }
  end
  return blocks
end

--- The document of a message.
---@param id string
---@param model string
---@param content table[]
---@param usage table
---@return table
function M.message(id, model, content, usage)
  return { id = id, type = "message", role = "assistant", model = model, content = json.array(content),
    stop_reason = null, stop_sequence = null, stop_details = null, container = null, usage = usage }
end

--- The document of a whole answer.
---@param result surefoot.Result
---@param context surefoot.dialect.Context
---@return table
function M.whole(result, context)
  local own = native_blocks(result)
  local document = M.message(own and some_text(result.id) or "msg_" .. context.id, some_text(result.model)
    or context.model, own and common.copy(own) or blocks_of(result, context), M.usage_of_result(result))
  local reason, sequence = M.stop_of(result, context)
  document.stop_reason, document.stop_sequence = reason, sequence or null
  return document
end

-- ------------------------------------------------------------------------------------------------------------- errors

local TYPES = { [401] = "authentication_error", [402] = "billing_error", [403] = "permission_error",
  [404] = "not_found_error", [408] = "timeout_error", [413] = "request_too_large", [429] = "rate_limit_error",
  [503] = "overloaded_error", [504] = "timeout_error", [529] = "overloaded_error" }

-- By this the SDK's tool runner knows that it has to send the whole conversation every time.
local NO_THREADS = { error_code = "thread_unsupported_request", unsupported = { "thread" } }

--- The body of an answer that is an error, and the data of an event that is one.
---@param fields surefoot.dialect.Failure
---@return table
function M.error(fields)
  local status = fields.status or 500
  local kind = TYPES[status] or (status >= 500 or status < 400) and "api_error" or "invalid_request_error"
  if fields.type == "insufficient_quota" then
    kind = "billing_error"
  end
  local details = fields.details or fields.param == "thread" and NO_THREADS or nil
  return { type = "error", error = { type = kind, message = fields.message, details = details },
    request_id = fields.request_id or null }
end

return M
