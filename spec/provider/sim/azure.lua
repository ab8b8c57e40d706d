-- Azure OpenAI: OpenAI's formats by deployment, with the content filter's verdicts and errors of Azure's own shape.
-- Source: Microsoft's "Content streaming" and "Azure OpenAI REST API reference"; openai-python's Azure tests.

local cjson = require "cjson.safe"
local openai = require "sim.openai"
local text = require "sim.text"

local M = { name = "azure", framing = "sse" }

local CODES = { [404] = "DeploymentNotFound", [500] = "InternalServerError", [503] = "ServiceUnavailable" }
local MESSAGES = {
  [401] = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an"
    .. " active subscription and use a correct regional API endpoint for your resource.",
  [404] = "The API deployment for this resource does not exist. If you created the deployment within the last 5"
    .. " minutes, please wait a moment and try again.",
}

---@return table body
function M.error(status, message, info)
  if status == 429 and info then
    message = ("Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded call rate limit"
      .. " of your current OpenAI S0 pricing tier. Please retry after %d seconds."):format(math.ceil(info.wait))
  end
  return { error = { code = CODES[status] or tostring(status), message = message } }
end

---@return integer status, table body
function M.key_error()
  return 401, M.error(401, MESSAGES[401])
end

---@return integer status, table body
function M.model_error()
  return 404, M.error(404, MESSAGES[404])
end

---@return table body of what is not there, as without `api-version`
function M.not_found()
  return { error = { code = "404", message = "Resource not found" } }
end

local function verdicts()
  local safe = {}
  for _, category in ipairs { "hate", "self_harm", "sexual", "violence" } do
    safe[category] = { filtered = false, severity = "safe" }
  end
  return safe
end

local function prompt_results()
  return { { prompt_index = 0, content_filter_results = verdicts() } }
end

---@return table body
function M.chat(request, answer, ctx)
  local body = openai.chat(request, answer, ctx)
  body.prompt_filter_results = prompt_results()
  for _, choice in ipairs(body.choices) do
    choice.content_filter_results = verdicts()
  end
  return body
end

local function preamble()
  return {
    id = "", object = "", created = 0, model = "", choices = text.empty_list, prompt_filter_results = prompt_results(),
  }
end

-- The asynchronous filter's verdict on what was sent: neither a delta nor an id.
local function annotation(made)
  local start = made.plan.input * 4
  local stop = start + (made.plan.said and made.plan.said.size or 0)
  return {
    id = "", object = "", created = 0, model = "", choices = { {
      index = 0, finish_reason = cjson.null, content_filter_results = verdicts(),
      content_filter_offsets = { check_offset = stop, start_offset = start, end_offset = stop },
    } },
  }
end

---@return fun(emit: fun(event: sim.Event)) tell
function M.chat_stream(request, answer, ctx)
  local asynchronous = ctx.options.async_filter
  return openai.chat_stream(request, answer, ctx, {
    before = preamble(),
    after = asynchronous and annotation or nil,
    choice = function(choice)
      if not asynchronous then
        choice.content_filter_results = choice.delta.content and #choice.delta.content > 0 and verdicts() or {}
      end
    end,
  })
end

M.models = openai.models

return M
