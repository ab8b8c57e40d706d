-- Probes of a real provider: whoever turns the engine, they go on, nobody waits for them, and nothing stays behind.
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local socket = require "socket"
local surefoot = require "surefoot"

describe("probes of a real provider", function()
  local p, before, client

  setup(function() p = provider.start { lines = { "a", "b" } } end)

  teardown(function()
    local errors = p:errors()
    p:stop()
    assert.same({}, errors)
  end)

  before_each(function()
    p:reset()
    before = leaks.begin()
    client = surefoot.new { model = "m", routing = "priority", retry = { base_delay = 0.01 },
      health = { interval = 0.3 * pace, timeout = pace },
      breaker = { failure_threshold = 1, recovery_timeout = 0.1 * pace, max_recovery_timeout = 0.2 * pace },
      endpoints = { { name = "a", url = p.lines.a.url }, { name = "b", url = p.lines.b.url } } }
  end)

  after_each(function()
    client:close()
    leaks.check(before, client)
  end)

  local function line(name)
    return client:stats().endpoints[name]
  end

  local function is_probed(name)
    return function() return line(name).probes.successes > 0 end
  end

  -- Line a fails, and its circuit opens; then it is well again, and nobody knows.
  local function fail_and_recover()
    p:profile("a", { status = { code = 500 } })
    assert.equal("b", assert(client:chat "x").endpoint)
    assert.equal("open", line "a".breaker)
    p:profile("a", {})
  end

  local function check_found()
    assert.equal("closed", line "a".breaker)
    local result = assert(client:chat "x")
    assert.same({ "a", 1, "echo: x" }, { result.endpoint, #result.attempts, result.text })
    local stats = client:stats()
    assert.same({ 2, 2, 3 }, { stats.requests, stats.successes, stats.attempts })
  end

  it("find a line again in a loop that is not ours, which only polls and steps", function()
    fail_and_recover()
    local fd, turns, deadline = surefoot.pollfd(), 0, socket.gettime() + 5 * pace
    local engine = { getfd = function() return fd end, dirty = function() return false end }
    while line "a".breaker ~= "closed" do
      assert(socket.select({ engine }, nil, deadline - socket.gettime())[1], "a wake-up was lost")
      assert.equal(0, surefoot.step(), "nobody waits")
      turns = turns + 1
    end
    assert.is_true(turns < 100, turns .. " turns")
    check_found()
  end)

  it("find a line again while the main thread sleeps", function()
    fail_and_recover()
    surefoot.sleep(0.8 * pace)
    check_found()
  end)

  it("find a line again beside tasks, whose run ends all the same", function()
    fail_and_recover()
    local began = surefoot.now()
    surefoot.run(function()
      while line "a".breaker ~= "closed" do
        surefoot.sleep(0.02 * pace)
      end
    end)
    check_found()
    surefoot.run(function() end)
    assert.is_true(surefoot.now() - began < 5 * pace)
  end)

  it("ask an idle line for its models, over a connection that is kept", function()
    assert(client:chat "x")
    surefoot.run(function()
      while not is_probed "a"() or not is_probed "b"() do
        surefoot.sleep(0.02 * pace)
      end
    end)
    local counters = p:counters "b"
    assert.is_true(counters.requests >= 1)
    assert.equal(0, counters.aborted)
    assert.same({ 1, 0 }, { client:stats().requests, line "b".requests })
  end)

  it("are taken back when the client is closed", function()
    p:profile("b", { fault = "hang" })
    assert(client:chat "x")
    surefoot.run(function()
      while p:counters("b").in_flight == 0 do
        surefoot.sleep(0.02 * pace)
      end
    end)
    client:close { drain = 5 }
    assert.truthy(p:wait("b", function(c) return c.in_flight == 0 and c.aborted == 1 end, 5))
  end)
end)
