-- Workers of a gateway without nginx: a dictionary that they share, a clock, processes that can be killed.
--
--   local world = worlds.new()
--   local worker = world:worker { lines = { a = { text = "x" } } }    -- .gateway, .lab
--   worker:ended { model = "m" }      world:kill(worker)      world.now = world.now + 5

local metrics = require "surefoot.gateway.metrics"
local sim = require "spec.support.sim"
local tally = require "surefoot.gateway.tally"

local M = {}

-- ------------------------------------------------------------------------------------------------------- dictionary

-- As an ngx.shared.DICT: strings and numbers only, full at `capacity` bytes, locks that expire. `fuse`: the operation
-- at which its user dies; `meanwhile`: what others do before each operation.
local Dict = {}
Dict.__index = Dict

local function used(dict)
  local bytes = 0
  for _, value in pairs(dict.values) do
    bytes = bytes + #tostring(value)
  end
  return bytes
end

local function step(dict)
  local meanwhile = dict.meanwhile
  if meanwhile then
    dict.meanwhile = nil
    meanwhile()
    dict.meanwhile = dict.again and meanwhile
  end
  if dict.fuse then
    dict.fuse = dict.fuse - 1
    if dict.fuse < 0 then
      dict.fuse = nil
      error({ "killed" }, 0)
    end
  end
end

local function live(dict, name)
  local until_ = dict.expires[name]
  if until_ and until_ <= dict.world.now then
    dict.values[name], dict.expires[name] = nil, nil
  end
  return dict.values[name]
end

function Dict:get(name)
  step(self)
  return live(self, name)
end

function Dict:safe_set(name, value)
  step(self)
  assert(type(value) == "string" or type(value) == "number")
  local before = self.values[name]
  self.values[name] = value
  if used(self) > self.capacity then
    self.values[name] = before
    return nil, "no memory"
  end
  return true
end

function Dict:safe_add(name, value, seconds)
  if live(self, name) ~= nil then
    step(self)
    return nil, "exists"
  end
  self.expires[name] = seconds and self.world.now + seconds
  return self:safe_set(name, value)
end

function Dict:delete(name)
  step(self)
  self.values[name], self.expires[name] = nil, nil
end

function Dict:get_keys(most)
  step(self)
  assert(most == 0)
  local names = {}
  for name in pairs(self.values) do
    names[#names + 1] = name
  end
  return names
end

-- ------------------------------------------------------------------------------------------------------------- world

local World = {}
World.__index = World

---@return table world { now, dict, alive }
function M.new()
  local world = setmetatable({ now = 1700000000, alive = {}, pids = 100 }, World)
  world.dict = setmetatable({ values = {}, expires = {}, capacity = 2 ^ 24, world = world }, Dict)
  function world.started(pid)
    if world.blind then
      return nil
    end
    return world.alive[pid] or false
  end
  function world.clock()
    return world.now
  end
  return world
end

---A process.
---@return integer pid
function World:process()
  self.pids = self.pids + 1
  self.alive[self.pids] = "t" .. self.pids
  return self.pids
end

local Worker = {}
Worker.__index = Worker

---A worker with a client on simulated lines.
---@param options? { lines: table, config: table, keys: table }
function World:worker(options)
  options = options or {}
  local lab = sim.lab(options.lines or { a = { text = "x" } }, options.config)
  local worker = setmetatable({ lab = lab, pid = self:process(), complaints = {}, exiting = false }, Worker)
  worker.gateway = {
    client = lab.client, tally = tally.new { now = self.clock }, keys = options.keys, started_at = self.now,
  }
  metrics.attach(worker.gateway, {
    dict = self.dict, pid = worker.pid, now = self.clock, started = self.started, prefix = "",
    exiting = function() return worker.exiting end,
    log = function(...) worker.complaints[#worker.complaints + 1] = table.concat { ... } end,
  })
  return worker
end

---It is gone, without a word.
function World:kill(worker)
  self.alive[worker.pid] = nil
end

---A request of a caller, from its beginning to its end.
---@param ended? table what differs from a chat that was answered
function Worker:ended(ended)
  local fields = { operation = "chat", model = "m", status = 200, endpoint = "a", stream = false, seconds = 0.5,
    input_tokens = 100, output_tokens = 10, cost = 0.001, attempts = 1 }
  for name, value in pairs(ended or {}) do
    if value == false and name ~= "stream" then
      value = nil
    end
    fields[name] = value
  end
  self.gateway.tally:began()
  self.gateway.tally:ended(fields)
end

---A call of the client, to its end.
function Worker:call(seconds)
  self.lab:start()
  self.lab:pass(seconds or 10)
end

function Worker:publish()
  return metrics.publish(self.gateway)
end

return M
