-- The client on a real provider over loopback: blocking, in tasks, and in loops that are not ours.
local socket = require "socket"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("against a real provider", function()
  local p, client

  setup(function() p = provider.start { lines = { "a", "b" }, tls = true } end)
  teardown(function() p:stop() end)
  before_each(function()
    p:reset()
    client = surefoot.new { base_url = p.lines.a.url, model = "m", api_key = "k-1" }
  end)
  after_each(function()
    client:close()
    surefoot.use(nil)
  end)

  it("a call blocks and comes back whole", function()
    local result, err = client:chat "Hello"
    assert.is_nil(err)
    assert.equal("echo: Hello", result.text)
    assert.equal("stop", result.finish_reason)
    assert.equal("127.0.0.1:" .. p.lines.a.port, result.endpoint)
    assert.is_true(result.latency > 0 and result.latency < 5)
    assert.equal(result.headers["x-request-id"], result.request_id)
    assert.equal("a", result.headers["x-sim-line"])
    assert.equal("Bearer k-1", p:counters("a").last_headers.authorization)
    assert.is_true(assert(client:chat "again").attempts[1].reused)
    assert.equal(2, client:stats().successes)
  end)

  it("lists models, embeds, verifies and requests", function()
    assert.is_string(assert(client:models())[1].id)
    assert.equal(2, #assert(client:embeddings { input = { "a", "b" }, model = "e" }).embeddings)
    local report = client:verify()
    assert.is_true(report.ok, report.endpoints[1].message)
    assert.is_true(client:warm().ok)
    assert.equal("list", assert(client:request { path = "/models" }).body.object)
  end)

  it("goes over TLS to a server it trusts, and to no other", function()
    local trusting = surefoot.new { base_url = p.lines.a.tls_url, model = "m", tls = { ca_file = p.ca_file } }
    assert.equal("echo: x", assert(trusting:chat "x").text)
    trusting:close()
    local wary = surefoot.new { base_url = p.lines.a.tls_url, model = "m", retry = { max_attempts = 1 } }
    local _, err = wary:chat "x"
    assert.same({ "tls", false, false }, { err.kind, err.retryable, err.sent })
    wary:close()
  end)

  it("fails over from a line that refuses", function()
    local refusing = provider.refusing()
    local two = surefoot.new { model = "m", endpoints = {
      { url = refusing.url, name = "dead" }, { url = p.lines.b.url, name = "b", priority = 2 },
    } }
    local result = assert(two:chat "x")
    assert.equal("b", result.endpoint)
    assert.same({ "network", "ok" }, { result.attempts[1].kind, result.attempts[2].kind })
    two:close()
    refusing:close()
  end)

  it("takes no damaged answer for a whole one", function()
    for fault, kind in pairs {
      short_json = "truncated", malformed = "malformed", html = "malformed", empty = "malformed",
        truncate = "truncated",
      error_200 = false,
    } do
      p:profile("a", { sequence = { { fault = fault } } })
      local result = assert(client:chat "x")
      assert.equal("echo: x", result.text, fault)
      assert.equal(2, #result.attempts, fault)
      if kind then
        assert.equal(kind, result.attempts[1].kind, fault)
      end
    end
  end)

  it("shows no key, though the provider echoes it", function()
    p:profile("a", { status = { code = 401, body = { error = { message = "bad key k-1" } } } })
    local _, err = client:chat "x"
    assert.equal("unauthorized", err.kind)
    assert.equal("bad key [key]", err.message)
    assert.equal("bad key [key]", err.body.error.message)
  end)

  it("runs tasks side by side", function()
    p:profile("a", { delay = 0.5 })
    local began, texts = surefoot.now(), {}
    surefoot.run(function()
      local outcomes = surefoot.all {
        function() return assert(client:chat "1").text end,
        function() return assert(client:chat "2").text end,
        function() return assert(client:chat "3").text end,
        function() error "boom" end,
      }
      for i = 1, 3 do
        texts[i] = outcomes[i][1]
      end
      assert.equal("error", outcomes[4].kind)
    end)
    assert.same({ "echo: 1", "echo: 2", "echo: 3" }, texts)
    assert.is_true(surefoot.now() - began < 1.4)
    assert.equal(3, p:counters("a").peak)
  end)

  it("cancels a call with its task, up to the provider", function()
    p:profile("a", { fault = "hang" })
    surefoot.run(function()
      local task = surefoot.spawn(function() return client:chat "x" end)
      while p:counters("a").in_flight == 0 do
        surefoot.sleep(0.005)
      end
      task:cancel()
      local result, err = task:wait()
      assert.is_nil(result)
      assert.equal("cancelled", err.kind)
      assert.is_true(err.sent)
      surefoot.sleep(0)
    end)
    assert.truthy(p:wait("a", function(c) return c.aborted == 1 and c.in_flight == 0 end, 5))
  end)

  it("does batches, on the main thread as in a task", function()
    p:profile("a", { delay = 0.2 })
    local requests = {}
    for i = 1, 20 do
      requests[i] = "r" .. i
    end
    local outcomes, summary = client:batch(requests, { concurrency = 10 })
    assert.equal("echo: r20", outcomes[20].result.text)
    assert.same({ 20, 20 }, { summary.total, summary.succeeded })
    assert.equal(10, p:counters("a").peak)
    local seen = 0
    surefoot.run(function()
      local next_result = client:each(requests)
      local index, result = next_result()
      while index do
        assert.equal("echo: r" .. index, result.text)
        seen = seen + 1
        index, result = next_result()
      end
    end)
    assert.equal(20, seen)
  end)

  it("drains before it closes", function()
    p:profile("a", { delay = 0.15 })
    local text
    surefoot.run(function()
      surefoot.spawn(function() text = assert(client:chat "x").text end)
      surefoot.sleep(0.02)
      client:close { drain = 5 }
    end)
    assert.equal("echo: x", text)
  end)

  it("runs the tasks of a poll loop that is not ours", function()
    p:profile("a", { delay = 0.05 })
    local fd = surefoot.pollfd()
    local engine = { getfd = function() return fd end, dirty = function() return false end }
    local texts, turns = {}, 0
    for i = 1, 3 do
      surefoot.spawn(function()
        surefoot.sleep(0.01)
        local text = assert(client:chat("x" .. i)).text
        texts[#texts + 1] = text
      end)
    end
    while #texts < 3 and turns < 500 do
      turns = turns + 1
      local readable = socket.select({ engine }, nil, 5)
      assert.equal(engine, readable[1], "the fd must be readable when there is work")
      surefoot.step()
    end
    table.sort(texts)
    assert.same({ "echo: x1", "echo: x2", "echo: x3" }, texts)
    assert.is_true(turns < 200, turns .. " turns")
  end)

  it("yields in the coroutines of a loop that is not ours", function()
    p:profile("a", { delay = 0.05 })
    local fd = surefoot.pollfd()
    local engine = { getfd = function() return fd end, dirty = function() return false end }
    local waiting, slept, alive = {}, 0, 0
    local function start(f)
      alive = alive + 1
      local co = coroutine.create(function()
        f()
        alive = alive - 1
      end)
      assert(coroutine.resume(co))
    end
    surefoot.use {
      wait = function(token)
        waiting[token] = coroutine.running()
        coroutine.yield()
      end,
      wake = function(token)
        local co = waiting[token]
        waiting[token] = nil
        assert(coroutine.resume(co))
      end,
      spawn = start,
      sleep = function() slept = slept + 1 end,
    }
    local texts, task_text, all = {}, nil, nil
    start(function() texts[1] = assert(client:chat "1").text end)
    start(function()
      surefoot.sleep(3600)
      task_text = surefoot.spawn(function() return assert(client:chat "2").text end):wait()
      all = surefoot.all { function() return 1 end, function() return assert(client:chat "3").text end }
    end)
    assert.equal(3, alive)
    for _ = 1, 500 do
      if alive == 0 then
        break
      end
      assert.equal(engine, socket.select({ engine }, nil, 5)[1])
      surefoot.step()
    end
    assert.equal(0, alive)
    assert.same({ "echo: 1", "echo: 2", "echo: 3", 1, 1 }, { texts[1], task_text, all[2][1], all[1][1], slept })
    assert.equal("echo: main", assert(client:chat "main").text)
  end)

  it("leaves nothing behind for the provider to complain about", function()
    assert.equal(0, p:counters("a").in_flight)
  end)
end)

describe("surefoot.run and its kin", function()
  it("say where they cannot be used", function()
    assert.error_matches(function() surefoot.run(5) end, "surefoot.run: expected a function, got a number")
    assert.error_matches(function() surefoot.spawn(5) end, "surefoot.spawn: expected a function")
    assert.error_matches(function() surefoot.sleep(-1) end, "surefoot.sleep: expected seconds, 0 or more, got %-1")
    assert.error_matches(function() surefoot.sleep(0 / 0) end, "surefoot.sleep: expected seconds")
    assert.error_matches(function() surefoot.all { 1 } end, "surefoot.all%[1%]: expected a function, got a number")
    assert.error_matches(function() surefoot.all { print, nil, print } end, "surefoot.all%[2%]: the list has a hole")
    assert.error_matches(function() surefoot.all { a = print } end, "surefoot.all.a: a list is expected here")
    assert.error_matches(function() surefoot.use { wait = print } end, "wait and wake are required")
    assert.error_matches(function() surefoot.use { wait = print, wkae = print } end, 'unknown key "wkae"')
    assert.error_matches(function() surefoot.use { wait = 1 } end, "wait: expected a function, got a number")
    surefoot.run(function()
      assert.error_matches(function() surefoot.run(print) end, "it runs already")
    end)
  end)

  it("sleep and know the time", function()
    local began = surefoot.now()
    assert.is_true(surefoot.sleep(0.02))
    local slept = surefoot.now() - began
    assert.is_true(slept >= 0.02 and slept < 0.5, slept)
    local all = surefoot.all {
      function() return 1 end, function() surefoot.sleep(0.001) return 2, nil, 3 end,
    }
    assert.same({ { 1 }, { 2, nil, 3 } }, all)
    assert.same({ 1, 3 }, { all[1].n, all[2].n })
  end)

  it("begin tasks that run once somebody waits for one, or with surefoot.run", function()
    local log = {}
    local function task(name, seconds)
      return surefoot.spawn(function()
        log[#log + 1] = name
        surefoot.sleep(seconds)
        return name, nil
      end)
    end
    local slow, quick = task("slow", 0.03), task("quick", 0.001)
    assert.same({}, log)
    assert.same({ "quick", 2 }, { (quick:wait()), select("#", quick:wait()) })
    assert.is_false(slow:done())
    assert.equal("slow", (slow:wait()))
    local late = task("late", 0)
    surefoot.run(function() log[#log + 1] = "run" end)
    assert.same({ true, "late" }, { late:done(), (late:wait()) })
    assert.same({ "slow", "quick", "late", "run" }, log)
    local lost = surefoot.spawn(function() error "lost" end)
    assert.error_matches(function() surefoot.run(function() end) end, "lost")
    assert.is_true(lost:done())
  end)
end)
