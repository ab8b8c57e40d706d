--- The tool calls of a chat completion stream, made whole of their fragments.
--
-- Fragments are keyed by their index. Servers leave indices out, give all calls the same (Gemini's compatible API,
-- LMDeploy), leave ids out, repeat them, or make a new one for each fragment (vLLM): here calls are told apart all the
-- same. What begins a call that is known already by its index is another one, if the arguments so far are whole.

local common = require "surefoot.provider.common"
local pieces = require "surefoot.provider.pieces"

local M = {}

local null, some_text = require "surefoot.json".null, common.some_text
local add, text_of, new_pieces = pieces.add, pieces.text, pieces.new

---@class surefoot.OpenAICalls
---@field by_index table<number, table>
---@field by_id table<string, table>
---@field taken table<number, boolean>  indices that readers of the chunks have seen
---@field events integer               how many had fragments

--- No calls yet.
---@return surefoot.OpenAICalls
function M.new()
  return { by_index = {}, by_id = {}, taken = {}, events = 0 }
end

local function take(into, from, except)
  for key, value in next, from do
    if key ~= except and value ~= null and type(key) == "string" then
      into[key] = value
    end
  end
end

local function is_empty(call)
  return call.text.n == 0 and not call.text.joined
end

-- Whether the arguments that have come are a whole JSON document: what comes then belongs to another call.
local function is_whole(call, codec)
  local arguments = text_of(call.text)
  return arguments:find "[}%]\"]%s*$" ~= nil and codec.read(arguments) ~= nil
end

-- Whether a fragment that names a function begins another call, though it has the index of one that is known.
local function begins_anew(calls, call, id, words, codec)
  if id and call.id then
    return id ~= call.id and (is_empty(call) or is_whole(call, codec))
  end
  return call.event == calls.events or words ~= "" and is_whole(call, codec)
end

local function call_of(calls, fragment, id, name, words, codec)
  local index, call = fragment.index, nil
  if type(index) == "number" then
    call = calls.by_index[index]
  elseif id and calls.by_id[id] then
    return calls.by_id[id]
  elseif not name then
    call = calls[#calls]
  end
  if call and name and call.name and begins_anew(calls, call, id, words, codec) then
    call = nil
  end
  if not call then
    local place = #calls + 1
    call = { place = place, at = type(index) == "number" and index or place - 1, event = calls.events, id = nil,
      name = nil, body = nil, slot = nil, text = new_pieces(), fields = {}, body_fields = {} }
    calls[place] = call
  end
  return call
end

-- The part of a fragment that says what is called: its key, itself, where its text is.
local function body_of(fragment)
  if type(fragment.custom) == "table" then
    return "custom", fragment.custom, "input"
  end
  local body = fragment["function"]
  return "function", type(body) == "table" and body or common.NOTHING, "arguments"
end

local function fold_call(calls, fragment, codec)
  local key, body, slot = body_of(fragment)
  local id, name, words = some_text(fragment.id), some_text(body.name), body[slot]
  if type(words) == "table" then
    words = codec.encode(words)
  end
  words = type(words) == "string" and words or ""
  local call = call_of(calls, fragment, id, name, words, codec)
  if not call.body or key == "custom" then
    call.body, call.slot = key, slot
  end
  if name and call.name and is_empty(call) and name:sub(1, #call.name) ~= call.name then
    name = call.name .. name -- it came in fragments, too
  end
  call.id, call.name = call.id or id, name or call.name
  calls.by_index[call.at] = call
  if id then
    calls.by_id[id] = call
  end
  if words ~= "" then
    add(call.text, words)
  end
  take(call.fields, fragment, key)
  take(call.body_fields, body, slot)
  return call
end

-- The fragments with indices that tell their calls apart, where the server's do not.
local function numbered(fragments, places)
  local copy
  for i, fragment in ipairs(fragments) do
    local call = places[i]
    if call and fragment.index ~= call.shown then
      copy = copy or common.copy(fragments)
      copy[i] = common.copy(fragment)
      copy[i].index = call.shown
    end
  end
  return copy or fragments
end

-- The index that readers of the chunks know a call by: the server's, or the next that is free.
local function show(calls, call)
  if call.shown == nil then
    local shown = call.at
    while calls.taken[shown] do
      shown = shown + 1
    end
    call.shown, calls.taken[shown] = shown, true
  end
end

--- Takes the fragments of an event.
---@param calls surefoot.OpenAICalls
---@param fragments table[]
---@param codec surefoot.Codec
---@return table[] fragments  with indices that tell the calls apart
function M.fold(calls, fragments, codec)
  local places = {}
  calls.events = calls.events + 1
  for i, fragment in ipairs(fragments) do
    if type(fragment) == "table" then
      places[i] = fold_call(calls, fragment, codec)
      show(calls, places[i])
    end
  end
  return numbered(fragments, places)
end

--- The calls so far, as a whole answer lists them.
---@param calls surefoot.OpenAICalls
---@return table[]
function M.list(calls)
  local list = {}
  for i, call in ipairs(calls) do
    list[i] = call
  end
  table.sort(list, function(a, b)
    if a.shown ~= b.shown then
      return a.shown < b.shown
    end
    return a.place < b.place
  end)
  for i, call in ipairs(list) do
    local whole, body = {}, {}
    take(whole, call.fields, "index")
    take(body, call.body_fields)
    body.name, body[call.slot] = call.name, text_of(call.text)
    whole.id, whole.type, whole[call.body] = call.id, some_text(whole.type) or call.body, body
    list[i] = whole
  end
  return list
end

return M
