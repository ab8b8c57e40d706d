-- Processes that share their policy state by name: limits hold for all of them together, what one learns of a line the
-- others know, and whoever is killed leaves nothing behind.

local env = require "spec.support.env"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

-- A program's beginning: arg[1] the provider, arg[2] the name.
local HEAD = [[
  local surefoot = require "surefoot"
  local p = assert(require("spec.support.provider").attach(arg[1]))
  local function new(config)
    config.base_url, config.api_key, config.model, config.shared = p.lines.a.url, "sk-test-0123456789", "m", arg[2]
    return surefoot.new(config)
  end
]]

describe("processes with the same name", function()
  local p, dir, name, count, running = nil, nil, nil, 0, nil

  setup(function()
    p = provider.start { lines = { "a" } }
    dir = process.temp_dir "shared"
  end)

  teardown(function()
    p:stop()
    process.remove_dir(dir)
  end)

  before_each(function()
    p:reset()
    count, running = count + 1, {}
    name = ("spec-%d-%d"):format(process.self(), count)
  end)

  after_each(function()
    for _, pid in ipairs(running) do
      process.stop(pid, "KILL")
    end
    for file in io.popen("ls /dev/shm/surefoot-*-" .. name .. " 2>/dev/null"):lines() do
      os.remove(file)
    end
  end)

  local function new(config)
    config.base_url, config.api_key, config.model, config.shared = p.lines.a.url, "sk-test-0123456789", "m", name
    return surefoot.new(config)
  end

  -- Starts a program; its output goes to a file.
  local function start(code)
    local path = ("%s/%s-%d"):format(dir, name, #running)
    process.write(path .. ".lua", HEAD .. code)
    local pid = process.spawn({ env.lua, "-l", "spec.helper", path .. ".lua", p.control_url, name },
      { stdout = path .. ".out", stderr = path .. ".out" })
    running[#running + 1] = pid
    return pid, function() return process.read(path .. ".out") end
  end

  local function finished(pid, output)
    assert(process.wait_for(function() return not process.alive(pid) end, 10 * pace), "it goes on: " .. output())
    return output()
  end

  it("are bound by one rate", function()
    local program = [[
      local client = new { rate = { requests_per_second = 20, burst = 5 }, concurrency = { queue = 1000 } }
      surefoot.run(function()
        for _ = 1, 40 do
          surefoot.spawn(function() client:chat("Hi", { deadline = 1.5 }) end)
        end
      end)
    ]]
    local began = surefoot.now()
    local one, out_one = start(program)
    local two, out_two = start(program)
    assert.equal("", finished(one, out_one))
    assert.equal("", finished(two, out_two))
    local sent, most = p:counters("a").requests, 5 + 20 * (surefoot.now() - began) + 1
    assert.is_true(sent <= most and sent > 15, ("%d were sent, at most %s may be"):format(sent, most))
  end)

  it("are bound by one number of calls at the same time, and wait for each other", function()
    p:profile("a", { delay = 0.15 })
    local program = [[
      local client = new { concurrency = { limit = 2, queue = 100 } }
      surefoot.run(function()
        for i = 1, 6 do
          surefoot.spawn(function() local result, err = client:chat("x" .. i) print(result and result.text or err) end)
        end
      end)
    ]]
    local one, out_one = start(program)
    local two, out_two = start(program)
    local _, arrived = (finished(one, out_one) .. finished(two, out_two)):gsub("echo", "")
    local counters = p:counters "a"
    assert.equal(12, counters.requests)
    assert.is_true(counters.peak <= 3, counters.peak) -- two that look at the same moment may both go
    assert.equal(12, arrived, out_one())
    assert.equal(0, new({}):stats().shared.in_flight)
  end)

  it("know of a line what one has found out", function()
    p:profile("a", { status = { code = 500 } })
    local pid, output = start [[
      local client = new { retry = { max_attempts = 1 }, breaker = { recovery_timeout = 30 } }
      for _ = 1, 5 do client:chat "Hi" end
    ]]
    finished(pid, output)
    local before = p:counters("a").requests
    local client = new { breaker = { recovery_timeout = 30 } }
    local _, err = client:chat("Hi", { deadline = 1 })
    assert.equal("circuit_open", err.kind)
    assert.equal(before, p:counters("a").requests)
    assert.equal("open", (select(2, next(client:stats().endpoints))).breaker)
  end)

  it("find out together that it is well again", function()
    p:profile("a", { status = { code = 500 } })
    local pid, output = start [[
      local client = new { retry = { max_attempts = 1 }, breaker = { recovery_timeout = 0.3 } }
      for _ = 1, 5 do client:chat "Hi" end
      p:profile("a", { delay = 0.3 })
      local result, err = client:chat("probe", { deadline = 5 }) print(result and result.text or err)
    ]]
    local client = new { breaker = { recovery_timeout = 0.3 } }
    assert(process.wait_for(function() return p:counters("a").in_flight == 1 and p:counters("a").requests == 6 end,
      10 * pace), output())
    assert.equal("half_open", (select(2, next(client:stats().endpoints))).breaker)
    local began = surefoot.now()
    local result, err = client:chat("Hi", { deadline = 5 })
    assert(result, tostring(err))
    assert.is_true(surefoot.now() - began > 0.3) -- it waited for the other's probe, and was not one itself
    assert.matches("echo: probe", finished(pid, output))
  end)

  it("go on where one is killed: what it held is free within a second", function()
    p:profile("a", { fault = "hang" })
    local holder, output = start [[
      local client = new { concurrency = { limit = 2, queue = 10 } }
      surefoot.all { function() client:chat "one" end, function() client:chat "two" end }
    ]]
    assert(p:wait("a", function(c) return c.in_flight == 2 end, 10 * pace), output())
    p:profile("a", {})
    local client = new { concurrency = { limit = 2, queue = 10 } }
    assert.equal(2, client:stats().shared.in_flight)
    local _, err = client:chat("Hi", { deadline = 0.3 })
    assert.equal("deadline", err.kind)
    process.signal(holder, "KILL")
    local began = surefoot.now()
    assert.equal("echo: Hi", assert(client:chat("Hi", { deadline = 5 })).text)
    assert.is_true(surefoot.now() - began < 1.5 * pace, surefoot.now() - began)
    assert.equal(0, client:stats().shared.in_flight)
  end)

  it("probe anew where one is killed that was probing", function()
    p:profile("a", { status = { code = 500 } })
    local config = { retry = { max_attempts = 1 }, breaker = { recovery_timeout = 0.2 } }
    local prober, output = start [[
      local client = new { retry = { max_attempts = 1 }, breaker = { recovery_timeout = 0.2 } }
      for _ = 1, 5 do client:chat "Hi" end
      p:profile("a", { fault = "hang" })
      client:chat "probe"
    ]]
    assert(p:wait("a", function(c) return c.in_flight == 1 and c.requests == 6 end, 10 * pace), output())
    p:profile("a", {})
    process.signal(prober, "KILL")
    local client, began = new(config), surefoot.now()
    assert.equal("echo: Hi", assert(client:chat("Hi", { deadline = 10 })).text)
    assert.is_true(surefoot.now() - began < 2 * pace, surefoot.now() - began)
  end)

  it("balance by what the living have in flight", function()
    p:profile("a", { fault = "hang" })
    local holder, output = start [[
      local client = new {}
      surefoot.all { function() client:chat "one" end, function() client:chat "two" end }
    ]]
    local client = new {}
    assert(p:wait("a", function(c) return c.in_flight == 2 end, 10 * pace), output())
    assert.equal(2, client:stats().shared.in_flight)
    process.signal(holder, "KILL")
    assert(process.wait_for(function() return client:stats().shared.in_flight == 0 end, 5 * pace))
  end)

  it("say so in stats, one by one", function()
    local client = new {}
    assert(client:chat "Hi")
    local stats = client:stats()
    assert.same({ processes = 1, in_flight = 0, refused = 0 }, stats.shared)
    assert.equal(0, (select(2, next(stats.endpoints))).shared_in_flight)
    assert.is_nil(surefoot.new({ base_url = p.lines.a.url, api_key = "k", model = "m" }):stats().shared)
  end)
end)

describe("shared", function()
  it("refuses what is no name", function()
    for _, wrong in ipairs { "a/b", "..", ("x"):rep(65) } do
      assert.has_error(function()
        surefoot.new { base_url = "http://127.0.0.1:1", api_key = "k", model = "m", shared = wrong }
      end,
        "surefoot.new: shared: expected a name of 1 to 64 letters, digits, '_', '-' and '.'")
    end
  end)

  it("is nothing for a simulation", function()
    local sim = surefoot.simulate { seed = 1, endpoints = { a = function() return {} end } }
    assert.has_error(function() sim:client { shared = "x" } end,
      "simulation:client: shared: a simulation shares nothing, since its clock is virtual")
  end)
end)
