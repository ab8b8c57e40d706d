--- The folder of a chat completion stream in OpenAI's format, and of those who say that theirs is the same.
--
-- What holds: empty data, role-only and empty deltas, filter results, early usage. What fails: an error in any of the
-- forms known, in an event or in a choice; data that is no JSON; an end without a choice. The answer is whole when
-- every choice has finished (all n that were asked for) or `[DONE]` was said; what comes after that is ignored.

local answer = require "surefoot.provider.openai_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local openai_delta = require "surefoot.provider.openai_delta"
local outline = require "surefoot.provider.outline"
local pieces = require "surefoot.provider.pieces"
local shape = require "surefoot.provider.shape"
local sorted = require "surefoot.sorted"

local M = {}

local byte, find = string.byte, string.find
local null, some, some_table, some_text = json.null, common.some, common.some_table, common.some_text
local add, fold = pieces.add, openai_delta.fold
local text_within = outline.text
local NOTHING, BRACE = common.NOTHING, byte "{"

---@class surefoot.OpenAIFolder: surefoot.Folder
---@field private codec surefoot.Codec
---@field private request table
---@field private top table       fields of the document, beside its choices
---@field private states table<integer, table>  by the choice's number, from 1
---@field private open integer    choices that have begun and not finished
---@field private finished integer
---@field private wanted integer  choices that were asked for
---@field private done boolean    `[DONE]` was said
---@field private outline surefoot.Outline?  of events that add text to a choice
local Folder = {}
Folder.__index = Folder

--- Makes a folder.
---@param codec surefoot.Codec
---@param request table?
---@return surefoot.Folder
function M.new(codec, request)
  local n = request and request.n
  return setmetatable({
    codec = codec, request = request, top = {}, states = {}, open = 0, finished = 0,
    wanted = type(n) == "number" and n or 1, done = false,
    outline = codec.is_ours and outline.new() or nil,
  }, Folder)
end

local function failed(problem, message)
  return "fail", { class = "transient", kind = problem, message = message }
end

-- Data that does not begin as an object does: a farewell, nothing, or nothing that belongs here.
local function read_odd(self, name, data)
  if find(data, "^%s*%[DONE%]") then
    if next(self.states) == nil then
      return failed("malformed", "the stream ended without a choice")
    end
    self.done = true
    if self.outline then
      outline.forget(self.outline)
    end
    return "complete"
  elseif name == "error" then
    return "fail", common.judge_event((self.codec.decode(data)), data)
  elseif not find(data, "%S") then
    return "hold"
  elseif find(data, "^%s*%[") then
    local list = self.codec.decode(data)
    local first = type(list) == "table" and list[1]
    if type(first) == "table" and common.is_error(first) then
      return "fail", common.judge_event(list, data)
    end
    return failed("malformed", "an event is no JSON object: " .. common.beginning(data))
  end
  return nil
end

local function unreadable(name, data, message)
  if name == "error" then
    return "fail", common.judge_event(nil, data)
  elseif find(data, "^%s*<") then
    return failed("malformed", "an event is HTML or XML, not JSON: " .. common.beginning(data))
  end
  return failed("malformed", ("an event is no JSON object (%s): %s"):format(message or "no braces",
    common.beginning(data)))
end

-- An error of the event's, or nil. Groq's may stand in x_groq.
local function error_of(document, name, data)
  if name == "error" or common.is_error(document) then
    return common.judge_event(document, data)
  end
  local groq = document.x_groq
  local err = type(groq) == "table" and some(groq.error)
  if err and err ~= "" then
    local verdict = common.judge_event({ error = err }, data)
    verdict.body = document
    return verdict
  end
end

local APART = { choices = true, object = true, obfuscation = true }
local FIRST = { id = true, model = true, created = true } -- the first that says something stays

local function says_nothing(value)
  return value == "" or value == 0
end

-- What the event says about the whole answer.
local function fold_top(self, document)
  local top = self.top
  for key, value in next, document do
    local known = top[key]
    if known ~= value and value ~= null and not APART[key] then
      if known == nil or not FIRST[key] or says_nothing(known) then
        top[key] = value
      end
    end
  end
end

local CHOICE_APART = { index = true, delta = true, message = true, finish_reason = true, logprobs = true, usage = true,
  content_filter_results = true }

local function append(into, key, list)
  if type(list) == "table" then
    local all = into[key] or json.array {}
    into[key] = all
    for i = 1, #list do
      all[#all + 1] = list[i]
    end
  end
end

local function fold_logprobs(state, logprobs)
  state.logprobs = state.logprobs or {}
  for key, list in next, logprobs do
    if type(key) == "string" then
      append(state.logprobs, key, list)
    end
  end
end

-- Azure's filters speak one by one, and more than once: none undoes what another said, nor that it has found something.
local function fold_filters(state, results)
  local all = state.filters or {}
  state.filters = all
  for name, result in next, results do
    local known = all[name]
    if type(name) == "string" and not (type(known) == "table" and known.filtered == true) then
      all[name] = result
    end
  end
end

-- What the event says about a choice, beside its delta. An empty table does not undo a full one.
local function fold_choice(state, choice)
  for key, value in next, choice do
    if type(key) == "string" and not CHOICE_APART[key] and value ~= null
      and (type(value) ~= "table" or next(value) or not state.rest[key]) then
      state.rest[key] = value
    end
  end
  if type(choice.logprobs) == "table" then
    fold_logprobs(state, choice.logprobs)
  end
  if type(choice.content_filter_results) == "table" then
    fold_filters(state, choice.content_filter_results)
  end
end

local function state_of(self, choice, place)
  local index = common.count(choice.index)
  local number = index and index % 1 == 0 and index + 1 or place
  local state = self.states[number]
  if not state then
    state = { number = number, message = openai_delta.new(), rest = {}, logprobs = nil,
      filters = nil, reason = nil, has_begun = false }
    self.states[number] = state
    self.open = self.open + 1
  end
  return state
end

-- Usage stands in the event, in a choice (Moonshot), or in x_groq.
local function usage_of(self, document)
  local usage = some_table(document.usage)
  if not usage then
    local choice, groq = type(document.choices) == "table" and document.choices[1], document.x_groq
    usage = type(choice) == "table" and some_table(choice.usage) or type(groq) == "table" and some_table(groq.usage)
  end
  if usage then
    self.top.usage = usage
    return answer.usage(usage)
  end
end

-- What a choice says: its delta, or the whole message of a server that does not know how to stream.
local function said_by(choice, state)
  local delta = some(choice.delta)
  if delta ~= nil then
    return delta, "delta"
  end
  return not state.has_begun and some(choice.message) or nil, "message"
end

local function fault_of(said, name, codec)
  if type(said) ~= "table" then
    return said ~= nil and name .. " is " .. shape.name(said) or nil
  end
  return answer.fault_of(said, name, codec)
end

-- A chunk, or nil when the choice says nothing new; nil and what has the wrong type.
local function take_choice(self, choice, place, document)
  local codec, state = self.codec, state_of(self, choice, place)
  local shows, text, reasoning, calls = false, nil, nil, nil
  local delta, name = said_by(choice, state)
  local fault = fault_of(delta, name, codec)
  if fault then
    return nil, fault
  elseif delta then
    shows, text, reasoning, calls = fold(state.message, delta, codec)
    state.has_begun = state.has_begun or shows
  end
  local reason = some_text(choice.finish_reason)
  if reason then
    shows = true
    if not state.reason then
      self.open, self.finished = self.open - 1, self.finished + 1
    end
    if not state.reason or reason ~= "stop" then -- which, said later, undoes nothing
      state.reason = reason
    end
  end
  fold_choice(state, choice)
  if not shows then
    return nil
  end
  local finish = codec.finish
  return common.chunk({
    text = text, index = state.number, tool_calls = calls and finish and finish(calls) or calls, reasoning = reasoning,
    finish_reason = reason, usage = nil, raw = nil, _raw = nil,
  }, document, finish)
end

local function malformed(fault)
  return { class = "transient", kind = "malformed", message = "an event's " .. fault }
end

-- The chunks of an event: nearly always one, or none; nil, nil and a verdict.
local function take_choices(self, document)
  local choices, first, more = some(document.choices), nil, nil
  local fault = shape.any_list(choices, "choices")
  if fault then
    return nil, nil, malformed(fault)
  end
  for i = 1, #(choices or NOTHING) do
    local choice, verdict, chunk = choices[i], nil, nil
    if type(choice) == "table" then
      verdict = answer.failure_of(choice, document)
      if not verdict then
        chunk, fault = take_choice(self, choice, i, document)
        verdict = fault and malformed(("choices[%d].%s"):format(i, fault))
      end
    elseif choice ~= null then
      verdict = malformed(("choices[%d] is %s"):format(i, shape.name(choice)))
    end
    if verdict then
      return nil, nil, verdict
    elseif not first then
      first = chunk
    elseif chunk then
      more = more or {}
      more[#more + 1] = chunk
    end
  end
  return first, more
end

-- The text that an event adds to a choice and nothing else, as nearly all do; what stands in every event the same is
-- not looked at again.
local function added_text(document, choice)
  local delta = choice.delta
  local text = type(delta) == "table" and delta.content
  for key, value in next, type(text) == "string" and delta or NOTHING do
    if key ~= "content" and value ~= null then
      return nil
    end
  end
  if type(text) == "string" and text ~= "" and (choice.finish_reason or null) == null
    and (document.usage or null) == null and (document.error or null) == null and document.x_groq == nil
    and (choice.logprobs or null) == null and choice.content_filter_results == nil and choice.error == nil then
    return text
  end
end

-- The chunk of an event that adds to a choice that has some text already; else nil.
local function take_text(self, document, data)
  local choices = document.choices
  local choice = type(choices) == "table" and choices[2] == nil and choices[1]
  local index = type(choice) == "table" and choice.index
  local state = type(index) == "number" and self.states[index + 1]
  local message = state and state.reason == nil and state.message
  local text = message and message.content and not message.parts and added_text(document, choice)
  if text then
    add(message.content, text)
    state.has_begun = true
    if self.outline then
      outline.take(self.outline, data, "content", text, state)
    end
    return common.chunk({ text = text, index = state.number, usage = nil, raw = nil, _raw = nil }, document,
      self.codec.finish)
  end
end

--- Takes an event.
---@param name string?
---@param data string
---@return string action
---@return table? chunk_or_verdict
---@return surefoot.Chunk[]? more  where one event speaks of several choices
function Folder:event(name, data)
  local known, text, state = self.outline, nil, nil
  if known and name ~= "error" then
    text, state = text_within(known, data)
  end
  if text then
    add(state.message.content, text)
    return "commit", common.text_chunk(text, state.number, data, self.codec)
  elseif self.done then
    return "hold"
  elseif byte(data, 1) ~= BRACE then
    local action, result = read_odd(self, name, data)
    if action then
      return action, result
    end
  end
  local document, _, problem = self.codec.read(data)
  if type(document) ~= "table" then
    return unreadable(name, data, problem)
  end
  local chunk = name ~= "error" and take_text(self, document, data)
  if chunk then
    return "commit", chunk
  elseif known then -- what this event says may bear on all that follow
    outline.forget(known)
  end
  local verdict = error_of(document, name, data)
  if verdict then
    return "fail", verdict
  end
  local more
  chunk, more, verdict = take_choices(self, document)
  if verdict then
    return "fail", verdict
  end
  fold_top(self, document)
  local usage = usage_of(self, document)
  local is_finished = self.open == 0 and self.finished >= self.wanted
  if usage and not chunk and is_finished then
    chunk = common.chunk({ index = 1, usage = usage, raw = nil, _raw = nil }, document, self.codec.finish)
  elseif chunk then
    chunk.usage = usage
  end
  if not chunk then
    return "hold"
  elseif is_finished then
    return "finish", chunk, more
  end
  return "commit", chunk, more
end

--- Whether the answer is complete as far as can be told.
---@return boolean
function Folder:whole()
  return self.done or self.finished > 0 and self.open == 0 and self.finished >= self.wanted
end

local function choice_of(state)
  local choice = {}
  for key, value in next, state.rest do
    choice[key] = value
  end
  choice.index, choice.message = state.number - 1, openai_delta.whole(state.message)
  choice.finish_reason, choice.logprobs = state.reason or null, state.logprobs or null
  choice.content_filter_results = state.filters
  return choice
end

-- The chat completion so far.
local function document_of(self)
  local document, choices = {}, json.array {}
  for key, value in next, self.top do
    document[key] = value
  end
  for i, number in ipairs(sorted(self.states)) do
    choices[i] = choice_of(self.states[number])
  end
  document.object, document.choices = "chat.completion", choices
  local finish = self.codec.finish
  return finish and finish(document) or document
end

--- What a whole answer's decode gives, of what has come so far.
---@return table
function Folder:fields()
  local document = document_of(self)
  local choice = document.choices[1] or common.NOTHING
  return answer.fields(document, choice, choice.message, self.codec, self.request, document)
end

return M
