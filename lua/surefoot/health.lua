--- Endpoints that are unwell or idle are asked in the background how they are, so that no call has to find out.
--
-- A probe is one small request, for the list of models or for `health.path`, to one endpoint: an ordinary call of low
-- priority and a single attempt, whose outcome the breaker and the routing hear of like any other's. It goes to
--   an endpoint whose circuit is half-open, as soon as it is, and until it is closed;
--   one that has been without traffic for `interval`, give or take a tenth; after a probe that failed, rather sooner.
-- There is one probe at a time for an endpoint, and none where somebody else's attempt is under way. Nobody waits for
-- a probe: it goes on whenever the engine turns, from the first call of the client on, and keeps no loop from ending.
-- It ends with client:close(), and when the client is collected.
--
-- The user's numbers know nothing of probes; they have their own in stats().endpoints[name].probes. An answer that is
-- well is refused in the class `again` ("the line is well, the answer will not do"): so the line is well, and there is
-- no success of which the user's latencies and the retry budget would hear. Where api_key is a function, a probe takes
-- the key that it gave last.

local bounds = require "surefoot.client.bounds"
local call = require "surefoot.call"
local copy = require "surefoot.copy"
local plans = require "surefoot.client.plan"
local providers = require "surefoot.provider"
local stats = require "surefoot.client.stats"
local submit = require "surefoot.submit"

local M = {}

local SPREAD = 0.1 -- of an interval, to either side
local TICK = 0.001 -- seconds: the least time between two looks, and what is as good as due
local PATIENCE = 2 -- times its timeout: what a probe may take with its waiting for a slot and for rate

-- Kinds that say that the line itself is unwell.
local UNWELL = {
  overloaded = true, server = true, timeout = true, network = true, tls = true, truncated = true, malformed = true,
}

---@class surefoot.Health
---@field interval number?
---@field timeout number?
---@field path string?

---@class surefoot.Config
---@field health boolean | surefoot.Health | nil

---@class surefoot.Probes
---@field requests integer
---@field successes integer
---@field errors table<surefoot.Kind, integer>
---@field in_flight integer
---@field last_error string?  nil: the last one was answered

---@class surefoot.EndpointStats
---@field probes surefoot.Probes?  with `health`

-- ----------------------------------------------------------------------------------------------------- the probes

local function encode(job)
  return job.method, job.path, job.headers
end

-- Any 2xx at the path that was named.
local function judge_page(job, reply, variant)
  if reply.status >= 200 and reply.status < 300 then
    return {}
  end
  return nil, providers.formats[variant.provider].judge(reply, (job.client.codec.decode(reply.body)))
end

-- See the head of this file.
local function unaccepted(judge)
  return function(job, reply, variant)
    local fields, verdict = judge(job, reply, variant)
    if fields then
      job.is_well = true
      verdict = { class = "again", kind = "rejected", message = "it is well" }
    end
    return nil, verdict
  end
end

local function job_of(client, index)
  local config, endpoint = client.config.health, client.config.endpoints[index]
  local options = {
    max_attempts = 1, priority = "low", hedge = false, estimate = 0,
    timeout = { attempt = math.min(config.timeout, endpoint.timeout.attempt) },
  }
  if not config.path then
    local job = client:models_job(index, options)
    job.work = { name = job.work.name, encode = job.work.encode, judge = unaccepted(job.work.judge) }
    return job
  end
  local routes = { { endpoint = index } }
  return {
    client = client, options = options, plan = plans.of(client, routes), routes = routes, method = "GET",
    path = config.path, headers = "accept: application/json\n", estimate = 0, timeout = bounds.timeout(options),
    work = { name = "probe", encode = encode, judge = unaccepted(judge_page) },
  }
end

-- ---------------------------------------------------------------------------------------------------- one endpoint

-- To the scheduler it is the waiter of its probe's news.
---@class surefoot.Prober
---@field private owner surefoot.Watch
---@field private index integer
---@field private seen integer        attempts on the endpoint that are known
---@field private due number          when it is to be probed, if nobody asks it before
---@field private is_held boolean?    half-open it is not probed before that either
---@field private job surefoot.Job?   the probe that is out
---@field private numbers table       of the probes: what is to be taken from the endpoint's
---@field private probes surefoot.Probes
local Prober = {}
Prober.__index = Prober

-- Spread evenly, without a draw of the user's random numbers; in a simulation the ids count, so it repeats itself.
local function spread(seconds, id)
  local fraction = tonumber(id:sub(-6), 16) * 0.6180339887 % 1
  return seconds * (1 + SPREAD * (2 * fraction - 1))
end

function Prober:rest(seconds, now)
  self.due = now + spread(seconds, self.owner.client.host.new_id())
end

local function send(prober, now)
  local owner, client = prober.owner, prober.owner.client
  local job = job_of(client, prober.index)
  job.deadline, job.is_probe = PATIENCE * job.timeout.attempt, true
  local ok, problem = submit.start(job)
  if not ok then
    prober.probes.last_error = tostring(problem)
    return prober:rest(owner.config.interval, now)
  end
  prober.job = job
  prober.probes.requests, prober.probes.in_flight = prober.probes.requests + 1, 1
  owner.numbers.requests, owner.numbers.in_flight = owner.numbers.requests - 1, owner.numbers.in_flight - 1
  job.scheduler.background[job.id] = prober
end

--- Sends a probe when it is time.
---@param numbers surefoot.EndpointStats as the core has them
---@param now number
---@return number due when to look again
function Prober:look(numbers, now)
  if self.job then
    return math.huge -- its end is news
  elseif numbers.attempts ~= self.seen or numbers.in_flight > 0 then
    self.seen, self.is_held = numbers.attempts, nil
    self:rest(self.owner.config.interval, now)
  end
  local due = self.due
  if numbers.breaker == "open" then
    self.is_held = nil
    return now + numbers.breaker_seconds_left
  elseif numbers.in_flight > 0 then
    return math.huge
  elseif numbers.breaker == "half_open" and not self.is_held then
    due = now
  end
  if due <= now + TICK then
    send(self, now)
    due = self.job and math.huge or self.due
  end
  return due
end

-- Takes the probe out of the user's numbers, and puts it into its own.
local function count(prober, kind, is_well, trail)
  local owner, probes, numbers = prober.owner.numbers, prober.probes, prober.numbers
  owner.in_flight, owner.attempts = owner.in_flight + 1, owner.attempts - #trail
  numbers.requests, numbers.attempts = numbers.requests - #trail, numbers.attempts - #trail
  stats.count_end(owner, kind, -1)
  for _, attempt in ipairs(trail) do
    stats.count_end(numbers, attempt.kind, -1)
    if attempt.kind == "timeout" then
      owner.timeouts, numbers.timeouts = owner.timeouts - 1, numbers.timeouts - 1
    end
  end
  probes.in_flight = 0
  stats.count_end(probes, is_well and "ok" or kind, 1)
end

-- The kind of the error that the probe's call ended with; it is "rejected" where all is well.
local function conclude(prober, ...)
  local job = prober.job
  local _, err = call.conclude(job, nil, ...)
  prober.job = nil
  count(prober, err.kind, job.is_well, err.attempts)
  prober.seen = prober.seen + #err.attempts
  prober.probes.last_error = not job.is_well and tostring(err) or nil
  prober.is_held = not job.is_well -- a circuit may want several successes, one after the other
  return err.kind
end

-- Answers what the probe's call asks; when it has ended, the kind of its error.
local function turn(prober, settled, ...)
  if settled then
    return conclude(prober, ...)
  end
  prober.job.scheduler.background[prober.job.id] = prober
end

--- There is news of the probe.
function Prober:wake()
  local owner, kind = self.owner, turn(self, call.turn(self.job))
  if kind then
    self:rest(UNWELL[kind] and owner.period or owner.config.interval, owner.scheduler.engine:now())
    owner:look()
  end
end

--- Ends the probe that is out, if any.
function Prober:stop()
  local job = self.job
  if job then
    job.scheduler.background[job.id] = nil
    job.call:cancel "cancelled"
    turn(self, call.turn(job))
  end
end

-- ------------------------------------------------------------------------------------------------ all of a client's

-- To the scheduler it is the waiter of the timer.
---@class surefoot.Watch
---@field private client surefoot.Client
---@field private config surefoot.Health
---@field private period number       seconds between two looks: no circuit opens and half-closes in between
---@field private probers surefoot.Prober[]
---@field private numbers table       of the probes: what is to be taken from the client's
---@field private scheduler surefoot.Scheduler?
---@field private timer integer?
---@field private over boolean?
local Watch = {}
Watch.__index = Watch

local function clear_timer(watch)
  if watch.timer then
    watch.scheduler.background[watch.timer] = nil
    pcall(watch.scheduler.engine.cancel_timer, watch.scheduler.engine, watch.timer) -- a closed engine has none
    watch.timer = nil
  end
end

--- Looks at every endpoint, and sets the timer for the next look.
function Watch:look()
  if self.over then
    return
  end
  local scheduler = self.scheduler
  local now = scheduler.engine:now()
  local due, endpoints = now + self.period, self.client.core:stats().endpoints
  for i, prober in ipairs(self.probers) do
    due = math.min(due, prober:look(endpoints[i], now))
  end
  clear_timer(self)
  self.timer = scheduler.engine:timer(math.max(TICK, due - now))
  scheduler.background[self.timer] = self
end

--- It is time.
function Watch:wake()
  self.timer = nil
  self:look()
end

--- A call of the client is about to be made, on this scheduler: from now on there is an engine that turns.
---@param scheduler surefoot.Scheduler
function Watch:attend(scheduler)
  if self.scheduler == scheduler or self.over then
    return
  end
  for _, prober in ipairs(self.probers) do
    prober:stop() -- its engine was closed
  end
  self.scheduler, self.timer = scheduler, nil
  local now = scheduler.engine:now()
  for _, prober in ipairs(self.probers) do
    prober:rest(self.config.interval, now)
  end
  self:look()
end

--- Ends all of it.
function Watch:stop()
  if not self.over and self.scheduler then
    clear_timer(self)
    for _, prober in ipairs(self.probers) do
      prober:stop()
    end
  end
  self.over = true
end

--- What is to be added to the core's numbers, so that they are the user's: of the client, and of each endpoint.
---@return table correction
---@return table[] corrections
function Watch:corrections()
  local all, each = copy(self.numbers), {}
  for i, prober in ipairs(self.probers) do
    local one = copy(prober.numbers)
    local out = prober.job and #prober.job.call:trail() or 0
    if prober.job and out == 0 then
      all.queue = all.queue - 1
    end
    one.requests, one.attempts, one.in_flight = one.requests - out, one.attempts - out, one.in_flight - out
    all.attempts, each[i] = all.attempts - out, one
  end
  return all, each
end

--- The numbers of the probes of an endpoint.
---@param index integer
---@return surefoot.Probes
function Watch:probes(index)
  local probes = copy(self.probers[index].probes)
  probes.errors = copy(probes.errors)
  return probes
end

--- Makes the watch of a client; it begins with the client's first call.
---@param client surefoot.Client
---@return surefoot.Watch
function M.new(client)
  local config = client.config.health
  local watch = setmetatable({
    client = client, config = config, period = config.interval, probers = {}, numbers = stats.correction(),
  }, Watch)
  for i, endpoint in ipairs(client.config.endpoints) do
    watch.period = math.min(watch.period, endpoint.breaker and endpoint.breaker.recovery_timeout or math.huge)
    watch.probers[i] = setmetatable({
      owner = watch, index = i, seen = 0, due = 0, numbers = stats.correction(),
      probes = { requests = 0, successes = 0, errors = {}, in_flight = 0 },
    }, Prober)
  end
  return watch
end

return M
