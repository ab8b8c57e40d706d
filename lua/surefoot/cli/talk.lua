--- The conversation of surefoot chat: reads from the terminal until /quit or the end of input, and answers. Ctrl-C
--- cancels the answer that comes, or forgets the line that is being written; twice at the prompt it ends.

local interrupt = require "surefoot.cli.interrupt"
local process = require("surefoot.binding").process
local surefoot = require "surefoot"

local M = {}

local HELP = {
  "/quit            ends it (so does Ctrl-D, and Ctrl-C twice)",
  "/reset           forgets what was said",
  "/system [TEXT]   sets the system message, or takes it away",
  "/model [NAME]    asks another model",
  "/help            shows this",
  "A backslash at the end of a line goes on in the next. Ctrl-C cancels an answer.",
}

---@class surefoot.Talk
---@field private terminal surefoot.Terminal
---@field private conversation surefoot.Conversation
---@field private args table
---@field private cancel surefoot.Canceller?  of the answer that comes
---@field private heard integer               interrupts that were meant for the prompt
local Talk = {}
Talk.__index = Talk

local commands = {}

function commands.quit()
  return 0
end

function commands.help(talk)
  for _, line in ipairs(HELP) do
    talk.terminal:tell(line)
  end
end

function commands.reset(talk)
  talk.conversation.messages = {}
  talk.terminal:tell "forgotten"
end

function commands.system(talk, text)
  talk.conversation.system = text
  talk.terminal:tell(text and "the system message is set" or "there is no system message now")
end

function commands.model(talk, name)
  local request = talk.conversation.request or {}
  request.model = name
  talk.conversation.request = request
  talk.terminal:tell(name and "now " .. name .. " is asked" or "now the configured model is asked")
end

-- Reads a line at a prompt: nil at the end of input, false where Ctrl-C came instead.
local function read_line(talk, prompt)
  local terminal = talk.terminal
  terminal:prompt(prompt)
  local line = io.read "*l"
  local before = talk.heard
  talk.heard = process.interrupts()
  if line then
    return line
  elseif talk.heard > before then
    terminal:tell ""
    return false
  end
  return nil
end

-- What is said next, of one line or several.
local function read_words(talk)
  local lines = {}
  local line = read_line(talk, "> ")
  while line and line:find "\\$" do
    lines[#lines + 1] = line:sub(1, -2)
    line = read_line(talk, ". ")
  end
  if not line then
    return line
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

local function answer(talk, text)
  talk.cancel = surefoot.canceller()
  local ok, result = pcall(require("surefoot.cli.chat").answer, talk.terminal, talk.conversation, text, talk.args,
    talk.cancel)
  talk.cancel = nil
  if not ok then
    talk.terminal:complain(tostring(result):match "conversation:%a+: (.*)" or error(result, 0))
  end
end

-- Does what a line says; an exit code ends the conversation.
local function take(talk, text)
  local name, rest = text:match "^/(%a+)%s*(.-)%s*$"
  if name and commands[name] then
    return commands[name](talk, rest ~= "" and rest or nil)
  elseif name and not text:find "\n" then
    talk.terminal:tell(("there is no /%s; /help tells what there is. To say it, begin with a space."):format(name))
  elseif text:find "%S" then
    answer(talk, text)
  end
end

--- Has the conversation.
---@param terminal surefoot.Terminal
---@param conversation surefoot.Conversation
---@param args table of surefoot chat
---@return integer exit_code
function M.run(terminal, conversation, args)
  local talk = setmetatable({ terminal = terminal, conversation = conversation, args = args, cancel = nil, heard = 0 },
    Talk)
  local release = interrupt.catch(function(count)
    if talk.cancel and count > talk.heard then
      talk.cancel:cancel()
      talk.heard = count
    end
  end)
  terminal:tell "/help tells what can be said beyond words; /quit ends."
  local code, in_a_row = nil, 0
  while not code do
    local text = read_words(talk)
    if text == nil then
      terminal:tell ""
      code = 0
    elseif text == false then
      in_a_row = in_a_row + 1
      code = in_a_row > 1 and interrupt.exit_code(2) or nil
    else
      in_a_row = 0
      code = take(talk, text)
    end
  end
  release()
  return code
end

return M
