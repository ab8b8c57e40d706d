--- The folder of a Responses stream: named events, or unnamed ones that say their type in the data.
--
-- Items are known by their place in the output (some servers give them a new id in every event). The whole answer comes
-- with the last event; what was folded until then is what there is of an answer that was cut. Where a server sends no
-- deltas, what an item says is shown when it is done. Unknown events hold.

local answer = require "surefoot.provider.responses_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local pieces = require "surefoot.provider.pieces"
local shape = require "surefoot.provider.shape"
local sorted = require "surefoot.sorted"

local M = {}

local find = string.find
local some, some_text, chunk_of = common.some, common.some_text, common.chunk
local NOTHING = common.NOTHING

---@class surefoot.ResponsesFolder: surefoot.Folder
---@field private codec surefoot.Codec
---@field private request table
---@field private response table   the last one that an event held
---@field private states table<number, table>  of the items, by their place from 0
---@field private calls integer    calls of functions and custom tools so far
---@field private thought table?   the part of the reasoning that was shown last
---@field private result table?    the fields of the whole answer
local Folder = {}
Folder.__index = Folder

--- Makes a folder.
---@param codec surefoot.Codec
---@param request table?
---@return surefoot.Folder
function M.new(codec, request)
  return setmetatable({ codec = codec, request = request, response = {}, states = {}, calls = 0, thought = nil,
    result = nil }, Folder)
end

-- An object, or nil for whatever else stands there.
local function object_of(value)
  return type(value) == "table" and value[1] == nil and value or nil
end

-- -------------------------------------------------------------------------------------------------------------- items

local function place_of(document)
  local place = common.count(document.output_index)
  return place and place % 1 == 0 and place or 0
end

-- item: as the server told it last; lists: what its deltas gave; shown: whether a chunk held any of it
local function state_of(self, document, item_type)
  local place = place_of(document)
  local state = self.states[place]
  if not state then
    state = { item = { type = item_type }, lists = {}, words = nil, call = nil, shown = false }
    self.states[place] = state
  end
  return state
end

-- The part of an item that a delta is of; made where the server did not announce it.
local function part_of(state, list_name, index, part_type, slot)
  local list = state.lists[list_name]
  if not list then
    list = {}
    state.lists[list_name] = list
  end
  index = common.count(index) or 0
  local part = list[index]
  if not part then
    part = { fields = { type = part_type }, slot = slot, text = pieces.new() }
    list[index] = part
  end
  return part
end

local function parts_of(list)
  local built = json.array {}
  for i, index in ipairs(sorted(list)) do
    local part = common.copy(list[index].fields)
    part[list[index].slot] = pieces.text(list[index].text)
    built[i] = part
  end
  return built
end

-- The item as far as it has come.
local function item_of(state)
  local item = common.copy(state.item)
  for name, list in next, state.lists do
    item[name] = parts_of(list)
  end
  if state.words then
    item[item.type == "custom_tool_call" and "input" or "arguments"] = pieces.text(state.words)
  end
  return item
end

local function items_of(self)
  local items = json.array {}
  for i, place in ipairs(sorted(self.states)) do
    items[i] = item_of(self.states[place])
  end
  return items
end

-- ------------------------------------------------------------------------------------------------------------- chunks

local function commit(self, document, text, reasoning, calls)
  local chunk = { text = text, index = 1, reasoning = reasoning, tool_calls = calls, raw = nil, _raw = nil }
  return "commit", chunk_of(chunk, document, self.codec.finish)
end

local BODY = { function_call = { "function", "arguments" }, custom_tool_call = { "custom", "input" } }

-- Fragments of calls in the chat shape. head: also what is called
local function fragment(state, item, words, head)
  local body = BODY[item.type]
  return { { index = state.call, id = head and (some(item.call_id) or some(item.id)) or nil,
    type = head and body[1] or nil, [body[1]] = { name = head and some(item.name) or nil, [body[2]] = words } } }
end

local function begin_call(self, document, state, item)
  state.call, self.calls = self.calls, self.calls + 1
  local words = answer.words_of(item[BODY[item.type][2]], self.codec)
  state.shown = words ~= nil
  return commit(self, document, nil, nil, fragment(state, item, words or "", true))
end

-- Texts of a part of the reasoning are set apart from those of the part before, as in the whole answer.
local function apart(self, part, text)
  local before = self.thought
  self.thought = part
  return before ~= nil and before ~= part and "\n\n" .. text or text
end

-- ------------------------------------------------------------------------------------------------------------- events

local events = {} -- type of an event -> function(self, document, data): action, chunk or verdict

local function refused(fault)
  return "fail", answer.malformed("an event's ", fault)
end

-- What has the wrong type in an event about an item.
local function fault_of_item(document)
  local item = document.item
  return shape.object(item, "item") or type(item) == "table" and answer.fault_of(item, "item") or nil
end

local function begin(self, document)
  self.response = object_of(document.response) or self.response
  return "hold"
end

events["response.created"], events["response.in_progress"], events["response.queued"] = begin, begin, begin

events["response.output_item.added"] = function(self, document)
  local item, fault = object_of(document.item), fault_of_item(document)
  if fault then
    return refused(fault)
  elseif not item then
    return "hold"
  end
  local state = state_of(self, document)
  state.item = item
  if BODY[item.type] and not state.call then
    return begin_call(self, document, state, item)
  end
  return "hold"
end

-- A delta of a text: in which list of the item, by what index, of which type, under which name.
local function delta_of(name, item_type, list_name, index_name, part_type, slot)
  local is_thought = item_type == "reasoning"
  events[name] = function(self, document)
    local delta, fault = some_text(document.delta), shape.text(document.delta, "delta")
    if fault then
      return refused(fault)
    elseif not delta then
      return "hold"
    end
    local state = state_of(self, document, item_type)
    local part = part_of(state, list_name, document[index_name], part_type, slot)
    pieces.add(part.text, delta)
    state.shown = true
    if is_thought then
      return commit(self, document, nil, apart(self, part, delta))
    end
    return commit(self, document, slot == "text" and delta or nil)
  end
end
delta_of("response.output_text.delta", "message", "content", "content_index", "output_text", "text")
delta_of("response.refusal.delta", "message", "content", "content_index", "refusal", "refusal")
delta_of("response.reasoning_summary_text.delta", "reasoning", "summary", "summary_index", "summary_text", "text")
delta_of("response.reasoning_text.delta", "reasoning", "content", "content_index", "reasoning_text", "text")

local function words_of(name, item_type)
  events["response." .. name .. ".delta"] = function(self, document)
    local delta, fault = some_text(document.delta), shape.text(document.delta, "delta")
    if fault then
      return refused(fault)
    end
    local state = state_of(self, document, item_type)
    if not delta or not BODY[state.item.type] then
      return "hold"
    end
    local head = state.call == nil
    if head then
      state.call, self.calls = self.calls, self.calls + 1
    end
    state.words, state.shown = state.words or pieces.new(), true
    pieces.add(state.words, delta)
    return commit(self, document, nil, nil, fragment(state, state.item, delta, head))
  end
end
words_of("function_call_arguments", "function_call")
words_of("custom_tool_call_input", "custom_tool_call")

-- Content that the chat shape has no place for.
local function show_raw(self, document)
  return commit(self, document)
end

for _, name in ipairs { "response.audio.delta", "response.audio.transcript.delta",
  "response.image_generation_call.partial_image", "response.code_interpreter_call_code.delta",
  "response.mcp_call_arguments.delta" } do
  events[name] = show_raw
end

-- What an item says that no delta showed: of its calls, or of its texts.
local function show_item(self, document, state, item)
  if BODY[item.type] then
    if not state.call then
      return begin_call(self, document, state, item)
    end
    local words = answer.words_of(item[BODY[item.type][2]], self.codec)
    if words and not state.shown then
      return commit(self, document, nil, nil, fragment(state, item, words))
    end
  elseif not state.shown then
    local said = answer.fields({ output = { item } }, self.codec)
    if said.text or said.reasoning or said.message.refusal then
      return commit(self, document, said.text, said.reasoning and apart(self, state, said.reasoning))
    end
  end
  return "hold"
end

events["response.output_item.done"] = function(self, document)
  local item, fault = object_of(document.item), fault_of_item(document)
  if fault then
    return refused(fault)
  elseif not item then
    return "hold"
  end
  local state = state_of(self, document)
  state.item, state.lists, state.words = item, {}, nil
  return show_item(self, document, state, item)
end

-- The whole answer, in the last event. Servers are known that leave the items out of it.
local function finish(self, document)
  local response = object_of(document.response)
  if not response then
    return "fail", { class = "transient", kind = "malformed", message = "the stream ended without a response" }
  end
  local fault = shape.list(response.output, "response.output", answer.fault_of)
  if fault then
    return refused(fault)
  end
  local items, had_items = response.output, next(self.states) ~= nil
  if type(items) ~= "table" or #items == 0 then
    response = common.copy(response)
    response.output = items_of(self)
  end
  if self.codec.finish then
    document, response = self.codec.finish(document), self.codec.finish(response)
  end
  local fields = answer.fields(response, self.codec, self.request)
  self.result, self.response = fields, response
  local chunk = { index = 1, text = nil, reasoning = nil, tool_calls = nil, finish_reason = fields.finish_reason,
    usage = fields.usage, raw = document }
  if not had_items then
    chunk.text, chunk.reasoning, chunk.tool_calls = fields.text, fields.reasoning, fields.tool_calls
    for i, call in ipairs(fields.tool_calls or NOTHING) do
      chunk.tool_calls = i == 1 and {} or chunk.tool_calls
      chunk.tool_calls[i] = common.copy(call)
      chunk.tool_calls[i].index = i - 1
    end
  end
  return "complete", chunk
end

events["response.completed"], events["response.incomplete"] = finish, finish

local function fail(_, document)
  return "fail", answer.failure(object_of(document.response) or document)
end

events["response.failed"], events["response.cancelled"] = fail, fail

-- ------------------------------------------------------------------------------------------------------------- folder

local function failed(message)
  return "fail", { class = "transient", kind = "malformed", message = message }
end

local function unreadable(name, data, problem)
  if name == "error" then
    return "fail", common.judge_event(nil, data)
  elseif not find(data, "%S") or find(data, "^%s*%[DONE%]") then
    return "hold" -- the end is response.completed, whatever else is said
  end
  return failed(("an event is no JSON object (%s): %s"):format(problem or "no braces", common.beginning(data)))
end

--- Takes an event.
---@param name string?
---@param data string
---@return string action
---@return table? chunk_or_verdict
function Folder:event(name, data)
  if self.result then
    return "hold"
  end
  local document, _, problem = self.codec.read(data)
  if type(document) ~= "table" then
    return unreadable(name, data, problem)
  end
  local kind = some_text(document.type) or name
  local take = events[kind]
  if take then
    return take(self, document)
  elseif name == "error" or common.is_error(document) then
    return "fail", answer.corrected(common.judge_event(document, data))
  end
  return "hold"
end

--- Whether the answer is complete.
---@return boolean
function Folder:whole()
  return self.result ~= nil
end

--- What a whole answer's decode gives, of what has come so far.
---@return table
function Folder:fields()
  if self.result then
    return self.result
  end
  local document = common.copy(self.response)
  document.output = items_of(self)
  if self.codec.finish then
    document = self.codec.finish(document)
  end
  return answer.fields(document, self.codec, self.request)
end

return M
