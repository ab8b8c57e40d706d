--- A budget of the client's: so many dollars an hour, a day, a month, any number of seconds, or in all.
--
-- Before anything is sent a call is refused when the budget is spent: kind "quota", code "budget_spent", retry_after
-- until the window ends (calendar windows are UTC). Afterwards what the call cost is added, by `prices`: its answer's
-- tokens, those of answers that `validate` refused, and of a stream that failed or was cancelled what was shown, by
-- estimate. Nobody knows what attempts cost that were given up without an answer, and they are not counted. Calls that
-- are out when the last dollar goes are not stopped, so that the budget may be overdrawn by what they cost.
--
-- A model without a price would be spending unseen: calls of operations that take tokens are refused for it. With
-- `shared` all processes that share the name have one budget of each window; it outlives them.

local binding = require "surefoot.binding"
local errors = require "surefoot.errors"
local prices = require "surefoot.prices"

local M = {}

local format = string.format

---@class surefoot.Config
---@field spend { limit: number, per: ("hour" | "day" | "month" | "total" | number)? } | false | nil

---@class surefoot.Spending
---@field limit number      US dollars
---@field per "hour" | "day" | "month" | "total" | number  seconds
---@field spent number      in the current window
---@field resets_in number? seconds until the next one

---@class surefoot.Stats
---@field spend surefoot.Spending?

---@class surefoot.Spend
---@field private config { limit: number, per: string | number }
---@field private client surefoot.Client
---@field private allowance table
---@field private clock (fun(): number)?  unix seconds, where it is not the machine's
local Spend = {}
Spend.__index = Spend

--- Makes the budget of a client.
---@param client surefoot.Client
---@return surefoot.Spend
function M.new(client)
  local config = client.config.spend
  local allowance, problem = binding.allowance {
    shared = client.config.shared, key = "spend per " .. tostring(config.per),
    budget = { limit = config.limit, per = config.per },
  }
  if not allowance then
    error("spend: " .. problem, 0)
  end
  return setmetatable({ config = config, client = client, allowance = allowance, clock = client.host.clock }, Spend)
end

local function find_unpriced(client, job)
  for _, target in ipairs(job.plan.targets) do
    local endpoint = client.config.endpoints[target.endpoint]
    local asked = job.routes[job.plan.routes[target.route]].model
    if not prices.find(client.config, endpoint, asked, target.model) then
      return format("no price is known for the model %q on %s: add it to `prices`", asked or target.model,
        endpoint.name)
    end
  end
  return false
end

--- The first model of a job that has no price on an endpoint that may be asked, in words; nil where all have one.
---@param client surefoot.Client
---@param job surefoot.Job
---@return string?
function M.unpriced(client, job)
  local plan = job.plan
  if plan.unpriced == nil then
    plan.unpriced = find_unpriced(client, job)
  end
  return plan.unpriced or nil
end

local function in_words(config)
  local dollars = format("%.14g dollar%s", config.limit, config.limit == 1 and "" or "s")
  if config.per == "total" then
    return dollars
  end
  return dollars .. (type(config.per) == "number" and format(" in %.14g seconds", config.per) or " per " .. config.per)
end

--- Why a call may not be made; nil where it may.
---@param job surefoot.Job
---@return surefoot.Error?
function Spend:refusal(job)
  local counts_tokens = job.work.counts_tokens
  if counts_tokens then
    local problem = M.unpriced(self.client, job)
    if problem then
      return errors.new {
        kind = "invalid_request", code = "no_price", message = "spend: " .. problem, sent = false, attempts = {},
      }
    end
  elseif not job.has_effects then
    return nil -- lists and the like
  end
  local clock = self.clock
  local allowed, kind, retry_after, code = self.allowance:peek(0, clock and clock())
  if allowed then
    return nil
  end
  return errors.new {
    kind = kind, code = code, sent = false, attempts = {}, retry_after = retry_after,
    retry_at = retry_after and (clock and clock() or os.time()) + retry_after,
    message = "the budget of " .. in_words(self.config) .. " is spent",
  }
end

--- Adds what a call cost.
---@param dollars number
function Spend:charge(dollars)
  local clock = self.clock
  self.allowance:spend(dollars, clock and clock())
end

--- How much is spent.
---@return surefoot.Spending
function Spend:numbers()
  local clock = self.clock
  local numbers = self.allowance:numbers(clock and clock())
  return { limit = numbers.limit, per = self.config.per, spent = numbers.spent, resets_in = numbers.resets_in }
end

return M
