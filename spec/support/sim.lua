-- A laboratory on the simulated network: scripted lines, one client, and a log of everything that was sent.
--
--   local lab = sim.lab({ a = { { status = 500 }, { text = "ok" } } }, { retry = { max_attempts = 2 } })
--   lab.client:chat "Hi"
--   lab:sent()  --> "a 0, a 0.5"
--
-- A line is one script, a list of them (the last one goes on for ever) or a function. Unless the configuration says
-- otherwise lines are asked in the order of their names, and backoff has no jitter. sim.settled, run after each spec,
-- holds every laboratory to what must be true when nobody calls any more.
local assert = require "luassert"
local surefoot = require "surefoot"

local M = {}

local labs = {}
local Lab = {}
Lab.__index = Lab

local function script_of(line)
  if type(line) == "function" then
    return line
  end
  local list = line[1] and line or { line }
  return function(n)
    return list[n] or list[#list]
  end
end

local function merged(defaults, given)
  local copy = {}
  for key, value in pairs(defaults) do
    copy[key] = value
  end
  for key, value in pairs(given or {}) do
    copy[key] = value
  end
  return copy
end

--- Makes a laboratory.
---@param lines table<string, table | function>
---@param config table?
---@param seed number?
function M.lab(lines, config, seed)
  local lab = setmetatable({ log = {} }, Lab)
  local scripts = {}
  for name, line in pairs(lines) do
    local script = script_of(line)
    scripts[name] = function(n, request, now)
      lab.log[#lab.log + 1] = { line = name, at = now, request = request }
      return script(n, request, now)
    end
  end
  lab.sim = surefoot.simulate { seed = seed or 1, endpoints = scripts }
  lab.client = lab:another(config)
  labs[#labs + 1] = lab
  return lab
end

--- One more client on the same lines.
function Lab:another(config)
  config = merged({ routing = "priority" }, config)
  config.retry = merged({ jitter = "none" }, config.retry)
  self.clients = self.clients or {}
  self.clients[#self.clients + 1] = self.sim:client(config)
  return self.clients[#self.clients]
end

--- A time as people write it.
function M.time(seconds)
  return (("%.6f"):format(seconds):gsub("%.?0+$", ""))
end

--- What was sent, and when: "a 0, b 0.1".
function Lab:sent()
  local words = {}
  for i, entry in ipairs(self.log) do
    words[i] = entry.line .. " " .. M.time(entry.at)
  end
  return table.concat(words, ", ")
end

--- The kinds of a trail: "a server, b ok".
function M.trail(outcome)
  local words = {}
  for i, attempt in ipairs(outcome.attempts) do
    words[i] = attempt.endpoint .. " " .. attempt.kind
  end
  return table.concat(words, ", ")
end

--- A call, made in a task of its own; what became of it and when is in the table that comes back.
function Lab:start(options, request, client)
  local outcome = { began = self.sim:now() }
  outcome.task = self.sim:spawn(function()
    outcome.result, outcome.err = (client or self.client):chat(request or "Hi", options)
    outcome.at = self.sim:now()
    outcome.times = (outcome.times or 0) + 1
  end)
  return outcome
end

--- So many virtual seconds pass.
function Lab:pass(seconds)
  self.sim:run(seconds)
end

function Lab:balance()
  return self.client:stats().retry_budget
end

function Lab:line(name)
  return self.client:stats().endpoints[name]
end

local function check(client)
  local stats = client:stats()
  assert.equal(0, stats.in_flight, "calls in flight")
  assert.equal(0, stats.queue, "calls in the queue")
  local failed = 0
  for _, count in pairs(stats.errors) do
    failed = failed + count
  end
  assert.equal(stats.requests, stats.successes + failed, "every call settles once")
  local attempts = 0
  for name, line in pairs(stats.endpoints) do
    assert.equal(0, line.in_flight, "attempts in flight on " .. name)
    attempts = attempts + line.attempts
  end
  assert.equal(stats.attempts, attempts, "attempts of the lines")
end

--- Nothing is left of any laboratory: give it to after_each.
function M.settled()
  local made = labs
  labs = {}
  for _, lab in ipairs(made) do
    assert.equal(0, lab.sim.engine:in_flight(), "calls in flight in the engine")
    assert.equal(0, lab.sim.engine:pending(), "timers that nobody waits for")
    for _, client in ipairs(lab.clients) do
      check(client)
    end
  end
end

return M
