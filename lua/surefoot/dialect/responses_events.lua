--- An answer in pieces, as the typed events of a Responses stream.
--
-- A chunk that goes on with what the last one said is a delta of the same item; one that says something else ends that
-- item and begins the next. Calls may grow side by side: one is ended before the end only if its arguments are whole.
-- The last event holds the answer as the events before it told it, whole. A failure is an `error` event, which SDKs
-- throw, and `response.failed`; nothing is said to be done then that is not.

local answer = require "surefoot.dialect.responses_answer"
local common = require "surefoot.provider.common"
local frames = require "surefoot.dialect.responses_frames"
local json = require "surefoot.json"
local keepsake = require "surefoot.dialect.responses_keepsake"
local pieces = require "surefoot.provider.pieces"
local sorted = require "surefoot.sorted"

local M = {}

local null, NOTHING = json.null, common.NOTHING
local some_table, some_text = common.some_table, common.some_text

---@class surefoot.dialect.ResponsesItem
---@field kind string          "reasoning", "message", "call"
---@field index integer        its place in the output, from 0
---@field id string
---@field place table          what its events have in common
---@field parts table[]        of a message: { kind =, words = pieces, logprobs = }
---@field words surefoot.Pieces?  of reasoning and calls
---@field body string?         of a call: "function" or "custom"
---@field call_id string?
---@field name string?
---@field where string?        the same as place, and what a delta has beside, written
---@field left boolean?        something else was said since
---@field item table?          as it was when it was done

---@class surefoot.dialect.ResponsesEvents
---@field private context surefoot.dialect.Context
---@field private id_of fun(prefix: string, place: integer?): string
---@field private wants_logprobs boolean
---@field private frames surefoot.dialect.ResponsesFrames
---@field private items surefoot.dialect.ResponsesItem[]  in the order of the output
---@field private current surefoot.dialect.ResponsesItem?
---@field private calls table<integer, surefoot.dialect.ResponsesItem>  by the chunks' index
---@field private says table<string, true>  kinds of text that were shown
---@field private document table?  once it has begun
local Events = {}
Events.__index = Events

--- Writes an answer in pieces.
---@param context surefoot.dialect.Context
---@return surefoot.dialect.ResponsesEvents
function M.new(context)
  return setmetatable({
    context = context, id_of = answer.ids(context), wants_logprobs = answer.wants_logprobs(context),
    frames = frames.new(context.codec), items = {}, current = nil, calls = {}, says = {}, document = nil,
  }, Events)
end

-- An event about an item: `place` and more.
local function emit_of(self, entry, kind, fields)
  for name, value in pairs(entry.place) do
    fields[name] = value
  end
  self.frames:emit(kind, fields)
end

local function begin(self)
  if self.document then
    return
  end
  self.document = answer.begun(self.context, self.id_of "resp")
  local members = ',"response":' .. self.frames:written(self.document)
  self.frames:frame("response.created", members)
  self.frames:frame("response.in_progress", members)
end

-- -------------------------------------------------------------------------------------------------------------- items

local PREFIXES = { reasoning = "rs", message = "msg" }

local function new_item(self, kind, entry)
  begin(self)
  local index = #self.items
  entry.kind, entry.index, entry.id = kind, index, self.id_of(PREFIXES[kind] or answer.PREFIXES[entry.body], index)
  entry.place = { item_id = entry.id, output_index = index }
  self.items[index + 1] = entry
  return entry
end

-- What every delta says beside its text and its number, written once.
local function where_of(entry, more)
  return (',"item_id":"%s","output_index":%d%s,"delta":'):format(entry.id, entry.index, more or "")
end

local function announce(self, entry, item)
  self.frames:emit("response.output_item.added", { output_index = entry.index, item = item })
end

local function call_of(entry, words)
  if entry.body == "custom" then
    return { id = entry.call_id, type = "custom", custom = { name = entry.name, input = words } }
  end
  return { id = entry.call_id, type = "function", ["function"] = { name = entry.name, arguments = words } }
end

-- An item as far as it has come.
local function item_of(entry, status)
  if entry.kind == "message" then
    local parts = {}
    for i, part in ipairs(entry.parts) do
      parts[i] = part.done or part.kind == "refusal" and { type = "refusal", refusal = pieces.text(part.words) }
        or answer.text_part(pieces.text(part.words), part.annotations, part.logprobs)
    end
    return answer.message_item(entry.id, status, parts)
  elseif entry.kind == "reasoning" then
    return answer.reasoning_item(entry.id, entry.words and pieces.text(entry.words), entry.kept)
  end
  return answer.call_item(entry.id, status, call_of(entry, pieces.text(entry.words)))
end

-- ------------------------------------------------------------------------------------------------------- what is done

local function finish_part(self, entry)
  local part = entry.parts[#entry.parts]
  if not part or part.done then
    return
  end
  local text = pieces.text(part.words)
  if part.kind == "refusal" then
    part.done = { type = "refusal", refusal = text }
    emit_of(self, entry, "response.refusal.done", { content_index = part.index, refusal = text })
  else
    part.done = answer.text_part(text, part.annotations, part.logprobs)
    emit_of(self, entry, "response.output_text.done", { content_index = part.index, text = text,
      logprobs = part.done.logprobs })
  end
  emit_of(self, entry, "response.content_part.done", { content_index = part.index, part = part.done })
end

local finishers = { message = finish_part } -- kind -> function(self, entry, item): says that its parts are done

function finishers.reasoning(self, entry)
  if entry.words then
    local text = pieces.text(entry.words)
    emit_of(self, entry, "response.reasoning_summary_text.done", { summary_index = 0, text = text })
    emit_of(self, entry, "response.reasoning_summary_part.done", { summary_index = 0,
      part = { type = "summary_text", text = text } })
  end
end

function finishers.call(self, entry, item)
  if entry.body == "custom" then
    emit_of(self, entry, "response.custom_tool_call_input.done", { input = item.input })
    return
  elseif item.arguments ~= pieces.text(entry.words) then
    self.frames:frame("response.function_call_arguments.delta", entry.where .. self.frames:written(item.arguments))
  end
  emit_of(self, entry, "response.function_call_arguments.done", { arguments = item.arguments, name = item.name })
end

local function finish_item(self, entry, status)
  local item = item_of(entry, status)
  finishers[entry.kind](self, entry, item)
  entry.item = item
  self.frames:emit("response.output_item.done", { output_index = entry.index, item = item })
end

local function is_whole(self, entry)
  local text = pieces.text(entry.words)
  return entry.body == "function" and text:find "^%s*{" ~= nil and text:find "}%s*$" ~= nil
    and self.context.codec.read(text) ~= nil
end

-- Something else is said now. A call that is not whole may go on later; it is looked at once.
local function leave(self)
  local entry = self.current
  if not entry or entry.item then
    return
  elseif entry.kind ~= "call" or not entry.left and is_whole(self, entry) then
    finish_item(self, entry, "completed")
  end
  entry.left = true
end

-- -------------------------------------------------------------------------------------------------------------- texts

local function think(self, text)
  local entry = self.current
  if not entry or entry.kind ~= "reasoning" then
    leave(self)
    entry = new_item(self, "reasoning", { words = pieces.new() })
    entry.where, self.current = where_of(entry, ',"summary_index":0'), entry
    announce(self, entry, answer.reasoning_item(entry.id))
    emit_of(self, entry, "response.reasoning_summary_part.added", { summary_index = 0,
      part = { type = "summary_text", text = "" } })
  end
  pieces.add(entry.words, text)
  self.says.reasoning = true
  self.frames:frame("response.reasoning_summary_text.delta", entry.where .. self.frames:written(text))
end

local function begin_part(self, entry, kind)
  finish_part(self, entry)
  local part = { kind = kind, index = #entry.parts, words = pieces.new(), logprobs = nil, annotations = nil,
    done = nil }
  entry.parts[part.index + 1] = part
  entry.where = where_of(entry, (',"content_index":%d'):format(part.index))
  emit_of(self, entry, "response.content_part.added", { content_index = part.index,
    part = kind == "refusal" and { type = "refusal", refusal = "" } or answer.text_part "" })
  return part
end

local function part_of(self, kind)
  local entry = self.current
  if not entry or entry.kind ~= "message" then
    leave(self)
    entry = new_item(self, "message", { parts = {} })
    self.current = entry
    announce(self, entry, answer.message_item(entry.id, "in_progress", {}))
  end
  local part = entry.parts[#entry.parts]
  return entry, part and part.kind == kind and part or begin_part(self, entry, kind)
end

local function say(self, text, logprobs)
  local entry, part = part_of(self, "text")
  if text ~= "" then
    pieces.add(part.words, text)
  end
  self.says.text = true
  local told = "[]"
  if logprobs then
    part.logprobs = part.logprobs or json.array {}
    for _, one in ipairs(logprobs) do
      part.logprobs[#part.logprobs + 1] = one
    end
    told = self.frames:written(logprobs)
  end
  self.frames:frame("response.output_text.delta", entry.where .. self.frames:written(text) .. ',"logprobs":' .. told)
end

local function refuse(self, text)
  local entry, part = part_of(self, "refusal")
  pieces.add(part.words, text)
  self.says.refusal = true
  self.frames:frame("response.refusal.delta", entry.where .. self.frames:written(text))
end

-- -------------------------------------------------------------------------------------------------------------- calls

local function new_call()
  return { body = "function", words = pieces.new(), call_id = nil, name = nil, added = false }
end

-- A call is shown once it has a name; what was said of it before comes with it.
local function begin_call(self, call)
  leave(self)
  new_item(self, "call", call)
  call.call_id = call.call_id or self.id_of("call", call.index)
  call.where = where_of(call)
  call.added, self.current = true, call
  announce(self, call, answer.call_item(call.id, "in_progress", call_of(call, "")))
  return pieces.text(call.words)
end

local DELTAS = { ["function"] = "response.function_call_arguments.delta",
  custom = "response.custom_tool_call_input.delta" }

local function grow(self, call, fragment)
  local custom = some_table(fragment.custom)
  local body = custom or some_table(fragment["function"]) or NOTHING
  local words = some_text(custom and body.input or body.arguments)
  call.body = custom and "custom" or call.body
  if not call.added then
    call.call_id, call.name = call.call_id or some_text(fragment.id), call.name or some_text(body.name)
  end
  if call.item then -- what is whole is followed by white space at most
    return
  elseif words then
    pieces.add(call.words, words)
  end
  if not call.added and call.name then
    words = some_text(begin_call(self, call))
  elseif call.added and self.current ~= call then
    leave(self)
    self.current = call
  end
  if words and call.added then
    self.frames:frame(DELTAS[call.body], call.where .. self.frames:written(words))
  end
end

local function take_calls(self, fragments)
  for i, fragment in ipairs(fragments) do
    local index = fragment.index or i - 1
    local call = self.calls[index]
    if not call then
      call = new_call()
      self.calls[index] = call
    end
    grow(self, call, fragment)
  end
end

-- The calls that chunks told of, in order.
local function told_calls(self)
  local list = {}
  for i, index in ipairs(sorted(self.calls)) do
    list[i] = self.calls[index]
  end
  return list
end

-- -------------------------------------------------------------------------------------------------------------- writer

--- The events of a chunk.
---@param chunk surefoot.Chunk
---@return string
function Events:chunk(chunk)
  if chunk.index and chunk.index ~= 1 then
    return "" -- a response is one answer
  end
  local reasoning, text, calls = chunk.reasoning, chunk.text, chunk.tool_calls
  if reasoning and reasoning ~= "" then
    think(self, reasoning)
  end
  if text and text ~= "" then
    say(self, text, self.wants_logprobs and answer.logprobs_of(chunk.raw) or nil)
  end
  if calls then
    take_calls(self, calls)
  end
  return self.frames:taken()
end

-- What the result has and no chunk showed: refusals, and answers that did not come in pieces.
local function catch_up(self, result)
  local refusal, calls = some_text((some_table(result.message) or NOTHING).refusal), result.tool_calls or NOTHING
  if not self.says.reasoning and some_text(result.reasoning) then
    think(self, result.reasoning)
  end
  if not self.says.text and result.text and (result.text ~= "" or not refusal and #calls == 0) then
    say(self, result.text)
  end
  if refusal and not self.says.refusal then
    refuse(self, refusal)
  end
  local told = told_calls(self)
  for i, call in ipairs(calls) do
    local known = told[i] or new_call()
    told[i] = known
    if not known.added then
      known.words = pieces.new()
      grow(self, known, call)
    end
  end
  return told
end

-- The last text has what is said of all of them.
local function annotate(self, result)
  local entry = self.current
  local part = entry and entry.kind == "message" and entry.parts[#entry.parts]
  if not part or part.done or part.kind ~= "text" then
    return
  end
  part.annotations = answer.annotations_of(result)
  for i, annotation in ipairs(part.annotations or NOTHING) do
    emit_of(self, entry, "response.output_text.annotation.added", { content_index = part.index,
      annotation_index = i - 1, annotation = annotation })
  end
end

local function keep(self, result, calls)
  local ids = {}
  for _, call in ipairs(calls) do
    ids[#ids + 1] = call.added and call.call_id or nil
  end
  local kept = keepsake.of(result, ids, self.context.codec)
  if kept then
    local entry = new_item(self, "reasoning", { kept = kept })
    announce(self, entry, item_of(entry))
    finish_item(self, entry)
  end
end

local function output_of(self, status)
  local output = json.array {}
  for i, entry in ipairs(self.items) do
    output[i] = entry.item or item_of(entry, status)
  end
  return output
end

--- The events at the end.
---@param result surefoot.Result
---@return string
function Events:finish(result)
  begin(self)
  local status, calls = answer.ending(result), catch_up(self, result)
  annotate(self, result)
  for _, entry in ipairs(self.items) do
    if not entry.item then
      finish_item(self, entry, status)
    end
  end
  keep(self, result, calls)
  self.frames:emit("response." .. status, { response = answer.ended(self.document, result, output_of(self)) })
  return self.frames:taken()
end

--- The events of an answer that will not be completed.
---@param fields surefoot.dialect.Failure
---@return string
function Events:failure(fields)
  begin(self)
  local code, param = fields.code or fields.type, fields.param or null
  self.frames:emit("error", { code = code, message = fields.message, param = param, error = {
    type = fields.type, code = fields.code or null, message = fields.message, param = param } })
  local document = self.document
  document.status, document.error = "failed", { code = code, message = fields.message }
  document.output = output_of(self, "incomplete")
  self.frames:emit("response.failed", { response = document })
  return self.frames:taken()
end

return M
