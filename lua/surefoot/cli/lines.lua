--- The lines of a configuration, each for itself: a client that has one line alone and asks it once.

local copy = require "surefoot.copy"
local settings = require "surefoot.cli.settings"
local surefoot = require "surefoot"

local M = {}

local POLICIES = {
  "hedge", "coalesce", "health", "shared", "spend", "continue_on_length", "resume", "rate", "concurrency", "fallbacks",
}
local OF_ENDPOINTS = { "breaker", "rate", "concurrency" }

local function without(t, names)
  local rest = copy(t)
  for _, name in ipairs(names) do
    rest[name] = nil
  end
  return rest
end

-- A configuration of which nothing is left but where the line is, and one attempt.
local function without_policies(given)
  given = without(given, POLICIES)
  if given.endpoints then
    given.endpoints = { without(given.endpoints[1], OF_ENDPOINTS) }
  end
  given.breaker, given.retry = false, { max_attempts = 1, budget = false }
  return given
end

--- A client of one line, which asks it once and learns nothing.
---@param args table of the command line
---@param name string of the line
---@param change (fun(given: table))? of the configuration
---@return surefoot.Client? client
---@return string? problem
function M.alone(args, name, change)
  local flags = { config = args.config, base_url = args.base_url, model = args.model, line = name }
  local given, problem = settings.given(flags)
  if not given then
    return nil, problem
  end
  given = without_policies(given)
  if change then
    change(given)
  end
  local ok, client = pcall(surefoot.new, given)
  if not ok then
    return nil, (tostring(client):gsub("^.-surefoot%.new: ", ""))
  end
  return client
end

return M
