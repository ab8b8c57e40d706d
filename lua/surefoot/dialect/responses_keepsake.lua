--- What a line needs back in the next turn and the caller's format has no place for (signed thoughts, parts that the
--- provider's own tools made), kept by the caller: the gateway has no state.
--
-- The Responses API has a field for this, the encrypted_content of a reasoning item, which callers send back unseen.
-- Every reasoning item that is written here for another line's answer begins it with MARK, so that it is known again;
-- the one that closes such an answer holds the keepsake, as JSON. It counts only with the same text and the same calls
-- as it was given with. Whoever changes it can say no more than a request of its own could.

local common = require "surefoot.provider.common"
local json = require "surefoot.json"
local responses_request = require "surefoot.provider.responses_request"

local M = {}

local NOTHING = common.NOTHING
local some_table, some_text = common.some_table, common.some_text

M.MARK = "surefoot:"

-- Whether an item of a provider's says no more than text and calls do.
local is_plain = {}

local PLAIN_BLOCKS = { text = true, tool_use = true }
function is_plain.anthropic(block)
  return PLAIN_BLOCKS[block.type] == true
end

function is_plain.gemini(part)
  for key in pairs(part) do
    if key ~= "text" and key ~= "functionCall" then
      return false
    end
  end
  return true
end

local PLAIN_ITEMS = { message = true, function_call = true, custom_tool_call = true }
is_plain[responses_request.NATIVE] = function(item)
  return PLAIN_ITEMS[item.type] == true
end

local function native_of(message)
  local native = some_table(message.native)
  local plain = native and is_plain[native.provider]
  for _, item in ipairs(plain and some_table(native.items) or NOTHING) do
    if not plain(item) then
      return native
    end
  end
end

--- The keepsake of an answer, as it is written; nil: it has none.
---@param result surefoot.Result
---@param ids string[]  of its calls, as the caller is told them
---@param codec surefoot.Codec
---@return string?
function M.of(result, ids, codec)
  local message = some_table(result.message) or NOTHING
  local kept = { native = native_of(message), details = nil, thinks = nil, text = #(result.text or ""),
    calls = json.array(ids) }
  if #(some_table(message.reasoning_details) or NOTHING) > 0 then
    kept.details = message.reasoning_details
  elseif some_text(message.reasoning_content) and #ids > 0 then
    kept.thinks = true -- DeepSeek wants its thoughts back while it calls tools; they stand in the other items
  end
  if not (kept.native or kept.details or kept.thinks) then
    return nil
  end
  local text = codec.encode(kept)
  return text and M.MARK .. text -- what cannot be written is not kept; the answer is good without it
end

--- Whether an item is a reasoning item that was written here.
---@param item table
---@return boolean
function M.is_ours(item)
  local content = item.type == "reasoning" and item.encrypted_content
  return type(content) == "string" and content:sub(1, #M.MARK) == M.MARK
end

local function is_list_of_tables(list)
  if type(list) ~= "table" or #list == 0 then
    return false
  end
  for _, item in ipairs(list) do
    if type(item) ~= "table" then
      return false
    end
  end
  return true
end

--- The keepsake in an item of ours; nil: there is none, or none that is whole.
---@param item table
---@param codec surefoot.Codec
---@return table?
function M.read(item, codec)
  local text = item.encrypted_content:sub(#M.MARK + 1)
  local kept = text ~= "" and codec.decode(text)
  if type(kept) ~= "table" or type(kept.calls) ~= "table" then
    return nil
  end
  local native = some_table(kept.native)
  return {
    native = native and is_plain[native.provider or 0] and is_list_of_tables(native.items)
      and { provider = native.provider, items = native.items } or nil,
    details = is_list_of_tables(kept.details) and kept.details or nil,
    thinks = kept.thinks == true, text = kept.text, calls = kept.calls,
  }
end

--- Whether it was given with this text and these calls.
---@param kept table
---@param text string
---@param ids string[]
---@return boolean
function M.fits(kept, text, ids)
  if kept.text ~= #text or #kept.calls ~= #ids then
    return false
  end
  for i, id in ipairs(ids) do
    if kept.calls[i] ~= id then
      return false
    end
  end
  return true
end

return M
