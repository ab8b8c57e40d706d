--- Virtual keys: who calls the gateway, and what they may: models, requests and tokens, calls at a time, money.
--
-- A key is known by the SHA-256 of its secret. A secret in the configuration, or in a variable that it names, is hashed
-- when the configuration is read, and not kept. What a key has used is counted under its name: by all workers together
-- where the client is `shared` (then also over a reload, until the machine restarts), else by each alone.

local check = require "surefoot.config.check"
local core = require "surefoot.binding"

local M = {}

local format = string.format

local MOST_KEYS = 1000 -- each takes 8 KiB of shared memory, of 16 MiB
local SHORTEST = 16 -- bytes of a secret: shorter ones can be guessed
local MOST_DOLLARS = 1000000
local YEAR = 366 * 86400

local rate = {
  { name = "requests_per_second", type = "number", above = 0, max = 1000000, doc = "requests let in per second" },
  { name = "burst", type = "number", min = 1, max = 1000000,
    doc = "requests let in at once (default: one second's worth)" },
  { name = "tokens_per_minute", type = "number", above = 0, max = 1e12,
    doc = "estimated before, settled with the usage after; usage above it is paid off by waiting" },
  { name = "token_burst", type = "number", min = 1, max = 1e12, doc = "tokens at once (default: one minute's worth)" },
}

local budget = {
  { name = "limit", type = "number", min = 0.000001, max = MOST_DOLLARS, required = true, doc = "US dollars" },
  { name = "per", type = "either", required = true,
    doc = "the hour, day or month of the calendar (UTC), all time, or so many seconds",
    { type = "enum", values = { "hour", "day", "month", "total" } },
    { type = "seconds", min = 1, max = YEAR } },
}

--- Every key of an entry: name, type, range, meaning.
M.fields = {
  { name = "name", type = "string", required = true, doc = "what logs and metrics call it; its counts hang on it" },
  { name = "sha256", type = "string", doc = "the secret's SHA-256 in 64 hexadecimal digits" },
  { name = "key", type = "any", doc = "or the secret itself" },
  { name = "key_env", type = "string", doc = "or the environment variable that holds it" },
  { name = "models", type = "list", of = { type = "string" },
    doc = "models that may be asked for; `\"claude-*\"` stands for all that begin so (default: all)" },
  { name = "rate", type = "table", fields = rate, doc = "how fast requests may come" },
  { name = "concurrency", type = "integer", min = 1, max = 100000, doc = "requests at a time" },
  { name = "budget", type = "table", fields = budget, doc = "what may be spent, by `prices`" },
}

-- ------------------------------------------------------------------------------------------------------ configuration

--- Refuses a secret that can be guessed.
---@param secret string
---@param path string where it stands
function M.check_secret(secret, path)
  if #secret < SHORTEST then
    check.fail(path, "a secret of at least %d characters is needed: a shorter one can be guessed", SHORTEST)
  end
end

-- No message here shows what was given: somebody may have put the secret in the wrong place.
local function hash_of(entry, path, environment)
  local given = 0
  for _, name in ipairs { "sha256", "key", "key_env" } do
    given = given + (entry[name] ~= nil and 1 or 0)
  end
  if given ~= 1 then
    check.fail(path, "give one of sha256, key and key_env, and only one")
  elseif entry.sha256 then
    local digits = #entry.sha256 == 64 and entry.sha256:match "^%x+$"
    return digits and digits:lower()
      or check.fail(path .. ".sha256", "expected the 64 hexadecimal digits that sha256sum prints")
  end
  local secret, where = entry.key, path .. ".key"
  if entry.key_env then
    secret, where = environment(entry.key_env), path .. ".key_env"
    if secret == nil or secret == "" then
      check.fail(where, "the environment variable %s is not set", entry.key_env)
    end
  end
  M.check_secret(check.key_string(secret, where), where)
  return core.sha256(secret)
end

local function check_name(name, path)
  if #name > 100 or name:find "[%c\127]" then
    check.fail(path .. ".name", "expected at most 100 characters, without control characters")
  end
end

local function check_models(models, path)
  for i, name in ipairs(models or {}) do
    if name:sub(1, -2):find("*", 1, true) then
      check.fail(format("%s.models[%d]", path, i), "a `*` may only stand at the end")
    end
  end
  if models and #models == 0 then
    check.fail(path .. ".models", "the list is empty: leave it out to allow all")
  end
end

local function check_rate(given, path)
  if not given then
    return
  elseif not given.requests_per_second and not given.tokens_per_minute then
    check.fail(path .. ".rate", "give requests_per_second, tokens_per_minute, or both")
  elseif given.burst and not given.requests_per_second then
    check.fail(path .. ".rate.burst", "needs requests_per_second")
  elseif given.token_burst and not given.tokens_per_minute then
    check.fail(path .. ".rate.token_burst", "needs tokens_per_minute")
  end
end

local function read_entry(value, path, environment)
  if type(value) ~= "table" then
    check.fail(path, "expected a table with a name, got a %s", type(value))
  end
  for field in pairs(value) do
    if type(field) ~= "string" or #field >= SHORTEST then
      check.fail(path, "expected fields with names, like { name = \"team-a\", key_env = \"TEAM_A_KEY\" }")
    end
  end
  local entry = check.fields(M.fields, value, path)
  check_name(entry.name, path)
  check_models(entry.models, path)
  check_rate(entry.rate, path)
  return { name = entry.name, hash = hash_of(entry, path, environment), models = entry.models, rate = entry.rate,
    concurrency = entry.concurrency, budget = entry.budget }
end

---@class surefoot.gateway.KeyConfig
---@field name string
---@field hash string            SHA-256 of the secret, in small hexadecimal digits
---@field models string[]?
---@field rate table?
---@field concurrency integer?
---@field budget { limit: number, per: string | number }?

--- Checks `gateway.keys`. Throws a message without a position, which shows no secret.
---@param given table[]
---@param path string? where it stands (default "gateway.keys")
---@param environment (fun(name: string): string?)? where key_env is looked up (default os.getenv)
---@return surefoot.gateway.KeyConfig[] keys without their secrets
function M.check(given, path, environment)
  path = path or "gateway.keys"
  if type(given) ~= "table" then
    check.fail(path, "expected a list of keys, got a %s", type(given))
  elseif next(given) == nil then
    check.fail(path, "the list is empty, and nobody could call: leave it out for a gateway without keys")
  elseif given[1] == nil then
    check.fail(path, "expected a list of keys, each a table with a name")
  elseif #given > MOST_KEYS then
    check.fail(path, "at most %d keys, got %d", MOST_KEYS, #given)
  end
  local names, hashes = {}, {}
  return check.list(given, path, function(value, at)
    local entry = read_entry(value, at, environment or os.getenv)
    if names[entry.name] then
      check.fail(at .. ".name", "%q names %s already", entry.name, names[entry.name])
    elseif hashes[entry.hash] then
      check.fail(at, "is the same secret as %s", hashes[entry.hash])
    end
    names[entry.name], hashes[entry.hash] = at, at
    return entry
  end)
end

-- -------------------------------------------------------------------------------------------------------------- a key

---@class surefoot.gateway.Ticket
---@field leave fun(self, tokens: number?, cost: number?)  settles, once; tokens nil: as estimated. One that is lost is
--- settled when it is collected, as estimated and without a cost

---@class surefoot.gateway.Key
---@field name string
---@field has_budget boolean  what it asks for must have a price
---@field has_all_models boolean  no list bounds them
---@field private config surefoot.gateway.KeyConfig
---@field private allowance table
---@field private now (fun(): number)?
---@field private exact table<string, boolean>
---@field private prefixes string[]
local Key = {}
Key.__index = Key
Key.__tostring = function(self)
  return "surefoot.gateway.key " .. self.name
end

local function new_key(config, options)
  local allowance, problem = core.allowance {
    shared = options.shared or nil, key = "key " .. config.name,
    rate = config.rate, concurrency = config.concurrency, budget = config.budget,
  }
  if not allowance then
    error("gateway.keys: " .. problem, 0)
  end
  local self = {
    name = config.name, has_budget = config.budget ~= nil, has_all_models = not config.models, config = config,
    allowance = allowance, now = options.now, exact = {}, prefixes = {},
  }
  for _, name in ipairs(config.models or { "*" }) do
    if name:sub(-1) == "*" then
      self.prefixes[#self.prefixes + 1] = name:sub(1, -2)
    else
      self.exact[name] = true
    end
  end
  return setmetatable(self, Key)
end

--- Whether the key may ask for a model.
---@param model string
---@return boolean
function Key:allows(model)
  if self.exact[model] then
    return true
  end
  for _, prefix in ipairs(self.prefixes) do
    if model:sub(1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local function in_words(seconds)
  for _, unit in ipairs { { 172800, 86400, "days" }, { 7200, 3600, "hours" }, { 120, 60, "minutes" } } do
    if seconds >= unit[1] then
      return format("in %d %s", math.ceil(seconds / unit[2]), unit[3])
    end
  end
  return format("in %.3g seconds", math.max(seconds, 0.001))
end

local function per_words(per)
  return per == "total" and "in all" or type(per) == "number" and format("in %.14g seconds", per) or "per " .. per
end

local function counted(n, noun)
  return format("%.14g %s%s", n, noun, n == 1 and "" or "s")
end

local refusals = {}

function refusals.requests(config)
  return format("may make %s per second", counted(config.rate.requests_per_second, "request"))
end

function refusals.tokens(config, estimate)
  return format("may use %s per minute, and this request is taken for %.14g",
    counted(config.rate.tokens_per_minute, "token"), estimate)
end

function refusals.concurrency(config)
  return format("may have %s at a time", counted(config.concurrency, "request"))
end

function refusals.budget_spent(config)
  return format("has spent its budget of %s %s", counted(config.budget.limit, "dollar"), per_words(config.budget.per))
end

--- Lets a request in, or says why not. It holds a place and a rate until its ticket leaves.
---@param estimate number? tokens that it may use
---@return surefoot.gateway.Ticket? ticket
---@return ("rate_limited" | "quota")? kind
---@return string? message
---@return number? retry_after seconds; nil: nobody knows
---@return string? code "budget_spent" with "quota"
function Key:enter(estimate)
  local now = self.now
  local ticket, kind, retry_after, code = self.allowance:enter(estimate or 0, now and now())
  if not ticket then
    local message = format("the key %q %s", self.name, refusals[code](self.config, estimate or 0))
    if retry_after then
      message = message .. "; try again " .. in_words(retry_after)
    end
    return nil, kind, message, retry_after, kind == "quota" and code or nil
  elseif not now then
    return ticket
  end
  return { leave = function(_, tokens, cost)
    ticket:leave(tokens, cost, now())
  end }
end

--- What the key holds and has used: in_flight; of what is bounded concurrency, requests_left, tokens_left, and spent,
--- limit (US dollars) and resets_in (seconds; nil: never).
---@return table<string, number>
function Key:numbers()
  return self.allowance:numbers(self.now and self.now())
end

-- ------------------------------------------------------------------------------------------------------------ the book

---@class surefoot.gateway.Keys
---@field list surefoot.gateway.Key[]   in the order of the configuration
---@field private by_hash table<string, surefoot.gateway.Key>
local Book = {}
Book.__index = Book

--- Whose secret it is. Only hashes are compared, so that the time it takes tells nothing about a secret.
---@param secret string? as the caller sent it
---@return surefoot.gateway.Key?
function Book:find(secret)
  return type(secret) == "string" and self.by_hash[core.sha256(secret)] or nil
end

--- Makes the book of keys. Throws a message without a position when the shared memory cannot be used, or is full.
-- options.shared: the region's name; options.now: a clock instead of the machine's, in unix seconds.
---@param list surefoot.gateway.KeyConfig[] from check
---@param options { shared: string?, now: (fun(): number)? }?
---@return surefoot.gateway.Keys
function M.new(list, options)
  local book = setmetatable({ list = {}, by_hash = {} }, Book)
  for i, config in ipairs(list) do
    local key = new_key(config, options or {})
    book.list[i], book.by_hash[config.hash] = key, key
  end
  return book
end

--- A secret as the configuration names it.
---@param secret string
---@return string sha256 64 hexadecimal digits
function M.hash(secret)
  return core.sha256(secret)
end

return M
