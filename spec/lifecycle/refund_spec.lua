-- The retry budget bounds how many retries are out at once, not how many calls a dying line may take down with it:
-- where it is spent, a call waits for what the retries under way give back.

local sim = require "spec.support.sim"

local CAPACITY, COST = 500, 14

-- Begins so many calls at once.
local function crowd(lab, count, options)
  local list = {}
  for i = 1, count do
    list[i] = lab:start(options)
  end
  return list
end

local function tally(list)
  local counts = {}
  for _, outcome in ipairs(list) do
    local kind = outcome.result and "ok" or outcome.err and outcome.err.kind or "open"
    counts[kind] = (counts[kind] or 0) + 1
  end
  return counts
end

describe("a spent retry budget", function()
  after_each(sim.settled)

  -- The first answers of a line fail, after a second, `failures` of them.
  local function lab_of(config, b)
    config.concurrency, config.breaker = { limit = 1000 }, false
    config.retry = config.retry or {}
    config.retry.budget = config.retry.budget or { floor_per_second = 0 }
    return sim.lab({ a = { after = 1, fault = "reset" }, b = b or { after = 1, text = "from b" } }, config)
  end

  it("fails nobody while retries that are under way succeed, and lets no more out than it can pay", function()
    local lab = lab_of {}
    local calls = crowd(lab, 120)
    lab:pass(1.5)
    assert.equal(math.floor(CAPACITY / COST), lab:line("b").in_flight)
    lab:pass(30)
    assert.same({ ok = 120 }, tally(calls))
    assert.equal(CAPACITY, lab:balance())
  end)

  it("is not overdrawn where they fail: whoever waited is told so when the last has ended", function()
    local lab = lab_of({ retry = { max_attempts = 2, budget = { floor_per_second = 0 } } }, { after = 1, status = 500 })
    local calls = crowd(lab, 120)
    lab:pass(1.5)
    assert.same({ open = 120 }, tally(calls))
    lab:pass(1)
    assert.same({ network = 85, server = 35 }, tally(calls))
    assert.matches("the retry budget is spent", calls[120].err.message)
    assert.equal(120 + 35, lab.client:stats().attempts)
  end)

  it("is not waited for where nothing can come back", function()
    local lab = lab_of { retry = { budget = { capacity = 10, floor_per_second = 0 } } }
    local calls = crowd(lab, 3)
    lab:pass(1)
    assert.same({ network = 3 }, tally(calls))
  end)

  it("is waited for in the order of the failures", function()
    local lab = lab_of { retry = { budget = { capacity = 20, floor_per_second = 0 } } }
    local calls = crowd(lab, 4)
    lab:pass(20)
    assert.same({ ok = 4 }, tally(calls))
    for i = 1, 4 do
      assert.equal(1 + i, calls[i].at)
    end
  end)

  it("is not waited for beyond a deadline, nor after a cancel, nor by a client that was closed", function()
    local lab = lab_of { retry = { budget = { capacity = 14, floor_per_second = 0 } } }
    local paid, hasty = lab:start(), lab:start { deadline = 1.5 }
    local cancelled, left = lab:start(), lab:start()
    lab:pass(1.2)
    cancelled.task:cancel()
    lab:pass(0.4)
    assert.same({ open = 2, network = 1, cancelled = 1 }, tally { paid, hasty, cancelled, left })
    assert.equal(1.5, hasty.at)
    assert.matches("the deadline passed before the retry budget allowed another attempt", hasty.err.message)
    lab.client:close()
    lab:pass(1)
    assert.same({ closed = 2 }, tally { paid, left })
  end)
end)
