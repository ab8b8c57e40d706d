--- Azure OpenAI: the OpenAI format under the resource's own paths. The endpoint's URL is the resource's root, like
--- https://name.openai.azure.com; the model is the name of a deployment.
--
-- With a dated api_version ("2024-10-21") each deployment has paths of its own; without one, or with a word
-- ("preview"), it is the v1 surface. Sources: learn.microsoft.com, Azure OpenAI REST API reference and API version
-- lifecycle; openai-python's tests of its Azure client.

local common = require "surefoot.provider.common"
local openai = require "surefoot.provider.openai"

local M = {}

local USAGE_SINCE = "2024-09-01" -- earlier versions refuse stream_options

--- The header line that carries a key; a token of Entra ID is known by its form and goes as a bearer.
---@param key string
---@return string
function M.auth(key)
  if key:find "^eyJ[%w_-]+%.[%w_-]+%.[%w_-]*$" then
    return "authorization: Bearer " .. key
  end
  return "api-key: " .. key
end

M.judge, M.usage = openai.judge, openai.usage

local function percent(text)
  return (text:gsub("[^%w%-._~]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

-- The path of an operation; model: nil where it is not of a deployment. Nil and a problem where it must be one.
local function path_of(operation, version, model)
  if not version then
    return "/openai/v1" .. operation
  elseif not version:find "^%d" then
    return "/openai/v1" .. operation .. "?api-version=" .. percent(version)
  end
  return "/openai" .. (model and "/deployments/" .. percent(model) or "") .. operation .. "?api-version="
    .. percent(version)
end

-- How the request is written for a version.
local function variant_of(variant, version)
  if not version or not version:find "^%d" or version >= USAGE_SINCE then
    return variant
  end
  local quirks = common.copy(variant.traits.quirks or common.NOTHING)
  quirks.no_stream_options = true
  return { model = variant.model, traits = { api_version = version, quirks = quirks } }
end

local function post(operation)
  return function(request, variant, codec, changes, streams)
    local version = variant.traits and variant.traits.api_version
    local model = variant.model or changes and changes.model or request.model
    if type(model) ~= "string" or model == "" then
      return nil, "model: expected the name of a deployment"
    end
    local body, problem = openai.write(request, variant_of(variant, version), codec, changes, streams)
    if not body then
      return nil, problem
    end
    return "POST", path_of(operation, version, model), streams and common.STREAM_HEADERS or common.JSON_HEADERS, body
  end
end

local chat, embeddings, models = openai.operations.chat, openai.operations.embeddings, openai.operations.models

---@type table<string, surefoot.Operation>
M.operations = {
  chat = { encode = post "/chat/completions", decode = chat.decode, stream = chat.stream },
  embeddings = { encode = post "/embeddings", decode = embeddings.decode },
  models = {
    decode = models.decode,
    encode = function(_, variant)
      local version = variant and variant.traits and variant.traits.api_version
      return "GET", path_of("/models", version), common.ACCEPT_JSON
    end,
  },
}

return M
