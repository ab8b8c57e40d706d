--- Callers who speak OpenAI's Responses API, in front of any provider. No state is kept: the caller sends the whole
--- conversation, and what a line wants back beside it stands in the items that the caller keeps (responses_keepsake).

local chat = require "surefoot.dialect.chat"
local common = require "surefoot.provider.common"
local responses_answer = require "surefoot.dialect.responses_answer"
local responses_events = require "surefoot.dialect.responses_events"
local responses_input = require "surefoot.dialect.responses_input"
local responses_keepsake = require "surefoot.dialect.responses_keepsake"
local responses_request = require "surefoot.dialect.responses_request"

local M = {}

--- Provider formats that speak the same.
M.native = { responses = true }
M.path = "/responses"
M.operation = "chat"
M.error = chat.error
--- What stands in a body that is not to be passed on as it is, but as `as_native` has it.
M.mark = responses_keepsake.MARK

--- The caller's document as a chat request.
---@param document table
---@param context surefoot.dialect.Context
---@return table? request
---@return string? message
---@return string? param
function M.read(document, context)
  return responses_request.read(document, context.codec)
end

--- The caller's document without the reasoning items that other lines' answers were given with, for lines of this API:
--- they refuse what they have not written. Without any it is the same table.
---@param document table
---@return table
function M.as_native(document)
  local input = responses_input.without_ours(document.input)
  if input == document.input then
    return document
  end
  local copy = common.copy(document)
  copy.input = input
  return copy
end

M.whole, M.events = responses_answer.whole, responses_events.new

return M
