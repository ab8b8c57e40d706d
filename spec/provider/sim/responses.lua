-- OpenAI's responses: whole and streamed, with events that have names and are numbered.
-- Source: openai/openai-openapi (Response, Response...Event and their examples).

local cjson = require "cjson.safe"
local long = require "sim.long"
local model = require "sim.model"
local openai = require "sim.openai"
local text = require "sim.text"

local M = { name = "responses", framing = "sse", error = openai.error, key_error = openai.key_error }

local function message_of(item)
  if item.type == "function_call_output" then
    return { role = "tool", text = text.content(item.output) }
  elseif item.type == nil or item.type == "message" then
    return { role = item.role, text = text.content(item.content) }
  end
end

local function messages_of(request)
  local messages = { { role = "system", text = text.content(request.instructions) } }
  if type(request.input) == "string" then
    messages[2] = { role = "user", text = request.input }
  end
  for _, item in ipairs(text.object(request.input)) do
    messages[#messages + 1] = message_of(item)
  end
  return messages
end

local function ask_of(request)
  local ask = { messages = messages_of(request), tools = {}, limit = tonumber(request.max_output_tokens) }
  ask.choice = openai.choice(request.tool_choice)
  for _, tool in ipairs(text.object(request.tools)) do
    if tool.type == "function" then
      ask.tools[#ask.tools + 1] = { name = tool.name, schema = tool.parameters }
    end
  end
  local format = text.object(text.object(request.text).format)
  if format.type == "json_schema" or format.type == "json_object" then
    ask.schema = format.schema or true
  end
  local effort = text.given(text.object(request.reasoning).effort)
  ask.reasoning = effort ~= nil and effort ~= "none"
  return ask
end

-- The items of the output, each with what its events need.
local function items_of(plan, request, ctx)
  local items = {}
  local function add(kind, item)
    item.id = ("%s_%s_%d_%d"):format(kind, ctx.line, ctx.number, #items)
    item.status = item.status or "completed"
    items[#items + 1] = item
  end
  if plan.thought then
    local summary = text.given(text.object(request.reasoning).summary)
    add("rs", { type = "reasoning", long = summary and long.new(plan.thought) })
  end
  for i, call in ipairs(plan.calls) do
    add("fc", { type = "function_call", name = call.name, call_id = ("call_%d_%s"):format(i, call.name),
      long = long.new(call.arguments), status = call.cut and "incomplete" or "completed" })
  end
  if plan.said then
    add("msg", { type = "message", long = plan.said, status = plan.cut and "incomplete" or "completed" })
  end
  return items
end

-- How it ends: status, incomplete_details, error.
local function ending(plan, answer)
  local reason = answer.finish_reason or (plan.cut and "max_output_tokens")
  if reason == "failed" then
    return "failed", cjson.null, { code = "server_error", message = "The model failed to generate a response." }
  elseif reason == "max_output_tokens" or reason == "content_filter" then
    return "incomplete", { reason = reason }, cjson.null
  end
  return "completed", cjson.null, cjson.null
end

local function compose(request, answer, ctx)
  local plan = model.plan(ask_of(request), answer, ctx.options.endless)
  return {
    plan = plan, items = items_of(plan, request, ctx), id = ("resp_%s_%d"):format(ctx.line, ctx.number),
    request = request, time = ctx.time, ending = { ending(plan, answer) },
  }
end

local PART = {
  message = function(said)
    return { type = "output_text", text = said, annotations = text.empty_list, logprobs = text.empty_list }
  end,
  reasoning = function(said)
    return { type = "summary_text", text = said }
  end,
}

local ITEM = {
  message = function(item, said, status)
    return { id = item.id, type = "message", status = status, role = "assistant",
      content = said and { PART.message(said) } or text.empty_list }
  end,
  function_call = function(item, said, status)
    return { id = item.id, type = "function_call", status = status, arguments = said or "", call_id = item.call_id,
      name = item.name }
  end,
  reasoning = function(item, said)
    return { id = item.id, type = "reasoning", summary = said and { PART.reasoning(said) } or text.empty_list }
  end,
}

local function whole(item)
  return ITEM[item.type](item, item.long and tostring(item.long), item.status)
end

local function usage_of(plan)
  return {
    input_tokens = plan.input, input_tokens_details = { cached_tokens = plan.cached, cache_write_tokens = 0 },
    output_tokens = plan.output, output_tokens_details = { reasoning_tokens = plan.thinking },
    total_tokens = plan.input + plan.output,
  }
end

local function or_null(value)
  return value == nil and cjson.null or value
end

local function otherwise(value, default)
  return text.given(value) == nil and default or value
end

-- The response object; `output` and `usage` are known at the end only.
local function object(made, status, output, usage)
  local request, reasoning = made.request, text.object(made.request.reasoning)
  local over = status ~= "in_progress"
  return {
    id = made.id, object = "response", created_at = made.time, status = status,
    completed_at = status == "completed" and made.time or cjson.null,
    error = over and made.ending[3] or cjson.null, incomplete_details = over and made.ending[2] or cjson.null,
    instructions = or_null(request.instructions), max_output_tokens = or_null(request.max_output_tokens),
    model = request.model, output = text.list(output),
    parallel_tool_calls = otherwise(request.parallel_tool_calls, true),
    previous_response_id = or_null(request.previous_response_id),
    reasoning = { effort = or_null(reasoning.effort), summary = or_null(reasoning.summary) },
    store = otherwise(request.store, true), temperature = otherwise(request.temperature, 1),
    text = { format = text.object(request.text).format or { type = "text" } },
    tool_choice = otherwise(request.tool_choice, "auto"), tools = text.list(text.object(request.tools)),
    top_p = otherwise(request.top_p, 1), truncation = otherwise(request.truncation, "disabled"),
    usage = usage or cjson.null, user = or_null(request.user), metadata = text.object(request.metadata),
  }
end

---@param request table decoded body
---@param answer table the profile's `answer`
---@param ctx { line: string, number: integer, time: integer, options: table }
---@return table|string body
function M.response(request, answer, ctx)
  local made, output = compose(request, answer, ctx), {}
  for i, item in ipairs(made.items) do
    output[i] = whole(item)
  end
  return text.encode(object(made, made.ending[1], output, usage_of(made.plan)))
end

-- The events of one item between `added` and `done`, by its type: add(name, fields, flag).
local TELL = {
  message = function(item, add, answer)
    add("response.content_part.added", { content_index = 0, part = PART.message "" })
    for piece in item.long:pieces(answer.chunks, answer.chunk_bytes) do
      add("response.output_text.delta", { content_index = 0, delta = piece, logprobs = text.empty_list }, "content")
    end
    local said = tostring(item.long)
    add("response.output_text.done", { content_index = 0, text = said, logprobs = text.empty_list })
    add("response.content_part.done", { content_index = 0, part = PART.message(said) })
  end,
  function_call = function(item, add, answer)
    for piece in item.long:pieces(answer.chunks) do
      add("response.function_call_arguments.delta", { delta = piece }, "content")
    end
    add("response.function_call_arguments.done", { name = item.name, arguments = tostring(item.long) })
  end,
  reasoning = function(item, add, answer)
    if not item.long then
      return
    end
    local said = tostring(item.long)
    add("response.reasoning_summary_part.added", { summary_index = 0, part = PART.reasoning "" })
    for piece in item.long:pieces(answer.chunks) do
      add("response.reasoning_summary_text.delta", { summary_index = 0, delta = piece }, "content")
    end
    add("response.reasoning_summary_text.done", { summary_index = 0, text = said })
    add("response.reasoning_summary_part.done", { summary_index = 0, part = PART.reasoning(said) })
  end,
}

---@return fun(emit: fun(event: sim.Event)) tell
function M.response_stream(request, answer, ctx)
  local made = compose(request, answer, ctx)
  return function(emit)
    ctx.sequence = 0
    local function add(name, fields, flag)
      fields.type, fields.sequence_number = name, ctx.sequence
      local event = { name = name, data = text.encode(fields) }
      event[flag or "start"] = true
      emit(event)
      ctx.sequence = ctx.sequence + 1
    end
    add("response.created", { response = object(made, "in_progress", {}) })
    add("response.in_progress", { response = object(made, "in_progress", {}) })
    local output = {}
    for i, item in ipairs(made.items) do
      local function of_item(name, fields, flag)
        fields.item_id, fields.output_index = item.id, i - 1
        add(name, fields, flag)
      end
      add("response.output_item.added", { output_index = i - 1, item = ITEM[item.type](item, nil, "in_progress") })
      TELL[item.type](item, of_item, answer)
      output[i] = whole(item)
      add("response.output_item.done", { output_index = i - 1, item = output[i] })
    end
    local status = made.ending[1]
    add("response." .. status, { response = object(made, status, output, usage_of(made.plan)) }, "finish")
  end
end

return M
