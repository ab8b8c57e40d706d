--- What the wire formats have in common: reading documents that may be anything, and the words for what is wrong.

local classify = require "surefoot.classify"
local json = require "surefoot.json"

local M = {}

local null = json.null
local NOTHING = {}

M.NOTHING = NOTHING -- an empty table, never written to
M.JSON_HEADERS = "accept: application/json\ncontent-type: application/json\n"
M.STREAM_HEADERS = "accept: text/event-stream\ncontent-type: application/json\n"
M.ACCEPT_JSON = "accept: application/json\n"

--- JSON's null is truthy: nil in its place.
---@param value any
---@return any
function M.some(value)
  if value == null then
    return nil
  end
  return value
end

--- A table, or nil for whatever else stands there.
---@param value any
---@return table?
function M.some_table(value)
  return type(value) == "table" and value or nil
end

--- A text, or nil for whatever else stands there.
---@param value any
---@return string? text nil also for the empty one
function M.some_text(value)
  return type(value) == "string" and value ~= "" and value or nil
end

local to_integer = math.tointeger or function(value)
  return value
end

local MOST_TOKENS = 1e12 -- more is no count

--- A count of tokens, or nil for what cannot be one.
---@param value any
---@return integer?
function M.count(value)
  return type(value) == "number" and value >= 0 and value <= MOST_TOKENS and (to_integer(value) or value) or nil
end

--- A copy of the outermost table.
---@param t table
---@return table
function M.copy(t)
  local copy = {}
  for key, value in pairs(t) do
    copy[key] = value
  end
  return copy
end

--- A copy of the outermost table, with what a route changes and the model.
---@param request table
---@param model string?
---@param changes table? fields to replace
---@return table
function M.changed(request, model, changes)
  local copy = M.copy(request)
  for key, value in pairs(changes or NOTHING) do
    copy[key] = value
  end
  copy.model = model or copy.model
  return copy
end

--- The beginning of a text, quoted, for a message.
---@param text string
---@return string
function M.beginning(text)
  text = text:match "^%s*(.*)":sub(1, 60):gsub("%s+", " "):gsub("[%z\1-\31\127-\255]", "?")
  return ("%q"):format(text)
end

--- nil and the verdict on an answer that is not in the format.
---@param message string
---@return nil
---@return surefoot.Verdict
function M.malformed(message)
  return nil, { class = "transient", kind = "malformed", message = message }
end

--- Whether a 2xx document or an event of a stream is an error, in the forms providers are known to use.
---@param document table
---@return boolean
function M.is_error(document)
  local err = M.some(document.error)
  if err and err ~= "" then
    return true
  end
  return document.object == "error" or document.type == "error"
end

--- The verdict on an answer that is no success.
---@param reply surefoot.Reply
---@param document any the decoded body, nil when it is no JSON
---@return surefoot.Verdict
function M.judge(reply, document)
  local class, kind, code, message, wait = classify.classify(reply.status, reply.headers, document, reply.body)
  if class == "accept" then -- its `error` says nothing
    class, kind, message = "transient", "malformed", "the answer claims an error: " .. M.beginning(reply.body)
  end
  return { class = class, kind = kind, code = code, message = message, wait = wait, body = document or reply.body }
end

--- The verdict on an error that came as an event of a stream: it has no status of its own.
---@param document any the decoded event
---@param data string
---@return surefoot.Verdict
function M.judge_event(document, data)
  local class, kind, code, message, wait = classify.classify(nil, nil, document, data)
  return { class = class, kind = kind, code = code, message = message or M.beginning(data), wait = wait,
    body = document or data }
end

--- A 2xx body as a table, or nil and a verdict.
---@param reply surefoot.Reply
---@param read fun(text: string): any, string?, string? the codec's decode, or its read
---@return table?
---@return surefoot.Verdict?
function M.document_of(reply, read)
  local document, problem, message = read(reply.body)
  if document == nil then
    if reply.body:find "^%s*<" then
      return M.malformed("the answer is HTML or XML, not JSON: " .. M.beginning(reply.body))
    elseif problem == "truncated" then
      return nil, { class = "transient", kind = "truncated", message = "the JSON of the answer ends early: "
        .. message }
    elseif not reply.body:find "%S" then
      return M.malformed "the answer is empty"
    end
    return M.malformed(("the answer is no JSON (%s): %s"):format(message, M.beginning(reply.body)))
  elseif type(document) ~= "table" then
    return M.malformed("the answer is no JSON object: " .. M.beginning(reply.body))
  elseif M.is_error(document) then
    return nil, M.judge(reply, document)
  end
  return document
end

-- What few look at is made when somebody does: _raw is an event whose numbers are still as lua-cjson reads them, _data
-- one that was not decoded.
local chunk_mt = { __name = "surefoot.chunk" }

function chunk_mt.__index(chunk, key)
  if key ~= "raw" then
    return nil
  end
  local raw, data = rawget(chunk, "_raw"), rawget(chunk, "_data")
  if raw then
    raw = json.finish(raw)
  elseif data then
    raw = chunk._decode(data)
  end
  chunk.raw, chunk._raw, chunk._data, chunk._decode = raw, nil, nil, nil
  return raw
end

--- Gives a chunk the event that it shows. Name raw and _raw (nil) where the chunk is made: then they have their places.
---@param chunk surefoot.Chunk  becomes the chunk
---@param document any          the event, as the codec's read gave it
---@param finish (fun(value: any): any)? the codec's
---@return surefoot.Chunk
function M.chunk(chunk, document, finish)
  if not finish then
    chunk.raw = document
    return chunk
  end
  chunk._raw = document
  return setmetatable(chunk, chunk_mt)
end

--- The chunk of an event that shows a text and nothing else, and was not decoded.
---@param text string
---@param index integer  the choice, from 1
---@param data string    the event
---@param codec surefoot.Codec
---@return surefoot.Chunk
function M.text_chunk(text, index, data, codec)
  return setmetatable({ text = text, index = index, _data = data, _decode = codec.decode }, chunk_mt)
end

--- Structured output, decoded: of a request whose response_format asks for JSON.
---@param text string?
---@param request table? in OpenAI's shape
---@param codec surefoot.Codec
---@return any
function M.parsed_of(text, request, codec)
  local format = request and M.some_table(request.response_format)
  if not text or not format or format.type ~= "json_schema" and format.type ~= "json_object" then
    return nil
  end
  return (codec.decode(text))
end

return M
