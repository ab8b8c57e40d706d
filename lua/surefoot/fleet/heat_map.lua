-- Heat maps as SVG: small panels side by side, one colour scale for all. Drawn on a card of its own, like the plots of
-- the command line (surefoot.cli.plot).

local M = {}

local CELL_WIDTH, CELL_HEIGHT, LEFT, TOP, GAP, PANEL_TOP = 46, 26, 64, 92, 56, 30
local CARD, TEXT, FAINT, NEVER = "#14181d", "#e6edf3", "#9fb0c0", "#f28e8e"
-- From none to most.
local SCALE = { { 0x1f, 0x3a, 0x2c }, { 0x7e, 0xe0, 0xa1 }, { 0xf5, 0xc4, 0x51 } }

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local function colour(part)
  local at = math.min(1, math.max(0, part)) * (#SCALE - 1)
  local i = math.min(#SCALE - 2, math.floor(at))
  local low, high, mixed = SCALE[i + 1], SCALE[i + 2], {}
  for c = 1, 3 do
    mixed[c] = math.floor(low[c] + (high[c] - low[c]) * (at - i) + 0.5)
  end
  return ("#%02x%02x%02x"):format(mixed[1], mixed[2], mixed[3]), at > 0.6
end

local function text_at(out, x, y, text, anchor, fill, more)
  out[#out + 1] = ('<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s"%s>%s</text>'):format(x, y, anchor, fill,
    more or "", escape(text))
end

local function cell(out, x, y, value, options)
  local fill, dark = NEVER, true
  if value ~= math.huge then
    fill, dark = colour(value / options.most)
  end
  out[#out + 1] = ('<rect x="%.1f" y="%.1f" width="%d" height="%d" fill="%s" stroke="%s"/>'):format(x, y, CELL_WIDTH,
    CELL_HEIGHT, fill, CARD)
  text_at(out, x + CELL_WIDTH / 2, y + 17, value == math.huge and "never" or ("%.0f"):format(value), "middle",
    dark and CARD or TEXT, ' font-size="11"')
end

local function panel(out, left, top, one, options)
  text_at(out, left, top - 10, one.name, "start", TEXT, ' font-weight="600"')
  for row, name in ipairs(options.rows) do
    local y = top + (row - 1) * CELL_HEIGHT
    text_at(out, left - 6, y + 17, name, "end", FAINT, ' font-size="11"')
    for column = 1, #options.columns do
      cell(out, left + (column - 1) * CELL_WIDTH, y, one.cells[row][column], options)
    end
  end
  for column, name in ipairs(options.columns) do
    text_at(out, left + (column - 0.5) * CELL_WIDTH, top + #options.rows * CELL_HEIGHT + 15, name, "middle", FAINT,
      ' font-size="11"')
  end
end

--- Draws heat maps.
---@param options { title: string, note: string, rows: string[], columns: string[], most: number, across: integer?,
---  panels: { name: string, cells: number[][] }[] } math.huge in a cell: never
---@return string svg
function M.draw(options)
  local across = options.across or 3
  local width = LEFT + #options.columns * CELL_WIDTH
  local height = PANEL_TOP + #options.rows * CELL_HEIGHT + GAP
  local down = math.ceil(#options.panels / across)
  local all_width, all_height = math.min(across, #options.panels) * width + 28, TOP + down * height - 16
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-size="13" '
      .. 'font-family="system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif" role="img">')
      :format(all_width, all_height, all_width, all_height),
    ("<title>%s</title>"):format(escape(options.title)),
    ('<rect width="100%%" height="100%%" rx="8" fill="%s"/>'):format(CARD),
  }
  text_at(out, 28, 34, options.title, "start", TEXT, ' font-size="16" font-weight="600"')
  text_at(out, 28, 56, options.note, "start", FAINT)
  for i, one in ipairs(options.panels) do
    panel(out, LEFT + (i - 1) % across * width, TOP + math.floor((i - 1) / across) * height + 14, one, options)
  end
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

return M
