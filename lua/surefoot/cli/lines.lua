--- The lines of a configuration, each for itself: a client that has one line alone and asks it once.

local settings = require "surefoot.cli.settings"
local surefoot = require "surefoot"

local M = {}

local LEARNS = { "hedge", "coalesce", "breaker", "health", "shared", "spend", "continue_on_length", "resume" }

local function copy_of(t)
  local copy = {}
  for key, value in pairs(t) do
    copy[key] = value
  end
  return copy
end

-- Policies beyond one attempt off, in a configuration or an endpoint of it.
local function without_policies(given)
  given = copy_of(given)
  for _, name in ipairs(LEARNS) do
    given[name] = nil
  end
  if given.endpoints then
    for i, endpoint in ipairs(given.endpoints) do
      if type(endpoint) == "table" then
        given.endpoints[i] = copy_of(endpoint)
        given.endpoints[i].breaker = nil
      end
    end
  end
  given.breaker, given.fallbacks = false, nil
  given.retry = { max_attempts = 1, budget = false }
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
