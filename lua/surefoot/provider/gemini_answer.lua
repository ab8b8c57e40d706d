--- What a GenerateContentResponse says: of a whole answer, and of a stream folded into one. Pure.
--
-- finish_reason is OpenAI's word where it has one: stop, tool_calls, length, content_filter. Others stay Gemini's own,
-- in lower case ("language", "other"). Where one of those means that the model failed (FAILED, UNTRUSTED) and nothing
-- usable has come, the answer is refused as malformed and asked for again: the line is well. Calls of an answer that
-- ended as UNTRUSTED are not shown.
--
-- Calls that the server has run itself (an answer may hold a functionResponse after its functionCall) are not the
-- caller's. Calls without an id get one of the answer's id and their place in it, the same each time it is read: unique
-- in a conversation, since there are providers that demand it.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local shape = require "surefoot.provider.shape"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text, count = common.some, common.some_table, common.some_text, common.count

local REASONS = { STOP = "stop", MAX_TOKENS = "length" }
for reason in ([[SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR IMAGE_SAFETY
    IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION]]):gmatch "%S+" do
  REASONS[reason] = "content_filter"
end

local UNTRUSTED = { MALFORMED_FUNCTION_CALL = true, UNEXPECTED_TOOL_CALL = true, MALFORMED_RESPONSE = true }
local FAILED = { OTHER = true, NO_IMAGE = true, IMAGE_OTHER = true }

--- Token counts in surefoot's names, or nil when the answer holds none. What the server's own tools say is input.
---@param usage any usageMetadata
---@return surefoot.Usage?
function M.usage(usage)
  if type(usage) ~= "table" then
    return nil
  end
  local prompt, fed, total = count(usage.promptTokenCount), count(usage.toolUsePromptTokenCount),
    count(usage.totalTokenCount)
  local said, thought = count(usage.candidatesTokenCount), count(usage.thoughtsTokenCount)
  if not (prompt or said or thought or total) then
    return nil
  end
  local input = prompt and prompt + (fed or 0)
  local output = (said or thought) and (said or 0) + (thought or 0)
  input = input or total and math.max(0, total - (output or 0)) or 0
  output = output or total and math.max(0, total - input) or 0
  return {
    input_tokens = input, output_tokens = output, total_tokens = total or input + output,
    cached_input_tokens = count(usage.cachedContentTokenCount), reasoning_tokens = thought, estimated = false,
  }
end

-- ------------------------------------------------------------------------------------------------------------- calls

---@class surefoot.GeminiCalls  all calls of an answer, in order
---@field [integer] { id: string, name: string, arguments: string, native: string?, answered: boolean }
---@field open integer  not answered by the server itself

---@return surefoot.GeminiCalls
function M.calls()
  return { open = 0 }
end

local LONGEST = 30 -- of an answer's id; other providers take ids of 40 bytes at most

local function id_of(source, place)
  if type(source) == "string" and #source <= LONGEST and source:find "^[%w_-]+$" then
    return ("call_%s_%d"):format(source, place)
  end
  return ("call_%d"):format(place)
end

local function add_call(calls, call, source, codec)
  local args = some(call.args)
  local arguments, problem = "{}", nil
  if args ~= nil then
    arguments, problem = codec.encode(args)
  end
  if not arguments then
    return nil, { class = "final", kind = "malformed",
      message = ("the arguments of the call of %s cannot be written: %s"):format(call.name, problem) }
  end
  local added = { id = some_text(call.id) or id_of(source, #calls + 1), name = call.name, arguments = arguments,
    native = some_text(call.id), answered = false }
  calls[#calls + 1], calls.open = added, calls.open + 1
  return added
end

local function answer_call(calls, response)
  local id, name = some_text(response.id), response.name
  for _, call in ipairs(calls) do
    if not call.answered and (id and call.native == id or not (id and call.native) and call.name == name) then
      call.answered, calls.open = true, calls.open - 1
      return
    end
  end
end

--- Takes note of a part that is a call, or the server's own answer to one.
---@param calls surefoot.GeminiCalls
---@param part table
---@param source string?  the answer's id
---@param codec surefoot.Codec
---@return table? call
---@return surefoot.Verdict?
function M.take_call(calls, part, source, codec)
  local call, response = some_table(part.functionCall), some_table(part.functionResponse)
  if call and some_text(call.name) then
    return add_call(calls, call, source, codec)
  elseif response then
    answer_call(calls, response)
  end
end

--- A call in OpenAI's shape.
---@param call table
---@param index integer?  of a fragment
---@return table
function M.shown(call, index)
  return { id = call.id, type = "function", index = index,
    ["function"] = { name = call.name, arguments = call.arguments } }
end

local function list_of(calls)
  local list = {}
  for _, call in ipairs(calls) do
    if not call.answered then
      list[#list + 1] = M.shown(call)
    end
  end
  return #list > 0 and list or nil
end

-- ----------------------------------------------------------------------------------------------------------- endings

--- The finish reason in OpenAI's words.
---@param reason string?
---@param calls surefoot.GeminiCalls
---@return string?
function M.finish_reason(reason, calls)
  if reason == "STOP" and calls.open > 0 then
    return "tool_calls"
  end
  return reason and (REASONS[reason] or reason:lower())
end

--- The reason that a candidate ended, or nil while it has not.
---@param candidate table
---@return string?
function M.reason_of(candidate)
  local reason = some_text(candidate.finishReason)
  return reason ~= "FINISH_REASON_UNSPECIFIED" and reason or nil
end

--- The verdict on an answer that ended in a failure of the model's, or nil.
---@param reason string?
---@param said boolean    something usable has come, beside calls
---@param calls surefoot.GeminiCalls
---@param candidate table
---@return surefoot.Verdict?
function M.failure_of(reason, said, calls, candidate)
  if said or not (UNTRUSTED[reason] or FAILED[reason] and #calls == 0) then
    return nil
  end
  return { class = "again", kind = "malformed", code = reason,
    message = some_text(candidate.finishMessage) or "the model gave no answer: " .. reason }
end

--- The verdict on an answer without candidates whose prompt was blocked, or nil.
---@param document table
---@return surefoot.Verdict?
function M.blocked(document)
  local feedback = some_table(document.promptFeedback) or NOTHING
  local reason, told = some_text(feedback.blockReason), some_text(feedback.blockReasonMessage)
  if not reason and not told then
    return nil
  end
  return { class = "final", kind = "content_filter", code = reason, body = document,
    message = ("the prompt was blocked (%s)%s"):format(reason or "no reason given", told and ": " .. told or "") }
end

-- ------------------------------------------------------------------------------------------------------------ fields

--- Whether a part is usable by itself, whatever comes of the calls.
---@param part table
---@return boolean
function M.says(part)
  if part.thought == true or part.functionCall ~= nil or part.functionResponse ~= nil then
    return false
  elseif part.text ~= nil then
    return part.text ~= ""
  end
  for key in next, part do
    if key ~= "thoughtSignature" then
      return true
    end
  end
  return false
end

local function read_parts(list, source, codec)
  local read = { texts = {}, thoughts = {}, items = json.array {}, calls = M.calls(), said = false }
  for _, part in ipairs(list) do
    if type(part) == "table" and next(part) ~= nil then -- an empty part says nothing, and is refused when it is sent
      read.items[#read.items + 1] = part
      local _, verdict = M.take_call(read.calls, part, source, codec)
      if verdict then
        return nil, verdict
      elseif type(part.text) == "string" then
        local into = part.thought == true and read.thoughts or read.texts
        into[#into + 1] = part.text
      end
      read.said = read.said or M.says(part)
    end
  end
  return read
end

local function fault_of_part(part, path)
  local call = part.functionCall
  local fault = shape.text(part.text, path .. ".text") or shape.object(call, path .. ".functionCall")
  if not fault and type(call) == "table" then
    fault = shape.text(call.name, path .. ".functionCall.name") or shape.object(call.args, path .. ".functionCall.args")
  end
  return fault
end

--- What has another type in a candidate than it must have; nil where all is well.
---@param candidate table
---@param path string
---@return string?
function M.fault_of(candidate, path)
  local content = candidate.content
  return shape.object(content, path .. ".content") or type(content) == "table"
    and shape.list(content.parts, path .. ".content.parts", fault_of_part) or nil
end

--- The parts of a candidate.
---@param candidate table
---@return table[]?
function M.parts_of(candidate)
  local content = some_table(candidate.content)
  return content and some_table(content.parts)
end

local function parsed_of(text, request, codec)
  local config = request and some_table(request.generationConfig)
  if text and config and config.responseMimeType == "application/json" then
    return (codec.decode(text))
  end
  return common.parsed_of(text, request, codec)
end

--- The fields of a result, or nil and the verdict on a candidate that is no answer.
---@param document table
---@param candidate table  its parts finished
---@param codec surefoot.Codec
---@param request table?
---@param source string?   what the ids of calls are made of
---@param is_partial boolean?  it need not have ended, nor well
---@return table? fields
---@return surefoot.Verdict?
function M.fields(document, candidate, codec, request, source, is_partial)
  local read, verdict = read_parts(M.parts_of(candidate) or NOTHING, source, codec)
  if not read then
    return nil, verdict
  end
  local reason, calls = M.reason_of(candidate), read.calls
  verdict = M.failure_of(reason, read.said, calls, candidate)
  if verdict and not is_partial then
    verdict.body = document
    return nil, verdict
  end
  local shown = not UNTRUSTED[reason] and list_of(calls) or nil
  local text = (#read.texts > 0 or not shown) and table.concat(read.texts) or nil
  local finish = M.finish_reason(reason, calls)
  return { -- the empty fields are filled by others: named here, the table has their places
    text = text, tool_calls = shown, parsed = parsed_of(text, request, codec), finish_reason = finish,
    message = { role = "assistant", content = text, tool_calls = shown,
      native = { provider = "gemini", items = read.items } },
    truncated = finish == "length" or nil, reasoning = #read.thoughts > 0 and table.concat(read.thoughts) or nil,
    usage = M.usage(document.usageMetadata), model = some(document.modelVersion), id = some(document.responseId),
    body = nil, _body = nil, status = nil, raw = nil, _headers = nil, _receipt = nil, endpoint = nil, request_id = nil,
    latency = nil, time_to_first_token = nil,
  }
end

return M
