-- The model is right: queues as theory has them, limits as providers promise them, nothing lost, nothing twice.
local fleet = require "surefoot.fleet"
local random = require "surefoot.fleet.random"
local server = require "surefoot.fleet.server"
local statistics = require "surefoot.fleet.statistics"

-- Erlang's formulas for c servers and an offered load of a.
local function erlang_b(c, a)
  local b = 1
  for k = 1, c do
    b = a * b / (k + a * b)
  end
  return b
end

local function erlang_c(c, a)
  local b = erlang_b(c, a)
  return c * b / (c - a * (1 - b))
end

-- Requests of exponential work (mean 1) on a server; its answers go to `each`.
local function feed(options, rate, count, seed, each)
  local line, draws, now = server.new(options), random.new(seed), 0
  for _ = 1, count do
    now = now + draws:exponential(1 / rate)
    local script, start = line:serve(now, draws:exponential(1))
    each(script, start, now)
  end
  return line, now
end

describe("random numbers of the fleet", function()
  it("are the same everywhere", function()
    local draws, seen = random.new(42), {}
    for i = 1, 3 do
      seen[i] = ("%.9f"):format(draws:unit())
    end
    assert.same({ "0.294871198", "0.521654829", "0.246660628" }, seen)
  end)

  it("are uniform, exponential and normal, and streams of a seed differ", function()
    local draws, other = random.new(7, 0), random.new(7, 1)
    local units, waits, normals, squares, same = {}, {}, {}, {}, 0
    for i = 1, 20000 do
      units[i], waits[i], normals[i] = draws:unit(), draws:exponential(3), draws:normal()
      squares[i] = normals[i] ^ 2
      same = same + (draws:integer(10) == other:integer(10) and 1 or 0)
    end
    assert.near(0.5, (statistics.mean(units)), 0.01)
    assert.near(3, (statistics.mean(waits)), 0.1)
    assert.near(0, (statistics.mean(normals)), 0.03)
    assert.near(1, (statistics.mean(squares)), 0.05)
    assert.near(2000, same, 200)
  end)
end)

describe("a modelled line #once", function()
  for _, case in ipairs { { 1, 0.5 }, { 1, 0.8 }, { 4, 0.8 }, { 20, 0.9 } } do
    local slots, load = case[1], case[2]
    it(("of %d slots at load %.1f makes calls wait as Erlang says"):format(slots, load), function()
      local waits, waiting = {}, 0
      feed({ slots = slots, itl = 1 }, slots * load, 60000, slots, function(_, start, now)
        waits[#waits + 1] = start - now
        waiting = waiting + (start > now and 1 or 0)
      end)
      local chance = erlang_c(slots, slots * load)
      assert.near(chance, waiting / #waits, 0.05 * chance + 0.005)
      local wait = chance / (slots * (1 - load))
      assert.near(wait, (statistics.mean(waits)), 0.15 * wait)
    end)
  end

  it("without a queue loses as many as Erlang says, and does no work for them", function()
    local refused = 0
    local line, lasted = feed({ slots = 5, queue = 0, itl = 1 }, 4, 60000, 3, function(script)
      refused = refused + (script.status == 503 and 1 or 0)
    end)
    assert.near(erlang_b(5, 4), refused / 60000, 0.01)
    assert.near(4 * (1 - erlang_b(5, 4)), line.busy / lasted, 0.1)
    assert.equal(60000, line.accepted + line.overloaded)
  end)

  it("lets no more wait than its queue holds", function()
    local line = server.new { slots = 1, queue = 2, itl = 1 }
    local seen = {}
    for i = 1, 5 do
      seen[i] = line:serve(0, 10).status or 200
    end
    assert.same({ 200, 200, 200, 503, 503 }, seen)
    assert.equal(2, line:waiting(0))
    assert.equal(1, line:waiting(10))
    assert.equal(nil, line:serve(10, 10).status)
    assert.equal(503, line:serve(10, 10).status)
    assert.equal(0, line:waiting(31))
  end)

  it("works at its speed of the moment", function()
    local line = server.new { slots = 1, itl = 1, speed = { { from = 10, factor = 0.5 }, { from = 20, factor = 1 } } }
    assert.equal(4, line:serve(0, 4).after)
    assert.equal(14 - 4, line:serve(4, 8).after) -- 6 s in full, 2 s of work in 4
    assert.equal(22 - 14, line:serve(14, 5).after) -- 3 s of work in 6, 2 s in full
    assert.equal(3, line:serve(30, 3).after)
  end)

  it("admits burst + rate * time, and its Retry-After is enough", function()
    local line = server.new { slots = 1000, itl = 0, tokens_per_minute = 600, burst = 0.1, requests_per_minute = 6000 }
    local draws, now, admitted = random.new(5), 0, 0
    for _ = 1, 3000 do
      local tokens = draws:integer(20)
      local script = line:serve(now, tokens)
      if script.status == 429 then
        local later = now + tonumber(script.headers["retry-after"])
        assert.is_true(later > now)
        now = later
      else
        admitted = admitted + tokens
        assert.is_true(admitted <= 60 + 10 * now + 1e-6)
        now = now + draws:exponential(0.2)
      end
    end
    assert.is_true(admitted > 0.7 * 10 * now)
    assert.equal(admitted, line.tokens)
  end)

  it("tells what is left of its limits", function()
    local line = server.new { slots = 10, itl = 0, tokens_per_minute = 6000, burst = 0.1, tells = true }
    assert.same({ ["x-ratelimit-limit-tokens"] = "600", ["x-ratelimit-remaining-tokens"] = "350",
      ["x-ratelimit-reset-tokens"] = "2500ms" }, line:serve(0, 250).headers)
    assert.equal("450", line:serve(2, 100).headers["x-ratelimit-remaining-tokens"])
    assert.equal("350", line:serve(2.005, 100).headers["x-ratelimit-remaining-tokens"])
  end)
end)

-- A small fleet on one line that is full at times.
local function small(seed, more)
  local line = server.new { slots = 4, queue = 10, itl = 0.1, prefill = 0.1 }
  local options = {
    seed = seed, clients = 3, arrivals = { { from = 0, rate = 4 }, { from = 20, rate = 12 }, { from = 40, rate = 0 } },
    config = { timeout = { attempt = 2, total = 10 }, retry = { max_attempts = 3 } },
    tokens = function(draws) return math.ceil(draws:exponential(5)) end,
    lines = { line = function(now, call) return (line:serve(now, call.tokens)) end },
    waiting = function(now) return line:waiting(now) end,
  }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return fleet.run(options), line
end

local function story(world)
  return { world.requests, world.attempts, world.successes, world.errors, world.sim:now(),
    fleet.list(world.attempts_at, 50), fleet.list(world.in_time_at, 50), fleet.list(world.waiting_at, 50) }
end

describe("a fleet", function()
  it("ends every call once, and everything adds up", function()
    local world, line = small(1, { config = { timeout = { attempt = 2, total = 10 }, breaker = false } })
    local failed, offered, answered = 0, 0, 0
    for _, count in pairs(world.errors) do
      failed = failed + count
    end
    for at = 1, 60 do
      offered, answered = offered + world.offered_at[at], answered + world.answered_at[at]
    end
    assert.is_true(world.requests > 250 and failed > 0 and world.attempts > world.requests)
    assert.equal(world.requests, world.successes + failed)
    assert.same({ world.requests, world.successes }, { offered, answered })
    assert.equal(world.attempts, line.accepted + line.overloaded)
    assert.is_true(world.useful_tokens < line.tokens)
  end)

  it("is the same again for the same seed", function()
    assert.same(story((small(3))), story((small(3))))
    assert.not_same(story((small(3))), story((small(4))))
  end)

  it("has the arrivals of its seed, whatever its clients do", function()
    local one, other = small(3), small(3, { config = { retry = { max_attempts = 1 }, timeout = { total = 10 } } })
    assert.same(fleet.list(one.offered_at, 40), fleet.list(other.offered_at, 40))
    assert.not_equal(one.attempts, other.attempts)
  end)

  it("waits at a line as long as Erlang says, through the whole engine", function()
    local latencies, draws = {}, random.new(9)
    local line = server.new { slots = 4, itl = 1 }
    fleet.run {
      seed = 9, clients = 2, config = { breaker = false },
      arrivals = { { from = 0, rate = 3 }, { from = 1500, rate = 0 } },
      lines = { line = function(now) return (line:serve(now, draws:exponential(1))) end },
      on_settled = function(world, call) latencies[#latencies + 1] = world.sim:now() - call.began end,
    }
    local expected = 1 + erlang_c(4, 3) / (4 - 3)
    assert.near(4500, #latencies, 200)
    assert.near(expected, (statistics.mean(latencies)), 0.15 * expected)
  end)

  it("frees no work by giving up", function()
    local line = server.new { slots = 1, itl = 1 }
    local world = fleet.run {
      seed = 1, clients = 1, config = { timeout = { attempt = 1, total = 1.5 }, retry = { max_attempts = 1 } },
      lines = { line = function(now) return (line:serve(now, 10)) end },
      drive = function(world)
        for _ = 1, 3 do
          world:begin(1)
        end
      end,
    }
    assert.same({ 0, 3, 30 }, { world.successes, line.accepted, line.busy })
  end)

  local liars = {
    { "more attempts than allowed", function(world) world.clients[1].max_attempts = 1 end },
    { "more retries than the budget can have paid for", function(world)
      world.clients[1].budget = { capacity = 0, transient_cost = 14, throttled_cost = 14, floor_per_second = -1 }
    end },
    { "an attempt after the deadline", function(world) world.clients[1].total = 0.6 end },
  }
  for _, liar in ipairs(liars) do
    it("would notice " .. liar[1], function()
      local ok, problem = pcall(fleet.run, {
        seed = 1, clients = 1, config = { retry = { max_attempts = 4 } },
        lines = { line = function() return { after = 0.2, status = 500, body = "{}" } end },
        drive = function(world)
          liar[2](world)
          world:begin(1)
        end,
      })
      assert.is_false(ok)
      assert.matches(liar[1], tostring(problem), 1, true)
    end)
  end
end)

describe("recovery", function()
  local options = { from = 10, window = 5, share = 0.95 }
  local function observed(good)
    local world = { offered_at = {}, in_time_at = {} }
    for at = 1, 100 do
      world.offered_at[at], world.in_time_at[at] = 20, good(at)
    end
    return fleet.recovery(world, 20, 100, options)
  end

  it("is the end of the last bad window, after the trigger", function()
    assert.equal(0, observed(function() return 20 end))
    assert.equal(0, observed(function(at) return at <= 20 and 5 or 20 end))
    assert.equal(15, observed(function(at) return at > 12 and at <= 33 and 5 or 20 end))
    assert.equal(45, observed(function(at) return (at <= 15 or at == 62) and 5 or 20 end))
    assert.equal(math.huge, observed(function(at) return at > 15 and 5 or 20 end))
  end)
end)

describe("statistics #once", function()
  it("knows Wilson's interval", function()
    local share, low, high = statistics.share(0, 500)
    assert.same({ 0, 0 }, { share, low })
    assert.near(0.00762, high, 1e-4)
    share, low, high = statistics.share(8, 10)
    assert.near(0.8, share, 1e-9)
    assert.near(0.4902, low, 1e-3)
    assert.near(0.9433, high, 1e-3)
  end)

  it("has intervals that hold the truth 95 times of 100", function()
    local draws, means, medians = random.new(11), 0, 0
    for _ = 1, 400 do
      local values = {}
      for i = 1, 60 do
        values[i] = draws:exponential(1)
      end
      local _, low, high = statistics.mean(values)
      means = means + (low <= 1 and high >= 1 and 1 or 0)
      _, low, high = statistics.quantile(values, 0.5)
      medians = medians + (low <= math.log(2) and high >= math.log(2) and 1 or 0)
    end
    assert.is_true(means >= 360 and means <= 395, means .. " of 400 means")
    assert.is_true(medians >= 368 and medians <= 398, medians .. " of 400 medians")
  end)

  it("knows the normal distribution", function()
    for z, share in pairs { [-1.959964] = 0.025, [0] = 0.5, [1] = 0.8413447, [3] = 0.9986501 } do
      assert.near(share, statistics.normal(z), 1e-6)
    end
  end)

  it("takes quantiles of runs that never ended", function()
    assert.equal(3, (statistics.quantile({ 5, math.huge, 1, 3 }, 0.5)))
    assert.equal(math.huge, (statistics.quantile({ 5, math.huge, 1, 3 }, 0.99)))
  end)

  it("knows fairness and autocorrelation", function()
    assert.equal(1, statistics.fairness { 3, 3, 3 })
    assert.near(1 / 4, statistics.fairness { 8, 0, 0, 0 }, 1e-9)
    local wave, noise, draws = {}, {}, random.new(2)
    for i = 1, 1000 do
      wave[i], noise[i] = i % 10 == 0 and 1 or 0, draws:unit()
    end
    assert.near(1, statistics.autocorrelation(wave, 10), 0.02)
    assert.near(-0.11, statistics.autocorrelation(wave, 5), 0.02)
    assert.near(0, statistics.autocorrelation(noise, 10), 0.1)
    local slope = {}
    for i = 1, 1000 do
      slope[i] = i / 100 + noise[i]
    end
    assert.is_true(statistics.autocorrelation(slope, 10) > 0.9)
    assert.near(0, statistics.autocorrelation(statistics.detrended(slope, 20), 10), 0.12)
  end)
end)
