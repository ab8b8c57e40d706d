-- That make bench-lines runs, that its checks can fail, and that its numbers are what they are called.

local cjson = require "cjson"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("the bench of lines #once", function()
  local report, run, scenarios

  setup(function()
    report = require "spec.bench.lines_report"
    run = require "spec.bench.lines_run"
    scenarios = require "spec.bench.lines_scenarios"
  end)

  local function made(latencies, more)
    local round = { start = {}, latency = {}, outcome = {}, wall = 10, attempts = #latencies }
    for i, latency in ipairs(latencies) do
      round.start[i], round.latency[i], round.outcome[i] = i, latency or 5, latency and "ok" or "timeout"
    end
    for key, value in pairs(more or {}) do
      round[key] = value
    end
    return round
  end

  local function row_of(rounds, goal, bad)
    local scenario = { key = "k", title = "t", goals = { all = goal }, bad = bad, timeout = 1, scale = 1 }
    return report.row(scenario, "retries", { name = "n", judged = true }, rounds), scenario
  end

  describe("report", function()
    it("takes latencies over the verified answers of all rounds, by nearest rank", function()
      local first, second = {}, {}
      for i = 1, 500 do
        first[i], second[i] = i / 1000, (500 + i) / 1000
      end
      second[501] = false
      local row = row_of({ made(first), made(second) }, { success = 1, p99 = 0.990, p999 = 0.998, attempts = 1 })
      assert.equal(1001, row.calls)
      assert.equal(1000, row.ok)
      assert.equal(0.5, row.p50)
      assert.equal(0.99, row.p99)
      assert.equal(0.999, row.p999)
      assert.is_true(math.abs(row.mean - 0.5005) < 1e-9)
      assert.same({ "success", "P99.9" }, row.missed)
    end)

    it("misses every goal when nothing is answered, and counts false answers", function()
      local row = row_of({ made { false, false } }, { success = 1, p99 = 1, p999 = 1, wall = 5, attempts = 0.5 })
      assert.same({ "success", "P99", "P99.9", "time", "attempts" }, row.missed)
      local wrong = made { 0.1, 0.1 }
      wrong.outcome[2] = "false"
      row = row_of({ wrong }, { success = 0.5, attempts = 2 })
      assert.equal(1, row.wrong)
      assert.same({ "false answers" }, row.missed)
    end)

    it("judges the share of a bad line from the moment that it has to be small", function()
      local bad = { line = "a", within = 1, share = 0.05 }
      local function missed(soon, later)
        local shares = { { from = 0, to = 1, bad = 50, all = 50 }, { from = 1, to = 2, bad = soon, all = 100 },
          { from = 2, to = 20, bad = later, all = 1000 } }
        local before = cjson.encode(shares)
        local row = row_of({ made({ 0.1 }, { shares = shares }), made({ 0.1 }, { shares = shares }) },
          { success = 1, attempts = 1 }, bad)
        assert.equal(before, cjson.encode(shares))
        assert.equal(200, row.shares[2].all)
        return row.missed
      end
      assert.same({}, missed(4, 40))
      assert.same({ "share" }, missed(5, 0))
      assert.same({ "share" }, missed(0, 60))
    end)
  end)

  describe("scale", function()
    it("goes for all times of a client, the defaults too, and for nothing else", function()
      local config = scenarios.configuration({ retry = { max_attempts = 3 }, rate = { adaptive = true } }, 10, 0.1)
      assert.equal(1, config.timeout.attempt)
      assert.equal(30, config.timeout.total)
      assert.is_nil(config.timeout.first_byte)
      assert.equal(3, config.retry.max_attempts)
      assert.is_true(math.abs(config.retry.base_delay - 0.05) < 1e-12)
      assert.equal(10, config.retry.budget.floor_per_second)
      assert.equal(3, config.breaker.window)
      assert.equal(0.5, config.routing.penalty)
      assert.is_nil(config.hedge)
      assert.same({ adaptive = true }, config.rate)
      local hedge = scenarios.configuration({ hedge = { quantile = 0.95 } }, 10, 0.1).hedge
      assert.equal(0.95, hedge.quantile)
      assert.is_true(math.abs(hedge.min_delay - 0.005) < 1e-12)
    end)

    it("goes for limits, and seeds differ by round", function()
      local rate = { per_second = 30, window = 1, retry_after = "seconds" }
      local profile = { preset = "regional", seed = 11, rate = rate }
      local made_here = scenarios.profile(profile, 0.1, 2)
      assert.equal(111, made_here.seed)
      assert.same({ per_second = 300, window = 0.1, retry_after = "fraction" }, made_here.rate)
      assert.equal("seconds", scenarios.profile(profile, 1, 1).rate.retry_after)
    end)
  end)

  describe("check", function()
    local simulated

    setup(function()
      simulated = provider.start { lines = { "a", "b", "c" } }
    end)
    teardown(function()
      simulated:stop()
    end)

    local function outcomes(key, answer, words)
      local lines = {}
      for _, name in ipairs { "a", "b", "c" } do
        lines[name] = { seed = 1, latency = { median = 0.001 }, answer = answer }
      end
      local scenario = { key = "k", lines = lines, scale = 1, timeout = 2, calls = { all = 20 } }
      local seen = {}
      local round = run.round(simulated, scenario, key, words, 1)
      assert.equal(20, round.attempts)
      for _, outcome in ipairs(round.outcome) do
        seen[outcome] = (seen[outcome] or 0) + 1
      end
      return seen
    end

    local function tell_apart(key, words)
      assert.same({ ok = 20 }, outcomes(key, {}, words))
      assert.same({ ["false"] = 20 }, outcomes(key, { text = "echo: call 1 of somebody else" }, words))
      assert.same({ ["false"] = 20 }, outcomes(key, { finish_reason = "length" }, words))
    end

    it("takes only the whole answer to the very question", function()
      tell_apart("retries", assert(run.program(scenarios.clients.retries)))
    end)

    -- Only what a bench has installed before: a spec installs nothing.
    local installed = { sdk_turn = "npm/openai/ready", litellm = "pip/litellm/ready" }
    for key, mark in pairs(installed) do
      it("does so around somebody else's client, too: " .. scenarios.clients[key].name, function()
        if not process.read("build/" .. mark) then
          return pending(mark .. " is not here: make bench-lines installs it")
        end
        tell_apart(key, assert(run.program(scenarios.clients[key])))
      end)
    end

    it("makes one attempt where one is meant", function()
      local scenario = { key = "k", lines = { a = { seed = 1, faults = { reset = 0.5 } } }, scale = 1, timeout = 2,
        calls = { all = 60 } }
      local round = run.round(simulated, scenario, "naive", assert(run.program(scenarios.clients.naive)), 1)
      assert.equal(60, round.attempts)
    end)
  end)

  it("prints a table, keeps the raw numbers, and plots", function()
    local folder = process.temp_dir "surefoot-lines"
    local output, code = process.capture(("lua5.4 -l spec.helper spec/bench/lines_bench.lua --quick "
      .. "--only overseas,brownout,limited --clients naive,retries,hedge95 --out %s 2>&1"):format(folder))
    assert.equal(0, code, output)
    assert.matches("one attempt, line a +100 ", output)
    assert.matches("surefoot, retries only +150 ", output)
    assert.matches("line a's share of the attempts", output, 1, true)
    assert.matches("surefoot, hedge at P95 +100 ", output)
    local all = cjson.decode(process.read(folder .. "/lines.json"))
    assert.equal(3, #all.scenarios)
    local row = all.scenarios[1].rows[2]
    assert.equal("retries", row.client)
    assert.equal(100, row.calls)
    assert.equal(100, #row.rounds[1].latency)
    assert.equal(0.2, row.rounds[1].configuration.timeout.attempt)
    assert.is_true(row.attempts >= 100)
    for _, key in ipairs { "overseas", "brownout" } do
      assert.matches("^<svg .*</svg>\n$", process.read(folder .. "/" .. key .. ".svg"))
    end
    assert.is_nil(process.read(folder .. "/limited.svg"))
    process.remove_dir(folder)
  end)

  it("refuses what it does not know", function()
    local _, code = process.capture "lua5.4 -l spec.helper spec/bench/lines_bench.lua --only nowhere 2>&1"
    assert.are_not.equal(0, code)
    _, code = process.capture "lua5.4 -l spec.helper spec/bench/lines_bench.lua --fast 2>&1"
    assert.are_not.equal(0, code)
  end)
end)
