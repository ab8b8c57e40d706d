--- Where a command writes: what it was asked for to standard output, everything about that to standard error. Colour is
--- shown on terminals alone (and not where NO_COLOR is set), so are the status line and progress bars: they overwrite
--- themselves, and whatever else is printed comes above them.

local core = require "surefoot.binding"
local json = require "surefoot.json"

local M = {}

local process = core.process

local COLOURS = { bold = 1, dim = 2, red = 31, green = 32, yellow = 33, blue = 34, magenta = 35, cyan = 36 }
local REDRAW = 0.05 -- seconds between two states of a status line
local BAR = 28 -- columns
local ERASE = "\r\27[K"

---@class surefoot.Terminal
---@field is_tty boolean          standard output is a terminal
---@field error_is_tty boolean    standard error is
---@field width integer           columns
---@field unwritten string?      why standard output takes no more
---@field private stdout file*
---@field private stderr file*
---@field private colours { stdout: boolean, stderr: boolean }
---@field private unicode boolean
---@field private shown string?   the status line as it is on the screen
---@field private drawn_at number?
local Terminal = {}
Terminal.__index = Terminal

local function is_set(value)
  return value ~= nil and value ~= ""
end

-- Whether the locale is one whose terminals show more than ASCII.
local function shows_unicode(environment)
  local locale = ""
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    if is_set(environment(name)) then
      locale = environment(name)
      break
    end
  end
  return locale:lower():find "utf%-?8" ~= nil
end

---@class surefoot.TerminalOptions
---@field is_tty boolean?         what is not given is found out
---@field error_is_tty boolean?
---@field width integer?
---@field environment (fun(name: string): string?)?

local function given_or(value, otherwise)
  if value == nil then
    return otherwise
  end
  return value
end

--- Makes a terminal of two open files.
---@param stdout file*
---@param stderr file*
---@param options surefoot.TerminalOptions?
---@return surefoot.Terminal
function M.new(stdout, stderr, options)
  options = options or {}
  local environment = options.environment or os.getenv
  local self = setmetatable({
    stdout = stdout, stderr = stderr, fixed_width = options.width,
    is_tty = given_or(options.is_tty, stdout == io.stdout and process.is_terminal(1)),
    error_is_tty = given_or(options.error_is_tty, stderr == io.stderr and process.is_terminal(2)),
    unicode = shows_unicode(environment), columns = tonumber(environment "COLUMNS"),
  }, Terminal)
  local coloured = not is_set(environment "NO_COLOR") and environment "TERM" ~= "dumb"
  self.colours = { stdout = coloured and self.is_tty, stderr = coloured and self.error_is_tty }
  self:measure()
  return self
end

--- Looks how wide the window is now.
---@return integer columns
function Terminal:measure()
  self.width = self.fixed_width or self.is_tty and process.window(1) or self.error_is_tty and process.window(2)
    or self.columns or 80
  return self.width
end

--- A text in a colour (bold, dim, red, green, yellow, blue, magenta, cyan), where there are colours.
---@param name string
---@param text string
---@param stream "stdout" | "stderr" | nil where it will be written
---@return string
function Terminal:colour(name, text, stream)
  if not self.colours[stream or "stdout"] then
    return text
  end
  return ("\27[%dm%s\27[0m"):format(assert(COLOURS[name], name), text)
end

-- Each piece of a text: a sequence that colours, or a character.
local function pieces(text)
  local at = 1
  return function()
    if at > #text then
      return nil
    end
    local _, last = text:find("^\27%[[%d;]*m", at)
    local is_colour = last ~= nil
    if not last then
      _, last = text:find("^[^\128-\191][\128-\191]*", at)
    end
    local from = at
    at = (last or at) + 1
    return text:sub(from, at - 1), is_colour
  end
end

--- How many columns a text takes.
---@param text string
---@return integer
function M.columns(text)
  local count = 0
  for _, is_colour in pieces(text) do
    count = count + (is_colour and 0 or 1)
  end
  return count
end

--- The beginning of a text that fits into so many columns. Colours are kept whole.
---@param text string
---@param most integer
---@return string
function M.cut(text, most)
  local parts, count = {}, 0
  for piece, is_colour in pieces(text) do
    if is_colour or count < most then
      parts[#parts + 1] = piece
    end
    count = count + (is_colour and 0 or 1)
  end
  return table.concat(parts)
end

--- Takes the status line from the screen; what is written next stands there.
function Terminal:clear()
  if self.shown then
    self.stderr:write(ERASE)
    self.stderr:flush()
    self.shown = nil
  end
end

--- Writes to standard output.
---@param ... string | number
function Terminal:write(...)
  local status = self.is_tty and self.shown
  if status then
    self:clear()
  end
  self:note(self.stdout:write(...))
  if status then
    self:flush()
  end
end

--- Writes a line to standard output.
---@param ... string | number
function Terminal:print(...)
  self:write(...)
  self:write "\n"
end

-- What cannot be written is kept, for whoever asks.
---@private
function Terminal:note(written, problem)
  if not written and not self.unwritten then
    self.unwritten = problem or "unknown error"
  end
end

--- Lets what was written be seen now.
---@return boolean? written
---@return string? problem with this, or with something that was written before
function Terminal:flush()
  self:note(self.stdout:flush())
  return not self.unwritten or nil, self.unwritten
end

--- Writes a line to standard error: what a person should know, and no other program reads.
---@param text string
function Terminal:tell(text)
  self:clear()
  self.stderr:write(text, "\n")
end

--- Shows on standard error what a person's line begins with.
---@param text string
function Terminal:prompt(text)
  self:clear()
  self.stderr:write(self:colour("bold", text, "stderr"))
  self.stderr:flush()
end

--- Says on standard error what went wrong.
---@param text string
function Terminal:complain(text)
  self:tell(self:colour("red", "surefoot:", "stderr") .. " " .. text)
end

--- Writes a value as one line of JSON.
---@param value any
function Terminal:json(value)
  self:print(assert(json.encode(value)))
end

-- A status comes often, and is drawn when the one before has been seen.
local function is_due(self, is_last)
  local now = core.now()
  if self.shown and not is_last and now - self.drawn_at < REDRAW then
    return false
  end
  self.drawn_at = now
  return true
end

--- Shows a line at the bottom of the terminal, in place of the one before; nothing where there is no terminal.
---@param text string
---@param is_last boolean? it is drawn, however soon it comes
function Terminal:status(text, is_last)
  if self.error_is_tty and is_due(self, is_last) then
    local line = M.cut(text:gsub("[%c]", function(c) return c == "\27" and c or " " end), self:measure() - 1)
    if line ~= self.shown then
      self.stderr:write(ERASE, line)
      self.stderr:flush()
      self.shown = line
    end
  end
end

---@class surefoot.Progress
---@field done number
---@field total number?   nil: nobody knows
---@field text string?    what stands behind the bar

--- A bar of so much of so much.
---@param done number
---@param total number
---@param columns integer?
---@return string
function Terminal:bar(done, total, columns)
  columns = columns or BAR
  local part = total > 0 and math.max(0, math.min(1, done / total)) or 1
  local full = math.floor(columns * part + 1e-9)
  if self.unicode then
    return self:colour("green", ("━"):rep(full), "stderr") .. self:colour("dim", ("╌"):rep(columns - full), "stderr")
  end
  return "[" .. ("#"):rep(full) .. ("."):rep(columns - full) .. "]"
end

--- Shows how far something is.
---@param progress surefoot.Progress
function Terminal:progress(progress)
  local done, total, text = progress.done, progress.total, progress.text and "  " .. progress.text or ""
  if not total then
    return self:status(("%.14g done%s"):format(done, text))
  end
  local columns = math.max(8, math.min(BAR, self.width - M.columns(text) - 6))
  local percent = total > 0 and math.floor(100 * done / total + 1e-9) or 100
  self:status(("%s %3d %%%s"):format(self:bar(done, total, columns), percent, text), done >= total)
end

return M
