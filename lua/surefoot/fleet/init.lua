-- A fleet: many clients of the real engine on modelled lines, fed by Poisson arrivals that do not wait for answers. A
-- run comes back as its world: series by the second, counts, clients.
--
-- Everything is derived from the seed. While it runs, each attempt is held to the promises that hold at every moment:
-- nothing is sent after the deadline or after the call has settled, no call makes more attempts than allowed, no client
-- retries more than its budget can have paid for. At the end every call has settled once, and every slot is back.

local copy = require "surefoot.copy"
local random = require "surefoot.fleet.random"
local sorted = require "surefoot.sorted"
local surefoot = require "surefoot"

local M = {}

local World = {}
World.__index = World

---@class surefoot.fleet.Options
---@field seed integer
---@field clients integer
---@field config table | fun(index: integer): table
---@field lines table<string, fun(now: number, call: table, world: table): table>  what a line does with an attempt
---@field tokens (fun(random: table): integer)?  of a call's answer; default 1
---@field arrivals { from: number, rate: number }[]?  calls per second of the whole fleet; the last one ends them
---@field drive fun(world: table)?  instead of arrivals: begins the calls
---@field in_time number?           an answer that comes later than this is none
---@field waiting (fun(now: number): integer)?  calls that wait at the lines, for the series
---@field on_attempt fun(world: table, call: table, line: string, script: table)?
---@field on_settled fun(world: table, call: table, result: table?, err: table?)?

local function series()
  return setmetatable({}, { __index = function() return 0 end })
end

-- ---------------------------------------------------------------------------------------------------------- promises

-- Attempts beyond the first that budgets can have paid for: retries from what it held and earned, from refunds, from
-- the floor; hedges from theirs. What costs nothing has no bound.
local function affordable(client, now)
  local budget, hedge = client.budget, client.hedge
  local least = math.min(budget.transient_cost, budget.throttled_cost)
  local hedges = hedge and hedge.budget * client.requests + hedge.burst or 0
  return (budget.capacity + client.clean) / least + client.repaired + budget.floor_per_second * (now + 1) + 1 + hedges
end

local function promise(holds, what, call)
  if not holds then
    error(("%s (call %d, seed %d)"):format(what, call and call.id or 0, call and call.world.options.seed or 0), 0)
  end
end

local function check_attempt(call, now)
  local client = call.client
  promise(not call.settled, "an attempt after the call had settled", call)
  promise(now < call.deadline, "an attempt after the deadline", call)
  promise(call.attempts <= client.max_attempts, "more attempts than allowed", call)
  promise(not client.budget or client.attempts - client.requests <= affordable(client, now),
    "more retries than the budget can have paid for", call)
end

local function check_end(world)
  promise(world.settled == world.requests, "every call settles once")
  promise(world.sim.engine:in_flight() == 0, "calls in flight after the end")
  promise(world.sim.engine:pending() == 0, "timers that nobody waits for")
  for _, client in ipairs(world.clients) do
    local stats = client.handle:stats()
    promise(stats.in_flight == 0 and stats.queue == 0, "a client that has not let go of a call")
    promise(stats.requests == client.requests, "calls that the client counted")
    promise(stats.attempts >= client.attempts, "attempts that the client did not count")
    promise(not client.budget or stats.retry_budget >= 0 and stats.retry_budget <= client.budget.capacity,
      "the budget's bounds")
    for _, line in pairs(stats.endpoints) do
      promise(line.in_flight == 0, "a slot that was not given back")
    end
  end
end

-- ------------------------------------------------------------------------------------------------------------- calls

local function second_of(now)
  return math.floor(now) + 1
end

local function count(list, at, by)
  list[at] = list[at] + (by or 1)
end

-- What one line does with the attempt that has just arrived, and what is noted of it.
local function script_for(world, name, serve)
  return function(_, request, now)
    local call = world.calls[tonumber(request.body:match "#(%d+)")]
    call.attempts, call.client.attempts = call.attempts + 1, call.client.attempts + 1
    check_attempt(call, now)
    local at = second_of(now)
    count(world.attempts_at, at)
    world.attempts = world.attempts + 1
    local script = serve(now, call, world)
    if world.options.waiting then
      world.waiting_at[at] = math.max(world.waiting_at[at], world.options.waiting(now))
    end
    if world.options.on_attempt then
      world.options.on_attempt(world, call, name, script)
    end
    return script
  end
end

local function settle(world, call, result, err)
  local now, client = world.sim:now(), call.client
  promise(not call.settled, "a call settled twice", call)
  call.settled, world.settled = true, world.settled + 1
  world.calls[call.id] = { id = call.id, world = world, settled = true, client = client, attempts = 0 }
  if result then
    world.successes, world.useful_tokens = world.successes + 1, world.useful_tokens + call.tokens
    if call.attempts == 1 then
      client.clean = client.clean + 1
    else
      client.repaired = client.repaired + 1
    end
    count(world.answered_at, second_of(now))
    if now - call.began <= world.in_time then
      count(world.in_time_at, second_of(call.began))
    end
  else
    world.errors[err.kind] = (world.errors[err.kind] or 0) + 1
  end
  if world.options.on_settled then
    world.options.on_settled(world, call, result, err)
  end
end

--- Makes one call; waits for its end.
---@param index integer of the client
---@return table? result
---@return table? err
function World:call(index)
  local now, client = self.sim:now(), self.clients[index]
  local id = self.requests + 1
  local call = {
    id = id, world = self, client = client, began = now, attempts = 0, tokens = self.draw_tokens(self.sizes),
    deadline = now + client.total,
  }
  self.requests, client.requests, self.calls[id] = id, client.requests + 1, call
  count(self.offered_at, second_of(now))
  local result, err = client.handle:chat {
    messages = { { role = "user", content = "#" .. id } }, max_tokens = call.tokens,
  }
  settle(self, call, result, err)
  return result, err
end

--- Begins a call in a task of its own.
---@param index integer of the client
function World:begin(index)
  self.sim:spawn(self.call, self, index)
end

-- Calls arrive as a Poisson process whose rate changes at given times; each goes to one client, all equally likely.
local function poisson(world)
  local list, draws, n = world.options.arrivals, world.draws, #world.clients
  for i = 1, #list - 1 do
    local rate, now, ends = list[i].rate, list[i].from, list[i + 1].from
    while true do
      now = now + draws:exponential(1 / rate)
      if now >= ends then
        break
      end
      surefoot.sleep(now - world.sim:now())
      world:begin(draws:integer(n))
    end
  end
end

-- -------------------------------------------------------------------------------------------------------------- runs

-- Names the lines, where each of them has policies of its own.
local function spread(config, lines)
  if not config.each_line then
    return config
  end
  local whole = copy(config, { endpoints = {} })
  whole.each_line = nil
  for i, name in ipairs(sorted(lines)) do
    whole.endpoints[i] = copy(config.each_line, { name = name })
  end
  return whole
end

local function new_client(world, index)
  local config = world.options.config
  config = type(config) == "function" and config(index) or config
  local handle = world.sim:client(spread(config, world.options.lines))
  local known = handle.config
  return {
    handle = handle, budget = known.retry.budget or nil, hedge = known.hedge or nil, clean = 0, repaired = 0,
    requests = 0, attempts = 0, max_attempts = known.retry.max_attempts, total = known.timeout.total,
  }
end

local function new_world(options)
  local world = setmetatable({
    options = options, in_time = options.in_time or math.huge, calls = {}, clients = {},
    draws = random.new(options.seed, 0), sizes = random.new(options.seed, 1), luck = random.new(options.seed, 2),
    draw_tokens = options.tokens or function() return 1 end,
    requests = 0, settled = 0, attempts = 0, successes = 0, useful_tokens = 0, errors = {},
    offered_at = series(), attempts_at = series(), answered_at = series(), in_time_at = series(),
    waiting_at = series(),
  }, World)
  local scripts = {}
  for name, serve in pairs(options.lines) do
    scripts[name] = script_for(world, name, serve)
  end
  world.sim = surefoot.simulate { seed = options.seed, endpoints = scripts }
  for index = 1, options.clients do
    world.clients[index] = new_client(world, index)
  end
  return world
end

--- Runs a fleet until its last call has settled.
---@param options surefoot.fleet.Options
---@return table world the observation
function M.run(options)
  local world = new_world(options)
  local began = os.clock()
  world.sim:spawn(options.drive or poisson, world)
  world.sim:run()
  world.cpu = os.clock() - began
  check_end(world)
  return world
end

-- ---------------------------------------------------------------------------------------------------- looking at runs

--- Seconds from `after` until calls are answered in time again, and stay so: the end of the last window in which less
--- than `share` of the calls that arrived was.
---@param world table
---@param after number      end of the trigger
---@param horizon number    calls that arrived later are not looked at
---@param options { from: number, window: integer, share: number }
---@return number seconds 0: never worse; math.huge: not within the horizon
function M.recovery(world, after, horizon, options)
  local bad_until = after
  for from = options.from, horizon - options.window, options.window do
    local offered, good = 0, 0
    for at = from + 1, from + options.window do
      offered, good = offered + world.offered_at[at], good + world.in_time_at[at]
    end
    if offered > 0 and good < options.share * offered then
      bad_until = math.max(after, from + options.window)
    end
  end
  return bad_until >= horizon - options.window and math.huge or bad_until - after
end

--- A series as a list.
---@param list table
---@param seconds integer
---@return number[]
function M.list(list, seconds)
  local values = {}
  for at = 1, seconds do
    values[at] = list[at]
  end
  return values
end

return M
