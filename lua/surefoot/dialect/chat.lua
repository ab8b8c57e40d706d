--- Callers who speak OpenAI's chat completions, the shape that surefoot itself takes. On lines of this format their
--- bytes go through as they are; answers of others are written here.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"

local M = {}

local null = json.null
local DONE = "data: [DONE]\n\n"

--- Provider formats that speak the same.
M.native = { openai = true }
M.path = "/chat/completions"
M.operation = "chat"
--- What ends a stream that was passed on as it is.
M.farewell = DONE

--- The caller's document as a chat request: it is one.
---@param document table
---@return table? request
---@return string? message
---@return string? param
function M.read(document)
  if type(document.messages) ~= "table" then
    return nil, "messages: expected a list", "messages"
  end
  return document
end

-- Usage in OpenAI's names.
local function usage_of(usage)
  return usage and {
    prompt_tokens = usage.input_tokens, completion_tokens = usage.output_tokens, total_tokens = usage.total_tokens,
    prompt_tokens_details = { cached_tokens = usage.cached_input_tokens or 0 },
    completion_tokens_details = { reasoning_tokens = usage.reasoning_tokens or 0 },
  } or null
end

-- A message without what only surefoot's own client needs to send it back.
local function message_of(result)
  local message = common.copy(result.message or { role = "assistant", content = result.text })
  message.native, message.role = nil, "assistant"
  message.content = message.content == nil and null or message.content
  if result.reasoning and not message.reasoning_content then
    message.reasoning_content = result.reasoning
  end
  return message
end

local function id_of(result, context)
  return result and result.id or "chatcmpl-" .. context.id
end

--- The document of a whole answer.
---@param result surefoot.Result
---@param context surefoot.dialect.Context
---@return table
function M.whole(result, context)
  return {
    id = id_of(result, context), object = "chat.completion", created = context.created,
    model = result.model or context.model,
    choices = json.array { {
      index = 0, message = message_of(result), finish_reason = result.finish_reason or "stop", logprobs = null,
    } },
    usage = usage_of(result.usage),
  }
end

---@class surefoot.dialect.ChatEvents
---@field private context surefoot.dialect.Context
---@field private begun table<integer, true>  choices whose role was told
---@field private has_usage boolean           the caller wants it
local Events = {}
Events.__index = Events

--- Writes an answer in pieces.
---@param context surefoot.dialect.Context
---@return surefoot.dialect.ChatEvents
function M.events(context)
  local options = context.document and common.some_table(context.document.stream_options)
  return setmetatable({
    context = context, begun = {}, has_usage = options ~= nil and options.include_usage == true,
  }, Events)
end

local function framed(self, choices, usage)
  local context = self.context
  local document = {
    id = "chatcmpl-" .. context.id, object = "chat.completion.chunk", created = context.created, model = context.model,
    choices = json.array(choices), usage = self.has_usage and (usage or null) or nil,
  }
  return "data: " .. assert(context.codec.quick(document)) .. "\n\n"
end

--- The events of a chunk.
---@param chunk surefoot.Chunk
---@return string
function Events:chunk(chunk)
  local index = chunk.index or 1
  if not (chunk.text or chunk.reasoning or chunk.tool_calls or chunk.finish_reason) then
    return ""
  end
  local delta = { content = chunk.text, reasoning_content = chunk.reasoning, tool_calls = chunk.tool_calls }
  if not self.begun[index] then
    self.begun[index], delta.role = true, "assistant"
  end
  return framed(self, { {
    index = index - 1, delta = json.object(delta), finish_reason = chunk.finish_reason or null, logprobs = null,
  } })
end

--- The events at the end.
---@param result surefoot.Result
---@return string
function Events:finish(result)
  if self.has_usage then
    return framed(self, {}, usage_of(result.usage)) .. DONE
  end
  return DONE
end

--- An event that says that the answer will not be completed.
---@param fields surefoot.dialect.Failure
---@return string
function Events:failure(fields)
  return "data: " .. assert(self.context.codec.quick(M.error(fields))) .. "\n\n"
end

--- The body of an answer that is an error.
---@param fields surefoot.dialect.Failure
---@return table
function M.error(fields)
  return { error = {
    message = fields.message, type = fields.type, code = fields.code or null, param = fields.param or null,
  } }
end

return M
