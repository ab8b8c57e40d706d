--- Simulation: the real engine and the real client on a scripted network and a virtual clock. A specification's test
-- double, and a laboratory for policies: nothing waits, everything is repeatable.
--
--   local sim = surefoot.simulate { seed = 1, endpoints = {
--     a = function(n, request, now) return { after = 0.2, text = "Hello" } end,
--     b = function(n, request, now) return { after = 1, status = 503 } end,
--   } }
--   local client = sim:client {}                  -- endpoints default to the scripted ones
--   sim:spawn(function() print(client:chat "Hi") end)
--   sim:run()
--
-- A script gets the number of the request (from 1), the request and the virtual time, and returns what happens: after
-- (seconds until the headers), status (200), headers, and a body: body (a string, or a table to be encoded), text (an
-- answer in the provider's format) or events ({ { at =, data = } }: data is a piece of the stream as it is sent, or,
-- where all of them are tables, JSON objects or "[DONE]", what an event of it says); fault: nil, "hang", "reset" (no
-- answer) or "cut" (half an answer); connect (seconds until connected), fail ("resolve", "connect", "tls"), reused
-- (over a kept connection). A call outside of a task moves the clock until it has settled.

local binding = require "surefoot.binding"
local check = require "surefoot.config.check"
local client = require "surefoot.client"
local config = require "surefoot.config"
local copy = require "surefoot.copy"
local json = require "surefoot.json"
local results = require "surefoot.result"
local schema = require "surefoot.config.schema"
local schedulers = require "surefoot.scheduler"
local scripts = require "surefoot.script"
local tasks = require "surefoot.tasks"

local M = {}

local SECONDS = { type = "seconds", min = 0, none = true }

---@class surefoot.SimulationOptions
---@field seed number?
---@field endpoints table<string, fun(n: integer, request: table, now: number): surefoot.Script>

---@class surefoot.Simulation
---@field private engine table
---@field private scheduler surefoot.Scheduler
---@field private scripts table<string, function>
---@field private counts table<string, integer>
---@field private events integer  moves of the clock, and exchanges that began
local Simulation = {}
local mt = { __index = Simulation, __name = "surefoot.simulation" }

-- What most scripts never look at is made when one does.
local parts = {}

function parts.json(request)
  return request.body and json.decode(request.body)
end

function parts.headers(request)
  return results.headers(request.header_lines)
end

function parts.path(request)
  return request.url:match "^%a+://[^/]*(.*)$"
end

local request_mt = {}
function request_mt.__index(request, key)
  local make = parts[key]
  if make then
    local value = make(request)
    rawset(request, key, value)
    return value
  end
end

-- Gives every exchange that has begun what its script says; true when there was one.
local function serve(self)
  local engine, served = self.engine, false
  local id, name, method, url, headers, body = engine:started()
  while id do
    local count = self.counts[name] + 1
    self.counts[name] = count
    local request = setmetatable({ endpoint = name, method = method, url = url, header_lines = headers, body = body },
      request_mt)
    engine:script(id, scripts.read(self.scripts[name](count, request, engine:now()), request, name, count))
    self.events, served = self.events + 1, true
    id, name, method, url, headers, body = engine:started()
  end
  return served
end

-- Lets virtual time pass: until there is news, at most so long.
local function pass(self, seconds)
  serve(self)
  if self.engine:step() > 0 or serve(self) then
    return
  end
  local moved = self.engine:advance(seconds or math.huge)
  self.events = self.events + (moved and 1 or 0)
  serve(self)
  if not moved and not seconds then
    error("surefoot.simulate: time stands still: nothing is due, and somebody waits", 0)
  end
end

--- Makes a simulation.
---@param options surefoot.SimulationOptions
---@return surefoot.Simulation
function M.new(options)
  if type(options) ~= "table" or type(options.endpoints) ~= "table" then
    error("surefoot.simulate: expected { seed =, endpoints = { [name] = function } }", 3)
  end
  local ok, problem = pcall(check.fields, schema.simulate, options, "")
  if not ok then
    error("surefoot.simulate: " .. problem, 3)
  end
  local self = setmetatable({ engine = binding.simulation(options.seed or 1), scripts = {}, counts = {}, names = {},
    ids = 0, events = 0 }, mt)
  for name, script in pairs(options.endpoints) do
    if type(name) ~= "string" or name == "" or type(script) ~= "function" then
      error("surefoot.simulate: endpoints: expected names with functions", 3)
    end
    self.scripts[name], self.counts[name] = script, 0
    self.names[#self.names + 1] = name
  end
  table.sort(self.names)
  self.scheduler = schedulers.new(self.engine, function(_, seconds)
    pass(self, seconds)
  end)
  self.host = {
    scheduler = function() return self.scheduler end,
    clock = function() return self.engine:now() end,
    new_id = function()
      self.ids = self.ids + 1
      return ("00000000-0000-4000-8000-%012x"):format(self.ids)
    end,
  }
  return self
end

-- The endpoints of a client, by name: what is not said about them does not matter here.
local function endpoints_of(self, given)
  local list = {}
  if #self.names == 0 then
    error("endpoints: the simulation has none: give it some, each a name and a function", 0)
  end
  for i, endpoint in ipairs(given or self.names) do
    local named = type(endpoint) == "table" and endpoint or { name = endpoint }
    if not self.scripts[named.name] then
      error(("endpoints[%d].name: no script for %q; known are %s"):format(i, tostring(named.name),
        table.concat(self.names, ", ")), 0)
    end
    list[i] = copy({ url = "https://simulated.invalid/v1" }, named)
  end
  return list
end

--- Makes a client in the simulation. Its configuration is that of surefoot.new; endpoints are named like the scripts.
---@param given surefoot.Config?
---@return surefoot.Client
function Simulation:client(given)
  local ok, resolved = pcall(function()
    if given ~= nil and type(given) ~= "table" then
      error("expected a table, got " .. check.show(given), 0)
    end
    local whole = copy({ model = "simulated" }, given)
    whole.endpoints = endpoints_of(self, whole.endpoints)
    if whole.shared then
      error("shared: a simulation shares nothing, since its clock is virtual", 0)
    end
    return config.resolve(whole, function() return "simulated-key" end)
  end)
  if not ok then
    error("simulation:client: " .. tostring(resolved), 2)
  end
  return client.new(resolved, self.host)
end

--- Makes a task that begins when the simulation runs.
---@param f function
---@param ... any what f is called with
---@return surefoot.Task
function Simulation:spawn(f, ...)
  if type(f) ~= "function" then
    error("simulation:spawn: expected a function, got a " .. type(f), 2)
  end
  return self.scheduler:spawn(f, ...)
end

--- Runs the tasks: for so many virtual seconds, or until all of them have ended. Rethrows the error of a task that
--- nobody waited for.
---@param seconds number?
function Simulation:run(seconds)
  local scheduler = self.scheduler
  if scheduler.running or tasks.current() then
    error("simulation:run: called inside a task", 2)
  end
  local ok, problem = pcall(check.check, SECONDS, seconds == nil and math.huge or seconds, "seconds")
  if not ok then
    error("simulation:run: " .. problem, 2)
  elseif seconds == math.huge then
    seconds = nil
  end
  scheduler:drive(function() return not seconds and scheduler.alive == 0 end, seconds)
  scheduler:raise_failures()
end

--- The virtual clock, in seconds from 0.
---@return number
function Simulation:now()
  return self.engine:now()
end

return M
