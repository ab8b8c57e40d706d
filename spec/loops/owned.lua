-- What must hold in every loop that knows its coroutines, as copas and cqueues do: their specs call `describe` with
-- busted's `it`, a home and a function that gives the running provider, which has a line "a".
--
--   home.enter()     the library is there from now on: package.loaded has it
--   home.leave()     and now it has not
--   home.spawn(f)    begins a coroutine of the loop; returns it
--   home.run()       turns the loop until it has ended, within seconds; returns what came out as errors, as one text
--   home.tick()      one turn of something else that the loop's coroutines wait for

local assert = require "luassert"
local leaks = require "spec.support.leaks"
local native = require "surefoot.loop.native"
local pace = require "spec.support.pace"
local surefoot = require "surefoot"
local tasks = require "surefoot.tasks"

local M = {}

M.KEY = "sk-test-0123456789"

-- PUC 5.1 cannot yield across pcall: there errors of tasks go to the loop alone.
local can_protect = tasks.guarded == pcall

-- An `it` for what is played in the home, and leaves nothing behind.
local function it_in(it, home, p, new_client)
  return function(name, play)
    it(name, function()
      p():reset()
      local before = leaks.begin()
      home.enter()
      local client = new_client()
      local ok, problem = xpcall(function() play(client) end, debug.traceback)
      home.leave()
      if not ok then
        error(problem, 0)
      end
      leaks.check(before, client)
      client:close()
    end)
  end
end

local function said(result, err)
  return result and result.text or err.kind
end

---@param it function
---@param home table
---@param p fun(): table
---@return fun(name: string, play: fun(client: surefoot.Client)) it_here for more that is played in the home
---@return fun(config: table?): surefoot.Client new_client of the provider's line
function M.describe(it, home, p)
  local spawn, run = home.spawn, home.run

  local function new_client(config)
    config = config or {}
    config.base_url, config.api_key, config.model = p().lines.a.url, M.KEY, "m"
    return surefoot.new(config)
  end

  local it_here = it_in(it, home, p, new_client)

  local function hang()
    p():profile("a", { fault = "hang" })
  end

  local function eventually(check)
    while not check(p():counters "a") do
      surefoot.sleep(0.01)
    end
  end

  local function run_well()
    assert.equal("", run())
  end

  it_here("wakes coroutines in the order of their answers, while the loop goes on", function(client)
    p():profile("a", { by_model = { slow = { delay = 0.3 }, medium = { delay = 0.2 }, quick = { delay = 0.1 } } })
    local order, ticks = {}, 0
    for _, model in ipairs { "slow", "medium", "quick" } do
      spawn(function()
        local result = assert(client:chat { model = model, messages = { { role = "user", content = model } } })
        order[#order + 1] = result.text
      end)
    end
    spawn(function()
      while #order < 3 do
        home.tick()
        ticks = ticks + 1
      end
    end)
    assert.same({}, order)
    run_well()
    assert.same({ "echo: quick", "echo: medium", "echo: slow" }, order)
    assert.is_true(ticks >= 10 / pace, ticks .. " ticks")
  end)

  it_here("ends with the last who waits, and begins again", function(client)
    for i = 1, 3 do
      local text
      spawn(function() text = assert(client:chat("x" .. i)).text end)
      run_well()
      assert.equal("echo: x" .. i, text)
    end
    run_well()
  end)

  it_here("reads streams side by side", function(client)
    p():profile("a", { answer = { chunks = 8, chunk_delay = 0.01 } })
    local order, texts = {}, {}
    for i = 1, 4 do
      spawn(function()
        local stream = assert(client:stream("number " .. i .. " of several streams"))
        repeat
          local chunk = stream:read()
          order[#order + 1] = i
        until not chunk
        texts[i] = assert(stream:result()).text
      end)
    end
    run_well()
    local changes = 0
    for i = 2, #order do
      changes = changes + (order[i] ~= order[i - 1] and 1 or 0)
    end
    assert.is_true(changes > 8, "the streams came one after the other")
    for i = 1, 4 do
      assert.equal("echo: number " .. i .. " of several streams", texts[i])
    end
  end)

  it_here("ends waits by a canceller, with the task, and in time", function(client)
    hang()
    local canceller, kinds = surefoot.canceller(), {}
    local hasty = new_client { timeout = { first_byte = 0.1 }, retry = { max_attempts = 1 } }
    spawn(function() kinds.canceller = said(client:chat("x", { cancel = canceller })) end)
    spawn(function() kinds.deadline = said(client:chat("x", { deadline = 0.1 })) end)
    spawn(function() kinds.timeout = said(hasty:chat "x") end)
    spawn(function()
      local called = surefoot.spawn(function() kinds.task = said(client:chat "x") end)
      local slept = surefoot.spawn(function() kinds.sleep = select(2, surefoot.sleep(60)).kind end)
      local joined = surefoot.spawn(function() kinds.join = select(2, called:wait()).kind end)
      local never = surefoot.spawn(function() kinds.never = "it began" end)
      never:cancel()
      eventually(function(c) return c.in_flight >= 2 and c.requests >= 4 end)
      kinds.patience = select(2, called:wait(0.02)).kind
      joined:cancel()
      joined:wait()
      slept:cancel()
      called:cancel()
      canceller:cancel()
    end)
    run_well()
    assert.same({
      canceller = "cancelled", deadline = "deadline", timeout = "timeout", task = "cancelled", sleep = "cancelled",
      join = "cancelled", patience = "timeout",
    }, kinds)
    hasty:close()
    assert(p():wait("a", function(c) return c.in_flight == 0 end))
  end)

  it_here("runs, spawns, joins and sleeps in its coroutines", function(client)
    p():profile("a", { delay = 0.05 })
    local texts, most, begun = {}, 0, nil
    spawn(function()
      texts = surefoot.run(function()
        local list, words = {}, {}
        for i = 1, 5 do
          list[i] = surefoot.spawn(function(word)
            begun = true
            surefoot.sleep(0.01)
            most = math.max(most, client:stats().in_flight)
            return assert(client:chat(word .. i)).text
          end, "x")
        end
        assert.is_nil(begun)
        local both = surefoot.all { function() return client:chat "l" end, function() return client:chat "r" end }
        for i = 1, 5 do
          words[i] = list[i]:wait()
        end
        words[6] = both[1][1].text .. both[2][1].text
        return words
      end)
    end)
    run_well()
    assert.same({ "echo: x1", "echo: x2", "echo: x3", "echo: x4", "echo: x5", "echo: lecho: r" }, texts)
    assert.is_true(most > 3)
  end)

  local it_protects = can_protect and it_here or function() end

  it_protects("tells the errors of tasks to who waits for them, else to the loop", function(client)
    local caught, message, finished
    spawn(function()
      local outcomes = surefoot.all { function() client:chat "x" error { code = 7 } end, function() return 1 end }
      caught = outcomes[1].cause.code + outcomes[2][1]
      local ok
      ok, message = pcall(surefoot.run, function()
        surefoot.spawn(function() client:chat "x" error "of the run" end)
        surefoot.spawn(function() finished = client:chat "y" ~= nil end)
      end)
      assert.is_false(ok)
      surefoot.spawn(function() client:chat "x" error "nobody's" end)
    end)
    assert.matches("nobody's", run())
    assert.equal(8, caught)
    assert.matches("of the run", message)
    assert.is_true(finished)
  end)

  it_here("goes on when a coroutine throws that has waited", function(client)
    p():profile("a", { delay = 0.05 })
    local texts = {}
    for i = 1, 6 do
      spawn(function()
        local result = client:chat("x" .. i, { deadline = i % 2 == 1 and 0.02 or 5 })
        if not result then
          error("number " .. i, 0)
        end
        texts[#texts + 1] = result.text
      end)
    end
    local errors = run()
    assert.matches("number 1", errors)
    assert.matches("number 3", errors)
    assert.matches("number 5", errors)
    table.sort(texts)
    assert.same({ "echo: x2", "echo: x4", "echo: x6" }, texts)
  end)

  it_here("tells the loop, and no waiter, what comes out of the engine", function(client)
    p():profile("a", { delay = 0.05 })
    local texts, scheduler = {}, native.scheduler()
    for i = 1, 3 do
      spawn(function() texts[i] = assert(client:chat("x" .. i)).text end)
    end
    local step, failed = scheduler.step, 0
    function scheduler.step(...)
      step(...)
      if failed < 2 then
        failed = failed + 1
        error("out of step " .. failed, 0)
      end
    end
    local errors = run()
    scheduler.step = nil
    assert.matches("out of step 1", errors)
    assert.matches("out of step 2", errors)
    assert.same({ "echo: x1", "echo: x2", "echo: x3" }, texts)
  end)

  it_here("does nothing while fifty calls wait", function(client)
    hang()
    local scheduler, steps, count, cost = native.scheduler(), 0, nil, nil
    local canceller = surefoot.canceller()
    for _ = 1, 50 do
      spawn(function() client:chat("x", { deadline = 60, cancel = canceller }) end)
    end
    spawn(function()
      eventually(function(c) return c.in_flight == 50 end)
      surefoot.sleep(0.3 * pace) -- libcurl looks once more 200 ms after it began to connect
      local from, clock = steps, os.clock()
      surefoot.sleep(1)
      count, cost = steps - from, os.clock() - clock
      canceller:cancel()
    end)
    local step = scheduler.step
    function scheduler.step(...)
      steps = steps + 1
      return step(...)
    end
    run_well()
    scheduler.step = nil
    assert.is_true(count <= 3, count .. " steps in a second")
    assert.is_true(cost < 0.02 * pace, ("%g s of CPU"):format(cost))
  end)

  it_here("wakes all when the client is closed", function(client)
    hang()
    local kinds, closing = {}, new_client()
    for i = 1, 10 do
      spawn(function() kinds[i] = said(closing:chat "x") end)
    end
    spawn(function()
      eventually(function(c) return c.in_flight == 10 end)
      closing:close()
    end)
    run_well()
    assert.equal(("closed "):rep(10), table.concat(kinds, " ") .. " ")
    assert.equal(0, client:stats().in_flight)
  end)

  it_here("blocks where a coroutine is nested in another, and keeps what comes for others", function(client)
    p():profile("a", { by_model = { slow = { delay = 0.2 }, quick = { delay = 0.05 } } })
    local order, ticks = {}, 0
    local function ask(model)
      local result = assert(client:chat { model = model, messages = { { role = "user", content = model } } })
      order[#order + 1] = model
      return result.text
    end
    for _ = 1, 2 do
      spawn(function() ask "quick" end)
    end
    spawn(function()
      surefoot.sleep(0.01)
      local words = coroutine.wrap(function()
        for _ = 1, 2 do
          coroutine.yield(ask "slow")
        end
      end)
      local before = ticks
      assert.same({ "echo: slow", "echo: slow" }, { words(), words() })
      assert.equal(before, ticks, "the loop has turned meanwhile")
    end)
    spawn(function()
      while #order < 4 do
        home.tick()
        ticks = ticks + 1
      end
    end)
    run_well()
    assert.same({ "slow", "slow", "quick", "quick" }, order)
  end)

  it_here("blocks on the main thread, and keeps what comes for others", function(client)
    p():profile("a", { delay = 0.05 })
    local text
    spawn(function() text = assert(client:chat "x").text end)
    assert.equal("echo: main", assert(client:chat "main").text)
    surefoot.run(function() assert(client:chat "task") end)
    surefoot.sleep(0.1)
    assert.is_nil(text)
    run_well()
    assert.equal("echo: x", text)
  end)

  it_here("blocks in the first coroutine that is nested in a new one", function(client)
    local words, text = {}, nil
    spawn(function()
      for word in coroutine.wrap(function()
        for i = 1, 2 do
          coroutine.yield(assert(client:chat("n" .. i)).text)
        end
      end) do
        words[#words + 1] = word
      end
      text = assert(client:chat "x").text
    end)
    run_well()
    assert.same({ "echo: n1", "echo: n2" }, words)
    assert.equal("echo: x", text)
  end)

  it_here("waits in coroutines that others begin", function(client)
    p():profile("a", { delay = 0.05 })
    local texts = {}
    local function begin(depth)
      spawn(function()
        if depth > 1 then
          begin(depth - 1)
        end
        texts[depth] = assert(client:chat("x" .. depth)).text
      end)
    end
    begin(4)
    run_well()
    assert.same({ "echo: x1", "echo: x2", "echo: x3", "echo: x4" }, texts)
    assert.equal(4, p():counters("a").peak)
  end)

  local close = coroutine.close -- 5.4
  local it_closes = close and it_here or function() end

  it_closes("gives up what a closed coroutine waited for, be it the first or not", function(client)
    hang()
    local victims, text, other = {}, nil, surefoot.canceller()
    for i = 1, 3 do
      spawn(function()
        victims[i] = coroutine.running()
        client:chat "x"
        error "it went on"
      end)
    end
    spawn(function() text = said(client:chat("y", { cancel = other })) end)
    spawn(function()
      eventually(function(c) return c.in_flight == 4 end)
      for i = 1, 3 do
        assert(close(victims[i]))
        eventually(function(c) return c.aborted == i end)
      end
      other:cancel()
    end)
    run() -- some loops complain that they cannot resume it
    assert.equal("cancelled", text)
  end)

  it_here("makes two thousand calls, 32 at a time", function()
    local client = new_client { concurrency = { limit = 32 } }
    local total, begun, done, most = pace > 1 and 400 or 2000, 0, 0, 0
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
    run_well()
    assert.equal(total, done)
    assert.is_true(most >= 31)
    assert.equal(total, p():counters("a").requests)
    client:close()
  end)

  return it_here, new_client
end

return M
