--- Tables of text: columns as wide as their widest cell, numbers to the right. Cells may be coloured.

local terminals = require "surefoot.cli.terminal"

local M = {}

local GAP = "  "

---@class surefoot.Column
---@field title string
---@field right boolean?  numbers

local function padded(text, width, right)
  local space = (" "):rep(width - terminals.columns(text))
  return right and space .. text or text .. space
end

--- The lines of a table, its titles first.
---@param columns surefoot.Column[]
---@param rows string[][]
---@param heading (fun(text: string): string)? colours the titles
---@return string[]
function M.lines(columns, rows, heading)
  local widths, titles = {}, {}
  for i, column in ipairs(columns) do
    titles[i] = column.title
    widths[i] = terminals.columns(column.title)
    for _, row in ipairs(rows) do
      widths[i] = math.max(widths[i], terminals.columns(row[i]))
    end
  end
  local lines = {}
  local function add(row, dress)
    local cells = {}
    for i, column in ipairs(columns) do
      cells[i] = padded(row[i], widths[i], column.right)
    end
    local line = table.concat(cells, GAP):gsub("%s+$", "")
    lines[#lines + 1] = dress and dress(line) or line
  end
  add(titles, heading)
  for _, row in ipairs(rows) do
    add(row)
  end
  return lines
end

--- Prints a table to standard output.
---@param terminal surefoot.Terminal
---@param columns surefoot.Column[]
---@param rows string[][]
function M.print(terminal, columns, rows)
  local lines = M.lines(columns, rows, function(text)
    return terminal:colour("bold", text)
  end)
  for _, line in ipairs(lines) do
    terminal:print(line)
  end
end

-- --------------------------------------------------------------------------------------------------------------- live

-- Lines at the bottom of a terminal that are drawn over those before.
---@class surefoot.LiveLines
---@field private stderr file*
---@field private height integer
local Live = {}
Live.__index = Live

--- Makes one. What else is printed while it is shown is to be printed after clear().
---@param stderr file*
---@return surefoot.LiveLines
function M.live(stderr)
  return setmetatable({ stderr = stderr, height = 0 }, Live)
end

local function to_top(self)
  return self.height > 0 and ("\r\27[%dA"):format(self.height) or "\r"
end

--- Shows lines in place of those before.
---@param lines string[]
---@param width integer columns of the terminal: what is longer is cut
function Live:draw(lines, width)
  local parts = { to_top(self) }
  for _, line in ipairs(lines) do
    parts[#parts + 1] = terminals.cut(line, width - 1) .. "\27[K\n"
  end
  parts[#parts + 1] = "\27[J"
  self.stderr:write(table.concat(parts))
  self.stderr:flush()
  self.height = #lines
end

--- Takes them away.
function Live:clear()
  if self.height > 0 then
    self.stderr:write(to_top(self), "\27[J")
    self.stderr:flush()
    self.height = 0
  end
end

return M
