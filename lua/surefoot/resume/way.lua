--- Who may go on with a stream that broke off, and in what way: by taking up what was shown, or from the beginning.
--
-- Both ways lead over the routes and lines of the call that broke off: the model that was answering first, and of each
-- model the lines that have not broken off before those that have. Anew is asked only the model that was answering:
-- another one would hardly say the same.

local common = require "surefoot.provider.common"
local copy = require "surefoot.copy"
local prefill = require "surefoot.provider.prefill"
local providers = require "surefoot.provider"

local M = {}

---@class surefoot.Breakage
---@field mode "continue" | "restart" | "auto"
---@field told string                     what was shown, without white space at its end
---@field refused boolean?                it was not taken up
---@field place integer                   the route that was answering
---@field broken table<integer, true>     endpoints whose streams broke off

local function changed(route, request)
  return route.request and common.changed(request, nil, route.request) or request
end

-- Places of routes in the order in which they are to be asked, and of each the endpoints that have not broken off, and
-- those that have.
local function group(job, breakage, wanted)
  local plan, groups, order = job.plan, {}, {}
  for _, target in ipairs(plan.targets) do
    local place = plan.routes[target.route]
    if wanted(place, plan.variants[target.variant]) then
      if not groups[place] then
        groups[place] = { {}, {} }
        table.insert(order, place == breakage.place and 1 or #order + 1, place)
      end
      table.insert(groups[place][breakage.broken[target.endpoint] and 2 or 1], target.endpoint)
    end
  end
  return order, groups
end

-- The routes that lead to certain targets of the job's, and whether all their lines have broken off.
local function routes_to(job, breakage, wanted)
  local order, groups = group(job, breakage, wanted)
  local routes, all_broken = {}, true
  for _, place in ipairs(order) do
    local route = job.routes[place]
    for i, endpoints in ipairs(groups[place]) do
      if #endpoints > 0 then
        all_broken = all_broken and i == 2
        routes[#routes + 1] = { model = route.model, request = route.request, place = place, only = endpoints }
      end
    end
  end
  return routes, all_broken
end

--- The way to go on.
---@param job surefoot.Job the first of the call
---@param breakage surefoot.Breakage
---@return "continue" | "restart" | nil how
---@return surefoot.Route[] | string routes_or_why
---@return boolean? all_broken every line on them has broken off
function M.choose(job, breakage)
  local can_continue = breakage.told ~= "" -- else there is nothing to tell
  if can_continue and breakage.mode ~= "restart" and not breakage.refused then
    local routes, all_broken = routes_to(job, breakage, function(place, variant)
      return prefill.takes_up(changed(job.routes[place], job.request), variant)
    end)
    if #routes > 0 then
      return "continue", routes, all_broken
    end
  end
  if can_continue and breakage.mode == "continue" then
    return nil, "no line is known to take up an answer to this request"
  end
  return "restart", routes_to(job, breakage, function(place)
    return place == breakage.place
  end)
end

--- The work of requests that tell what was shown.
---@param work surefoot.Work of the requests that do not
---@param text string without white space at its end
---@return surefoot.Work
function M.telling(work, text)
  local own = copy(work)
  function own.encode(job, variant)
    local request = prefill.request(changed(job.routes[variant.route], job.request), text, variant)
    local operation = providers.formats[variant.provider].operations[work.name]
    local method, path, headers, body = operation.encode(request, variant, job.client.codec, nil, true)
    if not method then
      return nil, path
    end
    return method, prefill.path(path, variant), headers, body
  end
  return own
end

return M
