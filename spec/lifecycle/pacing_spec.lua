-- The provider's own word sets the pace before it has to say 429: what is left of its windows, for requests and tokens.
local sim = require "spec.support.sim"

local function left(what, limit, remaining, reset)
  return { ["x-ratelimit-limit-" .. what] = limit, ["x-ratelimit-remaining-" .. what] = remaining,
    ["x-ratelimit-reset-" .. what] = reset }
end

-- A line that says so once, or always, and answers after 0.1 s.
local function telling(headers, always)
  return function(n)
    return { after = 0.1, text = "ok", headers = (n == 1 or always) and headers or nil }
  end
end

-- A call that is told, then so many at once.
local function lab_of(headers, config, count, options)
  config = config or {}
  config.rate = config.rate or {}
  local lab = sim.lab({ a = telling(headers) }, config)
  assert(lab.client:chat("Hi", options))
  lab.log = {}
  for _ = 1, count do
    lab:start(options)
  end
  lab:pass(60)
  return lab
end

describe("the provider's word", function()
  after_each(sim.settled)

  it("on requests is kept: what is left at once, the rest as it comes back", function()
    -- the word is of the request's beginning, 0.1 s ago
    assert.equal("a 0.1, a 0.1, a 1, a 2, a 3", lab_of(left("requests", "10", "2", "8s"), nil, 5):sent())
  end)

  it("of a bucket counts until its reset", function()
    local lab = lab_of(left("requests", "10", "0", "5s"), nil, 0)
    lab:pass(5)
    for _ = 1, 12 do
      lab:start()
    end
    lab:pass(0.01)
    assert.equal(12, #lab.log)
    lab:pass(10)
  end)

  -- A server that admits 10 in any second, and says so as the real ones do: what comes back is not told.
  local function window_server(log, silent)
    return function(_, _, now)
      local used = 0
      for _, at in ipairs(log) do
        used = used + (at > now - 1 and 1 or 0)
      end
      if used >= 10 then
        log.refused = (log.refused or 0) + 1
        return { after = 0.05, status = 429, headers = { ["retry-after"] = "1" } }
      end
      log[#log + 1] = now
      return { after = 0.05, text = "ok",
        headers = not silent and left("requests", "10", tostring(9 - used), "1s") or nil }
    end
  end

  it("of a window holds until its reset, and for the next as well", function()
    local log = {}
    local lab = sim.lab({ a = window_server(log) }, { rate = {}, concurrency = { limit = 8 } })
    for _ = 1, 95 do
      lab:start()
    end
    lab:pass(30)
    assert.same({ 95 }, { #log, log.refused })
    assert.is_true(log[95] < 10.5, log[95])
  end)

  it("of a window that ends at a fixed time: what was sent before is gone then", function()
    local log, refused = {}, 0
    local lab = sim.lab({ a = function(_, _, now) -- 10 in each 20 seconds by the clock
      local window = math.floor(now / 20)
      log[window] = (log[window] or 0) + 1
      if log[window] > 10 then
        refused = refused + 1
        return { after = 0.05, status = 429, headers = { ["retry-after"] = "5" } }
      end
      return { after = 0.05, text = "ok",
        headers = left("requests", "10", tostring(10 - log[window]), math.ceil((window + 1) * 20 - now) .. "s") }
    end }, { rate = {}, concurrency = { limit = 2 } })
    assert(lab.client:chat "Hi")
    lab:pass(15)
    for _ = 1, 27 do
      lab:start()
    end
    lab:pass(30)
    assert.same({ 0, 10, 10 }, { refused, log[0], log[1] })
    assert.is_true(lab.log[11].at >= 20 and lab.log[20].at < 21, lab.log[20].at)
    lab:pass(100)
    assert.same({ 0, 8 }, { refused, log[2] })
  end)

  it("need not be a header: a 429 that says when to come back, after so many, says as much", function()
    local log = {}
    local lab = sim.lab({ a = window_server(log, true) }, { rate = {}, concurrency = { limit = 8 } })
    for _ = 1, 95 do
      lab:start()
    end
    lab:pass(30)
    assert.equal(95, #log)
    assert.is_true(log.refused <= 8, log.refused) -- those that were out when it was said
    assert.is_true(log[95] < 12, log[95])
  end)

  it("that was learned is tried out later on: the limit may have grown", function()
    local log, most, refused = {}, 5, 0
    local lab = sim.lab({ a = function(_, _, now)
      local used = 0
      for _, at in ipairs(log) do
        used = used + (at > now - 1 and 1 or 0)
      end
      if used >= most then
        refused = refused + 1
        return { after = 0.01, status = 429, headers = { ["retry-after"] = "1" } }
      end
      log[#log + 1] = now
      return { after = 0.01, text = "ok" }
    end }, { rate = {}, concurrency = { limit = 2, queue = 2000 }, retry = { max_attempts = 100, budget = false } })
    for _ = 1, 600 do
      lab:start()
    end
    lab:pass(8)
    assert.is_true(#log <= 5 * 8 and #log > 5 * 5, #log)
    most = 1000
    lab:pass(100)
    assert.is_true(#log > 600 - 1, #log)
    assert.is_true(refused < 10, refused)
    lab:pass(300)
  end)

  it("on tokens is kept, for what a request is taken for", function()
    local headers = left("tokens", "1000", "500", "5s") -- 100 a second
    local lab = sim.lab({ a = function(n)
      return { after = n == 1 and 0.1 or 60, text = "ok", headers = n == 1 and headers or nil }
    end }, { rate = {} })
    assert(lab.client:chat("Hi", { estimate = 200 }))
    lab.log = {}
    for _ = 1, 4 do
      lab:start { estimate = 200 }
    end
    lab:pass(4.5)
    assert.equal("a 0.1, a 0.1, a 1, a 3", lab:sent())
    lab:pass(100)
  end)

  it("on tokens is settled with what was used", function()
    local headers = left("tokens", "1000", "500", "5s")
    local lab = sim.lab({ a = telling(headers) }, { rate = {} })
    assert(lab.client:chat("Hi", { estimate = 500 }))
    lab.log = {}
    for _ = 1, 3 do -- of the 500 that each is taken for, a few are used
      assert(lab.client:chat("Hi", { estimate = 500 }))
    end
    assert.is_true(lab.log[3].at < 1, lab:sent())
  end)

  it("that is older than what was sent since does not lead into a 429", function()
    local used, refused = 0, 0
    local function script(_, _, now) -- 10 requests, one more each 10 s; it looks at a request half way
      if used >= 10 + math.floor(now / 10) then
        refused = refused + 1
        return { after = 0.1, status = 429 }
      end
      used = used + 1
      return { after = 0.1 + used * 0.05, text = "ok",
        headers = left("requests", "10", tostring(10 - used), used * 10 .. "s") }
    end
    local lab = sim.lab({ a = script }, { rate = {}, concurrency = { limit = 4 } })
    for _ = 1, 14 do
      lab:start()
    end
    lab:pass(200)
    assert.same({ 0, 14 }, { refused, #lab.log })
  end)

  it("is not heard where it is junk, or the rate is not to adapt", function()
    for _, headers in ipairs { left("requests", "0", "0", "60s"), left("requests", "-1", "-1", "0"),
      left("tokens", "0", "0", "1s"), left("tokens", "10", "-1", "60s"), left("requests", "10", "0", "soon") } do
      assert.equal("a 0.1, a 0.1, a 0.1", lab_of(headers, nil, 3):sent())
    end
    local rate = { requests_per_second = 100, adaptive = false }
    assert.equal("a 0.1, a 0.1, a 0.1", lab_of(left("requests", "10", "0", "60s"), { rate = rate }, 3):sent())
  end)

  it("of one line moves calls to the others", function()
    local lab = sim.lab({ a = telling(left("requests", "10", "0", "60s"), true), b = telling({}) }, { rate = {} })
    for _ = 1, 4 do
      assert(lab.client:chat "Hi")
    end
    assert.equal("a 0, b 0.1, b 0.2, b 0.3", lab:sent())
  end)

  it("is each key's own", function()
    local seen = {}
    local lab = sim.lab({ a = function(_, request)
      local key = request.headers.authorization
      seen[#seen + 1] = key:match "key%-(%w+)"
      return { after = 0.1, text = "ok", headers = key:find "one" and left("requests", "10", "0", "60s") or nil }
    end }, { rate = {}, endpoints = { { name = "a", api_key = { "key-one", "key-two" } } } })
    for _ = 1, 4 do
      assert(lab.client:chat "Hi")
    end
    assert.equal("one two two two", table.concat(seen, " "))
  end)
end)
