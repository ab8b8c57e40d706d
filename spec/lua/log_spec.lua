-- What a client writes down: levels, fields, where to, and what never appears.
local process = require "spec.support.process"
local log = require "surefoot.log"
local surefoot = require "surefoot"

local SECRET = "sk-secret-1234567890"

local function ok()
  return { after = 0.1, text = "the answer" }
end

-- A client that writes into a list, and the list.
local function logged(given, scripts, more)
  local entries = {}
  local function write(level, message, fields)
    entries[#entries + 1] = { level = level, message = message, fields = fields }
  end
  if given == nil then
    given = write
  elseif type(given) == "table" then
    given.write = given.write or write
  end
  local sim = surefoot.simulate { seed = 1, endpoints = scripts or { a = ok } }
  local config = { log = given, api_key = SECRET, routing = "priority", retry = { jitter = "none" } }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return sim:client(config), entries, sim
end

local function lines(entries)
  local list = {}
  for i, entry in ipairs(entries) do
    list[i] = entry.level .. " " .. entry.message
  end
  return list
end

local TWO = { { name = "a" }, { name = "b", priority = 2 } }
local broken = { a = function() return { after = 0.1, status = 500, body = '{"error":{"message":"no"}}' } end, b = ok }

describe("log", function()
  it("tells a function all of it", function()
    local client, entries = logged(nil, broken, { endpoints = TWO })
    assert(client:chat "the question")
    assert.same({
      "debug chat attempt 1 on a", "warn chat goes over to b after server", "debug chat attempt 2 on b",
      "debug chat first token from b after 0.1 s", "debug chat attempt 1 on a: server", "debug chat attempt 2 on b: ok",
      "info chat answered by b in 0.2 s",
    }, lines(entries))
    local last = entries[#entries].fields
    assert.same({ "chat", "simulated", "b", 0.2, 200, "stop" }, { last.operation, last.model, last.endpoint,
      last.latency, last.status, last.finish_reason })
    assert.is_true(last.output_tokens > 0)
    local failed = entries[5].fields
    assert.same({ "server", 500, "no" }, { failed.kind, failed.status, failed.message })
    assert.equal(last.request_id, entries[1].fields.request_id)
  end)

  it("keeps to a level", function()
    for level, expected in pairs {
      debug = 7, error = 0, info = { "warn chat goes over to b after server", "info chat answered by b in 0.2 s" },
      warn = { "warn chat goes over to b after server" },
    } do
      local client, entries = logged({ level = level }, broken, { endpoints = TWO })
      assert(client:chat "Hi")
      assert.same(expected, type(expected) == "table" and lines(entries) or #entries, level)
    end
  end)

  it("says why a call failed, and what was refused or cancelled", function()
    local client, entries = logged({ level = "info" }, { a = broken.a }, { retry = { max_attempts = 1 },
      prices = { simulated = { input = 1e6 } }, spend = { limit = 1 } })
    assert.is_nil(client:chat "Hi")
    assert.equal("error", entries[1].level)
    assert.matches("^chat failed: server: no from a %(attempt 1 of 1", entries[1].message)
    assert.same({ "server", 500, 1 }, { entries[1].fields.kind, entries[1].fields.status, entries[1].fields.attempts })
    client.spend:charge(2)
    assert.is_nil(client:chat "Hi")
    local refused = entries[2]
    assert.same({ "warn", "quota", "budget_spent" }, { refused.level, refused.fields.kind, refused.fields.code })
    local canceller = surefoot.canceller()
    canceller:cancel()
    assert.is_nil(client:models { cancel = canceller })
    assert.same({ "info", "cancelled" }, { entries[3].level, entries[3].fields.kind })
  end)

  it("hears of circuits and rates", function()
    local client, entries = logged({ level = "info" }, { a = function(n)
      return n == 1 and { after = 0.1, status = 429, headers = { ["retry-after"] = "1" } } or { after = 0.1,
        status = 500 }
    end }, { rate = { requests_per_second = 100 }, retry = { max_attempts = 3, jitter = "none" },
      breaker = { failure_threshold = 2 } })
    assert.is_nil(client:chat "Hi")
    local seen = table.concat(lines(entries), "\n")
    assert.matches("warn chat the circuit of a is open", seen)
    assert.matches("warn chat asks a again after rate_limited", seen)
  end)

  it("shows no key and no content", function()
    local client, entries = logged(nil, { a = function(_, request)
      return { after = 0.1, status = 400, body = { error = { message = "bad key " .. request.headers.authorization } } }
    end })
    assert.is_nil(client:chat "the question")
    local all = {}
    for _, entry in ipairs(entries) do
      all[#all + 1] = log.line(entry.level, entry.message, entry.fields)
    end
    local text = table.concat(all)
    assert.is_nil(text:find(SECRET, 1, true))
    assert.is_nil(text:find("the question", 1, true))
    assert.is_truthy(text:find("[key]", 1, true))
  end)

  it("does not tell a function of what that asks of the client itself", function()
    local client, answers, heard = nil, 0, 0
    client = logged(function()
      heard = heard + 1
      assert(heard < 20, "the log is told of its own calls")
      answers = answers + (client:chat "What does this mean?" and 1 or 0)
    end)
    assert.equal("the answer", assert(client:chat "the question").text)
    assert.same({ 4, 4, 5, 0 }, { heard, answers, client:stats().successes, client:stats().event_errors })
  end)

  it("cannot disturb a call", function()
    local client = logged(function() error "mine" end)
    assert.equal("the answer", assert(client:chat "Hi").text)
    assert.is_true(client:stats().event_errors > 0)
    assert.matches("mine", client:stats().last_event_error)
    client = logged(function() coroutine.yield() end)
    assert(client:chat "Hi")
    assert.equal("log must not wait", client:stats().last_event_error)
  end)

  it("may be an object that can be called", function()
    local count = 0
    local client = logged(setmetatable({}, { __call = function() count = count + 1 end }))
    assert(client:chat "Hi")
    assert.is_true(count > 0)
  end)

  it("hears of shared calls and of probes", function()
    local client, entries, sim = logged(nil, { a = function(_, request)
      return request.method == "GET" and { body = '{"object":"list","data":[]}' } or ok()
    end }, { coalesce = true, health = { interval = 5 } })
    for _ = 1, 2 do
      sim:spawn(function()
        assert(client:chat { messages = { { role = "user", content = "Hi" } }, temperature = 0 })
      end)
    end
    sim:run()
    sim:run(20)
    local seen = table.concat(lines(entries), "\n")
    assert.equal(1, select(2, seen:gsub("info chat answered by a", "")))
    assert.matches("debug probe: the line is well", seen)
    assert.is_nil(seen:find("error", 1, true))
  end)

  it("is refused where it is none", function()
    assert.error_matches(function() logged "loud" end, 'log: expected a function, or true or false, or one of "debug"')
    assert.error_matches(function() logged { level = "loud" } end, 'log.level: expected one of "debug"')
    assert.error_matches(function() logged { levle = "info" } end, 'log.levle: unknown key; did you mean "level"')
  end)
end)

describe("a line of the log", function()
  it("is one line, fields in order", function()
    local line = log.line("warn", "two\nlines", { b = 1.5, a = "x y", c = "z\n\"", d = true })
    assert.matches('^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ surefoot warn: two lines  ', line)
    assert.matches('a="x y" b=1.5 c="z\\n\\"" d=true\n$', line)
    assert.equal(1, select(2, line:gsub("\n", "")))
  end)
end)

describe("SUREFOOT_DEBUG", function()
  local getenv = os.getenv
  after_each(function() os.getenv = getenv end)

  local function with(value, given)
    os.getenv = function(name)
      if name == "SUREFOOT_DEBUG" then
        return value
      end
      return getenv(name)
    end
    return logged(given or false, broken, { endpoints = TWO })
  end

  it("appends a call and its attempts to a file", function()
    local dir = process.temp_dir "log"
    finally(function() process.remove_dir(dir) end)
    local client = with(dir .. "/trace.log")
    assert(client:chat "the question")
    assert(client:chat "the question")
    local text = process.read(dir .. "/trace.log")
    assert.equal(6, select(2, text:gsub("\n", "")))
    assert.matches("surefoot debug: chat attempt 1 on a: server  attempt=1 endpoint=a", text)
    assert.matches("surefoot info: chat answered by b in 0.2 s", text)
    assert.is_nil(text:find("question", 1, true))
  end)

  it("writes to stderr, with every step for \"trace\"", function()
    local stderr = io.stderr
    finally(function() io.stderr = stderr end)
    for value, count in pairs { ["1"] = 3, trace = 7, ["0"] = 0, [""] = 0 } do
      local seen = {}
      local client = with(value)
      io.stderr = { write = function(_, text) seen[#seen + 1] = text end }
      assert(client:chat "Hi")
      io.stderr = stderr
      assert.equal(count, #seen, value)
    end
  end)

  it("says when the file cannot be written, and goes on", function()
    local stderr, seen = io.stderr, {}
    finally(function() io.stderr = stderr end)
    io.stderr = { write = function(_, ...) seen[#seen + 1] = table.concat { ... } end }
    local client = with "/no/such/place/trace.log"
    assert(client:chat "Hi")
    io.stderr = stderr
    assert.equal(1, #seen)
    assert.matches("^surefoot: SUREFOOT_DEBUG: /no/such/place/trace.log: No such file", seen[1])
  end)

  it("stands beside `log`", function()
    local stderr, seen = io.stderr, 0
    finally(function() io.stderr = stderr end)
    local client, entries = with("1", { level = "info" })
    io.stderr = { write = function() seen = seen + 1 end }
    assert(client:chat "Hi")
    io.stderr = stderr
    assert.same({ 3, 2 }, { seen, #entries })
  end)
end)
