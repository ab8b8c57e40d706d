--- Most events of a stream are the one before with another text in it. An outline is what stands around that text:
--- where the next event has the same, byte for byte, its text is all that is new, and nothing has to be decoded.
--
-- Exact, or nothing: an outline is only taken where it is certain which string the text was, and only plain characters
-- are read by it. Whatever differs in anything else is decoded.

local core = require "surefoot.binding"

local M = {}

local find, sub = string.find, string.sub
local between = core.between
local PATIENCE = 8 -- outlines that fit nothing; then this stream is not worth the trouble

---@class surefoot.Outline
---@field private head string?
---@field private tail string?
---@field private of any        what its texts belong to
---@field private left integer  outlines that may still be tried in vain

--- An outline that fits nothing yet.
---@return surefoot.Outline
function M.new()
  return { head = nil, tail = nil, of = nil, left = PATIENCE }
end

--- The text of an event that is like the one which the outline was taken of.
---@param outline surefoot.Outline
---@param data string
---@return string? text never empty
---@return any of what it belongs to
function M.text(outline, data)
  local head = outline.head
  local text = head and between(data, head, outline.tail)
  if text and outline.left < PATIENCE then
    outline.left = PATIENCE
  end
  return text, outline.of
end

--- From now on nothing is known.
---@param outline surefoot.Outline
function M.forget(outline)
  outline.head = nil
end

--- Takes the outline of an event. Without a backslash in it a name can be spelled in one way only, so that a name that
--- stands there once stands for one string.
---@param outline surefoot.Outline
---@param data string  a JSON document
---@param name string  of a member whose value is a string
---@param text string  that string
---@param of any       what it belongs to
function M.take(outline, data, name, text, of)
  if outline.left == 0 or find(data, "\\", 1, true) then
    return
  end
  outline.head, outline.of, outline.left = nil, of, outline.left - 1
  local quoted = '"' .. name .. '"'
  local _, last = find(data, quoted, 1, true)
  local _, open = find(data, '^%s*:%s*"', last and last + 1)
  if open and sub(data, open + 1, open + #text + 1) == text .. '"' and not find(data, quoted, last + 1, true) then
    outline.head, outline.tail = sub(data, 1, open), sub(data, open + #text + 1)
  end
end

return M
