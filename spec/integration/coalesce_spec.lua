-- Shared calls against a real provider: one request over the wire, on the main thread, in tasks and in coroutines of a
-- loop that is not ours; it is taken back there when the last caller leaves.
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local socket = require "socket"
local surefoot = require "surefoot"

describe("calls that ask the same of a real provider", function()
  local p, before, client

  setup(function() p = provider.start { lines = { "a", "b" } } end)
  teardown(function() p:stop() end)

  before_each(function()
    p:reset()
    before = leaks.begin()
    client = surefoot.new { model = "m", coalesce = true, endpoints = {
      { name = "a", url = p.lines.a.url }, { name = "b", url = p.lines.b.url, priority = 2 },
    } }
  end)

  after_each(function()
    surefoot.use(nil)
    client:close()
    leaks.check(before, client)
  end)

  local function ask(text)
    return { messages = { { role = "user", content = text } }, temperature = 0 }
  end

  it("are one request there", function()
    p:profile("a", { delay = 0.1 * pace })
    local texts = {}
    surefoot.run(function()
      for i = 1, 20 do
        surefoot.spawn(function() texts[i] = assert(client:chat(ask(i % 2 == 0 and "even" or "odd"))).text end)
      end
    end)
    assert.same({ 20, "echo: odd", "echo: even" }, { #texts, texts[1], texts[20] })
    assert.equal(2, p:counters("a").requests)
    assert.same({ 20, 2, 18 }, { client:stats().requests, client:stats().attempts, client:stats().coalesced })
  end)

  it("fail over as one", function()
    p:profile("a", { fault = "reset" })
    p:profile("b", { delay = 0.05 * pace })
    local endpoints = {}
    surefoot.run(function()
      for i = 1, 5 do
        surefoot.spawn(function() endpoints[i] = assert(client:chat(ask "x")).endpoint end)
      end
    end)
    assert.same({ "b", "b", "b", "b", "b" }, endpoints)
    assert.same({ 1, 1 }, { p:counters("a").requests, p:counters("b").requests })
  end)

  it("are taken back when the last caller leaves, and no earlier", function()
    p:profile("a", { fault = "hang" })
    surefoot.run(function()
      local tasks, kinds = {}, {}
      for i = 1, 3 do
        tasks[i] = surefoot.spawn(function() kinds[i] = select(2, client:chat(ask "x")).kind end)
      end
      while p:counters("a").in_flight == 0 do
        surefoot.sleep(0.005)
      end
      tasks[1]:cancel()
      tasks[2]:cancel()
      surefoot.sleep(0.1 * pace)
      assert.same({ "cancelled", "cancelled" }, kinds)
      assert.same({ 1, 0 }, { p:counters("a").in_flight, p:counters("a").aborted })
      tasks[3]:cancel()
    end)
    assert.truthy(p:wait("a", function(c) return c.in_flight == 0 and c.aborted == 1 end, 5))
  end)

  it("keep a deadline each", function()
    p:profile("a", { delay = 0.3 * pace })
    local outcomes = {}
    surefoot.run(function()
      for i = 1, 3 do
        surefoot.spawn(function()
          local began = surefoot.now()
          local result, err = client:chat(ask "x", { deadline = i == 2 and 0.1 * pace or 10 * pace })
          outcomes[i] = { result and result.text or err.kind, surefoot.now() - began }
        end)
      end
    end)
    assert.same({ "echo: x", "deadline", "echo: x" }, { outcomes[1][1], outcomes[2][1], outcomes[3][1] })
    assert.is_true(outcomes[2][2] < 0.25 * pace, outcomes[2][2])
    assert.equal(1, p:counters("a").requests)
  end)

  it("may be on the main thread, while tasks stand still", function()
    p:profile("a", { delay = 0.1 * pace })
    local fd, text = surefoot.pollfd(), nil
    surefoot.spawn(function() text = assert(client:chat(ask "x")).text end)
    surefoot.step()
    assert.equal("echo: x", assert(client:chat(ask "x")).text)
    assert.is_nil(text)
    assert(socket.select({ { getfd = function() return fd end, dirty = function() return false end } }, nil, 5)[1])
    surefoot.step()
    assert.equal("echo: x", text)
    assert.equal(1, p:counters("a").requests)
  end)

  it("yield in a loop that is not ours, which is told inside of step alone", function()
    p:profile("a", { delay = 0.1 * pace })
    local fd = surefoot.pollfd()
    local engine = { getfd = function() return fd end, dirty = function() return false end }
    local waiting, stepping, alive = {}, false, 0
    surefoot.use {
      wait = function(token)
        waiting[token] = coroutine.running()
        coroutine.yield()
      end,
      wake = function(token)
        assert.is_true(stepping)
        local co = assert(waiting[token])
        waiting[token] = nil
        assert(coroutine.resume(co))
      end,
    }
    local outcomes, cancel = {}, surefoot.canceller()
    for i = 1, 4 do
      alive = alive + 1
      assert(coroutine.resume(coroutine.create(function()
        local result, err = client:chat(ask "x", { cancel = i == 1 and cancel or nil,
          deadline = i == 2 and 0.05 * pace or nil })
        outcomes[i] = result and result.text or err.kind
        alive = alive - 1
      end)))
    end
    cancel:cancel()
    for _ = 1, 500 do
      if alive > 0 then
        assert.equal(engine, socket.select({ engine }, nil, 5)[1])
        stepping = true
        surefoot.step()
        stepping = false
      end
    end
    assert.same({ "cancelled", "deadline", "echo: x", "echo: x" }, outcomes)
    assert.equal(1, p:counters("a").requests)
  end)
end)
