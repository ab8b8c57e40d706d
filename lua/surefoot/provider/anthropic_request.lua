--- A request in OpenAI's chat shape as Anthropic's Messages API wants it. Pure; the request is never written to.
--
-- System messages become `system`, tool messages `tool_result` blocks of one user turn, an assistant's tool calls
-- `tool_use` blocks; a message that came from Anthropic goes back block by block as it came (message.native). Whatever
-- is in Anthropic's own shape already, and every field unknown here, passes through.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"

local M = {}

local some, some_table, some_text = common.some, common.some_table, common.some_text

local MAX_TOKENS = 4096 -- the API demands a bound; OpenAI's shape does not

-- Fields of OpenAI's that the API refuses: translated below, or without meaning there.
local APART = {
  messages = true, tools = true, tool_choice = true, parallel_tool_calls = true, max_tokens = true,
  max_completion_tokens = true, stop = true, response_format = true, reasoning_effort = true, user = true, n = true,
  frequency_penalty = true, presence_penalty = true, logit_bias = true, logprobs = true, top_logprobs = true,
  seed = true, store = true, stream_options = true, modalities = true, prediction = true, verbosity = true,
  functions = true, function_call = true,
}

local Problem = {}

local function refuse(path, message, ...)
  error(setmetatable({ path .. ": " .. message:format(...) }, Problem), 0)
end

-- "data:image/png;base64,AAAA" or an address.
local function source_of(url, path)
  if type(url) ~= "string" then
    refuse(path, "expected a URL, got %s", type(url))
  end
  local media, data = url:match "^data:([^;,]+);base64,(.*)$"
  if media then
    return { type = "base64", media_type = media, data = data }
  elseif url:find "^data:" then
    refuse(path, "only base64 data URLs can be sent")
  end
  return { type = "url", url = url }
end

local function file_block(file, path)
  if type(file) ~= "table" then
    refuse(path, "expected a table, got %s", type(file))
  elseif some_text(file.file_id) then
    return { type = "document", source = { type = "file", file_id = file.file_id } }
  end
  return { type = "document", source = source_of(file.file_data, path .. ".file_data"), title = some(file.filename) }
end

local parts = {}

function parts.image_url(part, path)
  local image = part.image_url
  local url = type(image) == "table" and image.url or image
  return { type = "image", source = source_of(url, path .. ".image_url"), cache_control = part.cache_control }
end

function parts.file(part, path)
  return file_block(part.file, path .. ".file")
end

function parts.refusal(part)
  return { type = "text", text = part.refusal }
end

function parts.input_audio(_, path)
  refuse(path, "Anthropic takes no audio")
end

-- Content as a list of blocks; an empty text is no block, the API refuses it.
local function blocks_of(content, path)
  local blocks = {}
  if type(content) == "string" then
    blocks[1] = content ~= "" and { type = "text", text = content } or nil
  elseif type(content) == "table" then
    for i, part in ipairs(content) do
      local place = ("%s[%d]"):format(path, i)
      if type(part) == "string" then
        part = { type = "text", text = part }
      elseif type(part) ~= "table" then
        refuse(place, "expected a part, got %s", type(part))
      end
      local translate = parts[part.type]
      blocks[#blocks + 1] = translate and translate(part, place) or not translate and part or nil
    end
  elseif some(content) ~= nil then
    refuse(path, "expected a text or a list of parts, got %s", type(content))
  end
  return blocks
end

local function append(into, list)
  for _, item in ipairs(list) do
    into[#into + 1] = item
  end
end

-- The arguments of a call: a JSON object in a string.
local function input_of(arguments, codec, path)
  if type(arguments) == "table" then
    return arguments
  elseif some_text(arguments) == nil then
    return json.object {}
  end
  local input = codec.decode(arguments)
  if type(input) ~= "table" or #input > 0 then
    refuse(path, "expected a JSON object in a string, got %s", common.beginning(arguments))
  end
  return next(input) == nil and json.object {} or input
end

local function assistant_blocks(message, codec, path)
  local native = some_table(message.native)
  if native and native.provider == "anthropic" and some_table(native.items) then
    return native.items
  end
  local blocks = blocks_of(message.content, path .. ".content")
  for i, call in ipairs(some_table(message.tool_calls) or common.NOTHING) do
    local place = ("%s.tool_calls[%d]"):format(path, i)
    local called = type(call) == "table" and some_table(call["function"])
    if not called then
      refuse(place, "expected { id =, type = \"function\", [\"function\"] = { name =, arguments = } }")
    end
    blocks[#blocks + 1] = {
      type = "tool_use", id = call.id, name = called.name,
      input = input_of(called.arguments, codec, place .. ".function.arguments"),
    }
  end
  return blocks
end

local function tool_result(message, path)
  if not some_text(message.tool_call_id) then
    refuse(path .. ".tool_call_id", "expected the id of the call, got %s", type(message.tool_call_id))
  end
  local content = message.content
  if type(content) == "table" then
    content = blocks_of(content, path .. ".content")
  end
  return { type = "tool_result", tool_use_id = message.tool_call_id, content = some(content),
    is_error = some(message.is_error), cache_control = message.cache_control }
end

-- Turns of one role in a row are one.
local function add_turn(turns, role, blocks)
  local last = turns[#turns]
  if last and last.role == role then
    append(last.content, blocks)
  elseif #blocks > 0 then
    local content = {}
    append(content, blocks)
    turns[#turns + 1] = { role = role, content = content }
  end
end

local SYSTEM = { system = true, developer = true }

local function conversation(messages, codec)
  local system, turns = {}, {}
  if type(messages) ~= "table" then
    refuse("messages", "expected a list, got %s", type(messages))
  end
  for i, message in ipairs(messages) do
    local path = ("messages[%d]"):format(i)
    local role = type(message) == "table" and message.role
    if SYSTEM[role] then
      append(system, blocks_of(message.content, path .. ".content"))
    elseif role == "user" then
      add_turn(turns, "user", blocks_of(message.content, path .. ".content"))
    elseif role == "assistant" then
      add_turn(turns, "assistant", assistant_blocks(message, codec, path))
    elseif role == "tool" then
      add_turn(turns, "user", { tool_result(message, path) })
    else
      refuse(path .. ".role", "expected system, developer, user, assistant or tool, got %s",
        type(role) == "string" and ("%q"):format(role) or type(role))
    end
  end
  return system, turns
end

local function tools_of(tools)
  local list = json.array {}
  for i, tool in ipairs(tools) do
    local described = type(tool) == "table" and tool.type == "function" and some_table(tool["function"])
    list[i] = described and {
      name = described.name, description = described.description, strict = described.strict,
      input_schema = some(described.parameters) or { type = "object", properties = json.object {} },
      cache_control = tool.cache_control,
    } or tool
  end
  return list
end

local CHOICES = { auto = "auto", none = "none", required = "any" }

local function choice_of(choice, parallel)
  local translated
  if type(choice) == "string" then
    translated = { type = CHOICES[choice] or choice }
  elseif some_table(choice) then
    local named = some_table(choice["function"])
    translated = named and { type = "tool", name = named.name } or common.copy(choice)
  elseif parallel == false then
    translated = { type = "auto" }
  end
  if translated and parallel == false and translated.type ~= "none" then
    translated.disable_parallel_tool_use = true
  end
  return translated
end

-- response_format and reasoning_effort, in the API's output_config; a format without a schema has no carrier there, but
-- the answer is decoded all the same.
local function output_of(request)
  local config = some_table(request.output_config)
  local format, effort = some_table(request.response_format), some_text(request.reasoning_effort)
  local schema = format and format.type == "json_schema" and some_table(format.json_schema)
  if schema or effort and effort ~= "none" and effort ~= "minimal" then
    config = common.copy(config or common.NOTHING)
    config.effort = config.effort or effort
    config.format = config.format or schema and { type = "json_schema", schema = schema.schema } or nil
  end
  return config
end

local function stops_of(stop)
  if type(stop) == "string" then
    return { stop }
  end
  return some_table(stop)
end

local function translate(request, codec)
  if type(request.n) == "number" and request.n > 1 then
    refuse("n", "Anthropic gives one answer to a request, not %d", request.n)
  end
  local body = {}
  for key, value in pairs(request) do
    if not APART[key] then
      body[key] = value
    end
  end
  local system, turns = conversation(request.messages, codec)
  if #system > 0 then
    append(system, blocks_of(body.system, "system"))
    body.system = system
  end
  body.messages = json.array(turns)
  body.max_tokens = some(request.max_tokens) or some(request.max_completion_tokens) or MAX_TOKENS
  body.stop_sequences = body.stop_sequences or stops_of(some(request.stop))
  local tools = some_table(request.tools)
  if tools and #tools > 0 then
    body.tools = tools_of(tools)
    body.tool_choice = choice_of(some(request.tool_choice), request.parallel_tool_calls)
  end
  body.output_config = output_of(request)
  if some_text(request.user) then
    body.metadata = common.copy(some_table(body.metadata) or common.NOTHING)
    body.metadata.user_id = body.metadata.user_id or request.user
  end
  return body
end

--- The body of a request, or nil and what is wrong with it.
---@param request table in OpenAI's chat shape
---@param codec surefoot.Codec
---@return table? body
---@return string? problem
function M.translate(request, codec)
  local ok, body = pcall(translate, request, codec)
  if ok then
    return body
  elseif getmetatable(body) ~= Problem then
    error(body, 0)
  end
  return nil, body[1]
end

return M
