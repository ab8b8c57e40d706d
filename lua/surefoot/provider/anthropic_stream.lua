--- The folder of an Anthropic message stream: message_start, then blocks that begin, grow and end, message_delta with
--- the stop reason and the usage so far, message_stop; whole after message_stop alone.
--
-- What holds: pings, events nobody knows yet, thoughts that are hidden and their signatures, empty deltas. What
-- commits: text, thoughts, calls of tools, also of those that the server runs. What fails: error events; data that is
-- no JSON; events out of order. The content of fields() is that of the message had it come whole.

local answer = require "surefoot.provider.anthropic_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local outline = require "surefoot.provider.outline"
local pieces = require "surefoot.provider.pieces"
local shape = require "surefoot.provider.shape"

local M = {}

local find = string.find
local NOTHING = common.NOTHING
local some, some_table, some_text = common.some, common.some_table, common.some_text

-- A block of the message while it grows.
---@class surefoot.AnthropicBlock
---@field block table     as it began, with what is not text as it is now
---@field field string?   which of its fields grows: text, thinking or input
---@field texts surefoot.Pieces?  what that has grown to
---@field call integer?   number of the call, from 0
---@field cited table[]?  its citations, once one has come

---@class surefoot.AnthropicFolder: surefoot.Folder
---@field private codec surefoot.Codec
---@field private request table?
---@field private message table?   as message_start gave it, with what message_delta has added
---@field private blocks surefoot.AnthropicBlock[]
---@field private places table<any, surefoot.AnthropicBlock>  by the events' index
---@field private calls integer    tool_use blocks so far
---@field private stopped boolean
---@field private outline surefoot.Outline?  of events that add text to a block
local Folder = {}
Folder.__index = Folder

--- Makes a folder.
---@param codec surefoot.Codec
---@param request table?
---@return surefoot.Folder
function M.new(codec, request)
  return setmetatable({ codec = codec, request = request, message = nil, blocks = {}, places = {}, calls = 0,
    stopped = false, outline = codec.is_ours and outline.new() or nil }, Folder)
end

local function malformed(message, ...)
  return "fail", { class = "transient", kind = "malformed", message = message:format(...) }
end

-- What is new counts; null only where there was nothing.
local function merge(into, from)
  for key, value in pairs(from or NOTHING) do
    if some(value) ~= nil or into[key] == nil then
      into[key] = value
    end
  end
end

local function finished(self, document)
  local finish = self.codec.finish
  return finish and finish(document) or document
end

-- --------------------------------------------------------------------------------------------------------- chunks

-- A chunk; the empty fields are named so that the table has their places.
local function chunk_of(self, document, text, reasoning, calls)
  return common.chunk({ text = text, index = 1, tool_calls = calls, reasoning = reasoning, finish_reason = nil,
    usage = nil, raw = nil, _raw = nil }, document, self.codec.finish)
end

local function call_chunk(self, document, entry, arguments, block)
  return chunk_of(self, document, nil, nil, { {
    index = entry.call, id = block and some(block.id), type = block and "function",
    ["function"] = { name = block and some(block.name), arguments = arguments },
  } })
end

-- --------------------------------------------------------------------------------------------------------- blocks

local function grow(entry, field, text)
  if entry.field ~= field then
    local begun = entry.block[field]
    entry.field, entry.texts = field, pieces.new()
    if type(begun) == "string" then
      pieces.add(entry.texts, begun)
    end
  end
  pieces.add(entry.texts, text)
end

local handlers = {} -- by the type of the event

function handlers.message_start(self, document)
  local message = some_table(document.message)
  if not message then
    return malformed "message_start without a message"
  elseif self.message then
    return malformed "a second message began in the stream"
  end
  local fault = shape.list(message.content, "message.content", answer.fault_of)
  if fault then
    return malformed("an event's %s", fault)
  end
  message = finished(self, message)
  for i, block in ipairs(some_table(message.content) or NOTHING) do
    self.blocks[i] = { block = some_table(block) or NOTHING }
    self.places[i - 1] = self.blocks[i]
  end
  message.content, message.usage = nil, some_table(message.usage) or {}
  self.message = message
  return "hold"
end

-- What the server runs by itself, and what came of it.
local function is_servers(kind)
  return kind == "server_tool_use" or kind == "mcp_tool_use" or find(kind, "_tool_result$") ~= nil
end

function handlers.content_block_start(self, document)
  local begun = some_table(document.content_block)
  if not begun or not some_text(begun.type) then
    return malformed "content_block_start without a block"
  end
  local fault = answer.fault_of(begun, "content_block")
  if fault then
    return malformed("an event's %s", fault)
  end
  document = finished(self, document)
  local block = common.copy(document.content_block)
  local kind, entry = block.type, { block = block, field = nil, texts = nil, call = nil }
  self.blocks[#self.blocks + 1] = entry
  self.places[some(document.index) or #self.blocks - 1] = entry
  if kind == "tool_use" then
    entry.call, self.calls = self.calls, self.calls + 1
    return "commit", call_chunk(self, document, entry, "", block)
  elseif kind == "fallback" then -- another model goes on
    self.message.model = some_text((some_table(block.to) or NOTHING).model) or self.message.model
  elseif kind == "text" and some_text(block.text) then
    return "commit", chunk_of(self, document, block.text)
  elseif kind == "thinking" and some_text(block.thinking) then
    return "commit", chunk_of(self, document, nil, block.thinking)
  elseif is_servers(kind) then
    return "commit", chunk_of(self, document)
  end
  return "hold"
end

local deltas = {} -- by their type: the field that they add to, and what folds it; a chunk where there is one to show

deltas.text_delta = { "text", function(self, document, entry, text)
  grow(entry, "text", text)
  return text ~= "" and chunk_of(self, document, text)
end }

deltas.thinking_delta = { "thinking", function(self, document, entry, text)
  grow(entry, "thinking", text)
  return text ~= "" and chunk_of(self, document, nil, text)
end }

deltas.input_json_delta = { "partial_json", function(self, document, entry, text)
  if text == "" then
    return nil
  end
  grow(entry, "input", text)
  return entry.call and call_chunk(self, document, entry, text)
end }

-- A chunk of thoughts that were shown: who writes the stream anew has to sign them.
deltas.signature_delta = { "signature", function(self, document, entry, signature)
  entry.block.signature = signature
  return entry.field == "thinking" and chunk_of(self, document)
end }

function deltas.citations_delta(self, document, entry, delta)
  local block = entry.block
  if not entry.cited then -- the list it began with is the event's
    entry.cited = json.array {}
    for i, citation in ipairs(some_table(block.citations) or NOTHING) do
      entry.cited[i] = citation
    end
    block.citations = entry.cited
  end
  entry.cited[#entry.cited + 1] = finished(self, delta.citation)
  return chunk_of(self, document)
end

function deltas.compaction_delta(_, _, entry, delta)
  entry.block.content, entry.block.encrypted_content = delta.content, delta.encrypted_content
end

-- The block that an event speaks of.
local function grown(self, document)
  return self.places[some(document.index) or #self.blocks - 1]
end

function handlers.content_block_delta(self, document)
  local delta, entry = some_table(document.delta), grown(self, document)
  if not delta or not entry then
    return malformed(delta and "a block grew that had not begun" or "content_block_delta without a delta")
  end
  local fold, chunk = deltas[delta.type], nil
  if type(fold) == "table" then
    local value = delta[fold[1]]
    if type(value) ~= "string" then
      return malformed("a %s without its %s", delta.type, fold[1])
    end
    chunk = fold[2](self, document, entry, value)
  elseif fold then
    chunk = fold(self, document, entry, delta)
  end
  if chunk then
    return "commit", chunk
  end
  return "hold"
end

-- Arguments that did not come in pieces: those of a tool without any, and what kin of Anthropic's send at once.
function handlers.content_block_stop(self, document)
  local entry = grown(self, document)
  if not entry or not entry.call or entry.texts then
    return "hold"
  end
  local text, problem = self.codec.encode(some_table(entry.block.input) or NOTHING)
  if not text then
    return "fail", { class = "final", kind = "malformed", -- it would be the same again
      message = "the input of a call cannot be written: " .. problem }
  end
  grow(entry, "input", text)
  return "commit", call_chunk(self, document, entry, text)
end

-- -------------------------------------------------------------------------------------------------------- endings

local DELTA_APART = { type = true, delta = true, usage = true }

function handlers.message_delta(self, document)
  document = finished(self, document)
  local delta, message = some_table(document.delta) or NOTHING, self.message
  merge(message, delta)
  merge(message.usage, some_table(document.usage))
  for key, value in pairs(document) do
    if not DELTA_APART[key] then
      message[key] = value
    end
  end
  local reason = answer.finish_reason(delta.stop_reason)
  if not reason then
    return "hold"
  end
  local chunk = chunk_of(self, document)
  chunk.finish_reason, chunk.usage = reason, answer.usage(message.usage)
  return "finish", chunk
end

function handlers.message_stop(self)
  self.stopped = true
  return "complete"
end

-- ------------------------------------------------------------------------------------------------------- the folder

local function unreadable(name, data, message)
  if name == "error" then
    return "fail", common.judge_event(nil, data)
  elseif find(data, "^%s*%[DONE%]") then -- some proxies say farewell in OpenAI's words
    return "hold"
  elseif find(data, "^%s*<") then
    return malformed("an event is HTML or XML, not JSON: %s", common.beginning(data))
  end
  return malformed("an event is no JSON object (%s): %s", message or "no braces", common.beginning(data))
end

--- Takes an event.
---@param name string?
---@param data string
---@return string action
---@return any payload
function Folder:event(name, data)
  local known, text, entry = self.outline, nil, nil
  if known and name == "content_block_delta" then
    text, entry = outline.text(known, data)
  end
  if text then
    pieces.add(entry.texts, text)
    return "commit", common.text_chunk(text, 1, data, self.codec)
  elseif self.stopped or name == "ping" or not find(data, "%S") then
    return "hold"
  end
  local document, _, message = self.codec.read(data)
  if type(document) ~= "table" or not find(data, "^%s*{") then
    return unreadable(name, data, message)
  elseif name == "error" or common.is_error(document) then
    return "fail", common.judge_event(document, data)
  end
  local kind = some_text(document.type) or name
  local handler = handlers[kind]
  if not handler then
    return "hold"
  elseif not self.message and kind ~= "message_start" then
    return malformed("%s before message_start", kind)
  end
  local action, chunk = handler(self, document)
  if known and kind == "content_block_delta" and chunk and chunk.text then
    outline.take(known, data, "text", chunk.text, grown(self, document))
  elseif known then -- what this event says may bear on all that follow
    outline.forget(known)
  end
  return action, chunk
end

--- Whether the message has stopped.
---@return boolean
function Folder:whole()
  return self.stopped
end

local MANY_DIGITS = ("%d"):rep(16) -- more than a number holds: the text is better than what it would be written as

-- The input of a call of which a text has come: decoded where it is whole; and the arguments, written as decode's are.
local function input_of(self, text)
  if not find(text, "%S") then
    return json.object {}, "{}"
  end
  local input = find(text, "^%s*{") and self.codec.decode(text)
  if type(input) ~= "table" then
    return json.object {}, text -- cut within, or no JSON
  end
  return input, not find(text, MANY_DIGITS) and self.codec.encode(input) or text
end

--- The answer so far.
---@return table fields
function Folder:fields()
  local document, told = common.copy(self.message or NOTHING), {}
  local content = json.array {}
  for i, entry in ipairs(self.blocks) do
    local block = common.copy(entry.block)
    if entry.field == "input" then
      block.input, told[block] = input_of(self, pieces.text(entry.texts))
    elseif entry.field then
      block[entry.field] = pieces.text(entry.texts)
    elseif entry.call then -- nothing of its input had come, or it was cut
      told[block] = self.codec.encode(some_table(block.input) or NOTHING) or ""
    end
    content[i] = block
  end
  document.content = content
  local fields = answer.fields(document, self.codec, self.request, told)
  if not self.stopped and not some_text(document.stop_reason) then
    fields.usage = nil -- message_start counts one token of output: no usage of what had come
  end
  return fields
end

return M
