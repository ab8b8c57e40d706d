local surefoot = require "surefoot"

local function simulate(script)
  return surefoot.simulate { seed = 3, endpoints = { a = script } }
end

-- Answers after as many seconds as the message says.
local function echo(_, request)
  local text = request.json.messages[1].content
  if text == "bad" then
    return { status = 400, body = { error = { message = "bad" } } }
  end
  return { after = tonumber(text), text = text }
end

describe("client:batch", function()
  it("gives outcomes in order, and a summary", function()
    local sim = simulate(echo)
    local client = sim:client { prices = { simulated = { output = 1e6 } } }
    local progress = {}
    local outcomes, summary = client:batch({ "3", "bad", { messages = { { role = "user", content = "1" } } } }, {
      on_progress = function(p)
        local what = p.error and p.error.kind or p.result.text
        progress[#progress + 1] = ("%d/%d #%d %s %d+%d"):format(p.done, p.total, p.index, what, p.succeeded, p.failed)
      end,
    })
    assert.equal("3", outcomes[1].result.text)
    assert.equal("invalid_request", outcomes[2].error.kind)
    assert.equal("1", outcomes[3].result.text)
    assert.same({ "1/3 #2 invalid_request 0+1", "2/3 #3 1 1+1", "3/3 #1 3 2+1" }, progress)
    assert.same({ 3, 2, 1, 3 }, { summary.total, summary.succeeded, summary.failed, summary.seconds })
    assert.same({ invalid_request = 1 }, summary.errors)
    assert.equal(2, summary.cost)
    assert.is_true(summary.tokens > 2)
    assert.same({ {}, 0 }, { client:batch {}, select(2, client:batch {}).total })
  end)

  it("keeps to its concurrency, in a task as outside", function()
    local peak, running = 0, 0
    local sim = simulate(function()
      running = running + 1
      peak = math.max(peak, running)
      return { after = 1, text = "x" }
    end)
    local client = sim:client {}
    local function go()
      local requests = {}
      for i = 1, 10 do
        requests[i] = "1"
      end
      return client:batch(requests, { concurrency = 3, validate = function() running = running - 1 return true end })
    end
    go()
    assert.equal(3, peak)
    assert.equal(4, sim:now())
    sim:spawn(go)
    sim:run()
    assert.equal(3, peak)
    assert.equal(8, sim:now())
  end)

  it("lets one request fail that cannot be written", function()
    local client = simulate(echo):client {}
    local outcomes = client:batch { "\255", "1", { messages = {}, stream = true } }
    assert.equal("invalid_request", outcomes[1].error.kind)
    assert.matches("invalid UTF%-8", outcomes[1].error.message)
    assert.equal("1", outcomes[2].result.text)
    assert.matches("stream", outcomes[3].error.message)
  end)

  it("knows its own options beside a call's where one is misspelt", function()
    local client = simulate(echo):client {}
    for _, name in ipairs { "batch", "each" } do
      assert.error_matches(function() client[name](client, { "1" }, { on_progres = print }) end,
        "client:" .. name .. ': on_progres: unknown key; did you mean "on_progress"?', nil, true)
      assert.error_matches(function() client[name](client, { "1" }, { deadlin = 1 }) end, 'mean "deadline"?', nil, true)
    end
  end)

  it("throws what its hooks throw", function()
    local client = simulate(echo):client {}
    assert.error_matches(function()
      client:batch({ "1", "2" }, { on_progress = function() error "mine" end })
    end, "mine")
    assert(client:chat "1")
  end)

  it("is cancelled with its task, and by a canceller", function()
    local sim = simulate(echo)
    local client = sim:client {}
    local outcomes
    local task = sim:spawn(function() outcomes = client:batch({ "1", "9", "9", "9" }, { concurrency = 2 }) end)
    sim:run(2)
    task:cancel()
    sim:run()
    assert.equal(2, sim:now())
    assert.equal("1", outcomes[1].result.text)
    for i = 2, 4 do
      assert.equal("cancelled", outcomes[i].error.kind)
    end
    local canceller = surefoot.canceller()
    sim:spawn(function() outcomes = client:batch({ "9", "9" }, { cancel = canceller }) end)
    sim:run(1)
    canceller:cancel()
    sim:run()
    assert.equal(3, sim:now())
    assert.same({ "cancelled", "cancelled" }, { outcomes[1].error.kind, outcomes[2].error.kind })
  end)

  it("goes one by one in a coroutine that is no task", function()
    local sim = simulate(echo)
    local client = sim:client {}
    sim:spawn(function()
      local outcomes = coroutine.wrap(function() return (client:batch { "1", "2" }) end)()
      assert.equal("2", outcomes[2].result.text)
      local seen = {}
      coroutine.wrap(function()
        for index, result in client:each { "2", "1" } do
          seen[#seen + 1] = index .. result.text
        end
      end)()
      assert.same({ "12", "21" }, seen)
    end)
    sim:run()
    assert.equal(6, sim:now())
  end)
end)

describe("client:each", function()
  local function collect(client, requests, options)
    local seen = {}
    local next_result = client:each(requests, options)
    local index, result, err = next_result()
    while index do
      seen[#seen + 1] = index .. ":" .. (result and result.text or err.kind)
      index, result, err = next_result()
    end
    return seen
  end

  it("gives each as it ends, in a task as outside", function()
    local sim = simulate(echo)
    local client = sim:client {}
    local expected = { "3:bad", "2:1", "1:3" }
    expected[1] = "3:invalid_request"
    assert.same(expected, collect(client, { "3", "1", "bad" }))
    assert.equal(3, sim:now())
    local inside
    sim:spawn(function() inside = collect(client, { "3", "1", "bad" }) end)
    sim:run()
    assert.same(expected, inside)
    assert.equal(6, sim:now())
    assert.same({}, collect(client, {}))
  end)

  it("begins no further request when the loop is left", function()
    local count = 0
    local sim = simulate(function() count = count + 1 return { after = 1, text = "x" } end)
    local client = sim:client {}
    local function leave()
      for index in client:each({ "1", "1", "1", "1", "1", "1" }, { concurrency = 2 }) do
        if index then
          break
        end
      end
    end
    leave()
    collectgarbage()
    collectgarbage()
    local begun = count
    sim:run()
    assert.is_true(begun <= 4)
    assert.is_true(count <= 4, "a worker goes on after it was left")
    assert.equal(0, client:stats().in_flight)
  end)

  it("throws what its hooks throw", function()
    local client = simulate(echo):client {}
    assert.error_matches(function()
      collect(client, { "1", "2" }, { validate = function() error "mine" end })
    end, "mine")
  end)

  it("lets other calls be made between two results", function()
    local sim = simulate(echo)
    local client = sim:client {}
    local texts = {}
    for _, result in client:each { "1", "2" } do
      texts[#texts + 1] = result.text .. assert(client:chat "0.25").text
    end
    assert.same({ "10.25", "20.25" }, texts)
  end)
end)
