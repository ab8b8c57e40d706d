--- A whole chat completion that is passed on as it came, looked at without decoding it: its caller will do that. It
--- says what the gateway counts where the text is whole, holds a message and no error, and says what it used. All else
--- is for the provider's own module, which decodes: whatever is unusual, and whatever is no such answer.

local answers = require "surefoot.provider.openai_answer"
local binding = require "surefoot.binding"

local M = {}

local QUOTE, BRACE, BRACKET = 34, 123, 91
local MESSAGE = {} -- that there is one is all that is known

--- A string that stands in a text; nil where it is none, or has escapes.
---@param text string
---@param first integer where it begins, with its quote
---@param last integer
---@return string?
local function string_at(text, first, last)
  local value = text:byte(first) == QUOTE and text:sub(first + 1, last - 1)
  return value and not value:find("\\", 1, true) and value or nil
end

M.string_at = string_at

local function is_nothing(text, first, last)
  return not first or text:sub(first, last) == "null"
end

-- The only choice: whether it holds a message, and why it ended; false: an error, or who knows.
local function choice_at(text, first, last)
  if text:byte(first) ~= BRACKET then
    return false
  end
  local choice = text:sub(first + 1, last - 1)
  local m1, _, f1, f2, e1, e2 = binding.members(choice, "message", "finish_reason", "error")
  if not m1 or choice:byte(m1) ~= BRACE or not is_nothing(choice, e1, e2) then
    return false
  end
  local reason = f1 and string_at(choice, f1, f2) or nil
  return reason ~= "error" and (reason ~= nil or is_nothing(choice, f1, f2)), reason ~= "" and reason or nil
end

--- The fields of its result that the gateway asks for; nil: to be decoded.
---@param body string
---@param codec surefoot.Codec
---@return table? fields
function M.read(body, codec)
  local c1, c2, u1, u2, m1, m2, i1, i2, e1, e2, o1, o2, t1 = binding.members(body, "choices", "usage", "model", "id",
    "error", "object", "type")
  if not c1 or not u1 or t1 or not is_nothing(body, e1, e2) or o1 and string_at(body, o1, o2) ~= "chat.completion" then
    return nil
  end
  local has_message, reason = choice_at(body, c1, c2)
  local usage = has_message and answers.usage(codec.decode(body:sub(u1, u2)))
  if not usage then
    return nil
  end
  return { -- the empty fields are filled by others: named here, the table has their places
    message = MESSAGE, finish_reason = reason, truncated = reason == "length" or nil, usage = usage,
    model = m1 and string_at(body, m1, m2) or nil, id = i1 and string_at(body, i1, i2) or nil, verbatim = nil,
    cost = nil, status = nil, raw = nil, _headers = nil, _receipt = nil, endpoint = nil, tags = nil, request_id = nil,
    latency = nil, time_to_first_token = nil,
  }
end

return M
