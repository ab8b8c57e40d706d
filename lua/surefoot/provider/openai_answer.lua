--- What a chat completion in OpenAI's shape says: of a whole answer, and of a stream folded into one.

local common = require "surefoot.provider.common"
local shape = require "surefoot.provider.shape"

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

-- ------------------------------------------------------------------------------------------------------------- types

local function fault_of_part(part, path)
  return part.type == "text" and shape.text(part.text, path .. ".text") or nil
end

local BODIES = { ["function"] = "arguments", custom = "input" } -- of a call: where its words are

local function fault_of_call(call, path)
  for name, slot in next, BODIES do
    local body, place = call[name], path .. "." .. name
    local fault = shape.object(body, place)
    if not fault and type(body) == "table" then
      fault = shape.text(body.name, place .. ".name") or shape.text_or_object(body[slot], place .. "." .. slot)
    end
    if fault then
      return fault
    end
  end
end

--- What has another type in a message, or in a delta, than it must have; nil where all is well.
---@param message table
---@param path string
---@param codec surefoot.Codec
---@return string?
function M.fault_of(message, path, codec)
  local content, calls, fault = message.content, message.tool_calls, nil
  if type(content) == "table" then
    fault = shape.list(content, path .. ".content", fault_of_part)
      or shape.no_empty_object(content, path .. ".content", codec)
  elseif type(content) ~= "string" then
    fault = shape.text(content, path .. ".content")
  end
  return fault or calls ~= nil and shape.list(calls, path .. ".tool_calls", fault_of_call) or nil
end

-- The place of the first call whose arguments are an object (or the list of a server's written in Lua).
local function object_in(calls)
  for i = 1, type(calls) == "table" and #calls or 0 do
    local body = calls[i]["function"]
    if type(body) == "table" and type(body.arguments) == "table" then
      return i
    end
  end
end

--- A message whose calls have their arguments as a text, as OpenAI's have: itself, or a copy.
---@param message table  without faults
---@param codec surefoot.Codec
---@return table
function M.with_texts(message, codec)
  if not object_in(message.tool_calls) then
    return message
  end
  message = common.copy(message)
  message.tool_calls = common.copy(message.tool_calls)
  for i, call in ipairs(message.tool_calls) do
    local body = call["function"]
    local text = type(body) == "table" and type(body.arguments) == "table" and shape.written(body.arguments, codec)
    if text then
      call, body = common.copy(call), common.copy(body)
      message.tool_calls[i], call["function"], body.arguments = call, body, text
    end
  end
  return message
end

-- ------------------------------------------------------------------------------------------------------------ fields

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
    usage = M.usage(document.usage), model = some_text(document.model), id = some(document.id),
    body = body, _body = not body and document or nil,
    status = nil, raw = nil, _headers = nil, _receipt = nil, endpoint = nil, request_id = nil, latency = nil,
    time_to_first_token = nil,
  }
end

return M
