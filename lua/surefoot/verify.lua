--- Is every endpoint there, and is the key good? One small request to each, all at once.

local call = require "surefoot.call"
local errors = require "surefoot.errors"
local loop = require "surefoot.loop"

local M = {}

local PATIENCE = 30 -- seconds for one endpoint

---@class surefoot.Report
---@field ok boolean  every endpoint is
---@field endpoints surefoot.EndpointReport[]

---@class surefoot.EndpointReport
---@field endpoint string
---@field ok boolean
---@field kind surefoot.Kind?  why not
---@field message string?
---@field phases { first_byte: number?, total: number }?  seconds

-- One attempt is enough to know: what would be tried again is final.
local function once(judge)
  return function(...)
    local fields, verdict = judge(...)
    if verdict then
      verdict.class = "final"
    end
    return fields, verdict
  end
end

-- A key that does not look like this provider's, said without showing it.
local function hint(endpoint, err)
  local preset = endpoint.preset
  if err.kind ~= "unauthorized" or not preset or not preset.key_form or type(endpoint.keys) ~= "table" then
    return err.message
  end
  for _, key in ipairs(endpoint.keys) do
    if key:sub(1, #preset.key_form) ~= preset.key_form then
      return ("%s (its keys begin with %s, this one does not)"):format(err.message, preset.key_form)
    end
  end
  return err.message
end

local function whole_success(result)
  return result ~= nil
end

local function any_answer(result, err)
  return result ~= nil or err.status ~= nil
end

local function ask(client, index, is_good)
  local endpoint = client.config.endpoints[index]
  local job = client:models_job(index, { deadline = math.min(PATIENCE, client.config.timeout.total), max_attempts = 1 })
  job.work = { name = job.work.name, encode = job.work.encode, judge = once(job.work.judge) }
  local result, err = call.perform(job)
  local trail = (result or err).attempts or {}
  local last = trail[#trail]
  local ok = is_good(result, err)
  return {
    endpoint = endpoint.name, ok = ok, kind = not ok and err.kind or nil,
    message = not ok and hint(endpoint, err) or nil,
    phases = last and { first_byte = last.first_byte, total = last.latency },
  }
end

local function report(client, is_good)
  local functions = {}
  for i in ipairs(client.config.endpoints) do
    functions[i] = function()
      return ask(client, i, is_good)
    end
  end
  local all = { ok = true, endpoints = {} }
  for i, task in ipairs(loop.together(client.host.scheduler(), functions)) do
    if task.thrown then
      error(errors.is(task.thrown) and task.thrown.cause or task.thrown, 0)
    end
    local entry = task.values[1]
    all.endpoints[i] = entry
    all.ok = all.ok and entry.ok
  end
  return all
end

--- Asks every endpoint for its models.
---@param client table
---@return surefoot.Report
function M.verify(client)
  return report(client, whole_success)
end

--- Opens a connection to every endpoint: any answer will do.
---@param client table
---@return surefoot.Report
function M.warm(client)
  return report(client, any_answer)
end

return M
