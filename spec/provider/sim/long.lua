-- A text that may be too long to hold: a head, a filler that repeats and an end, known by their length and read piece
-- by piece. Short ones are the same thing with nothing but a head.

local M = {}

local FILLER = " the quick brown fox jumps over the lazy dog"
local LAST = " [end]"
local BLOCK = FILLER:rep(400)
local PIECE = 16384

local Long = {}
Long.__index = Long

-- The last whole character of `text` at or before byte `at`.
local function boundary(text, at)
  while at > 0 and at < #text and bit.band(text:byte(at + 1), 0xC0) == 0x80 do
    at = at - 1
  end
  return at
end

local function new(head, total, last, skip, stop)
  return setmetatable({ head = head, total = total, last = last, skip = skip, stop = stop, size = stop - skip }, Long)
end

---@param head string
---@param bytes? integer as long as that: filled up, or cut between characters
function M.new(head, bytes)
  if not bytes then
    return new(head, #head, "", 0, #head)
  elseif #head + #LAST > bytes then
    return M.new(head:sub(1, boundary(head, bytes)))
  end
  return new(head, bytes, LAST, 0, bytes)
end

-- Bytes from..to of what fills up, repeated for ever; both count from 1.
local function filler(from, to)
  local at = (from - 1) % #FILLER
  local size = to - from + 1
  if at + size <= #BLOCK then
    return BLOCK:sub(at + 1, at + size)
  end
  return FILLER:rep(math.ceil((at + size) / #FILLER)):sub(at + 1, at + size)
end

---@param from integer like string.sub, but both count from the first byte
---@param to integer
---@return string
function Long:read(from, to)
  from, to = from + self.skip, math.min(to + self.skip, self.stop)
  local head, tail = #self.head, self.total - #self.last
  local parts = { self.head:sub(from, math.min(to, head)) }
  local first, last = math.max(from, head + 1), math.min(to, tail)
  if first <= last then
    parts[2] = filler(first - head, last - head)
  end
  first = math.max(from, tail + 1)
  if first <= to and first > head then
    parts[#parts + 1] = self.last:sub(first - tail, to - tail)
  end
  return table.concat(parts)
end

function Long:__tostring()
  return self:read(1, self.size)
end

-- Only the head has characters of more than one byte.
function Long:boundary(at)
  return math.max(0, boundary(self.head, at + self.skip) - self.skip)
end

---@param bytes integer
---@return table long what follows them
function Long:after(bytes)
  return new(self.head, self.total, self.last, self.skip + bytes, self.stop)
end

---@param bytes integer
---@return table long no more than that, cut between characters
function Long:first(bytes)
  return new(self.head, self.total, self.last, self.skip, self.skip + math.min(self.size, self:boundary(bytes)))
end

---Cuts it between characters.
---@param count integer|nil pieces wanted; 32 unless they would be huge
---@param bytes integer|nil instead: bytes of each
---@return fun(): string|nil, integer|nil piece, bytes left after it
function Long:pieces(count, bytes)
  local size = bytes or math.max(count and 1 or 4, math.ceil(self.size / (count or 32)))
  if not count and not bytes then
    size = math.min(size, PIECE)
  end
  local at = 0
  return function()
    if at >= self.size then
      return nil
    end
    local from = at + 1
    at = math.max(self:boundary(math.min(self.size, at + size)), from)
    return self:read(from, at), self.size - at
  end
end

return M
