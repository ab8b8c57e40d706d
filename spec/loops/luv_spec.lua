-- Calls in coroutines of a luv loop: they wait by it, the loop goes on, and ends by itself when nobody waits.

local build = require "spec.support.build"
local env = require "spec.support.env"
local leaks = require "spec.support.leaks"
local native = require "surefoot.loop.native"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local KEY = "sk-test-0123456789"

describe("luv", function()
  local p, before, client, uv, system, had

  -- The other specs' coroutines shall not be taken for luv's.
  setup(function()
    had = package.loaded.luv
    uv = select(2, pcall(require, "luv"))
    uv = type(uv) == "table" and uv or nil
    package.loaded.luv = had
    if uv then
      p = provider.start { lines = { "a" }, tls = true }
      local path = package.cpath
      package.cpath = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;" .. path
      system = require "spec_system"
      package.cpath = path
    end
  end)

  teardown(function()
    if p then
      p:stop()
      build.clean()
    end
  end)

  local function new(config)
    config = config or {}
    config.base_url, config.api_key, config.model = p.lines.a.url, KEY, "m"
    return surefoot.new(config)
  end

  local function it_with_luv(name, play)
    it(name, function()
      if not uv then
        env.skip("luv was not found for " .. env.lua .. ": install the package lua-luv")
        return
      end
      p:reset()
      before, package.loaded.luv = leaks.begin(), uv
      client = new()
      local ok, problem = xpcall(play, debug.traceback)
      surefoot.use(nil)
      package.loaded.luv = had
      if not ok then
        uv.walk(function(handle) return handle:is_closing() or handle:close() end)
        uv.run()
        error(problem, 0)
      end
      leaks.check(before, client)
      client:close()
    end)
  end

  local function spawn(f, ...)
    local co = coroutine.create(f)
    assert(coroutine.resume(co, ...))
    return co
  end

  -- Turns the loop until it ends by itself. It must do so with nothing left in it.
  local function run()
    local seconds = 20 * pace
    local watchdog = uv.new_timer()
    watchdog:start(seconds * 1000, 0, function()
      uv.stop()
      watchdog:close()
    end)
    watchdog:unref()
    uv.run()
    assert(not watchdog:is_closing(), "the loop did not end")
    watchdog:close()
    uv.run()
    uv.walk(function(handle) assert(not handle:is_active(), tostring(handle)) end)
  end

  local function eventually(check)
    while not check(p:counters "a") do
      surefoot.sleep(0.01)
    end
  end

  it_with_luv("wakes coroutines in the order of their answers, while its timers go on", function()
    p:profile("a", { by_model = { slow = { delay = 0.15 }, medium = { delay = 0.1 }, quick = { delay = 0.05 } } })
    local said, ticks, timer = {}, 0, uv.new_timer()
    for _, model in ipairs { "slow", "medium", "quick" } do
      spawn(function()
        local result = assert(client:chat { model = model, messages = { { role = "user", content = model } } })
        said[#said + 1] = result.text
        if #said == 3 then
          timer:close()
        end
      end)
    end
    timer:start(5, 5, function() ticks = ticks + 1 end)
    assert.same({}, said)
    run()
    assert.same({ "echo: quick", "echo: medium", "echo: slow" }, said)
    assert.is_true(ticks >= 15 / pace, ticks .. " ticks")
  end)

  it_with_luv("ends with the last who waits, and begins again", function()
    for i = 1, 3 do
      local text
      spawn(function() text = assert(client:chat("x" .. i)).text end)
      run()
      assert.equal("echo: x" .. i, text)
    end
    run()
  end)

  it_with_luv("waits on after somebody has closed all of its handles", function()
    p:profile("a", { delay = 0.05 })
    local texts = {}
    spawn(function()
      for i = 1, 2 do
        texts[i] = assert(client:chat("x" .. i)).text
        if i == 1 then
          uv.walk(function(handle) return handle:is_closing() or handle:close() end)
        end
      end
    end)
    uv.run()
    assert.same({ "echo: x1", "echo: x2" }, texts)
  end)

  it_with_luv("streams side by side", function()
    p:profile("a", { answer = { chunks = 8 }, stream = { chunk_delay = 0.015 * pace } })
    local order, texts = {}, {}
    for i = 1, 4 do
      spawn(function()
        local stream = assert(client:stream("number " .. i .. " of several streams"))
        local chunk = stream:read()
        while chunk do
          order[#order + 1] = i
          chunk = stream:read()
        end
        texts[i] = assert(stream:result()).text
      end)
    end
    run()
    local changes = 0
    for i = 2, #order do
      changes = changes + (order[i] ~= order[i - 1] and 1 or 0)
    end
    assert.is_true(changes > 8, "the streams came one after the other")
    for i = 1, 4 do
      assert.equal("echo: number " .. i .. " of several streams", texts[i])
    end
  end)

  it_with_luv("cancels by a canceller and by the task, from the loop", function()
    p:profile("a", { fault = "hang" })
    local canceller, errs, timer = surefoot.canceller(), {}, uv.new_timer()
    spawn(function() errs[1] = select(2, client:chat("x", { cancel = canceller })) end)
    local task = surefoot.spawn(function() errs[2] = select(2, client:chat "y") end)
    local unborn = surefoot.spawn(function() errs[3] = "it began" end)
    unborn:cancel()
    spawn(function()
      eventually(function(c) return c.in_flight == 2 end)
      timer:start(0, 0, function()
        canceller:cancel()
        task:cancel()
        timer:close()
      end)
    end)
    run()
    assert.same({ "cancelled", "cancelled" }, { errs[1].kind, errs[2].kind })
    assert.is_nil(errs[3])
    assert(p:wait("a", function(c) return c.aborted == 2 end))
  end)

  it_with_luv("runs, spawns, joins and sleeps in coroutines of its own", function()
    p:profile("a", { delay = 0.05 })
    local texts, most = {}, 0
    spawn(function()
      texts = surefoot.run(function()
        local tasks, said = {}, {}
        for i = 1, 5 do
          tasks[i] = surefoot.spawn(function(word)
            surefoot.sleep(0.01)
            most = math.max(most, client:stats().in_flight)
            return assert(client:chat(word .. i)).text
          end, "x")
        end
        local both = surefoot.all { function() return client:chat "l" end, function() return client:chat "r" end }
        for i = 1, 5 do
          said[i] = tasks[i]:wait()
        end
        local sleeper = surefoot.spawn(surefoot.sleep, 60)
        said[6] = select(2, sleeper:wait(0.01)).kind
        sleeper:cancel()
        said[7] = both[1][1].text .. both[2][1].text
        return said
      end)
    end)
    run()
    assert.same({ "echo: x1", "echo: x2", "echo: x3", "echo: x4", "echo: x5", "timeout", "echo: lecho: r" }, texts)
    assert.is_true(most > 3)
  end)

  it_with_luv("begins tasks from the main thread, which may block meanwhile, with tasks of its own", function()
    p:profile("a", { delay = 0.05 })
    local texts = {}
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = surefoot.spawn(function()
        texts[i] = assert(client:chat("x" .. i)).text
        texts[i] = texts[i] .. assert(client:chat("y" .. i)).text
      end)
    end
    uv.run "once" -- they begin
    assert.equal("echo: z", assert(client:chat "z").text)
    assert.equal("echo: t", surefoot.run(function()
      return surefoot.spawn(function() return assert(client:chat "t").text end):wait()
    end))
    surefoot.sleep(0.1)
    assert.same({}, texts, "the main thread has run others' coroutines")
    run()
    for i = 1, 3 do
      assert.is_true(tasks[i]:done())
      assert.equal("echo: x" .. i .. "echo: y" .. i, texts[i])
    end
  end)

  it_with_luv("leaves coroutines within a blocking surefoot.run alone", function()
    local texts = {}
    surefoot.run(function()
      local generate = coroutine.wrap(function()
        for i = 1, 2 do
          coroutine.yield(assert(client:chat("x" .. i)).text)
        end
      end)
      texts[1], texts[2] = generate(), generate()
    end)
    assert.same({ "echo: x1", "echo: x2" }, texts)
  end)

  it_with_luv("is not confused by strangers that resume its coroutines", function()
    p:profile("a", { delay = 0.05 })
    local text, elsewhere, timer = nil, false, uv.new_timer()
    local co = spawn(function()
      text = assert(client:chat "x").text
      elsewhere = true
      coroutine.yield()
      elsewhere = "woken"
    end)
    assert(coroutine.resume(co))
    timer:start(5, 5, function()
      assert(coroutine.resume(co))
      if elsewhere == "woken" then
        timer:close()
      end
    end)
    run()
    assert.equal("echo: x", text)
    -- On the main thread its news is taken, and somebody is faster than the callback that would resume it.
    text, elsewhere = nil, false
    co = spawn(function()
      text = assert(client:chat "y").text
      elsewhere = true
      coroutine.yield()
      elsewhere = "woken"
    end)
    surefoot.sleep(0.2 * pace)
    assert(coroutine.resume(co))
    assert.is_true(elsewhere)
    run()
    assert.is_true(elsewhere, "it was resumed where it waits for others")
    assert.equal("echo: y", text)
  end)

  it_with_luv("gives up what a closed coroutine waited for", function()
    if not coroutine.close then
      return
    end
    p:profile("a", { fault = "hang" })
    local co = spawn(function() client:chat("x", { deadline = 0.3 * pace }) end)
    surefoot.sleep(0.05)
    assert(coroutine.close(co))
    co = nil
    run()
    assert.is_nil(co)
  end)

  it_with_luv("does nothing while fifty calls wait", function()
    p:profile("a", { fault = "hang" })
    local scheduler, tasks, steps = native.scheduler(), {}, 0
    for i = 1, 50 do
      tasks[i] = surefoot.spawn(function() client:chat("x", { deadline = 60 }) end)
    end
    local step, from, count, cost = scheduler.step, nil, nil, nil
    function scheduler.step(...)
      steps = steps + 1
      return step(...)
    end
    local timer = uv.new_timer()
    local function measured()
      cost, count = system.cost() - from, steps - count
      timer:close()
      for i = 1, 50 do
        tasks[i]:cancel()
      end
    end
    local function measure()
      from, count = system.cost(), steps
      timer:start(1000, 0, measured)
    end
    timer:start(20, 20, function()
      if p:counters("a").in_flight == 50 then
        timer:start(400 * pace, 0, measure) -- libcurl looks once more 200 ms after it began to connect
      end
    end)
    run()
    scheduler.step = nil
    assert(p:wait("a", function(c) return c.aborted == 50 end))
    assert.is_true(count <= 1, count .. " steps in a second")
    assert.is_true(cost < 0.01 * pace, ("%g s of CPU"):format(cost))
  end)

  it_with_luv("makes two thousand calls, 32 at a time", function()
    client:close()
    client = new { concurrency = { limit = 32 } }
    local total, begun, done, most = 2000, 0, 0, 0
    if pace > 1 then
      total = 400
    end
    for _ = 1, 32 do
      spawn(function()
        while begun < total do
          begun = begun + 1
          local word = "x" .. begun
          assert(assert(client:chat(word)).text == "echo: " .. word)
          done = done + 1
          most = math.max(most, client:stats().in_flight)
        end
      end)
    end
    run()
    assert.equal(total, done)
    assert.is_true(most >= 31)
    assert.equal(total, p:counters("a").requests)
  end)

  -- ---------------------------------------------------------------------------------------------------- in a process

  -- A program of its own; what it says, and how it ends.
  local function program(code)
    local path = build.folder() .. "/luv_program.lua"
    process.write(path, ([[
      local uv, surefoot = require "luv", require "surefoot"
      local client = surefoot.new { base_url = %q, api_key = "sk-test", model = "m" }
    ]]):format(p.lines.a.url) .. code)
    local places = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;;"
    return env.run({ "timeout", "-k", "1", "30", env.lua, "-l", "spec.helper", path }, { env = { LUA_CPATH = places } })
  end

  it_with_luv("shows what a coroutine throws as it shows errors of callbacks", function()
    local throws = [[coroutine.wrap(function() client:chat "x" error(%s) end)()]]
    for _, code in ipairs {
      throws:format '"mine"', throws:format 'setmetatable({}, { __tostring = function() return "mine" end })',
      'surefoot.spawn(function() client:chat "x" error "mine" end)',
    } do
      local result = program(code .. "\nuv.run()\nprint 'the loop has ended'")
      assert.matches("Uncaught Error.*mine", result.stderr)
      assert.matches("luv_program.lua:3", result.stderr)
      assert.equal("", result.stdout)
      assert.is_true(result.status ~= 0)
    end
  end)

  it_with_luv("goes on in a forked child, and in its parent", function()
    local result = program [[
      local system = require "spec_system"
      local function ask(word)
        local text
        coroutine.wrap(function() text = assert(client:chat(word)).text end)()
        uv.run()
        io.write(text, "\n")
        io.flush()
      end
      ask "before"
      local pid = system.fork()
      if pid == 0 then
        ask "child"
        system.exit(0)
      end
      assert(system.wait(pid) == 0)
      ask "after"
    ]]
    assert.equal("", result.stderr)
    assert.equal("echo: before\necho: child\necho: after\n", result.stdout)
    assert.equal(0, result.status)
  end)

  it_with_luv("answers side by side in its example, and cancels on Ctrl-C", function()
    p:profile("a", { answer = { chunks = 5 }, stream = { chunk_delay = 0.02 } })
    local line = env.lua .. " -l spec.helper examples/luv.lua " .. p.lines.a.url .. " m 2>&1"
    local text = env.check("printf 'one\\n\\ntwo\\n' | " .. line)
    assert.matches("1%. echo: one\n%-%- %d+ pieces in", text)
    assert.matches("2%. echo: two\n%-%- %d+ pieces in", text)
    p:profile("a", { fault = "hang" })
    text = env.check(("(echo one; sleep %g) | timeout -s INT %g %s || true"):format(0.5 * pace, 0.25 * pace, line))
    assert.matches("%-%- cancelling 1\n1%. failed: cancelled", text)
    assert(p:wait("a", function(c) return c.aborted == 1 end))
  end)
end)
