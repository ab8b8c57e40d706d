--- The numbers of all workers of an nginx, through a dictionary that they share.
--
-- Each worker writes its own snapshot, whole, about once a second; whoever wants the sum reads all of them. Snapshots
-- of workers that are gone are added to a remainder, so that no counter ever goes back: not at a reload, not when a
-- worker is killed (what it had not written yet was never shown). One write of the remainder both adds a snapshot
-- and names its worker as folded, so whoever is killed at it leaves nothing half done; and a reader takes the remainder
-- after the snapshots, so it sees each worker once. A worker that was given up by mistake finds itself among the
-- folded, and goes on under another name with what has been counted since.
--
-- The dictionary is an ngx.shared.DICT or anything with its get, safe_set, safe_add, delete and get_keys. Nothing is
-- written in a way that could push other things out of it.

local cjson = require "cjson"
local copy = require "surefoot.copy"
local json = require "surefoot.json"
local slots = require "surefoot.gateway.slots"
local sums = require "surefoot.gateway.sums"

local M = {}

local GONE = -1 -- the beat of a worker that has said farewell
local STALE = 3 -- seconds without news: is the worker still there?
local LOST = 60 -- seconds without news, where nobody can tell whether a process is there
local LOCK = 5 -- seconds at most
local TOMBSTONE = 600 -- seconds that the name of a folded worker is kept
local writer = cjson.new() -- plain data, once a second: no need for surefoot.json's care
local MOST_SERIES = 1000 -- of operations, in the remainder
local FORMAT = "1:" -- of what is in the dictionary, which outlives a reload with another version

---@class surefoot.gateway.Content
---@field counters table  add up, and never go back
---@field recent table<string, table<string, table>>  slots: they add up as well
---@field gauges table    of this worker, and this moment
---@field leaving boolean?

---@class surefoot.gateway.Snapshots
---@field private dict table
---@field private prefix string
---@field private pid integer
---@field private born string
---@field private now fun(): number
---@field private started fun(pid: integer): (string | false | nil)
---@field private widths table<string, { width: integer, number: integer }>
---@field private incarnation integer
---@field private id string
---@field private base table?       of this incarnation
---@field private latest string?    the snapshot
---@field private written string?   the same, where it could be written
---@field private folded_text string?
---@field private folded table?
local Snapshots = {}
Snapshots.__index = Snapshots

-- ------------------------------------------------------------------------------------------------------------ workers

--- When a process was started, as the kernel counts; false where it is not there, nil where nobody can tell.
---@param pid integer
---@return string | false | nil
function M.started(pid)
  local file = io.open(("/proc/%d/stat"):format(pid), "r")
  if not file then
    local self = io.open("/proc/self/stat", "r")
    if self then
      self:close()
      return false
    end
    return nil
  end
  local text = file:read "*a" or ""
  file:close()
  local fields = {}
  for field in (text:match "^.*%)%s(.*)$" or ""):gmatch "%S+" do
    fields[#fields + 1] = field
  end
  if fields[1] == "Z" or fields[1] == "X" then
    return false
  end
  return fields[20] or false
end

local function id_of(self)
  return ("%d-%s-%d"):format(self.pid, self.born, self.incarnation)
end

--- Begins, in a worker.
---@param dict table
---@param options { pid: integer, widths: table, now: (fun(): number)?, started: function?, prefix: string? }
---@return surefoot.gateway.Snapshots
function M.new(dict, options)
  local self = setmetatable({
    dict = dict, prefix = FORMAT .. (options.prefix or ""), pid = options.pid, now = options.now or os.time,
    started = options.started or M.started, widths = options.widths, incarnation = 1,
  }, Snapshots)
  self.born = self.started(self.pid) or ("%d.%d"):format(self.now(), math.random(0, 999999))
  self.id = id_of(self)
  return self
end

-- Whether the worker of this name has gone for good.
local function is_gone(self, id, beat, now)
  if not beat then -- its snapshot is about to go as well
    return true
  elseif beat == GONE or now - beat <= STALE then
    return beat == GONE
  end
  local pid, born = id:match "^(%d+)%-(.-)%-%d+$"
  local started = self.started(tonumber(pid))
  if started == nil then
    return now - beat > LOST
  end
  return started == false or started ~= born
end

-- ---------------------------------------------------------------------------------------------------------- remainder

local function new_remainder()
  return { counters = {}, recent = {}, folded = {} }
end

-- What is left of workers that are gone. Never to be changed.
local function read_remainder(self)
  local text = self.dict:get(self.prefix .. "remainder")
  if text ~= self.folded_text or not self.folded then
    self.folded = text and assert(json.decode(text)) or new_remainder()
    self.folded_text = text
  end
  return self.folded
end

local function count_new(series, known)
  local n = 0
  for name in pairs(series) do
    n = n + (known[name] and 0 or 1)
  end
  return n
end

-- The operations of a gateway among counters as surefoot.gateway.metrics publishes them.
local function operations_of(counters)
  return counters.gateway and counters.gateway.operations or {}
end

-- Models come and go with reloads and callers: those beyond a bound lose their names, not their numbers.
local function bound_series(counters, known)
  local series, bounded = operations_of(counters), {}
  local new = count_new(series, known)
  if new == 0 or new + count_new(known, {}) <= MOST_SERIES then
    return counters
  end
  for name, one in pairs(series) do
    if not known[name] then
      name = name:gsub("^(.-)\t[^\t]*", "%1\tother", 1)
    end
    bounded[name] = sums.add(bounded[name] or {}, one)
  end
  return copy(counters, { gateway = copy(counters.gateway, { operations = bounded }) })
end

local function prune_recent(self, recent, now)
  for name, list in pairs(recent) do
    local width = self.widths[name]
    if width then
      slots.prune(list, width.width, width.number, now)
    else -- of another version
      recent[name] = nil
    end
  end
  return recent
end

local function forget(self, id)
  self.dict:delete(self.prefix .. "worker:" .. id)
  self.dict:delete(self.prefix .. "beat:" .. id)
end

local function add_to_remainder(self, gone, now)
  local text = self.dict:get(self.prefix .. "remainder")
  local remainder, changed = text and assert(json.decode(text)) or new_remainder(), false
  for _, id in ipairs(gone) do
    local snapshot = self.dict:get(self.prefix .. "worker:" .. id)
    if snapshot and not remainder.folded[id] then
      local content = assert(json.decode(snapshot))
      sums.add(remainder.counters, bound_series(content.counters, operations_of(remainder.counters)))
      sums.add(remainder.recent, content.recent)
      remainder.folded[id] = now
      changed = true
    end
  end
  if changed then
    prune_recent(self, remainder.recent, now)
    for id, at in pairs(remainder.folded) do
      if now - at > TOMBSTONE and not self.dict:get(self.prefix .. "worker:" .. id) then
        remainder.folded[id] = nil
      end
    end
    local ok, problem = self.dict:safe_set(self.prefix .. "remainder", assert(writer.encode(remainder)))
    if not ok then
      return nil, problem
    end
  end
  for _, id in ipairs(gone) do
    forget(self, id)
  end
  return true
end

local function ids_of(self)
  local ids, start = {}, self.prefix .. "worker:"
  for _, key in ipairs(self.dict:get_keys(0)) do
    if key:sub(1, #start) == start then
      ids[#ids + 1] = key:sub(#start + 1)
    end
  end
  table.sort(ids)
  return ids
end

--- Adds the workers that are gone to the remainder.
---@return true?
---@return string? problem the dictionary is full
function Snapshots:fold()
  local now, gone = self.now(), {}
  for _, id in ipairs(ids_of(self)) do
    if id ~= self.id and is_gone(self, id, self.dict:get(self.prefix .. "beat:" .. id), now) then
      gone[#gone + 1] = id
    end
  end
  if #gone == 0 then
    return true
  end
  local ok, problem = self.dict:safe_add(self.prefix .. "lock", self.id, LOCK)
  if not ok then -- somebody else is at it
    return problem == "exists" or nil, problem
  end
  ok, problem = add_to_remainder(self, gone, now)
  self.dict:delete(self.prefix .. "lock")
  return ok, problem
end

-- --------------------------------------------------------------------------------------------------------- publishing

-- Somebody took this worker for gone: what it had written then is counted already.
local function go_on_anew(self)
  local before = assert(json.decode(self.written))
  self.base = {
    counters = sums.add(self.base and self.base.counters or {}, before.counters),
    recent = sums.add(self.base and self.base.recent or {}, before.recent),
  }
  forget(self, self.id)
  self.incarnation = self.incarnation + 1
  self.id, self.written = id_of(self), nil
end

local function was_folded(self)
  return self.written and (read_remainder(self).folded[self.id]
    or not self.dict:get(self.prefix .. "beat:" .. self.id))
end

--- Writes this worker's snapshot.
---@param content surefoot.gateway.Content
---@return true?
---@return string? problem the dictionary is full: this worker's last seconds are missing in what others tell
function Snapshots:publish(content)
  if was_folded(self) then
    go_on_anew(self)
  end
  local base, now = self.base, self.now()
  local snapshot = {
    counters = base and sums.since(content.counters, base.counters) or content.counters,
    recent = base and sums.since(content.recent, base.recent) or content.recent,
    gauges = content.gauges, leaving = content.leaving or nil,
  }
  local text = assert(writer.encode(snapshot))
  self.latest = text
  local ok, problem = self.dict:safe_set(self.prefix .. "beat:" .. self.id, now)
  if ok then
    ok, problem = self.dict:safe_set(self.prefix .. "worker:" .. self.id, text)
  end
  if not ok then
    return nil, problem
  end
  self.written = text
  return true
end

--- Marks this worker as gone: it will publish nothing more.
function Snapshots:leave()
  if self.written then
    self.dict:safe_set(self.prefix .. "beat:" .. self.id, GONE)
  end
end

-- ------------------------------------------------------------------------------------------------------------ reading

---@class surefoot.gateway.Sum
---@field counters table
---@field recent table<string, table<string, table>>
---@field gauges table[]    of the workers that are there
---@field workers integer   of them, those that take requests

local function read_others(self, now)
  local others = {}
  for _, id in ipairs(ids_of(self)) do
    local text = id ~= self.id and self.dict:get(self.prefix .. "worker:" .. id)
    if text then
      local one = assert(json.decode(text))
      one.id, one.gone = id, is_gone(self, id, self.dict:get(self.prefix .. "beat:" .. id), now)
      others[#others + 1] = one
    end
  end
  return others
end

--- The sum of what all workers have published, this one's snapshot included as it was last given to `publish`.
---@return surefoot.gateway.Sum
function Snapshots:sum()
  local now = self.now()
  local all = read_others(self, now)
  local remainder = read_remainder(self) -- after the others
  local sum = { counters = {}, recent = {}, gauges = {}, workers = 0 }
  sums.add(sum.counters, remainder.counters)
  sums.add(sum.recent, remainder.recent)
  if self.latest and not remainder.folded[self.id] then
    all[#all + 1] = assert(json.decode(self.latest)) -- as others read it, to the last digit
  end
  for _, one in ipairs(all) do
    if not (one.id and remainder.folded[one.id]) then
      sums.add(sum.counters, one.counters)
      sums.add(sum.recent, one.recent)
      if not one.gone then
        sum.gauges[#sum.gauges + 1] = one.gauges
        sum.workers = sum.workers + (one.leaving and 0 or 1)
      end
    end
  end
  prune_recent(self, sum.recent, now)
  return sum
end

--- When the counting began, whatever was reloaded since: the first `at` that any worker gave.
---@param at number
---@return number
function Snapshots:since(at)
  local name = self.prefix .. "since"
  self.dict:safe_add(name, at)
  return self.dict:get(name) or at
end

-- --------------------------------------------------------------------------------------------------- a lonely process

local Memory = {}
Memory.__index = Memory

--- A dictionary of this process alone, for an nginx whose configuration has none.
---@return table
function M.memory()
  return setmetatable({ values = {} }, Memory)
end

function Memory:get(name)
  return self.values[name]
end

function Memory:safe_set(name, value)
  self.values[name] = value
  return true
end

function Memory:safe_add(name, value)
  if self.values[name] ~= nil then
    return nil, "exists"
  end
  self.values[name] = value
  return true
end

function Memory:delete(name)
  self.values[name] = nil
end

function Memory:get_keys()
  local names = {}
  for name in pairs(self.values) do
    names[#names + 1] = name
  end
  return names
end

return M
