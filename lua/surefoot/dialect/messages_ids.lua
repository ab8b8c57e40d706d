--- Ids of tool calls as callers of the Messages API see them, and back again. Pure.
--
-- The API's own ids are made of letters, digits, - and _, and its clients and servers insist on that; other providers'
-- may hold anything ("functions.weather:0"), and some of those know a call again by that very id. So an id that would
-- not pass is spelled in characters that do, and read back from there when the caller returns it.

local common = require "surefoot.provider.common"

local M = {}

local MARK = "surefoot_" -- at the head of ids that are spelled

--- The id that the caller is shown.
---@param id any        the provider's
---@param context surefoot.dialect.Context
---@param number integer of the call in its answer, for one that has no id
---@return string
function M.shown(id, context, number)
  id = common.some_text(id)
  if not id then
    return ("toolu_%s_%d"):format(tostring(context.id):gsub("[^%w-]", ""), number)
  elseif id:find "^[%w_-]+$" and id:sub(1, #MARK) ~= MARK then
    return id
  end
  return MARK .. id:gsub("[^%w-]", function(char)
    return ("_%02X"):format(char:byte())
  end)
end

--- The provider's id of a call that the caller speaks of.
---@param id string
---@return string
function M.own(id)
  if id:sub(1, #MARK) ~= MARK then
    return id
  end
  return (id:sub(#MARK + 1):gsub("_(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

return M
