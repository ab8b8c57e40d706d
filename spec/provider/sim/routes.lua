-- Which API a path belongs to, and what answers there.
-- A route is { api, takes, run }: `takes` is "json" (the default), "parts" (multipart), "nothing" or "upload";
-- run(ctx, request, answer, profile) gives a reply { status, headers, body } or { status, headers, stream }.

local cjson = require "cjson.safe"
local anthropic = require "sim.anthropic"
local azure = require "sim.azure"
local embeddings = require "sim.embeddings"
local files = require "sim.files"
local gemini = require "sim.gemini"
local openai = require "sim.openai"
local responses = require "sim.responses"

local M = {}

---@param status integer
---@param body table|string
---@param headers? table<string, string>
---@return table reply
function M.reply(status, body, headers)
  headers = headers or {}
  headers["Content-Type"] = headers["Content-Type"] or "application/json"
  return { status = status, headers = headers, body = type(body) == "table" and cjson.encode(body) or body }
end

local reply = M.reply

local function refused(ctx, message)
  return reply(400, ctx.api.error(400, message))
end

local function events(tell, more)
  local made = more or {}
  made.status, made.stream = 200, tell
  made.headers = {
    ["Content-Type"] = made.framing == "array" and "application/json; charset=UTF-8"
      or "text/event-stream; charset=utf-8",
    ["Cache-Control"] = "no-cache",
  }
  return made
end

local function chat(ctx, request, answer)
  if type(request.messages) ~= "table" then
    return refused(ctx, "'messages' is a required property")
  elseif request.stream == true then
    return events(ctx.api.chat_stream(request, answer, ctx))
  end
  return reply(200, ctx.api.chat(request, answer, ctx))
end

local function respond(ctx, request, answer)
  if type(request.input) ~= "table" and type(request.input) ~= "string" then
    return refused(ctx, "Missing required parameter: 'input'.")
  elseif request.stream == true then
    return events(responses.response_stream(request, answer, ctx))
  end
  return reply(200, responses.response(request, answer, ctx))
end

local function message(ctx, request, answer)
  if type(request.messages) ~= "table" or not tonumber(request.max_tokens) then
    return refused(ctx, "messages and max_tokens: Field required")
  elseif request.stream == true then
    return events(anthropic.message_stream(request, answer, ctx))
  end
  return reply(200, anthropic.message(request, answer, ctx))
end

local function embed(ctx, request)
  local body, err = embeddings.openai(request, ctx)
  return body and reply(200, body) or refused(ctx, err)
end

local function models(ctx, _, _, profile)
  return reply(200, ctx.api.models(profile.models))
end

local OPENAI = {
  ["/chat/completions"] = { api = openai, run = chat },
  ["/responses"] = { api = responses, run = respond },
  ["/embeddings"] = { api = openai, run = embed },
  ["/models"] = { api = openai, run = models, takes = "nothing" },
  ["/messages"] = { api = anthropic, run = message },
  ["/audio/speech"] = { api = openai, run = files.speech },
  ["/audio/transcriptions"] = { api = openai, run = files.transcription, takes = "parts" },
  ["/files"] = { api = openai, run = files.file, takes = "parts" },
  ["/upload"] = { api = openai, run = files.upload, takes = "upload" },
}

local AZURE = {
  ["/chat/completions"] = { api = azure, run = chat },
  ["/embeddings"] = { api = azure, run = embed },
  ["/responses"] = { api = responses, run = respond },
  ["/models"] = { api = azure, run = models, takes = "nothing" },
}

-- A generator of Gemini's gives a body, or nil and the body of a refusal.
local function generated(make)
  return function(_, request, answer)
    local body, refusal = make(request, answer)
    return body and reply(200, body) or reply(refusal.error.code, refusal)
  end
end

local VERBS = {
  generateContent = function(ctx, request, answer)
    local body, refusal = gemini.content(request, answer, ctx)
    return body and reply(200, body) or reply(400, refusal)
  end,
  streamGenerateContent = function(ctx, request, answer)
    local tell, refusal = gemini.content_stream(request, answer, ctx)
    if not tell then
      return reply(400, refusal)
    end
    return events(tell, { framing = ngx.var.arg_alt == "sse" and "sse" or "array", crlf = true })
  end,
  countTokens = generated(gemini.count),
  embedContent = generated(gemini.embed),
  batchEmbedContents = generated(gemini.batch_embed),
}

local function gemini_route(path)
  local name, verb = path:match "^/models/([^:/]+):(%a+)$"
  if verb then
    return VERBS[verb] and { api = gemini, run = VERBS[verb], model = name, verb = verb }
  elseif path == "/models" then
    return { api = gemini, run = models, takes = "nothing" }
  end
  name = path:match "^/models/([^:/]+)$"
  return name and { api = gemini, takes = "nothing", model = name, run = function()
    return reply(200, gemini.model(name))
  end }
end

local function azure_route(uri)
  local deployment, path = uri:match "^/openai/deployments/([^/]+)(/.*)$"
  local route = AZURE[path or uri:match "^/openai/v1(/.*)$"]
  if route and deployment then
    return ngx.var["arg_api-version"] ~= nil and { api = azure, run = route.run, model = deployment } or nil
  end
  return route
end

---@param uri string
---@return table|nil route, table api
function M.find(uri)
  if uri:find "^/openai/" then
    return azure_route(uri), azure
  elseif uri:find "^/v1beta/" then
    return gemini_route(uri:match "^/v1beta(/.*)$") or nil, gemini
  end
  local route = OPENAI[uri:match "/v1(/.*)$" or uri]
  if route and route.run == models and ngx.var.http_anthropic_version then
    return { api = anthropic, run = models, takes = "nothing" }, anthropic
  end
  return route, route and route.api or openai
end

return M
