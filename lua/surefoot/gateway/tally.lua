--- What the callers of a gateway asked, and what came of it: counted by the worker that served them.
--
-- Counters only grow; everything in M.counters adds up over processes (surefoot.gateway.sums). Beside them are the last
-- five minutes in slots: in fine ones the traffic, in coarse ones how long requests took.

local buckets = require "surefoot.client.buckets"
local operations = require "surefoot.client.operations"
local slots = require "surefoot.gateway.slots"

local M = {}

--- Seconds of a slot, and how many there are: of the traffic, and of durations.
M.traffic = { width = 5, number = 60 }
M.periods = { width = 30, number = 11 } -- the one that goes on, and five minutes before it

local NANO = 1e9 -- money is counted in whole nanodollars

---@class surefoot.gateway.Ended
---@field operation string
---@field model string?
---@field key string?          the caller's name
---@field status integer       of HTTP
---@field kind surefoot.Kind?  what went wrong
---@field endpoint string?     the one that answered, or decided
---@field stream boolean
---@field seconds number
---@field first_token number?
---@field input_tokens integer?
---@field estimated boolean?      nobody but us has counted the tokens
---@field output_tokens integer?
---@field cost number?
---@field attempts integer

---@class surefoot.gateway.Tally
---@field in_flight integer
---@field private now fun(): number
---@field private operations surefoot.Operations
---@field private requests table<string, integer>
---@field private errors table<surefoot.Kind, integer>
---@field private keys table<string, table>
---@field private attempts integer
---@field private traffic surefoot.gateway.Slots
---@field private periods surefoot.gateway.Slots
---@field private watcher function?
local Tally = {}
Tally.__index = Tally

--- Begins to count.
---@param options { now: fun(): number }? unix seconds (default os.time)
---@return surefoot.gateway.Tally
function M.new(options)
  return setmetatable({
    in_flight = 0, now = options and options.now or os.time, operations = operations.new(), requests = {}, errors = {},
    keys = {}, attempts = 0, traffic = slots.new(M.traffic.width, M.traffic.number),
    periods = slots.new(M.periods.width, M.periods.number),
  }, Tally)
end

--- A request has come.
function Tally:began()
  self.in_flight = self.in_flight + 1
end

local function grow(counters, name, by)
  counters[name] = (counters[name] or 0) + by
end

-- What a provider refuses for reasons that are not the caller's.
local OPERATORS = { forbidden = true, quota = true, rate_limited = true, unauthorized = true }

--- What became of a request: "answered"; "left": its caller has gone; "refused": it is no request, or more than its key
--- may; "failed": it deserved an answer.
---@param ended surefoot.gateway.Ended
---@return string
function M.outcome(ended)
  local status, kind = ended.status, ended.kind
  if kind == "cancelled" or status == 499 then
    return "left"
  elseif status == 408 or ended.endpoint and OPERATORS[kind] then
    return "failed"
  elseif status >= 400 and status < 500 then
    return "refused"
  end
  return (kind or status >= 400) and "failed" or "answered"
end

local function count_recent(self, ended, outcome, tokens, cost)
  local now = self.now()
  local slot, period = self.traffic:at(now), self.periods:at(now)
  grow(slot, outcome, 1)
  grow(slot, "tokens", tokens)
  grow(slot, "cost", cost)
  grow(period, outcome, 1)
  if outcome == "answered" then
    period.duration = period.duration or buckets.new()
    buckets.record(period.duration, buckets.seconds, math.max(0, ended.seconds))
    if ended.stream and ended.first_token then
      period.first = period.first or buckets.new()
      buckets.record(period.first, buckets.seconds, ended.first_token)
    end
  end
end

local function count_key(self, ended, outcome, cost)
  local counters = self.keys[ended.key]
  if not counters then
    counters = { requests = 0, failed = 0, refused = 0, input_tokens = 0, output_tokens = 0, cost = 0 }
    self.keys[ended.key] = counters
  end
  counters.requests = counters.requests + 1
  if outcome == "failed" or outcome == "refused" then
    counters[outcome] = counters[outcome] + 1
  end
  counters.input_tokens = counters.input_tokens + (ended.input_tokens or 0)
  counters.output_tokens = counters.output_tokens + (ended.output_tokens or 0)
  counters.cost = counters.cost + cost
end

--- A request has ended.
---@param ended surefoot.gateway.Ended
function Tally:ended(ended)
  local outcome = M.outcome(ended)
  local cost = math.floor((ended.cost or 0) * NANO + 0.5)
  self.in_flight = self.in_flight - 1
  self.attempts = self.attempts + (ended.attempts or 0)
  grow(self.requests, ("%s %d"):format(ended.operation, ended.status), 1)
  if ended.kind then
    grow(self.errors, ended.kind, 1)
  end
  operations.count(self.operations, ended.operation, ended.model, ended.endpoint, ended.kind,
    math.max(0, ended.seconds), ended.stream and ended.first_token, not ended.estimated and ended.input_tokens or nil,
    not ended.estimated and ended.output_tokens or nil)
  if ended.key then
    count_key(self, ended, outcome, cost)
  end
  count_recent(self, ended, outcome, (ended.input_tokens or 0) + (ended.output_tokens or 0), cost)
  if self.watcher then
    self.watcher()
  end
end

--- Has a function called after every request that ends; nil: none.
---@param watcher function?
function Tally:watch(watcher)
  self.watcher = watcher
end

--- All counters since the worker began. The tables are the tally's own: not to be changed.
---@return table
function Tally:counters()
  return {
    operations = self.operations.series, requests = self.requests, errors = self.errors, keys = self.keys,
    attempts = self.attempts,
  }
end

--- The last minutes.
---@return { traffic: table<string, table>, periods: table<string, table> }
function Tally:recent()
  local now = self.now()
  self.traffic:at(now)
  self.periods:at(now)
  return { traffic = self.traffic.list, periods = self.periods.list }
end

return M
