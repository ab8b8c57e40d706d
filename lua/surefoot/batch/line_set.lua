--- A set of line numbers, one bit each: ten million are some megabytes, and as text next to nothing where they stand in
-- long runs.

local M = {}

local floor = math.floor
local WIDTH = 48 -- bits in a number that every Lua holds exactly
local FULL = 2 ^ WIDTH - 1

local powers = {}
for bit = 0, WIDTH - 1 do
  powers[bit] = 2 ^ bit
end

---@class surefoot.LineSet
---@field count integer          how many are in it
---@field private words number[] WIDTH lines each; nil: none of them
---@field private last integer   the highest word
local LineSet = {}
LineSet.__index = LineSet

--- Makes an empty set.
---@return surefoot.LineSet
function M.new()
  return setmetatable({ count = 0, words = {}, last = 0 }, LineSet)
end

local function place_of(line)
  local place = floor((line - 1) / WIDTH)
  return place + 1, powers[line - 1 - place * WIDTH]
end

local function holds(word, power)
  return floor(word / power) % 2 == 1
end

--- Whether a line is in it.
---@param line integer
---@return boolean
function LineSet:has(line)
  local place, power = place_of(line)
  local word = self.words[place]
  return word ~= nil and holds(word, power)
end

--- Puts a line in.
---@param line integer
---@return boolean is_new
function LineSet:add(line)
  local place, power = place_of(line)
  local word = self.words[place] or 0
  if holds(word, power) then
    return false
  end
  self.words[place], self.count = word + power, self.count + 1
  self.last = place > self.last and place or self.last
  return true
end

--- Takes a line out.
---@param line integer
function LineSet:remove(line)
  local place, power = place_of(line)
  local word = self.words[place]
  if word and holds(word, power) then
    self.words[place], self.count = word - power, self.count - 1
  end
end

--- The lines, in order.
---@return fun(): integer?
function LineSet:each()
  local place, bit = 1, -1
  return function()
    while place <= self.last do
      local word = self.words[place] or 0
      while word > 0 and bit < WIDTH - 1 do
        bit = bit + 1
        if holds(word, powers[bit]) then
          return (place - 1) * WIDTH + bit + 1
        end
      end
      place, bit = place + 1, -1
    end
  end
end

--- As text: the words in hexadecimal, those that repeat once and how often.
---@return string
function LineSet:text()
  local parts, place = {}, 1
  while place <= self.last do
    local word, from = self.words[place] or 0, place
    while place < self.last and (self.words[place + 1] or 0) == word do
      place = place + 1
    end
    local times = place - from + 1
    parts[#parts + 1] = ("%x"):format(word) .. (times > 1 and "*" .. ("%d"):format(times) or "")
    place = place + 1
  end
  return table.concat(parts, " ")
end

local function bits_of(word)
  local count = 0
  while word > 0 do
    count, word = count + word % 2, floor(word / 2)
  end
  return count
end

--- Reads what text() wrote.
---@param text string
---@return surefoot.LineSet? set nil: it is none
function M.parse(text)
  local set = M.new()
  for part in text:gmatch "%S+" do
    local digits, times = part:match "^(%x+)%*?(%d*)$"
    local word = digits and #digits <= WIDTH / 4 and tonumber(digits, 16)
    if not word or word > FULL then
      return nil
    end
    times = tonumber(times) or 1
    if word > 0 then
      for place = set.last + 1, set.last + times do
        set.words[place] = word
      end
      set.count = set.count + bits_of(word) * times
    end
    set.last = set.last + times
  end
  set.count = floor(set.count)
  return set
end

return M
