--- Numbers as people read them at a terminal, and tables of columns.

local terminals = require "surefoot.cli.terminal"

local M = {}

--- Seconds with the unit that suits them: "4.1 ms", "1.3 s", "2 min 5 s", "3 h 20 min".
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds < 0.9995 then
    local ms = seconds * 1000
    return (ms < 9.95 and "%.1f ms" or "%.0f ms"):format(ms)
  elseif seconds < 9.95 then
    return ("%.1f s"):format(seconds)
  elseif seconds < 59.5 then
    return ("%.0f s"):format(seconds)
  end
  local whole = math.floor(seconds + 0.5)
  if whole < 3600 then
    return ("%d min %d s"):format(math.floor(whole / 60), whole % 60)
  end
  return ("%d h %d min"):format(math.floor(whole / 3600), math.floor(whole % 3600 / 60))
end

--- A whole number with its thousands apart: "12,345".
---@param number number
---@return string
function M.grouped(number)
  local digits = ("%.0f"):format(number)
  local head = (#digits - 1) % 3 + 1
  return digits:sub(1, head) .. digits:sub(head + 1):gsub("...", ",%0")
end

--- US dollars.
---@param dollars number
---@return string
function M.money(dollars)
  return (dollars < 0.1 and dollars > 0 and "$%.4f" or "$%.2f"):format(dollars)
end

local function widths(rows)
  local list = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      list[i] = math.max(list[i] or 0, terminals.columns(cell))
    end
  end
  return list
end

--- Rows of cells as lines, in columns that are as wide as they have to be.
---@param rows string[][]
---@return string[] lines
function M.columns(rows)
  local lines, wide = {}, widths(rows)
  for n, row in ipairs(rows) do
    local parts = {}
    for i, cell in ipairs(row) do
      parts[i] = cell .. (" "):rep(wide[i] - terminals.columns(cell))
    end
    lines[n] = table.concat(parts, "   "):gsub("%s+$", "")
  end
  return lines
end

return M
