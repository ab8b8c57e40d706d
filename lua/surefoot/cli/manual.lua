--- surefoot manual: the man page, made of what the commands say of themselves.

local version = require "surefoot.version"

local M = {
  name = "manual",
  summary = "Print surefoot's man page.",
  description = "Prints surefoot's man page, in the language of man(7).",
  examples = {
    "surefoot manual | man -l -",
    "surefoot manual > /usr/local/share/man/man1/surefoot.1",
  },
}

local CONFIGURATION = {
  "Which lines there are, and how they are asked, is the table that a Lua file returns, the one that surefoot.new "
    .. "takes; the README describes its fields. It is looked for in this order:",
  { "--config FILE", "the file that is named" },
  { "$SUREFOOT_CONFIG", "the same, by the environment" },
  { "~/.config/surefoot/config.lua", "or $XDG_CONFIG_HOME/surefoot/config.lua" },
  { "$SUREFOOT_PRESET, $SUREFOOT_BASE_URL, $SUREFOOT_API_KEY, $SUREFOOT_MODEL", "a single line, without any file" },
  "The flags --base-url, --model and --line change what was found there.",
}

local ENVIRONMENT = {
  { "SUREFOOT_CONFIG", "The configuration file." },
  { "SUREFOOT_PRESET, SUREFOOT_BASE_URL, SUREFOOT_API_KEY, SUREFOOT_MODEL", "A line, where there is no such file." },
  { "OPENAI_API_KEY, ANTHROPIC_API_KEY, ...", "The key of a preset, unless the configuration has one." },
  { "https_proxy, http_proxy, all_proxy, no_proxy", "Proxies, unless the configuration says otherwise." },
  { "NO_COLOR", "Set and not empty: no colours. They are shown on terminals alone." },
}

local EXIT = {
  { "0", "All went well." }, { "1", "The work failed, or a part of it." },
  { "2", "The command line or the configuration is wrong." }, { "130", "Ctrl-C ended it." },
}

--- Adds the arguments: there are none.
function M.configure()
end

-- ---------------------------------------------------------------------------------------------------------------- roff

local function escape(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"))
end


local function add(page, ...)
  page[#page + 1] = table.concat { ... }
end

local function item(page, label, text)
  add(page, ".TP\n.B ", escape(label), "\n", escape(text))
end

local function items(page, list)
  for _, entry in ipairs(list) do
    if type(entry) == "table" then
      item(page, entry[1], entry[2])
    else
      add(page, ".PP\n", escape(entry))
    end
  end
end

-- "-m, --model NAME", or an argument's name
local function label_of(element)
  local arguments = table.concat(element:_get_argument_list(), " ")
  if element._aliases then
    return table.concat(element._aliases, ", ") .. (arguments ~= "" and " " .. arguments or "")
  end
  return (arguments:gsub("[%[%]<>]", ""))
end

-- The description of a command is one paragraph; the usage is argparse's, unbroken.
local function command_section(page, command)
  add(page, ".SS ", escape(command._name))
  local usage = command:get_usage():gsub("^Usage: ", ""):gsub("%s+", " ")
  add(page, escape(usage), "\n.PP\n", escape(command._description))
  for _, list in ipairs { command._arguments, command._options } do
    for _, element in ipairs(list) do
      item(page, label_of(element), element._description or "")
    end
  end
  if command._epilog then
    add(page, ".PP\nExamples:\n.PP\n.nf\n.RS\n", (escape(command._epilog:gsub("^Examples:\n", ""):gsub("   ", ""))),
      "\n.RE\n.fi")
  end
end

--- The page.
---@param parser table of argparse
---@return string roff
function M.page(parser)
  local page = {}
  add(page, '.TH SUREFOOT 1 "" "surefoot ', escape(version), '" "User Commands"')
  add(page, ".SH NAME\nsurefoot \\- makes calls to LLM HTTP APIs arrive")
  add(page, ".SH SYNOPSIS\n.B surefoot\n.I command\n[options] [arguments]")
  add(page, ".SH DESCRIPTION\nsurefoot asks models over one or several lines: it fails over, retries within a budget, "
    .. "hedges, keeps to limits, and checks that an answer is whole before it calls it one.")
  add(page, ".SH COMMANDS")
  for _, command in ipairs(parser._commands) do
    command_section(page, command)
  end
  add(page, ".SH CONFIGURATION")
  items(page, CONFIGURATION)
  add(page, ".SH ENVIRONMENT")
  items(page, ENVIRONMENT)
  add(page, ".SH EXIT STATUS")
  items(page, EXIT)
  return table.concat(page, "\n") .. "\n"
end

--- Runs it.
---@param _ table
---@param terminal surefoot.Terminal
---@param parser table of argparse
---@return integer exit_code
function M.run(_, terminal, parser)
  terminal:write(M.page(parser))
  return 0
end

return M
