--- Requests in OpenAI's chat shape, written as Gemini's generateContent wants them. Pure; nothing given is written to.
--
-- Translated: messages, tools, tool_choice, response_format and what tunes the generation. Left out: fields of OpenAI's
-- without a counterpart (IGNORED), which Gemini refuses. All else goes through untouched, so Gemini's own fields
-- (safetySettings, cachedContent, generationConfig, toolConfig, tools like { googleSearch = {} }) stand beside those of
-- OpenAI's, and count where both say the same. A request that has `contents` is in Gemini's shape already.
--
-- A message of Gemini's goes back part by part as it came (message.native): thought signatures are checked by the place
-- they stand in. Calls that another provider's model made carry the signature that Gemini documents for them.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local parts = require "surefoot.provider.gemini_parts"
local refusal = require "surefoot.provider.refusal"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text
local refuse = refusal.refuse

-- For calls that no Gemini model has signed (ai.google.dev/gemini-api/docs/thought-signatures).
local UNSIGNED = "skip_thought_signature_validator"

-- --------------------------------------------------------------------------------------------------------- messages

-- A call becomes known: how its result is to be told.
local function know(state, id, name, native_id)
  state.place = state.place + 1
  if id then
    state.calls[id] = { name = name, id = native_id, place = state.place }
  end
end

-- The parts of a message as Gemini wrote it, or nil.
local function native_parts(message)
  local native = some_table(message.native)
  local items = native and native.provider == "gemini" and some_table(native.items)
  return items and #items > 0 and items or nil
end

-- The id by which the caller knows the nth call of a function. (Calls that the server ran itself the caller never saw.)
local function shown_id(message, name, nth)
  for _, call in ipairs(some_table(message.tool_calls) or NOTHING) do
    local body = type(call) == "table" and some_table(call["function"])
    if body and body.name == name then
      nth = nth - 1
      if nth == 0 then
        return some_text(call.id)
      end
    end
  end
end

-- Results of these calls go by the names and ids that Gemini gave them.
local function know_native(state, message, items)
  local seen = {}
  for _, item in ipairs(items) do
    local call = type(item) == "table" and some_table(item.functionCall)
    local name, id = call and some_text(call.name), call and some_text(call.id)
    if name then
      seen[name] = (seen[name] or 0) + 1
      know(state, shown_id(message, name, seen[name]) or id, name, id)
    end
  end
end

local function call_part(state, call, path)
  local body = type(call) == "table" and some_table(call["function"])
  if not body then
    refuse(path, "only calls of functions can be told to Gemini")
  end
  local name = some_text(body.name) or refuse(path .. ".function.name", "missing")
  local args = parts.object(body.arguments, path .. ".function.arguments", state.codec)
  know(state, some_text(call.id), name, nil)
  return { functionCall = { name = name, args = args } }
end

local function model_turn(state, message, path)
  local items = native_parts(message)
  if items then
    know_native(state, message, items)
    return items
  end
  local list = parts.of_content(message.content, path .. ".content")
  local calls, first = some_table(message.tool_calls) or NOTHING, #list + 1
  for i = 1, #calls do
    list[#list + 1] = call_part(state, calls[i], ("%s.tool_calls[%d]"):format(path, i))
  end
  if list[first] then
    list[first].thoughtSignature = UNSIGNED
  end
  return list
end

local function response_part(state, message, path)
  local id = some_text(message.tool_call_id)
  local call = id and state.calls[id] or NOTHING
  local name = call.name or some_text(message.name)
  if not name then
    refuse(path .. ".tool_call_id", id and "no earlier message calls %q" or "missing", id)
  end
  local response, media = parts.of_result(message.content, path .. ".content", state.codec)
  local part = { functionResponse = { id = call.id, name = name, response = response, parts = media } }
  return part, call.place or state.place
end

-- Results that follow one another are one turn, in the order of their calls: without ids that is what tells apart two
-- calls of one function.
local function add_response(state, message, path)
  local part, place = response_part(state, message, path)
  local turn = state.responses
  if not turn then
    turn = { role = "user", parts = {} }
    state.responses, state.places = turn, {}
    state.contents[#state.contents + 1] = turn
  end
  local at = #turn.parts + 1
  while at > 1 and state.places[at - 1] > place do
    at = at - 1
  end
  table.insert(turn.parts, at, part)
  table.insert(state.places, at, place)
end

-- A message that says nothing is a turn all the same.
local function add_turn(state, role, list)
  state.contents[#state.contents + 1] = { role = role, parts = #list > 0 and list or { { text = "" } } }
end

local function add_system(state, message, path)
  for _, part in ipairs(parts.of_content(message.content, path .. ".content")) do
    state.system[#state.system + 1] = part
  end
end

local roles = { system = add_system, developer = add_system, tool = add_response, ["function"] = add_response }

function roles.user(state, message, path)
  add_turn(state, "user", parts.of_content(message.content, path .. ".content"))
end

function roles.assistant(state, message, path)
  add_turn(state, "model", model_turn(state, message, path))
end

local function add_messages(state, messages)
  if type(messages) ~= "table" then
    refuse("messages", "a list expected, got " .. type(messages))
  end
  for i = 1, #messages do
    local message, path = messages[i], ("messages[%d]"):format(i)
    if type(message) ~= "table" then
      refuse(path, "a table expected, got " .. type(message))
    end
    local add = roles[message.role]
    if not add then
      refuse(path .. ".role", "Gemini has no counterpart for %s", parts.quoted(message.role))
    elseif add ~= add_response and add ~= add_system then
      state.responses = nil
    end
    add(state, message, path)
  end
end

-- ------------------------------------------------------------------------------------------------------------ tools

local function declaration(body, path)
  if type(body) ~= "table" then
    refuse(path, "a table expected")
  end
  return { name = body.name, description = some(body.description), parametersJsonSchema = some(body.parameters) }
end

-- All functions are declared by one tool, in the place of the first; other tools are Gemini's own.
local function tools_of(tools, functions)
  local list, declared = {}, {}
  local function declare(body, path)
    if #declared == 0 then
      list[#list + 1] = { functionDeclarations = declared }
    end
    declared[#declared + 1] = declaration(body, path)
  end
  for i, tool in ipairs(tools) do
    if type(tool) == "table" and tool.type == "function" then
      declare(tool["function"], ("tools[%d].function"):format(i))
    else
      list[#list + 1] = tool
    end
  end
  for i, body in ipairs(functions) do
    declare(body, ("functions[%d]"):format(i))
  end
  return #list > 0 and list or nil
end

local MODES = { auto = "AUTO", none = "NONE", required = "ANY", any = "ANY" }

local function names_of(tools, path)
  local names = {}
  for i, tool in ipairs(some_table(tools) or NOTHING) do
    local body = type(tool) == "table" and some_table(tool["function"]) or tool
    names[i] = type(body) == "table" and some_text(body.name)
    if not names[i] then
      refuse(("%s[%d]"):format(path, i), "no function's name")
    end
  end
  return names
end

local function calling_config(choice)
  if MODES[choice] then
    return { mode = MODES[choice] }
  elseif type(choice) ~= "table" then
    refuse("tool_choice", "Gemini has no counterpart for %s", parts.quoted(choice))
  end
  local allowed = choice.type == "allowed_tools" and some_table(choice.allowed_tools)
  if allowed then
    return { mode = allowed.mode == "required" and "ANY" or "VALIDATED",
      allowedFunctionNames = names_of(allowed.tools, "tool_choice.allowed_tools.tools") }
  end
  local body = some_table(choice["function"]) or choice -- functions' old way has the name alone
  local name = some_text(body.name)
  if not name then
    refuse("tool_choice", "neither a mode nor a function's name")
  end
  return { mode = "ANY", allowedFunctionNames = { name } }
end

-- -------------------------------------------------------------------------------------------------------- generation

-- OpenAI's names and Gemini's, in order: where two mean the same, the later one counts.
local TUNING = {
  { "temperature", "temperature" }, { "top_p", "topP" }, { "top_k", "topK" }, { "n", "candidateCount" },
  { "seed", "seed" }, { "presence_penalty", "presencePenalty" }, { "frequency_penalty", "frequencyPenalty" },
  { "max_tokens", "maxOutputTokens" }, { "max_completion_tokens", "maxOutputTokens" },
  { "logprobs", "responseLogprobs" }, { "top_logprobs", "logprobs" },
}

-- As Gemini's own compatible API has it: 2.5 knows budgets only, what came after it levels. Others' words for more than
-- the most are taken for that.
local MORE = { xhigh = "high", max = "high" }
local BUDGETS = { minimal = 1024, low = 1024, medium = 8192, high = 24576 }

local function thinking_of(effort, model)
  if effort == "none" then
    return { thinkingBudget = 0 }
  elseif type(effort) ~= "string" then
    refuse("reasoning_effort", "a text expected, got " .. type(effort))
  end
  effort = MORE[effort] or effort
  if not model:find("gemini-2.5", 1, true) then
    return { thinkingLevel = effort:upper() }
  end
  return { thinkingBudget = BUDGETS[effort] or refuse("reasoning_effort", "%s does not know %q; generationConfig = { "
    .. "thinkingConfig = { thinkingBudget = n } } says it in tokens", model, effort) }
end

local function add_format(config, format)
  local kind = type(format) == "table" and format.type
  if kind == "json_schema" then
    local body = some_table(format.json_schema) or refuse("response_format.json_schema", "missing")
    config.responseMimeType, config.responseJsonSchema = "application/json", some(body.schema)
  elseif kind == "json_object" then
    config.responseMimeType = "application/json"
  elseif kind ~= "text" then
    refuse("response_format.type", "Gemini has no counterpart for %s", parts.quoted(kind))
  end
end

local function upper_of(modalities)
  local list = {}
  for i, modality in ipairs(modalities) do
    list[i] = tostring(modality):upper()
  end
  return list
end

local function generation_of(request, model)
  local config = {}
  for _, names in ipairs(TUNING) do
    config[names[2]] = some(request[names[1]]) or config[names[2]]
  end
  local stop, effort = some(request.stop), some(request.reasoning_effort)
  if stop then
    config.stopSequences = type(stop) == "table" and stop or { stop }
  end
  if effort then
    config.thinkingConfig = thinking_of(effort, model)
  end
  if some(request.response_format) then
    add_format(config, request.response_format)
  end
  if some_table(request.modalities) then
    config.responseModalities = upper_of(request.modalities)
  end
  return config
end

-- What the caller says in Gemini's own words counts.
local function overlay(config, own)
  for key, value in pairs(own) do
    config[key] = value
  end
end

local function with_own(config, own)
  if not some_table(own) then
    return next(config) and config or own
  end
  local thinking, told = config.thinkingConfig, some_table(own.thinkingConfig)
  overlay(config, own)
  if thinking and told then
    if told.thinkingBudget ~= nil or told.thinkingLevel ~= nil then
      thinking = {}
    end
    overlay(thinking, told)
    config.thinkingConfig = thinking
  end
  return config
end

-- ---------------------------------------------------------------------------------------------------------- the whole

local TIERS = { default = "standard", flex = "flex", priority = "priority" }

-- Translated above, or without a counterpart.
local IGNORED = {}
for name in ([[model messages tools tool_choice functions function_call stop reasoning_effort response_format modalities
    service_tier parallel_tool_calls logit_bias verbosity stream stream_options user metadata prediction
    prompt_cache_key prompt_cache_retention safety_identifier]]):gmatch "%S+" do
  IGNORED[name] = true
end
for _, names in ipairs(TUNING) do
  IGNORED[names[1]] = true
end

local function left_over(request)
  local body = {}
  for key, value in pairs(request) do
    if not IGNORED[key] then
      body[key] = value
    end
  end
  return body
end

local function with_system(body, system)
  if #system > 0 then
    if some(body.systemInstruction) then
      refuse("systemInstruction", "stands beside system messages; give one of them")
    end
    body.systemInstruction = { parts = system }
  end
end

local function translate(request, model, codec)
  local state = { codec = codec, contents = json.array {}, system = {}, calls = {}, place = 0 }
  add_messages(state, request.messages)
  local body = left_over(request)
  body.contents = state.contents
  with_system(body, state.system)
  body.tools = tools_of(some_table(request.tools) or NOTHING, some_table(request.functions) or NOTHING)
  local choice = some(request.tool_choice) or some(request.function_call)
  if choice then
    body.toolConfig = with_own({ functionCallingConfig = calling_config(choice) }, some(body.toolConfig))
  end
  body.generationConfig = with_own(generation_of(request, model), some(body.generationConfig))
  body.serviceTier = some(body.serviceTier) or TIERS[request.service_tier]
  return body
end

local function native(request)
  local body = common.copy(request)
  body.model, body.stream, body.stream_options = nil, nil, nil
  return body
end

--- What generateContent is to be asked.
---@param request table  in OpenAI's shape, or in Gemini's
---@param model string   its name in the path
---@param codec surefoot.Codec
---@return table? body
---@return string? problem with the path of the field at fault
function M.content(request, model, codec)
  if some_table(request.contents) then
    return native(request)
  end
  return refusal.guarded(translate, request, model, codec)
end

local EMBED_IGNORED = { input = true, model = true, dimensions = true, encoding_format = true, user = true }

local function embedding(request, text, model, path)
  if type(text) ~= "string" then
    refuse(path, "Gemini embeds texts, got a " .. type(text))
  end
  local one = {}
  for key, value in pairs(request) do
    if not EMBED_IGNORED[key] then
      one[key] = value
    end
  end
  one.model, one.content = model, { parts = { { text = text } } }
  one.outputDimensionality = one.outputDimensionality or some(request.dimensions)
  return one
end

local function embeddings(request, model)
  local input, requests = request.input, json.array {}
  if some(request.encoding_format) and request.encoding_format ~= "float" then
    refuse("encoding_format", "Gemini gives numbers only")
  elseif type(input) ~= "table" then
    return { requests = { embedding(request, input, model, "input") } }
  end
  for i = 1, #input do
    requests[i] = embedding(request, input[i], model, ("input[%d]"):format(i))
  end
  return { requests = requests }
end

--- What batchEmbedContents is to be asked.
---@param request table  OpenAI's: { input = text or list, dimensions = }; Gemini's fields (taskType) are for each text
---@param model string
---@return table? body
---@return string? problem
function M.embeddings(request, model)
  if some_table(request.requests) then
    return native(request)
  end
  return refusal.guarded(embeddings, request, model)
end

return M
