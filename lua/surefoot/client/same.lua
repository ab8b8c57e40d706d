--- Which calls ask the same, so that one answer will do: operation, request, routes, headers, idempotency key,
-- priority, timeouts of phases and hedging are the same.
--
-- A request is compared as JSON with its keys in order: what is sent follows from that, on every line. A call is its
-- own with `coalesce = false`, and where functions of the caller's take part in it: `validate`, `on_event`. So are
-- streams, and answers that go into files.

local json = require "surefoot.json"

local M = {}

local may_share = {}

function may_share.chat(job, config)
  local request = job.request
  return config.chat and (config.sampled or request.temperature == 0 or type(request.seed) == "number")
end

function may_share.embeddings(_, config)
  return config.embeddings
end

function may_share.models(_, config)
  return config.get
end

function may_share.request(job, config)
  return config.get and job.method == "GET" and not job.upload and not job.output
end

local function shares(job)
  local options = job.options
  local config = options.coalesce
  if config == nil then
    config = job.client.config.coalesce
  end
  if not config or options.validate or options.on_event or job.work.streams then
    return false
  end
  local may = may_share[job.work.name]
  return may ~= nil and may(job, config)
end

-- A table of names and plain values, or of tables of such, as text.
local function flat(t)
  local lines = {}
  for name, value in pairs(t or {}) do
    lines[#lines + 1] = name .. "=" .. (type(value) == "table" and flat(value) or tostring(value))
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

--- What the job has in common with those that ask the same; nil where it must have an attempt of its own.
---@param job surefoot.Job
---@return string? key
function M.key(job)
  local options, work = job.options, job.work
  if not shares(job) then
    return nil
  end
  local document = work.name == "request" and (job.body or "") or job.request == nil and "" or json.encode(job.request)
  if not document then
    return nil
  end
  local parts = {
    work.name, tostring(job.plan.id), job.method, job.path, job.headers, document, options.idempotency_key or "",
    flat { headers = options.headers, timeout = job.timeout, hedge = options.hedge, priority = options.priority,
      max_attempts = options.max_attempts },
  }
  for _, route in ipairs(job.routes) do
    local changes = route.request and json.encode(route.request) or not route.request and ""
    if not changes then
      return nil
    end
    parts[#parts + 1] = (route.model or "") .. "\n" .. (route.endpoint or "")
    parts[#parts + 1] = changes
  end
  for i, part in ipairs(parts) do
    parts[i] = #part .. ":" .. part
  end
  return table.concat(parts)
end

return M
