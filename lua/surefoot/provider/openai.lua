--- The OpenAI format: chat completions, embeddings, models. Pure functions; no I/O, no state.
--
-- An operation says how a request becomes bytes and what bytes mean:
--   encode(request, model, changes, codec) -> body | nil, problem        (body nil without a problem: none is sent)
--   decode(reply, codec, request)          -> fields | nil, verdict
-- reply = { status =, headers = block, body = string }; verdict = { class =, kind =, code =, message =, wait =,
-- body = }. A 2xx answer is good only if it is a whole JSON document of the right form: HTML with 200, an `error`
-- object with 200 and a text that ends early are failures, whatever the status says.

local classify = require "surefoot.classify"
local json = require "surefoot.json"

local M = {}

local null = json.null
local NOTHING = {}

--- The header line that carries a key.
---@param key string
---@return string
function M.auth(key)
  return "authorization: Bearer " .. key
end

-- JSON's null is truthy: nil in its place.
local function some(value)
  if value == null then
    return nil
  end
  return value
end

local function some_table(value)
  return type(value) == "table" and value or nil
end

local to_integer = math.tointeger or function(value)
  return value
end

local MOST_TOKENS = 1e12 -- more is no count

local function count(value)
  return type(value) == "number" and value >= 0 and value <= MOST_TOKENS and (to_integer(value) or value) or nil
end

local function body_of(request, model, changes, codec)
  local body = request
  if changes or model and request.model ~= model then
    body = {}
    for key, value in pairs(request) do
      body[key] = value
    end
    for key, value in pairs(changes or NOTHING) do
      body[key] = value
    end
    body.model = model or body.model
  end
  if body.tools or body.response_format or body.functions then -- providers cache prompts by the bytes of schemas
    return codec.encode(body)
  end
  return codec.quick(body)
end

local function malformed(message)
  return nil, { class = "transient", kind = "malformed", message = message }
end

local function beginning(text)
  text = text:match "^%s*(.*)":sub(1, 60):gsub("%s+", " "):gsub("[%z\1-\31\127-\255]", "?")
  return ("%q"):format(text)
end

-- The error inside a 2xx document, in the forms providers are known to use, or nil.
local function error_in(document)
  local err = some(document.error)
  if err and err ~= "" then
    return true
  end
  return document.object == "error" or document.type == "error"
end

-- A 2xx body as a table, or a verdict. `read`: the codec's decode, or its read.
local function document_of(reply, read)
  local document, problem, message = read(reply.body)
  if document == nil then
    if reply.body:find "^%s*<" then
      return malformed("the answer is HTML or XML, not JSON: " .. beginning(reply.body))
    elseif problem == "truncated" then
      return nil, { class = "transient", kind = "truncated", message = "the JSON of the answer ends early: "
        .. message }
    elseif not reply.body:find "%S" then
      return malformed "the answer is empty"
    end
    return malformed(("the answer is no JSON (%s): %s"):format(message, beginning(reply.body)))
  elseif type(document) ~= "table" then
    return malformed("the answer is no JSON object: " .. beginning(reply.body))
  elseif error_in(document) then
    return nil, M.judge(reply, document)
  end
  return document
end

--- The verdict on an answer that is no success.
---@param reply { status: integer, headers: string, body: string }
---@param document any the decoded body, nil when it is no JSON
---@return table verdict
function M.judge(reply, document)
  local class, kind, code, message, wait = classify.classify(reply.status, reply.headers, document, reply.body)
  if class == "accept" then -- its `error` says nothing
    class, kind, message = "transient", "malformed", "the answer claims an error: " .. beginning(reply.body)
  end
  return { class = class, kind = kind, code = code, message = message, wait = wait, body = document or reply.body }
end

--- Token counts in surefoot's names, or nil when the answer holds none.
---@param usage any
---@return surefoot.Usage?
function M.usage(usage)
  if type(usage) ~= "table" then
    return nil
  end
  local input, output = count(usage.prompt_tokens), count(usage.completion_tokens)
  local total = count(usage.total_tokens)
  if not (input or output or total) then
    return nil
  end
  local read = some_table(usage.prompt_tokens_details) or NOTHING
  local written = some_table(usage.completion_tokens_details) or NOTHING
  input = input or total and math.max(0, total - (output or 0)) or 0
  output = output or total and math.max(0, total - input) or 0
  return {
    input_tokens = input, output_tokens = output, total_tokens = total or input + output,
    cached_input_tokens = count(read.cached_tokens) or count(usage.prompt_cache_hit_tokens),
    reasoning_tokens = count(written.reasoning_tokens), estimated = false,
  }
end

-- The text of a message: its content, or its text parts joined.
local function text_of(message)
  local content = message.content
  if type(content) == "string" then
    return content
  elseif type(content) ~= "table" then
    return nil
  end
  local parts = {}
  for _, part in ipairs(content) do
    if type(part) == "table" and type(part.text) == "string" then
      parts[#parts + 1] = part.text
    end
  end
  return #parts > 0 and table.concat(parts) or nil
end

local function parsed_of(text, request, codec)
  local format = request and some_table(request.response_format)
  if not text or not format or format.type ~= "json_schema" and format.type ~= "json_object" then
    return nil
  end
  return (codec.decode(text))
end

local chat = { method = "POST", path = "/chat/completions", encode = body_of }

function chat.decode(reply, codec, request)
  local finish = codec.finish
  local document, verdict = document_of(reply, codec.read)
  if not document then
    return nil, verdict
  end
  local choices = document.choices
  local choice = type(choices) == "table" and choices[1]
  local message = type(choice) == "table" and choice.message
  if type(message) ~= "table" then
    return malformed("the answer has no choices[1].message: " .. beginning(reply.body))
  elseif finish then
    message = finish(message)
  end
  local text, calls = text_of(message), some_table(message.tool_calls)
  local reason = some(choice.finish_reason)
  return { -- the empty fields are filled by others: named here, the table has their places
    text = text, message = message, tool_calls = calls and #calls > 0 and calls or nil,
    parsed = parsed_of(text, request, codec), finish_reason = reason, truncated = reason == "length" or nil,
    reasoning = some(message.reasoning_content) or some(message.reasoning), usage = M.usage(document.usage),
    model = some(document.model), id = some(document.id),
    body = not finish and document or nil, _body = finish and document or nil,
    status = nil, raw = nil, _headers = nil, _receipt = nil, endpoint = nil, request_id = nil, latency = nil,
    time_to_first_token = nil,
  }
end

local embeddings = { method = "POST", path = "/embeddings", encode = body_of }

function embeddings.decode(reply, codec, request)
  local document, verdict = document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local data = some_table(document.data)
  if not data then
    return malformed("the answer has no data: " .. beginning(reply.body))
  end
  local input = request and request.input
  local wanted = type(input) == "table" and type(input[1]) ~= "number" and #input or 1
  local vectors, found = {}, 0
  for i, item in ipairs(data) do
    local vector = type(item) == "table" and item.embedding
    if type(vector) ~= "table" and type(vector) ~= "string" then
      return malformed(("the answer has no data[%d].embedding"):format(i))
    end
    local place = type(item.index) == "number" and item.index + 1 or i
    if place >= 1 and place <= wanted and place % 1 == 0 and not vectors[place] then
      vectors[place], found = vector, found + 1
    end
  end
  if found ~= wanted or #data ~= wanted then
    return malformed(("%d embeddings for %d inputs"):format(found, wanted))
  end
  return { embeddings = vectors, usage = M.usage(document.usage), model = some(document.model), body = document }
end

local models = { method = "GET", path = "/models" }

function models.encode()
  return nil
end

function models.decode(reply, codec)
  local document, verdict = document_of(reply, codec.decode)
  if not document then
    return nil, verdict
  end
  local list = some_table(document.data) or some_table(document.models) or document
  local found = {}
  for i, item in ipairs(list) do
    local id = type(item) == "table" and (some(item.id) or some(item.name)) or type(item) == "string" and item
    if not id then
      return malformed(("the list of models has no data[%d].id"):format(i))
    end
    found[i] = type(item) == "table" and item or {}
    found[i].id = id
  end
  if #found == 0 and not some_table(document.data) then
    return malformed("the answer has no list of models: " .. beginning(reply.body))
  end
  return { models = found, body = document }
end

---@type table<string, surefoot.Operation>
M.operations = { chat = chat, embeddings = embeddings, models = models }

return M
