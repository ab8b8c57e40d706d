-- The one fd that is the whole engine, watched from a loop that is not ours: readable whenever there is work, quiet
-- otherwise; and the same calls on the main thread, in tasks, and in coroutines of the user's own.

local build = require "spec.support.build"
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local socket = require "socket"
local surefoot = require "surefoot"

local KEY = "sk-test-0123456789"

describe("the pollable fd", function()
  local p, before, system

  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
    local path = package.cpath
    package.cpath = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;" .. path
    system = require "spec_system"
    package.cpath = path
  end)

  teardown(function()
    p:stop()
    build.clean()
  end)

  before_each(function()
    p:reset()
    before = leaks.begin()
  end)

  local function new(url, more)
    local config = {
      base_url = p.lines.a[url or "url"], api_key = KEY, model = "m", tls = { ca_file = p.ca_file },
    }
    for key, value in pairs(more or {}) do
      config[key] = value
    end
    return surefoot.new(config)
  end

  -- Turns a loop that does nothing but poll one fd until `done()`; never turns without being woken. Returns how often.
  local function turn(fd, done, seconds)
    local turns, deadline = 0, socket.gettime() + (seconds or 5 * pace)
    while not done() do
      local left = deadline - socket.gettime()
      assert(left > 0 and system.poll(fd, left), "a wake-up was lost")
      surefoot.step()
      turns = turns + 1
    end
    return turns
  end

  local function quiet(fd)
    while system.poll(fd, 0) do
      surefoot.step()
    end
  end

  for _, how in ipairs { "url", "tls_url" } do
    for _, version in ipairs(how == "url" and { "1.1" } or { "1.1", "2" }) do
      it(("wakes for every answer (%s, HTTP/%s), also of a warm connection"):format(how, version), function()
        local client, fd = new(how, { http_version = version }), surefoot.pollfd()
        for i = 1, 60 do
          local result
          local task = surefoot.spawn(function() result = client:chat("x" .. i) end)
          local turns = turn(fd, function() return task:done() end)
          assert.equal("echo: x" .. i, result and result.text)
          assert.is_true(i == 1 or turns <= 8, "turned " .. turns .. " times for one call")
        end
        quiet(fd)
        leaks.check(before, client)
        client:close()
      end)
    end
  end

  it("wakes for calls that begin inside of a turn, one after another", function()
    local client, fd, count = new(), surefoot.pollfd(), 0
    local task = surefoot.spawn(function()
      for i = 1, 50 do
        assert(assert(client:chat("x" .. i)).text == "echo: x" .. i)
        count = i
      end
    end)
    turn(fd, function() return task:done() end)
    assert.equal(50, count)
    client:close()
  end)

  it("wakes for what a cancel or a close has ended", function()
    p:profile("a", { fault = "hang" })
    local client, fd = new(), surefoot.pollfd()
    for _, act in ipairs { "cancel", "close" } do
      local canceller, err = surefoot.canceller(), nil
      local task = surefoot.spawn(function() err = select(2, client:chat("x", { cancel = canceller })) end)
      turn(fd, function() return p:counters("a").in_flight == 1 end)
      quiet(fd)
      if act == "cancel" then
        canceller:cancel()
      else
        client:close()
      end
      assert.is_true(system.poll(fd, 0), act)
      turn(fd, function() return task:done() end)
      assert.equal(act == "cancel" and "cancelled" or "closed", err.kind)
      assert(p:wait("a", function(c) return c.in_flight == 0 end))
    end
    quiet(fd)
    leaks.check(before, client)
  end)

  it("wakes for refusals that need no network", function()
    local client, fd = new(nil, { concurrency = { limit = 1, queue = 0 } }), surefoot.pollfd()
    p:profile("a", { delay = 0.05 })
    local kinds = {}
    local one = surefoot.spawn(function() kinds[1] = client:chat "x" and "ok" end)
    local two = surefoot.spawn(function() kinds[2] = select(2, client:chat "y").kind end)
    turn(fd, function() return one:done() and two:done() end)
    assert.same({ "ok", "queue_full" }, kinds)
    client:close()
  end)

  it("wakes for timers of all kinds: sleeps, timeouts, backoff, rates, deadlines", function()
    local client, fd = new(nil, {
      rate = { requests_per_second = 20, burst = 1, adaptive = false }, retry = { throttled_base_delay = 0.001 },
    }), surefoot.pollfd()
    local function timed(f, least, most)
      local began, finished = surefoot.now(), nil
      local task = surefoot.spawn(function()
        f()
        finished = surefoot.now()
      end)
      turn(fd, function() return task:done() end)
      local seconds = finished - began
      assert.is_true(seconds >= least * 0.99 and seconds < most + pace, seconds)
    end
    timed(function() surefoot.sleep(0.06) end, 0.06, 0.06)
    p:profile("a", { fault = "hang" })
    timed(function()
      assert(select(2, client:chat("x", { timeout = { first_byte = 0.05 * pace }, deadline = 0.1 * pace })).kind)
    end, 0.05 * pace, 0.1 * pace)
    p:profile("a", { sequence = { { status = { code = 429, headers = { ["retry-after-ms"] = "70" } } } } })
    timed(function() assert(client:chat "x") end, 0.07, 0.15)
    timed(function() assert(client:chat "x") assert(client:chat "y") end, 0.05, 0.12)
    quiet(fd)
    leaks.check(before, client)
    client:close()
  end)

  it("is as good inside another epoll", function()
    local client, outer = new "tls_url", system.nest(surefoot.pollfd())
    for i = 1, 10 do
      local result
      local task = surefoot.spawn(function() result = client:chat("x" .. i) end)
      turn(outer, function() return task:done() end)
      assert.equal("echo: x" .. i, result and result.text)
    end
    quiet(outer)
    system.close(outer)
    leaks.check(before, client)
    client:close()
  end)

  it("is as good for LuaSocket's select", function()
    local client, fd = new(), surefoot.pollfd()
    local object = { getfd = function() return fd end, dirty = function() return false end }
    local result
    local task = surefoot.spawn(function() result = client:chat "x" end)
    while not task:done() do
      assert.equal(1, #socket.select({ object }, nil, 5))
      surefoot.step()
    end
    assert.equal("echo: x", result.text)
    client:close()
  end)

  it("is quiet, and costs nothing, while fifty calls wait", function()
    p:profile("a", { fault = "hang" })
    local client, fd = new(), surefoot.pollfd()
    local tasks = {}
    for i = 1, 50 do
      tasks[i] = surefoot.spawn(function() client:chat("x", { deadline = 60 }) end)
    end
    assert(p:wait("a", function(c) surefoot.step() return c.in_flight == 50 end))
    quiet(fd)
    local function wait(seconds)
      local deadline, woken = surefoot.now() + seconds, 0
      while surefoot.now() < deadline do
        if system.poll(fd, deadline - surefoot.now()) then
          surefoot.step()
          woken = woken + 1
        end
      end
      return woken
    end
    wait(0.3) -- libcurl looks once more 200 ms after it began to connect
    local from = system.cost()
    local woken = wait(1)
    local cost = system.cost() - from
    assert.is_true(woken <= 1, "woken " .. woken .. " times in a second")
    assert.is_true(cost < 0.01 * pace, ("%g s of CPU"):format(cost))
    for i = 1, 50 do
      tasks[i]:cancel()
    end
    turn(fd, function() return tasks[50]:done() end)
    quiet(fd)
    leaks.check(before, client)
    client:close()
  end)

  it("serves a loop with coroutines of its own", function()
    p:profile("a", { delay = 0.02 })
    local client, fd = new(), surefoot.pollfd()
    local runnable, current, alive, most = {}, nil, 0, 0
    local function spawn(f)
      runnable[#runnable + 1] = coroutine.create(f)
      alive = alive + 1
    end
    surefoot.use {
      wait = function(token)
        token.co = current
        coroutine.yield()
      end,
      wake = function(token) runnable[#runnable + 1] = token.co end,
      spawn = spawn,
    }
    local said = {}
    for i = 1, 20 do
      spawn(function()
        most = math.max(most, client:stats().in_flight)
        said[i] = assert(client:chat("x" .. i)).text
        surefoot.sleep(0.01)
        local both = surefoot.all { function() return client:chat "l" end, function() return client:chat "r" end }
        assert(both[1][1].text == "echo: l" and both[2][1].text == "echo: r")
      end)
    end
    local deadline = socket.gettime() + 10 * pace
    while alive > 0 do
      local co = table.remove(runnable, 1)
      if co then
        current = co
        assert(coroutine.resume(co))
        current = nil
        if coroutine.status(co) == "dead" then
          alive = alive - 1
        end
      else
        assert(system.poll(fd, deadline - socket.gettime()), "a wake-up was lost")
        surefoot.step()
      end
    end
    surefoot.use(nil)
    for i = 1, 20 do
      assert.equal("echo: x" .. i, said[i])
    end
    assert.equal(19, most)
    quiet(fd)
    leaks.check(before, client)
    client:close()
  end)
end)

describe("without a loop of one's own", function()
  local p, client, before

  setup(function() p = provider.start() end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    before = leaks.begin()
    client = surefoot.new { base_url = p.lines.a.url, api_key = KEY, model = "m", concurrency = { limit = 32 } }
  end)

  after_each(function()
    leaks.check(before, client)
    client:close()
  end)

  it("calls block on the main thread", function()
    assert.equal("echo: x", assert(client:chat "x").text)
  end)

  it("calls block in coroutines that nobody runs, and yield nothing", function()
    local co = coroutine.wrap(function() return assert(client:chat "x").text end)
    assert.equal("echo: x", co())
  end)

  it("two hundred tasks run, 32 at a time, and end as the provider answers", function()
    p:profile("a", { latency = { median = 0.02, sigma = 1 }, seed = 5 })
    local order, said = {}, {}
    surefoot.run(function()
      for i = 1, 200 do
        surefoot.spawn(function()
          said[i] = assert(client:chat("x" .. i)).text
          order[#order + 1] = i
        end)
      end
    end)
    local sorted = true
    for i = 1, 200 do
      assert.equal("echo: x" .. i, said[i])
      sorted = sorted and order[i] == i
    end
    assert.is_false(sorted)
    local counters = p:counters "a"
    assert.same({ 200, true, true }, { counters.requests, counters.peak <= 32, counters.connections <= 32 })
    local stats = client:stats()
    assert.same({ 200, 200, 0 }, { stats.requests, stats.successes, stats.in_flight })
    -- A call is in flight from submit on, waiting included; an attempt only while it runs.
    assert.equal(32, stats.endpoints["127.0.0.1:" .. p.lines.a.port].peak_in_flight)
  end)

  it("coroutines inside of a task may yield to it", function()
    local texts = {}
    surefoot.run(function()
      local generate = coroutine.wrap(function()
        for i = 1, 3 do
          coroutine.yield("x" .. i)
        end
      end)
      for word in generate do
        texts[#texts + 1] = assert(client:chat(word)).text
      end
    end)
    assert.same({ "echo: x1", "echo: x2", "echo: x3" }, texts)
  end)

  it("an error in one task comes out of run, after the others have ended", function()
    local done = 0
    local ok, err = pcall(surefoot.run, function()
      for i = 1, 5 do
        surefoot.spawn(function()
          assert(client:chat "x")
          if i == 3 then error "mine" end
          done = done + 1
        end)
      end
    end)
    assert.is_false(ok)
    assert.matches("mine", err)
    assert.equal(4, done)
  end)
end)
