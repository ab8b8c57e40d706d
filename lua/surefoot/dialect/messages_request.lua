--- A request to Anthropic's Messages API as one in OpenAI's chat shape. Pure; the caller's is never written to.
--
-- What only makes an answer cheaper or quicker goes where there is no counterpart (DROPPED); what would make it another
-- answer is refused (REFUSED), with the field's name. Fields that are unknown here pass through: a line that does not
-- know them says so itself.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local refusal = require "surefoot.provider.refusal"
local turns = require "surefoot.dialect.messages_turns"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text
local refuse, shown = refusal.refuse, refusal.shown

--- Fields that are not told to other lines, and why that does no harm.
---@type table<string, string>
M.DROPPED = {
  cache_control = "makes it cheaper only", context_management = "makes it cheaper only", betas = "a header's",
  diagnostics = "tells about the cache only", service_tier = "a wish, and about Anthropic's capacity",
  speed = "a wish", billing_policy = "about Anthropic's bill", fallback_credit_token = "about Anthropic's bill",
  user_profile_id = "about Anthropic's accounts", workspace_id = "about Anthropic's accounts",
  stream = "the gateway's own", model = "the gateway's own",
}

--- Fields whose loss the caller would notice.
---@type table<string, string>
M.REFUSED = {
  container = "is at Anthropic", mcp_servers = "are called by Anthropic's servers",
  inference_geo = "is a promise of Anthropic's", thread = "is kept at Anthropic",
  compaction = "is done by Anthropic's servers",
}

local fields = {} -- field -> function(request, value, document, codec): puts it where the chat shape has it

-- ------------------------------------------------------------------------------------------------------------ limits

-- OpenAI's name for it since it has models that think: those refuse the older one.
function fields.max_tokens(request, value)
  if type(value) ~= "number" or value < 1 or value % 1 ~= 0 then
    refuse("max_tokens", "expected a whole number, at least 1, got %s", type(value) == "number" and tostring(value)
      or shown(value))
  end
  request.max_completion_tokens = value
end

for _, name in ipairs { "temperature", "top_p", "top_k" } do
  fields[name] = function(request, value)
    if type(value) ~= "number" then
      refuse(name, "expected a number, got %s", shown(value))
    end
    request[name] = value
  end
end

function fields.stop_sequences(request, value)
  if type(value) ~= "table" then
    refuse("stop_sequences", "expected a list of texts, got %s", shown(value))
  end
  for i, text in ipairs(value) do
    if type(text) ~= "string" then
      refuse(("stop_sequences.%d"):format(i - 1), "expected a text, got %s", shown(text))
    end
  end
  request.stop = #value > 0 and value or nil
end

local USER_BYTES = 64 -- what OpenAI takes

function fields.metadata(request, value)
  if type(value) ~= "table" then
    refuse("metadata", "expected { user_id = ... }, got %s", shown(value))
  end
  local user = some(value.user_id)
  if user ~= nil and type(user) ~= "string" then
    refuse("metadata.user_id", "expected a text, got %s", shown(user))
  end
  user = some_text(user and user:sub(1, USER_BYTES))
  local cut = user and json.invalid_utf8(user)
  request.user = cut and user:sub(1, cut - 1) or user
end

-- ----------------------------------------------------------------------------------------------------------- thinking

-- From how many tokens on; Gemini's compatible API takes the efforts for the same budgets.
local BUDGETS = { { 24576, "high" }, { 8192, "medium" }, { 0, "low" } }

local thinking = {} -- type -> function(config): the effort that it stands for, or nil

function thinking.enabled(config)
  local budget = config.budget_tokens
  if type(budget) ~= "number" then
    refuse("thinking.budget_tokens", "expected a number, got %s", shown(budget))
  end
  for _, row in ipairs(BUDGETS) do
    if budget >= row[1] then
      return row[2]
    end
  end
  refuse("thinking.budget_tokens", "expected a number, at least 1024, got %s", tostring(budget))
end

-- As if nothing was said: the model's own way, and not every line can be told to do without.
function thinking.adaptive() end

thinking.disabled = thinking.adaptive

function fields.thinking(request, value)
  local read = type(value) == "table" and type(value.type) == "string" and thinking[value.type]
  if not read then
    refuse("thinking.type", "expected enabled, adaptive or disabled, got %s", shown(some_table(value) and value.type))
  end
  request.reasoning_effort = request.reasoning_effort or read(value)
end

-- ------------------------------------------------------------------------------------------------------------- output

local is_strict -- below

local function all_strict(schemas)
  for _, schema in pairs(some_table(schemas) or NOTHING) do
    if not is_strict(schema) then
      return false
    end
  end
  return true
end

local LOOSE = { "allOf", "oneOf", "not", "patternProperties", "if" }

-- Whether OpenAI takes a schema that is to be kept to: objects name all that is in them, and demand all of it.
function is_strict(schema)
  if type(schema) ~= "table" then
    return false
  end
  for _, word in ipairs(LOOSE) do
    if schema[word] ~= nil then
      return false
    end
  end
  local properties = some_table(schema.properties)
  if properties or schema.type == "object" then
    local required = {}
    for _, name in ipairs(some_table(schema.required) or NOTHING) do
      required[name] = true
    end
    for name in pairs(properties or NOTHING) do
      if not required[name] then
        return false
      end
    end
    if schema.additionalProperties ~= false then
      return false
    end
  end
  return (schema.items == nil or is_strict(schema.items)) and all_strict(properties) and all_strict(schema.anyOf)
    and all_strict(schema["$defs"]) and all_strict(schema.definitions)
end

local function add_format(request, format, path)
  if type(format) ~= "table" or format.type ~= "json_schema" then
    refuse(path .. ".type", "expected json_schema, got %s", shown(some_table(format) and format.type))
  elseif type(format.schema) ~= "table" then
    refuse(path .. ".schema", "expected a JSON schema, got %s", shown(format.schema))
  end
  request.response_format = { type = "json_schema", json_schema = {
    name = "answer", schema = format.schema, strict = is_strict(format.schema) } }
end

function fields.output_format(request, value)
  add_format(request, value, "output_format")
end

local OUTPUT = { effort = true, format = true, task_budget = true } -- the last a wish
local EFFORTS = { max = "xhigh" } -- the other words are OpenAI's, too

function fields.output_config(request, value)
  if type(value) ~= "table" then
    refuse("output_config", "expected an object, got %s", shown(value))
  end
  for name, item in pairs(value) do
    if not OUTPUT[name] and some(item) ~= nil then
      refuse("output_config." .. tostring(name), "cannot be told to a line that does not speak this API")
    end
  end
  local effort = some(value.effort)
  if effort ~= nil and type(effort) ~= "string" then
    refuse("output_config.effort", "expected a text, got %s", shown(effort))
  elseif effort then
    request.reasoning_effort = EFFORTS[effort] or effort
  end
  if some(value.format) ~= nil then
    add_format(request, value.format, "output_config.format")
  end
end

-- -------------------------------------------------------------------------------------------------------------- tools

local TOOL_APART = { type = true, name = true, description = true, input_schema = true, strict = true,
  cache_control = true, defer_loading = true, eager_input_streaming = true, input_examples = true,
  allowed_callers = true }

-- Only code that runs at Anthropic may call it.
local function is_for_code(tool)
  local callers = some_table(tool.allowed_callers) or NOTHING
  for _, caller in ipairs(callers) do
    if caller == "direct" then
      return false
    end
  end
  return #callers > 0
end

local function tool_of(tool, path)
  if type(tool) ~= "table" then
    refuse(path, "expected a tool, { name = ..., input_schema = ... }, got %s", shown(tool))
  elseif some(tool.type) ~= nil and tool.type ~= "custom" then
    refuse(path .. ".type", "only Anthropic's lines have the tool %s; describe one of your own by name and "
      .. "input_schema", shown(tool.type))
  elseif not some_text(tool.name) then
    refuse(path .. ".name", "expected a name, got %s", shown(tool.name))
  elseif type(tool.input_schema) ~= "table" then
    refuse(path .. ".input_schema", "expected a JSON schema, got %s", shown(tool.input_schema))
  elseif is_for_code(tool) then
    refuse(path .. ".allowed_callers", "the code that may call it runs at Anthropic; allow direct")
  end
  local body = { name = tool.name, description = some(tool.description), parameters = tool.input_schema }
  body.strict = tool.strict == true and is_strict(tool.input_schema) or nil
  for key, value in pairs(tool) do
    if not TOOL_APART[key] and some(value) ~= nil then
      body[key] = value
    end
  end
  return { type = "function", ["function"] = body }
end

function fields.tools(request, value)
  if type(value) ~= "table" then
    refuse("tools", "expected a list, got %s", shown(value))
  end
  local list = {}
  for i, tool in ipairs(value) do
    list[i] = tool_of(tool, ("tools.%d"):format(i - 1))
  end
  request.tools = #list > 0 and list or nil
end

local CHOICES = { auto = "auto", any = "required", none = "none" }

-- Comes after the tools: without any there is nothing to choose, and OpenAI refuses the field.
function fields.tool_choice(request, value)
  local kind = type(value) == "table" and value.type
  local choice = type(kind) == "string" and CHOICES[kind]
  if kind == "tool" then
    if not some_text(value.name) then
      refuse("tool_choice.name", "expected the name of a tool, got %s", shown(value.name))
    end
    choice = { type = "function", ["function"] = { name = value.name } }
  elseif not choice then
    refuse("tool_choice.type", "expected auto, any, tool or none, got %s", shown(kind or nil))
  end
  if request.tools then
    request.tool_choice = choice
    if value.disable_parallel_tool_use == true then
      request.parallel_tool_calls = false
    end
  elseif kind == "any" or kind == "tool" then
    refuse("tool_choice", "there are no tools to choose from")
  end
end

-- ---------------------------------------------------------------------------------------------------------- the whole

local REQUIRED = { "messages", "max_tokens" }
-- In this order: an effort in words says more than a budget.
local ORDER = { "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "output_config",
  "output_format", "thinking", "tools", "tool_choice" }
local KNOWN = { messages = true, system = true }
for _, name in ipairs(ORDER) do
  KNOWN[name] = true
end

local function is_nothing(value)
  return some(value) == nil or type(value) == "table" and next(value) == nil
end

local function translate(document, codec)
  for _, name in ipairs(REQUIRED) do
    if some(document[name]) == nil then
      refuse(name, "is required")
    end
  end
  local request, messages = {}, {}
  for name, value in pairs(document) do
    if M.REFUSED[name] and not is_nothing(value) then
      refuse(name, "%s; lines that do not speak this API have no counterpart", M.REFUSED[name])
    elseif not (KNOWN[name] or M.DROPPED[name] or is_nothing(value)) then
      request[name] = value
    end
  end
  for _, name in ipairs(ORDER) do
    local value = some(document[name])
    if value ~= nil then
      fields[name](request, value)
    end
  end
  local system = turns.text_of(document.system, "system")
  messages[1] = system and { role = "system", content = system } or nil
  turns.conversation(document.messages, messages, codec)
  request.messages = messages
  return request
end

--- The request, or nil, what is wrong with the caller's, and the field at fault.
---@param document table
---@param context surefoot.dialect.Context
---@return table? request
---@return string? message
---@return string? param
function M.read(document, context)
  return refusal.guarded(translate, document, context.codec)
end

return M
