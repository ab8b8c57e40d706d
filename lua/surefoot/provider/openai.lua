--- The OpenAI format: chat completions, embeddings, models. Pure functions; no I/O, no state.
-- surefoot.provider says what each function promises. A 2xx answer is good only if it is a whole JSON document of the
-- right form: HTML with 200, an `error` object with 200 and a text that ends early are failures, whatever the status
-- says.

local common = require "surefoot.provider.common"

local M = {}

local NOTHING = common.NOTHING
local some, some_table, count, malformed, beginning, document_of = common.some, common.some_table, common.count,
  common.malformed, common.beginning, common.document_of

--- The header line that carries a key.
---@param key string
---@return string
function M.auth(key)
  return "authorization: Bearer " .. key
end

-- The request's bytes. Strings of schemas are written with their keys in order: providers cache prompts by the bytes.
local function body_of(request, variant, codec, changes)
  local body, model = request, variant.model
  if changes or model and request.model ~= model then
    body = common.changed(request, model, changes)
  end
  if body.tools or body.response_format or body.functions then
    return codec.encode(body)
  end
  return codec.quick(body)
end

local function post(path)
  return function(request, variant, codec, changes)
    local body, problem = body_of(request, variant, codec, changes)
    if not body then
      return nil, problem
    end
    return "POST", path, common.JSON_HEADERS, body
  end
end

M.judge = common.judge

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

local chat = { encode = post "/chat/completions" }

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
    parsed = common.parsed_of(text, request, codec), finish_reason = reason, truncated = reason == "length" or nil,
    reasoning = some(message.reasoning_content) or some(message.reasoning), usage = M.usage(document.usage),
    model = some(document.model), id = some(document.id),
    body = not finish and document or nil, _body = finish and document or nil,
    status = nil, raw = nil, _headers = nil, _receipt = nil, endpoint = nil, request_id = nil, latency = nil,
    time_to_first_token = nil,
  }
end

local embeddings = { encode = post "/embeddings" }

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

local models = {}

function models.encode()
  return "GET", "/models", common.ACCEPT_JSON
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
