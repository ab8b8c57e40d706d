-- What the specs of the Responses dialect share: reading documents, and the items that they are made of.

local format = require "surefoot.dialect.responses"
local json = require "surefoot.json"
local provider = require "surefoot.provider.responses"
local replay = require "spec.support.replay"

local codec = json.new()
local chat = provider.operations.chat

local function context_of(document)
  return { codec = codec, document = document, model = "gpt-x", id = "req-1", created = 1700000000 }
end

-- The chat request of a document, which stays as it was; nil, message and param where it is none.
local function read(document)
  local before = replay.deep(document)
  local request, message, param = format.read(document, context_of(document))
  replay.same(before, document, "document")
  return request, message, param
end

local function messages_of(...)
  return assert(read { model = "m", input = { ... } }).messages
end

-- Messages without what only a line of this API sees.
local function plain(messages)
  local list = {}
  for i, message in ipairs(messages) do
    list[i] = replay.deep(message)
    list[i].native = nil
  end
  return list
end

-- What a line of the API is asked for a document, by way of the chat shape.
local function sent(document)
  local request = replay.deep(assert(read(document)))
  local _, problem, _, body = chat.encode(request, { model = document.model, traits = {} }, codec)
  return json.decode(assert(body, problem))
end

local function user(text)
  return { role = "user", content = text }
end

local function said(text)
  return { type = "message", id = "msg_1", role = "assistant", status = "completed",
    content = { { type = "output_text", text = text, annotations = json.array {} } } }
end

local function called(id, name, arguments)
  return { type = "function_call", id = "fc_" .. id, call_id = id, name = name, arguments = arguments,
    status = "completed" }
end

local function output(id, text)
  return { type = "function_call_output", call_id = id, output = text }
end

local function call(id, name, arguments)
  return { id = id, type = "function", ["function"] = { name = name, arguments = arguments } }
end

return {
  codec = codec, chat = chat, context_of = context_of, read = read, messages_of = messages_of, plain = plain,
  sent = sent, user = user, said = said, called = called, output = output, call = call,
}
