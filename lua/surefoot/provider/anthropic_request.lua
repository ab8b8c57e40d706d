--- A request in OpenAI's chat shape as Anthropic's Messages API wants it. Pure; the request is never written to.
--
-- Translated: messages (anthropic_messages), tools and their choice, limits, stops, the answer's format, the effort.
-- Fields of OpenAI's without a counterpart go (DROPPED) where the answer is as good without them, and are a problem
-- where it is not (REFUSED). Whatever is in Anthropic's own shape already, and every field unknown here, passes
-- through; where both are given, Anthropic's own counts.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local messages = require "surefoot.provider.anthropic_messages"
local refusal = require "surefoot.provider.refusal"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text
local refuse, shown = refusal.refuse, refusal.shown

-- The API demands a bound, OpenAI's shape does not. Thinking is counted within it.
local MAX_TOKENS = 4096

--- Fields of OpenAI's that are not sent, and why that does no harm. (The API answers 400 to fields it does not know.)
---@type table<string, string>
M.DROPPED = {
  frequency_penalty = "tunes the sampling; no counterpart", presence_penalty = "tunes the sampling; no counterpart",
  logit_bias = "tunes the sampling; no counterpart", seed = "tunes the sampling; no counterpart",
  logprobs = "adds to the answer; no counterpart", top_logprobs = "adds to the answer; no counterpart",
  verbosity = "a wish; no counterpart", modalities = "text is all there is", prediction = "makes it faster only",
  prompt_cache_key = "makes it cheaper only; here parts are marked by cache_control",
  prompt_cache_retention = "makes it cheaper only; here parts are marked by cache_control",
  store = "nothing is stored", stream_options = "usage always comes",
}

--- Fields of OpenAI's whose loss the caller would notice, and what to do instead.
---@type table<string, string>
M.REFUSED = {
  functions = "give them as tools", function_call = "give it as tool_choice", audio = "Anthropic answers in text",
  web_search_options = 'give tools = { { type = "web_search_20250305", name = "web_search" } }',
}

local TRANSLATED = {}
for name in ([[messages tools tool_choice parallel_tool_calls max_tokens max_completion_tokens stop response_format
    reasoning_effort user safety_identifier n metadata service_tier]]):gmatch "%S+" do
  TRANSLATED[name] = true
end

-- Null says nothing.
local function left_over(request)
  local body = {}
  for key, value in pairs(request) do
    if some(value) ~= nil then
      if M.REFUSED[key] then
        refuse(key, "Anthropic has no counterpart; %s", M.REFUSED[key])
      elseif not TRANSLATED[key] and not M.DROPPED[key] then
        body[key] = value
      end
    end
  end
  return body
end

-- ------------------------------------------------------------------------------------------------------------ tools

-- Beside what is translated a tool keeps its fields: cache_control, strict, input_examples, ...
local function extras_of(t, into)
  for key, value in pairs(t) do
    if key ~= "type" and key ~= "function" and key ~= "parameters" and some(value) ~= nil then
      into[key] = value
    end
  end
  return into
end

local function schema_of(parameters, path)
  if some(parameters) ~= nil and type(parameters) ~= "table" then
    refuse(path, "expected a JSON schema, got %s", shown(parameters))
  end
  local schema = some_table(parameters) or { properties = json.object {} }
  if schema.type == nil then
    schema = common.copy(schema)
    schema.type = "object"
  end
  return schema
end

local function tool_of(tool, path)
  if type(tool) ~= "table" then
    refuse(path, "expected a tool, got %s", shown(tool))
  elseif tool.type ~= "function" then
    return tool
  end
  local body = some_table(tool["function"]) or refuse(path .. ".function", "expected a table, got %s",
    shown(tool["function"]))
  local translated = extras_of(body, extras_of(tool, {}))
  translated.input_schema = schema_of(body.parameters, path .. ".function.parameters")
  return translated
end

local CHOICES = { auto = "auto", none = "none", required = "any", any = "any" }

local function choice_of(choice)
  if type(choice) == "string" and CHOICES[choice] then
    return { type = CHOICES[choice] }
  elseif type(choice) == "table" and choice.type ~= "allowed_tools" then
    if choice.type == "function" then
      return { type = "tool", name = (some_table(choice["function"]) or choice).name }
    end
    return common.copy(choice)
  end
  refuse("tool_choice", "Anthropic has no counterpart for %s", type(choice) == "table" and "allowed_tools"
    or shown(choice))
end

local function add_tools(body, request)
  local tools, choice = some_table(request.tools) or NOTHING, some(request.tool_choice)
  choice = choice ~= nil and choice_of(choice) or nil
  if #tools == 0 then
    if choice and (choice.type == "any" or choice.type == "tool") then
      refuse("tool_choice", "there are no tools to choose from")
    end
    return
  end
  body.tools = {}
  for i, tool in ipairs(tools) do
    body.tools[i] = tool_of(tool, ("tools[%d]"):format(i))
  end
  if request.parallel_tool_calls == false then
    choice = choice or { type = "auto" }
    if choice.type ~= "none" and choice.disable_parallel_tool_use == nil then
      choice.disable_parallel_tool_use = true
    end
  end
  body.tool_choice = choice
end

-- ------------------------------------------------------------------------------------------------------ the answer

-- Effort is how the API controls the depth of thinking; the words are OpenAI's, but for the least.
local EFFORTS = { minimal = "low" }

local function format_of(format)
  if format == nil then
    return nil
  end
  local kind = type(format) == "table" and format.type
  if kind == "json_schema" then
    local schema = some_table((some_table(format.json_schema) or NOTHING).schema)
    return { type = "json_schema", schema = schema or refuse("response_format.json_schema.schema", "missing") }
  elseif kind ~= "text" and kind ~= "json_object" then
    refuse("response_format.type", "Anthropic has no counterpart for %s", shown(kind or nil))
  end
  -- JSON of any form has no carrier: the prompt must ask for it, as OpenAI demands too.
  return nil
end

local function add_output(body, request)
  local effort, format = some(request.reasoning_effort), format_of(some(request.response_format))
  if effort == "none" then
    body.thinking, effort = body.thinking or { type = "disabled" }, nil
  elseif effort ~= nil and not some_text(effort) then
    refuse("reasoning_effort", "expected a text, got %s", shown(effort))
  end
  if effort or format then
    local config = common.copy(some_table(body.output_config) or NOTHING)
    config.effort = some(config.effort) or EFFORTS[effort] or effort
    config.format = some(config.format) or format
    body.output_config = config
  end
end

local function add_limits(body, request)
  local most = some(request.max_completion_tokens) or some(request.max_tokens)
  if most == nil then
    local budget = (some_table(body.thinking) or NOTHING).budget_tokens
    most = MAX_TOKENS + (type(budget) == "number" and budget or 0) -- the budget must be less
  end
  body.max_tokens = most
  local stop = some(request.stop)
  if type(stop) == "string" then
    stop = { stop }
  end
  if body.stop_sequences == nil and stop ~= nil and (type(stop) ~= "table" or #stop > 0) then
    body.stop_sequences = stop
  end
  if type(body.temperature) == "number" and body.temperature > 1 then
    body.temperature = 1 -- OpenAI's goes to 2; Anthropic's own layer for OpenAI's shape does the same
  end
end

-- Of OpenAI's metadata, which may hold anything, the API takes user_id alone.
local function add_metadata(body, request)
  local metadata = some_table(request.metadata) or NOTHING
  local user = some(metadata.user_id) or some_text(request.safety_identifier) or some_text(request.user)
  body.metadata = user and { user_id = user } or nil
end

local TIERS = { auto = "auto", standard_only = "standard_only" }

local function translate(request, codec)
  if type(request.n) == "number" and request.n > 1 then
    refuse("n", "Anthropic gives one answer to a request, not %.14g", request.n)
  end
  local body = left_over(request)
  local system, turns = messages.conversation(request.messages, codec)
  body.messages = turns
  if #system > 0 then
    for _, block in ipairs(messages.blocks_of(body.system, "system")) do
      system[#system + 1] = block
    end
    body.system = system
  end
  add_tools(body, request)
  add_output(body, request)
  add_limits(body, request)
  add_metadata(body, request)
  body.service_tier = TIERS[request.service_tier]
  return body
end

--- The body of a request, or nil and what is wrong with it.
---@param request table in OpenAI's chat shape
---@param codec surefoot.Codec
---@return table? body
---@return string? problem
function M.translate(request, codec)
  return refusal.guarded(translate, request, codec)
end

return M
