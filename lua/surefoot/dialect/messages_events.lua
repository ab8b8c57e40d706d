--- Answers in pieces as events of Anthropic's Messages API: message_start, blocks one after another, message_delta with
--- why it ended and the usage, message_stop. Pure.
--
-- A block begins when there is something to show of it and ends before the next one begins. Calls of tools may come
-- interleaved, and a text in the midst of a call: what comes while a call is not whole waits until it is, or until the
-- end, so that each block is written in one piece. The input of a call is a JSON object, as callers demand; arguments
-- that cannot become one are held, and written as `messages_answer.unreadable`.

local answer = require "surefoot.dialect.messages_answer"
local common = require "surefoot.provider.common"
local ids = require "surefoot.dialect.messages_ids"
local json = require "surefoot.json"

local M = {}

local byte, concat, find, sub = string.byte, table.concat, string.find, string.sub
local null, NOTHING = json.null, common.NOTHING
local some_table, some_text = common.some_table, common.some_text

---@class surefoot.dialect.MessagesBlock
---@field kind "text" | "thinking" | "tool_use"
---@field index integer?   once it has begun
---@field head string?     what stands around its pieces, once it has begun
---@field held string[]    pieces that are not written yet
---@field id string?       of a call
---@field name string?
---@field number integer?  from 1
---@field blank string?     white space before its arguments
---@field odd boolean?     its arguments are no object
---@field depth integer?   braces of its arguments that are open
---@field quoted boolean?  they end in a string
---@field skip boolean?    they end in a backslash
---@field over boolean?    they are whole

---@class surefoot.dialect.MessagesEvents
---@field private context surefoot.dialect.Context
---@field private thinks boolean      the caller is shown thoughts
---@field private begun boolean
---@field private count integer       blocks that have begun
---@field private open surefoot.dialect.MessagesBlock?    the one that is written
---@field private waiting surefoot.dialect.MessagesBlock[] those behind it
---@field private calls table<any, surefoot.dialect.MessagesBlock>  by their index
---@field private numbered integer    calls so far
local Events = {}
Events.__index = Events

--- Writes an answer in pieces.
---@param context surefoot.dialect.Context
---@return surefoot.dialect.MessagesEvents
function M.new(context)
  return setmetatable({ context = context, thinks = answer.shows_thinking(context), begun = false, count = 0,
    open = nil, waiting = {}, calls = {}, numbered = 0 }, Events)
end

-- ------------------------------------------------------------------------------------------------------------ writing

local function framed(self, name, document)
  return "event: " .. name .. "\ndata: " .. assert(self.context.codec.quick(document)) .. "\n\n"
end

local DELTAS = {
  text = '{"type":"text_delta","text":', thinking = '{"type":"thinking_delta","thinking":',
  tool_use = '{"type":"input_json_delta","partial_json":',
}

local function delta(self, block, text)
  return block.head .. assert(self.context.codec.quick(json.well_formed(text))) .. "}}\n\n"
end

local function content_block(self, block)
  if block.kind == "text" then
    return { type = "text", text = "", citations = null }
  elseif block.kind == "thinking" then
    return { type = "thinking", thinking = "", signature = "" }
  end
  return { type = "tool_use", id = json.well_formed(ids.shown(block.id, self.context, block.number)),
    name = json.well_formed(block.name or ""), input = json.object {} }
end

-- ------------------------------------------------------------------------------------------------------------- blocks

local function begin(self, out, block)
  block.index, self.count = self.count, self.count + 1
  block.head = ('event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%s')
    :format(block.index, DELTAS[block.kind])
  out[#out + 1] = framed(self, "content_block_start", { type = "content_block_start", index = block.index,
    content_block = content_block(self, block) })
end

-- Whether a block's pieces can be written as they come.
local function flows(block)
  return block.kind ~= "tool_use" or block.name ~= nil and not block.odd
end

-- Writes what was held back.
local function write_held(self, out, block)
  if #block.held == 0 then
    return
  elseif not block.index then
    begin(self, out, block)
  end
  out[#out + 1], block.held = delta(self, block, concat(block.held)), {}
end

-- Arguments that are no object, as one.
local function settle_odd(self, block)
  local text = concat(block.held)
  local input = answer.input_of(text, self.context.codec)
  local unreadable = answer.unreadable(json.well_formed(text))
  block.held = next(input) ~= nil and { (assert(self.context.codec.quick(unreadable))) } or {}
end

local function close(self, out)
  local block = self.open
  if block.odd then
    settle_odd(self, block)
  end
  write_held(self, out, block)
  if not block.index then
    begin(self, out, block)
  end
  out[#out + 1] = framed(self, "content_block_stop", { type = "content_block_stop", index = block.index })
  self.open = nil
end

-- Goes on to the blocks that wait, as far as those before them are over.
local function advance(self, out, is_end)
  local waiting, done = self.waiting, 0
  while waiting[done + 1] do
    local open = self.open
    if open and open.kind == "tool_use" and not open.over and not is_end then
      break
    elseif open then
      close(self, out)
    end
    done = done + 1
    self.open = waiting[done]
    if flows(self.open) then
      write_held(self, out, self.open)
    end
  end
  for i = 1, done > 0 and #waiting or 0 do
    waiting[i] = waiting[i + done]
  end
end

local function add_block(self, out, kind)
  local block = { kind = kind, index = nil, head = nil, held = {} }
  self.waiting[#self.waiting + 1] = block
  advance(self, out)
  return block
end

-- What comes after a call was whole and another block has begun is kept and never written: it makes no JSON any better.
local function write(self, out, block, text)
  local held = block.held
  held[#held + 1] = text
  if block == self.open and flows(block) then
    write_held(self, out, block)
  end
end

local function add_text(self, out, kind, text)
  local last = self.waiting[#self.waiting] or self.open
  write(self, out, last and last.kind == kind and last or add_block(self, out, kind), text)
end

-- -------------------------------------------------------------------------------------------------------------- calls

local OPENING = { [byte "{"] = 1, [byte "["] = 1, [byte "}"] = -1, [byte "]"] = -1 }

-- Follows the braces of arguments that come in pieces, to know when they are whole.
local function follow(block, text)
  local at = block.skip and 2 or 1
  block.skip = false
  while at do
    local stop = find(text, block.quoted and '["\\]' or '["{}%[%]]', at)
    local char = stop and byte(text, stop)
    if char == 92 then -- the next character means nothing
      block.skip, at = stop == #text, stop + 2
    elseif char == 34 then
      block.quoted, at = not block.quoted, stop + 1
    elseif char then
      block.depth, at = block.depth + OPENING[char], stop + 1
      block.over = block.over or block.depth == 0
    else
      at = nil
    end
  end
end

local function add_arguments(self, out, block, text)
  if block.depth == nil then
    block.blank = (block.blank or "") .. text -- white space tells nothing yet
    if not find(block.blank, "%S") then
      return
    end
    text, block.blank, block.depth, block.quoted = block.blank, nil, 0, false
    block.odd = not find(text, "^%s*{")
  end
  if not block.odd then
    follow(block, text)
  end
  write(self, out, block, text)
  if block.over then
    advance(self, out)
  end
end

-- Names come whole, once or with every piece; or in pieces, before the arguments.
local function add_name(block, name)
  local known = block.name
  if not known or block.depth == nil and sub(name, 1, #known) == known then
    block.name = name
  elseif block.depth == nil then
    block.name = known .. name
  end
end

local function add_call(self, out, fragment)
  local key, body = fragment.index or 0, some_table(fragment["function"]) or NOTHING
  local block, name, arguments = self.calls[key], some_text(body.name), body.arguments
  if not block then
    block = add_block(self, out, "tool_use")
    self.numbered = self.numbered + 1
    self.calls[key], block.number = block, self.numbered
  end
  block.id = block.id or some_text(fragment.id)
  if name then
    add_name(block, name)
  end
  if type(arguments) == "table" then
    arguments = assert(self.context.codec.encode(arguments))
  end
  if some_text(arguments) then
    add_arguments(self, out, block, arguments)
  end
end

-- ------------------------------------------------------------------------------------------------------- the messages

local function start(self, out, usage)
  self.begun = true
  local context = self.context
  local told = answer.usage_of(usage)
  told.output_tokens = 0
  out[#out + 1] = framed(self, "message_start", { type = "message_start",
    message = answer.message("msg_" .. context.id, context.model, {}, told) })
end

-- What lines of this very API say beside text: the signature of thoughts.
local function add_own(self, out, raw)
  local own = type(raw) == "table" and some_table(raw.delta) or NOTHING
  local block = self.open
  if own.type == "signature_delta" and some_text(own.signature) and block and block.kind == "thinking" then
    out[#out + 1] = framed(self, "content_block_delta", { type = "content_block_delta", index = block.index,
      delta = { type = "signature_delta", signature = own.signature } })
  end
end

--- The events of a chunk.
---@param chunk surefoot.Chunk
---@return string
function Events:chunk(chunk)
  local text, reasoning, calls, block = some_text(chunk.text), some_text(chunk.reasoning), chunk.tool_calls, self.open
  if (chunk.index or 1) ~= 1 then
    return "" -- one answer is all that a message holds
  elseif text and block and block.kind == "text" and block.index and not (reasoning or calls) then
    return delta(self, block, text)
  end
  local out = {}
  if not self.begun then
    start(self, out, chunk.usage)
  end
  if reasoning and self.thinks then
    add_text(self, out, "thinking", reasoning)
  end
  if text then
    add_text(self, out, "text", text)
  end
  for _, fragment in ipairs(calls or NOTHING) do
    add_call(self, out, fragment)
  end
  if not (text or reasoning or calls or chunk.finish_reason) then
    add_own(self, out, chunk.raw)
  end
  return concat(out)
end

-- What no chunk has shown: all of an answer that came whole; why the model says nothing.
local function add_unseen(self, out, result)
  if self.count > 0 or self.open then
    if not some_text(result.text) and some_text((result.message or NOTHING).refusal) then
      add_text(self, out, "text", result.message.refusal)
    end
    return
  end
  local calls
  for i, call in ipairs(result.tool_calls or NOTHING) do
    calls = calls or {}
    calls[i] = { index = i - 1, id = call.id, ["function"] = call["function"] }
  end
  out[#out + 1] = self:chunk { text = answer.text_of(result), reasoning = result.reasoning, tool_calls = calls,
    finish_reason = "stop", index = 1 }
end

--- The events at the end.
---@param result surefoot.Result
---@return string
function Events:finish(result)
  local out = {}
  if not self.begun then
    start(self, out, result.usage)
  end
  add_unseen(self, out, result)
  advance(self, out, true)
  if self.open then
    close(self, out)
  end
  local reason, sequence = answer.stop_of(result, self.context)
  out[#out + 1] = framed(self, "message_delta", { type = "message_delta", usage = answer.usage_of_result(result),
    delta = { stop_reason = reason, stop_sequence = sequence or null, stop_details = null } })
  out[#out + 1] = framed(self, "message_stop", { type = "message_stop" })
  return concat(out)
end

--- An event that says that the answer will not be completed.
---@param fields surefoot.dialect.Failure
---@return string
function Events:failure(fields)
  return framed(self, "error", answer.error(fields))
end

return M
