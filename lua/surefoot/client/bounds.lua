--- What the options of a call, and its request, say in numbers.

local M = {}

local OUTPUT_ESTIMATE = 256 -- tokens, where a request sets no bound
local MOST_TOKENS = 2 ^ 53
local NO_TIMEOUT = {}

--- The tokens that a request is taken for before the answer says.
---@param client table
---@param request any its document, if it has one
---@param bytes integer of its text; what is no text, as files are, counts for nothing
---@param options surefoot.CallOptions
---@return number
function M.estimate(client, request, bytes, options)
  if options.estimate then
    return options.estimate
  elseif client.config.rate and client.config.rate.estimate then
    return client.config.rate.estimate
  end
  local bound = type(request) == "table" and (request.max_completion_tokens or request.max_tokens)
  bound = type(bound) == "number" and bound >= 0 and bound or OUTPUT_ESTIMATE
  return math.ceil(bytes / 4) + math.min(bound, MOST_TOKENS)
end

--- What a call's own timeouts replace of the lines'.
---@param options surefoot.CallOptions
---@return table? timeout
function M.timeout(options)
  local timeout
  for name, value in pairs(options.timeout or NO_TIMEOUT) do
    if name ~= "total" then
      timeout = timeout or {}
      timeout[name] = value
    end
  end
  return timeout
end

return M
