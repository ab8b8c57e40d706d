-- Anthropic's formats: messages (whole and streamed) and errors. Pure, like sim.openai.

local cjson = require "cjson.safe"
local text = require "sim.text"

local M = {}

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

local function compose(request, answer, meta)
  local said, cut, user = text.compose(request.messages, answer, tonumber(request.max_tokens))
  local blocks = {}
  for i, name in ipairs(request.tools and text.tool_calls(user) or {}) do
    blocks[i] = { type = "tool_use", id = ("toolu_%d_%s"):format(i, name), name = name, input = { echo = user } }
  end
  local called = #blocks > 0
  if not called then
    blocks[1] = { type = "text", text = said }
  end
  local system = text.content(request.system)
  return {
    id = ("msg_%s_%d"):format(meta.line, meta.number),
    blocks = blocks,
    reason = answer.finish_reason or (called and "tool_use") or (cut and "max_tokens") or "end_turn",
    input = text.prompt_tokens(request.messages) + text.tokens(system),
    output = called and text.tokens(cjson.encode(blocks)) or text.tokens(said),
  }
end

---@param request table decoded body
---@param answer table the profile's `answer`
---@param meta { line: string, number: integer, time: integer }
---@return table body
function M.message(request, answer, meta)
  local made = compose(request, answer, meta)
  return {
    id = made.id, type = "message", role = "assistant", model = request.model, content = made.blocks,
    stop_reason = made.reason, stop_sequence = cjson.null,
    usage = { input_tokens = made.input, output_tokens = made.output },
  }
end

local function block_events(add, index, block, chunks)
  local is_tool = block.type == "tool_use"
  local start = is_tool and { type = "tool_use", id = block.id, name = block.name, input = {} }
    or { type = "text", text = "" }
  add("content_block_start", { index = index, content_block = start })
  if index == 0 then
    add("ping", {})
  end
  for _, piece in ipairs(text.pieces(is_tool and cjson.encode(block.input) or block.text, chunks)) do
    local delta = is_tool and { type = "input_json_delta", partial_json = piece }
      or { type = "text_delta", text = piece }
    add("content_block_delta", { index = index, delta = delta }, "content")
  end
  add("content_block_stop", { index = index })
end

---@return { name: string, data: string, content: boolean|nil, finish: boolean|nil, done: boolean|nil }[] events
function M.message_events(request, answer, meta)
  local made = compose(request, answer, meta)
  local events = {}
  local function add(name, fields, flag)
    fields.type = name
    local event = { name = name, data = text.encode(fields) }
    event[flag or "start"] = true
    events[#events + 1] = event
  end
  add("message_start", { message = {
    id = made.id, type = "message", role = "assistant", model = request.model, content = text.empty_list,
    stop_reason = cjson.null, stop_sequence = cjson.null, usage = { input_tokens = made.input, output_tokens = 1 },
  } })
  for i, block in ipairs(made.blocks) do
    block_events(add, i - 1, block, answer.chunks)
  end
  add("message_delta", {
    delta = { stop_reason = made.reason, stop_sequence = cjson.null }, usage = { output_tokens = made.output },
  }, "finish")
  add("message_stop", {}, "done")
  return events
end

return M
