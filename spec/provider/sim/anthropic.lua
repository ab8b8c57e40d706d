-- Anthropic's formats: messages (whole and streamed), models and errors. Pure, like sim.openai.
-- Source: anthropic-sdk-python (types and streaming fixtures).

local cjson = require "cjson.safe"
local long = require "sim.long"
local model = require "sim.model"
local text = require "sim.text"

local M = { name = "anthropic", framing = "sse" }

local TYPES = {
  [400] = "invalid_request_error", [401] = "authentication_error", [402] = "billing_error", [403] = "permission_error",
  [404] = "not_found_error", [413] = "request_too_large", [429] = "rate_limit_error", [504] = "timeout_error",
  [529] = "overloaded_error",
}

---@return table body
function M.error(status, message)
  local kind = TYPES[status] or (status >= 500 and "api_error" or "invalid_request_error")
  return { type = "error", error = { type = kind, message = message } }
end

---@return integer status, table body
function M.key_error(key)
  return 401, M.error(401, key and "invalid x-api-key" or "x-api-key header is required")
end

---@param names string[]|nil
---@return table body
function M.models(names)
  local data = {}
  for i, name in ipairs(names or { "sim-large", "sim-small" }) do
    data[i] = { type = "model", id = name, display_name = name, created_at = "2023-11-14T22:13:20Z" }
  end
  local first, last = text.object(data[1]), text.object(data[#data])
  return { data = data, has_more = false, first_id = first.id or cjson.null, last_id = last.id or cjson.null }
end

-- Results of tools come in a turn of the user.
local function message_of(message)
  local results = {}
  for _, part in ipairs(text.object(message.content)) do
    if part.type == "tool_result" then
      results[#results + 1] = text.content(part.content)
    end
  end
  if #results > 0 then
    return { role = "tool", text = table.concat(results, "\n") }
  end
  return { role = message.role, text = text.content(message.content) }
end

local CHOICES = { any = "any", none = "none", auto = "auto" }

local function ask_of(request)
  local choice, thinking = text.object(request.tool_choice), text.object(request.thinking)
  local ask = { messages = {}, tools = {}, limit = tonumber(request.max_tokens) }
  ask.choice = choice.type == "tool" and choice.name or CHOICES[choice.type] or "auto"
  ask.reasoning = thinking.type == "enabled" or thinking.type == "adaptive"
  for i, message in ipairs(request.messages) do
    ask.messages[i] = message_of(message)
  end
  table.insert(ask.messages, 1, { role = "system", text = text.content(request.system) })
  for i, tool in ipairs(text.object(request.tools)) do
    ask.tools[i] = { name = tool.name, schema = tool.input_schema }
  end
  local format = text.object(text.object(request.output_config).format or request.output_format)
  if format.type == "json_schema" then
    ask.schema = format.schema or true
  end
  return ask
end

local function usage_of(plan, output)
  return {
    input_tokens = plan.input - plan.cached, cache_creation_input_tokens = 0, cache_read_input_tokens = plan.cached,
    output_tokens = output,
  }
end

local function compose(request, answer, ctx)
  local plan = model.plan(ask_of(request), answer, ctx.options.endless)
  local blocks = {}
  if plan.thought then
    blocks[1] = { type = "thinking", long = long.new(plan.thought),
      signature = ngx.encode_base64("signed:" .. ngx.md5(plan.thought)) }
  end
  for i, call in ipairs(plan.calls) do
    blocks[#blocks + 1] = { type = "tool_use", id = ("toolu_%d_%s"):format(i, call.name), name = call.name,
      input = model.arguments(call), long = long.new(call.arguments), cut = call.cut }
  end
  if plan.said then
    blocks[#blocks + 1] = { type = "text", long = plan.said }
  end
  return {
    id = ("msg_%s_%d"):format(ctx.line, ctx.number),
    blocks = blocks,
    plan = plan,
    reason = answer.finish_reason or (plan.cut and "max_tokens") or (#plan.calls > 0 and "tool_use") or "end_turn",
  }
end

local WHOLE = {
  thinking = function(block)
    return { type = "thinking", thinking = tostring(block.long), signature = block.signature }
  end,
  tool_use = function(block)
    return { type = "tool_use", id = block.id, name = block.name, input = block.input }
  end,
  text = function(block)
    return { type = "text", text = tostring(block.long) }
  end,
}

---@param request table decoded body
---@param answer table the profile's `answer`
---@param ctx { line: string, number: integer, time: integer, options: table }
---@return table body
function M.message(request, answer, ctx)
  local made = compose(request, answer, ctx)
  local content = {}
  for i, block in ipairs(made.blocks) do
    content[i] = WHOLE[block.type](block)
  end
  return {
    id = made.id, type = "message", role = "assistant", model = request.model, content = content,
    stop_reason = made.reason, stop_sequence = cjson.null, usage = usage_of(made.plan, made.plan.output),
  }
end

local START = {
  thinking = function()
    return { type = "thinking", thinking = "", signature = "" }
  end,
  tool_use = function(block)
    return { type = "tool_use", id = block.id, name = block.name, input = {} }
  end,
  text = function()
    return { type = "text", text = "" }
  end,
}

local DELTA = {
  thinking = function(piece)
    return { type = "thinking_delta", thinking = piece }
  end,
  tool_use = function(piece)
    return { type = "input_json_delta", partial_json = piece }
  end,
  text = function(piece)
    return { type = "text_delta", text = piece }
  end,
}

local function tell_block(add, index, block, answer)
  add("content_block_start", { index = index, content_block = START[block.type](block) })
  if index == 0 then
    add("ping", {})
  end
  local function delta(fields, flag)
    add("content_block_delta", { index = index, delta = fields }, flag)
  end
  if block.type == "tool_use" then
    delta(DELTA.tool_use "")
  end
  for piece in block.long:pieces(answer.chunks, block.type == "text" and answer.chunk_bytes or nil) do
    delta(DELTA[block.type](piece), "content")
  end
  if block.signature then
    delta { type = "signature_delta", signature = block.signature }
  end
  if not block.cut then
    add("content_block_stop", { index = index })
  end
end

---@return fun(emit: fun(event: sim.Event)) tell
function M.message_stream(request, answer, ctx)
  local made = compose(request, answer, ctx)
  return function(emit)
    local function add(name, fields, flag)
      fields.type = name
      local event = { name = name, data = text.encode(fields) }
      event[flag or "start"] = true
      emit(event)
    end
    local usage = usage_of(made.plan, 1)
    usage.service_tier = "standard"
    add("message_start", { message = {
      id = made.id, type = "message", role = "assistant", model = request.model, content = text.empty_list,
      stop_reason = cjson.null, stop_sequence = cjson.null, usage = usage,
    } })
    for i, block in ipairs(made.blocks) do
      tell_block(add, i - 1, block, answer)
    end
    add("message_delta", {
      delta = { stop_reason = made.reason, stop_sequence = cjson.null }, usage = usage_of(made.plan, made.plan.output),
    }, "finish")
    add("message_stop", {}, "done")
  end
end

return M
