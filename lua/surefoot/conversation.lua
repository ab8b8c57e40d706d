--- A conversation: a client, and what has been said.
--
--   local talk = client:conversation { system = "Answer in one sentence." }
--   local result, err = talk:send "Name a river."        -- or a message, a list of messages, a list of content parts
--   local stream, err = talk:stream "And a longer one?"   -- its answer enters the history when it ends whole
--
-- talk.messages is a plain list, to be stored and given to another conversation; each answer makes a new one, and a
-- failure leaves it as it was. With `tools`, send runs them (client:run_tools) and their calls and outcomes are part of
-- the history. talk.system, tools, request, options and max_messages may be changed between two calls. One call at a
-- time: an open stream counts until it has ended, was closed, or was collected.

local check = require "surefoot.config.check"
local schema = require "surefoot.config.schema"
local streams = require "surefoot.stream"
local tasks = require "surefoot.tasks"
local toolbox = require "surefoot.toolbox"
local tools = require "surefoot.tools"

local M = {}

---@class surefoot.ConversationOptions
---@field system string?        the system message, sent before the others
---@field messages table[]?     what was said before
---@field tools table?          as for client:run_tools
---@field request table?        fields of every request: model, temperature ...
---@field options surefoot.ToolOptions?  of every call
---@field max_messages integer? the oldest turns are forgotten beyond that (default: none are)

---@class surefoot.Conversation
---@field messages table[]      what has been said, without the system message
---@field system string?
---@field tools table?
---@field request table?
---@field options surefoot.ToolOptions?
---@field max_messages integer?
---@field private client table
---@field private current table  weak: { what runs now }
local Conversation = {}
local mt = { __index = Conversation, __name = "surefoot.conversation" }

function mt.__tostring(conversation)
  return ("surefoot.conversation (%d messages)"):format(#conversation.messages)
end

-- ----------------------------------------------------------------------------------------------------------- reading

check.define("message", function(_, value, path)
  if type(value) ~= "table" or type(value.role) ~= "string" then
    check.fail(path, "expected a message, { role =, content = }, got %s",
      type(value) == "table" and "a table without a role" or check.show(value))
  end
  return value
end)

local function copied(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, item in next, value do
    copy[key] = copied(item)
  end
  return setmetatable(copy, getmetatable(value))
end

-- What a conversation is made of, checked.
local function read(given)
  if type(given) ~= "table" then
    check.fail("options", "expected a table, got %s", check.show(given))
  end
  local fields = check.fields(schema.conversation, given, "")
  if fields.tools ~= nil then
    toolbox.read(fields.tools)
  end
  for _, name in ipairs { "messages", "stream" } do
    if fields.request and fields.request[name] ~= nil then
      check.fail("request." .. name, "is the conversation's own")
    end
  end
  if fields.options then
    tools.check_options(fields.options, "options")
    for _, name in ipairs { "stream", "idempotency_key" } do
      if fields.options[name] ~= nil then
        check.fail("options." .. name, "belongs to one call")
      end
    end
  end
  return fields
end

-- The messages that a user's words stand for.
local function messages_of(what)
  if type(what) == "string" then
    return { { role = "user", content = what } }
  elseif type(what) == "table" and what.role ~= nil then
    return { check.check({ type = "message" }, what, "message") }
  elseif type(what) ~= "table" or type(what[1]) ~= "table" then
    check.fail("message", "expected a text, a message, a list of messages or a list of content parts, got %s",
      type(what) == "table" and "another table" or check.show(what))
  elseif what[1].role ~= nil then
    return check.check({ type = "list", of = { type = "message" } }, what, "messages")
  end
  local parts = check.list(what, "parts", function(part, path)
    if type(part) ~= "table" or type(part.type) ~= "string" then
      check.fail(path, "expected a content part, { type =, ... }, got %s",
        type(part) == "table" and "a table without a type" or check.show(part))
    end
    return part
  end)
  return { { role = "user", content = parts } }
end

-- ----------------------------------------------------------------------------------------------------------- history

local function next_turn(list, from)
  for i = from, #list do
    if list[i].role == "user" then
      return i
    end
  end
end

-- The list without its oldest turns, so that at most so many messages are left; the last turn always stays.
local function trimmed(list, most)
  local first = 1
  while most and #list - first + 1 > most do
    local following = next_turn(list, first + 1)
    if not following then
      break
    end
    first = following
  end
  local kept = {}
  for i = first, #list do
    kept[#kept + 1] = list[i]
  end
  return kept
end

local function appended(list, more, from)
  local both = {}
  for i = 1, #list do
    both[i] = list[i]
  end
  for i = from or 1, #more do
    both[#both + 1] = more[i]
  end
  return both
end

-- ----------------------------------------------------------------------------------------------------------- calling

-- The loop that answers `what`, and the messages that are sent, without the system's.
local function prepare(self, what, options, as_stream)
  local fields = read {
    system = self.system, messages = self.messages, tools = self.tools, request = self.request, options = self.options,
    max_messages = self.max_messages,
  }
  local sent = trimmed(appended(fields.messages or {}, messages_of(what)), fields.max_messages)
  local request, all = {}, {}
  for key, value in pairs(fields.request or {}) do
    request[key] = value
  end
  request.messages = fields.system and appended({ { role = "system", content = fields.system } }, sent) or sent
  if options ~= nil and type(options) ~= "table" then
    check.fail("options", "expected a table, got %s", check.show(options))
  elseif options and options.stream ~= nil then
    check.fail("stream", "is no option here: there are conversation:send and conversation:stream")
  end
  for _, source in ipairs { fields.options or {}, options or {} } do
    for key, value in pairs(source) do
      all[key] = value
    end
  end
  all.stream = as_stream
  local loop, problem = tools.read(self.client, request, fields.tools or {}, all)
  return loop, problem, sent, #request.messages
end

-- Checks all that a user gave, and that nothing else runs; throws at the user's line.
local function begin(self, method, what, options)
  if getmetatable(self) ~= mt then
    error(("conversation.%s: call it with a colon, conversation:%s(...)"):format(method, method), 3)
  elseif self.current[1] then
    error(("conversation:%s: another call of this conversation is running: one at a time; a stream runs until it is "
      .. "read to its end or closed"):format(method), 3)
  end
  local ok, loop, problem, sent, count = pcall(prepare, self, what, options, method == "stream")
  if not ok then
    error(("conversation:%s: %s"):format(method, tostring(loop)), 3)
  end
  return loop, problem, sent, count
end

-- The answer enters the history.
local function enter(self, sent, count, result)
  self.messages = trimmed(appended(sent, result.messages, count + 1), self.max_messages)
end

--- Says something and waits for the answer; runs tools, where there are any.
---@async
---@param what string | table a text, a message, a list of messages, or a list of content parts
---@param options surefoot.ToolOptions?
---@return surefoot.Result? result
---@return surefoot.Error? err the history is as it was
function Conversation:send(what, options)
  local loop, problem, sent, count = begin(self, "send", what, options)
  if not loop then
    return nil, problem
  end
  local token = {} -- held by this call alone: where its coroutine is dropped, the conversation is free again
  self.current[1] = token
  local ok, result, err = tasks.guarded(tools.run, loop)
  if self.current[1] == token then
    self.current[1] = nil
  end
  if not ok then
    error(result, 0)
  elseif not result then
    return nil, err
  end
  enter(self, sent, count, result)
  return result
end

-- The pieces of an answer that enters the history in the end.
---@class surefoot.ConversationSource: surefoot.Source
local Source = {}
Source.__index = Source

local function leave(self)
  local current = self.conversation.current
  if current[1] == self then
    current[1] = nil
  end
end

function Source:read(task)
  local chunk, over, result, err = self.inner:read(task)
  if over then
    leave(self)
  end
  if result then
    enter(self.conversation, self.sent, self.count, result)
  end
  return chunk, over, result, err
end

function Source:cancel()
  leave(self)
  local result, err = self.inner:cancel()
  if result then
    enter(self.conversation, self.sent, self.count, result)
  end
  return result, err
end

--- Says something and returns with the first content of the answer.
---@async
---@param what string | table a text, a message, a list of messages, or a list of content parts
---@param options surefoot.ToolOptions?
---@return surefoot.Stream? stream its answer enters the history when it ends whole
---@return surefoot.Error? err
function Conversation:stream(what, options)
  local loop, problem, sent, count = begin(self, "stream", what, options)
  if not loop then
    return nil, problem
  end
  local source = setmetatable({ conversation = self, inner = tools.source(loop), sent = sent, count = count }, Source)
  self.current[1] = source
  return streams.open(source)
end

local function new(client, fields)
  return setmetatable({
    client = client, current = setmetatable({}, { __mode = "v" }), messages = fields.messages or {},
    system = fields.system, tools = fields.tools, request = fields.request, options = fields.options,
    max_messages = fields.max_messages,
  }, mt)
end

--- A copy that goes on by itself from here.
---@return surefoot.Conversation
function Conversation:fork()
  if getmetatable(self) ~= mt then
    error("conversation.fork: call it with a colon, conversation:fork()", 2)
  end
  local fields = {}
  for _, field in ipairs(schema.conversation) do
    fields[field.name] = self[field.name]
  end
  fields.messages, fields.request = copied(self.messages), copied(self.request)
  return new(self.client, fields)
end

--- Begins a conversation. Throws a message without a position.
---@param client table
---@param options surefoot.ConversationOptions?
---@return surefoot.Conversation
function M.new(client, options)
  return new(client, read(options == nil and {} or options))
end

return M
