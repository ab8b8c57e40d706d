--- Callers who speak Anthropic's Messages API, in front of any line. On lines of Anthropic's their bytes go through as
--- they are; for others the request is translated (messages_request, messages_turns), and the answer is written here as
--- the API would have given it (messages_answer, messages_events).

local answer = require "surefoot.dialect.messages_answer"
local events = require "surefoot.dialect.messages_events"
local request = require "surefoot.dialect.messages_request"
local turns = require "surefoot.dialect.messages_turns"

local M = {}

--- Provider formats that speak the same.
M.native = { anthropic = true }
M.path = "/messages"
M.operation = "chat"

M.read, M.whole, M.events, M.error = request.read, answer.whole, events.new, answer.error

--- Whether the caller's bytes can go to a line of Anthropic's as they are. Not where an earlier answer in them is
--- another provider's whose thoughts were shown: then the translation leaves those out.
---@param document table
---@return boolean
function M.passes(document)
  return turns.is_native(document.messages)
end

return M
