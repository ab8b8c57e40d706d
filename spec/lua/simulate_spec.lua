local surefoot = require "surefoot"

describe("surefoot.simulate", function()
  it("tells scripts what was asked, and when", function()
    local sim
    local seen = {}
    sim = surefoot.simulate { seed = 1, endpoints = { a = function(n, request, now)
      seen[n] = { request.endpoint, request.method, request.url, request.path, request.json.model, now }
      return { after = 1.5, text = "x" }
    end } }
    local client = sim:client { model = "m" }
    assert(client:chat "x")
    assert(client:chat "x")
    assert.same({ "a", "POST", "https://simulated.invalid/v1/chat/completions", "/v1/chat/completions", "m", 0 },
      seen[1])
    assert.equal(1.5, seen[2][6])
    assert.equal(3, sim:now())
  end)

  it("has a clock that only moves when told, for tasks as well", function()
    local sim = surefoot.simulate { endpoints = {} }
    local log = {}
    sim:spawn(function()
      log[#log + 1] = surefoot.now()
      surefoot.sleep(3600)
      log[#log + 1] = surefoot.now()
    end)
    assert.same({}, log)
    sim:run(10)
    assert.same({ 0 }, log)
    assert.equal(10, sim:now())
    sim:run()
    assert.same({ 0, 3600 }, log)
    sim:run(1)
    assert.equal(3601, sim:now())
  end)

  it("is the same again for the same seed", function()
    local function story(seed)
      local sim = surefoot.simulate { seed = seed, endpoints = { a = function(n)
        return n % 3 > 0 and { after = 0.1, status = 503 } or { after = 0.1, text = "x" }
      end } }
      local client = sim:client {}
      for _ = 1, 5 do
        client:chat "x"
      end
      return sim:now()
    end
    assert.equal(story(42), story(42))
    assert.not_equal(story(42), story(43))
  end)

  it("sends a header as often as it has values", function()
    local sim = surefoot.simulate { endpoints = { a = function(n)
      if n == 1 then return { status = 429, headers = { ["Retry-After"] = { 5, "9" }, ["X-A"] = 1 } } end
      return { text = "x" }
    end } }
    assert(sim:client({ retry = { jitter = "none" } }):chat "x")
    assert.is_true(sim:now() >= 9 and sim:now() < 11, sim:now()) -- the larger of the two
  end)

  it("puts events that only say what is in them into a stream", function()
    local function piece(delta, reason)
      return { id = "s", choices = { { index = 0, delta = delta, finish_reason = reason } } }
    end
    local says = {
      { { at = 1, data = piece({ content = "Hel" }) }, { at = 2, data = piece({ content = "lo" }) },
        { at = 3, data = piece({ content = "" }, "stop") }, { at = 3, data = "[DONE]" } },
      { { at = 1, data = '{"id":"s","choices":[{"index":0,\n"delta":{"content":"Hel"}}]}' },
        { at = 2, data = '{"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}' },
        { at = 3, data = "[DONE]" } },
    }
    for _, events in ipairs(says) do
      local sim = surefoot.simulate { endpoints = { a = function() return { after = 0.5, events = events } end } }
      local stream = assert(sim:client():stream "x")
      assert.equal(1, sim:now())
      local result = assert(stream:result())
      assert.same({ "Hello", "stop", 3 }, { result.text, result.finish_reason, sim:now() })
    end
  end)

  it("sends what is no such event as it stands", function()
    local bare = '{"error":{"message":"bare"}}'
    local sim = surefoot.simulate { endpoints = { a = function()
      return { events = { { at = 1, data = bare }, { at = 1, data = "\n" } } }
    end } }
    local _, err = sim:client({ retry = { max_attempts = 1 } }):stream "x"
    assert.equal("truncated", err.kind)
    local whole = '{"choices":[{"message":{"content":"slow"},"finish_reason":"stop"}]}'
    sim = surefoot.simulate { endpoints = { a = function() return { events = { { at = 1, data = whole } } } end } }
    assert.equal("slow", assert(sim:client():chat "x").text)
  end)

  it("streams bytes at their times into a plain answer", function()
    local body = '{"choices":[{"message":{"content":"slow"},"finish_reason":"stop"}]}'
    local sim = surefoot.simulate { endpoints = { a = function()
      return { after = 1, headers = { ["Content-Type"] = "application/json" }, events = {
        { at = 2, data = body:sub(1, 20) }, { at = 4, data = body:sub(21) },
      } }
    end } }
    local result = assert(sim:client():chat "x")
    assert.same({ "slow", 4, 2 }, { result.text, result.latency, result.time_to_first_token })
    assert.equal("application/json", result.headers["content-type"])
  end)

  it("runs tasks of many clients, thousands of calls", function()
    local sim = surefoot.simulate { endpoints = { a = function() return { after = 1, text = "x" } end } }
    local done = 0
    for _ = 1, 20 do
      local client = sim:client {}
      sim:spawn(function()
        for _ = 1, 50 do
          assert(client:chat "x")
          done = done + 1
        end
      end)
    end
    sim:run()
    assert.same({ 1000, 50 }, { done, sim:now() })
  end)

  it("rethrows what a task threw", function()
    local sim = surefoot.simulate { endpoints = {} }
    sim:spawn(function() error "boom" end)
    assert.error_matches(function() sim:run() end, "boom")
    sim:run()
  end)

  it("works beside real tasks", function()
    local sim = surefoot.simulate { endpoints = { a = function() return { after = 60, text = "x" } end } }
    local client = sim:client {}
    surefoot.run(function()
      assert.equal("x", assert(client:chat "x").text)
    end)
    assert.equal(60, sim:now())
  end)

  local scripts = {
    { "text", 'expected a table, got "text"' },
    { { afer = 1 }, 'afer: unknown key; did you mean "after"%?' },
    { { after = "1" }, 'after: expected seconds, 0 or more .*, got "1"' },
    { { fault = "explode" }, 'fault: expected one of .*, got "explode"' },
    { { fail = "dns" }, 'fail: expected one of .*, got "dns"' },
    { { text = "x", body = "y" }, "give one of body, text and events" },
  }
  for _, case in ipairs(scripts) do
    it("throws when a script is wrong: " .. case[2], function()
      local sim = surefoot.simulate { endpoints = { a = function() return case[1] end } }
      assert.error_matches(function() sim:client():chat "x" end, 'the script of "a", request 1: ' .. case[2])
    end)
  end

  it("checks what it is given", function()
    assert.error_matches(function() surefoot.simulate() end, "expected { seed =, endpoints")
    assert.error_matches(function() surefoot.simulate { endpoints = {}, sed = 1 } end, 'sed: unknown key')
    assert.error_matches(function() surefoot.simulate { endpoints = { a = 1 } } end, "names with functions")
    local sim = surefoot.simulate { endpoints = { a = print } }
    assert.error_matches(function() sim:client { endpoints = { "b" } } end, 'no script for "b"; known are a')
    assert.error_matches(function() sim:client { timeout = { idel = 1 } } end, "timeout.idel: unknown key")
    assert.error_matches(function() sim:spawn(1) end, "expected a function")
    sim:spawn(function() sim:run() end)
    assert.error_matches(function() sim:run() end, "called inside a task")
  end)
end)

describe("surefoot", function()
  it("has a version, and names for JSON", function()
    assert.matches("^%d+%.%d+%.%d+$", surefoot._VERSION)
    assert.matches("^libcurl/", surefoot.libcurl)
    assert.equal("userdata", type(surefoot.null))
    assert.equal("table", type(surefoot.array {}))
    assert.equal("table", type(surefoot.object {}))
    assert.is_nil(surefoot.stream)
  end)

  it("throws for a wrong configuration, at the user's line", function()
    local ok, message = pcall(function() return (surefoot.new { base_url = "x" }) end)
    assert.is_false(ok)
    assert.matches("simulate_spec%.lua:%d+: surefoot%.new: base_url: no scheme", message)
    ok, message = pcall(function() return (surefoot.new {}) end)
    assert.is_false(ok)
    assert.matches(": surefoot%.new: where to%?", message)
  end)
end)
