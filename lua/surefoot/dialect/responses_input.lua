--- The input of a Responses request as messages in OpenAI's chat shape. Pure; nothing given is written to.
--
-- Items that follow one another and come of the model (reasoning, messages, calls) are what it said in one go: chat
-- wants the results of calls behind the one message that makes them. The items themselves stand in its message.native,
-- as the provider module of this API takes them, or else what the answer's own provider wants back. Reasoning by itself
-- says nothing on other lines. Paths in refusals count from 0, as OpenAI's do.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local keepsake = require "surefoot.dialect.responses_keepsake"
local refusal = require "surefoot.provider.refusal"
local responses_request = require "surefoot.provider.responses_request"

local M = {}

local concat = table.concat
local some, some_table, some_text = common.some, common.some_table, common.some_text

local refuse, shown = refusal.refuse, refusal.shown

local function text_at(t, key, path)
  if type(t[key]) ~= "string" then
    refuse(path .. "." .. key, "expected a text, got %s", shown(t[key]))
  end
  return t[key]
end

local function name_at(t, key, path)
  return some_text(t[key]) or refuse(path .. "." .. key, "is required")
end

-- -------------------------------------------------------------------------------------------------------------- parts

local parts = {} -- type of a part -> function(part, path): the part in chat's words

function parts.input_text(part, path)
  return { type = "text", text = text_at(part, "text", path), cache_control = some(part.cache_control) }
end

parts.output_text, parts.text = parts.input_text, parts.input_text

local DETAILS = { low = "low", high = "high", original = "high" } -- chat has no more than high

function parts.input_image(part, path)
  local url = some(part.image_url)
  if url == nil and some(part.file_id) ~= nil then
    refuse(path .. ".file_id", "images that OpenAI keeps are known to its Responses API alone; give image_url")
  elseif type(url) ~= "string" then
    refuse(path .. ".image_url", "expected a URL (https: or data:), got %s", shown(url))
  end
  return { type = "image_url", image_url = { url = url, detail = DETAILS[some(part.detail) or ""] },
    cache_control = some(part.cache_control) }
end

function parts.input_file(part, path)
  local file = { file_id = some(part.file_id), file_data = some(part.file_data), file_url = some(part.file_url) }
  if next(file) == nil then
    refuse(path, "expected file_data, file_id or file_url")
  end
  file.filename = some(part.filename)
  return { type = "file", file = file, cache_control = some(part.cache_control) }
end

function parts.input_audio(part)
  return part
end

-- A single text is told as such: there are lines that take nothing else.
local function content_of(content, path)
  if type(content) == "string" then
    return content
  elseif type(content) ~= "table" or content[1] == nil and next(content) ~= nil then
    refuse(path, "expected a text or a list of parts, got %s", shown(content))
  end
  local list = json.array {}
  for i, part in ipairs(content) do
    local at = ("%s[%d]"):format(path, i - 1)
    if type(part) ~= "table" then
      refuse(at, "expected a part, got %s", shown(part))
    end
    local translate = parts[part.type or ""]
      or refuse(at .. ".type", "chat lines have no counterpart for %s", shown(part.type))
    list[i] = translate(part, at)
  end
  local first = list[1]
  if first and not list[2] and first.type == "text" and not first.cache_control then
    return first.text
  end
  return #list > 0 and list or ""
end

-- ---------------------------------------------------------------------------------------------------------- the model

-- What the model has said, as far as it is one message.
local function new_turn()
  return { items = json.array {}, texts = {}, refusals = {}, calls = json.array {}, ids = {}, says = false }
end

local SAID = { output_text = "text", input_text = "text", text = "text", refusal = "refusal" }

-- The texts of an assistant's message, and its refusals.
local function said_by(content, path)
  local texts, refusals = {}, {}
  if type(content) == "string" then
    return { content }, refusals
  elseif type(content) ~= "table" or content[1] == nil and next(content) ~= nil then
    refuse(path, "expected a text or a list of parts, got %s", shown(content))
  end
  for i, part in ipairs(content) do
    local at = ("%s[%d]"):format(path, i - 1)
    local key = type(part) == "table" and SAID[part.type or ""]
      or refuse(at .. ".type", "expected output_text or refusal, got %s",
        shown(type(part) == "table" and part.type or part))
    local into = key == "text" and texts or refusals
    into[#into + 1] = text_at(part, key, at)
  end
  return texts, refusals
end

local takers = {} -- type of an item -> function(turn, entry)

function takers.message(turn, entry)
  turn.texts[#turn.texts + 1] = concat(entry.texts)
  turn.refusals[#turn.refusals + 1] = #entry.refusals > 0 and concat(entry.refusals) or nil
  turn.says = true
end

function takers.call(turn, entry)
  turn.calls[#turn.calls + 1], turn.ids[#turn.ids + 1] = entry.call, entry.call.id
  turn.says = true
end

-- What is not kept at OpenAI can be known again only by what is encrypted in it.
function takers.reasoning(turn, entry)
  turn.skips = keepsake.is_ours(entry.item) or not entry.keeps and not some_text(entry.item.encrypted_content)
end

local function take(turn, entry)
  turn.skips = false
  takers[entry.kind](turn, entry)
  if not turn.skips then
    turn.items[#turn.items + 1] = entry.item
  end
end

local function add_turn(state, turn, gap)
  if not turn.says then
    return
  end
  local text = concat(turn.texts, gap)
  local message = { role = "assistant", content = text, native = { provider = responses_request.NATIVE,
    items = turn.items } }
  if #turn.refusals > 0 then
    message.refusal = concat(turn.refusals, gap)
  end
  if #turn.calls > 0 then
    message.tool_calls = turn.calls
  end
  if text == "" and (message.refusal or message.tool_calls) then
    message.content = json.null
  end
  state.messages[#state.messages + 1] = message
  return message
end

-- The thoughts that were shown of an answer, as their provider wrote them.
local function thoughts_of(run)
  local thoughts = {}
  for _, entry in ipairs(run) do
    for _, part in ipairs(entry.kind == "reasoning" and some_table(entry.item.summary) or common.NOTHING) do
      thoughts[#thoughts + 1] = type(part) == "table" and some_text(part.text) or nil
    end
  end
  return concat(thoughts)
end

-- An answer that came with a keepsake is one message, if it is still the same.
local function add_kept(state, run, kept)
  local turn = new_turn()
  for _, entry in ipairs(run) do
    take(turn, entry)
  end
  if not keepsake.fits(kept, concat(turn.texts), turn.ids) then
    return false
  end
  local message = add_turn(state, turn, "")
  if message then
    message.native = kept.native or message.native
    message.reasoning_details = kept.details
    message.reasoning_content = kept.thinks and some_text(thoughts_of(run)) or nil
  end
  return true
end

-- Ends what the model said in one go. Messages in a row stay apart, as long as no call would lose its place.
local function flush(state, kept)
  local run = state.run
  if #run == 0 then
    return
  end
  state.run = {}
  if kept and add_kept(state, run, kept) then
    return
  end
  local turn = new_turn()
  for _, entry in ipairs(run) do
    if entry.kind == "message" and turn.says and #turn.calls == 0 then
      add_turn(state, turn, "\n\n")
      turn = new_turn()
    end
    take(turn, entry)
  end
  add_turn(state, turn, "\n\n")
end

-- -------------------------------------------------------------------------------------------------------------- items

local ROLES = { user = "user", system = "system", developer = "system" } -- many lines know no developer

local function add_message(state, item, path)
  if item.role == "assistant" then
    local texts, refusals = said_by(item.content, path .. ".content")
    state.run[#state.run + 1] = { kind = "message", item = item, texts = texts, refusals = refusals }
    return
  end
  local role = ROLES[item.role or ""]
    or refuse(path .. ".role", "expected user, assistant, system or developer, got %s", shown(item.role))
  flush(state)
  state.messages[#state.messages + 1] = { role = role, content = content_of(item.content, path .. ".content") }
end

local items = { message = add_message } -- type of an item -> function(state, item, path)

function items.reasoning(state, item)
  if keepsake.is_ours(item) then
    local kept = keepsake.read(item, state.codec)
    if kept then
      flush(state, kept)
      return
    end
  end
  state.run[#state.run + 1] = { kind = "reasoning", item = item, keeps = state.keeps }
end

local function add_call(state, item, call, path)
  call.id = name_at(item, "call_id", path)
  state.calls[call.id] = true
  state.run[#state.run + 1] = { kind = "call", item = item, call = call }
end

function items.function_call(state, item, path)
  add_call(state, item, { type = "function", ["function"] = { name = name_at(item, "name", path),
    arguments = text_at(item, "arguments", path) } }, path)
end

function items.custom_tool_call(state, item, path)
  add_call(state, item, { type = "custom", custom = { name = name_at(item, "name", path),
    input = text_at(item, "input", path) } }, path)
end

function items.function_call_output(state, item, path)
  flush(state)
  local id = name_at(item, "call_id", path)
  if not state.calls[id] then
    refuse(path .. ".call_id", "no call %s stands before it; no state is kept here, so the call has to be sent, too",
      shown(id))
  end
  state.messages[#state.messages + 1] = { role = "tool", tool_call_id = id,
    content = content_of(item.output, path .. ".output") }
end

items.custom_tool_call_output = items.function_call_output

function items.item_reference(_, _, path)
  refuse(path, "no state is kept here; send the item itself (SDKs do, with store = false)")
end

local function add_item(state, item, path)
  if type(item) ~= "table" then
    refuse(path, "expected an item, got %s", shown(item))
  end
  local kind = some(item.type)
  if kind == nil then
    kind = some(item.role) ~= nil and "message" or refuse(path .. ".type", "is required")
  end
  local add = items[kind]
    or refuse(path .. ".type", "%s is known to lines of the Responses API alone", shown(kind))
  add(state, item, path)
end

--- The messages of a conversation. Raises refusals.
---@param input any
---@param keeps boolean  OpenAI keeps what it is asked and says
---@param codec surefoot.Codec
---@return table[] messages
function M.messages(input, keeps, codec)
  if type(input) == "string" then
    return json.array { { role = "user", content = input } }
  elseif type(input) ~= "table" or input[1] == nil then
    refuse("input", some(input) == nil and "is required" or "expected a text or a list of items, got %s",
      type(input) == "table" and next(input) == nil and "an empty list" or shown(input))
  end
  local state = { messages = json.array {}, run = {}, calls = {}, keeps = keeps, codec = codec }
  for i, item in ipairs(input) do
    add_item(state, item, ("input[%d]"):format(i - 1))
  end
  flush(state)
  return state.messages
end

--- The input as a line of the Responses API takes it: without the items that were written here, which OpenAI would
--- refuse as none of its own. Where there are none, it is the same table.
---@param input any
---@return any
function M.without_ours(input)
  local list, found = json.array {}, false
  for _, item in ipairs(some_table(input) or common.NOTHING) do
    if type(item) == "table" and keepsake.is_ours(item) then
      found = true
    else
      list[#list + 1] = item
    end
  end
  return found and list or input
end

return M
