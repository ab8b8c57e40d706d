-- What has to come out the same wherever surefoot's calls wait: spec/loops/conformance.lua plays these scenarios in a
-- home, conformance_spec.lua says what they must report. Here: calls, streams, tools, and what goes wrong with them;
-- conformance_tasks.lua has the others.
--
-- A scenario is a name and a function of a world (conformance_world.lua). It waits by surefoot's own means only, runs
-- things side by side with surefoot.all only, reads by `repeat` (PUC 5.1 cannot yield across a pcall or a generic for),
-- and says what came out: say(label, result, err, text). Only what does not depend on the machine's pace is said.

local surefoot = require "surefoot"
local worlds = require "spec.loops.conformance_world"

local fail_with, user = worlds.fail_with, worlds.user

local M = {}

local function scenario(name, play)
  M[#M + 1] = { name = name, play = play }
end

-- ------------------------------------------------------------------------------------------------------------- calls

scenario("a call", function(world, say)
  say("", world.client():chat "one")
end)

scenario("calls one after another", function(world, say)
  local client, texts, reused = world.client(), {}, 0
  for i = 1, 20 do
    local result = assert(client:chat(("%d"):format(i)))
    texts[i] = result.text:match "%d+"
    reused = reused + (result.attempts[1].reused and 1 or 0)
  end
  say("", nil, nil, ("%s; %d reused"):format(table.concat(texts, " "), reused))
end)

scenario("calls side by side", function(world, say)
  world.profile("a", { delay = 1.5 })
  local client, functions, texts = world.client(), {}, {}
  for i = 1, 20 do
    functions[i] = function() return client:chat(("%d"):format(i)) end
  end
  local outcomes = worlds.side_by_side(functions)
  for i = 1, 20 do
    texts[i] = outcomes[i][1] and outcomes[i][1].text:match "%d+" or outcomes[i][2].kind
  end
  say("", nil, nil, ("%s; %d at once"):format(table.concat(texts, " "), world.counters("a").peak))
end)

scenario("answers out of order", function(world, say)
  local by_model, functions, order = {}, {}, {}
  for i = 1, 3 do
    by_model["m" .. i] = { delay = 1.4 - i * 0.4 }
  end
  world.profile("a", { by_model = by_model })
  local client = world.client()
  for i = 1, 3 do
    functions[i] = function()
      local request = user(("%d"):format(i))
      request.model = "m" .. i
      local text = assert(client:chat(request)).text
      order[#order + 1] = text
    end
  end
  worlds.side_by_side(functions)
  say("", nil, nil, table.concat(order, ", "))
end)

scenario("a key that is fetched meanwhile", function(world, say)
  local fetched = 0
  local client = world.client { api_key = function()
    surefoot.sleep(0.01)
    fetched = fetched + 1
    return "sk-fetched-" .. fetched
  end }
  say("", client:chat "hello")
  say("sent", nil, nil, world.counters("a").last_headers.authorization)
end)

scenario("an answer that is judged at leisure", function(world, say)
  local asked = 0
  local result, err = world.client():chat("hello", { validate = function(answer)
    surefoot.sleep(0.01)
    asked = asked + 1
    return asked > 1 and answer.text == "echo: hello", "not the first"
  end })
  say("", result, err)
end)

scenario("structured output", function(world, say)
  local request = user "Ada"
  request.response_format = { type = "json_schema", json_schema = { name = "person", schema = {
    type = "object", required = { "name", "born" },
    properties = { name = { type = "string" }, born = { type = "integer", minimum = 1815 } },
  } } }
  local result, err = world.client():chat(request)
  say("", result, err, result and ("%s, %d"):format(result.parsed.name, result.parsed.born))
end)

-- ----------------------------------------------------------------------------------------------------------- streams

scenario("a stream", function(world, say)
  world.profile("a", { answer = { chunks = 6 }, stream = { chunk_delay = 0.005 } })
  local stream, err = world.client():stream "six pieces of text, please"
  if not stream then
    return say("", nil, err)
  end
  local text, pieces, result, failure = worlds.read_all(stream)
  say("", result, failure)
  say("shown", nil, nil, ("%s; %s"):format(text, pieces >= 6 and "in pieces" or "at once"))
end)

scenario("streams side by side", function(world, say)
  world.profile("a", { answer = { chunks = 8 }, stream = { chunk_delay = 0.01 } })
  local client, functions, texts = world.client(), {}, {}
  for i = 1, 6 do
    functions[i] = function()
      local text, _, _, err = worlds.read_all(assert(client:stream(("stream number %d"):format(i))))
      texts[i] = err and err.kind or text
    end
  end
  worlds.side_by_side(functions)
  say("", nil, nil, table.concat(texts, ", "))
end)

scenario("a reader that is slow", function(world, say)
  world.profile("a", { answer = { bytes = 4e6, chunk_bytes = 16000 } })
  local stream, err = world.client():stream "much"
  if not stream then
    return say("", nil, err)
  end
  for _ = 1, 3 do
    stream:read()
  end
  local sent = -1
  world.eventually(function()
    local before = sent
    surefoot.sleep(0.1)
    sent = world.counters("a").bytes_out
    return sent == before
  end)
  local result, failure = stream:result()
  say("", result, failure, result and ("%d bytes, %s"):format(#result.text, sent < 4e6 and "held up" or "not held up"))
end)

scenario("a stream that is closed in the middle", function(world, say)
  world.profile("a", { answer = { chunks = 100, bytes = 10000 }, stream = { chunk_delay = 0.02 } })
  local client = world.client()
  local stream = assert(client:stream "x")
  stream:read()
  stream:read()
  stream:close()
  local result, err = stream:result()
  say("", result, err, worlds.left_alone(world))
end)

scenario("a stream that fails before it shows anything", function(world, say)
  world.profile("a", { stream = { cut_after = 0 } })
  local stream, err = world.client():stream "hello"
  if not stream then
    return say("", nil, err)
  end
  local _, _, result, failure = worlds.read_all(stream)
  say("", result, failure)
end)

scenario("a stream that is cut", function(world, say)
  world.profile("a", { answer = { chunks = 6, text = "one two three four five six " }, stream = { cut_after = 3 } })
  local text, _, result, err = worlds.read_all(assert(world.client():stream "x"))
  local partial = err and err.partial and err.partial.text
  say("", result, err, #text > 0 and partial == text and "partial text is what was shown" or partial)
end)

scenario("a stream that stalls", function(world, say)
  world.profile("a", { answer = { chunks = 6 }, stream = { stall_after = 2 } })
  local stream = assert(world.client():stream("six pieces of text, please", { timeout = { idle = 0.2 } }))
  local _, _, result, err = worlds.read_all(stream)
  say("", result, err, err and err.phase)
end)

-- ------------------------------------------------------------------------------------------------------------- tools

scenario("tools", function(world, say)
  local result, err = world.client():run_tools("call tool weather, call tool ask", worlds.tools_of(world))
  say("", result, err)
  if result then
    say("rounds", nil, nil, ("%d, calls %d, messages %d"):format(#result.rounds, #result.rounds[1].calls,
      #result.messages))
  end
end)

scenario("tools, streamed", function(world, say)
  local stream, err = world.client():run_tools("call tool ask, call tool weather", worlds.tools_of(world),
    { stream = true })
  if not stream then
    return say("", nil, err)
  end
  local shown = {}
  repeat
    local chunk = stream:read()
    if chunk then
      shown[#shown + 1] = chunk.tool and "[" .. chunk.tool.name .. "]" or chunk.text
    end
  until not chunk
  local result, failure = stream:result()
  say("", result, failure, table.concat(shown))
end)

scenario("a tool that throws", function(world, say)
  local tools = worlds.tools_of(world)
  tools.weather.call = function() error "no power" end
  local result, err = world.client():run_tools("call tool weather", tools)
  say("", result, err)
end)

-- ------------------------------------------------------------------------------------------------------------ faults

scenario("a line that hangs", function(world, say)
  world.profile("a", { fault = "hang" })
  local client = world.client { retry = { max_attempts = 1 } }
  local result, err = client:chat("x", { timeout = { first_byte = 0.1 } })
  say("", result, err, err and err.phase)
end)

scenario("a silent line, and another", function(world, say)
  world.profile("a", { fault = "hang" })
  say("", world.client():chat("hello", { timeout = { first_byte = 0.4 } }))
end)

scenario("a cut, then well", function(world, say)
  world.profile("a", { sequence = { { fault = "truncate" } } })
  say("", world.client({ lines = { "a" } }):chat "hello")
end)

scenario("500, then well", function(world, say)
  world.profile("a", { sequence = { fail_with(500), fail_with(500) } })
  say("", world.client({ lines = { "a" } }):chat "hello")
end)

scenario("429 with a Retry-After, then well", function(world, say)
  world.profile("a", { sequence = { fail_with(429, { ["retry-after-ms"] = "200" }) } })
  local client, began = world.client { lines = { "a" } }, surefoot.now()
  local result, err = client:chat "hello"
  say("", result, err, worlds.lasted(began, 0.2))
end)

scenario("an answer that is no JSON, then well", function(world, say)
  world.profile("a", { sequence = { { fault = "malformed" } } })
  say("", world.client({ lines = { "a" } }):chat "hello")
end)

scenario("a reset, and another line", function(world, say)
  world.profile("a", { fault = "reset" })
  say("", world.client():chat "hello")
end)

scenario("a deadline while an answer is awaited", function(world, say)
  world.profile("a", { fault = "hang" })
  local client, began = world.client(), surefoot.now()
  local result, err = client:chat("x", { deadline = 0.15 })
  say("", result, err, worlds.lasted(began, 0.15))
end)

scenario("a deadline that ends a stream", function(world, say)
  world.profile("a", { stream = { endless = true, chunk_delay = 0.02 }, answer = { chunk_bytes = 100 } })
  local stream = assert(world.client():stream("x", { deadline = 0.5 }))
  local text, _, result, err = worlds.read_all(stream)
  say("", result, err, #text > 0 and "with text" or "without")
end)

scenario("a pace", function(world, say)
  local client = world.client { rate = { requests_per_second = 20, burst = 1, adaptive = false } }
  local began, functions = surefoot.now(), {}
  for i = 1, 5 do
    functions[i] = function() return assert(client:chat(("%d"):format(i))) end
  end
  worlds.side_by_side(functions)
  say("", nil, nil, worlds.lasted(began, 0.195))
end)

return M
