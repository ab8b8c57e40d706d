-- OpenAI's formats: chat completions (whole and streamed), models, errors.
-- Pure: a request in, a table or a function that tells events out.
-- Source: openai/openai-openapi (CreateChatCompletion..., CompletionUsage); `reasoning_content` is DeepSeek's, vLLM's.

local cjson = require "cjson.safe"
local long = require "sim.long"
local model = require "sim.model"
local text = require "sim.text"

local M = { name = "openai", framing = "sse" }

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

---@param key string|nil that was refused
---@return integer status, table body
function M.key_error(key)
  return 401, M.error(401, key and "Incorrect API key provided" or "You didn't provide an API key")
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

---@param choice any `tool_choice` of chat completions or of responses
---@return string choice as sim.model has it
function M.choice(choice)
  if type(choice) == "table" then
    return choice.name or text.object(choice["function"]).name or "auto"
  end
  return choice == "required" and "any" or text.given(choice) or "auto"
end

local function ask_of(request)
  local ask = { messages = {}, tools = {}, choice = M.choice(request.tool_choice) }
  for i, message in ipairs(request.messages) do
    ask.messages[i] = { role = message.role, text = text.content(message.content) }
  end
  for i, tool in ipairs(text.object(request.tools)) do
    local declared = text.object(tool["function"])
    ask.tools[i] = { name = declared.name, schema = declared.parameters }
  end
  local format = text.object(request.response_format)
  if format.type == "json_schema" or format.type == "json_object" then
    ask.schema = text.object(format.json_schema).schema or true
  end
  local effort = text.given(request.reasoning_effort)
  ask.reasoning = effort ~= nil and effort ~= "none"
  ask.limit = tonumber(request.max_completion_tokens or request.max_tokens)
  return ask
end

local function usage_of(plan, count)
  local output = plan.output * count
  return {
    prompt_tokens = plan.input, completion_tokens = output, total_tokens = plan.input + output,
    prompt_tokens_details = plan.cached > 0 and { cached_tokens = plan.cached } or nil,
    completion_tokens_details = plan.thought and { reasoning_tokens = plan.thinking * count } or nil,
  }
end

-- What both forms of an answer are made of.
local function compose(request, answer, ctx)
  local plan = model.plan(ask_of(request), answer, ctx.options.endless)
  local calls = {}
  for i, call in ipairs(plan.calls) do
    calls[i] = {
      id = ("call_%d_%s"):format(i, call.name),
      type = "function",
      ["function"] = { name = call.name, arguments = call.arguments },
    }
  end
  local count = math.max(1, tonumber(request.n) or 1)
  return {
    plan = plan,
    calls = calls,
    count = count,
    finish = answer.finish_reason or (plan.cut and "length") or (#calls > 0 and "tool_calls") or "stop",
    usage = usage_of(plan, count),
    id = ("chatcmpl-%s-%d"):format(ctx.line, ctx.number),
  }
end

---@param request table decoded body
---@param answer table the profile's `answer`
---@param ctx { line: string, number: integer, time: integer, options: table }
---@return table body
function M.chat(request, answer, ctx)
  local made = compose(request, answer, ctx)
  local choices = {}
  for i = 1, made.count do
    choices[i] = {
      index = i - 1,
      message = {
        role = "assistant",
        content = made.plan.said and tostring(made.plan.said) or cjson.null,
        reasoning_content = made.plan.thought,
        tool_calls = #made.calls > 0 and made.calls or nil,
        refusal = cjson.null,
      },
      logprobs = cjson.null,
      finish_reason = made.finish,
    }
  end
  return {
    id = made.id, object = "chat.completion", created = ctx.time, model = request.model, choices = choices,
    usage = made.usage, system_fingerprint = ctx.line,
  }
end

local function call_delta(index, fields)
  fields.index = index - 1
  return { tool_calls = { fields } }
end

-- The calls one after the other, or with `interleave` a fragment of each in turn.
local function tell_calls(made, answer, interleave, tell)
  local sources = {}
  local function begin(i)
    local call = made.calls[i]
    tell(call_delta(i, { id = call.id, type = "function",
      ["function"] = { name = call["function"].name, arguments = "" } }))
    sources[i] = long.new(call["function"].arguments):pieces(answer.chunks)
  end
  local function step(i)
    local piece = sources[i]()
    if piece then
      tell(call_delta(i, { ["function"] = { arguments = piece } }))
    end
    return piece
  end
  if not interleave then
    for i = 1, #made.calls do
      begin(i)
      while step(i) do end
    end
    return
  end
  for i = 1, #made.calls do
    begin(i)
  end
  local more
  repeat
    more = false
    for i = 1, #sources do
      more = step(i) or more
    end
  until not more
end

local function tell_deltas(made, answer, options, tell)
  if made.plan.thought then
    for piece in long.new(made.plan.thought):pieces(answer.chunks) do
      tell { reasoning_content = piece }
    end
  end
  if made.plan.said then
    for piece in made.plan.said:pieces(answer.chunks, answer.chunk_bytes) do
      tell { content = piece }
    end
  end
  tell_calls(made, answer, options.interleave, tell)
end

-- Where the usage goes: in a chunk of its own when the request wants it, or as the profile has it.
local function usage_place(request, options)
  local wanted = text.object(request.stream_options).include_usage == true
  return options.usage or (wanted and "last") or "none"
end

---@param flavour? { choice: fun(choice: table), before: table|nil, after: table|nil } what Azure adds
---@return fun(emit: fun(event: sim.Event)) tell
function M.chat_stream(request, answer, ctx, flavour)
  local made, place = compose(request, answer, ctx), usage_place(request, ctx.options)
  local decorate = flavour and flavour.choice or function() end
  return function(emit)
    local function chunk(flag, choices, usage)
      local event = { data = text.encode {
        id = made.id, object = "chat.completion.chunk", created = ctx.time, model = request.model,
        system_fingerprint = ctx.line, choices = choices, usage = usage or (place ~= "none" and cjson.null or nil),
      } }
      event[flag] = true
      emit(event)
    end
    local function choice(index, delta, finish)
      local one = { index = index, delta = delta, logprobs = cjson.null, finish_reason = finish or cjson.null }
      decorate(one)
      return { one }
    end
    if flavour and flavour.before then
      emit { data = text.encode(flavour.before), start = true }
    end
    for i = 0, made.count - 1 do
      chunk("start", choice(i, { role = "assistant", content = "", refusal = cjson.null }))
    end
    tell_deltas(made, answer, ctx.options, function(delta)
      for i = 0, made.count - 1 do
        chunk("content", choice(i, delta))
      end
    end)
    for i = 0, made.count - 1 do
      chunk("finish", choice(i, {}, made.finish), place == "finish" and i == made.count - 1 and made.usage or nil)
    end
    if flavour and flavour.after then
      emit { data = text.encode(flavour.after(made)), trailer = true }
    end
    if place == "last" then
      chunk("usage", text.empty_list, made.usage)
    end
    emit { data = "[DONE]", done = true }
  end
end

return M
