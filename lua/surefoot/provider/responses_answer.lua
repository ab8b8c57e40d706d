--- What an answer of the Responses API says: of a whole one, and of a stream folded into one.

local answer = require "surefoot.provider.openai_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local responses_request = require "surefoot.provider.responses_request"
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
  local input, output, total = count(usage.input_tokens), count(usage.output_tokens), count(usage.total_tokens)
  if not (input or output) then
    return answer.usage(usage)
  end
  local read = some_table(usage.input_tokens_details) or NOTHING
  local written = some_table(usage.output_tokens_details) or NOTHING
  input, output = input or 0, output or 0
  return {
    input_tokens = input, output_tokens = output, total_tokens = total or input + output,
    cached_input_tokens = count(read.cached_tokens), reasoning_tokens = count(written.reasoning_tokens),
    estimated = false,
  }
end

-- Codes that say that the request is at fault, as the API's reference lists them (ResponseError.code).
local AT_FAULT = {
  invalid_prompt = "invalid_request", data_residency_mismatch = "invalid_request", bio_policy = "content_filter",
  image_content_policy_violation = "content_filter", invalid_image = "invalid_request",
  invalid_image_format = "invalid_request", invalid_base64_image = "invalid_request",
  invalid_image_url = "invalid_request", image_too_large = "invalid_request", image_too_small = "invalid_request",
  image_parse_error = "invalid_request", invalid_image_mode = "invalid_request",
  image_file_too_large = "invalid_request", unsupported_image_media_type = "invalid_request",
  empty_image_file = "invalid_request", image_file_not_found = "invalid_request",
}

--- A verdict, corrected by the codes that only this API has.
---@param verdict surefoot.Verdict
---@return surefoot.Verdict
function M.corrected(verdict)
  local kind = AT_FAULT[verdict.code or ""]
  if kind and verdict.kind ~= "content_filter" then
    verdict.class, verdict.kind = "final", kind
  end
  return verdict
end

--- The verdict on a response that failed.
---@param document table
---@return surefoot.Verdict
function M.failure(document)
  local err = some(document.error)
  local said = "the response " .. (some_text(document.status) or "failed")
  local verdict = err and M.corrected(common.judge_event({ error = err }, said))
    or { class = "transient", kind = "server", message = said }
  verdict.body = document
  return verdict
end

local function join(list, type_name)
  local texts = {}
  for _, part in ipairs(some_table(list) or NOTHING) do
    if type(part) == "table" and part.type == type_name and some_text(part.text) then
      texts[#texts + 1] = part.text
    end
  end
  return texts
end

-- ------------------------------------------------------------------------------------------------------------- types

local function fault_of_part(part, path)
  return part.type == "output_text" and shape.text(part.text, path .. ".text")
    or part.type == "refusal" and shape.text(part.refusal, path .. ".refusal") or nil
end

local checks = {} -- type of an item -> function(item, path): what has the wrong type

function checks.message(item, path)
  return shape.list(item.content, path .. ".content", fault_of_part)
end

function checks.function_call(item, path)
  return shape.text(item.name, path .. ".name") or shape.text_or_object(item.arguments, path .. ".arguments")
end

function checks.custom_tool_call(item, path)
  return shape.text(item.name, path .. ".name") or shape.text(item.input, path .. ".input")
end

--- What has another type in an item than it must have; nil where all is well.
---@param item table
---@param path string
---@return string?
function M.fault_of(item, path)
  local check = checks[item.type]
  return check and check(item, path)
end

--- The verdict on what has the wrong type.
---@param what string
---@param fault string
---@return surefoot.Verdict
function M.malformed(what, fault)
  return { class = "transient", kind = "malformed", message = what .. fault }
end

--- The arguments of a call, as a text.
---@param arguments any
---@param codec surefoot.Codec
---@return string?
function M.words_of(arguments, codec)
  if type(arguments) == "table" then
    arguments = shape.written(arguments, codec)
  end
  return some_text(arguments)
end

-- ------------------------------------------------------------------------------------------------------------ fields

local readers = {} -- type of an item -> function(said, item, codec)

function readers.message(said, item)
  for _, part in ipairs(some_table(item.content) or NOTHING) do
    if type(part) == "table" and part.type == "output_text" and type(part.text) == "string" then
      said.texts[#said.texts + 1] = part.text
    elseif type(part) == "table" and part.type == "refusal" and type(part.refusal) == "string" then
      said.refusal = (said.refusal or "") .. part.refusal
    end
  end
end

function readers.reasoning(said, item)
  local thoughts = join(item.summary, "summary_text")
  if #thoughts == 0 then
    thoughts = join(item.content, "reasoning_text")
  end
  for _, thought in ipairs(thoughts) do
    said.thoughts[#said.thoughts + 1] = thought
  end
end

function readers.function_call(said, item, codec)
  said.calls[#said.calls + 1] = { id = some(item.call_id) or some(item.id), type = "function",
    ["function"] = { name = some(item.name), arguments = M.words_of(item.arguments, codec) or "" } }
end

function readers.custom_tool_call(said, item)
  said.calls[#said.calls + 1] = { id = some(item.call_id) or some(item.id), type = "custom",
    custom = { name = some(item.name), input = some_text(item.input) or "" } }
end

local INCOMPLETE = { max_output_tokens = "length", max_tokens = "length", content_filter = "content_filter" }

local function finish_reason_of(document, calls)
  if document.status == "completed" then
    return #calls > 0 and "tool_calls" or "stop"
  elseif document.status == "incomplete" then
    local reason = some_text((some_table(document.incomplete_details) or NOTHING).reason)
    return INCOMPLETE[reason or ""] or reason or "length"
  end
end

-- What the caller asked for in the API's own shape counts as well.
local function asked_of(request)
  local text = request and request.response_format == nil and some_table(request.text)
  return text and { response_format = text.format } or request
end

--- The fields of a result.
---@param document table finished
---@param codec surefoot.Codec
---@param request table?
---@return table fields
function M.fields(document, codec, request)
  local said = { texts = {}, thoughts = {}, calls = {}, refusal = nil }
  local items = some_table(document.output) or NOTHING
  for _, item in ipairs(items) do
    local reader = type(item) == "table" and readers[item.type]
    if reader then
      reader(said, item, codec)
    end
  end
  local text = #said.texts > 0 and table.concat(said.texts) or nil
  local calls = #said.calls > 0 and said.calls or nil
  local reason = finish_reason_of(document, said.calls)
  return {
    text = text, tool_calls = calls, finish_reason = reason, truncated = reason == "length" or nil,
    message = #items > 0 and { role = "assistant", content = text or json.null, refusal = said.refusal,
      tool_calls = calls, native = { provider = responses_request.NATIVE, items = items } } or nil,
    parsed = common.parsed_of(text, asked_of(request), codec),
    reasoning = #said.thoughts > 0 and table.concat(said.thoughts, "\n\n") or nil, usage = M.usage(document.usage),
    model = some_text(document.model), id = some_text(document.id), body = document,
  }
end

return M
