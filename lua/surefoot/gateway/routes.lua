--- What a caller's model stands for: routes of the client, by name, by wildcard, and by what the request itself names
--- to fall back on.

local client_config = require "surefoot.config"
local schema = require "surefoot.config.schema"
local sorted = require "surefoot.sorted"

local M = {}

local MOST = 512 -- names that are kept: callers choose them
local MOST_FALLBACKS = 16 -- that a request may name

---@class surefoot.gateway.Routes
---@field private client surefoot.Client
---@field private exact table<string, table>?     nil: every name, as it is
---@field private wild { prefix: string, entries: table }[]  the longest first
---@field private known table<string, table>
---@field private count integer
local Routes = {}
Routes.__index = Routes

--- Makes the routes of a gateway.
---@param client surefoot.Client
---@param models table<string, table | true>? gateway.models, checked
---@return surefoot.gateway.Routes
function M.new(client, models)
  local self = setmetatable({ client = client, exact = models and {} or nil, wild = {}, known = {}, count = 0 }, Routes)
  for name, entries in pairs(models or {}) do
    if name:sub(-1) == "*" then
      self.wild[#self.wild + 1] = { prefix = name:sub(1, -2), entries = entries }
    else
      self.exact[name] = entries
    end
  end
  table.sort(self.wild, function(a, b)
    return #a.prefix > #b.prefix
  end)
  for name in pairs(models or {}) do -- whatever is wrong with an entry shows now
    self:of((name:gsub("%*$", "x")))
  end
  return self
end

-- The entries for a name, and what its wildcard stood for; nil: nobody serves it.
local function entries_of(self, name)
  if not self.exact then
    return true
  elseif self.exact[name] then
    return self.exact[name]
  end
  for _, one in ipairs(self.wild) do
    if name:sub(1, #one.prefix) == one.prefix then
      return one.entries, name:sub(#one.prefix + 1)
    end
  end
end

local function fill(entry, name, rest)
  local model = entry.model or name
  if rest then
    model = model:gsub("%*", (rest:gsub("%%", "%%%%")), 1)
  end
  return { model = model, endpoint = entry.endpoint, request = entry.request }
end

-- The routes of one name: those of its entries; of `true` and of single names the client's own fallbacks come after.
local function resolve(self, name)
  local entries, rest = entries_of(self, name)
  if not entries then
    return nil
  end
  local list = {}
  for i, entry in ipairs(entries == true and { { model = name } } or entries) do
    list[i] = fill(entry, name, rest)
  end
  local ok, options = pcall(client_config.options, { fallbacks = list }, self.client.config)
  if not ok then
    local rest_of_message = tostring(options):match "^fallbacks(.*)" or tostring(options)
    error(("gateway.models[%q]"):format(name) .. rest_of_message, 0)
  end
  local routes = options.fallbacks
  routes.own = #list
  if #list == 1 then
    for _, fallback in ipairs(self.client.config.fallbacks) do
      routes[#routes + 1] = fallback
    end
  end
  return routes
end

--- The routes of a model, in order; nil: it is not served here.
---@param name string
---@return surefoot.Route[]?
function Routes:of(name)
  local routes = self.known[name]
  if routes == nil then
    routes = resolve(self, name) or false
    if self.count >= MOST then
      self.known, self.count = {}, 0
    end
    self.known[name], self.count = routes, self.count + 1
  end
  return routes or nil
end

-- The names in order, each once: plans are kept by their shape, and there are as many as ways to repeat a name.
local function distinct(name, others)
  local names, seen = { name }, { [name] = true }
  for i = 1, math.min(#others, MOST_FALLBACKS) do
    local other = others[i]
    if not seen[other] then
      seen[other], names[#names + 1] = true, other
    end
  end
  return names
end

--- The routes of a model and of those that a request names behind it, in place of the client's own fallbacks. Nil and
--- the name that is not served.
---@param name string
---@param fallbacks string[]
---@return surefoot.Route[]?
---@return string? unknown
---@return string? problem with the fallbacks
function Routes:with(name, fallbacks)
  local all, targets, lines = {}, 0, #self.client.config.endpoints
  for i, one in ipairs(distinct(name, fallbacks)) do
    local routes = self:of(one)
    if not routes then
      return nil, one
    end
    for k = 1, i == 1 and #fallbacks > 0 and routes.own or #routes do
      all[#all + 1] = routes[k]
      targets = targets + (routes[k].endpoint and 1 or lines)
    end
  end
  if targets > schema.max_targets then
    return nil, nil, ("fallbacks: lines x models may be %d, got %d"):format(schema.max_targets, targets)
  end
  return all
end

--- Whether only some names are served.
---@return boolean
function Routes:are_bounded()
  return self.exact ~= nil
end

--- The names that are served, without wildcards; nil: any.
---@return string[]?
function Routes:names()
  if not self.exact then
    return nil
  end
  return sorted(self.exact)
end

return M
