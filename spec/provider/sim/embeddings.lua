-- Vectors: the same text has the same one, of length 1. OpenAI's embeddings and Gemini's embedContent.

local ffi = require "ffi"
local text = require "sim.text"

local M = {}

local MOST_DIMENSIONS = 8192

---@param input string
---@param dimensions integer
---@return number[]
function M.vector(input, dimensions)
  local values, sum = {}, 0
  for i = 1, dimensions do
    local x = ngx.crc32_long(i .. ":" .. input) / 2147483648 - 1
    values[i], sum = x, sum + x * x
  end
  local norm = math.sqrt(sum)
  for i = 1, dimensions do
    values[i] = values[i] / norm
  end
  return values
end

local function base64_floats(values)
  return ngx.encode_base64(ffi.string(ffi.new("float[?]", #values, values), 4 * #values))
end

-- A text, a list of texts, a list of tokens, or a list of such lists.
local function inputs_of(input)
  if type(input) == "string" then
    return { input }
  elseif type(input) ~= "table" or #input == 0 then
    return nil
  elseif type(input[1]) == "number" then
    return { table.concat(input, " ") }
  end
  return input
end

---@param request table
---@param ctx { line: string }
---@return table|nil body, string? error
function M.openai(request, ctx)
  local inputs = inputs_of(request.input)
  if not inputs then
    return nil, "'input' must be a string or a list"
  end
  local data, bytes = {}, 0
  for i, item in ipairs(inputs) do
    item = type(item) == "table" and table.concat(item, " ") or tostring(item)
    local values = M.vector(item, math.min(tonumber(request.dimensions) or 8, MOST_DIMENSIONS))
    bytes = bytes + #item
    data[i] = {
      object = "embedding", index = i - 1,
      embedding = request.encoding_format == "base64" and base64_floats(values) or values,
    }
  end
  local tokens = text.tokens(bytes)
  return {
    object = "list", data = data, model = request.model, usage = { prompt_tokens = tokens, total_tokens = tokens },
    system_fingerprint = ctx.line,
  }
end

return M
