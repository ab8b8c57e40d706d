--- What the gateway knows of a request, for the access log of its nginx: members of a JSON object, all of them in every
--- line, null where nothing is known. nginx writes them as they are. Pure.

local M = {}

-- A word as it may stand between the quotes of the log.
local function quoted(word)
  if not word or word == "" then
    return "null"
  elseif word:find '["\\%c]' then
    word = word:gsub('["\\]', "\\%0"):gsub("%c", "?")
  end
  return '"' .. word .. '"'
end

--- The members.
---@param id string? of the request
---@param ended surefoot.gateway.Ended | {}
---@return string
function M.members(id, ended)
  local cost, first_token = ended.cost, ended.first_token
  return '"request_id":' .. quoted(id) .. ',"key":' .. quoted(ended.key) .. ',"model":' .. quoted(ended.model)
    .. ',"endpoint":' .. quoted(ended.endpoint) .. ',"kind":' .. quoted(ended.kind)
    .. ',"attempts":' .. (ended.attempts or "null") .. ',"input_tokens":' .. (ended.input_tokens or "null")
    .. ',"output_tokens":' .. (ended.output_tokens or "null")
    .. ',"cost":' .. (cost and ("%.6f"):format(cost) or "null")
    .. ',"first_token":' .. (first_token and ("%.3f"):format(first_token) or "null")
end

return M
