--- surefoot status: what processes share by name, for people and for machines.

local cjson = require "cjson"
local core = require "surefoot.core"
local env = require "spec.support.env"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local function status(...)
  return env.run { "build/surefoot", "status", ... }
end

local function holders(counts)
  local list = {}
  for pid, count in pairs(counts) do
    list[#list + 1] = { pid = tonumber(pid), count = count }
  end
  return list
end

describe("surefoot status #once", function()
  local p, name, count, running = nil, nil, 0, nil

  setup(function()
    p = provider.start { lines = { "a" } }
  end)

  teardown(function()
    p:stop()
  end)

  before_each(function()
    p:reset()
    count, running = count + 1, {}
    name = ("spec-status-%d-%d"):format(process.self(), count)
  end)

  after_each(function()
    for _, pid in ipairs(running) do
      process.stop(pid, "KILL")
    end
    core.region.unlink(name)
  end)

  local function new(more)
    local config = {
      api_key = "sk-secret-0123456789", model = "m", shared = name,
      endpoints = { { url = p.lines.a.url, name = "a" }, { url = "http://127.0.0.1:1/v1", name = "dead" } },
      routing = "priority", retry = { max_attempts = 2, base_delay = 0 }, timeout = { attempt = 2 },
    }
    for key, value in pairs(more or {}) do
      config[key] = value
    end
    return surefoot.new(config)
  end

  local function read(...)
    local result = status(name, "--json", ...)
    assert.same({ 0, "" }, { result.status, result.stderr })
    return cjson.decode(result.stdout), result.stdout
  end

  local function line_of(document, wanted)
    for _, one in ipairs(document.endpoints) do
      if one.name == wanted then
        return one
      end
    end
  end

  it("says what there is not", function()
    local result = status(name)
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches('^surefoot: nothing is shared by the name "' .. name:gsub("%-", "%%-") .. '"', result.stderr)
    local client = new()
    result = status(name .. "x")
    assert.equal(2, result.status)
    assert.matches('did you mean "' .. name:gsub("%-", "%%-") .. '"%?\n$', result.stderr)
    client:close()
    assert.equal(2, status("--unlink", name .. "x").status)
  end)

  it("lists, and removes", function()
    local client = new()
    assert.is_truthy(("\n" .. status().stdout):find("\n" .. name .. "\n", 1, true))
    local is_there = false
    for _, one in ipairs(cjson.decode(status("--json").stdout)) do
      is_there = is_there or one == name
    end
    assert.is_true(is_there)
    assert.same({ status = 0, stdout = "", stderr = "" }, status("--unlink", name))
    assert.is_nil(("\n" .. status().stdout):find("\n" .. name .. "\n", 1, true))
    assert.equal(2, status("--unlink", name).status)
    client:close()
  end)

  it("tells circuits, latencies and rates", function()
    local client = new { rate = { requests_per_second = 2, burst = 4 }, breaker = { failure_threshold = 1,
      recovery_timeout = 50, jitter = 0 } }
    assert(client:chat("hello"))
    p:profile("a", { status = { code = 503 } })
    assert.is_nil((client:chat("hello", { deadline = 2 })))
    local document, text = read()
    local a, dead = line_of(document, "a"), line_of(document, "dead")
    assert.same({ "open", "open" }, { a.breaker, dead.breaker })
    assert.is_true(a.breaker_seconds_left > 20 and a.breaker_seconds_left <= 50)
    assert.is_true(a.latency > 0 and a.latency_age < 30)
    assert.equal(p.lines.a.url, a.url)
    assert.is_true(document.client.retry_spent > 0)
    assert.is_true(document.client.requests_full_in > 0)
    assert.is_nil(text:find("sk-secret", 1, true))
    local lanes = {}
    for _, lane in ipairs(document.lanes) do
      lanes[lane.endpoint] = { lane.model, lane.key, lane.sent }
    end
    assert.same({ a = { "m", 1, 2 }, dead = { "m", 1, 1 } }, lanes)

    local shown = status(name).stdout
    assert.matches("^" .. name:gsub("%-", "%%-") .. "   %d process", shown)
    assert.matches("\nline +circuit +slowness +in flight +by process\n", shown)
    assert.matches("\na +open for %d+ s +%d[%d.]* m?s +0\n", shown)
    assert.matches("\nmodel +line +key +sent +tokens", shown)
    assert.is_nil(shown:find("\27", 1, true)) -- no colours where no terminal is
    client:close()
  end)

  -- A process with so many calls that the provider does not answer.
  local function start(calls)
    local pid = process.spawn { env.lua, "-l", "spec.helper", "-e", ([[
      local surefoot = require "surefoot"
      local client = surefoot.new { shared = "%s", model = "m", api_key = "sk-secret-0123456789",
        endpoints = { { url = "%s", name = "a" } } }
      surefoot.run(function()
        for _ = 1, %d do surefoot.spawn(function() client:chat "wait" end) end
      end)]]):format(name, p.lines.a.url, calls) }
    running[#running + 1] = pid
    return pid
  end

  it("tells who has how many calls in flight, and forgets the dead", function()
    p:profile("a", { fault = "hang" })
    local one, two = start(1), start(2)
    assert(process.wait_for(function() return p:counters("a").in_flight == 3 end, 10))
    local document = read()
    local held = holders(line_of(document, "a").by_process)
    table.sort(held, function(x, y) return x.count < y.count end)
    assert.same({ { pid = one, count = 1 }, { pid = two, count = 2 } }, held)
    assert.equal(3, document.client.in_flight)
    assert.equal(2, #document.processes)
    process.stop(two, "KILL")
    document = process.wait_for(function()
      local now = read()
      return now.client.in_flight == 1 and now
    end)
    assert.same({ { pid = one, count = 1 } }, holders(document.client.by_process))
    assert.matches("\na +closed +%- +1 +" .. one .. ": 1\n", status(name).stdout)
  end)

  it("tells what callers of a gateway hold and have spent", function()
    local allowance = assert(core.allowance { shared = name, key = "key team-a", concurrency = 5,
      rate = { requests_per_second = 1, burst = 10 }, budget = { limit = 10, per = "day" } })
    local other = assert(core.allowance { shared = name, key = "key team-b", budget = { limit = 10, per = 100 } })
    local ticket = assert(allowance:enter(10))
    allowance:spend(1.25)
    other:spend(0.5)
    local document = read()
    local a, b = document.callers[1], document.callers[2]
    assert.same({ "team-a", 1, "day", 1.25 }, { a.name, a.in_flight, a.spends[1].per, a.spends[1].spent })
    assert.is_true(a.requests_full_in > 0 and a.spends[1].resets_in > 0)
    assert.same({ "team-b", 0, "seconds", 100, 0.5 },
      { b.name, b.in_flight, b.spends[1].per, b.spends[1].seconds, b.spends[1].spent })
    assert.equal(0, document.others)
    assert.matches("\nteam%-a +1 +%d+: 1 +%$1%.25 in this day, ", status(name).stdout)
    ticket:leave(10, 0)
  end)

  it("looks again every second, on a terminal over the old state", function()
    env.need("script", "bsdutils")
    local client = new()
    local output = os.tmpname()
    local pid = process.spawn({ "script", "-qec", "build/surefoot status " .. name .. " --watch", "/dev/null" },
      { stdout = output })
    local shown = process.wait_for(function()
      local text = process.read(output)
      local _, looks = text:gsub("\27%[H", "")
      return looks >= 3 and text -- the first one clears the screen
    end, 10)
    process.stop(pid)
    os.remove(output)
    assert.matches("\27%[1m" .. name:gsub("%-", "%%-"), shown)
    client:close()
  end)
end)
