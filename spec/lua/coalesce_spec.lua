-- Calls that ask the same share one: what each caller gets, and that nobody's end is another's. SF: the vectors of the
-- singleflight literature. Who shares with whom: same_spec.lua.
local env = require "spec.support.env"
local guard = require "surefoot.guard"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local slow = { after = 1, text = "ok" }

local function ask(text, more)
  local request = { messages = { { role = "user", content = text or "Hi" } }, temperature = 0 }
  for key, value in pairs(more or {}) do
    request[key] = value
  end
  return request
end

local function lab_of(line, config)
  config = config or {}
  if config.coalesce == nil then
    config.coalesce = true
  end
  return sim.lab(type(line) == "table" and line.a and line or { a = line or slow }, config)
end

-- Callers that begin at these times, with these options; what became of each is in the list.
local function callers(lab, list)
  local outcomes = {}
  for i, one in ipairs(list) do
    lab.sim:spawn(function()
      surefoot.sleep(one.at or 0)
      outcomes[i] = lab:start(one.options, one.request or ask())
    end)
  end
  return outcomes
end

local function numbers(lab)
  local stats = lab.client:stats()
  return ("%d requests, %d ok, %d attempts, %d coalesced"):format(stats.requests, stats.successes, stats.attempts,
    stats.coalesced)
end

describe("calls that ask the same", function()
  after_each(sim.settled)

  it("share one attempt, and each is answered", function()
    local lab = lab_of()
    local outcomes = callers(lab, { {}, { at = 0.1 }, { at = 0.4 } })
    lab.sim:run()
    assert.equal("a 0", lab:sent())
    for i = 1, 3 do
      assert.same({ "ok", 1, 1 }, { outcomes[i].result.text, outcomes[i].at, outcomes[i].times })
    end
    assert.equal("3 requests, 3 ok, 1 attempts, 2 coalesced", numbers(lab))
    assert.equal(1, lab.client:stats().success_rate)
  end)

  it("are in flight each, while they are", function()
    local lab = lab_of()
    callers(lab, { {}, {}, {} })
    lab:pass(0.5)
    assert.same({ 3, 3, 1 }, { lab.client:stats().in_flight, lab.client:stats().requests, lab:line "a".in_flight })
    lab.sim:run()
  end)

  it("have latencies of their own, and tags", function()
    local lab = lab_of()
    local outcomes = callers(lab, { { options = { tags = "x" } }, { at = 0.4, options = { tags = "y" } } })
    lab.sim:run()
    local a, b = outcomes[1].result, outcomes[2].result
    assert.same({ 1, 1, "x" }, { a.latency, a.time_to_first_token, a.tags })
    assert.near(0.6, b.latency, 1e-9)
    assert.near(0.6, b.time_to_first_token, 1e-9)
    assert.equal("y", b.tags)
    assert.same(a.attempts, b.attempts)
  end)

  it("do not have a first token from before their time", function()
    local lab = lab_of { after = 0.1, events = { { at = 0.1, data = '{"choices":[{"message":{"content":"ok"},' },
      { at = 1, data = '"finish_reason":"stop"}]}' } }, headers = { ["content-type"] = "application/json" } }
    local outcomes = callers(lab, { {}, { at = 0.5 } })
    lab.sim:run()
    assert.same({ 0.1, 0 }, { outcomes[1].result.time_to_first_token, outcomes[2].result.time_to_first_token })
  end)

  it("cost once: one carries it, the others know", function()
    local lab = lab_of(nil, { prices = { simulated = { input = 1, output = 1 } } })
    local outcomes = callers(lab, { {}, {}, {} })
    lab.sim:run()
    local cost = outcomes[1].result.cost
    assert.is_true(cost > 0)
    assert.is_nil(outcomes[1].result.coalesced)
    for i = 2, 3 do
      assert.same({ true, 0 }, { outcomes[i].result.coalesced, outcomes[i].result.cost })
      assert.same(outcomes[1].result.usage, outcomes[i].result.usage)
    end
    local stats = lab.client:stats()
    assert.same({ cost, outcomes[1].result.usage.total_tokens }, { stats.cost, stats.tokens.total })
  end)

  it("have a result of their own to change", function()
    local lab = lab_of()
    local outcomes = callers(lab, { {}, {}, {} })
    lab.sim:run()
    local before = { outcomes[2].result.body.choices[1].message.content, outcomes[2].result.headers["content-type"] }
    outcomes[1].result.message.content = "changed"
    outcomes[1].result.body.choices[1].message.content = "changed"
    outcomes[1].result.headers["content-type"] = "changed"
    outcomes[1].result.attempts[1].endpoint = "changed"
    outcomes[1].result.usage.total_tokens = -1
    outcomes[3].result.message.content = "changed, too"
    local second = outcomes[2].result
    assert.same({ "ok", "ok", "a" }, { second.message.content, second.text, second.attempts[1].endpoint })
    assert.same(before, { second.body.choices[1].message.content, second.headers["content-type"] })
    assert.is_true(second.usage.total_tokens > 0)
    assert.equal(getmetatable(outcomes[1].result), getmetatable(second))
  end)

  it("fail together, each with an error of its own", function()
    local lab = lab_of({ after = 1, status = 400, body = { error = { message = "no", list = { 1 } } } },
      { prices = { simulated = {} } })
    local outcomes = callers(lab, { {}, { at = 0.5 } })
    lab.sim:run()
    local a, b = outcomes[1].err, outcomes[2].err
    assert.same({ "invalid_request", 400 }, { a.kind, a.status })
    assert.equal(tostring(a), tostring(b))
    assert.same(a, b)
    a.body.error.list[1], a.attempts[1].kind, a.kind = "changed", "changed", "changed"
    assert.same({ 1, "invalid_request", "invalid_request" }, { b.body.error.list[1], b.attempts[1].kind, b.kind })
    local stats = lab.client:stats()
    assert.same({ 2, 0, { invalid_request = 2 }, 0 }, { stats.requests, stats.successes, stats.errors,
      stats.success_rate })
    assert.same({ invalid_request = 1 }, lab:line "a".errors)
  end)

  it("go through retries and other lines as one", function()
    local lab = lab_of { a = { after = 0.2, status = 503 }, b = slow }
    local outcomes = callers(lab, { {}, { at = 0.1 }, { at = 0.9 } })
    lab.sim:run()
    assert.equal("a 0, b 0.2", lab:sent())
    for i = 1, 3 do
      assert.equal("a overloaded, b ok", sim.trail(outcomes[i].result))
    end
  end)

  it("no longer share when the answer is there", function()
    local lab = lab_of()
    local outcomes = callers(lab, { {}, { at = 1.5 } })
    lab.sim:run()
    assert.equal("a 0, a 1.5", lab:sent())
    assert.same({ 1, 2.5 }, { outcomes[1].at, outcomes[2].at })
    assert.is_nil(next(lab.client.shared))
  end)

  it("are one request in a batch", function()
    local lab = lab_of()
    local requests = {}
    for i = 1, 30 do
      requests[i] = ask(i % 2 == 0 and "even" or "odd")
    end
    local results, summary
    lab.sim:spawn(function() results, summary = lab.client:batch(requests) end)
    lab.sim:run()
    assert.equal("a 0, a 0", lab:sent())
    assert.same({ 30, "ok" }, { summary.succeeded, results[30].result.text })
  end)

  it("share every round of an answer that is carried on", function()
    local cut = { after = 1, body = { choices = { { message = { content = "One, " }, finish_reason = "length" } } } }
    local rest = { after = 1, body = { choices = { { message = { content = "two." }, finish_reason = "stop" } } } }
    local lab = lab_of({ cut, rest }, { continue_on_length = 2 })
    local outcomes = callers(lab, { {}, { at = 0.5 } })
    lab.sim:run()
    assert.equal("a 0, a 1", lab:sent())
    assert.same({ "One, two.", "One, two." }, { outcomes[1].result.text, outcomes[2].result.text })
  end)

  it("share also where functions give the keys, and wait for it", function()
    local lab = lab_of(nil, { api_key = function()
      surefoot.sleep(0.25)
      return "key-1"
    end })
    local outcomes = callers(lab, { {}, {}, { at = 0.5 } })
    lab.sim:run()
    assert.equal("a 0.25", lab:sent())
    assert.same({ 1.25, 1.25, 1.25 }, { outcomes[1].at, outcomes[2].at, outcomes[3].at })
  end)
end)

describe("one who leaves a shared call", function()
  after_each(sim.settled)

  local function cancelled_at(lab, outcome, seconds)
    lab.sim:spawn(function()
      surefoot.sleep(seconds)
      outcome.task:cancel()
    end)
  end

  it("SF1 leaves it to the others, also when it began it", function()
    local lab, cancel = lab_of(), surefoot.canceller()
    local outcomes = callers(lab, { { options = { cancel = cancel } }, { at = 0.1 } })
    lab.sim:spawn(function()
      surefoot.sleep(0.5)
      cancel:cancel()
    end)
    lab.sim:run()
    assert.equal("a 0", lab:sent())
    local err = outcomes[1].err
    assert.same({ "cancelled", 0.5, "cancelled by the caller", true }, { err.kind, outcomes[1].at, err.message,
      err.sent })
    assert.equal("a cancelled", sim.trail(err))
    assert.same({ "ok", 1 }, { outcomes[2].result.text, outcomes[2].at })
    assert.is_nil(outcomes[2].result.coalesced)
    local stats = lab.client:stats()
    assert.same({ 2, 1, { cancelled = 1 } }, { stats.requests, stats.successes, stats.errors })
    assert.same({ 1, {} }, { lab:line "a".successes, lab:line "a".errors })
  end)

  it("SF1 with its task", function()
    local lab = lab_of()
    local outcomes = { lab:start(nil, ask()), lab:start(nil, ask()) }
    cancelled_at(lab, outcomes[1], 0.5)
    lab.sim:run()
    assert.same({ "cancelled", 0.5 }, { outcomes[1].err.kind, outcomes[1].at })
    assert.same({ "ok", 1 }, { outcomes[2].result.text, outcomes[2].at })
  end)

  it("is told once of a cancel, and can go on", function()
    local lab, seen = lab_of(), {}
    local task = lab.sim:spawn(function()
      seen[1] = select(2, lab.client:chat(ask())).kind
      seen[2] = lab.client:chat(ask()).text
    end)
    lab:start(nil, ask())
    lab.sim:spawn(function()
      surefoot.sleep(0.5)
      task:cancel()
    end)
    lab.sim:run()
    assert.same({ "cancelled", "ok" }, seen)
    assert.equal("a 0", lab:sent())
  end)

  it("SF1 by its deadline", function()
    local lab = lab_of()
    local outcomes = callers(lab, { { options = { deadline = 0.6 } }, { at = 0.1, options = { deadline = 1 } } })
    lab.sim:run()
    assert.same({ "deadline", 0.6, "ok", 1 }, { outcomes[1].err.kind, outcomes[1].at, outcomes[2].result.text,
      outcomes[2].at })
    assert.equal("deadline: the deadline passed while an answer was awaited (attempt 1 of 5, request "
      .. outcomes[1].err.request_id .. ")", tostring(outcomes[1].err))
    assert.equal("a 0", lab:sent())
  end)

  it("SF2 does so at its own deadline, and the first is not touched", function()
    local lab = lab_of()
    local outcomes = callers(lab, { {}, { at = 0.2, options = { deadline = 0.05 } } })
    lab.sim:run()
    assert.same({ "deadline", 0.25 }, { outcomes[2].err.kind, outcomes[2].at })
    assert.same({ "ok", 1 }, { outcomes[1].result.text, outcomes[1].at })
    assert.same({ deadline = 1 }, lab.client:stats().errors)
  end)

  it("SF3 spoils nothing for one who comes after it", function()
    local lab = lab_of()
    local a = lab:start(nil, ask())
    cancelled_at(lab, a, 0.5)
    local outcomes = callers(lab, { { at = 0.5 }, { at = 0.6 } })
    lab.sim:run()
    assert.equal("cancelled", a.err.kind)
    assert.equal("a 0, a 0.5", lab:sent())
    assert.same({ "ok", 1.5, "ok", 1.5 }, { outcomes[1].result.text, outcomes[1].at, outcomes[2].result.text,
      outcomes[2].at })
  end)

  it("cancels it when it is the last", function()
    local lab, cancel = lab_of { fault = "hang" }, surefoot.canceller()
    local outcomes = callers(lab, { { options = { cancel = cancel } }, { options = { deadline = 2 } }, { at = 1 } })
    lab:pass(1.5)
    cancel:cancel()
    lab:pass(1)
    assert.equal(1, lab:line "a".in_flight)
    outcomes[3].task:cancel()
    assert.equal(0, lab:line "a".in_flight)
    lab.sim:run()
    assert.same({ "cancelled", "deadline", "cancelled" }, { outcomes[1].err.kind, outcomes[2].err.kind,
      outcomes[3].err.kind })
    assert.same({ cancelled = 2, deadline = 1 }, lab.client:stats().errors)
    assert.is_nil(next(lab.client.shared))
  end)

  it("lets others move up only when all of a canceller's calls have ended", function()
    local lab, cancel = lab_of({ fault = "hang" }, { concurrency = { limit = 2 } }), surefoot.canceller()
    local list = {}
    for i = 1, 20 do
      list[i] = { request = ask("shared by two, " .. math.ceil(i / 2)), options = { cancel = cancel } }
    end
    list[21] = { request = ask "last", options = { deadline = 9 } }
    local outcomes = callers(lab, list)
    lab:pass(1)
    cancel:cancel()
    lab.sim:run()
    for i = 1, 20 do
      assert.same({ "cancelled", 1, i <= 4 }, { outcomes[i].err.kind, outcomes[i].at, outcomes[i].err.sent })
    end
    assert.same({ "a 0, a 0, a 1", 3 }, { lab:sent(), lab.client:stats().attempts })
    assert.is_true(outcomes[21].err.sent)
  end)

  it("before it began was never there", function()
    local lab, cancel = lab_of(), surefoot.canceller()
    cancel:cancel()
    local outcomes = callers(lab, { { options = { cancel = cancel } }, {} })
    lab.sim:run()
    assert.same({ "cancelled", "ok" }, { outcomes[1].err.kind, outcomes[2].result.text })
    assert.equal("1 requests, 1 ok, 1 attempts, 0 coalesced", numbers(lab))
  end)
end)

describe("a shared call", function()
  after_each(sim.settled)

  it("outlives the deadline of the one who began it, for those who have longer", function()
    local lab = lab_of { after = 8, text = "late" }
    local outcomes = callers(lab, { { options = { deadline = 5 } }, { at = 1, options = { deadline = 9 } },
      { at = 1, options = { deadline = 9.5 } } })
    lab.sim:run()
    assert.equal("a 0, a 1", lab:sent()) -- the last one had longer than it may last
    assert.same({ "deadline", 5 }, { outcomes[1].err.kind, outcomes[1].at })
    assert.same({ "late", 8, "late", 9 }, { outcomes[2].result.text, outcomes[2].at, outcomes[3].result.text,
      outcomes[3].at })
  end)

  it("knows no deadline where the callers know none", function()
    local lab = lab_of({ after = 1000, text = "ok" }, { timeout = { total = math.huge, attempt = math.huge } })
    local outcomes = callers(lab, { {}, { at = 500 } })
    lab.sim:run()
    assert.same({ 1000, 1000 }, { outcomes[1].at, outcomes[2].at })
  end)

  it("that is refused at once is so for those who come next, and each anew", function()
    local lab = lab_of({ after = 0.1, status = 500 }, { retry = { max_attempts = 1 }, breaker = { failure_threshold = 1,
      recovery_timeout = 60 } })
    assert.equal("server", select(2, lab.client:chat(ask())).kind)
    local outcomes = callers(lab, { { options = { deadline = 3 } }, { options = { deadline = 3 } } })
    lab.sim:run()
    for i = 1, 2 do
      assert.same({ "circuit_open", 0.1 }, { outcomes[i].err.kind, outcomes[i].at })
      assert.is_number(outcomes[i].err.retry_at)
    end
    assert.equal(0, lab.client:stats().coalesced)
  end)

  it("ends with the client, for all", function()
    local lab = lab_of()
    local outcomes = callers(lab, { {}, {} })
    lab:pass(0.5)
    lab.client:close()
    lab.sim:run()
    assert.same({ "closed", "closed" }, { outcomes[1].err.kind, outcomes[2].err.kind })
    assert.equal("closed", select(2, lab.client:chat(ask())).kind)
  end)

  it("is waited for by close, with all its callers", function()
    local lab = lab_of()
    local outcomes = callers(lab, { {}, {} })
    lab.sim:spawn(function()
      surefoot.sleep(0.5)
      lab.client:close { drain = 5 }
    end)
    lab.sim:run()
    assert.same({ "ok", "ok" }, { outcomes[1].result.text, outcomes[2].result.text })
  end)

  it("can be joined by the main thread, while those who began it stand still", function()
    local lab = lab_of()
    local outcome = lab:start(nil, ask())
    lab:pass(0.5)
    local result = assert(lab.client:chat(ask()))
    assert.same({ "ok", 1, true }, { result.text, lab.sim:now(), result.coalesced })
    lab.sim:run()
    assert.equal("ok", outcome.result.text)
    assert.equal("a 0", lab:sent())
  end)

  it("reaches one who blocks inside of a task, whoever began it", function()
    local lab, inner = lab_of(), nil
    local outcome = lab:start(nil, ask())
    lab.sim:spawn(function()
      surefoot.sleep(0.5)
      coroutine.wrap(function() inner = assert(lab.client:chat(ask(), { deadline = 2 })) end)()
    end)
    lab.sim:run()
    assert.same({ "ok", "ok", "a 0" }, { inner.text, outcome.result.text, lab:sent() })
  end)

  -- A loop that an error of the network's script ends at 0.5 s; its tasks are lost, with one who waits.
  local function interrupted()
    local lab = lab_of { a = slow, b = function() error("interrupted", 0) end }
    lab:start(nil, ask())
    lab.sim:spawn(function()
      surefoot.sleep(0.5)
      lab:another({ endpoints = { "b" } }):chat "x"
    end)
    lab:pass(0.4)
    local _, shared = next(lab.client.shared)
    assert.error_matches(function() lab.sim:run() end, "interrupted")
    return lab, shared
  end

  local function abandon(lab) -- what was lost was counted
    for _, client in ipairs(lab.clients) do
      client:close()
    end
    lab.sim.engine:close()
    lab.clients, lab.sim = {}, surefoot.simulate { endpoints = {} }
  end

  it("is not lost with a loop that was interrupted", function()
    local lab, shared = interrupted()
    local result = assert(lab.client:chat(ask(), { deadline = 5 }))
    assert.same({ "ok", 1, true }, { result.text, lab.sim:now(), shared.over })
    abandon(lab)
  end)

  it("is cancelled when nobody has it any more", function()
    env.need_of_lua "ephemerons" -- without, a task that never ends is never collected
    local lab = interrupted()
    for _ = 1, 4 do
      collectgarbage()
    end
    assert.is_nil(next(lab.client.shared))
    assert.equal(0, lab:line "a".in_flight)
    assert.equal("ok", assert(lab.client:chat(ask(), { deadline = 5 })).text)
    assert.equal(1.5, lab.sim:now())
    abandon(lab)
  end)

  it("throws what comes out of its writing, at each of them", function()
    local operation = require("surefoot.provider").formats.anthropic.operations.chat
    local encode = operation.encode
    finally(function() operation.encode = encode end)
    operation.encode = function() error("cannot write", 0) end
    local lab = lab_of({ a = { after = 0.1, status = 500 }, b = slow }, {
      endpoints = { { name = "a" }, { name = "b", provider = "anthropic" } },
    })
    local thrown = {}
    for i = 1, 2 do
      lab.sim:spawn(function() thrown[i] = { guard.call(lab.client.chat, lab.client, ask()) } end)
    end
    lab.sim:run()
    assert.same({ { false, "cannot write" }, { false, "cannot write" } }, thrown)
    assert.same({ "a 0", { cancelled = 2 } }, { lab:sent(), lab.client:stats().errors })
  end)

  -- What twelve callers do at random, on a line that does all it can; none of them may hear of another's end.
  local function random_run(seed)
    local state = seed
    local function random(n) -- the minimal standard generator: the same on every Lua
      state = state * 16807 % 2147483647
      return state % n + 1
    end
    local answers = { { after = 0.4, text = "ok" }, { after = 0.2, status = 503 }, { fault = "hang" },
      { after = 0.1, status = 400 }, { after = 0.3, fault = "cut", text = "ok" } }
    local lab = lab_of({ a = function() return answers[random(#answers)] end, b = { after = 0.5, text = "ok" } },
      { timeout = { attempt = 1, total = 4 }, hedge = random(2) == 1 })
    local outcomes, cancels = {}, {}
    local function leave(i)
      local how = random(6)
      if how == 1 then
        outcomes[i].task:cancel()
      elseif how == 2 then
        cancels[i]:cancel()
      end
    end
    for i = 1, 12 do
      cancels[i] = surefoot.canceller()
      lab.sim:spawn(function()
        surefoot.sleep(random(20) / 10)
        outcomes[i] = lab:start({ cancel = cancels[random(i)], deadline = random(3) == 1 and random(9) / 10 or nil },
          ask(random(3) == 1 and "a" or "b"))
        surefoot.sleep(random(20) / 10)
        leave(i)
      end)
    end
    lab.sim:run()
    return lab, outcomes
  end

  it("holds through whatever its callers do", function()
    local shared = 0
    for seed = 1, 100 do
      local lab, outcomes = random_run(seed)
      local seen, made = {}, 0
      for _, outcome in ipairs(outcomes) do
        local end_of = outcome.result or outcome.err
        assert.same({ 1, "ok" }, { outcome.times, outcome.result and outcome.result.text or "ok" })
        assert.is_true(outcome.at - outcome.began <= 4 + 1e-9)
        assert.is_nil(seen[end_of], "an end of two callers")
        seen[end_of], made = true, made + (end_of.request_id and 1 or 0)
      end
      local stats = lab.client:stats()
      assert.same({ 12, made }, { #outcomes, stats.requests })
      assert.is_nil(next(lab.client.shared))
      shared = shared + stats.coalesced
      sim.settled()
    end
    assert.is_true(shared > 500, shared .. " calls shared another's")
  end)
end)
