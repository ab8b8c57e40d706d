--- The folder of streamGenerateContent: each event is a GenerateContentResponse that holds what is new. No I/O.
--
-- There is no farewell: the answer is whole when the bytes have ended and every candidate has a finishReason. Content
-- after a finishReason takes it back (tools of MCP servers answer after one; models before 2.0 said STOP with every
-- chunk): such a candidate has finished only when it says so again. Where the request has MCP servers "finish" is never
-- said, since the silence of a tool may be long.
--
-- Texts that follow one another become one part, but never a part that has a signature or anything else beside its
-- text: those go back to the API as they came. Counts of tokens are of all so far: the last counts. Lists of citations,
-- grounding and logprobs go on from event to event.

local answer = require "surefoot.provider.gemini_answer"
local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local pieces = require "surefoot.provider.pieces"
local shape = require "surefoot.provider.shape"
local sorted = require "surefoot.sorted"

local M = {}

local null, some_table, some_text = json.null, common.some_table, common.some_text

---@class surefoot.GeminiFolder: surefoot.Folder
---@field private codec surefoot.Codec
---@field private request table
---@field private top table       fields of the document, beside its candidates
---@field private states table<integer, table>  by the candidate's number, from 1
---@field private open integer    candidates that have begun and not finished
---@field private finished integer
---@field private wanted integer  candidates that were asked for
---@field private goes_on boolean a finishReason may not be the end
---@field private source any      what the ids of calls are made of, once one was shown
local Folder = {}
Folder.__index = Folder

local function has_servers(request)
  for _, tool in ipairs(some_table(request.tools) or common.NOTHING) do
    if type(tool) == "table" and (tool.mcpServers ~= nil or tool.mcp_servers ~= nil) then
      return true
    end
  end
  return false
end

local function wanted_of(request)
  local config = some_table(request.generationConfig) or common.NOTHING
  return common.count(config.candidateCount) or common.count(request.n) or 1
end

--- Makes a folder.
---@param codec surefoot.Codec
---@param request table?
---@return surefoot.Folder
function M.new(codec, request)
  request = request or common.NOTHING
  return setmetatable({
    codec = codec, request = request, top = {}, states = {}, open = 0, finished = 0, wanted = wanted_of(request),
    goes_on = has_servers(request), source = nil,
  }, Folder)
end

-- ------------------------------------------------------------------------------------------------------------- parts

-- A text and nothing else; whether it is a thought.
local function is_plain(part)
  if type(part.text) ~= "string" then
    return false
  end
  for key, value in next, part do
    if key ~= "text" and not (key == "thought" and type(value) == "boolean") then
      return false
    end
  end
  return true, part.thought == true
end

-- Writes the run of plain texts that is open as the one part that it is.
local function write_run(state)
  local run = state.run
  if run then
    state.parts[run.place] = { text = pieces.text(run.text), thought = run.thought or nil }
  end
end

local function fold_part(state, part)
  local plain, thought = is_plain(part)
  local run = state.run
  if plain and run and run.thought == thought then
    pieces.add(run.text, part.text)
    return
  end
  write_run(state)
  state.run = nil
  local place = #state.parts + 1
  state.parts[place] = part
  if plain then
    state.run = { place = place, thought = thought, text = pieces.new() }
    pieces.add(state.run.text, part.text)
  end
end

local function source_of(self)
  if self.source == nil then
    self.source = some_text(self.top.responseId) or false
  end
  return self.source or nil
end

-- What the parts of an event show: text, reasoning and calls; whether that is anything, and whether the candidate goes
-- on. Or nil and a verdict.
local function take_parts(self, state, list)
  local text, reasoning, fragments, shows, answers = nil, nil, nil, false, false
  for _, part in ipairs(list) do
    if type(part) == "table" and next(part) ~= nil then
      local call, verdict
      if part.functionCall ~= nil or part.functionResponse ~= nil then
        call, verdict = answer.take_call(state.calls, part, source_of(self), self.codec)
      end
      if verdict then
        return nil, verdict
      elseif call then
        fragments = fragments or {}
        fragments[#fragments + 1] = answer.shown(call, #state.calls - 1)
      elseif some_text(part.text) and part.thought == true then
        reasoning = (reasoning or "") .. part.text
      elseif some_text(part.text) then
        text = (text or "") .. part.text
      end
      local says = answer.says(part)
      state.said, shows = state.said or says, shows or says
      answers = answers or part.functionResponse ~= nil
      fold_part(state, part)
    end
  end
  shows = shows or reasoning ~= nil or fragments ~= nil
  return { text = text, reasoning = reasoning, tool_calls = fragments, shows = shows, goes_on = shows or answers }
end

-- -------------------------------------------------------------------------------------------------------- candidates

-- Their lists go on; whether what is in a list already may come again.
local GROWING = { citationMetadata = "once", groundingMetadata = "once", urlContextMetadata = "once",
  logprobsResult = "again" }
local APART = { content = true, index = true, finishReason = true }

local function is_list(value)
  return type(value) == "table" and value[1] ~= nil
end

-- seen: the items of the events before, where none is to come twice.
local function append(list, seen, more, codec)
  local marks = {}
  for i = 1, #more do
    marks[i] = seen and codec.encode(more[i])
    if not marks[i] or not seen[marks[i]] then
      list[#list + 1] = more[i]
    end
  end
  for _, mark in pairs(marks) do
    seen[mark] = true
  end
end

local function grow(state, key, value, codec)
  local whole, marks = state.rest[key], state.marks[key]
  if type(whole) ~= "table" then
    whole, marks = {}, {}
    state.rest[key], state.marks[key] = whole, marks
  end
  for name, part in next, value do
    if is_list(part) then
      whole[name] = is_list(whole[name]) and whole[name] or json.array {}
      marks[name] = marks[name] or GROWING[key] == "once" and {} or nil
      append(whole[name], marks[name], part, codec)
    elseif part ~= null and (type(part) ~= "table" or next(part) ~= nil or whole[name] == nil) then
      whole[name] = part
    end
  end
end

-- What the event says about a candidate, beside its content. An empty table does not undo a full one.
local function fold_rest(state, candidate, codec)
  for key, value in next, candidate do
    local is_table = type(value) == "table"
    if GROWING[key] and is_table then
      grow(state, key, value, codec)
    elseif not APART[key] and value ~= null and (not is_table or next(value) ~= nil or state.rest[key] == nil) then
      state.rest[key] = value
    end
  end
end

local function state_of(self, candidate, place)
  local index = candidate.index
  local number = type(index) == "number" and index >= 0 and index % 1 == 0 and index + 1 or place
  number = common.count(number) or place
  local state = self.states[number]
  if not state then
    state = { number = number, index = nil, role = nil, has_content = false, parts = json.array {}, run = nil,
      calls = answer.calls(), said = false, reason = nil, rest = {}, marks = {} }
    self.states[number], self.open = state, self.open + 1
  end
  state.index = type(index) == "number" and number - 1 or state.index
  return state
end

local function set_reason(self, state, reason)
  if reason and not state.reason then
    self.open, self.finished = self.open - 1, self.finished + 1
  elseif state.reason and not reason then
    self.open, self.finished = self.open + 1, self.finished - 1
  end
  state.reason = reason
end

-- A chunk, or nil when the candidate says nothing new; nil, nil and a verdict.
local function take_candidate(self, candidate, place, document)
  local codec, state = self.codec, state_of(self, candidate, place)
  local content, list = some_table(candidate.content), answer.parts_of(candidate)
  local chunk, verdict = take_parts(self, state, list or common.NOTHING)
  if not chunk then
    return nil, verdict
  elseif content then
    state.role, state.has_content = some_text(content.role) or state.role, true
  end
  local reason = answer.reason_of(candidate)
  if reason or chunk.goes_on then
    set_reason(self, state, reason)
  end
  fold_rest(state, candidate, codec)
  if not chunk.shows and not reason then
    return nil
  end
  return common.chunk({
    text = chunk.text, index = state.number, tool_calls = chunk.tool_calls, reasoning = chunk.reasoning,
    finish_reason = answer.finish_reason(reason, state.calls), usage = nil, raw = nil, _raw = nil,
  }, document, codec.finish)
end

-- The chunks of an event: nearly always one, or none.
local function take_candidates(self, document)
  local fault = shape.list(document.candidates, "candidates", answer.fault_of)
  if fault then
    return nil, nil, { class = "transient", kind = "malformed", message = "an event's " .. fault }
  end
  local first, more = nil, nil
  for i, candidate in ipairs(some_table(document.candidates) or common.NOTHING) do
    local chunk, verdict = take_candidate(self, candidate, i, document)
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

-- ------------------------------------------------------------------------------------------------------------ events

local FIRST = { responseId = true, modelVersion = true, createTime = true } -- the first stays

local function fold_top(self, document)
  local top = self.top
  for key, value in next, document do
    if key ~= "candidates" and value ~= null and (top[key] == nil or not FIRST[key]) then
      top[key] = value
    end
  end
end

-- Numbers as Lua has them, where the codec leaves that for later.
local function settled(self, document)
  local finish = self.codec.finish
  return finish and finish(document) or document
end

local function failed(message)
  return "fail", { class = "transient", kind = "malformed", message = message }
end

-- An event that is no response: nothing, a farewell of somebody's in between, an error, or nonsense.
local function read_odd(self, document, data, problem)
  if not data:find "%S" or data:find "^%s*%[DONE%]" then
    return "hold"
  elseif type(document) == "table" and type(document[1]) == "table" and common.is_error(document[1]) then
    return "fail", common.judge_event(settled(self, document), data)
  elseif data:find "^%s*<" then
    return failed("an event is HTML or XML, not JSON: " .. common.beginning(data))
  end
  return failed(("an event is no JSON object (%s): %s"):format(problem or "something else", common.beginning(data)))
end

local function is_finished(self)
  return self.open == 0 and self.finished >= self.wanted
end

-- The verdict on an answer that has ended in a failure of the model's. (Of several candidates the first counts.)
local function failure_of(self, document)
  local state = self.states[1]
  local verdict = state and answer.failure_of(state.reason, state.said, state.calls, state.rest)
  if verdict then
    verdict.body = document
  end
  return verdict
end

local function refused(self, verdict)
  verdict.body = verdict.body and settled(self, verdict.body)
  return "fail", verdict
end

--- Takes an event.
---@param _ string?
---@param data string
---@return string action
---@return table? chunk_or_verdict
---@return surefoot.Chunk[]? more  where one event speaks of several candidates
function Folder:event(_, data)
  local document, _, problem = self.codec.read(data)
  if type(document) ~= "table" or document[1] ~= nil then
    return read_odd(self, document, data, problem)
  elseif common.is_error(document) then
    return "fail", common.judge_event(settled(self, document), data)
  end
  fold_top(self, document)
  local chunk, more, verdict = take_candidates(self, document)
  if not verdict and next(self.states) == nil then
    verdict = answer.blocked(document)
  end
  verdict = verdict or chunk and chunk.finish_reason and failure_of(self, document)
  if verdict then
    return refused(self, verdict)
  end
  local usage, ends = answer.usage(document.usageMetadata), is_finished(self)
  if chunk then
    chunk.usage = usage
  elseif usage and ends then
    chunk = common.chunk({ index = 1, usage = usage, raw = nil, _raw = nil }, document, self.codec.finish)
  else
    return "hold"
  end
  return ends and not self.goes_on and "finish" or "commit", chunk, more
end

--- Whether the answer is complete as far as can be told.
---@return boolean
function Folder:whole()
  return self.finished > 0 and self.open == 0
end

local function candidate_of(state)
  write_run(state)
  local candidate = common.copy(state.rest)
  if state.has_content then
    candidate.content = { role = state.role, parts = #state.parts > 0 and common.copy(state.parts) or nil }
  end
  candidate.finishReason, candidate.index = state.reason, state.index
  return candidate
end

-- The GenerateContentResponse so far.
local function document_of(self)
  local document, candidates = common.copy(self.top), json.array {}
  for i, number in ipairs(sorted(self.states)) do
    candidates[i] = candidate_of(self.states[number])
  end
  document.candidates = candidates
  return settled(self, document)
end

--- What a whole answer's decode gives, of what has come so far.
---@return table
function Folder:fields()
  local document = document_of(self)
  local candidate, source = document.candidates[1] or common.NOTHING, self.source
  if source == nil then
    source = document.responseId
  end
  local fields = answer.fields(document, candidate, self.codec, self.request, source, true) or {}
  if candidate == common.NOTHING then
    fields.text, fields.message = nil, nil
  end
  fields.body = document
  return fields
end

return M
