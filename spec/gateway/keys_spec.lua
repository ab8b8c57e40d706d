-- Virtual keys: how they are written, whose secret is whose, what each may, and what its callers are told.

local core = require "surefoot.core"
local keys = require "surefoot.gateway.keys"
local process = require "spec.support.process"

local SECRET, OTHER = "sk-team-a-0123456789", "sk-team-b-0123456789"
local HASH = core.sha256(SECRET)
local NOON = 1774958400 -- 2026-03-31 12:00:00 UTC

local function environment(name)
  return ({ TEAM_A = SECRET, EMPTY = "", LINE = SECRET .. "\n" })[name]
end

-- Whether a text stands anywhere in a value.
local function holds(value, text, seen)
  seen = seen or {}
  if type(value) == "string" then
    return value:find(text, 1, true) ~= nil
  elseif type(value) ~= "table" or seen[value] then
    return false
  end
  seen[value] = true
  for key, item in pairs(value) do
    if holds(key, text, seen) or holds(item, text, seen) then
      return true
    end
  end
  return holds(getmetatable(value), text, seen)
end

describe("gateway.keys", function()
  it("are known by their hash, in whatever way it is given", function()
    for _, entry in ipairs { { sha256 = HASH }, { sha256 = HASH:upper() }, { key = SECRET }, { key_env = "TEAM_A" } } do
      entry.name = "team-a"
      local checked = keys.check({ entry }, "gateway.keys", environment)
      assert.same({ { name = "team-a", hash = HASH } }, checked)
      assert.is_false(holds(keys.new(checked), SECRET))
    end
    assert.equal(HASH, keys.hash(SECRET))
  end)

  it("keep what was given of the rest", function()
    local rest = { name = "team-a", models = { "gpt-4o", "claude-*" }, concurrency = 20,
      rate = { requests_per_second = 5, burst = 10, tokens_per_minute = 60000, token_burst = 9000 },
      budget = { limit = 10, per = "day" } }
    local given = { key = SECRET }
    for name, value in pairs(rest) do
      given[name] = value
    end
    local checked = keys.check({ given })[1]
    rest.hash = HASH
    assert.same(rest, checked)
    assert.equal(SECRET, given.key) -- the user's table is the user's
  end)

  it("read the environment of the process", function()
    local ok, message = pcall(keys.check, { { name = "a", key_env = "SUREFOOT_SPEC_IS_NOT_SET" } })
    assert.is_false(ok)
    assert.equal("gateway.keys[1].key_env: the environment variable SUREFOOT_SPEC_IS_NOT_SET is not set", message)
  end)

  local wrong = {
    { "x", "gateway.keys: expected a list of keys, got a string" },
    { {}, "gateway.keys: the list is empty" },
    { { team = { name = "a", key = SECRET } }, "gateway.keys: expected a list of keys, each a table with a name" },
    { { [SECRET] = { name = "a" } }, "gateway.keys: expected a list of keys, each a table with a name" },
    { { SECRET }, "gateway.keys[1]: expected a table with a name, got a string" },
    { { { SECRET } }, "gateway.keys[1]: expected fields with names" },
    { { { [SECRET] = "a" } }, "gateway.keys[1]: expected fields with names" },
    { { { key = SECRET } }, "gateway.keys[1].name: is required" },
    { { { name = "a\tb", key = SECRET } }, "gateway.keys[1].name: expected at most 100 characters" },
    { { { name = ("a"):rep(101), key = SECRET } }, "gateway.keys[1].name: expected at most 100 characters" },
    { { { name = "a" } }, "gateway.keys[1]: give one of sha256, key and key_env, and only one" },
    { { { name = "a", key = SECRET, sha256 = HASH } }, "gateway.keys[1]: give one of" },
    { { { name = "a", sha256 = SECRET } }, "gateway.keys[1].sha256: expected the 64 hexadecimal digits" },
    { { { name = "a", sha256 = HASH .. "0" } }, "gateway.keys[1].sha256: expected the 64 hexadecimal digits" },
    { { { name = "a", sha256 = ("g"):rep(64) } }, "gateway.keys[1].sha256: expected the 64 hexadecimal digits" },
    { { { name = "a", key = 5 } }, "gateway.keys[1].key: expected a key (a string that is not empty), got a number" },
    { { { name = "a", key = "" } }, "gateway.keys[1].key: expected a key" },
    { { { name = "a", key = SECRET .. "\n" } }, "gateway.keys[1].key: contains a line break" },
    { { { name = "a", key = "sk-too-short-15" } }, "gateway.keys[1].key: a secret of at least 16 characters" },
    { { { name = "a", key_env = "EMPTY" } }, "gateway.keys[1].key_env: the environment variable EMPTY is not set" },
    { { { name = "a", key_env = "LINE" } }, "gateway.keys[1].key_env: contains a line break" },
    { { { name = "a", key = SECRET, model = "x" } }, "gateway.keys[1].model: unknown key; did you mean \"models\"?" },
    { { { name = "a", key = SECRET, models = {} } }, "gateway.keys[1].models: the list is empty" },
    { { { name = "a", key = SECRET, models = { "g", "*-4o" } } }, "gateway.keys[1].models[2]: a `*` may only" },
    { { { name = "a", key = SECRET, models = "gpt" } }, "gateway.keys[1].models: expected a list" },
    { { { name = "a", key = SECRET, rate = {} } }, "gateway.keys[1].rate: give requests_per_second" },
    { { { name = "a", key = SECRET, rate = { requests_per_second = 0 } } },
      "gateway.keys[1].rate.requests_per_second: expected a number" },
    { { { name = "a", key = SECRET, rate = { requests_per_second = 1, token_burst = 5 } } },
      "gateway.keys[1].rate.token_burst: needs tokens_per_minute" },
    { { { name = "a", key = SECRET, rate = { tokens_per_minute = 1, burst = 5 } } },
      "gateway.keys[1].rate.burst: needs requests_per_second" },
    { { { name = "a", key = SECRET, concurrency = 0 } }, "gateway.keys[1].concurrency: expected a whole number" },
    { { { name = "a", key = SECRET, budget = { limit = 5 } } }, "gateway.keys[1].budget.per: is required" },
    { { { name = "a", key = SECRET, budget = { per = "day" } } }, "gateway.keys[1].budget.limit: is required" },
    { { { name = "a", key = SECRET, budget = { limit = 5, per = "week" } } },
      'gateway.keys[1].budget.per: expected one of "hour", "day", "month", "total", or seconds from 1' },
    { { { name = "a", key = SECRET }, { name = "a", key = OTHER } },
      'gateway.keys[2].name: "a" names gateway.keys[1] already' },
    { { { name = "a", key = SECRET }, { name = "b", sha256 = HASH } },
      "gateway.keys[2]: is the same secret as gateway.keys[1]" },
  }
  for i, case in ipairs(wrong) do
    it(("say what is wrong, and show no secret (%d: %s)"):format(i, case[2]), function()
      local ok, message = pcall(keys.check, case[1], nil, environment)
      assert.is_false(ok)
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_nil(message:find("0123456789", 1, true), message)
    end)
  end

  it("are bounded in number", function()
    local many = {}
    for i = 1, 1001 do
      many[i] = { name = "k" .. i, key = SECRET .. i }
    end
    local ok, message = pcall(keys.check, many)
    assert.is_false(ok)
    assert.equal("gateway.keys: at most 1000 keys, got 1001", message)
    many[1001] = nil
    assert.equal(1000, #keys.check(many))
  end)
end)

describe("a book of keys", function()
  local now

  local function book_of(entry, options)
    entry.name, entry.key = "team-a", SECRET
    now = NOON
    options = options or { now = function() return now end }
    return keys.new(keys.check { entry, { name = "team-b", key = OTHER } }, options)
  end

  local function key_of(entry, options)
    return book_of(entry, options):find(SECRET)
  end

  it("finds whose secret it is", function()
    local book = book_of {}
    assert.equal("team-a", book:find(SECRET).name)
    assert.equal("team-b", book:find(OTHER).name)
    assert.same({ "team-a", "team-b" }, { book.list[1].name, book.list[2].name })
    for _, unknown in ipairs { "", SECRET .. " ", SECRET:upper(), HASH, "team-a", SECRET .. "\0" } do
      assert.is_nil(book:find(unknown))
    end
    assert.is_nil(book:find(nil))
    assert.equal("surefoot.gateway.key team-a", tostring(book:find(SECRET)))
  end)

  it("knows the models of each", function()
    local key = key_of { models = { "gpt-4o", "claude-*" } }
    for _, model in ipairs { "gpt-4o", "claude-", "claude-opus-4.7" } do
      assert.is_true(key:allows(model), model)
    end
    for _, model in ipairs { "gpt-4o-mini", "gpt", "claude", "Claude-x", "x-claude-y", "", "*" } do
      assert.is_false(key:allows(model), model)
    end
    assert.is_true(key_of({}):allows "anything")
    assert.is_true(key_of({ models = { "*" } }):allows "anything")
  end)

  it("lets in at the rate of requests", function()
    local key = key_of { rate = { requests_per_second = 2 } }
    assert(key:enter(1))
    assert(key:enter(1))
    local ticket, kind, message, retry_after, code = key:enter(1)
    assert.is_nil(ticket)
    assert.same({ "rate_limited", 0.5, nil }, { kind, retry_after, code })
    assert.equal('the key "team-a" may make 2 requests per second; try again in 0.5 seconds', message)
    now = now + 0.5
    assert(key:enter(1))
  end)

  it("lets in at the rate of tokens, and settles what they were", function()
    local key = key_of { rate = { tokens_per_minute = 600 } }
    local ticket = assert(key:enter(500))
    local refused, kind, message, retry_after, code = key:enter(400)
    assert.is_nil(refused)
    assert.same({ "rate_limited", 30, nil }, { kind, retry_after, code })
    assert.equal('the key "team-a" may use 600 tokens per minute, and this request is taken for 400; '
      .. "try again in 30 seconds", message)
    ticket:leave(100, 0.01)
    assert(key:enter(500)):leave(nil, nil)
    assert.equal(0, key:numbers().tokens_left)
  end)

  it("lets in so many at a time", function()
    local key = key_of { concurrency = 1 }
    local ticket = assert(key:enter())
    local refused, kind, message, retry_after, code = key:enter()
    assert.is_nil(refused)
    assert.same({ "rate_limited", nil, nil }, { kind, retry_after, code })
    assert.equal('the key "team-a" may have 1 request at a time', message)
    ticket:leave(0, 0)
    ticket:leave(0, 0)
    assert.equal(0, key:numbers().in_flight)
    assert(key:enter())
  end)

  it("lets in until the budget is spent", function()
    local key = key_of { budget = { limit = 0.5, per = "day" } }
    assert(key:enter()):leave(10, 0.5)
    local refused, kind, message, retry_after, code = key:enter()
    assert.is_nil(refused)
    assert.same({ "quota", 43200, "budget_spent" }, { kind, retry_after, code })
    assert.equal('the key "team-a" has spent its budget of 0.5 dollars per day; try again in 12 hours', message)
    assert.same({ in_flight = 0, spent = 0.5, limit = 0.5, resets_in = 43200 }, key:numbers())
    now = now + 43200
    assert(key:enter())
  end)

  it("says when in words", function()
    for _, case in ipairs {
      { { limit = 1, per = "hour" }, "per hour; try again in 60 minutes" },
      { { limit = 1, per = "month" }, "per month; try again in 12 hours" },
      { { limit = 1, per = 10 * 86400 }, "in 864000 seconds; try again in 7 days" },
      { { limit = 1, per = "total" }, "of 1 dollar in all$" },
    } do
      local key = key_of { budget = case[1] }
      assert(key:enter()):leave(0, 1)
      local _, _, message = key:enter()
      assert.is_truthy(message:find(case[2]), message)
    end
  end)

  it("settles a ticket that was lost", function()
    local key = key_of({ rate = { tokens_per_minute = 600 }, concurrency = 1 }, {})
    assert(key:enter(600))
    collectgarbage()
    collectgarbage()
    local _, _, message = key:enter(600)
    assert.is_truthy(message:find("tokens per minute", 1, true), message)
    assert.equal(0, key:numbers().in_flight)
  end)

  it("counts under the name of the key where it is shared", function()
    local shared = ("spec-keys-%d"):format(process.self())
    finally(function() process.capture("rm -f /dev/shm/surefoot-*-" .. shared) end)
    local options = { shared = shared }
    local one, two = book_of({ concurrency = 1 }, options), book_of({ concurrency = 1 }, options)
    local ticket = assert(one:find(SECRET):enter())
    assert.is_nil((two:find(SECRET):enter()))
    assert(two:find(OTHER):enter())
    ticket:leave(0, 0)
    local renewed = keys.new(keys.check { { name = "team-a", key = SECRET .. "-new", concurrency = 1 } }, options)
    local held = assert(two:find(SECRET):enter())
    assert.is_nil((renewed:find(SECRET .. "-new"):enter()))
    held:leave(0, 0)
  end)

  it("says why it cannot be shared", function()
    local ok, message = pcall(book_of, {}, { shared = "a/b" })
    assert.is_false(ok)
    assert.is_truthy(message:find("gateway.keys: shared: expected a name", 1, true), message)
  end)
end)
