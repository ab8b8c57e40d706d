--- Who may serve a call: the routes in order, each over the endpoints that serve its model. C gets the targets; what a
--- variant stands for (format, upstream model, changes to the request) stays here.

local M = {}

local unpack = unpack or table.unpack

local MOST = 256 -- plans that one client keeps: a program may take its models' names from its own users
local MOST_SHAPES = 64 -- of plans in common: it may take lists of fallbacks from them, too

---@class surefoot.Route
---@field model string?     nil: operations without a model
---@field endpoint integer? only there
---@field only integer[]?   only on one of these
---@field request table?    fields of the request to replace

---@class surefoot.Plan
---@field id any            C's plan
---@field targets { route: integer, endpoint: integer, variant: integer, model: string }[]
---@field variants surefoot.Variant[]
---@field routes integer[]  C's route number -> place in the list of routes
---@field nameless boolean? C does not know the models' names
---@field native_counts table<table, integer>? the gateway's: formats -> how many variants are in one of them

local function serves(endpoint, model)
  local models = endpoint.models
  return model == nil or not models.only or models.only[model] or models.rename[model] ~= nil
end

local function leads_to(route, endpoint)
  for _, one in ipairs(route.only or {}) do
    if one == endpoint then
      return true
    end
  end
  return not route.only and (not route.endpoint or route.endpoint == endpoint)
end

local function targets_of(config, routes)
  local targets, variants, places, by_key = {}, {}, {}, {}
  for place, route in ipairs(routes) do
    local number
    for i, endpoint in ipairs(config.endpoints) do
      if leads_to(route, i) and serves(endpoint, route.model) then
        if not number then
          number = #places + 1
          places[number] = place
        end
        local upstream = route.model and (endpoint.models.rename[route.model] or route.model)
        local change = route.request and place or ""
        local key = table.concat({ endpoint.provider, endpoint.traits.key, upstream or "", change }, "\0")
        local variant = by_key[key]
        if not variant then
          variant = #variants + 1
          by_key[key] = variant
          variants[variant] = {
            provider = endpoint.provider, model = upstream, route = place, traits = endpoint.traits,
          }
        end
        targets[#targets + 1] = { route = number, endpoint = i, variant = variant, model = upstream or "" }
      end
    end
  end
  return targets, variants, places
end

local function key_of(routes)
  local parts = {}
  for i, route in ipairs(routes) do
    parts[i] = (route.model or "") .. "\1" .. (route.endpoint or "") .. "\1" .. (route.request and "changed" or "")
      .. (route.only and "\1" .. table.concat(route.only, ",") or "")
  end
  return table.concat(parts, "\2")
end

local function count(map)
  local n = 0
  for _ in pairs(map) do
    n = n + 1
  end
  return n
end

local function shape_of(targets)
  local nameless, parts = {}, {}
  for i, target in ipairs(targets) do
    nameless[i] = { route = target.route, endpoint = target.endpoint, variant = target.variant, model = "" }
    parts[i] = target.route .. "," .. target.endpoint .. "," .. target.variant
  end
  return table.concat(parts, ";"), nameless
end

-- A plan over C's plan that all lists of routes of one shape have in common, whatever their models; they share its
-- rates, too. C keeps its plans: beyond MOST_SHAPES, a list ends early, where its shape is known or only the first
-- route that is served is left. Of single routes there are as many shapes as the configuration allows.
local function common_plan(client, routes)
  local head = { unpack(routes) }
  while true do
    local targets, variants, places = targets_of(client.config, head)
    if #targets == 0 then
      return nil
    end
    local shape, nameless = shape_of(targets)
    local id = client.common_plans[shape]
    if not id and (#places == 1 or count(client.common_plans) < MOST_SHAPES) then
      id = client.core:plan(nameless)
      client.common_plans[shape] = id
    end
    if id then
      return { id = id, targets = targets, variants = variants, routes = places, nameless = true }
    end
    for i = #head, places[#places], -1 do
      head[i] = nil
    end
  end
end

local function new_plan(client, routes)
  local targets, variants, places = targets_of(client.config, routes)
  return #targets > 0 and {
    id = client.core:plan(targets), targets = targets, variants = variants, routes = places,
  }
end

--- What is asked of an endpoint on a route.
---@param plan surefoot.Plan
---@param endpoint integer
---@param route integer C's number
---@return table? variant
function M.variant_on(plan, endpoint, route)
  for _, target in ipairs(plan.targets) do
    if target.endpoint == endpoint and target.route == route then
      return plan.variants[target.variant]
    end
  end
end

--- The plan for a list of routes; made once for each distinct list, as long as they are not very many. Nil: no endpoint
--- serves any of them.
---@param client table
---@param routes surefoot.Route[]
---@return surefoot.Plan?
function M.of(client, routes)
  local key = key_of(routes)
  local plan = client.plans[key]
  if plan == nil and client.plan_count >= MOST then
    return common_plan(client, routes)
  elseif plan == nil then
    plan = new_plan(client, routes)
    client.plans[key], client.plan_count = plan, client.plan_count + 1
  end
  return plan or nil
end

return M
