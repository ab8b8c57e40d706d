--- The functions that give keys: each is asked before a call that its line may serve.
--
-- One that gives no key, or throws, puts its line aside for that call: the line stands in the trail as an attempt that
-- was not sent, and the others are asked. The call fails only where no line is left. What functions gave is kept out of
-- all texts as long as an answer may still repeat it.

local check = require "surefoot.config.check"
local errors = require "surefoot.errors"
local providers = require "surefoot.provider"
local tasks = require "surefoot.tasks"

local M = {}

local PAST_KEYS = 16 -- that functions gave, beside the current ones
local WHAT = "the function of api_key"

local function place_of(list, value)
  for place, known in pairs(list) do
    if known == value then
      return place
    end
  end
end

local function remember(client, key)
  local secrets, past = client.secrets, client.past_keys
  if place_of(secrets, key) then
    return
  end
  secrets[#secrets + 1], past[#past + 1] = key, key
  if #past > PAST_KEYS + #client.config.endpoints then
    local place = 1
    while place_of(client.current_keys, past[place]) do
      place = place + 1
    end
    table.remove(secrets, place_of(secrets, table.remove(past, place)))
  end
end

-- What a function threw or gave as its reason, in words.
local function in_words(problem)
  if type(problem) == "table" and not (getmetatable(problem) or {}).__tostring then
    return "a table"
  end
  local ok, text = pcall(tostring, problem)
  return ok and text or "a " .. type(problem)
end

-- The key, or nil and why there is none.
local function ask(f)
  local ok, key, reason = tasks.guarded(f)
  if not ok then
    return nil, WHAT .. " threw: " .. in_words(key)
  elseif key == nil and reason ~= nil then
    return nil, WHAT .. ": " .. in_words(reason)
  end
  local good, problem = pcall(check.key_string, key, WHAT)
  return good and key or nil, problem
end

local function use(client, index, key)
  if client.current_keys[index] ~= key then
    client.current_keys[index] = key
    remember(client, key)
    client.core:set_key(index, 1, providers.formats[client.config.endpoints[index].provider].auth(key))
  end
end

-- The lines of a plan whose keys come from functions: their places, in order, and a target of each.
local function lines_of(client, plan)
  if not plan.key_lines then
    local first, lines = {}, {}
    for _, target in ipairs(plan.targets) do
      first[target.endpoint] = first[target.endpoint] or target
    end
    for i, endpoint in ipairs(client.config.endpoints) do
      if first[i] and type(endpoint.keys) == "function" then
        lines[#lines + 1] = first[i]
      end
    end
    plan.key_lines = lines
  end
  return plan.key_lines
end

local function is_served_without(plan, places)
  for _, target in ipairs(plan.targets) do
    if not places[target.endpoint] then
      return true
    end
  end
  return false
end

local function failure(trail)
  local first, messages = trail[1], {}
  for i, attempt in ipairs(trail) do
    messages[i] = #trail > 1 and attempt.endpoint .. ": " .. attempt.message or attempt.message
  end
  return errors.new {
    kind = "unauthorized", message = table.concat(messages, "; "), endpoint = first.endpoint, sent = false,
    attempts = trail,
  }
end

--- Asks the functions that give the keys of a job's lines; they may wait. What is put aside stands in job.aside.
---@async
---@param job surefoot.Job
---@param now fun(): number
---@param is_over fun(): boolean  nobody wants an answer any more
---@return true?
---@return surefoot.Error? err no line is left
function M.refresh(job, now, is_over)
  local client, began = job.client, now()
  local trail, places, without = {}, {}, {}
  job.aside, job.without = nil, nil
  for _, target in ipairs(lines_of(client, job.plan)) do
    local index, asked = target.endpoint, now()
    local endpoint = client.config.endpoints[index]
    local key, problem = ask(endpoint.keys)
    if is_over() then
      return true
    elseif key then
      use(client, index, key)
    else
      trail[#trail + 1] = {
        endpoint = endpoint.name, model = job.plan.variants[target.variant].model, route = target.route, key = 1,
        kind = "unauthorized", message = client.scrub(problem), waited = asked - began, latency = now() - asked,
        hedge = false, reused = false, sent = false,
      }
      places[index], without[#without + 1] = true, index
    end
  end
  if #trail == 0 then
    return true
  elseif not is_served_without(job.plan, places) then
    return nil, failure(trail)
  end
  job.aside, job.without = trail, without
  return true
end

return M
