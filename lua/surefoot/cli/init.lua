--- The command line: reads it, and runs the command that it names. Each command is a module, surefoot.cli.NAME:
--
--   return {
--     name = "batch", summary = "one line", examples = { "surefoot batch in.jsonl -o out.jsonl" },
--     configure = function(command) end,               -- adds its arguments to an argparse command
--     run = function(args, terminal, parser) return 0 end,     -- -> exit code; parser: argparse's, of all commands
--   }
--
-- Exit codes: 0 well, 1 the work failed (in part), 2 usage or configuration, 130 Ctrl-C.

local process = require("surefoot.binding").process
local text = require "surefoot.config.text"
local version = require "surefoot.version"

local M = {}

local NAMES = {
  "chat", "models", "doctor", "batch", "bench", "cost", "simulate", "gateway", "status", "complete", "manual",
}

local USAGE = 2 -- exit code

-- What ends the parsing early: a mistake, or a text that was asked for.
local Ended = {}

local function finish(fields)
  error(setmetatable(fields, Ended), 0)
end

local NO_ARGPARSE = "it needs argparse (Debian: apt install lua-argparse; elsewhere: luarocks install argparse)\n"

-- Whether there is a file for a module. (5.1 has no package.searchpath.)
local function is_there(name)
  name = name:gsub("%.", "/")
  for template in package.path:gmatch "[^;]+" do
    local file = io.open((template:gsub("%?", name)), "r")
    if file then
      file:close()
      return true
    end
  end
  return false
end

local function commands()
  local list = {}
  for _, name in ipairs(NAMES) do
    if is_there("surefoot.cli." .. name) then
      list[#list + 1] = require("surefoot.cli." .. name)
    end
  end
  return list
end

local function examples_of(command)
  local lines = { "Examples:" }
  for _, example in ipairs(command.examples or {}) do
    lines[#lines + 1] = "   " .. example
  end
  return #lines > 1 and table.concat(lines, "\n") or nil
end

local function add_help(parser, margin)
  parser:add_help {
    description = "Show this text.",
    action = function() finish { output = parser:get_help() .. "\n" } end,
  }
  parser:help_max_width(100):usage_max_width(90):help_description_margin(margin)
end

local function new_parser(argparse, list)
  local parser = argparse("surefoot", "Makes calls to LLM HTTP APIs arrive.",
    "surefoot COMMAND --help tells more of a command.\n\nExit codes: 0 well, 1 the work failed, 2 usage or "
    .. "configuration, 130 Ctrl-C.")
  parser:add_help(false)
  add_help(parser, 20)
  parser:command_target "command":require_command(true)
  parser:flag("--version", "Show the version."):action(function()
    finish { output = ("surefoot %s (%s)\n"):format(version, require("surefoot").libcurl) }
  end)
  parser.error = function(current, message) -- argparse calls it for the parser of the command, too
    finish { usage = current:get_usage(), mistake = message }
  end
  for _, command in ipairs(list) do
    local sub = parser:command(command.name):summary(command.summary)
    sub:description(command.description or command.summary)
    local examples = examples_of(command)
    if examples then
      sub:epilog(examples)
    end
    sub:add_help(false)
    command.configure(sub)
    add_help(sub, 34)
  end
  return parser
end

-- The option before a word that is taken for one, as in --calls -1.
local function option_before(word, words)
  for i = 2, #words do
    if words[i] == word and words[i - 1]:find "^%-" then
      return words[i - 1]
    end
  end
end

-- argparse knows slips of one letter only.
local function mistake_of(message, list, words)
  local negative = message:match "^unknown option '(%-[%d.]+)'"
  if negative then
    local where = option_before(negative, words) or "arguments"
    return ("%s: no number below 0 makes sense here: %s"):format(where, negative)
  end
  local unknown = message:match "^unknown command '(.-)'"
  if not unknown then
    return message
  end
  local names = {}
  for i, command in ipairs(list) do
    names[i] = command.name
  end
  local hint = text.hint(unknown, names)
  return ("unknown command %q%s"):format(unknown, hint ~= "" and hint or "; there are " .. table.concat(names, ", "))
end

local function told(ended, list, words, terminal)
  if ended.output then
    terminal:write(ended.output)
    return 0
  end
  terminal:complain(mistake_of(ended.mistake, list, words))
  terminal:tell(ended.usage)
  return USAGE
end

local function traced(problem)
  local message = tostring(problem)
  if message:find("Too many open files", 1, true) then
    return "too many open files: raise their limit, as by `ulimit -n 1024`"
  end
  return "internal error: " .. debug.traceback(message, 2)
end

-- Runs the command; a mistake of ours is told with where it was made.
local function run(command, args, terminal, parser)
  local ok, code = xpcall(function() return command.run(args, terminal, parser) end, traced)
  terminal:clear()
  if not ok then
    terminal:complain(code)
    return 1
  end
  return code or 0
end

local function dispatch(words, terminal)
  local found, argparse = pcall(require, "argparse")
  if not found then
    terminal:complain(NO_ARGPARSE .. argparse)
    return USAGE
  end
  local list = commands()
  local parser = new_parser(argparse, list)
  local ok, args = pcall(parser.parse, parser, words)
  if not ok then
    if getmetatable(args) ~= Ended then
      error(args, 0)
    end
    return told(args, list, words, terminal)
  end
  for _, command in ipairs(list) do
    if command.name == args.command then
      return run(command, args, terminal, parser)
    end
  end
end

--- Runs a command line.
---@param words string[] as `arg` holds them
---@param terminal surefoot.Terminal?
---@return integer exit_code
function M.main(words, terminal)
  process.catch_interrupts(false) -- lua's own handler would throw; a command that ends well catches them itself
  terminal = terminal or require("surefoot.cli.terminal").new(io.stdout, io.stderr)
  local code = dispatch(words, terminal)
  local written, problem = terminal:flush()
  if written then
    return code
  elseif not problem:find("Broken pipe", 1, true) then -- who closes a pipe has seen enough
    terminal:complain("standard output: " .. problem)
  end
  return code ~= 0 and code or 1
end

return M
