--- Answers that were begun: which endpoints take one up that stands as the last message of a request, and how each of
--- them wants to be told. Pure; nothing given is written to.
--
-- Only what is known counts, for an endpoint that does not know of it begins another answer, and says nothing:
--
--   Anthropic   continues a last turn of the assistant's, without white space at its end and not while thinking
--               (platform.claude.com: "Prefill Claude's response"). Claude 4.6 and all later models answer 400
--               (migration guide: "Prefill removal"), earlier ones together with output_config.format
--   OpenRouter  passes it on ("Assistant Prefill" in its API overview); what comes of it is up to the model, and is
--               known of Claude alone: OpenAI's begin anew
--   DeepSeek    wants prefix = true, and /beta instead of /v1, which answers 400 ("Chat Prefix Completion (Beta)")
--   Mistral     wants prefix = true (AssistantMessage in its API); has been seen to send the beginning once more
--               (vercel/ai#3256)
--   vLLM        wants continue_final_message = true and add_generation_prompt = false ("OpenAI-Compatible Server")
--   llama.cpp   continues by itself unless started with --no-prefill-assistant (ggml-org/llama.cpp#13174, #13608),
--               and knows vLLM's fields (#23012, #23089); 400 while thinking
--   Groq        continues ("Assistant Message Prefilling"), of text-to-text models; gpt-oss writes in channels, into
--               which a beginning does not fit
--
-- Not known to: OpenAI and Azure (a new message begins), Gemini (undocumented; its later models answer 400), Ollama (up
-- to each model's template), xAI, Together.

local common = require "surefoot.provider.common"

local M = {}

local NOTHING, some = common.NOTHING, common.some

-- ----------------------------------------------------------------------------------------------------------- knowing

-- "claude-sonnet-4-5-20250929", "anthropic/claude-opus-4.1", "claude-3-opus@20240229": before 4.6. A date is no
-- version.
local function is_claude_before_4_6(model)
  local major, minor = model:match "claude%D*(%d+)[%-%.]?(%d*)"
  if not major or model:find ":thinking" then
    return false
  end
  return tonumber(major) * 100 + (#minor <= 2 and tonumber(minor) or 0) < 406
end

local function takes_up(variant)
  local quirks, model = variant.traits and variant.traits.quirks or NOTHING, (variant.model or ""):lower()
  if variant.provider == "anthropic" or quirks.prefill_of_claude then
    return is_claude_before_4_6(model)
  elseif variant.provider ~= "openai" then
    return false
  end
  return quirks.prefill_prefix or quirks.prefill_flags or quirks.prefill and not model:find("gpt-oss", 1, true) or false
end

local function thinks(request)
  local thinking, effort = some(request.thinking), some(request.reasoning_effort)
  return type(thinking) == "table" and thinking.type ~= "disabled" or effort ~= nil and effort ~= "none"
    or type(request.reasoning) == "table"
end

-- The beginning that the caller wrote itself, which what was shown belongs to; false: one that cannot be added to.
local function own_beginning(messages)
  local last = messages[#messages]
  if type(last) ~= "table" or last.role ~= "assistant" then
    return nil
  end
  local is_plain = type(last.content) == "string" and some(last.tool_calls) == nil and last.native == nil
  return is_plain and last
end

--- Whether an endpoint is known to take up an answer to this request.
---@param request table in OpenAI's chat shape
---@param variant surefoot.Variant
---@return boolean
function M.takes_up(request, variant)
  local messages = request.messages
  return type(messages) == "table" and #messages > 0 and own_beginning(messages) ~= false and not thinks(request)
    and takes_up(variant)
end

--- Whether an endpoint may send the beginning once more.
---@param variant surefoot.Variant
---@return boolean
function M.may_repeat(variant)
  return (variant.traits and variant.traits.quirks or NOTHING).prefill_repeated == true
end

-- ----------------------------------------------------------------------------------------------------------- telling

-- What holds the text to a form from its first byte on would make it a new document; the beginning holds it to it.
local FORMS = { "response_format", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
  "structured_outputs", "grammar", "json_schema" }
local BOUNDS = { "max_tokens", "max_completion_tokens" }

local function without_form(copy)
  for _, name in ipairs(FORMS) do
    copy[name] = nil
  end
  if type(copy.output_config) == "table" and copy.output_config.format ~= nil then
    copy.output_config = common.copy(copy.output_config)
    copy.output_config.format = nil
  end
end

--- The request for the rest of an answer. The bound of its tokens is lowered by what has come, a token taken for four
--- bytes.
---@param request table
---@param text string the beginning, without white space at its end
---@param variant surefoot.Variant
---@return table request
function M.request(request, text, variant)
  local copy, quirks = common.copy(request), variant.traits and variant.traits.quirks or NOTHING
  local messages = common.copy(request.messages)
  local own = own_beginning(messages)
  local message = own and common.copy(own) or { role = "assistant" }
  message.content = own and own.content .. text or text
  message.prefix = quirks.prefill_prefix or message.prefix
  messages[own and #messages or #messages + 1] = message
  copy.messages = messages
  if quirks.prefill_flags then
    copy.continue_final_message, copy.add_generation_prompt = true, false
  end
  without_form(copy)
  for _, name in ipairs(BOUNDS) do
    if type(copy[name]) == "number" then
      copy[name] = math.max(1, copy[name] - math.ceil(#text / 4))
    end
  end
  return copy
end

--- Where that request goes.
---@param path string where requests go
---@param variant surefoot.Variant
---@return string path
function M.path(path, variant)
  local quirks = variant.traits and variant.traits.quirks or NOTHING
  return quirks.prefill_at_beta and "/../beta" .. path or path
end

return M
