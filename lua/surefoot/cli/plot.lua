--- Line plots as SVG, without anything else: axes linear or logarithmic, a legend, series told apart by colour and by
--- dash. The plot lies on a card of its own, so that it can be read on any page, light or dark; fonts are the reader's.
--
--   local plot = require "surefoot.cli.plot"
--   file:write(plot.lines { title = "latency", x = "ms", y = "share", log_x = true,
--     series = { { name = "a", points = { { 1, 0.5 }, { 10, 1 } } } } })

local M = {}

local WIDTH, HEIGHT = 860, 500
local LEFT, RIGHT, BOTTOM = 80, 24, 56
local COLOURS = { "#f28e8e", "#f5c451", "#b79df2", "#6cb6ff", "#7ee0a1", "#ff9ad5", "#8fa3b5", "#e6edf3" }
local DASHES = { "", "7 4", "2 3", "", "", "7 4", "2 3", "10 3 2 3" }
local CARD, GRID, TEXT, FAINT = "#14181d", "#2c3540", "#e6edf3", "#9fb0c0"
local NEAR = 0.7 -- pixels: a point that lies no further from the last one is left out
local LETTER = 7.2 -- pixels, on average

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local function plain(value)
  return (("%.6g"):format(value))
end

-- --------------------------------------------------------------------------------------------------------------- axes

local function extent(series, index, log)
  local low, high = math.huge, -math.huge
  for _, one in ipairs(series) do
    for _, point in ipairs(one.points) do
      local value = point[index]
      if value ~= value or value == math.huge or value == -math.huge or log and value <= 0 then
        error(("plot: %q has a point at %s, which its axis cannot show"):format(one.name, tostring(value)), 0)
      end
      low, high = math.min(low, value), math.max(high, value)
    end
  end
  if low > high then
    error("plot: there is no point to show", 0)
  elseif low == high then
    low, high = log and low / 2 or low - 0.5, log and high * 2 or high + 0.5
  end
  return low, high
end

local function linear_ticks(low, high)
  local rough = (high - low) / 6
  local power = 10 ^ math.floor(math.log(rough) / math.log(10))
  local step = power * 10
  for _, factor in ipairs { 1, 2, 5 } do
    if power * factor >= rough then
      step = power * factor
      break
    end
  end
  local ticks = {}
  for n = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do
    ticks[#ticks + 1] = { value = n * step, label = true }
  end
  return ticks
end

-- Decades and, between them, 2 and 5; these have labels too where there are few decades.
local function log_ticks(low, high)
  local first, last = math.floor(math.log(low) / math.log(10)), math.ceil(math.log(high) / math.log(10))
  local ticks = {}
  for power = first, last do
    for _, factor in ipairs { 1, 2, 5 } do
      local value = factor * 10 ^ power
      if value >= low * (1 - 1e-9) and value <= high * (1 + 1e-9) then
        ticks[#ticks + 1] = { value = value, label = factor == 1 or last - first <= 3 }
      end
    end
  end
  return ticks
end

local function axis(low, high, log, from, to)
  local function at(value)
    if log then
      return from + (to - from) * math.log(value / low) / math.log(high / low)
    end
    return from + (to - from) * (value - low) / (high - low)
  end
  return { at = at, ticks = (log and log_ticks or linear_ticks)(low, high) }
end

-- -------------------------------------------------------------------------------------------------------------- parts

local function text_at(x, y, text, anchor, fill, more)
  return ('<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s"%s>%s</text>'):format(x, y, anchor, fill, more or "",
    escape(text))
end

local function grid(out, x, y, top, bottom, options)
  for _, tick in ipairs(x.ticks) do
    local at = x.at(tick.value)
    out[#out + 1] = ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>'):format(at, top, at, bottom, GRID)
    if tick.label then
      out[#out + 1] = text_at(at, bottom + 18, (options.x_format or plain)(tick.value), "middle", FAINT)
    end
  end
  for _, tick in ipairs(y.ticks) do
    local at = y.at(tick.value)
    out[#out + 1] = ('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>'):format(LEFT, at, WIDTH - RIGHT, at,
      GRID)
    if tick.label then
      out[#out + 1] = text_at(LEFT - 8, at + 4, (options.y_format or plain)(tick.value), "end", FAINT)
    end
  end
end

local function style(i)
  local dash = DASHES[(i - 1) % #DASHES + 1]
  return ('stroke="%s"%s'):format(COLOURS[(i - 1) % #COLOURS + 1],
    dash ~= "" and (' stroke-dasharray="%s"'):format(dash) or "")
end

local function path(points, x, y)
  local parts, last_x, last_y = {}, nil, nil
  for i, point in ipairs(points) do
    local at_x, at_y = x.at(point[1]), y.at(point[2])
    local far = not last_x or math.abs(at_x - last_x) >= NEAR or math.abs(at_y - last_y) >= NEAR
    if far or i == #points then
      parts[#parts + 1] = ("%s%.1f %.1f"):format(last_x and "L" or "M", at_x, at_y)
      last_x, last_y = at_x, at_y
    end
  end
  return table.concat(parts)
end

-- Names from left to right, as many to a line as fit; gives the height that they take.
local function legend(out, series, top)
  local x, y = LEFT, top
  for i, one in ipairs(series) do
    local width = 42 + LETTER * #one.name
    if x > LEFT and x + width > WIDTH - RIGHT then
      x, y = LEFT, y + 20
    end
    out[#out + 1] = ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke-width="2.5" %s/>'):format(x, y - 4, x + 26,
      y - 4, style(one.style or i))
    out[#out + 1] = text_at(x + 32, y, one.name, "start", TEXT)
    x = x + width + 12
  end
  return y - top
end

---@class surefoot.PlotSeries
---@field name string
---@field points number[][] each { x, y }, drawn in their order
---@field style? integer of colour and dash, 1 to 8 (default: its place in the list)

---@class surefoot.Plot
---@field title string
---@field note? string a second line under it
---@field x string name of the axis
---@field y string
---@field series surefoot.PlotSeries[]
---@field log_x? boolean
---@field log_y? boolean
---@field x_format? fun(value: number): string of a tick
---@field y_format? fun(value: number): string

--- Draws lines. Throws when there is nothing to draw, or a value that its axis cannot show.
---@param options surefoot.Plot
---@return string svg
function M.lines(options)
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-size="13" '
      .. 'font-family="system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif" role="img">')
      :format(WIDTH, HEIGHT, WIDTH, HEIGHT),
    ("<title>%s</title>"):format(escape(options.title)),
    ('<rect width="100%%" height="100%%" rx="8" fill="%s"/>'):format(CARD),
    text_at(LEFT, 30, options.title, "start", TEXT, ' font-size="16" font-weight="600"'),
  }
  local top = 56
  if options.note then
    out[#out + 1] = text_at(LEFT, 50, options.note, "start", FAINT)
    top = 76
  end
  top = top + legend(out, options.series, top) + 16
  local bottom = HEIGHT - BOTTOM
  local low_x, high_x = extent(options.series, 1, options.log_x)
  local low_y, high_y = extent(options.series, 2, options.log_y)
  local x = axis(low_x, high_x, options.log_x, LEFT, WIDTH - RIGHT)
  local y = axis(low_y, high_y, options.log_y, bottom, top)
  grid(out, x, y, top, bottom, options)
  for i, one in ipairs(options.series) do
    out[#out + 1] = ('<path d="%s" fill="none" stroke-width="2" stroke-linejoin="round" %s/>'):format(
      path(one.points, x, y), style(one.style or i))
  end
  out[#out + 1] = text_at((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, options.x, "middle", TEXT)
  out[#out + 1] = text_at(20, (top + bottom) / 2, options.y, "middle", TEXT,
    (' transform="rotate(-90 20 %.1f)"'):format((top + bottom) / 2))
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

return M
