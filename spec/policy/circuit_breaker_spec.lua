local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("circuit breaker", function()
  local world, breaker

  local function make(options)
    world = virtual.world(1000)
    breaker = policy.circuit_breaker(virtual.with(world, options))
  end

  -- One word per call: F failure, S success, T throttled (429).
  local function play(calls)
    for call in calls:gmatch "%u" do
      local permit = assert(breaker:allow())
      if call == "S" then permit:success() else permit:failure(call == "T" and "rate_limited" or "server") end
    end
  end

  local function state()
    return (breaker:state())
  end

  local by_run = { failure_threshold = 5, recovery_timeout = 5, max_recovery_timeout = 60, jitter = 0,
    min_calls = 1000000 }

  local function tripped(changes)
    local options = {}
    for key, value in pairs(by_run) do options[key] = value end
    for key, value in pairs(changes or {}) do options[key] = value end
    make(options)
    play(("F"):rep(options.failure_threshold))
    assert.are.equal("open", state())
  end

  it("V-CB1 counts consecutive failures, and a success forgives them", function()
    make(by_run)
    play "FFFFSFFFF"
    assert.are.equal("closed", state())
    play "F"
    assert.are.equal("open", state())
  end)

  it("V-CB2 opens at the threshold, not behind it", function()
    make { failure_threshold = 6, min_calls = 1000000 }
    play "FFFFF"
    assert.are.equal("closed", state())
    play "F"
    assert.are.equal("open", state())
  end)

  it("V-CB4 lets one probe through when the open time is over", function()
    tripped()
    world.now = 1004.999
    local permit, retry_in = breaker:allow()
    assert.is_nil(permit)
    assert.is_near(0.001, retry_in, 1e-9)
    assert.is_near(0.001, select(2, breaker:state()), 1e-9)
    world.now = 1005
    assert.are.same({ "half_open", 0 }, { breaker:state() })
    local probe = breaker:allow()
    assert.is_userdata(probe)
    assert.is_nil((breaker:allow()))
    assert.are.equal("half_open", state())
  end)

  it("V-CB5 opens longer after a failed probe, and starts anew after a good one", function()
    tripped()
    world.now = world.now + 5
    play "F"
    assert.are.same({ "open", 10 }, { breaker:state() })
    world.now = world.now + 10
    play "S"
    assert.are.same({ "closed", 0 }, { breaker:state() })
    play "FFFF"
    assert.are.equal("closed", state())
    play "F"
    assert.are.same({ "open", 5 }, { breaker:state() })
  end)

  it("V-CB5 zeroes its windows when it closes", function()
    make { failure_threshold = 1000, min_calls = 4, failure_ratio = 0.5, recovery_timeout = 1, jitter = 0 }
    play "FFFF"
    assert.are.equal("open", state())
    world.now = world.now + 1
    play "S"
    play "FFF"
    assert.are.equal("closed", state())
    play "F"
    assert.are.equal("open", state())
  end)

  it("V-CB6 ignores what comes late, good or bad", function()
    make(by_run)
    local late = {}
    for i = 1, 6 do
      late[i] = breaker:allow()
    end
    play "FFFFF"
    world.now = world.now + 2
    late[1]:success()
    late[2]:failure()
    assert.are.same({ "open", 3 }, { breaker:state() })
    world.now = world.now + 3
    local probe = breaker:allow()
    late[3]:success()
    late[4]:failure()
    assert.are.equal("half_open", state())
    probe:success()
    late[5]:failure()
    assert.are.equal("closed", state())
    play "FFFF"
    late[6]:failure()
    assert.are.equal("closed", state())
  end)

  it("V-CB7 gets the permit of a cancelled probe back", function()
    tripped()
    world.now = world.now + 5
    breaker:allow():cancel()
    assert.are.equal("half_open", state())
    assert.is_userdata(breaker:allow())
  end)

  it("V-CB8 gives a lost probe up when its lease ends", function()
    tripped { lease = 20 }
    world.now = world.now + 5
    local lost = breaker:allow()
    world.now = world.now + 19.999
    local none, retry_in = breaker:allow()
    assert.is_nil(none)
    assert.is_near(0.001, retry_in, 1e-6)
    world.now = world.now + 0.001
    local probe = breaker:allow()
    assert.is_userdata(probe)
    lost:failure()
    assert.are.equal("half_open", state())
    lost:success()
    assert.are.equal("half_open", state())
    probe:success()
    assert.are.equal("closed", state())
  end)

  it("does not shorten a lease by a stale clock", function()
    tripped { half_open_requests = 2, lease = 10 }
    world.now = world.now + 5
    local first = breaker:allow()
    world.now = world.now - 3
    local second = breaker:allow()
    world.now = world.now + 10
    assert.is_nil((breaker:allow()))
    world.now = world.now + 3
    assert.is_userdata((breaker:allow()))
    first:success()
    second:success()
    assert.are.equal("half_open", state())
  end)

  it("V-CB9 stays shut when the probe is throttled, and learns nothing from a refused key", function()
    tripped()
    world.now = world.now + 5
    play "T"
    assert.are.equal("open", state())
    world.now = world.now + 10
    breaker:allow():failure "unauthorized"
    assert.are.equal("half_open", state())
    play "S"
    assert.are.equal("closed", state())
  end)

  it("V-CB11 does not strand an outer probe when an inner breaker refuses", function()
    tripped()
    local outer = breaker
    world.now = world.now + 5
    local calls = 0
    local guarded = policy.wrap(function() calls = calls + 1 return true end,
      { breaker = outer, concurrency = policy.concurrency_limiter { limit = 1 } })
    local full = policy.concurrency_limiter { limit = 1 }
    local slot = full:acquire()
    local refused = policy.wrap(function() calls = calls + 1 return true end, { breaker = outer, concurrency = full })
    local _, err = refused()
    assert.are.equal("queue_full", err.kind)
    assert.are.equal("half_open", state())
    assert.is_true(guarded())
    assert.are.equal("closed", state())
    assert.are.equal(1, calls)
    slot:release()
  end)

  it("V-CB13 makes one transition of failures that come together", function()
    make(by_run)
    local permits = {}
    for i = 1, 6 do
      permits[i] = breaker:allow()
    end
    for i = 1, 6 do
      permits[i]:failure()
      world.now = world.now + 0.1
    end
    assert.is_near(5 - 0.2, select(2, breaker:state()), 1e-9)
  end)

  it("V-CB14 doubles the open time up to its cap", function()
    tripped { recovery_timeout = 1, max_recovery_timeout = 100 }
    for _, wanted in ipairs { 1, 2, 4, 8, 16, 32, 64, 100, 100 } do
      assert.is_near(wanted, select(2, breaker:state()), 1e-6)
      world.now = world.now + wanted
      play "F"
    end
    for _ = 1, 40 do
      world.now = world.now + 100
      play "F"
    end
    assert.is_near(100, select(2, breaker:state()), 1e-6)
  end)

  it("spreads the open time by its jitter, after the cap", function()
    world = virtual.world(1000)
    world.draw = 0.5
    breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 1, recovery_timeout = 10,
      max_recovery_timeout = 10,
      jitter = 0.2 }))
    play "F"
    assert.is_near(11, select(2, breaker:state()), 1e-9)
  end)

  it("spreads later open times down to the half as well, but not below the first", function()
    local function times(draw, jitter)
      world = virtual.world(1000)
      world.draw = draw
      breaker = policy.circuit_breaker(virtual.with(world, { failure_threshold = 1, recovery_timeout = 5,
        max_recovery_timeout = 60, jitter = jitter }))
      local list = {}
      for i = 1, 6 do
        play "F"
        list[i] = ("%.4g"):format(select(2, breaker:state()))
        world.now = world.now + 200
      end
      return table.concat(list, " ")
    end
    assert.equal("5 5 10 20 30 30", times(0, 0.1))
    assert.equal("5.25 8 16 32 48 48", times(0.5, 0.1))
    assert.equal("5.5 11 22 44 66 66", times(0.9999999, 0.1))
    assert.equal("5 10 20 40 60 60", times(0.5, 0))
  end)

  it("opens by the ratio of failures, when enough calls were made", function()
    make { failure_threshold = 1000, failure_ratio = 0.5, min_calls = 5, window = 10 }
    play "FFFF"
    assert.are.equal("closed", state()) -- V-SW4
    play "F"
    assert.are.equal("open", state())
    make { failure_threshold = 1000, failure_ratio = 0.5, min_calls = 6, window = 10 }
    play "SSSFF"
    assert.are.equal("closed", state())
    play "F" -- exactly the half
    assert.are.equal("open", state())
  end)

  it("V-SW1 never trips on an empty window", function()
    make { failure_threshold = 1000, failure_ratio = 0.01, min_calls = 1, window = 10 }
    world.now = world.now + 1e6
    assert.are.equal("closed", state())
    play "SSS"
    assert.are.equal("closed", state())
  end)

  it("V-SW2 V-SW4 forgets what is older than the window, and nothing younger", function()
    for _, spacing in ipairs { 0.001, 2 } do
      make { failure_threshold = 1000, failure_ratio = 1, min_calls = 5, window = 10 }
      for i = 1, 5 do
        assert.are.equal("closed", state())
        play "F"
        world.now = world.now + (i < 5 and spacing or 0)
      end
      assert.are.equal("open", state())
    end
    make { failure_threshold = 1000, failure_ratio = 0.9, min_calls = 1, window = 10 }
    play "S"
    world.now = world.now + 11
    play "F"
    assert.are.equal("open", state())
  end)

  it("V-SW6 clears nothing when the clock goes back", function()
    make { failure_threshold = 1000, failure_ratio = 1, min_calls = 5, window = 10 }
    play "FFFF"
    world.now = world.now - 1.5
    play "F"
    assert.are.equal("open", state())
    make { failure_threshold = 1000, failure_ratio = 1, min_calls = 5, window = 10 }
    world.now = 10000
    play "FFFF"
    world.now = world.now - 3600
    play "F"
    assert.are.equal("open", state())
  end)

  it("V-SW5 forgets what is older by any number of rounds", function()
    for _, widths in ipairs { 2 ^ 24, 2 ^ 32, 2 ^ 33 } do
      make { failure_threshold = 1000, failure_ratio = 1, min_calls = 5, window = 10 }
      world.now = 0
      play "FFFF"
      world.now = widths
      play "FFFF"
      assert.are.equal("closed", state())
      play "F"
      assert.are.equal("open", state())
    end
  end)

  it("keeps its times on a clock that is old", function()
    for _, now in ipairs { 1.3e8, 2 ^ 37 / 1000 - 2, 2 ^ 37 / 1000 + 3, 1.7e9, 4e9, 8e9 } do
      world = virtual.world(now)
      breaker = policy.circuit_breaker(virtual.with(world, by_run))
      play "FFFFF"
      assert.are.equal("open", state())
      assert.is_near(5, select(2, breaker:allow()), 0.002)
      world.now = now + 4.99
      assert.is_nil((breaker:allow()))
      world.now = now + 5.01
      assert.is_truthy(breaker:allow()) -- a probe that is lost
      assert.is_near(120, select(2, breaker:allow()), 0.002)
      world.now = now + 126
      play "S"
      assert.are.equal("closed", state())
    end
  end)

  it("counts a 429 in the ratio and not in the run", function()
    make(by_run)
    play(("T"):rep(100))
    assert.are.equal("closed", state())
    play "FFFFTF" -- nor does it forgive
    assert.are.equal("open", state())
    make { failure_threshold = 1000, failure_ratio = 0.5, min_calls = 4 }
    play "TTTT"
    assert.are.equal("open", state())
  end)

  it("opens by slow first tokens", function()
    make { failure_threshold = 1000, slow_call = 2, slow_ratio = 0.5, min_calls = 4, recovery_timeout = 5, jitter = 0 }
    for _, seconds in ipairs { 0.1, 0.1, 1.999 } do
      breaker:allow():success(seconds)
    end
    breaker:allow():success(2)
    breaker:allow():success(5)
    assert.are.equal("closed", state())
    breaker:allow():success(2)
    assert.are.equal("open", state())
    world.now = world.now + 5
    breaker:allow():success(3) -- a slow probe is no recovery
    assert.are.same({ "open", 10 }, { breaker:state() })
    world.now = world.now + 10
    breaker:allow():success(1)
    assert.are.equal("closed", state())
  end)

  it("closes after as many good probes as it lets out at once", function()
    tripped { half_open_requests = 3 }
    world.now = world.now + 5
    local a, b, c = breaker:allow(), breaker:allow(), breaker:allow()
    assert.is_userdata(c)
    assert.is_nil((breaker:allow()))
    a:success()
    b:success()
    assert.are.equal("half_open", state())
    c:cancel()
    assert.are.equal("half_open", state())
    play "S"
    assert.are.equal("closed", state())
    tripped { half_open_requests = 3 }
    world.now = world.now + 5
    a, b = breaker:allow(), breaker:allow()
    a:success()
    b:failure()
    assert.are.equal("open", state())
  end)

  it("hears a permit once", function()
    make(by_run)
    for _ = 1, 4 do
      local permit = breaker:allow()
      permit:failure()
      permit:failure()
      permit:success()
    end
    assert.are.equal("closed", state())
    play "F"
    assert.are.equal("open", state())
  end)

  it("gets a collected permit back as cancelled", function()
    tripped()
    world.now = world.now + 5
    breaker:allow()
    collectgarbage()
    collectgarbage()
    assert.are.equal("half_open", state())
    assert.is_userdata(breaker:allow())
  end)

  it("lives as long as its permits", function()
    local permit
    do
      local short = policy.circuit_breaker { failure_threshold = 1 }
      permit = short:allow()
    end
    collectgarbage()
    collectgarbage()
    permit:failure()
    permit:cancel()
  end)

  it("only releases on kinds that the matrix does not know", function()
    make { failure_threshold = 1 }
    for _, kind in ipairs { "content_filter", "context_length", "invalid_request", "quota", "cancelled", "queue_full",
      "my own", "ok" } do
      breaker:allow():failure(kind)
      assert.are.equal("closed", state())
    end
    for _, kind in ipairs { "server", "timeout", "network", "tls", "overloaded", "malformed", "truncated" } do
      make { failure_threshold = 1 }
      breaker:allow():failure(kind)
      assert.are.equal("open", state(), kind)
    end
    make { failure_threshold = 1 }
    breaker:allow():failure()
    assert.are.equal("open", state())
  end)

  it("refuses bad reports and keeps the permit", function()
    tripped()
    world.now = world.now + 5
    local probe = breaker:allow()
    assert.has_error(function() probe:success(-1) end)
    assert.has_error(function() probe:success(0 / 0) end)
    assert.has_error(function() probe:success "1" end)
    assert.has_error(function() probe:failure(7) end)
    assert.has_error(function() probe:failure {} end)
    probe:success()
    assert.are.equal("closed", state())
  end)

  it("never has more live probes out than half_open_requests, and never sticks", function()
    local random = virtual.generator(77)
    for round = 1, 40 do
      local most = random(4)
      make { failure_threshold = 1, recovery_timeout = 1, max_recovery_timeout = 4, jitter = 0.5, lease = 3,
        half_open_requests = most }
      local live, kept, refused_since = {}, {}, nil
      play "F"
      for _ = 1, 500 do
        world.now = world.now + random() * 0.5
        world.draw = random()
        local before = state()
        local permit = before ~= "closed" and breaker:allow()
        if permit then
          live[#live + 1], refused_since = { permit = permit, ends = world.now + 3 }, nil
          kept[#kept + 1] = permit
        elseif before ~= "closed" then
          refused_since = refused_since or world.now
          assert.is_true(world.now - refused_since < 8, "stuck in round " .. round)
        end
        for i = #live, 1, -1 do
          local probe, act = live[i], random(8)
          if probe.ends <= world.now then
            table.remove(live, i) -- lost: nobody ever reports it
          elseif act <= 3 then
            table.remove(live, i)
            probe.permit[({ "failure", "success", "cancel" })[act]](probe.permit)
          end
        end
        local after = state()
        if after == "closed" then play "F" end
        if after ~= "half_open" then live = {} end -- what is out then belongs to a generation that is over
        assert.is_true(#live <= most, #live .. " probes")
      end
      assert.is_true(#kept > 0) -- and nothing of it was collected: a lost probe must stay lost
    end
  end)
end)
