--- Who may serve a call: the routes in order, each over the endpoints that serve its model. C gets the targets; what a
--- variant stands for (format, upstream model, changes to the request) stays here.

local M = {}

---@class surefoot.Route
---@field model string?     nil: operations without a model
---@field endpoint integer? only there
---@field request table?    fields of the request to replace

---@class surefoot.Plan
---@field id any            C's plan
---@field targets { route: integer, endpoint: integer, variant: integer, model: string }[]
---@field variants { provider: string, model: string?, route: integer }[]
---@field routes integer[]  C's route number -> place in the list of routes

local function serves(endpoint, model)
  local models = endpoint.models
  return model == nil or not models.only or models.only[model] or models.rename[model] ~= nil
end

local function targets_of(config, routes)
  local targets, variants, places, by_key = {}, {}, {}, {}
  for place, route in ipairs(routes) do
    local number
    for i, endpoint in ipairs(config.endpoints) do
      if (not route.endpoint or route.endpoint == i) and serves(endpoint, route.model) then
        if not number then
          number = #places + 1
          places[number] = place
        end
        local upstream = route.model and (endpoint.models.rename[route.model] or route.model)
        local key = endpoint.provider .. "\0" .. (upstream or "") .. "\0" .. (route.request and place or "")
        local variant = by_key[key]
        if not variant then
          variant = #variants + 1
          by_key[key] = variant
          variants[variant] = { provider = endpoint.provider, model = upstream, route = place }
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
  end
  return table.concat(parts, "\2")
end

--- The plan for a list of routes; made once for each distinct list. Nil: no endpoint serves any of them.
---@param client table
---@param routes surefoot.Route[]
---@return surefoot.Plan?
function M.of(client, routes)
  local key = key_of(routes)
  local plan = client.plans[key]
  if plan == nil then
    local targets, variants, places = targets_of(client.config, routes)
    plan = #targets > 0 and {
      id = client.core:plan(targets), targets = targets, variants = variants, routes = places,
    }
    client.plans[key] = plan
  end
  return plan or nil
end

return M
