-- The other half of conformance_scenarios.lua: cancellation at several moments, tasks, many calls, kinds of errors.

local surefoot = require "surefoot"
local worlds = require "spec.loops.conformance_world"

local fail_with, user = worlds.fail_with, worlds.user

local M = {}

local function scenario(name, play)
  M[#M + 1] = { name = name, play = play }
end

-- ------------------------------------------------------------------------------------------------------ cancellation

scenario("cancelled before it begins", function(world, say)
  local canceller = surefoot.canceller()
  canceller:cancel()
  local result, err = world.client():chat("x", { cancel = canceller })
  say("", result, err, ("asked %d"):format(world.counters("a").requests))
end)

scenario("cancelled while an answer is awaited", function(world, say)
  world.profile("a", { fault = "hang" })
  local client, canceller = world.client(), surefoot.canceller()
  local result, err = worlds.disturbed(world, function() return client:chat("x", { cancel = canceller }) end,
    function() canceller:cancel() end)
  say("", result, err, worlds.left_alone(world))
end)

scenario("the first of several is cancelled", function(world, say)
  world.profile("a", { delay = 1 })
  local client, canceller, texts = world.client(), surefoot.canceller(), {}
  local outcomes = worlds.side_by_side {
    function() return client:chat("1", { cancel = canceller }) end,
    function() return client:chat "2" end,
    function() return client:chat "3" end,
    function()
      world.eventually(function() return world.counters("a").in_flight == 3 end)
      canceller:cancel()
    end,
  }
  for i = 1, 3 do
    texts[i] = outcomes[i][1] and outcomes[i][1].text or outcomes[i][2].kind
  end
  say("", nil, nil, table.concat(texts, ", "))
end)

scenario("cancelled by its own event", function(world, say)
  local canceller = surefoot.canceller()
  say("", world.client():chat("x", { cancel = canceller, on_event = function(name)
    if name == "attempt_started" then
      canceller:cancel()
    end
  end }))
end)

scenario("cancelled while it queues", function(world, say)
  world.profile("a", { fault = "hang" })
  local client = world.client { concurrency = { limit = 1 } }
  local first, second = surefoot.canceller(), surefoot.canceller()
  local outcomes = worlds.side_by_side {
    function() return client:chat("x", { cancel = first }) end,
    function()
      world.eventually(function() return world.counters("a").in_flight == 1 end)
      return client:chat("y", { cancel = second })
    end,
    function()
      world.eventually(function() return client:stats().queue == 1 end)
      second:cancel()
      surefoot.sleep(0.01)
      first:cancel()
    end,
  }
  say("the first", outcomes[1][1], outcomes[1][2])
  say("the second", outcomes[2][1], outcomes[2][2])
end)

scenario("cancelled between two attempts", function(world, say)
  world.profile("a", fail_with(500))
  local client = world.client { lines = { "a" }, retry = { base_delay = 15, max_delay = 15, jitter = "none" } }
  local canceller = surefoot.canceller()
  local outcomes = worlds.side_by_side {
    function() return client:chat("x", { cancel = canceller }) end,
    function()
      world.eventually(function()
        local counters = world.counters "a"
        return counters.requests == 1 and counters.in_flight == 0
      end)
      surefoot.sleep(0.02)
      canceller:cancel()
    end,
  }
  say("", outcomes[1][1], outcomes[1][2])
end)

scenario("cancelled while a piece is awaited", function(world, say)
  world.profile("a", { stream = { stall_after = 2 }, answer = { chunks = 6 } })
  local client, canceller = world.client(), surefoot.canceller()
  local outcomes = worlds.side_by_side {
    function()
      local stream = assert(client:stream("six pieces of text, please", { cancel = canceller }))
      return select(3, worlds.read_all(stream))
    end,
    function()
      world.eventually(function() return world.counters("a").in_flight == 1 end)
      surefoot.sleep(0.05)
      canceller:cancel()
    end,
  }
  say("", outcomes[1][1], outcomes[1][2], worlds.left_alone(world))
end)

scenario("cancelled while a tool runs", function(world, say)
  local client, canceller, tools, began = world.client(), surefoot.canceller(), worlds.tools_of(world), nil
  tools.weather.call = function()
    began = true
    return (surefoot.sleep(30))
  end
  local outcomes = worlds.side_by_side {
    function() return client:run_tools("call tool weather", tools, { cancel = canceller }) end,
    function()
      world.eventually(function() return began end)
      canceller:cancel()
    end,
  }
  local result, err = outcomes[1][1], outcomes[1][2]
  say("", result, err, err and err.partial and ("rounds %d"):format(#err.partial.rounds))
end)

scenario("cancelled with its task", function(world, say)
  world.profile("a", { fault = "hang" })
  local client = world.client()
  local outcome = worlds.side_by_side { function()
    local task = surefoot.spawn(function() return client:chat "x" end)
    world.eventually(function() return world.counters("a").in_flight == 1 end)
    task:cancel()
    return task:wait()
  end }
  say("", outcome[1][1], outcome[1][2], worlds.left_alone(world))
end)

scenario("a batch that is cancelled with its task", function(world, say)
  world.profile("a", { fault = "hang" })
  local client, kinds = world.client(), {}
  local outcome = worlds.side_by_side { function()
    local task = surefoot.spawn(function() return client:batch({ "1", "2", "3" }, { concurrency = 2 }) end)
    world.eventually(function() return world.counters("a").in_flight == 2 end)
    task:cancel()
    return task:wait()
  end }
  for i, each in ipairs(outcome[1][1]) do
    kinds[i] = each.result and "ok" or each.error.kind
  end
  say("", nil, nil, table.concat(kinds, " "))
end)

scenario("closed while an answer is awaited", function(world, say)
  world.profile("a", { fault = "hang" })
  local client = world.client()
  say("", worlds.disturbed(world, function() return client:chat "x" end, function() client:close() end))
  say("afterwards", client:chat "y")
end)

scenario("closed with draining", function(world, say)
  world.profile("a", { delay = 0.4 })
  local client = world.client()
  say("", worlds.disturbed(world, function() return client:chat "hello" end, function() client:close { drain = 5 } end))
end)

-- ------------------------------------------------------------------------------------------------------------- tasks

scenario("sleeps in order", function(_, say)
  local order = {}
  local function sleeper(name, seconds)
    return function()
      surefoot.sleep(seconds)
      order[#order + 1] = name
    end
  end
  worlds.side_by_side { sleeper("third", 0.4), sleeper("first", 0), sleeper("second", 0.2) }
  say("", nil, nil, table.concat(order, " "))
end)

scenario("a task that sleeps is cancelled", function(_, say)
  local outcome = worlds.side_by_side { function()
    local task = surefoot.spawn(function() return surefoot.sleep(60) end)
    surefoot.sleep(0.01)
    task:cancel()
    return task:wait()
  end }
  say("", outcome[1][1], outcome[1][2])
end)

scenario("a task is waited for, but not long enough", function(_, say)
  local outcome = worlds.side_by_side { function()
    local task = surefoot.spawn(function()
      surefoot.sleep(0.3)
      return "done"
    end)
    local value, err = task:wait(0.01)
    return value, err, task:wait()
  end }
  say("", outcome[1][1], outcome[1][2], outcome[1][3])
end)

scenario("a task that waits for another is cancelled", function(_, say)
  local outcome = worlds.side_by_side { function()
    local may_end = false
    local other = surefoot.spawn(function()
      while not may_end do
        surefoot.sleep(0.01)
      end
      return "the other goes on"
    end)
    local task = surefoot.spawn(function() return other:wait() end)
    surefoot.sleep(0.01)
    task:cancel()
    local value, err = task:wait()
    may_end = true
    return value, err, other:wait()
  end }
  say("", outcome[1][1], outcome[1][2], outcome[1][3])
end)

scenario("a crowd of calls and sleeps", function(world, say)
  local client, functions, count = world.client(), {}, 0
  for i = 1, 40 do
    functions[i] = function()
      for round = 1, 5 do
        local text = ("%d %d"):format(i, round)
        surefoot.sleep((i * 7 + round * 3) % 10 / 1000)
        local result = assert(client:chat(text))
        count = count + (result.text == "echo: " .. text and 1 or 0)
      end
    end
  end
  worlds.side_by_side(functions)
  say("", nil, nil, ("%d of 200"):format(count))
end)

scenario("tasks that begin tasks", function(world, say)
  local client = world.client()
  local outcome = worlds.side_by_side { function()
    local tasks, texts = {}, {}
    for i = 1, 5 do
      tasks[i] = surefoot.spawn(function()
        local inner = surefoot.spawn(function() return client:chat(("%d"):format(i)) end)
        return assert(inner:wait()).text
      end)
    end
    for i = 5, 1, -1 do
      texts[#texts + 1] = tasks[i]:wait()
    end
    return table.concat(texts, ", ")
  end }
  say("", nil, nil, outcome[1][1])
end)

scenario("batch", function(world, say)
  world.profile("a", { delay = 0.2, sequence = { {}, {}, fail_with(400) } })
  local requests, texts = {}, {}
  for i = 1, 12 do
    requests[i] = ("%d"):format(i)
  end
  local outcomes, summary = world.client():batch(requests, { concurrency = 4 })
  for i = 1, 12 do
    local result = outcomes[i].result
    texts[i] = result and (result.text == "echo: " .. requests[i] and "ok" or result.text) or outcomes[i].error.kind
  end
  table.sort(texts)
  say("", nil, nil, ("%s; %d of %d, %d at once"):format(table.concat(texts, " "), summary.succeeded, summary.total,
    world.counters("a").peak))
end)

scenario("each", function(world, say)
  local requests, seen, count = {}, {}, 0
  for i = 1, 8 do
    requests[i] = ("%d"):format(i)
  end
  local following = world.client():each(requests)
  local index, result, err
  repeat
    index, result, err = following()
    if index then
      count = count + 1
      seen[index] = result and result.text or err.kind
    end
  until not index
  say("", nil, nil, ("%d: %s"):format(count, table.concat(seen, ", ")))
end)

scenario("calls that ask the same", function(world, say)
  world.profile("a", { delay = 0.1 })
  local client, functions, texts, shared = world.client { coalesce = true }, {}, {}, 0
  local request = user "the same"
  request.temperature = 0
  for i = 1, 6 do
    functions[i] = function() return client:chat(request) end
  end
  local outcomes = worlds.side_by_side(functions)
  for i = 1, 6 do
    local result = outcomes[i][1]
    texts[i] = result and result.text or outcomes[i][2].kind
    shared = shared + (result and result.coalesced and 1 or 0)
  end
  say("", nil, nil, ("%s; %d shared, asked %d"):format(table.concat(texts, ", "), shared,
    world.counters("a").requests))
end)

scenario("calls that ask the same, and leave", function(world, say)
  world.profile("a", { fault = "hang" })
  local client, request = world.client { coalesce = true }, user "the same"
  request.temperature = 0
  local canceller = surefoot.canceller()
  local outcomes = worlds.side_by_side {
    function() return client:chat(request, { cancel = canceller }) end,
    function()
      world.eventually(function() return world.counters("a").in_flight == 1 end)
      return client:chat(request, { deadline = 0.2 })
    end,
    function()
      world.eventually(function() return client:stats().coalesced == 1 end)
      canceller:cancel()
    end,
  }
  say("the first", outcomes[1][1], outcomes[1][2])
  say("the second", outcomes[2][1], outcomes[2][2], worlds.left_alone(world))
end)

-- ------------------------------------------------------------------------------------------------------ errors' kinds

for _, code in ipairs { 400, 401, 402, 403, 404, 413, 429, 500, 503, 529 } do
  scenario("status " .. code, function(world, say)
    world.profile("a", fail_with(code))
    local client = world.client { lines = { "a" }, retry = { max_attempts = 1 } }
    say("", client:chat "x")
  end)
end

scenario("errors of this side", function(world, say)
  world.profile("a", { fault = "hang" })
  local function once(config)
    config.lines, config.retry = config.lines or { "b" }, { max_attempts = 1 }
    return world.client(config)
  end
  say("refused", once({ lines = { "nobody" } }):chat "x")
  say("too large", once({ limits = { response_bytes = 1024 } }):chat(("long "):rep(500)))
  say("rejected", once({}):chat("x", { validate = function() return false, "not that" end }))
  local full, canceller = once { lines = { "a" }, concurrency = { limit = 1, queue = 0 } }, surefoot.canceller()
  local refused
  worlds.disturbed(world, function() return full:chat("x", { cancel = canceller }) end, function()
    refused = { full:chat "y" }
    canceller:cancel()
  end)
  say("no room", refused[1], refused[2])
  world.profile("b", fail_with(500))
  local broken = once { breaker = { failure_threshold = 1, recovery_timeout = 30 } }
  broken:chat "x"
  say("circuit", broken:chat("y", { deadline = 1 }))
end)

scenario("a task that throws", function(_, say)
  local outcomes = surefoot.all {
    function()
      surefoot.sleep(0.01)
      error("mine", 0)
    end,
    function()
      surefoot.sleep(0.02)
      return "and the other goes on"
    end,
  }
  say("", nil, outcomes[1], outcomes[2][1])
end)

return M
