--- Answers of several requests that make one: texts, messages and attempts joined in order.
--
-- Where a text was cut, the parts on both sides of the cut are one again: also within lists of content, and in the
-- items that a provider wants back as they came. Nothing that is given is written to.

local common = require "surefoot.provider.common"
local copy = require "surefoot.copy"
local json = require "surefoot.json"

local M = {}

local TEXTS = { content = true, refusal = true, reasoning_content = true, reasoning = true }

local function is_list(value)
  return type(value) == "table" and #value > 0
end

--- A list with the items of another behind its own.
---@param a table
---@param b table
---@param from integer? the first of b
---@return table
function M.appended(a, b, from)
  local list = setmetatable({}, getmetatable(a)) -- an empty list stays one
  for _, part in ipairs(a) do
    list[#list + 1] = part
  end
  for i = from or 1, #b do
    list[#list + 1] = b[i]
  end
  return list
end

local appended = M.appended

local function may_be_list(value)
  return type(value) == "table" and (#value > 0 or next(value) == nil)
end

-- Whether two parts differ in their texts alone; lists in them are for joining.
local function alike(a, b)
  for _, pair in ipairs { { a, b }, { b, a } } do
    for key, value in next, pair[1] do
      local other = pair[2][key]
      if key ~= "text" and value ~= other and not (may_be_list(value) and may_be_list(other)) then
        return false
      end
    end
  end
  return true
end

local join_parts -- below

-- Where a text was cut: two parts as one, or nil when they are no halves of one.
local function seam(a, b)
  if type(a) ~= "table" or type(b) ~= "table" or a.type ~= b.type then
    return nil
  elseif type(a.text) == "string" and type(b.text) == "string" and alike(a, b) then
    local whole = copy(b)
    for key, value in next, a do
      whole[key] = may_be_list(value) and appended(value, b[key]) or value
    end
    whole.text = a.text .. b.text
    return whole
  elseif is_list(a.content) and is_list(b.content) then
    local whole = copy(b)
    whole.id, whole.content = a.id, join_parts(a.content, b.content)
    return whole
  end
end

-- Two lists of parts, or of a provider's items, as one: a text that was cut is whole again.
function join_parts(a, b)
  local whole = seam(a[#a], b[1])
  if not whole then
    return appended(a, b)
  end
  local list = appended(a, b, 2)
  list[#a] = whole
  return list
end

-- Content as a list of parts, whatever it was.
local function parts_of(content)
  return is_list(content) and content or { { type = "text", text = content } }
end

local function join_field(key, a, b)
  if a == nil or a == json.null or a == "" then
    return b
  elseif b == nil or b == json.null or b == "" then
    return a
  elseif TEXTS[key] and type(a) == "string" and type(b) == "string" then
    return a .. b
  elseif key == "content" then
    return join_parts(parts_of(a), parts_of(b))
  elseif is_list(a) and is_list(b) then
    return appended(a, b)
  end
  return b
end

-- What the provider wants back as it came: of one provider the items of both turns, in order.
local function join_native(a, b)
  local both = type(a) == "table" and type(b) == "table" and a.provider == b.provider
  if both and is_list(a.items) and is_list(b.items) then
    local native = copy(b)
    native.items = join_parts(a.items, b.items)
    return native
  end
end

local function join_messages(a, b)
  local message = copy(a)
  for key, value in next, b do
    message[key] = join_field(key, a[key], value)
  end
  message.native = join_native(a.native, b.native)
  return message
end

--- The message of an answer, to be sent back.
---@param result surefoot.Result
---@return table
function M.message_of(result)
  return result.message or { role = "assistant", content = result.text }
end

--- An answer and its continuation as one: the continuation, with what came before. What both of them took is not summed
--- up here.
---@param before surefoot.Result
---@param result surefoot.Result
---@param job surefoot.Job whose request says whether the text is structured output
---@return surefoot.Result
function M.results(before, result, job)
  local whole = copy(result)
  whole.text = (before.text or "") .. (result.text or "")
  whole.reasoning = join_field("reasoning", before.reasoning, result.reasoning)
  whole.message = join_messages(M.message_of(before), M.message_of(result))
  whole.parsed = common.parsed_of(whole.text, job.request, job.client.codec)
  whole.attempts = appended(before.attempts or {}, result.attempts or {})
  local resumed = (before.resumed or 0) + (result.resumed or 0)
  whole.resumed = resumed > 0 and resumed or nil
  return whole
end

-- A list of parts without so many bytes at the beginning of its texts.
local function parts_without(parts, bytes)
  local list = setmetatable({}, getmetatable(parts))
  for _, part in ipairs(parts) do
    local text = type(part) == "table" and part.type == "text" and part.text
    if bytes > 0 and type(text) == "string" then
      if #text > bytes then
        part = copy(part)
        part.text = text:sub(bytes + 1)
        list[#list + 1] = part
      end
      bytes = math.max(0, bytes - #text)
    else
      list[#list + 1] = part
    end
  end
  return list
end

--- A copy of an answer without the first bytes of its text, in all places where it stands.
---@param result surefoot.Result
---@param bytes integer
---@return surefoot.Result
function M.without(result, bytes)
  if bytes == 0 then
    return result
  end
  local rest, message = copy(result), result.message and copy(result.message)
  rest.text, rest.message = (result.text or ""):sub(bytes + 1), message
  if message and type(message.content) == "string" then
    message.content = message.content:sub(bytes + 1)
  elseif message and is_list(message.content) then
    message.content = parts_without(message.content, bytes)
  end
  local native = message and message.native
  if type(native) == "table" and is_list(native.items) then
    message.native = copy(native)
    message.native.items = parts_without(native.items, bytes)
  end
  return rest
end

return M
