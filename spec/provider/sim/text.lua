-- What the model "says": an echo of the last user message, so that an answer can be proved whole and one's own.
-- Deterministic throughout; a token is four bytes.

local cjson = require "cjson.safe"

local M = {}

local FILLER = " the quick brown fox jumps over the lazy dog"
local LAST = " [end]"

---@return string text of a message content (a string, or a list of parts)
function M.content(content)
  if type(content) ~= "table" then
    return type(content) == "string" and content or ""
  end
  local parts = {}
  for _, part in ipairs(content) do
    parts[#parts + 1] = type(part) == "table" and type(part.text) == "string" and part.text or nil
  end
  return table.concat(parts)
end

---@param text string
---@return integer
function M.tokens(text)
  return math.ceil(#text / 4)
end

---@param messages table[]
---@return integer tokens of all messages
function M.prompt_tokens(messages)
  local bytes = 0
  for _, message in ipairs(messages) do
    bytes = bytes + #M.content(message.content)
  end
  return math.ceil(bytes / 4)
end

-- The last whole character at or before byte `at`.
local function boundary(text, at)
  while at > 0 and at < #text and bit.band(text:byte(at + 1), 0xC0) == 0x80 do
    at = at - 1
  end
  return at
end

local function sized(text, bytes)
  if #text + #LAST > bytes then
    return text:sub(1, boundary(text, bytes))
  end
  local fill = FILLER:rep(math.ceil((bytes - #text) / #FILLER))
  return text .. fill:sub(1, bytes - #text - #LAST) .. LAST
end

local function last_user(messages, before)
  for i = before or #messages, 1, -1 do
    if messages[i].role == "user" then
      return M.content(messages[i].content), i
    end
  end
  return "", 0
end

local function whole(user, answer)
  local text = answer.text or ("echo: " .. user)
  return answer.bytes and sized(text, answer.bytes) or text
end

-- An assistant's turn that begins the answer is taken up where it stops, asked for or not ("continue ...").
local function continued(messages, answer)
  local user, at = last_user(messages)
  local last = messages[#messages]
  if last and last.role == "assistant" then
    local said, text = M.content(last.content), whole(user, answer)
    return user, text:sub(1, #said) == said and text:sub(#said + 1) or text
  end
  local previous = messages[at - 1]
  if previous and previous.role == "assistant" and user:lower():find "continue" then
    local said, text = M.content(previous.content), whole(last_user(messages, at - 2), answer)
    if text:sub(1, #said) == said then
      return user, text:sub(#said + 1)
    end
  end
  return user, whole(user, answer)
end

---@param messages table[]
---@param answer table the profile's `answer`
---@param max_tokens integer|nil
---@return string text, boolean cut, string user
function M.compose(messages, answer, max_tokens)
  local user, text = continued(messages, answer)
  if max_tokens and M.tokens(text) > max_tokens then
    return text:sub(1, boundary(text, max_tokens * 4)), true, user
  end
  return text, false, user
end

---@return string[] names of the tools that the user asks to call
function M.tool_calls(user)
  local names = {}
  for name in user:gmatch "call tool ([%w_%-]+)" do
    names[#names + 1] = name
  end
  return names
end

-- lua-cjson writes an empty table as {}; this stands for [] until the text is made.
M.empty_list = "\1[]"

---@param value table
---@return string json
function M.encode(value)
  return (cjson.encode(value):gsub('"\\u0001%[%]"', "[]"))
end

---Cuts a text between characters.
---@param text string
---@param count integer|nil pieces wanted
---@return string[]
function M.pieces(text, count)
  local size = math.max(count and 1 or 4, math.ceil(#text / (count or 32)))
  local pieces, at = {}, 0
  while at < #text do
    local stop = math.min(#text, at + size)
    stop = math.max(boundary(text, stop), at + 1)
    pieces[#pieces + 1] = text:sub(at + 1, stop)
    at = stop
  end
  return pieces
end

return M
