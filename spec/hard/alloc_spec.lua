-- Every allocation of the core fails in turn, in every scenario: nothing crashes, leaks or hangs; each call settles, or
-- says that memory is short; and afterwards the client is as good as before. Needs a core built with SF_FAULTS (the one
-- with sanitizers is); leaks are found by its LeakSanitizer when the process ends.
local core = require "surefoot.core"
local leaks = require "spec.support.leaks"
local surefoot = require "surefoot"

local PATIENCE = 200 -- virtual seconds; a call that needs more has lost its wake

local ok, bad = { after = 0.1, text = "ok" }, { after = 0.1, status = 500, headers = { ["x-a"] = "1" } }

local function event(text, finish)
  return ('data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n')
    :format(text, finish or "null")
end

-- What a line streams, a second apart.
local function stream(...)
  local script = { after = 0.1, headers = { ["content-type"] = "text/event-stream" }, events = {} }
  for i, data in ipairs { ... } do
    script.events[i] = { at = i, data = data }
  end
  return script
end

local whole_stream = stream(event "", event "a", event(("b"):rep(5000)), event("", '"stop"') .. "data: [DONE]\n\n")

-- Reads a stream to its end.
local function read_all(client, request, options)
  local reader, err = client:stream(request, options)
  if not reader then
    return nil, err
  end
  return reader:result()
end

local function lines(list)
  local scripts = {}
  for name, scripted in pairs(list) do
    scripts[name] = function(n, request)
      local script = scripted[n] or scripted[#scripted]
      return script.events and not request.json.stream and ok or script
    end
  end
  return scripts
end

local output = os.tmpname()

-- Asks by client:request.
local function requesting(request)
  return function(client, _, options)
    request.path = "/x"
    return client:request(request, options)
  end
end

-- What happens in the simulation; `calls` gets each outcome. Config and lines are made anew for every run.
local scenarios = {
  ["one call"] = {
    lines = { a = { ok } },
    play = function(go) go() end,
  },
  ["failover, rounds, another model"] = {
    lines = { a = { bad, { status = 404 }, bad, ok }, b = { { fail = "connect" }, { fault = "cut", body = "{" }, bad,
      ok } },
    config = { fallbacks = { "second", { model = "third", request = { temperature = 0 } } }, breaker = false },
    play = function(go)
      go { on_event = function() end, headers = { ["x-b"] = "2" } }
      go { timeout = { attempt = 3 } }
    end,
  },
  ["queue, priorities, cancellation"] = {
    lines = { a = { ok } },
    config = { concurrency = { limit = 1, queue = 4 } },
    play = function(go, sim)
      local tasks = {}
      for i, priority in ipairs { "low", "high", "normal", "low", "high", "normal" } do
        tasks[i] = go { priority = priority }
      end
      sim:spawn(function()
        sim.scheduler:sleep(0.15)
        tasks[3]:cancel()
      end)
    end,
  },
  ["timeouts, stale connections, deadlines"] = {
    lines = { a = { { fault = "hang" }, { fault = "reset", reused = true }, ok }, b = { { connect = 50 }, ok } },
    config = { timeout = { connect = 1, attempt = 2 } },
    play = function(go)
      go()
      go { deadline = 1.5 }
      go { deadline = 100, validate = function() return true end }
    end,
  },
  ["streams: failover, cuts, a reader that leaves"] = {
    lines = { a = { stream(event ""), stream(event "a", "data: {\n\n"), whole_stream }, b = { whole_stream } },
    play = function(go)
      go(nil, read_all)
      go({ deadline = 2.5, on_event = function() end }, read_all)
      go(nil, function(client, request)
        local reader, err = client:stream(request)
        return reader and reader:close() == nil or nil, err
      end)
    end,
  },
  ["files up and down"] = {
    lines = { a = { bad, { fault = "cut", body = "{" }, ok }, b = { { fault = "reset", reused = true }, ok } },
    play = function(go)
      local file = "spec/hard/alloc_spec.lua"
      go(nil, requesting { body = { file = file }, output = { file = output } })
      go({ deadline = 1.05 }, requesting { multipart = { { name = "a", file = file }, { name = "b", value = "c" } } })
      go(nil, requesting { multipart = { { name = "a", file = file }, { name = "b", file = "/nowhere" } } })
      go(nil, requesting { body = { file = file }, output = { file = "/nowhere/at/all" } })
    end,
  },
  ["open circuits and probes"] = {
    lines = { a = { bad, bad, ok } },
    config = { breaker = { failure_threshold = 1 }, retry = { max_attempts = 2 } },
    play = function(go)
      for _ = 1, 4 do
        go()
      end
      go { deadline = 1 }
    end,
  },
  ["rates, tokens, keys"] = {
    lines = { a = { { status = 401 }, { status = 429, headers = { ["retry-after"] = "1" } }, ok } },
    config = { api_key = { "key-number-one", "key-number-two" }, rate = { requests_per_second = 5, burst = 1,
      tokens_per_minute = 60000 } },
    play = function(go)
      for _ = 1, 4 do
        go()
      end
    end,
  },
  ["a key that changes, large bodies, a proxy, a close"] = {
    lines = { a = { { after = 0.1, body = ("x"):rep(9000) }, ok } },
    config = {
      api_key = function() return "key-" .. math.random(1e9) end, headers = { ["x-c"] = "3" },
        proxy = "http://127.0.0.1:1",
      dns = { hosts = { ["simulated.invalid"] = "127.0.0.1" } },
        tls = { ca_file = "/etc/ssl/certs/ca-certificates.crt" },
    },
    play = function(go, sim, client)
      go()
      go()
      sim:spawn(function()
        sim.scheduler:sleep(0.05)
        client:close { drain = 0.3 }
      end)
    end,
    closes = true,
  },
}

-- Nothing is held, and no slot is lost: as many calls as there are slots, and one more, get through.
local function assert_as_good_as_new(sim, client, scenario)
  local stats = client:stats()
  assert.same({ 0, 0, 0, 0 }, { stats.in_flight, stats.queue, sim.engine:in_flight(), sim.engine:pending() })
  for name, line in pairs(stats.endpoints) do
    assert.equal(0, line.in_flight, name)
  end
  local config = scenario.config or {}
  local limit = config.rate and 2 or config.concurrency and config.concurrency.limit or 100
  for _ = 1, scenario.closes and 0 or limit + 1 do
    sim:spawn(function()
      local _, err = client:chat("again", { deadline = 30 })
      assert(not err or err.kind ~= "deadline", "a call waited in vain")
    end)
  end
  sim:run()
  assert.equal(0, client:stats().in_flight)
end

local function is_about_memory(thrown)
  return tostring(thrown):find "memory" ~= nil
end

-- One run in which the n-th allocation fails; how many were made.
local function run(scenario, n)
  local sim, client
  local outcomes, begun = {}, 0
  local quiet, thrown = pcall(function()
    core.fail_allocation(n)
    sim = surefoot.simulate { seed = 1, endpoints = lines(scenario.lines) }
    client = sim:client(scenario.config)
    scenario.play(function(options, how)
      begun = begun + 1
      return sim:spawn(function()
        local fine, result, err = pcall(how or client.chat, client, "Hi", options)
        outcomes[#outcomes + 1] = { thrown = not fine and result, result = fine and result, err = fine and err,
          at = sim:now() }
      end)
    end, sim, client)
    sim:run()
  end)
  local made = core.fail_allocation(0)
  assert(quiet or is_about_memory(thrown), thrown)
  for _, outcome in ipairs(outcomes) do
    assert(outcome.at < PATIENCE, "a call was not woken")
    if outcome.thrown then
      assert(is_about_memory(outcome.thrown), outcome.thrown)
    else
      assert.is_true(outcome.result ~= nil or outcome.err.kind ~= nil)
    end
  end
  if quiet then
    assert.equal(begun, #outcomes, "every call comes back")
    assert_as_good_as_new(sim, client, scenario)
  end
  sim, client = nil, nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  return made
end

describe("a failing allocator:", function()
  assert(core.fail_allocation, "the core was built without SF_FAULTS")

  for name, scenario in pairs(scenarios) do
    it(name, function()
      local n, made, before = 0, nil, #leaks.open_files()
      repeat
        n = n + 1
        local fine, problem = pcall(function()
          made = run(scenario, n)
        end)
        core.fail_allocation(0)
        if not fine then
          error(("allocation %d: %s"):format(n, type(problem) == "table" and problem.message or tostring(problem)), 0)
        end
      until made < n
      assert.is_true(n > 20)
      assert.equal(before, #leaks.open_files())
      assert.is_nil(io.open(output .. ".part"))
      os.remove(output)
    end)
  end
end)
