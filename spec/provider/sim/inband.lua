-- Errors inside a stream whose status was 200: what the vendors send where a token was due.
-- Sources: openai-python (error events), vLLM (ErrorResponse), OpenRouter ("Errors After Tokens Have Been Sent"),
-- anthropic-sdk-python, python-genai ("When API returns an error message, it comes line by line").

local cjson = require "cjson.safe"
local anthropic = require "sim.anthropic"
local gemini = require "sim.gemini"
local openai = require "sim.openai"
local text = require "sim.text"

local M = {}

local MESSAGE = "Overloaded"
local OWN = { anthropic = "anthropic", gemini = "gemini", responses = "responses", openai = "openai", azure = "openai" }
local NAMED = { anthropic = "error", responses = "error" }

local function data(body, name)
  return { name = name, data = text.encode(body) }
end

local SHAPES = {
  openai = function(_, status)
    return data(openai.error(status, MESSAGE))
  end,
  vllm = function(_, status)
    return data { object = "error", message = MESSAGE, type = "InternalServerError", param = cjson.null, code = status }
  end,
  openrouter = function(ctx, status)
    return data {
      id = ("gen-%s-%d"):format(ctx.line, ctx.number), object = "chat.completion.chunk", created = ctx.time,
      model = ctx.model, provider = "simulated", error = { code = status, message = MESSAGE },
      choices = { { index = 0, delta = { content = "" }, finish_reason = "error", native_finish_reason = "error" } },
    }
  end,
  anthropic = function(_, status)
    return data(anthropic.error(status, MESSAGE), "error")
  end,
  bare = function(_, status)
    return data({ message = MESSAGE, code = status }, "error")
  end,
  gemini = function(_, status)
    return data(gemini.error(status, MESSAGE))
  end,
  raw = function(_, status)
    local body = cjson.encode(gemini.error(status, MESSAGE))
    return { raw = true, data = body:gsub("([{,])", "%1\n  "):gsub("}", "\n}") }
  end,
  responses = function(ctx)
    return data({ type = "error", code = "server_error", message = MESSAGE, param = cjson.null,
      sequence_number = ctx.sequence or 0 }, "error")
  end,
  failed = function(ctx)
    return data({ type = "response.failed", sequence_number = ctx.sequence or 0, response = {
      id = ("resp_%s_%d"):format(ctx.line, ctx.number), object = "response", created_at = ctx.time, status = "failed",
      error = { code = "server_error", message = MESSAGE }, model = ctx.model, output = text.empty_list,
      usage = cjson.null,
    } }, "response.failed")
  end,
}

---@param ctx table of the request; its `api` has a shape of its own
---@param stream table the profile's `stream`: error, error_shape, error_status
---@return { name: string|nil, data: string, raw: boolean|nil } event
function M.event(ctx, stream)
  local given = stream.error
  if given then
    return { name = NAMED[ctx.api.name], data = type(given) == "string" and given or cjson.encode(given) }
  end
  local shape = stream.error_shape or OWN[ctx.api.name]
  local status = stream.error_status or (ctx.api == gemini and 503 or 529)
  return SHAPES[shape](ctx, status)
end

return M
