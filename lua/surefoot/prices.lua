--- What tokens cost, in US dollars per million: the built-in table, the user's own prices, and what an answer cost.
--
-- `prices` of the configuration, for the client or for one endpoint, is
--   true               the built-in table below
--   a table            these models and no others; with `builtin = true` in it, the built-in table for all others
--   false              none: answers have no cost
-- An endpoint's own prices win over the client's, model by model; `false` there: none on this line. A price is looked
-- up under the name that was asked for on the route that answered, then under the name sent upstream, then under the
-- name that the answer bears. A model without a price has no cost, rather than a wrong one.
--
-- The built-in prices are those of the providers' own APIs for text, in their standard tier: no batch discounts, no
-- audio, no tools that are billed by the call. Every group has its source, and the day or month of the copy of it that
-- the prices were taken from. Models whose price changes with the hour, or with a date that is coming, are left out. A
-- relay that asks for something else needs prices of its own.

local check = require "surefoot.config.check"
local words = require "surefoot.config.text"

local M = {}

---@class surefoot.Price  US dollars per million tokens
---@field input number?             read (default 0)
---@field output number?            written (default 0)
---@field cached_input number?      read from the cache (default: as input)
---@field cache_write number?       written to the cache (default: as input)
---@field cache_write_hour number?  the same, kept for an hour (default: as cache_write)
---@field long surefoot.LongPrice?  where the price of all tokens depends on the length of the request
---@field source string?            of a built-in price
---@field date string?              the day, or month, of the copy that it was taken from

---@class surefoot.LongPrice  what is not given is as for short requests
---@field above integer             tokens of input
---@field input number?
---@field output number?
---@field cached_input number?
---@field cache_write number?
---@field cache_write_hour number?

-- As Anthropic has it: what goes into the cache costs 1.25 times the input for five minutes, 2 times for an hour.
local function claude(input, output, cached_input)
  return {
    input = input, output = output, cached_input = cached_input, cache_write = input * 1.25,
    cache_write_hour = input * 2,
  }
end

local haiku_5_5 = claude(0.10, 0.50, 0.01)
haiku_5_5.long = claude(0.50, 2.50, 0.05)
haiku_5_5.long.above = 100000

M.groups = {
  {
    source = "https://platform.claude.com/docs/en/about-claude/pricing", date = "2026-10-24",
    models = {
      ["claude-opus-5-5"] = claude(4, 20, 0.20), ["claude-opus-5"] = claude(5, 25, 0.50),
      ["claude-opus-4-8"] = claude(5, 25, 0.50), ["claude-opus-4-7"] = claude(5, 25, 0.50),
      ["claude-opus-4-6"] = claude(5, 25, 0.50), ["claude-opus-4-5"] = claude(5, 25, 0.50),
      ["claude-opus-4-1"] = claude(15, 75, 1.50),
      ["claude-sonnet-5-5"] = claude(2, 10, 0.10), ["claude-sonnet-5"] = claude(2, 10, 0.20),
      ["claude-sonnet-4-6"] = claude(3, 15, 0.30), ["claude-sonnet-4-5"] = claude(3, 15, 0.30),
      ["claude-haiku-5-5"] = haiku_5_5, ["claude-haiku-4-5"] = claude(1, 5, 0.10),
    },
  },
  {
    source = "https://platform.openai.com/docs/pricing", date = "2026-03",
    models = {
      ["gpt-5"] = { input = 1.25, output = 10, cached_input = 0.125 },
      ["gpt-5.1"] = { input = 1.25, output = 10, cached_input = 0.125 },
      ["gpt-5-mini"] = { input = 0.25, output = 2, cached_input = 0.025 },
      ["gpt-5-nano"] = { input = 0.05, output = 0.40, cached_input = 0.005 },
      ["gpt-4.1"] = { input = 2, output = 8, cached_input = 0.50 },
      ["gpt-4.1-mini"] = { input = 0.40, output = 1.60, cached_input = 0.10 },
      ["gpt-4.1-nano"] = { input = 0.10, output = 0.40, cached_input = 0.025 },
      ["gpt-4o"] = { input = 2.50, output = 10, cached_input = 1.25 },
      ["gpt-4o-2024-05-13"] = { input = 5, output = 15 },
      ["gpt-4o-mini"] = { input = 0.15, output = 0.60, cached_input = 0.075 },
      ["o4-mini"] = { input = 1.10, output = 4.40, cached_input = 0.275 },
      ["text-embedding-3-small"] = { input = 0.02, output = 0 },
    },
  },
  {
    source = "https://ai.google.dev/gemini-api/docs/pricing", date = "2026-09-20",
    models = {
      ["gemini-2.5-pro"] = { input = 1.25, output = 10, cached_input = 0.125,
        long = { above = 200000, input = 2.50, output = 15, cached_input = 0.25 } },
      ["gemini-2.5-flash"] = { input = 0.30, output = 2.50, cached_input = 0.03 },
      ["gemini-2.5-flash-lite"] = { input = 0.10, output = 0.40, cached_input = 0.01 },
    },
  },
  {
    source = "https://api-docs.deepseek.com/quick_start/pricing", date = "2025-12-09",
    models = { ["deepseek-v3.2"] = { input = 0.28, output = 0.42, cached_input = 0.028 } },
  },
}

--- Where a line sells the same models for the same number in another currency: how many yuan a dollar of its price list
--- costs there, and how many on the market. Both as its own articles have them.
M.yuan = {
  line = "holysheep", per_list_dollar = 1, per_market_dollar = 7.3, date = "2026-04-08",
  source = "https://www.holysheep.ai/articles/"
    .. "en-gpt-5-4-claude-4-6-gemini-grok-api-comparison-2026-2026-04-08-0006.html",
}

--- The built-in table: model -> price, with its source and date.
---@type table<string, surefoot.Price>
M.builtin = {}
for _, group in ipairs(M.groups) do
  for name, price in pairs(group.models) do
    price.source, price.date = group.source, group.date
    M.builtin[name] = price
  end
end

-- Snapshots bear their date behind the model's name; Claude's versions are written with a dot by some relays.
local function plain(name)
  name = name:gsub("%-%d%d%d%d%-%d%d%-%d%d$", ""):gsub("%-20%d%d%d%d%d%d$", ""):gsub("%-latest$", "")
  return name:find "^claude%-" and name:gsub("(%d)%.(%d)", "%1-%2") or name
end

--- The built-in price of a model, also of a dated snapshot of it.
---@param name string
---@return surefoot.Price?
function M.known(name)
  return M.builtin[name] or M.builtin[plain(name)]
end

local with_builtin = {
  __index = function(_, name)
    return M.known(name)
  end,
}

-- ------------------------------------------------------------------------------------------------------ configuration

check.define("prices", function(spec, value, path)
  if type(value) == "boolean" then
    return value
  elseif type(value) ~= "table" then
    check.fail(path, "expected %s, got %s", words.describe(spec), check.show(value))
  end
  local models = {}
  for name, price in pairs(value) do
    if name ~= "builtin" or type(price) ~= "boolean" then
      models[name] = price
    end
  end
  local map = { type = "map", of = spec.of }
  local filled = check.fill(map, check.check(map, models, path))
  return value.builtin == true and setmetatable(filled, with_builtin) or filled
end)

--- The prices that a checked value stands for.
---@param value boolean | table<string, surefoot.Price> | nil
---@return table<string, surefoot.Price>?
function M.resolve(value)
  if value == true then
    return setmetatable({}, with_builtin)
  end
  return value or nil
end

-- ----------------------------------------------------------------------------------------------------------- of a call

local function look_up(book, ...)
  for i = 1, select("#", ...) do
    local name = select(i, ...)
    local price = name and book[name]
    if price then
      return price
    end
  end
end

--- The price of a model on an endpoint, by the first of its names that has one.
---@param config table resolved
---@param endpoint table of it
---@param ... string? names of the model
---@return surefoot.Price?
function M.find(config, endpoint, ...)
  local own = endpoint.prices
  if own == false then
    return nil
  end
  return own and look_up(own, ...) or config.prices and look_up(config.prices, ...) or nil
end

--- What tokens cost.
---@param price surefoot.Price
---@param usage surefoot.Usage
---@return number dollars
function M.cost(price, usage)
  local long = price.long
  local function of(name)
    return long and long[name] or price[name]
  end
  if long and usage.input_tokens <= long.above then
    long = nil
  end
  local input = of "input" or 0
  local cached, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
  local hour = math.min(written, usage.cache_write_hour_tokens or 0)
  local write = of "cache_write" or input
  local fresh = math.max(0, usage.input_tokens - cached - written)
  return (fresh * input + cached * (of "cached_input" or input) + (written - hour) * write
    + hour * (of "cache_write_hour" or write) + usage.output_tokens * (of "output" or 0)) / 1e6
end

return M
