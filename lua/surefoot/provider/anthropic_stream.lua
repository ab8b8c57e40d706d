--- The folder of an Anthropic message stream: message_start, blocks that begin, grow and end, message_delta with the
--- stop reason and the usage so far, message_stop. Pings, and events nobody knows yet, hold. Whole after message_stop.

local answer = require "surefoot.provider.anthropic_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local pieces = require "surefoot.provider.pieces"

local M = {}

local some_table, some_text = common.some_table, common.some_text

---@class surefoot.AnthropicFolder: surefoot.Folder
---@field private codec surefoot.Codec
---@field private request table?
---@field private message table     as message_start gave it, without its content
---@field private blocks table[]    { block =, texts = { field -> pieces } }
---@field private places table<integer, table>  by the event's index
---@field private calls integer     tool_use blocks so far
---@field private stopped boolean
local Folder = {}
Folder.__index = Folder

--- Makes a folder.
---@param codec surefoot.Codec
---@param request table?
---@return surefoot.Folder
function M.new(codec, request)
  return setmetatable({ codec = codec, request = request, message = {}, blocks = {}, places = {}, calls = 0,
    stopped = false }, Folder)
end

local function malformed(message)
  return "fail", { class = "transient", kind = "malformed", message = message }
end

local function merge(into, from)
  for key, value in pairs(from or common.NOTHING) do
    if common.some(value) ~= nil or into[key] == nil then
      into[key] = value
    end
  end
end

local function chunk_of(document, fields)
  fields.index, fields.raw = 1, document
  return fields
end

local handlers = {}

function handlers.message_start(self, document)
  merge(self.message, some_table(document.message))
  self.message.content = nil
  self.message.usage = common.copy(some_table(self.message.usage) or common.NOTHING)
  return "hold"
end

function handlers.content_block_start(self, document)
  local block = some_table(document.content_block)
  if not block then
    return malformed("a content block began without a block")
  end
  local entry = { block = common.copy(block), texts = {}, call = nil }
  self.blocks[#self.blocks + 1] = entry
  self.places[document.index or #self.blocks] = entry
  if block.type == "tool_use" then
    entry.call, self.calls = self.calls, self.calls + 1
    local called = { name = block.name, arguments = "" }
    return "commit", chunk_of(document, { tool_calls = {
      { index = entry.call, id = block.id, type = "function", ["function"] = called },
    } })
  end
  for _, field in ipairs { "text", "thinking" } do
    local text = some_text(block[field])
    if text then
      return "commit", chunk_of(document, { [field == "text" and "text" or "reasoning"] = text })
    end
  end
  return "hold"
end

local function grow(entry, field, text)
  local texts = entry.texts[field]
  if not texts then
    texts = pieces.new()
    entry.texts[field] = texts
    local begun = entry.block[field]
    if type(begun) == "string" then
      pieces.add(texts, begun)
    end
  end
  pieces.add(texts, text)
end

local deltas = {}

function deltas.text_delta(entry, delta)
  grow(entry, "text", delta.text)
  return { text = delta.text }
end

function deltas.thinking_delta(entry, delta)
  grow(entry, "thinking", delta.thinking)
  return { reasoning = delta.thinking }
end

function deltas.signature_delta(entry, delta)
  entry.block.signature = delta.signature
end

function deltas.input_json_delta(entry, delta)
  grow(entry, "input", delta.partial_json)
  if entry.call then
    return { tool_calls = { { index = entry.call, ["function"] = { arguments = delta.partial_json } } } }
  end
end

function deltas.citations_delta(entry, delta)
  local citations = some_table(entry.block.citations) or json.array {}
  citations = common.copy(citations)
  citations[#citations + 1] = delta.citation
  entry.block.citations = citations
end

local GROWS = { text_delta = "text", thinking_delta = "thinking", input_json_delta = "partial_json",
  signature_delta = "signature" }

function handlers.content_block_delta(self, document)
  local entry, delta = self.places[document.index or #self.blocks], some_table(document.delta)
  if not entry or not delta then
    return malformed("a content block grew that had not begun")
  end
  local grown, fold = GROWS[delta.type], deltas[delta.type]
  if not fold then
    return "hold"
  elseif grown and type(delta[grown]) ~= "string" then
    return malformed(("a %s without its %s"):format(delta.type, grown))
  end
  local fields = fold(entry, delta)
  if not fields or grown and delta[grown] == "" then
    return "hold"
  end
  return "commit", chunk_of(document, fields)
end

function handlers.message_delta(self, document)
  local delta = some_table(document.delta) or common.NOTHING
  merge(self.message, delta)
  self.message.usage = self.message.usage or {}
  merge(self.message.usage, some_table(document.usage))
  local reason = answer.finish_reason(delta.stop_reason)
  if not reason then
    return "hold"
  end
  return "finish", chunk_of(document, { finish_reason = reason, usage = answer.usage(self.message.usage) })
end

function handlers.message_stop(self)
  self.stopped = true
  return "complete"
end

--- Takes an event.
---@param name string?
---@param data string
---@return string action
---@return any payload
function Folder:event(name, data)
  if self.stopped or name == "ping" or not data:find "%S" then
    return "hold"
  end
  local document, problem, message = self.codec.decode(data)
  if type(document) ~= "table" then
    if name == "error" then
      return "fail", common.judge_event(nil, data)
    end
    return malformed(("an event is no JSON object (%s): %s"):format(message or problem or type(document),
      common.beginning(data)))
  elseif name == "error" or common.is_error(document) then
    return "fail", common.judge_event(document, data)
  end
  local handler = handlers[some_text(document.type) or name]
  if not handler then
    return "hold"
  end
  return handler(self, document)
end

--- Whether the message has stopped.
---@return boolean
function Folder:whole()
  return self.stopped
end

-- A tool's input: decoded when it came whole, its text when it was cut.
local function input_of(self, text)
  if not text:find "%S" then
    return json.object {}
  end
  local input = self.codec.decode(text)
  return input ~= nil and input or text
end

--- The answer so far.
---@return table fields
function Folder:fields()
  local document = common.copy(self.message)
  local content = json.array {}
  for i, entry in ipairs(self.blocks) do
    local block = common.copy(entry.block)
    for field, texts in pairs(entry.texts) do
      local text = pieces.text(texts)
      block[field] = field == "input" and input_of(self, text) or text
    end
    content[i] = block
  end
  document.content = content
  if not self.stopped and not some_text(document.stop_reason) then
    document.usage = nil -- message_start counts one token of output: no usage of what had come
  end
  return answer.fields(document, self.codec, self.request)
end

return M
