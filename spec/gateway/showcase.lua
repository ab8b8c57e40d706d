-- Status documents as a gateway gives them, for a page to show: made by the gateway's own code of numbers that are told
-- here, so that a page and a gateway cannot drift apart.

local status = require "surefoot.gateway.status"
local worlds = require "spec.gateway.world"

local M = {}

-- Numbers that are the same on every Lua, as math.random's are not: Park and Miller's, from 0 up to 1.
local state
local function random()
  state = state * 16807 % 2147483647
  return (state - 1) / 2147483646
end

-- A number from a normal distribution.
local function normal()
  return math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())
end

local function key(name, numbers)
  return { name = name, numbers = function()
    local copy = {}
    for field, value in pairs(numbers) do
      copy[field] = value
    end
    return copy
  end }
end

local END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,'
  .. '"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'

-- A line that streams: seconds until the end, how they vary, and the statuses that it fails with.
local function script(middle, width, failing)
  return function(n)
    local status_now = failing(n)
    if status_now then
      return { after = 0.2, status = status_now }
    end
    local seconds = middle * math.exp(normal() * width)
    local written = 20 + math.floor(random() * 381)
    return { after = 0.05, headers = { ["content-type"] = "text/event-stream" }, events = {
      { at = seconds * 0.3, data = 'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n' },
      { at = seconds, data = END:format(written * 9, written, written * 10) },
    } }
  end
end

local function never()
  return nil
end

local NAMES = { "assistant", "search", "nightly-batch" }

-- A request of a caller, as the gateway's serving would have it.
local function ask(worker)
  worker.gateway.tally:began()
  worker.lab.sim:spawn(function()
    local began, dice = worker.lab.sim:now(), random()
    local name = NAMES[1 + math.floor(random() * 3)]
    local ended = { operation = "chat", model = "m", key = name, stream = true, attempts = 1 }
    if dice < 0.015 then
      ended.status, ended.kind, ended.seconds = 401, "unauthorized", 0
    elseif dice < 0.03 then
      ended.status, ended.kind, ended.seconds = 499, "cancelled", 0.4
    else
      local stream, err = worker.lab.client:stream "Hi"
      local result
      if stream then
        result, err = stream:result()
      end
      ended.status, ended.kind = result and 200 or err.status == 429 and 429 or 502, err and err.kind
      ended.endpoint, ended.attempts = (result or err).endpoint, #(result or err).attempts
      if result then
        ended.first_token, ended.cost = result.time_to_first_token, result.cost
        ended.input_tokens, ended.output_tokens = result.usage.input_tokens, result.usage.output_tokens
      end
      ended.seconds = worker.lab.sim:now() - began
    end
    worker.gateway.tally:ended(ended)
  end)
end

local function minutes(world, worker, count, per_slot)
  for slot = 1, count * 12 do
    world.now = world.now + 5
    for _ = 1, math.floor(per_slot * (1 + 0.5 * math.sin(slot / 6)) + random() * 4) do
      ask(worker)
      worker.lab:pass(5 / (per_slot * 2))
    end
    worker.lab:pass(1)
    worker:publish()
  end
  worker.lab:pass(400)
end

local PLACES = {
  ["hong-kong"] = { "api-hk.example.com", 9 }, singapore = { "api-sg.example.com", 4 },
  frankfurt = { "api-eu.example.com", 0 },
}

---A gateway that is busy: three lines, one of them shut off.
---@return table document
function M.busy()
  state = 3
  local world = worlds.new()
  local keys = { list = {
    key("assistant", { in_flight = 7, concurrency = 40, spent = 41.27, limit = 100, resets_in = 5400 }),
    key("search", { in_flight = 4, concurrency = 5, spent = 8.9, limit = 10, resets_in = 5400 }),
    key("nightly-batch", { in_flight = 2, spent = 25.1, limit = 25, resets_in = 777600 }),
    key("staging", { in_flight = 0, concurrency = 2 }),
  } }
  local config = {
    routing = "round_robin", prices = { simulated = { input = 3, output = 15 } }, retry = { max_attempts = 2 },
    breaker = { recovery_timeout = 900, max_recovery_timeout = 900, failure_threshold = 3 },
  }
  local lines = {
    ["hong-kong"] = script(1.1, 0.35, function(n) return n % 47 == 0 and 503 or nil end),
    singapore = script(1.9, 0.5, function(n) return n % 23 == 0 and 429 or nil end),
    frankfurt = script(1.4, 0.4, function(n) return n > 40 and 500 or nil end),
  }
  local worker = world:worker { lines = lines, keys = keys, config = config }
  worker:publish()
  minutes(world, worker, 8, 8)
  world.now = world.now + 3 * 86400 + 4 * 3600 - 13 * 60
  minutes(world, worker, 5, 8)
  local document = status.document(worker.gateway)
  document.workers, document.requests.in_flight = 4, 13
  for _, line in ipairs(document.lines) do
    local place = PLACES[line.name]
    line.address, line.in_flight, line.limit = place[1], place[2], 20
    line.breaker_seconds_left = line.breaker_seconds_left and 41
  end
  return document
end

---A gateway that nobody has asked yet.
---@return table document
function M.fresh()
  return status.document(worlds.new():worker { lines = { a = {}, b = {} } }.gateway)
end

---Names and numbers at the edge of what can be: markup in names, long ones, hundreds of keys, nothing that fits.
---@return table document
function M.harsh()
  state = 4
  local world = worlds.new()
  local evil = '<img src=x onerror="document.title=1">'
  local list = { key(evil, { in_flight = 99999, concurrency = 3, spent = 1e6, limit = 1e-6 }) }
  for i = 2, 300 do
    list[i] = key(("key-%d-"):format(i) .. ("x"):rep(i % 90), { in_flight = 0 })
  end
  local lines = { [evil] = script(1e-3, 0.1, never), [("very-long-name"):rep(8)] = script(200, 0.1, never) }
  local worker = world:worker { lines = lines, keys = { list = list }, config = { routing = "round_robin" } }
  for _ = 1, 4 do
    ask(worker)
    worker.lab:pass(1000)
    worker:ended { key = evil, operation = evil, status = 200, seconds = 500, input_tokens = 1e12, cost = 1e6 }
  end
  return status.document(worker.gateway)
end

return M
