--- A text that comes in pieces: hundreds of thousands of them cost one table of at most 512 strings, and their sum is
--- joined in linear time.

local M = {}

local concat = table.concat
local MOST = 512 -- loose pieces; then they become one

---@class surefoot.Pieces
---@field n integer       loose pieces, at [1] to [n]; what lies beyond is old
---@field joined string[]? what was joined before

--- An empty text.
---@return surefoot.Pieces
function M.new()
  return { n = 0, joined = nil }
end

--- Appends to it.
---@param pieces surefoot.Pieces
---@param text string
function M.add(pieces, text)
  local n = pieces.n + 1
  pieces[n], pieces.n = text, n
  if n == MOST then
    local joined = pieces.joined or {}
    joined[#joined + 1] = concat(pieces, "", 1, n)
    pieces.joined, pieces.n = joined, 0
  end
end

--- The whole text so far.
---@param pieces surefoot.Pieces
---@return string
function M.text(pieces)
  local last = concat(pieces, "", 1, pieces.n)
  return pieces.joined and concat(pieces.joined) .. last or last
end

return M
