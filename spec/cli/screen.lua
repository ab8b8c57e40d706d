-- A program on a terminal of its own (tmux): what it shows, with or without colours, and keys that are typed into it.
--
--   local shown = screen.start(words, { env = { NO_COLOR = "1" } })
--   shown:wait "> "        -- the screen when it has this text, else an error with the screen
--   shown:type "hello"     shown:key "C-c"     shown:wait_end() -> exit code     shown:stop()

local env = require "spec.support.env"
local pace = require "spec.support.pace"
local process = require "spec.support.process"

local M = {}

local PATIENCE = 20 * pace

local Screen = {}
Screen.__index = Screen

local function tmux(self, ...)
  return process.capture(process.command { "tmux", "-S", self.dir .. "/socket", "-f", "/dev/null", ... } .. " 2>&1")
end

---Starts a program; leaves the running test out where there is no tmux.
---@param words string[]
---@param options? { env?: table<string, string>, width?: integer, height?: integer }
function M.start(words, options)
  env.need("tmux", "tmux")
  options = options or {}
  local self = setmetatable({ dir = process.temp_dir "screen" }, Screen)
  local line = { "env", "-u", "NO_COLOR", "TERM=screen" }
  for name, value in pairs(options.env or {}) do
    line[#line + 1] = name .. "=" .. value
  end
  for _, word in ipairs(words) do
    line[#line + 1] = word
  end
  local command = process.command(line) .. "; echo $? >" .. process.quote(self.dir .. "/code") .. "; sleep 60"
  local said, code = tmux(self, "new-session", "-d", "-x", tostring(options.width or 110), "-y",
    tostring(options.height or 30), "-c", ".", command)
  assert(code == 0, said)
  return self
end

---@param coloured? boolean
---@return string
function Screen:text(coloured)
  return (tmux(self, "capture-pane", "-p", coloured and "-e" or nil))
end

---@param pattern string
---@return string text of the screen
function Screen:wait(pattern)
  local found = process.wait_for(function()
    local text = self:text()
    return text:find(pattern) and text
  end, PATIENCE)
  return found or error(("no %q on the screen:\n%s"):format(pattern, self:text()), 2)
end

---Types a line.
---@param text string
function Screen:type(text)
  tmux(self, "send-keys", "-l", text)
  tmux(self, "send-keys", "Enter")
end

---Presses a key, as tmux names it.
---@param name string
function Screen:key(name)
  tmux(self, "send-keys", name)
end

---@param seconds? number
---@return integer exit_code of the program
function Screen:wait_end(seconds)
  local code = process.wait_for(function()
    return tonumber((process.read(self.dir .. "/code") or ""):match "%d+")
  end, seconds or PATIENCE)
  return code or error("it does not end:\n" .. self:text(), 2)
end

function Screen:stop()
  tmux(self, "kill-server")
  process.remove_dir(self.dir)
end

return M
