-- The configurations that are compared: from a client that never retries to surefoot's defaults. All share the same
-- timeouts; what is not named is off.

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

--- A configuration by its name, with timeouts.
---@param name string
---@param timeout table
---@return table
function M.with(name, timeout)
  local config = { timeout = timeout }
  for key, value in pairs(assert(M.by_name[name], name)) do
    config[key] = value
  end
  return config
end

return M
