--- Turns of Anthropic's Messages API as messages in OpenAI's chat shape. Pure; nothing given is written to.
--
-- Results of tools become messages of their own, before whatever else stands in their turn; pictures and files in them
-- follow in a user's message, for a tool's message holds text alone. An assistant's blocks are text and calls, and stay
-- as they came in message.native: there a line of Anthropic's finds its thoughts, signatures and searches again, which
-- no other can read. Thoughts without a signature are another provider's; nobody takes them back.

local common = require "surefoot.provider.common"
local ids = require "surefoot.dialect.messages_ids"
local json = require "surefoot.json"
local refusal = require "surefoot.provider.refusal"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text

local refuse, shown = refusal.refuse, refusal.shown

local function text_at(t, name, path)
  local text = t[name]
  if type(text) ~= "string" then
    refuse(path .. "." .. name, "expected a text, got %s", shown(text))
  end
  return text
end

local function is_list(value)
  return type(value) == "table" and (#value > 0 or next(value) == nil)
end

-- Calls a function with each block of a list, and its path.
local function each_block(content, path, f, ...)
  if not is_list(content) then
    refuse(path, "expected a text or a list of blocks, got %s", type(content) == "table" and "an object"
      or shown(content))
  end
  for i, block in ipairs(content) do
    local at = ("%s.%d"):format(path, i - 1)
    if type(block) ~= "table" then
      refuse(at, "expected a block, { type = ... }, got %s", shown(block))
    end
    f(block, at, ...)
  end
end

-- A single text as it is: not every server takes lists.
local function simple(parts)
  if #parts == 1 and parts[1].type == "text" then
    return parts[1].text
  end
  return parts
end

-- ------------------------------------------------------------------------------------------------------------- parts

local parts = {} -- type of a block -> function(block, path, list): appends what it is as parts

local function add_block(block, path, list, allowed)
  local add = type(block.type) == "string" and (allowed or parts)[block.type]
  if not add then
    refuse(path .. ".type", "%s cannot be told to a line that does not speak this API", shown(block.type))
  end
  add(block, path, list)
end

local function add_text(list, text)
  if text ~= "" then
    list[#list + 1] = { type = "text", text = text }
  end
end

function parts.text(block, path, list)
  add_text(list, text_at(block, "text", path))
end

-- Where the bytes are: a data URL, or an address.
local function url_of(source, path)
  if source.type == "base64" then
    return "data:" .. text_at(source, "media_type", path) .. ";base64," .. text_at(source, "data", path)
  elseif source.type == "url" then
    return text_at(source, "url", path)
  elseif source.type == "file" then
    refuse(path, "the file %s is at Anthropic, where other lines cannot read it; send it in base64",
      shown(source.file_id))
  end
  refuse(path .. ".type", "expected base64 or url, got %s", shown(source.type))
end

local function source_of(block, path)
  return some_table(block.source) or refuse(path .. ".source", "expected { type = ... }, got %s", shown(block.source))
end

function parts.image(block, path, list)
  list[#list + 1] = { type = "image_url", image_url = { url = url_of(source_of(block, path), path .. ".source") } }
end

local function refuse_citations(block, path)
  if (some_table(block.citations) or NOTHING).enabled == true then
    refuse(path .. ".citations", "only Anthropic's lines cite; set enabled to false")
  end
end

local sources = {} -- of documents, where they are no files: type -> function(source, path, list)

function sources.text(source, path, list)
  add_text(list, text_at(source, "data", path))
end

function sources.content(source, path, list)
  if type(source.content) == "string" then
    add_text(list, source.content)
  else
    each_block(source.content, path .. ".content", add_block, list, { text = parts.text, image = parts.image })
  end
end

function parts.document(block, path, list)
  refuse_citations(block, path)
  local source, heading = source_of(block, path), {}
  local add = type(source.type) == "string" and sources[source.type]
  if add then -- a file has its title for a name
    heading[1] = some_text(block.title)
  end
  heading[#heading + 1] = some_text(block.context)
  if #heading > 0 then
    add_text(list, table.concat(heading, "\n") .. "\n\n")
  end
  if add then
    add(source, path .. ".source", list)
  else
    list[#list + 1] = { type = "file", file = { filename = some_text(block.title) or "document.pdf",
      file_data = url_of(source, path .. ".source") } }
  end
end

function parts.search_result(block, path, list)
  refuse_citations(block, path)
  add_text(list, ("%s\n%s\n\n"):format(text_at(block, "title", path), text_at(block, "source", path)))
  each_block(block.content, path .. ".content", add_block, list, { text = parts.text })
end

local TEXTS = { text = parts.text }

--- Content that is text alone: a text, a list of text parts, or nil where it says nothing.
---@param content any
---@param path string
---@return string | table[] | nil
function M.text_of(content, path)
  content = some(content)
  if type(content) ~= "string" and content ~= nil then
    local list = {}
    each_block(content, path, add_block, list, TEXTS)
    content = simple(list)
  end
  return content ~= nil and #content > 0 and content or nil
end

-- ------------------------------------------------------------------------------------------------------------- users

local NAMES = { image_url = "image", file = "file" }

-- The parts of a result: texts, and what has to follow in another message. Each speaks of the other.
local function set_apart(list, id, media)
  local texts, counts = {}, {}
  for _, part in ipairs(list) do
    local name = NAMES[part.type]
    if name then
      counts[name] = (counts[name] or 0) + 1
      local label = ("%s %d of the result of %s"):format(name, counts[name], id)
      add_text(texts, ("[%s: see below]"):format(label))
      add_text(media, ("[%s]"):format(label))
      media[#media + 1] = part
    else
      texts[#texts + 1] = part
    end
  end
  return texts
end

local function result_message(block, path, media)
  local id, content, list = ids.own(text_at(block, "tool_use_id", path)), some(block.content), {}
  if type(content) == "string" then
    add_text(list, content)
  elseif content ~= nil then
    each_block(content, path .. ".content", add_block, list)
  end
  local has_failed = some(block.is_error) == true
  list = set_apart(list, id, media)
  if #list == 0 and has_failed then
    add_text(list, "error")
  end
  return { role = "tool", tool_call_id = id, content = #list > 0 and simple(list) or "",
    is_error = has_failed or nil }
end

local roles = {} -- role -> function(messages, message, path, codec)

function roles.user(messages, message, path)
  local content, media, rest = message.content, {}, {}
  if type(content) == "string" then
    messages[#messages + 1] = { role = "user", content = content }
    return
  end
  each_block(content, path .. ".content", function(block, at)
    if block.type == "tool_result" then
      messages[#messages + 1] = result_message(block, at, media)
    else
      add_block(block, at, rest)
    end
  end)
  for _, part in ipairs(rest) do
    media[#media + 1] = part
  end
  if #media > 0 then
    messages[#messages + 1] = { role = "user", content = simple(media) }
  end
end

function roles.system(messages, message, path)
  local content = M.text_of(message.content, path .. ".content")
  if content then
    messages[#messages + 1] = { role = "system", content = content }
  end
end

-- -------------------------------------------------------------------------------------------------------- assistants

---@class surefoot.dialect.MessagesTurn  what an assistant has said
---@field texts string[]
---@field calls table[]
---@field items table[]  its blocks, for lines of Anthropic's

local said = {} -- type of a block -> function(turn, block, path, codec): the block to keep, or nil

function said.text(turn, block, path)
  turn.texts[#turn.texts + 1] = text_at(block, "text", path)
  return block
end

function said.thinking(_, block)
  return some_text(block.signature) and block or nil
end

-- The summary of what was said before.
function said.compaction(turn, block)
  turn.texts[#turn.texts + 1] = some_text(block.content)
  return block
end

local function arguments_of(input, path, codec)
  if type(input) ~= "table" or #input > 0 then
    refuse(path, "expected an object, got %s", type(input) == "table" and "a list" or shown(input))
  elseif next(input) == nil then
    return "{}"
  end
  local text, problem = codec.encode(input)
  return text or refuse(path, "%s", problem)
end

function said.tool_use(turn, block, path, codec)
  local given, name = text_at(block, "id", path), text_at(block, "name", path)
  local id = ids.own(given)
  turn.calls[#turn.calls + 1] = { id = id, type = "function",
    ["function"] = { name = name, arguments = arguments_of(block.input, path .. ".input", codec) } }
  if id ~= given then -- the result's goes the same way (provider.anthropic_messages)
    block = common.copy(block)
    block.id = id:gsub("[^%w_-]", "_")
  end
  return block
end

local function keep(_, block)
  return block
end

-- What Anthropic's servers alone have a use for.
said.redacted_thinking, said.server_tool_use, said.mcp_tool_use, said.mcp_tool_listing = keep, keep, keep, keep
said.container_upload, said.fallback = keep, keep

local function take_said(block, path, turn, codec)
  local kind = type(block.type) == "string" and block.type or ""
  local take = said[kind] or kind:find "_tool_result$" and keep
  if not take then
    refuse(path .. ".type", "%s has no place in an assistant's message", shown(block.type))
  end
  turn.items[#turn.items + 1] = take(turn, block, path, codec)
end

function roles.assistant(messages, message, path, codec)
  local content = message.content
  if type(content) == "string" then
    messages[#messages + 1] = { role = "assistant", content = content }
    return
  end
  local turn = { texts = {}, calls = {}, items = {} }
  each_block(content, path .. ".content", take_said, turn, codec)
  if #turn.items == 0 then
    return
  end
  local text, has_calls = table.concat(turn.texts), #turn.calls > 0
  messages[#messages + 1] = {
    role = "assistant", content = text == "" and has_calls and json.null or text,
    tool_calls = has_calls and turn.calls or nil, native = { provider = "anthropic", items = turn.items },
  }
end

-- --------------------------------------------------------------------------------------------------------- the whole

--- The messages of a conversation. Raises refusals.
---@param given any       the caller's `messages`
---@param messages table[] what stands before them; they are appended
---@param codec surefoot.Codec
function M.conversation(given, messages, codec)
  if not is_list(given) or #given == 0 then
    refuse("messages", "expected a list of at least one message, got %s", type(given) == "table" and "none"
      or shown(given))
  end
  local before = #messages
  for i, message in ipairs(given) do
    local path = ("messages.%d"):format(i - 1)
    if type(message) ~= "table" then
      refuse(path, "expected a message, { role = ..., content = ... }, got %s", shown(message))
    end
    local add = type(message.role) == "string" and roles[message.role]
    if not add then
      refuse(path .. ".role", "expected user or assistant, got %s", shown(message.role))
    end
    add(messages, message, path, codec)
  end
  local last = given[#given]
  if last.role == "assistant" then
    refuse(("messages.%d"):format(#given - 1), "the last message is the assistant's, and lines that do not speak this "
      .. "API begin another answer instead of continuing it; end with a user's message")
  elseif #messages == before then
    refuse("messages", "no message says anything")
  end
end

--- Whether a conversation can go to a line of Anthropic's as it is: thoughts of other providers, which the API refuses
--- for want of a signature, stand in the way.
---@param given any the caller's `messages`
---@return boolean
function M.is_native(given)
  for _, message in ipairs(some_table(given) or NOTHING) do
    local content = type(message) == "table" and message.role == "assistant" and some_table(message.content)
    for _, block in ipairs(content or NOTHING) do
      if type(block) == "table" and block.type == "thinking" and not some_text(block.signature) then
        return false
      end
    end
  end
  return true
end

return M
