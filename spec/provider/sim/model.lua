-- The model: what it says to a conversation, whatever the format that carries it. Deterministic: it echoes the last
-- user message, so that an answer can be proved whole and one's own; it calls the tools that the user names ("call tool
-- NAME"), or that it is told to; it goes on where a turn of the assistant stops.

local cjson = require "cjson.safe"
local long = require "sim.long"
local schema = require "sim.schema"
local text = require "sim.text"

local M = {}

local ENDLESS = 2 ^ 50

---@class sim.Ask a request, freed of its format
---@field messages { role: "system"|"user"|"assistant"|"tool", text: string }[]
---@field tools? { name: string, schema: table|nil }[]
---@field choice? string "auto", "none", "any" or the name of a tool
---@field limit? integer tokens that may be generated
---@field schema? table|true the answer is JSON, of this schema
---@field reasoning? boolean the model thinks first

---@class sim.Plan
---@field said table|nil a text (sim.long); nil when tools are called
---@field calls { name: string, arguments: string }[]
---@field thought string|nil
---@field cut boolean the limit of tokens stopped it
---@field input integer tokens
---@field output integer tokens, those of the thought too
---@field thinking integer tokens
---@field cached integer tokens of the input

local function last_user(messages, before)
  for i = before or #messages, 1, -1 do
    if messages[i].role == "user" then
      return messages[i].text, i
    end
  end
  return "", 0
end

local function whole(user, ask, answer, endless)
  local said = answer.text or ("echo: " .. user)
  if ask.schema then
    return long.new(schema.instance(ask.schema, said))
  end
  return long.new(said, endless and ENDLESS or answer.bytes)
end

local function rest(full, said)
  if full:read(1, #said) == said then
    return full:after(#said)
  end
end

-- An assistant's turn that begins the answer is taken up where it stops, asked for or not ("continue ...").
local function reply_to(ask, answer, endless)
  local messages = ask.messages
  local user, at = last_user(messages)
  local last = messages[#messages] or {}
  local full = whole(last.role == "tool" and last.text or user, ask, answer, endless)
  if last.role == "assistant" then
    return rest(full, last.text) or full
  end
  local previous = messages[at - 1] or {}
  if last.role == "user" and previous.role == "assistant" and user:lower():find "continue" then
    return rest(whole(last_user(messages, at - 2), ask, answer, endless), previous.text) or full
  end
  return full
end

local function names_of(ask, user)
  local tools, choice = ask.tools or {}, ask.choice or "auto"
  if #tools == 0 or choice == "none" then
    return {}
  elseif choice ~= "auto" and choice ~= "any" then
    return { choice }
  end
  local names, last = {}, ask.messages[#ask.messages] or {}
  if last.role ~= "tool" then
    for name in user:gmatch "call tool ([%w_%-]+)" do
      names[#names + 1] = name
    end
  end
  if #names == 0 and choice == "any" then
    names[1] = tools[1].name
  end
  return names
end

local function calls_of(ask)
  local user = last_user(ask.messages)
  local schemas, calls = {}, {}
  for _, tool in ipairs(ask.tools or {}) do
    schemas[tool.name] = tool.schema
  end
  for i, name in ipairs(names_of(ask, user)) do
    calls[i] = { name = name, arguments = schema.instance(schemas[name], user) }
  end
  return calls
end

-- As many calls as fit; the last one is cut within its arguments, as providers cut it.
local function limited(calls, bytes)
  local kept = {}
  for i, call in ipairs(calls) do
    if bytes <= 0 then
      return kept, true
    end
    local arguments = call.arguments:sub(1, bytes)
    kept[i] = { name = call.name, arguments = arguments, cut = #arguments < #call.arguments }
    bytes = bytes - #call.arguments
  end
  return kept, bytes < 0
end

local function prompt_tokens(messages)
  local bytes = 0
  for _, message in ipairs(messages) do
    bytes = bytes + #message.text
  end
  return text.tokens(bytes)
end

---@param ask sim.Ask
---@param answer table the profile's `answer`
---@param endless? boolean
---@return sim.Plan
function M.plan(ask, answer, endless)
  local plan = { calls = calls_of(ask), cut = false, thinking = 0, cached = answer.cached_tokens or 0 }
  if ask.reasoning then
    plan.thought = answer.reasoning or ("thinking about: " .. last_user(ask.messages))
    plan.thinking = text.tokens(#plan.thought)
  end
  local bytes = ask.limit and math.max(0, ask.limit - plan.thinking) * 4
  local size = 0
  if #plan.calls > 0 then
    if bytes then
      plan.calls, plan.cut = limited(plan.calls, bytes)
    end
    for _, call in ipairs(plan.calls) do
      size = size + #call.arguments
    end
  else
    plan.said = reply_to(ask, answer, endless)
    if bytes and plan.said.size > bytes then
      plan.said, plan.cut = plan.said:first(bytes), true
    end
    size = plan.said.size
  end
  plan.input = prompt_tokens(ask.messages)
  plan.output = text.tokens(size) + plan.thinking
  return plan
end

---@return table value of a call's arguments; empty when they were cut
function M.arguments(call)
  return cjson.decode(call.arguments) or {}
end

return M
