--- Which client a command works with. From the first of these that there is:
--
--   1. --config FILE                         a Lua file that returns the table of surefoot.new
--   2. $SUREFOOT_CONFIG                      the same
--   3. ~/.config/surefoot/config.lua         the same ($XDG_CONFIG_HOME/surefoot/config.lua, where that is set)
--   4. $SUREFOOT_PRESET, $SUREFOOT_BASE_URL, $SUREFOOT_API_KEY, $SUREFOOT_MODEL
--
-- The flags --base-url, --model and --line change what was found there. What is wrong comes back as nil and a message.

local client_config = require "surefoot.config"
local copy = require "surefoot.copy"
local surefoot = require "surefoot"
local text = require "surefoot.config.text"

local M = {}

local NOWHERE = "where to? Give --config FILE, or set SUREFOOT_PRESET or SUREFOOT_BASE_URL (and SUREFOOT_API_KEY)"

--- Adds the flags that all commands with a client have.
---@param command table of argparse
function M.options(command)
  command:option("-c --config", "Lua file that returns the configuration."):argname "FILE"
  command:option("--base-url", "URL of the API, instead of the configured lines."):argname "URL"
  command:option("-m --model", "Model to ask."):argname "NAME"
  command:option("--line", "Use the line of this name alone."):argname "NAME"
end

local function non_empty(value)
  return value ~= "" and value or nil
end

local function exists(path)
  local file = io.open(path, "r")
  return file ~= nil and file:close()
end

--- The file that holds the configuration; nil: there is none, the environment counts.
---@param given string? the one that was named
---@param environment (fun(name: string): string?)?
---@return string?
function M.path(given, environment)
  environment = environment or os.getenv
  local named = given or non_empty(environment "SUREFOOT_CONFIG")
  if named then
    return named
  end
  local home = non_empty(environment "HOME")
  local base = non_empty(environment "XDG_CONFIG_HOME") or home and home .. "/.config"
  local usual = base and base .. "/surefoot/config.lua"
  return usual and exists(usual) and usual or nil
end

-- What a file that ended with an error says of it.
local function thrown_by(path, thrown)
  local mt = getmetatable(thrown)
  local message = type(thrown) == "string" and thrown or type(mt) == "table" and mt.__tostring and tostring(thrown)
    or type(thrown) == "table" and rawget(thrown, "message")
  if type(message) ~= "string" then
    message = ("it ended with an error that is no text but %s"):format(
      thrown == nil and "nil" or "a " .. type(thrown))
  end
  return message:find(path, 1, true) and message or path .. ": " .. message
end

--- Runs a configuration file.
---@param path string
---@return table? given what it returned
---@return string? problem
function M.load(path)
  local file, unopened = io.open(path, "r")
  if not file then
    return nil, unopened
  end
  file:close()
  local chunk, mistake = loadfile(path)
  if not chunk then
    return nil, mistake
  end
  local ok, given = pcall(chunk)
  if not ok then
    return nil, thrown_by(path, given)
  elseif type(given) ~= "table" then
    return nil, ("%s: expected that it returns a table (return { ... }), got a %s"):format(path, type(given))
  end
  return given
end

local function from_environment(environment)
  local given = {
    preset = non_empty(environment "SUREFOOT_PRESET"), base_url = non_empty(environment "SUREFOOT_BASE_URL"),
    api_key = non_empty(environment "SUREFOOT_API_KEY"), model = non_empty(environment "SUREFOOT_MODEL"),
  }
  return (given.preset or given.base_url) and given or nil
end

-- The fallbacks but those that are to be asked on lines which are not used.
local function usable(fallbacks, name)
  local kept = {}
  for _, fallback in ipairs(fallbacks) do
    if type(fallback) ~= "table" or fallback.endpoint == nil or fallback.endpoint == name then
      kept[#kept + 1] = fallback
    end
  end
  return kept
end

local function choose_line(given, name, environment)
  local names = {}
  for i, endpoint in ipairs(client_config.resolve(given, environment).endpoints) do
    names[i] = endpoint.name
    if endpoint.name == name then
      given.endpoints = given.endpoints and { given.endpoints[i] }
      given.fallbacks = given.fallbacks and usable(given.fallbacks, name)
      return
    end
  end
  error(("--line: no line is named %q%s There %s %s"):format(name, text.hint(name, names):gsub("^$", "."),
    #names == 1 and "is" or "are", table.concat(names, ", ")), 0)
end

local function apply_flags(given, flags, environment)
  if flags.model then
    given.model = flags.model
  end
  if flags.base_url then
    given.base_url, given.endpoints = flags.base_url, nil
    given.fallbacks = given.fallbacks and usable(given.fallbacks)
  end
  if flags.line then
    choose_line(given, flags.line, environment)
  end
end

--- The environment for commands that ask nobody: keys that are not in it do not matter.
---@param name string
---@return string?
function M.without_keys(name)
  return non_empty(os.getenv(name)) or name:find "KEY$" and "not-needed-here" or nil
end

--- The table for surefoot.new, with the flags of a command line applied.
---@param flags { config: string?, base_url: string?, model: string?, line: string? }
---@param environment (fun(name: string): string?)?
---@return table? given
---@return string? problem
---@return string? path the file it is from
function M.given(flags, environment)
  local of_keys = environment
  environment = environment or os.getenv
  local path = M.path(flags.config, environment)
  local given, problem
  if path then
    given, problem = M.load(path)
    if not given then
      return nil, problem
    end
    given = copy(given)
    given.gateway = nil -- the gateway's part is not the client's
  else
    given = from_environment(environment)
    if not given and flags.base_url then
      given = { api_key = non_empty(environment "SUREFOOT_API_KEY"), model = non_empty(environment "SUREFOOT_MODEL") }
    elseif not given then
      return nil, NOWHERE
    end
  end
  local ok, mistake = pcall(apply_flags, given, flags, of_keys)
  if not ok then
    return nil, path and path .. ": " .. mistake or mistake
  end
  return given, nil, path
end

--- The client of a command.
---@param flags { config: string?, base_url: string?, model: string?, line: string? }
---@return surefoot.Client?
---@return string? problem
function M.client(flags)
  local given, problem, path = M.given(flags)
  if not given then
    return nil, problem
  end
  local ok, client = pcall(surefoot.new, given)
  if not ok then
    local message = tostring(client):gsub("^.-surefoot%.new: ", "")
    return nil, path and path .. ": " .. message or message
  end
  return client
end

return M
