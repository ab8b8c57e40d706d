--- A request in OpenAI's chat shape, as the Responses API takes it.
--
-- Messages become input items; what an earlier answer of this format left in message.native goes back as it came.
-- Fields of the same name and meaning, and those that are unknown, pass through. What the API refuses and has no other
-- word for is a problem that names the field. A request that has `input` is in the API's own shape already and passes
-- as it is.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local refusal = require "surefoot.provider.refusal"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text, copy = common.some, common.some_table, common.some_text, common.copy

M.NATIVE = "responses" -- message.native.provider

local refuse = refusal.refuse

-- A copy without some keys.
local function without(t, ...)
  local rest = copy(t)
  for i = 1, select("#", ...) do
    rest[select(i, ...)] = nil
  end
  return rest
end

-- -------------------------------------------------------------------------------------------------------------- parts

local parts = {} -- type of a part in the chat shape -> function(part, text_type)

function parts.text(part, text_type)
  local item = copy(part)
  item.type = text_type
  return item
end

function parts.refusal(part)
  return part
end

function parts.image_url(part)
  local item, image = without(part, "image_url"), part.image_url
  item.type = "input_image"
  if type(image) == "table" then
    item.image_url, item.detail = image.url, some(image.detail)
  else
    item.image_url = image
  end
  return item
end

function parts.file(part)
  local item = without(part, "file")
  item.type = "input_file"
  for key, value in pairs(some_table(part.file) or NOTHING) do
    item[key] = value
  end
  return item
end

-- Content as the API takes it; what is in its own form already stays.
local function content_of(content, text_type)
  if type(content) ~= "table" then
    return content
  end
  local list = json.array {}
  for i, part in ipairs(content) do
    local translate = type(part) == "table" and parts[part.type]
    list[i] = translate and translate(part, text_type) or part
  end
  return list
end

-- ----------------------------------------------------------------------------------------------------------- messages

local function call_item(call, path)
  call = some_table(call) or NOTHING
  local body = some_table(call["function"])
  if body then
    return { type = "function_call", call_id = call.id, name = body.name, arguments = body.arguments or "{}" }
  end
  body = some_table(call.custom)
  if body then
    return { type = "custom_tool_call", call_id = call.id, name = body.name, input = body.input or "" }
  end
  return refuse(path, "expected a call of a function, or of a custom tool")
end

-- What an assistant said, where no items of the API's own are known.
local function add_said(items, message, path)
  local content, said = some(message.content), json.array {}
  if type(content) == "string" and content ~= "" then
    said[1] = { type = "output_text", text = content }
  elseif type(content) == "table" then
    said = content_of(content, "output_text")
  end
  local refused, calls = some_text(message.refusal), some_table(message.tool_calls) or NOTHING
  if refused then
    said[#said + 1] = { type = "refusal", refusal = refused }
  elseif #said == 0 and #calls == 0 then
    said[1] = { type = "output_text", text = "" }
  end
  if #said > 0 then
    items[#items + 1] = { role = "assistant", content = said }
  end
  for i, call in ipairs(calls) do
    items[#items + 1] = call_item(call, ("%s.tool_calls[%d]"):format(path, i))
  end
end

local roles = {} -- role -> function(items, message, path, state)

local function add_message(items, message)
  local item = without(message, "native", "name")
  item.content = content_of(message.content, "input_text")
  items[#items + 1] = item
end

function roles.assistant(items, message, path, state)
  if some(message.function_call) then
    refuse(path .. ".function_call", "has no id to answer to here; use tool_calls")
  end
  local native, from = some_table(message.native), #items
  if native and native.provider == M.NATIVE and type(native.items) == "table" then
    for _, item in ipairs(native.items) do
      if type(item) ~= "table" then
        refuse(path .. ".native.items", "expected items of the API's own")
      -- what is not kept there can be known again only by what is encrypted in it
      elseif state.keeps or item.type ~= "reasoning" or some(item.encrypted_content) then
        items[#items + 1] = item
      end
    end
  else
    add_said(items, message, path)
  end
  for i = from + 1, #items do
    if items[i].type == "custom_tool_call" then
      state.custom[items[i].call_id or ""] = true
    end
  end
end

function roles.tool(items, message, path, state)
  local id = some_text(message.tool_call_id) or refuse(path .. ".tool_call_id", "is missing")
  items[#items + 1] = { type = state.custom[id] and "custom_tool_call_output" or "function_call_output", call_id = id,
    output = content_of(some(message.content) or "", "input_text") }
end

roles["function"] = function(_, _, path)
  refuse(path .. ".role", "\"function\" has no place here; use \"tool\"")
end

local function input_of(messages, keeps)
  local items, state = json.array {}, { custom = {}, keeps = keeps }
  for i, message in ipairs(messages) do
    local path = ("messages[%d]"):format(i)
    if type(message) ~= "table" then
      refuse(path, "expected a message")
    elseif message.role == nil and message.type ~= nil then -- an item of the API's own
      items[#items + 1] = message
    else
      (roles[message.role] or add_message)(items, message, path, state)
    end
  end
  return items
end

-- -------------------------------------------------------------------------------------------------------------- tools

-- What stands under the type's own name in the chat shape stands beside the type here.
local function flat(tool, key)
  local item = without(tool, key)
  for name, value in pairs(tool[key]) do
    item[name] = value
  end
  return item
end

local function tool_of(tool)
  if type(tool) ~= "table" then
    return tool
  elseif tool.type == "function" and type(tool["function"]) == "table" then
    local item = flat(tool, "function")
    if item.strict == nil then
      item.strict = false -- where it is not given, the API takes the strict way, and chat completions do not
    end
    item.parameters = item.parameters or { type = "object", properties = json.object {} }
    return item
  elseif tool.type == "custom" and type(tool.custom) == "table" then
    local item = flat(tool, "custom")
    local format = some_table(item.format)
    item.format = format and type(format.grammar) == "table" and flat(format, "grammar") or item.format
    return item
  end
  return tool
end

local function tools_of(tools)
  local list = json.array {}
  for i, tool in ipairs(tools) do
    list[i] = tool_of(tool)
  end
  return list
end

local function choice_of(choice)
  if type(choice) ~= "table" then
    return choice
  end
  for _, key in ipairs { "function", "custom" } do
    if choice.type == key and type(choice[key]) == "table" then
      return flat(choice, key)
    end
  end
  if choice.type == "allowed_tools" and type(choice.allowed_tools) == "table" then
    local item, list = flat(choice, "allowed_tools"), json.array {}
    for i, tool in ipairs(some_table(item.tools) or NOTHING) do
      list[i] = choice_of(tool)
    end
    item.tools = list
    return item
  end
  return choice
end

-- ------------------------------------------------------------------------------------------------------------- fields

-- A table of the request's, to be added to; the request's own stays as it is.
local function own(body, key)
  body[key] = copy(some_table(body[key]) or NOTHING)
  return body[key]
end

local fields = {} -- field of the chat shape -> function(body, value): puts it where the API has it

function fields.response_format(body, format)
  if type(format) == "table" then
    local text = own(body, "text")
    text.format = format.type == "json_schema" and type(format.json_schema) == "table" and flat(format, "json_schema")
      or format
  end
end

function fields.verbosity(body, value)
  own(body, "text").verbosity = value
end

function fields.reasoning_effort(body, value)
  local reasoning = own(body, "reasoning")
  if reasoning.effort == nil then
    reasoning.effort = value
  end
end

function fields.max_completion_tokens(body, value)
  if body.max_output_tokens == nil then
    body.max_output_tokens = value
  end
end

fields.max_tokens = fields.max_completion_tokens

function fields.logprobs(body, value)
  if value == true then
    local include = own(body, "include")
    include[#include + 1] = "message.output_text.logprobs"
  end
end

-- The usage comes unasked, and asking is refused.
function fields.stream_options(body, value)
  local rest = type(value) == "table" and without(value, "include_usage") or NOTHING
  body.stream_options = next(rest) ~= nil and rest or nil
end

function fields.n(_, value)
  if value ~= 1 then
    refuse("n", "the Responses API gives one answer")
  end
end

function fields.stop()
  refuse("stop", "the Responses API has no stop sequences")
end

local function no_functions(name, instead)
  fields[name] = function()
    refuse(name, "the Responses API takes %s", instead)
  end
end
no_functions("functions", "tools")
no_functions("function_call", "tool_choice")

-- In this order: of two that mean the same, the newer counts.
local ORDER = { "response_format", "verbosity", "reasoning_effort", "max_completion_tokens", "max_tokens", "logprobs",
  "stream_options", "n", "stop", "functions", "function_call" }

local function translate(body)
  local messages = body.messages
  for _, name in ipairs(ORDER) do
    local value = body[name]
    body[name] = nil
    if value ~= nil and value ~= json.null then
      fields[name](body, value)
    end
  end
  body.messages = nil
  body.input = input_of(some_table(messages) or NOTHING, body.store ~= false)
  if type(body.tools) == "table" then
    body.tools = tools_of(body.tools)
  end
  body.tool_choice = choice_of(body.tool_choice)
  return body
end

--- The request's bytes.
---@param request table
---@param variant surefoot.Variant
---@param codec surefoot.Codec
---@param changes table?
---@param streams boolean?
---@return string? body
---@return string? problem
function M.write(request, variant, codec, changes, streams)
  local body = common.changed(request, variant.model, changes)
  if streams then
    body.stream = true
  end
  if body.input == nil and body.messages ~= nil then
    local translated, problem = refusal.guarded(translate, body)
    if not translated then
      return nil, problem
    end
    body = translated
  end
  -- with the keys of schemas in order: providers cache prompts by the bytes
  if body.tools or type(body.text) == "table" and body.text.format then
    return codec.encode(body)
  end
  return codec.quick(body)
end

return M
