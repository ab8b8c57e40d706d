--- A result as a document of the Responses API, and the items that it is made of. Pure.
--
-- Items that came from a line of this API stand in the document as they came. Those of other lines are written here, in
-- the order in which chat tells of them: reasoning, the message, calls, and last what the line wants back.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local keepsake = require "surefoot.dialect.responses_keepsake"
local responses_request = require "surefoot.provider.responses_request"

local M = {}

local null, NOTHING = json.null, common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text

local LONGEST = 48 -- of a request's id within those of items, which OpenAI takes up to 64 bytes long

--- A function that makes ids of what an answer consists of.
---@param context surefoot.dialect.Context
---@return fun(prefix: string, place: integer?): string
function M.ids(context)
  local id = tostring(context.id):gsub("[^%w_-]", ""):sub(1, LONGEST)
  return function(prefix, place)
    return place and ("%s_%s_%d"):format(prefix, id, place) or prefix .. "_" .. id
  end
end

-- -------------------------------------------------------------------------------------------------------------- items

--- A reasoning item: of thoughts that were shown, or to hold a keepsake.
---@param id string
---@param thoughts string?
---@param kept string?
---@return table
function M.reasoning_item(id, thoughts, kept)
  return { type = "reasoning", id = id, encrypted_content = kept or keepsake.MARK,
    summary = json.array { thoughts and { type = "summary_text", text = thoughts } or nil } }
end

--- A message.
---@param id string
---@param status string
---@param parts table[]
---@return table
function M.message_item(id, status, parts)
  return { type = "message", id = id, status = status, role = "assistant", content = json.array(parts) }
end

--- A part of a message.
---@param text string
---@param annotations table[]?
---@param logprobs table[]?
---@return table
function M.text_part(text, annotations, logprobs)
  return { type = "output_text", text = text, annotations = annotations or json.array {},
    logprobs = logprobs or json.array {} }
end

--- What ids of calls begin with, as OpenAI demands it.
---@type table<string, string>
M.PREFIXES = { ["function"] = "fc", custom = "ctc" }

--- A call. Functions without arguments have none said of them by some providers: `{}` is what readers take.
---@param id string
---@param status string
---@param call table  in chat's shape
---@return table
function M.call_item(id, status, call)
  local custom = some_table(call.custom)
  if custom then
    return { type = "custom_tool_call", id = id, status = status, call_id = call.id, name = custom.name,
      input = custom.input or "" }
  end
  local body = some_table(call["function"]) or NOTHING
  local arguments = some_text(body.arguments) or ""
  if status == "completed" and not arguments:find "%S" then
    arguments = "{}"
  end
  return { type = "function_call", id = id, status = status, call_id = call.id, name = body.name,
    arguments = arguments }
end

--- Where the text of an answer comes from, in this API's words; nil: nothing is said of that.
---@param result surefoot.Result
---@return table[]?
function M.annotations_of(result)
  local list = json.array {}
  for _, annotation in ipairs(some_table((some_table(result.message) or NOTHING).annotations) or NOTHING) do
    local cited = type(annotation) == "table" and some_table(annotation.url_citation)
    if cited then
      list[#list + 1] = { type = "url_citation", url = cited.url, title = cited.title,
        start_index = cited.start_index, end_index = cited.end_index }
    end
  end
  return #list > 0 and list or nil
end

--- The probabilities in a chat completion, or in an event of one.
---@param document any
---@return table[]?
function M.logprobs_of(document)
  local choices = type(document) == "table" and some_table(document.choices)
  local logprobs = choices and type(choices[1]) == "table" and some_table(choices[1].logprobs)
  local list = logprobs and some_table(logprobs.content)
  return list and #list > 0 and list or nil
end

--- Whether a request asks for probabilities.
---@param context surefoot.dialect.Context
---@return boolean
function M.wants_logprobs(context)
  local document = context.document or NOTHING
  for _, name in ipairs(some_table(document.include) or NOTHING) do
    if name == "message.output_text.logprobs" then
      return true
    end
  end
  return type(document.top_logprobs) == "number" and document.top_logprobs > 0
end

-- ------------------------------------------------------------------------------------------------------------ endings

local INCOMPLETE = { length = "max_output_tokens", content_filter = "content_filter" }
local COMPLETE = { stop = true, tool_calls = true, function_call = true }

--- How an answer ended: its status, and why it is not complete.
---@param result surefoot.Result
---@return string status
---@return string? reason  other providers' own words pass
function M.ending(result)
  local reason = some_text(result.finish_reason)
  if not reason or COMPLETE[reason] then
    return "completed"
  end
  return "incomplete", INCOMPLETE[reason] or reason
end

local function usage_of(usage)
  return usage and {
    input_tokens = usage.input_tokens, input_tokens_details = { cached_tokens = usage.cached_input_tokens or 0 },
    output_tokens = usage.output_tokens, output_tokens_details = { reasoning_tokens = usage.reasoning_tokens or 0 },
    total_tokens = usage.total_tokens,
  } or null
end

-- ----------------------------------------------------------------------------------------------------------- document

-- What a response tells of its request where that says nothing.
local ECHOED = {
  instructions = null, metadata = json.object {}, temperature = null, top_p = null, max_output_tokens = null,
  max_tool_calls = null, top_logprobs = 0, parallel_tool_calls = true, tool_choice = "auto", tools = json.array {},
  truncation = "disabled", reasoning = { effort = null, summary = null }, text = { format = { type = "text" } },
  prompt_cache_key = null, safety_identifier = null, user = null,
}

--- A document with nothing said yet.
---@param context surefoot.dialect.Context
---@param id string
---@return table
function M.begun(context, id)
  local asked = context.document or NOTHING
  local document = {
    id = id, object = "response", created_at = context.created, status = "in_progress", model = context.model,
    output = json.array {}, usage = null, error = null, incomplete_details = null, background = false, store = false,
    previous_response_id = null,
  }
  for name, default in pairs(ECHOED) do
    local value = some(asked[name])
    document[name] = value == nil and default or value
  end
  return document
end

--- Ends a document.
---@param document table    becomes the whole
---@param result surefoot.Result
---@param output table[]
---@return table
function M.ended(document, result, output)
  local status, reason = M.ending(result)
  document.status, document.output, document.usage = status, json.array(output), usage_of(result.usage)
  document.incomplete_details = reason and { reason = reason } or null
  document.model = result.model or document.model
  return document
end

local function message_parts(result, context)
  local parts, refusal = {}, some_text((some_table(result.message) or NOTHING).refusal)
  if result.text and (result.text ~= "" or not refusal and not result.tool_calls) then
    local logprobs = M.wants_logprobs(context) and M.logprobs_of(result.body) or nil
    parts[1] = M.text_part(result.text, M.annotations_of(result), logprobs)
  end
  parts[#parts + 1] = refusal and { type = "refusal", refusal = refusal } or nil
  return parts
end

-- A call with an id: the provider's, or one of ours.
local function known(call, id)
  if some_text(call.id) then
    return call
  end
  local copy = common.copy(call)
  copy.id = id
  return copy
end

local function written_output(result, context, id_of)
  local output, ids, parts = {}, {}, message_parts(result, context)
  local status = M.ending(result)
  if some_text(result.reasoning) then
    output[1] = M.reasoning_item(id_of("rs", 0), result.reasoning)
  end
  if #parts > 0 then
    output[#output + 1] = M.message_item(id_of("msg", #output), "completed", parts)
  end
  for i, call in ipairs(result.tool_calls or NOTHING) do
    call = known(call, id_of("call", i - 1))
    ids[i] = call.id
    local is_last = result.tool_calls[i + 1] == nil
    local prefix = M.PREFIXES[call.custom and "custom" or "function"]
    output[#output + 1] = M.call_item(id_of(prefix, #output), is_last and status or "completed", call)
  end
  local last = output[#output]
  if last and last.type == "message" then
    last.status = status
  end
  local kept = keepsake.of(result, ids, context.codec)
  if kept then
    output[#output + 1] = M.reasoning_item(id_of("rs", #output), nil, kept)
  end
  return output
end

--- The document of a whole answer.
---@param result surefoot.Result
---@param context surefoot.dialect.Context
---@return table
function M.whole(result, context)
  local id_of, native = M.ids(context), some_table((some_table(result.message) or NOTHING).native)
  local output = {}
  for i, item in ipairs(native and native.provider == responses_request.NATIVE and some_table(native.items)
    or NOTHING) do
    output[i] = item
  end
  if #output == 0 then
    output = written_output(result, context, id_of)
  end
  return M.ended(M.begun(context, id_of "resp"), result, output)
end

return M
