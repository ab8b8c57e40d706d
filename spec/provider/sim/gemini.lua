-- Google's Gemini: generateContent (whole, as event stream, as streamed JSON array), models, embeddings, errors.
-- Source: googleapis/python-genai (converters, errors), FirebaseExtended/vertexai-sdk-test-data (recorded answers),
-- google-gemini/cookbook. Fields may come in camel or in snake case, and unknown ones are refused, as the API does.

local cjson = require "cjson.safe"
local embeddings = require "sim.embeddings"
local long = require "sim.long"
local model = require "sim.model"
local text = require "sim.text"

local M = { name = "gemini", framing = "sse" }

local STATUS = {
  [400] = "INVALID_ARGUMENT", [401] = "UNAUTHENTICATED", [403] = "PERMISSION_DENIED", [404] = "NOT_FOUND",
  [429] = "RESOURCE_EXHAUSTED", [499] = "CANCELLED", [500] = "INTERNAL", [501] = "UNIMPLEMENTED",
  [503] = "UNAVAILABLE", [504] = "DEADLINE_EXCEEDED", [529] = "UNAVAILABLE",
}

local RPC = "type.googleapis.com/google.rpc."

---@param info? { wait: number|nil, details: table[]|nil } `wait` is told as RetryInfo
---@return table body
function M.error(status, message, info)
  local details = info and info.details
  if info and info.wait then
    details = { { ["@type"] = RPC .. "RetryInfo", retryDelay = ("%.9gs"):format(info.wait) } }
  end
  return { error = {
    code = status, message = message, status = STATUS[status] or (status >= 500 and "INTERNAL" or "UNKNOWN"),
    details = details,
  } }
end

---@return integer status, table body
function M.key_error(key)
  if not key then
    return 403, M.error(403, "Method doesn't allow unregistered callers (callers without established identity). "
      .. "Please use API Key or other form of API consumer identity to call this API.")
  end
  local message = "API key not valid. Please pass a valid API key."
  return 400, M.error(400, message, { details = {
    { ["@type"] = RPC .. "ErrorInfo", reason = "API_KEY_INVALID", domain = "googleapis.com",
      metadata = { service = "generativelanguage.googleapis.com" } },
    { ["@type"] = RPC .. "LocalizedMessage", locale = "en-US", message = message },
  } })
end

---@return integer status, table body
function M.model_error(name, verb)
  local message = "models/%s is not found for API version v1beta, or is not supported for %s. Call ListModels to see "
    .. "the list of available models and their supported methods."
  return 404, M.error(404, message:format(name, verb or "generateContent"))
end

local function described(name)
  return {
    name = "models/" .. name, version = "001", displayName = name, description = "Simulated",
    inputTokenLimit = 1048576, outputTokenLimit = 65536, temperature = 1, topP = 0.95, topK = 64,
    supportedGenerationMethods = { "generateContent", "countTokens" },
  }
end

---@param names string[]|nil
---@return table body
function M.models(names)
  local models = {}
  for i, name in ipairs(names or { "sim-large", "sim-small" }) do
    models[i] = described(name)
  end
  return { models = models }
end

M.model = described

local function set(names)
  local known = {}
  for name in names:gmatch "%S+" do
    known[name] = true
  end
  return known
end

local KNOWN = {
  request = set [[model contents tools toolConfig safetySettings systemInstruction generationConfig cachedContent
    serviceTier store]],
  generation_config = set [[stopSequences responseMimeType responseSchema responseJsonSchema responseModalities
    candidateCount maxOutputTokens temperature topP topK seed presencePenalty frequencyPenalty responseLogprobs logprobs
    enableEnhancedCivicAnswers speechConfig audioTranscriptionConfig thinkingConfig imageConfig mediaResolution]],
}

-- An object with its names in camel case; nil and the name of a field that is not known.
local function camel(object, known)
  local out = {}
  for name, value in pairs(text.object(object)) do
    local as = tostring(name):gsub("_(%l)", string.upper)
    if known and not known[as] then
      return nil, name
    end
    out[as] = text.given(value)
  end
  return out
end

-- A repeated field may be given as its only element.
local function list(value)
  value = text.object(value)
  return (#value > 0 or next(value) == nil) and value or { value }
end

local function message_of(content)
  local results, role = {}, content.role == "model" and "assistant" or "user"
  for _, part in ipairs(list(content.parts)) do
    local result = camel(part).functionResponse
    if result then
      local value = text.object(result).response
      results[#results + 1] = type(value) == "string" and value or cjson.encode(value)
    end
  end
  if #results > 0 then
    return { role = "tool", text = table.concat(results, "\n") }
  end
  return { role = role, text = text.content(list(content.parts)) }
end

local function tools_of(request)
  local tools = {}
  for _, tool in ipairs(list(request.tools)) do
    for _, declared in ipairs(list(camel(tool).functionDeclarations)) do
      declared = camel(declared)
      tools[#tools + 1] = { name = declared.name, schema = declared.parametersJsonSchema or declared.parameters }
    end
  end
  return tools
end

local function choice_of(request)
  local config = camel(camel(request.toolConfig).functionCallingConfig)
  if config.mode == "ANY" then
    local allowed = text.object(config.allowedFunctionNames)
    return #allowed == 1 and allowed[1] or "any"
  end
  return config.mode == "NONE" and "none" or "auto"
end

local function ask_of(request, config)
  local ask = { messages = {}, tools = tools_of(request), choice = choice_of(request) }
  for i, content in ipairs(list(request.contents)) do
    ask.messages[i] = message_of(text.object(content))
  end
  local system = text.object(request.systemInstruction)
  table.insert(ask.messages, 1, { role = "system", text = text.content(list(system.parts)) })
  ask.limit = tonumber(config.maxOutputTokens)
  if config.responseMimeType == "application/json" then
    ask.schema = config.responseJsonSchema or config.responseSchema or true
  end
  local thinking = camel(config.thinkingConfig)
  ask.thoughts = thinking.includeThoughts == true
  ask.reasoning = ask.thoughts or (tonumber(thinking.thinkingBudget) or 0) ~= 0 or thinking.thinkingLevel ~= nil
  return ask
end

local function unknown_field(name, place)
  local message = ("Invalid JSON payload received. Unknown name \"%s\"%s: Cannot find field."):format(name,
    place and " at '" .. place .. "'" or "")
  return nil, M.error(400, message, { details = { { ["@type"] = RPC .. "BadRequest", fieldViolations = {
    { field = place, description = message },
  } } } })
end

-- What all forms of an answer are made of; nil and the error's body for a request that the API refuses.
local function compose(body, answer, ctx)
  local request, unknown = camel(body, KNOWN.request)
  if not request then
    return unknown_field(unknown)
  end
  local config, strange = camel(request.generationConfig, KNOWN.generation_config)
  if not config then
    return unknown_field(strange, "generation_config")
  elseif #list(request.contents) == 0 then
    return nil, M.error(400, "* GenerateContentRequest.contents: contents is not specified\n")
  end
  local ask = ask_of(request, config)
  local plan = model.plan(ask, answer, ctx.options.endless)
  return {
    plan = plan, thoughts = ask.thoughts, count = math.max(1, tonumber(config.candidateCount) or 1),
    reason = answer.finish_reason or (plan.cut and "MAX_TOKENS") or "STOP",
    blocked = answer.blocked, model = ctx.model, id = ("%s-%d"):format(ctx.line, ctx.number),
  }
end

-- Counts of what has been made so far, as they stand in every chunk.
local function usage_of(made, output)
  local plan = made.plan
  return {
    promptTokenCount = plan.input,
    candidatesTokenCount = output > 0 and output * made.count or nil,
    thoughtsTokenCount = plan.thought and plan.thinking or nil,
    cachedContentTokenCount = plan.cached > 0 and plan.cached or nil,
    totalTokenCount = plan.input + plan.thinking + output * made.count,
    promptTokensDetails = { { modality = "TEXT", tokenCount = plan.input } },
  }
end

local function body_of(made, candidates, output)
  return { candidates = candidates, usageMetadata = usage_of(made, output), modelVersion = made.model,
    responseId = made.id }
end

local SAFETY = { "HARM_CATEGORY_SEXUALLY_EXPLICIT", "HARM_CATEGORY_HATE_SPEECH", "HARM_CATEGORY_HARASSMENT",
  "HARM_CATEGORY_DANGEROUS_CONTENT" }

local function ratings(high)
  local out = {}
  for i, category in ipairs(SAFETY) do
    out[i] = { category = category, probability = i == high and "HIGH" or "NEGLIGIBLE" }
  end
  return out
end

local function blocked_body(made)
  return {
    promptFeedback = { blockReason = made.blocked, safetyRatings = ratings(2) }, usageMetadata = usage_of(made, 0),
    modelVersion = made.model, responseId = made.id,
  }
end

local function candidate(index, parts, reason)
  return {
    content = { parts = parts, role = "model" }, finishReason = reason, index = index,
    safetyRatings = reason == "SAFETY" and ratings(2) or nil,
  }
end

local function call_parts(made)
  local parts = {}
  for i, call in ipairs(made.plan.calls) do
    parts[i] = { functionCall = { name = call.name, args = model.arguments(call) } }
    if made.plan.thought and i == 1 then
      parts[i].thoughtSignature = ngx.encode_base64("signed:" .. ngx.md5(made.plan.thought))
    end
  end
  return parts
end

local function output_of(made)
  return made.plan.output - made.plan.thinking
end

---@param request table decoded body
---@param answer table the profile's `answer`
---@param ctx { line: string, number: integer, model: string, options: table }
---@return table|nil body, table|nil refusal
function M.content(request, answer, ctx)
  local made, refusal = compose(request, answer, ctx)
  if not made then
    return nil, refusal
  elseif made.blocked then
    return blocked_body(made)
  end
  local parts = call_parts(made)
  if made.plan.said then
    parts[#parts + 1] = { text = tostring(made.plan.said) }
  end
  if made.thoughts then
    table.insert(parts, 1, { text = made.plan.thought, thought = true })
  end
  local candidates = {}
  for i = 1, made.count do
    candidates[i] = candidate(i - 1, parts, made.reason)
  end
  return body_of(made, candidates, output_of(made))
end

-- Finish reasons come with the last content; there is no event for the end.
local function tell(made, answer, options, emit)
  local reason = not options.no_finish and made.reason or nil
  local function chunk(parts, output, last)
    for i = 0, made.count - 1 do
      local body = body_of(made, { candidate(i, parts, last and reason or nil) }, output)
      emit { data = text.encode(body), content = true, finish = last and reason ~= nil }
    end
  end
  if made.thoughts then
    for piece in long.new(made.plan.thought):pieces(answer.chunks) do
      chunk({ { text = piece, thought = true } }, 0)
    end
  end
  if #made.plan.calls > 0 then
    chunk(call_parts(made), output_of(made), true)
    return
  end
  local sent, some = 0, false
  for piece, left in made.plan.said:pieces(answer.chunks, answer.chunk_bytes) do
    sent, some = sent + #piece, true
    chunk({ { text = piece } }, text.tokens(sent), left == 0)
  end
  if not some then
    chunk({ { text = "" } }, 0, true)
  end
end

---@return fun(emit: fun(event: sim.Event))|nil tell, table|nil refusal
function M.content_stream(request, answer, ctx)
  local made, refusal = compose(request, answer, ctx)
  if not made then
    return nil, refusal
  end
  return function(emit)
    if made.blocked then
      return emit { data = text.encode(blocked_body(made)), content = true, finish = true }
    end
    return tell(made, answer, ctx.options, emit)
  end
end

local function vector_of(one)
  one = camel(one)
  local content = text.content(list(text.object(one.content).parts))
  return { values = embeddings.vector(content, tonumber(one.outputDimensionality) or 8) }
end

---@return table body
function M.embed(request)
  return { embedding = vector_of(request) }
end

---@return table|nil body, table|nil refusal
function M.batch_embed(request)
  local requests = list(request.requests)
  if #requests == 0 then
    return nil, M.error(400, "* BatchEmbedContentsRequest.requests: requests is not specified\n")
  end
  local vectors = {}
  for i, one in ipairs(requests) do
    vectors[i] = vector_of(one)
  end
  return { embeddings = vectors }
end

---@return table body
function M.count(request)
  local ask = ask_of(camel(camel(request).generateContentRequest or request), {})
  return { totalTokens = model.plan(ask, {}).input }
end

return M
