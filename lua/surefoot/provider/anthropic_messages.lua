--- Messages in OpenAI's chat shape as turns of Anthropic's Messages API. Pure; nothing given is written to.
--
-- System and developer messages are taken out (they become `system`), tool messages become `tool_result` blocks of a
-- user's turn, tool calls `tool_use` blocks, and messages of one role in a row one turn, with the results of tools at
-- its head: the API refuses anything before them. A message that came from Anthropic goes back block by block as it
-- came (message.native); blocks in Anthropic's own shape pass through.
--
-- What the API refuses although it says nothing is left out: empty texts, turns of nothing but white space, white space
-- at the end of a turn that the model is to continue.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local refusal = require "surefoot.provider.refusal"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text

local refuse, shown = refusal.refuse, refusal.shown

-- ------------------------------------------------------------------------------------------------------------ parts

-- An image or a document: bytes in a data URL, or an address that Anthropic fetches.
local function media_block(url, kind, path)
  if type(url) ~= "string" then
    refuse(path, "expected a URL, got %s", shown(url))
  elseif not url:find "^[Dd][Aa][Tt][Aa]:" then
    return { type = kind, source = { type = "url", url = url } }
  end
  local head, start = url:match "^.....([^,]*),()"
  local media_type = head and head:match "^[^;%s]+"
  if not media_type or not head:lower():find ";%s*base64%s*$" then
    refuse(path, "expected a data URL that names its media type, in base64 (data:image/png;base64,...), got %s",
      shown(url))
  end
  media_type = media_type:lower()
  kind = media_type:find "^image/" and "image" or media_type == "application/pdf" and "document" or kind
  return { type = kind, source = { type = "base64", media_type = media_type, data = url:sub(start) } }
end

local parts = {} -- OpenAI's, by type -> a block, or nil for what says nothing

function parts.image_url(part, path)
  local image = part.image_url
  local is_table = type(image) == "table"
  local block = media_block(is_table and image.url or image, "image", path .. (is_table and ".image_url.url"
    or ".image_url"))
  block.cache_control = part.cache_control
  return block
end

function parts.file(part, path)
  local file, block = some_table(part.file) or NOTHING, nil
  if some_text(file.file_id) then
    block = { type = "document", source = { type = "file", file_id = file.file_id } }
  elseif some(file.file_data) ~= nil then
    block = media_block(file.file_data, "document", path .. ".file.file_data")
  elseif some(file.file_url) ~= nil then
    block = media_block(file.file_url, "document", path .. ".file.file_url")
  else
    refuse(path .. ".file", "neither file_data, file_url nor file_id")
  end
  block.title = block.type == "document" and some(file.filename) or nil
  block.cache_control = part.cache_control
  return block
end

function parts.refusal(part)
  return some_text(part.refusal) and { type = "text", text = part.refusal }
end

-- Other providers' thoughts have no signature of Anthropic's, and are refused without one.
function parts.thinking(part)
  return some_text(part.signature) and part
end

function parts.input_audio(_, path)
  refuse(path, "Anthropic takes no audio")
end

local function block_of(part, path)
  if type(part) == "string" then
    part = { type = "text", text = part }
  elseif type(part) ~= "table" then
    refuse(path, "expected a part, { type =, ... }, got %s", shown(part))
  end
  local translate = parts[part.type]
  if translate then
    return translate(part, path)
  end
  return (part.type ~= "text" or part.text ~= "") and part
end

--- Content as a list of blocks, without empty texts.
---@param content any
---@param path string
---@return table[]
function M.blocks_of(content, path)
  local blocks = {}
  if type(content) == "string" then
    blocks[1] = content ~= "" and { type = "text", text = content } or nil
  elseif type(content) == "table" and (#content > 0 or next(content) == nil) then
    for i, part in ipairs(content) do
      blocks[#blocks + 1] = block_of(part, ("%s[%d]"):format(path, i)) or nil
    end
  elseif some(content) ~= nil then
    refuse(path, "expected a text or a list of parts, got %s", type(content) == "table" and "an object"
      or shown(content))
  end
  return blocks
end

local blocks_of = M.blocks_of

-- ------------------------------------------------------------------------------------------------------------ tools

-- Ids that other providers gave may hold what Anthropic's must not ("functions.weather:0"): call and result alike.
local function id_of(id, path)
  if not some_text(id) then
    refuse(path, "expected the id of the call, got %s", shown(id))
  end
  return (id:gsub("[^%w_-]", "_"))
end

-- The arguments of a call: a JSON object in a string.
local function input_of(arguments, codec, path)
  if type(arguments) == "table" then
    return arguments
  elseif some(arguments) == nil or type(arguments) == "string" and not arguments:find "%S" then
    return json.object {}
  end
  local input = type(arguments) == "string" and arguments:find "^%s*{" and codec.decode(arguments)
  if type(input) ~= "table" then
    refuse(path, "expected a JSON object in a string, got %s", shown(arguments))
  end
  return input
end

local function tool_use(call, codec, path)
  local called = type(call) == "table" and some_table(call["function"])
  if not called then
    refuse(path, 'expected { id =, type = "function", ["function"] = { name =, arguments = } }')
  elseif not some_text(called.name) then
    refuse(path .. ".function.name", "expected a name, got %s", shown(called.name))
  end
  return { type = "tool_use", id = id_of(call.id, path .. ".id"), name = called.name,
    input = input_of(called.arguments, codec, path .. ".function.arguments") }
end

local function tool_result(message, path)
  local content = message.content
  if type(content) ~= "string" then
    content = blocks_of(content, path .. ".content")
  end
  return { type = "tool_result", tool_use_id = id_of(message.tool_call_id, path .. ".tool_call_id"),
    content = #content > 0 and content or nil, is_error = some(message.is_error),
    cache_control = message.cache_control }
end

-- ------------------------------------------------------------------------------------------------------------ turns

local function is_blank(block)
  return type(block) == "table" and block.type == "text" and type(block.text) == "string" and not block.text:find "%S"
end

local function says_something(blocks)
  for _, block in ipairs(blocks) do
    if not is_blank(block) then
      return true
    end
  end
  return false
end

local function add_turn(state, role, blocks)
  if not says_something(blocks) then
    return
  end
  local turn = state.turns[#state.turns]
  if not turn or turn.role ~= role then
    turn = { role = role, content = {} }
    state.turns[#state.turns + 1], state.results = turn, 0
  end
  for _, block in ipairs(blocks) do
    if type(block) == "table" and block.type == "tool_result" then
      state.results = state.results + 1
      table.insert(turn.content, state.results, block)
    else
      turn.content[#turn.content + 1] = block
    end
  end
end

-- An assistant's blocks as Anthropic sent them, or nil. It has been seen to send empty texts, and refuses them.
local function native_blocks(message)
  local native = some_table(message.native)
  local items = native and native.provider == "anthropic" and some_table(native.items)
  if not items then
    return nil
  end
  local blocks = {}
  for _, item in ipairs(items) do
    if not (is_blank(item) and item.text == "") then
      blocks[#blocks + 1] = item
    end
  end
  return blocks
end

local function assistant_blocks(message, codec, path)
  local blocks = native_blocks(message)
  if blocks then
    return blocks
  end
  blocks = blocks_of(message.content, path .. ".content")
  if #blocks == 0 and some_text(message.refusal) then
    blocks[1] = { type = "text", text = message.refusal }
  end
  for i, call in ipairs(some_table(message.tool_calls) or NOTHING) do
    blocks[#blocks + 1] = tool_use(call, codec, ("%s.tool_calls[%d]"):format(path, i))
  end
  return blocks
end

local roles = {}

function roles.system(state, message, path)
  for _, block in ipairs(blocks_of(message.content, path .. ".content")) do
    state.system[#state.system + 1] = block
  end
end

roles.developer = roles.system

function roles.user(state, message, path)
  add_turn(state, "user", blocks_of(message.content, path .. ".content"))
end

function roles.assistant(state, message, path)
  add_turn(state, "assistant", assistant_blocks(message, state.codec, path))
end

function roles.tool(state, message, path)
  add_turn(state, "user", { tool_result(message, path) })
end

-- The model continues a last turn of the assistant's: it must not end in white space.
local function trim_end(turn)
  local content = turn.content
  for i = #content, 1, -1 do
    local block = content[i]
    if type(block) ~= "table" or block.type ~= "text" or type(block.text) ~= "string" then
      return
    end
    local text = block.text:match "^(.*%S)" or ""
    if text ~= "" then
      if text ~= block.text then
        content[i] = common.copy(block)
        content[i].text = text
      end
      return
    end
    content[i] = nil
  end
end

--- The system blocks and the turns of a conversation. Raises refusals.
---@param messages any
---@param codec surefoot.Codec
---@return table[] system
---@return table[] turns
function M.conversation(messages, codec)
  if type(messages) ~= "table" then
    refuse("messages", "expected a list, got %s", shown(messages))
  end
  local state = { codec = codec, system = {}, turns = {}, results = 0 }
  for i, message in ipairs(messages) do
    local path = ("messages[%d]"):format(i)
    if type(message) ~= "table" then
      refuse(path, "expected a message, got %s", shown(message))
    end
    local add = type(message.role) == "string" and roles[message.role]
    if not add then
      refuse(path .. ".role", "expected system, developer, user, assistant or tool, got %s", shown(message.role))
    end
    add(state, message, path)
  end
  local turns = state.turns
  if #turns == 0 then
    refuse("messages", "Anthropic wants at least one message of the user's, and one that is not empty")
  elseif turns[#turns].role == "assistant" then
    trim_end(turns[#turns])
  end
  return state.system, turns
end

return M
