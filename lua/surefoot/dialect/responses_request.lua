--- A Responses request in OpenAI's chat shape. Pure; the document is never written to.
--
-- Translated: instructions and input (responses_input), tools and their choice, text.format, reasoning.effort, limits.
-- What no chat line can do is a problem that names the field (REFUSED, hosted tools); what changes nothing in the
-- answer goes (DROPPED). Fields of the same name and meaning, and those that are unknown, pass through, so that what a
-- line has beside (seed, stop) can be asked for.

local common = require "surefoot.provider.common"
local input = require "surefoot.dialect.responses_input"
local json = require "surefoot.json"
local refusal = require "surefoot.provider.refusal"
local sorted = require "surefoot.sorted"

local M = {}

local some, some_table, some_text = common.some, common.some_table, common.some_text
local refuse, shown = refusal.refuse, refusal.shown

--- Fields that are not sent, and why that does no harm.
---@type table<string, string>
M.DROPPED = {
  store = "no state is kept", stream_options = "there is no obfuscation to leave out",
  metadata = "is told back in the answer", truncation = "input that is too long is an error, as it is by default",
  max_tool_calls = "counts calls of hosted tools", prompt_cache_options = "makes it cheaper only",
  client_metadata = "is for OpenAI's own statistics",
}

--- Fields whose loss would change the answer, and what to do instead.
---@type table<string, string>
M.REFUSED = {
  previous_response_id = "no state is kept here; send the whole conversation as input",
  conversation = "no state is kept here; send the whole conversation as input",
  prompt = "prompts that OpenAI keeps are known to its Responses API alone; send instructions and input",
  context_management = "conversations are not compacted here; send a shorter input",
  moderation = "chat lines have no counterpart", messages = "the Responses API takes input",
}

-- -------------------------------------------------------------------------------------------------------------- tools

-- A copy without some keys, and nulls.
local function without(t, a, b, c)
  local rest = {}
  for key, value in pairs(t) do
    if key ~= a and key ~= b and key ~= c and some(value) ~= nil then
      rest[key] = value
    end
  end
  return rest
end

local tools = {} -- type of a tool -> function(tool, path): the tool in chat's shape

-- `strict` stays as it is: where it is not given, schemas may be what strictness would refuse.
tools["function"] = function(tool)
  return { type = "function", ["function"] = without(tool, "type") }
end

function tools.custom(tool)
  local body = without(tool, "type")
  local format = some_table(body.format)
  if format and format.type == "grammar" then
    body.format = { type = "grammar", grammar = without(format, "type") }
  end
  return { type = "custom", custom = body }
end

local function tools_of(list)
  if type(list) ~= "table" or list[1] == nil and next(list) ~= nil then
    refuse("tools", "expected a list, got %s", shown(list))
  end
  local translated = json.array {}
  for i, tool in ipairs(list) do
    local path = ("tools[%d]"):format(i - 1)
    if type(tool) ~= "table" then
      refuse(path, "expected a tool, got %s", shown(tool))
    end
    local translate = tools[tool.type or ""]
      or refuse(path .. ".type", "%s is run by OpenAI; only lines of the Responses API have it", shown(tool.type))
    if not some_text(tool.name) then
      refuse(path .. ".name", "is required")
    end
    translated[i] = translate(tool)
  end
  return translated
end

local choice_of -- below

local function allowed_tools(choice, path)
  local list = json.array {}
  for i, tool in ipairs(some_table(choice.tools) or refuse(path .. ".tools", "expected a list, got %s",
    shown(choice.tools))) do
    list[i] = choice_of(tool, ("%s.tools[%d]"):format(path, i - 1))
  end
  return { type = "allowed_tools", allowed_tools = { mode = some(choice.mode), tools = list } }
end

function choice_of(choice, path)
  if type(choice) == "string" then
    return choice
  end
  local kind = type(choice) == "table" and choice.type
  if kind == "function" or kind == "custom" then
    return { type = kind, [kind] = { name = some_text(choice.name) or refuse(path .. ".name", "is required") } }
  elseif kind == "allowed_tools" then
    return allowed_tools(choice, path)
  end
  refuse(path, "expected auto, none, required, or a tool of the caller's, got %s", shown(kind or choice))
end

-- ------------------------------------------------------------------------------------------------------------- fields

local fields = {} -- field -> function(request, value, document)

local function table_at(value, path)
  return some_table(value) or refuse(path, "expected an object, got %s", shown(value))
end

-- Chat takes neither an empty list of tools nor a choice where there are none.
function fields.tools(request, value)
  local list = tools_of(value)
  request.tools = #list > 0 and list or nil
end

local function has_tools(document)
  return type(document.tools) == "table" and document.tools[1] ~= nil
end

function fields.tool_choice(request, value, document)
  if has_tools(document) or value ~= "auto" and value ~= "none" then
    request.tool_choice = choice_of(value, "tool_choice")
  end
end

function fields.parallel_tool_calls(request, value, document)
  if has_tools(document) then
    request.parallel_tool_calls = value
  end
end

function fields.max_output_tokens(request, value)
  request.max_completion_tokens = value
end

local formats = {} -- type of text.format -> function(format): response_format

function formats.text()
  return nil
end

function formats.json_object()
  return { type = "json_object" }
end

function formats.json_schema(format)
  if not some_text(format.name) then
    refuse("text.format.name", "is required")
  end
  table_at(format.schema, "text.format.schema")
  return { type = "json_schema", json_schema = without(format, "type") }
end

function fields.text(request, value)
  local format = some(table_at(value, "text").format)
  if format ~= nil then
    local translate = formats[table_at(format, "text.format").type or ""]
      or refuse("text.format.type", "expected text, json_schema or json_object, got %s", shown(format.type))
    request.response_format = translate(format)
  end
  if some(value.verbosity) ~= "medium" then -- which is the default
    request.verbosity = some(value.verbosity)
  end
end

-- Whether thoughts are told, and how briefly, is the line's own affair: what it tells is shown.
function fields.reasoning(request, value)
  request.reasoning_effort = some(table_at(value, "reasoning").effort)
end

function fields.include(request, value)
  for _, name in ipairs(type(value) == "table" and value or refuse("include", "expected a list, got %s",
    shown(value))) do
    if name == "message.output_text.logprobs" then
      request.logprobs = true
    end
  end
end

-- The probabilities of other tokens are told where those of the chosen are.
function fields.top_logprobs(request, value)
  request.top_logprobs = value ~= 0 and value or nil
  request.logprobs = request.top_logprobs and true or request.logprobs
end

function fields.background(_, value)
  if value ~= false then
    refuse("background", "no state is kept here; ask for a stream instead")
  end
end

function fields.instructions(_, value)
  if type(value) ~= "string" then
    refuse("instructions", "expected a text, got %s", shown(value))
  end
end

-- In this order, so that of several problems always the same is told.
local ORDER = { "background", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens",
  "text", "reasoning", "include", "top_logprobs" }
local REFUSED_ORDER = sorted(M.REFUSED)

local function translate(document, codec)
  for _, name in ipairs(REFUSED_ORDER) do
    if some(document[name]) ~= nil then
      refuse(name, "%s", M.REFUSED[name])
    end
  end
  local request = {}
  for key, value in pairs(document) do
    if not M.DROPPED[key] and not fields[key] and key ~= "input" then
      request[key] = some(value)
    end
  end
  for _, name in ipairs(ORDER) do
    local value = some(document[name])
    if value ~= nil then
      fields[name](request, value, document)
    end
  end
  request.messages = input.messages(document.input, document.store ~= false, codec)
  if some_text(document.instructions) then
    table.insert(request.messages, 1, { role = "system", content = document.instructions })
  end
  return request
end

--- The caller's document as a chat request. Nil, what is wrong with it, and the field at fault.
---@param document table
---@param codec surefoot.Codec
---@return table? request
---@return string? message
---@return string? param
function M.read(document, codec)
  return refusal.guarded(translate, document, codec)
end

return M
