--- Where a text that was cut goes on: what of the new text is new.
--
-- A new text may have to repeat all that was shown (it was asked for anew), or to go on from there. What goes on may
-- begin with white space that was shown already: endpoints are told the text without the white space at its end. And
-- some endpoints send what they were told once more.

local M = {}

---@class surefoot.Seam
---@field at integer             bytes of the new text that had been shown before
---@field over boolean           what comes now is new
---@field private expected string what the new text may begin with
---@field private needed integer  so much of it, or nothing
---@field private strict boolean  or it is another text
---@field private space string    white space that it may begin with in any case
local Seam = {}
Seam.__index = Seam

local function new(expected, needed, strict, space)
  return setmetatable({ at = 0, over = expected == "", expected = expected, needed = needed, strict = strict,
    space = space }, Seam)
end

--- Of a text that has to begin with what was shown.
---@param shown string
---@return surefoot.Seam
function M.repeating(shown)
  return new(shown, #shown, true, "")
end

--- Of a text that goes on.
---@param told string what the endpoint was told
---@param space string the white space that was shown behind it
---@param may_repeat boolean? whether it may begin with all that was told
---@return surefoot.Seam
function M.going_on(told, space, may_repeat)
  if may_repeat then
    return new(told .. space, #told, false, space)
  end
  return new(space, 0, false, space)
end

-- How many bytes of a text are those of another from `at` on.
local function common_length(text, other, at)
  local length = #text
  if other:sub(at + 1, at + length) == text then
    return length
  end
  local n = 0
  while n < length and text:byte(n + 1) == other:byte(at + n + 1) do
    n = n + 1
  end
  return n
end

-- What was held back was no repetition: it is new.
local function let_go(seam, text)
  seam.expected, seam.needed, seam.at = seam.space, 0, 0
  return seam:take(text)
end

--- Takes the next piece of the new text.
---@param text string
---@return string? new what of it is to be shown; nil: it is another text
function Seam:take(text)
  if self.over then
    return text
  end
  local before = self.at
  local same = common_length(text, self.expected, before)
  self.at = before + same
  if same == #text and self.at < #self.expected then
    return ""
  elseif self.at < self.needed then
    if self.strict then
      return nil
    end
    return let_go(self, self.expected:sub(1, before) .. text)
  end
  self.over = true
  return text:sub(same + 1)
end

--- The new text has ended.
---@return string? held what is to be shown still; nil: it ended before it had repeated all that was shown
function Seam:finish()
  local held = ""
  if not self.over and self.at < self.needed then
    if self.strict then
      return nil
    end
    held = let_go(self, self.expected:sub(1, self.at))
  end
  self.over = true
  return held
end

--- How many bytes of a whole text had been shown before; nil: it is another text.
---@param text string
---@return integer? bytes
function Seam:within(text)
  local copy = new(self.expected, self.needed, self.strict, self.space)
  return copy:take(text) and copy:finish() and copy.at or nil
end

return M
