-- run_tools with { stream = true }: the chunks of all rounds in turn, and what becomes of a reader that leaves.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local SSE = { ["content-type"] = "text/event-stream" }
local DONE = "data: [DONE]\n\n"

local function event(delta, finish_reason)
  return "data: " .. json.encode { id = "c-1", model = "m-1", choices = { { index = 0, delta = delta,
    finish_reason = finish_reason or json.null } } } .. "\n\n"
end

local function usage(input, output)
  return "data: " .. json.encode { choices = json.array {}, usage = { prompt_tokens = input, completion_tokens = output,
    total_tokens = input + output } } .. "\n\n"
end

-- A line that streams: { seconds, bytes, seconds, bytes ... }.
local function line(events, more)
  local script = { after = events[1], headers = SSE, events = {} }
  for i = 1, #events, 2 do
    script.events[#script.events + 1] = { at = events[i], data = events[i + 1] }
  end
  for key, value in pairs(more or {}) do
    script[key] = value
  end
  return script
end

local function fragment(index, id, name, arguments)
  return event { tool_calls = { { index = index, id = id, type = id and "function",
    ["function"] = { name = name, arguments = arguments } } } }
end

-- Says "Let me see." and calls `first` with {"n":1} and `second` with {}.
local function calling(first, second)
  return line { 1, event { role = "assistant", content = "Let me " }, 2, event { content = "see." }
    .. fragment(0, "c1", first, '{"n"') .. fragment(0, nil, nil, ":1}"), 3, fragment(1, "c2", second, "{}")
    .. event({}, "tool_calls") .. usage(10, 5) .. DONE }
end

local answering = line { 1, event { role = "assistant", content = "It " }, 2, event { content = "is." }, 3,
  event({}, "stop") .. usage(20, 2) .. DONE }

local function tool(f)
  return { description = "does it", call = f }
end

-- A chunk in words.
local function words(chunk)
  if chunk.error then
    return "error " .. chunk.error.kind
  elseif chunk.tool then
    return ("%s -> %s"):format(chunk.tool.name, chunk.tool.error or tostring(chunk.tool.outcome))
  end
  local call = chunk.tool_calls and "calls " .. (chunk.tool_calls[1]["function"].name or "...")
  return chunk.text or call or chunk.finish_reason or chunk.usage and "usage"
end

-- What a reader sees, and when.
local function watch(lab, tools, options)
  local seen = { at = {} }
  options = options or {}
  options.stream = true
  lab.sim:spawn(function()
    local stream, err = lab.client:run_tools("Go", tools, options)
    seen.opened, seen.err = lab.sim:now(), err
    if not stream then
      return
    end
    local chunk = stream()
    while chunk do
      seen.at[#seen.at + 1] = sim.time(lab.sim:now()) .. " " .. words(chunk)
      chunk = stream()
    end
    seen.result, seen.err = stream:result()
  end)
  lab.sim:run()
  seen.shown = table.concat(seen.at, ", ")
  return seen
end

local function lookup(seconds)
  return { look = tool(function(arguments)
    surefoot.sleep(seconds)
    return "found " .. arguments.n
  end) }
end

describe("a stream of run_tools", function()
  after_each(sim.settled)

  it("shows every round and every tool in turn", function()
    local lab = sim.lab { a = { calling("look", "miss"), answering } }
    local names = {}
    local seen = watch(lab, lookup(2), { on_tool = function(name) names[#names + 1] = name end })
    assert.equal("1 Let me , 2 see., 2 calls look, 2 calls ..., 3 calls miss, 3 tool_calls, 3 usage, "
      .. 'look -> found 1, miss -> there is no tool "miss"; there are look, 6 It , 7 is., 8 stop, 8 usage',
      (seen.shown:gsub("5 (%a+ %->)", "%1")))
    assert.equal(1, seen.opened)
    assert.same({ "miss", "look" }, names)
    local result = seen.result
    assert.same({ "It is.", "stop", 2, 8, 1 }, { result.text, result.finish_reason, #result.rounds, result.latency,
      result.time_to_first_token })
    assert.same({ 30, 7 }, { result.usage.input_tokens, result.usage.output_tokens })
    assert.equal("found 1", result.rounds[1].calls[1].outcome)
    assert.same({ "Let me see.", "c1", '{"n":1}' }, { result.messages[2].content, result.messages[2].tool_calls[1].id,
      result.messages[2].tool_calls[1]["function"].arguments })
    assert.same(json.decode(lab.log[2].request.body).messages, { result.messages[1], result.messages[2],
      { role = "tool", tool_call_id = "c1", content = "found 1" }, result.messages[4] })
  end)

  it("is read by result() as well, outside of a task", function()
    local lab = sim.lab { a = { calling("look", "look"), answering } }
    local stream = assert(lab.client:run_tools("Go", { look = tool(function() return "" end) }, { stream = true }))
    assert.equal("surefoot.stream (open)", tostring(stream))
    assert.equal("It is.", assert(stream:result()).text)
    stream = assert(sim.lab { a = { calling("look", "look"), answering } }.client:run_tools("Go",
      { look = tool(function() return "" end) }, { stream = true }))
    local texts = {}
    for chunk in stream do
      texts[#texts + 1] = chunk.text
    end
    assert.equal("Let me see.It is.", table.concat(texts))
  end)

  it("shows what has run, also where the caller's own tools end it", function()
    local lab = sim.lab { a = calling("look", "theirs") }
    local stream = assert(lab.client:run_tools({ messages = { { role = "user", content = "Go" } },
      tools = { { type = "function", ["function"] = { name = "theirs" } } } }, lookup(1), { stream = true }))
    local last
    for chunk in stream do
      last = chunk
    end
    assert.equal("found 1", last.tool.outcome)
    assert.equal("c2", assert(stream:result()).pending_calls[1].id)
  end)

  it("that was never begun is nil and the error", function()
    local seen = watch(sim.lab { a = { after = 1, status = 400 } }, lookup(1))
    assert.same({ "invalid_request", "" }, { seen.err.kind, seen.shown })
    assert.is_nil(seen.err.partial)
  end)

  it("ends with what there was when a later round fails", function()
    local lab = sim.lab { a = { calling("look", "look"), { after = 1, status = 400 } } }
    local seen = watch(lab, { look = tool(function() return "" end) })
    assert.matches("look %-> , 4 error invalid_request$", seen.shown)
    assert.same({ 1, "Let me see.", 4, true }, { #seen.err.partial.rounds, seen.err.partial.text,
      #seen.err.partial.messages, seen.err.sent })
    lab = sim.lab { a = { calling("look", "look"), line({ 1, event { content = "It " } }, { fault = "cut" }) } }
    seen = watch(lab, { look = tool(function() return "" end) })
    assert.matches("4 It , 4 error truncated$", seen.shown)
    assert.same({ 1, "It ", 4 }, { #seen.err.partial.rounds, seen.err.partial.text, #seen.err.partial.messages })
    assert.is_true(seen.err.partial.usage.total_tokens > 15)
  end)

  it("ends at max_rounds, and at its deadline", function()
    local lab = sim.lab { a = calling("look", "look") }
    local seen = watch(lab, lookup(0), { max_rounds = 1 })
    assert.matches("3 usage, 3 error rejected$", seen.shown)
    seen = watch(lab, lookup(9), { deadline = 5 })
    assert.matches(" error deadline$", seen.shown)
    assert.equal("deadline: the deadline of 5 s passed while tools ran", tostring(seen.err))
  end)

  it("is cancelled by close(): while a round arrives, between rounds, at its end", function()
    local lab = sim.lab { a = { calling("look", "look"), answering, calling("look", "look"), answering } }
    local function open()
      return assert(lab.client:run_tools("Go", { look = tool(function() return "" end) }, { stream = true }))
    end
    local stream = open()
    stream:close()
    local result, err = stream:result()
    assert.is_nil(result)
    assert.same({ "cancelled", "Let me " }, { err.kind, err.partial.text })
    stream = open()
    stream:result()
    lab = sim.lab { a = { calling("look", "look"), answering } }
    stream = open()
    repeat
      local chunk = stream:read()
    until chunk.tool
    stream:close()
    err = select(2, stream:result())
    assert.same({ "cancelled", 1, "tool" }, { err.kind, #err.partial.rounds,
      err.partial.messages[#err.partial.messages].role })
    assert.equal(1, #lab.log)
    lab = sim.lab { a = { calling("look", "look"), answering } }
    stream = open()
    local final
    repeat
      final = stream:read()
    until final.finish_reason == "stop"
    stream:close()
    assert.same({ "cancelled", 1, "It is." }, { select(2, stream:result()).kind,
      #select(2, stream:result()).partial.rounds, select(2, stream:result()).partial.text })
  end)

  it("is cancelled when its task is, while tools run", function()
    local lab = sim.lab { a = calling("look", "look") }
    local err
    local running = lab.sim:spawn(function()
      local stream = assert(lab.client:run_tools("Go", lookup(100), { stream = true }))
      err = select(2, stream:result())
    end)
    lab.sim:run(5)
    running:cancel()
    lab.sim:run()
    assert.same({ "cancelled", 5 }, { err.kind, lab.sim:now() })
  end)

  it("is cancelled when it is collected", function()
    local lab = sim.lab { a = calling("look", "look") }
    assert(lab.client:run_tools("Go", lookup(1), { stream = true }))
    collectgarbage()
    collectgarbage()
    assert.equal(0, lab:line("a").in_flight)
  end)

  it("throws what on_tool throws, and has ended then", function()
    local lab = sim.lab { a = calling("look", "look") }
    local stream = assert(lab.client:run_tools("Go", { look = tool(function() return "" end) }, { stream = true,
      on_tool = function() error("mine", 0) end }))
    assert.error_matches(function() stream:result() end, "^mine$")
    local _, err = stream:read()
    assert.same({ "error", "mine" }, { err.kind, err.cause })
    assert.equal("surefoot.stream (failed)", tostring(stream))
  end)

  it("takes an answer that comes whole", function()
    local lab = sim.lab { a = { after = 1, text = "whole" } }
    local seen = watch(lab, lookup(1))
    assert.same({ "1 whole", "whole" }, { seen.shown, seen.result.text })
  end)
end)
