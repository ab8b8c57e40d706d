--- The lines of a file, one after the other, from any place on. In memory are a block of it, and the line that is read.

local find, sub = string.find, string.sub

local M = {}

local BLOCK = 256 * 1024

---@class surefoot.Lines
---@field number integer   of the line that was read last
---@field start integer    where it begins
---@field offset integer   where the next one does
---@field ended boolean    it had an end: the last one may have none
---@field cut boolean      it is longer than `most`: only its beginning was returned
---@field private file table
---@field private most integer
---@field private block string
---@field private at integer  the next byte of the block
local Lines = {}
Lines.__index = Lines

--- Begins to read.
---@param file table    of core.file
---@param most integer  bytes of a line
---@param offset integer? where the first line begins
---@param number integer? of the line before it
---@return surefoot.Lines
function M.new(file, most, offset, number)
  offset = offset or 0
  return setmetatable({
    file = file, most = most, number = number or 0, start = offset, offset = offset, ended = true, cut = false,
    block = "", at = 1,
  }, Lines)
end

-- The next block: false at the end of the file, nil and a message where it cannot be read.
local function fill(self, offset)
  local block, problem = self.file:read(offset, BLOCK)
  if not block then
    return nil, problem
  end
  self.block, self.at = block, 1
  return block ~= ""
end

local function finish(self, pieces, offset, ended)
  self.start, self.offset, self.number, self.ended = self.offset, offset, self.number + 1, ended
  return table.concat(pieces)
end

--- The next line, without its end.
---@return string? line nil at the end
---@return string? problem why it cannot be read
function Lines:next()
  local pieces, length, offset = {}, 0, self.offset
  self.cut = false
  while true do
    local stop = find(self.block, "\n", self.at, true)
    local piece = sub(self.block, self.at, (stop or 0) - 1)
    length, offset = length + #piece, offset + #piece
    if length <= self.most then
      pieces[#pieces + 1] = piece
    else
      self.cut = true
    end
    if stop then
      self.at = stop + 1
      return finish(self, pieces, offset + 1, true)
    end
    local more, problem = fill(self, offset)
    if problem or not more and length == 0 then
      return nil, problem
    elseif not more then
      return finish(self, pieces, offset, false)
    end
  end
end

return M
