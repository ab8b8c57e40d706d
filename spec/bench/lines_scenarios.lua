-- What make bench-lines plays: the lines, the load, the clients and their configuration, and the goals. Data, and the
-- one function that brings a configuration to the scale of the clock. All times are seconds of the story; at `scale`
-- 0.2 a second of the story takes 0.2 s on the wire, of the lines' latencies and of every client's times alike.

local schema = require "surefoot.config.schema"

local M = {}

M.WORKERS = 50

-- ------------------------------------------------------------------------------------------------------------ clients

-- A budget of 5 %, the default, cannot cover lines of which 8 % of the requests hang; and where an attempt fails or
-- hangs in 12.7 % of the cases, five of them do in 0.003 %: the goals are 99.99 % and 100 %, so there are eight.
local HEDGE_P95 = { quantile = 0.95, budget = 0.25, burst = 50, max = 2 }
local HEDGE_P75 = { quantile = 0.75, budget = 0.5, burst = 50, max = 2 }
-- Where the lines count requests, a hedge costs an admission.
local HEDGE_SPARING = { quantile = 0.99, budget = 0.02, burst = 10, max = 1 }

-- By key; `config` is what surefoot.new is given beside the lines, `lines` those that it is given (all, unless told).
-- `judged`: the goals are meant for it. `style`: in the plots.
-- `fresh`: a new client for every call, without memory and on a connection of its own. `peer`: somebody else's client,
-- with `options` of its own. `clock`: instead of the scenario's, for one that cannot keep up with a fast one.
M.clients = {
  naive = { name = "one attempt, line a", style = 1, lines = { "a" }, fresh = true,
    config = { retry = { max_attempts = 1 }, keepalive = { idle = 0 } } },
  sdk = { name = "openai SDK, line a", style = 2, lines = { "a" }, peer = "sdk" },
  sdk_turn = { name = "openai SDK, lines in turn", style = 3, peer = "sdk" },
  litellm = { name = "LiteLLM Router, clock x 1", style = 7, peer = "litellm", clock = 1,
    options = { routing_strategy = "latency-based-routing" } },
  retries = { name = "surefoot, retries only", style = 4, judged = true, config = {} },
  hedge95 = { name = "surefoot, hedge at P95", style = 5, judged = true,
    config = { hedge = HEDGE_P95, retry = { max_attempts = 8 } } },
  hedge75 = { name = "surefoot, hedge at P75", style = 6, judged = true,
    config = { hedge = HEDGE_P75, retry = { max_attempts = 8 } } },
  paced = { name = "surefoot, paced", judged = true, config = { rate = { adaptive = true } } },
  paced_hedge = { name = "surefoot, paced, hedge at P99", judged = true,
    config = { rate = { adaptive = true }, hedge = HEDGE_SPARING } },
}

M.order = { "naive", "sdk", "sdk_turn", "litellm", "retries", "paced", "hedge95", "hedge75", "paced_hedge" }

-- ---------------------------------------------------------------------------------------------------------- scenarios

local function three(preset, more)
  local lines = {}
  for i, name in ipairs { "a", "b", "c" } do
    lines[name] = { preset = preset, seed = 10 + i }
    for key, value in pairs(more or {}) do
      lines[name][key] = value
    end
  end
  return lines
end

-- regional, with twice the times
local SLOWER = { median = 0.0726, sigma = 0.37, tail = { p = 0.012, min = 0.216, alpha = 2.0, cap = 1.2 } }

local function preferred()
  local lines = three "regional"
  lines.b.latency, lines.c.latency = SLOWER, SLOWER
  return lines
end

-- So many requests in any second, not a bucket that refills: a third of a burst is not to be had sooner.
local function limited(more)
  local rate = { per_second = 30, window = 1, retry_after = "seconds" }
  for key, value in pairs(more) do
    rate[key] = value
  end
  return three("regional", { rate = rate })
end

local P95 = { success = 0.9999, p99 = 2.1, p999 = 2.8, attempts = 1.26 }

-- starts: at most so many a second; calls: by client, or for all; rounds: with other seeds, their calls are pooled;
-- changes: of a line's profile, at a moment of the run; goals: by client, `all` for the others.
M.scenarios = {
  { key = "overseas", title = "three overseas lines", lines = three "overseas", scale = 0.2, timeout = 10, starts = 25,
    calls = { all = 10000, litellm = 3000 },
    clients = { "naive", "sdk", "sdk_turn", "litellm", "retries", "hedge95", "hedge75" }, plot = true,
    goals = { all = P95, hedge75 = { success = 1, p99 = 1.5, p999 = 2.2, attempts = 1.5 } } },
  { key = "overseas120", title = "three overseas lines", lines = three "overseas", scale = 0.2, timeout = 120,
    starts = 25, calls = { all = 3000, hedge95 = 10000 }, clients = { "naive", "sdk_turn", "retries", "hedge95" },
    plot = true, goals = { all = P95 } },
  { key = "regional", title = "three regional lines", lines = three "regional", scale = 1, timeout = 10, starts = 250,
    calls = { all = 10000 }, clients = { "naive", "sdk", "sdk_turn", "retries", "hedge95" }, plot = true,
    goals = { all = { success = 1, p99 = 0.108, p999 = 0.140, attempts = 1.07 } } },
  { key = "brownout", title = "the preferred line browns out from 20 s to 40 s", lines = preferred(), scale = 1,
    timeout = 10, starts = 50, calls = { all = 3000 },
    rounds = { naive = 1, sdk = 1, sdk_turn = 1, litellm = 1, all = 4 },
    clients = { "naive", "sdk", "sdk_turn", "litellm", "retries", "hedge95" }, plot = true,
    changes = { { at = 20, line = "a", profile = { preset = "brownout", seed = 21 } },
      { at = 40, line = "a", profile = { preset = "regional", seed = 31 } } },
    bad = { line = "a", from = 20, to = 40, within = 1, share = 0.05 },
    goals = { all = { success = 1, p99 = 0.230, p999 = 0.300, attempts = 1.10 } } },
  { key = "limited", title = "lines of 30 requests/s each, with x-ratelimit headers",
    lines = limited { ratelimit_headers = true }, scale = 1, timeout = 10, calls = { all = 1000 },
    clients = { "naive", "sdk", "sdk_turn", "litellm", "retries", "paced", "paced_hedge" },
    goals = { all = { success = 1, wall = 12, attempts = 1.03 } } },
  { key = "unannounced", title = "lines of 30 requests/s each, without headers", lines = limited {}, scale = 1,
    timeout = 10, calls = { all = 1000 },
    clients = { "naive", "sdk", "sdk_turn", "litellm", "retries", "paced", "paced_hedge" },
    goals = { all = { success = 1, wall = 13, attempts = 1.08 } } },
}

-- Numbers that prove that the bench runs, and nothing else.
local QUICK = {
  overseas = 0.02, overseas120 = 0.002, regional = 0.1, brownout = 0.01, limited = 0.1, unannounced = 0.1,
}
local QUICK_CALLS = { all = 100, brownout = 150 }

---@return table[] scenarios short enough to be run in a spec
function M.quick()
  local list = {}
  for i, scenario in ipairs(M.scenarios) do
    local copy = {}
    for key, value in pairs(scenario) do
      copy[key] = value
    end
    copy.scale, copy.rounds = QUICK[scenario.key], nil
    copy.calls = { all = QUICK_CALLS[scenario.key] or QUICK_CALLS.all }
    copy.starts = scenario.changes and copy.calls.all / 60 or scenario.starts
    list[i] = copy
  end
  return list
end

-- -------------------------------------------------------------------------------------------------------------- scale

local function scaled_fields(fields, given, scale)
  local made = {}
  for key, value in pairs(given) do
    made[key] = value
  end
  for _, field in ipairs(fields) do
    local value = made[field.name]
    if field.type == "seconds" then
      value = value or not field.keep_nil and field.default or nil
      made[field.name] = value and value * scale
    elseif field.fields and value ~= false then
      made[field.name] = scaled_fields(field.fields, type(value) == "table" and value or {}, scale)
    end
  end
  return made
end

---The scenario as a client plays it: at its own clock where it has one.
---@return table scenario
function M.at_clock_of(client, scenario)
  return client.clock and setmetatable({ scale = client.clock }, { __index = scenario }) or scenario
end

local SCALED = { timeout = true, retry = true, breaker = true, routing = true, hedge = true }

---What surefoot.new is given: the configuration with the timeout, every time in it (the defaults too) at the scale.
---@param config table
---@param timeout number of one attempt
---@param scale number
---@return table
function M.configuration(config, timeout, scale)
  local made = {}
  for key, value in pairs(config) do
    made[key] = value
  end
  made.timeout = { attempt = timeout }
  for _, field in ipairs(schema.top) do
    local name = field.name
    if SCALED[name] and (made[name] or field.default) then
      made[name] = scaled_fields(field.fields, made[name] or {}, scale)
    end
  end
  made.retry.budget.floor_per_second = 1 / scale
  made.timeout.total = math.max(made.timeout.total, timeout * scale)
  return made
end

---A line's profile at the scale.
---@param profile table in the story's seconds
---@param scale number
---@param round integer of seeds
---@return table
function M.profile(profile, scale, round)
  local made = {}
  for key, value in pairs(profile) do
    made[key] = value
  end
  made.scale, made.seed = scale, profile.seed + 100 * (round - 1)
  local rate = profile.rate
  if rate then
    made.rate = { per_second = rate.per_second / scale, window = rate.window and rate.window * scale,
      ratelimit_headers = rate.ratelimit_headers, retry_after = scale == 1 and rate.retry_after or "fraction" }
  end
  return made
end

return M
