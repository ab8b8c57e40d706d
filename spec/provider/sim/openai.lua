-- OpenAI's formats: models, chat completions (whole and streamed), embeddings, errors.
-- Pure: request table in, tables or a list of events out.

local cjson = require "cjson.safe"
local ffi = require "ffi"
local text = require "sim.text"

local M = {}

local TYPES = {
  [400] = "invalid_request_error", [401] = "invalid_request_error", [403] = "permission_error",
  [404] = "invalid_request_error", [429] = "rate_limit_error",
}
local CODES = {
  [401] = "invalid_api_key", [404] = "model_not_found", [429] = "rate_limit_exceeded", [503] = "overloaded",
  [529] = "overloaded",
}

---@return table body
function M.error(status, message)
  return {
    error = {
      message = message,
      type = TYPES[status] or (status >= 500 and "server_error" or "invalid_request_error"),
      param = cjson.null,
      code = CODES[status] or cjson.null,
    },
  }
end

---@param names string[]|nil
---@return table body
function M.models(names)
  local data = {}
  for i, name in ipairs(names or { "sim-large", "sim-small" }) do
    data[i] = { id = name, object = "model", created = 1700000000, owned_by = "simulated" }
  end
  return { object = "list", data = data }
end

local function calls_of(request, user)
  local calls = {}
  for i, name in ipairs(request.tools and text.tool_calls(user) or {}) do
    calls[i] = {
      id = ("call_%d_%s"):format(i, name),
      type = "function",
      ["function"] = { name = name, arguments = cjson.encode { echo = user } },
    }
  end
  return calls
end

local function content_of(request, said)
  local format = request.response_format
  if type(format) == "table" and format.type ~= "text" then
    return cjson.encode { echo = said }
  end
  return said
end

local function limit_of(request)
  return tonumber(request.max_completion_tokens or request.max_tokens)
end

-- What both forms of an answer are made of.
local function compose(request, answer, meta)
  local said, cut, user = text.compose(request.messages, answer, limit_of(request))
  local calls = calls_of(request, user)
  local content = #calls == 0 and (cut and said or content_of(request, said)) or nil
  local count = math.max(1, tonumber(request.n) or 1)
  local output = content and text.tokens(content) or text.tokens(cjson.encode(calls))
  local input = text.prompt_tokens(request.messages)
  return {
    content = content,
    calls = calls,
    count = count,
    finish = answer.finish_reason or (#calls > 0 and "tool_calls") or (cut and "length") or "stop",
    usage = { prompt_tokens = input, completion_tokens = output * count, total_tokens = input + output * count },
    id = ("chatcmpl-%s-%d"):format(meta.line, meta.number),
  }
end

---@param request table decoded body
---@param answer table the profile's `answer`
---@param meta { line: string, number: integer, time: integer }
---@return table body
function M.chat(request, answer, meta)
  local made = compose(request, answer, meta)
  local choices = {}
  for i = 1, made.count do
    choices[i] = {
      index = i - 1,
      message = {
        role = "assistant",
        content = made.content or cjson.null,
        tool_calls = #made.calls > 0 and made.calls or nil,
        refusal = cjson.null,
      },
      logprobs = cjson.null,
      finish_reason = made.finish,
    }
  end
  return {
    id = made.id, object = "chat.completion", created = meta.time, model = request.model, choices = choices,
    usage = made.usage, system_fingerprint = meta.line,
  }
end

local function deltas_of(made, chunks)
  local deltas = {}
  for _, piece in ipairs(text.pieces(made.content or "", chunks)) do
    deltas[#deltas + 1] = { content = piece }
  end
  for i, call in ipairs(made.calls) do
    deltas[#deltas + 1] = { tool_calls = { {
      index = i - 1, id = call.id, type = "function", ["function"] = { name = call["function"].name, arguments = "" },
    } } }
    for _, piece in ipairs(text.pieces(call["function"].arguments, chunks)) do
      deltas[#deltas + 1] = { tool_calls = { { index = i - 1, ["function"] = { arguments = piece } } } }
    end
  end
  return deltas
end

---@return { data: string, content: boolean|nil, finish: boolean|nil, done: boolean|nil }[] events
function M.chat_events(request, answer, meta)
  local made = compose(request, answer, meta)
  local include_usage = type(request.stream_options) == "table" and request.stream_options.include_usage == true
  local events = {}
  local function chunk(flag, choices, usage)
    local event = { data = text.encode {
      id = made.id, object = "chat.completion.chunk", created = meta.time, model = request.model,
      system_fingerprint = meta.line, choices = choices, usage = usage or (include_usage and cjson.null or nil),
    } }
    event[flag] = true
    events[#events + 1] = event
  end
  local function choice(index, delta, finish)
    return { { index = index, delta = delta, logprobs = cjson.null, finish_reason = finish or cjson.null } }
  end
  for i = 0, made.count - 1 do
    chunk("start", choice(i, { role = "assistant", content = "", refusal = cjson.null }))
  end
  for _, delta in ipairs(deltas_of(made, answer.chunks)) do
    for i = 0, made.count - 1 do
      chunk("content", choice(i, delta))
    end
  end
  for i = 0, made.count - 1 do
    chunk("finish", choice(i, {}, made.finish))
  end
  if include_usage then
    chunk("usage", text.empty_list, made.usage)
  end
  events[#events + 1] = { data = "[DONE]", done = true }
  return events
end

local function vector(input, dimensions)
  local values, sum = {}, 0
  for i = 1, dimensions do
    local x = ngx.crc32_long(i .. ":" .. input) / 2147483648 - 1
    values[i], sum = x, sum + x * x
  end
  local norm = math.sqrt(sum)
  for i = 1, dimensions do
    values[i] = values[i] / norm
  end
  return values
end

local function base64_floats(values)
  return ngx.encode_base64(ffi.string(ffi.new("float[?]", #values, values), 4 * #values))
end

---@return table|nil body, string? error
function M.embeddings(request, meta)
  local input = request.input
  if type(input) == "string" then
    input = { input }
  elseif type(input) ~= "table" or #input == 0 then
    return nil, "'input' must be a string or a list"
  elseif type(input[1]) == "number" then
    input = { table.concat(input, " ") }
  end
  local data, bytes = {}, 0
  for i, item in ipairs(input) do
    item = type(item) == "table" and table.concat(item, " ") or tostring(item)
    local values = vector(item, tonumber(request.dimensions) or 8)
    bytes = bytes + #item
    data[i] = {
      object = "embedding", index = i - 1,
      embedding = request.encoding_format == "base64" and base64_floats(values) or values,
    }
  end
  local tokens = math.ceil(bytes / 4)
  return {
    object = "list", data = data, model = request.model, usage = { prompt_tokens = tokens, total_tokens = tokens },
    system_fingerprint = meta.line,
  }
end

return M
