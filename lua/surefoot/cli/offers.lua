--- Who sells which model for what: providers by their own price lists, a line that sells the same for another currency,
--- and the lines of the configuration.

local client_config = require "surefoot.config"
local prices = require "surefoot.prices"
local settings = require "surefoot.cli.settings"
local sorted = require "surefoot.sorted"

local M = {}

local LIST = "list price"
local unpack = table.unpack or unpack

---@class surefoot.Offer
---@field line string
---@field price surefoot.Price
---@field per_dollar number?  dollars that a dollar of the price costs there (default: 1)
---@field is_list boolean?    the provider's own price
---@field note string?
---@field source string?
---@field date string?

local function variable(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- The configuration, without its keys.
---@param named string? its file, as --config has it
---@return table? config nil: there is none
---@return string? problem
function M.configuration(named)
  local path = settings.path(named)
  if not path and not variable "SUREFOOT_PRESET" and not variable "SUREFOOT_BASE_URL" then
    return nil
  end
  local given, problem = settings.given { config = named }
  if not given then
    return nil, problem
  end
  local ok, config = pcall(client_config.resolve, given, settings.without_keys)
  if not ok then
    return nil, (path and path .. ": " or "") .. tostring(config)
  end
  return config
end

--- The offers for a model, the provider's own first.
---@param config table? resolved
---@param model string
---@param yuan_per_dollar number? default: as the source of the prices has it
---@return surefoot.Offer[]
function M.of(config, model, yuan_per_dollar)
  local offers, list, yuan = {}, prices.known(model), prices.yuan
  if list then
    offers[1] = { line = LIST, price = list, is_list = true, source = list.source, date = list.date }
    offers[2] = {
      line = yuan.line, price = list, per_dollar = yuan.per_list_dollar / (yuan_per_dollar or yuan.per_market_dollar),
      note = ("%g yuan for a dollar of the list price"):format(yuan.per_list_dollar), source = yuan.source,
      date = yuan.date,
    }
  end
  for _, endpoint in ipairs(config and config.endpoints or {}) do
    local price = prices.find(config, endpoint, model, endpoint.models.rename[model])
    if price and price ~= list then
      offers[#offers + 1] = { line = endpoint.name, price = price, note = "configured" }
    end
  end
  return offers
end

local function add_once(list, seen, name)
  if name and not seen[name] then
    seen[name], list[#list + 1] = true, name
  end
end

--- The models that a configuration names, or prices; else all whose price is known.
---@param config table? resolved
---@return string[]
function M.models(config)
  local list, seen = {}, {}
  if config then
    add_once(list, seen, config.model)
    for _, fallback in ipairs(config.fallbacks) do
      add_once(list, seen, fallback.model)
    end
    for _, holder in ipairs { config, unpack(config.endpoints) } do
      for _, name in ipairs(type(holder.prices) == "table" and sorted(holder.prices) or {}) do
        add_once(list, seen, name)
      end
    end
  end
  return #list > 0 and list or sorted(prices.builtin)
end

--- What each offer saves against the provider's own price, or else against the dearest.
---@param offers { cost: number, is_list: boolean?, saving: number? }[]
function M.compare(offers)
  local base = offers[1]
  for _, offer in ipairs(offers) do
    if not base.is_list and offer.cost > base.cost then
      base = offer
    end
  end
  for _, offer in ipairs(offers) do
    offer.saving = offer ~= base and base.cost > 0 and 1 - offer.cost / base.cost or nil
  end
end

return M
