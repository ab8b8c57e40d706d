-- The configurations that are compared: from a client that never retries to surefoot's defaults, and one of the
-- user's own. All share the same timeouts, unless the user's says otherwise; what is not named is off.

local copy = require "surefoot.copy"

local M = {}

local function naive(retry)
  return { retry = retry, breaker = false, concurrency = { limit = 100000, queue = 0 } }
end

M.list = {
  { name = "no retry", config = naive { max_attempts = 1, budget = false } },
  { name = "3 retries", config = naive { max_attempts = 4, jitter = "none", budget = false } },
  { name = "+ jitter", config = naive { max_attempts = 4, budget = false } },
  { name = "+ budget", config = naive { max_attempts = 4 } },
  { name = "+ breaker", config = { retry = { max_attempts = 4, budget = false },
    concurrency = { limit = 100000, queue = 0 } } },
  { name = "defaults", config = {} },
  { name = "defaults, no budget", config = { retry = { budget = false } } },
  { name = "defaults, queue of 10", config = { concurrency = { queue = 10 } } },
}

M.by_name = {}
for _, each in ipairs(M.list) do
  M.by_name[each.name] = each.config
end

M.CONTROL, M.DEFAULTS, M.OWN = "no retry", "defaults", "yours"

--- What the user's configuration is compared with, and itself.
M.compared = { M.CONTROL, M.DEFAULTS, M.OWN }

-- The timeouts that are given over those of all, in a world where everything is `faster` times as fast.
local function timeouts(common, given, faster)
  local merged = copy(common or {})
  for name, seconds in pairs(given or {}) do
    merged[name] = seconds / (faster or 1)
  end
  return merged
end

--- A configuration by its name.
---@param name string
---@param timeout table? those of all configurations
---@param own surefoot.fleet.Policies? the user's, for the name M.OWN
---@param faster number? how much shorter than real ones these timeouts are: so are the user's
---@return table
function M.with(name, timeout, own, faster)
  local config = copy(name == M.OWN and own or assert(M.by_name[name], name))
  config.timeout = timeouts(timeout, config.timeout, faster)
  if config.each_line then
    config.each_line = copy(config.each_line, { timeout = timeouts(nil, config.each_line.timeout, faster) })
  end
  return config
end

-- ------------------------------------------------------------------------------------------------------ the user's own

---@class surefoot.fleet.Policies: surefoot.Config  policies alone
---@field each_line table?  those that the line has of its own

local OF_CLIENTS = { "timeout", "retry", "rate", "concurrency", "breaker", "routing", "hedge" }
local OF_LINES = { "timeout", "rate", "concurrency", "breaker" }

local function chosen(given, names)
  local list, any = {}, false
  for _, name in ipairs(names) do
    list[name] = given[name]
    any = any or given[name] ~= nil
  end
  return list, any
end

--- What a configuration says of policies; of its lines, the first one counts.
---@param given surefoot.Config
---@return surefoot.fleet.Policies
function M.policies(given)
  local policies = chosen(given, OF_CLIENTS)
  local line, any = chosen(given.endpoints and given.endpoints[1] or {}, OF_LINES)
  policies.each_line = any and line or nil
  return policies
end

return M
