--- The deltas of one choice of a chat completion stream, folded into the message that the provider would have sent
--- whole, so that it can be sent back: text, refusal, reasoning, tool calls, audio, and what is unknown.
--
-- Texts are joined, lists appended to, of other fields the last word counts; null says nothing.

local answer = require "surefoot.provider.openai_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local openai_calls = require "surefoot.provider.openai_calls"
local pieces = require "surefoot.provider.pieces"

local M = {}

local null, some_text = json.null, common.some_text
local add, text_of, new_pieces = pieces.add, pieces.text, pieces.new

---@class surefoot.OpenAIMessage  a message as far as it has come
---@field role string?
---@field content surefoot.Pieces?
---@field parts table[]?         blocks of content, where it is a list
---@field texts table<string, surefoot.Pieces>   refusal, reasoning_content, reasoning
---@field calls surefoot.OpenAICalls?
---@field function_call table?   the deprecated form
---@field audio table?
---@field details table[]?       blocks of reasoning_details
---@field rest table<string, any>

--- An empty message.
---@return surefoot.OpenAIMessage
function M.new()
  return { role = nil, content = nil, parts = nil, texts = {}, calls = nil, function_call = nil, audio = nil,
    details = nil, rest = {} }
end

-- ------------------------------------------------------------------------------------------------------------ blocks

-- Takes what a piece of an object says, beside the texts that are joined; null does not undo.
local function take_fields(into, from, except)
  for key, value in next, from do
    if key ~= except and type(key) == "string" and (value ~= null or into[key] == nil) then
      into[key] = value
    end
  end
end

-- A list of typed blocks: those of the same kind in a row are one, whose text at `slot` is joined.
local function add_block(blocks, block, slot, words)
  local last = blocks[#blocks]
  local goes_on = last and slot and last.slot == slot and last.fields.type == block.type
    and (block.index == nil or block.index == last.fields.index)
  if not goes_on then
    last = { slot = slot, fields = {}, text = slot and new_pieces() }
    blocks[#blocks + 1] = last
  end
  take_fields(last.fields, block, slot)
  if slot then
    add(last.text, words)
  end
end

local function blocks_of(blocks, shape)
  local list = json.array {}
  for i, block in ipairs(blocks) do
    local copy = {}
    take_fields(copy, block.fields)
    if block.slot then
      copy[block.slot] = shape(block.slot, text_of(block.text))
    end
    list[i] = copy
  end
  return list
end

local function as_it_is(_, text)
  return text
end

-- Mistral's thinking is a list of text parts.
local function part_shape(slot, text)
  return slot == "thinking" and { { type = "text", text = text } } or text
end

local function add_part(message, part)
  local thinking = answer.thinking_of { part }
  if thinking then
    add_block(message.parts, part, "thinking", thinking)
  elseif type(part.text) == "string" then
    add_block(message.parts, part, "text", part.text)
  else
    add_block(message.parts, part)
  end
end

-- Content is a text, or a list of parts; what began as the one may go on as the other.
local function fold_content(message, content)
  if type(content) == "string" then
    if not message.parts then
      message.content = message.content or new_pieces()
      if content ~= "" then
        add(message.content, content)
      end
    elseif content ~= "" then
      add_part(message, { type = "text", text = content })
    end
  elseif type(content) == "table" and #content > 0 then
    if not message.parts then
      local before = message.content and text_of(message.content)
      message.parts = {}
      if before and before ~= "" then
        add_part(message, { type = "text", text = before })
      end
    end
    for _, part in ipairs(content) do
      if type(part) == "table" then
        add_part(message, part)
      end
    end
  end
end

-- ------------------------------------------------------------------------------------------------------------ fields

local folds = {} -- key of a delta -> function(message, value, key): whether it shows something

local function fold_other(message, value, key)
  local rest = message.rest
  if type(value) ~= "table" then
    rest[key] = value
  elseif #value > 0 then
    local list = rest[key]
    if type(list) ~= "table" or #list == 0 then
      list = json.array {}
      rest[key] = list
    end
    for _, item in ipairs(value) do
      list[#list + 1] = item
    end
    return true
  elseif next(value) ~= nil or type(rest[key]) ~= "table" then
    rest[key] = value
  end
  return false
end

local function fold_text(message, value, key)
  if type(value) ~= "string" then
    return fold_other(message, value, key)
  end
  local text = message.texts[key]
  if not text then
    text = new_pieces()
    message.texts[key] = text
  end
  if value ~= "" then
    add(text, value)
    return true
  end
  return false
end

folds.refusal, folds.reasoning_content, folds.reasoning = fold_text, fold_text, fold_text

function folds.role(message, value)
  message.role = message.role or some_text(value)
  return false
end

local function ignore()
  return false
end

-- Below: folded by name; and what is no part of a message.
folds.content, folds.tool_calls, folds.index, folds.obfuscation = ignore, ignore, ignore, ignore

function folds.function_call(message, value, key)
  if type(value) ~= "table" then
    return fold_other(message, value, key)
  end
  local call = message.function_call or { name = nil, text = new_pieces() }
  message.function_call, call.name = call, some_text(value.name) or call.name
  add(call.text, type(value.arguments) == "string" and value.arguments or "")
  return true
end

function folds.audio(message, value, key)
  if type(value) ~= "table" then
    return fold_other(message, value, key)
  end
  local audio = message.audio or { texts = {}, fields = {} }
  message.audio = audio
  for name, part in next, value do
    if (name == "data" or name == "transcript") and type(part) == "string" then
      audio.texts[name] = audio.texts[name] or new_pieces()
      add(audio.texts[name], part)
    elseif type(name) == "string" and (part ~= null or audio.fields[name] == nil) then
      audio.fields[name] = part
    end
  end
  return true
end

local DETAIL_TEXT = { ["reasoning.text"] = "text", ["reasoning.summary"] = "summary" }

function folds.reasoning_details(message, value, key)
  if type(value) ~= "table" or #value == 0 then
    return fold_other(message, value, key)
  end
  message.details = message.details or {}
  for _, detail in ipairs(value) do
    if type(detail) == "table" then
      local slot = DETAIL_TEXT[detail.type]
      add_block(message.details, detail, slot, slot and some_text(detail[slot]) or "")
    end
  end
  return true
end

--- Takes a delta.
---@param message surefoot.OpenAIMessage
---@param delta table
---@param codec surefoot.Codec
---@return boolean shows       whether there is content in it
---@return string? text
---@return string? reasoning
---@return table[]? tool_calls  fragments
function M.fold(message, delta, codec)
  local shows = false
  for key, value in next, delta do
    if value ~= null and type(key) == "string" and (folds[key] or fold_other)(message, value, key) then
      shows = true
    end
  end
  local content, reasoning = delta.content, some_text(delta.reasoning_content) or some_text(delta.reasoning)
  local text
  if content ~= nil and content ~= null then
    fold_content(message, content)
    text = some_text(answer.text_of(content))
    reasoning = reasoning or type(content) == "table" and some_text(answer.thinking_of(content)) or nil
  end
  local calls = delta.tool_calls
  if type(calls) == "table" and #calls > 0 then
    message.calls = message.calls or openai_calls.new()
    calls = openai_calls.fold(message.calls, calls, codec)
  else
    calls = nil
  end
  return shows or text ~= nil or reasoning ~= nil or calls ~= nil, text, reasoning, calls
end

--- The message so far.
---@param message surefoot.OpenAIMessage
---@return table
function M.whole(message)
  local whole = {}
  take_fields(whole, message.rest)
  whole.role = message.role or "assistant"
  whole.content = message.parts and blocks_of(message.parts, part_shape) or message.content and text_of(message.content)
    or null
  for key, text in next, message.texts do
    whole[key] = text_of(text)
  end
  if message.details then
    whole.reasoning_details = blocks_of(message.details, as_it_is)
  end
  if message.calls then
    whole.tool_calls = openai_calls.list(message.calls)
  end
  local call, audio = message.function_call, message.audio
  if call then
    whole.function_call = { name = call.name, arguments = text_of(call.text) }
  end
  if audio then
    whole.audio = {}
    take_fields(whole.audio, audio.fields)
    for name, text in next, audio.texts do
      whole.audio[name] = text_of(text)
    end
  end
  return whole
end

return M
