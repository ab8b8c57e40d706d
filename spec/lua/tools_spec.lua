-- Tools on the simulated network: what the model is told, what the caller gets, and every way to end.
local env = require "spec.support.env"
local guard = require "surefoot.guard"
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local EXPECTED = "expected a tool, { description =, parameters = {...}, call = function }, got "
local NOTHING = { type = "object", properties = {} }

-- An answer that calls tools: { name, arguments, name, arguments ... }.
local function calls(list, more)
  local message = { role = "assistant", content = json.null, tool_calls = {} }
  for i = 1, #list, 2 do
    message.tool_calls[#message.tool_calls + 1] = { id = ("call_%d"):format((i + 1) / 2), type = "function",
      ["function"] = { name = list[i], arguments = list[i + 1] } }
  end
  for key, value in pairs(more or {}) do
    message[key] = value
  end
  return { after = 1, body = {
    id = "c", model = "m-1", choices = { { index = 0, finish_reason = "tool_calls", message = message } },
    usage = { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 },
  } }
end

local function says(text)
  return { after = 1, body = {
    id = "t", model = "m-1", choices = { { index = 0, finish_reason = "stop",
      message = { role = "assistant", content = text } } },
    usage = { prompt_tokens = 20, completion_tokens = 7, total_tokens = 27 },
  } }
end

local function tool(f, more)
  local made = { description = "does it", parameters = NOTHING, call = f }
  for key, value in pairs(more or {}) do
    made[key] = value
  end
  return made
end

-- What the requests said, decoded.
local function asked(lab, n)
  return json.decode(lab.log[n].request.body)
end

-- The contents of the tool messages of the nth request.
local function told(lab, n)
  local list = {}
  for _, message in ipairs(asked(lab, n).messages) do
    if message.role == "tool" then
      list[#list + 1] = message.content
    end
  end
  return list
end

-- Runs f as a task of the laboratory's, and gives back what it returned.
local function task(lab, f)
  local running = lab.sim:spawn(f)
  lab.sim:run()
  return running:wait()
end

describe("client:run_tools", function()
  after_each(sim.settled)

  it("runs what is called, and tells the model, until it answers", function()
    local lab = sim.lab({ a = { calls({ "add", '{"a":1,"b":2}', "greet", "" }, { x_signature = "abc", list = { 1 } }),
      says "3, hello" } }, { prices = { ["m-1"] = { input = 1e6 } } })
    local request = { messages = { { role = "user", content = "Go" } }, temperature = 0,
      tools = { { type = "web_search" } } }
    local copy = json.encode(request)
    local result = assert(lab.client:run_tools(request, {
      { name = "greet", description = "greets", call = function() return "hello" end },
      { name = "add", description = "adds", parameters = NOTHING, strict = true, call = function(arguments)
        return { sum = arguments.a + arguments.b }
      end },
    }))
    assert.equal("3, hello", result.text)
    assert.equal(copy, json.encode(request))
    local first, second = asked(lab, 1), asked(lab, 2)
    assert.same({ { type = "web_search" },
      { type = "function", ["function"] = { name = "greet", description = "greets" } },
      { type = "function",
        ["function"] = { name = "add", description = "adds", parameters = NOTHING, strict = true } } }, first.tools)
    assert.same(first.tools, second.tools)
    assert.equal(0, second.temperature)
    assert.same({ { role = "user", content = "Go" },
      { role = "assistant", content = json.null, x_signature = "abc", list = { 1 }, tool_calls = {
        { id = "call_1", type = "function", ["function"] = { name = "add", arguments = '{"a":1,"b":2}' } },
        { id = "call_2", type = "function", ["function"] = { name = "greet", arguments = "" } } } },
      { role = "tool", tool_call_id = "call_1", content = '{"sum":3}' },
      { role = "tool", tool_call_id = "call_2", content = "hello" } }, second.messages)
  end)

  it("records all of it", function()
    local lab = sim.lab({ a = { calls { "add", '{"a":1}', "fail", "{}" }, says "done" } },
      { prices = { simulated = { input = 1e6, output = 0 } } })
    local result = assert(lab.client:run_tools("Go", {
      add = tool(function(arguments) surefoot.sleep(2) return arguments.a + 1 end),
      fail = tool(function() return nil, "no" end),
    }))
    assert.equal(2, #result.rounds)
    assert.same({
      { id = "call_1", name = "add", arguments = { a = 1 }, outcome = 2, latency = 2 },
      { id = "call_2", name = "fail", arguments = {}, error = "no", cause = "no", latency = 0 },
    }, result.rounds[1].calls)
    assert.same({}, result.rounds[2].calls)
    assert.equal("tool_calls", result.rounds[1].result.finish_reason)
    assert.same({ 15, 27 }, { result.rounds[1].result.usage.total_tokens, result.rounds[2].result.usage.total_tokens })
    assert.same({ input_tokens = 30, output_tokens = 12, total_tokens = 42, estimated = false }, result.usage)
    assert.same({ 30, 4, 1, "stop" }, { result.cost, result.latency, result.time_to_first_token, result.finish_reason })
    assert.same({ 20, 1 }, { result.rounds[2].result.cost, result.rounds[2].result.latency })
    assert.equal("a ok", sim.trail(result))
    assert.equal("application/json", result.headers["content-type"])
    assert.same({ "user", "assistant", "tool", "tool", "assistant" }, { result.messages[1].role,
      result.messages[2].role, result.messages[3].role, result.messages[4].role, result.messages[5].role })
    assert.equal("done", result.messages[5].content)
    assert.is_nil(result.pending_calls)
  end)

  it("is a plain call where no tool is called, and where there is none", function()
    local lab = sim.lab { a = says "x" }
    local result = assert(lab.client:run_tools("Go", { f = tool(print) }))
    assert.same({ "x", 1, 1 }, { result.text, #result.rounds, result.latency })
    assert.equal("x", assert(lab.client:run_tools({ messages = { { role = "user", content = "Go" } } }, {})).text)
    assert.is_nil(asked(lab, 2).tools)
  end)

  it("tells a tool what it may want to know", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, calls { "f", "{}" }, says "x" } }
    local seen = {}
    assert(lab.client:run_tools("Go", { f = tool(function(_, context)
      seen[#seen + 1] = context
      return "ok"
    end) }, { deadline = 10, tags = "mine" }))
    assert.equal(lab.client, seen[1].client)
    seen[1].client = nil
    assert.same({ id = "call_1", name = "f", round = 1, deadline = 9, tags = "mine" }, seen[1])
    assert.same({ 2, 8 }, { seen[2].round, seen[2].deadline })
  end)

  local function sleeping(lab)
    return lab.client:run_tools("Go", {
      slow = tool(function(arguments) surefoot.sleep(arguments.s) return "slept" end),
      ask = tool(function() return assert(lab.client:chat "inner").text end),
    })
  end

  local function overlap()
    local outer = { calls { "slow", '{"s":3}', "ask", "", "ask", "", "slow", '{"s":2}' }, says "done" }
    local n = 0
    return sim.lab { a = function(_, request)
      if request.json.messages[1].content == "inner" then
        return { after = 3, text = "inner" }
      end
      n = n + 1
      return outer[n]
    end }
  end

  it("runs tools side by side, in a task and outside", function()
    local lab = overlap()
    local result = assert(sleeping(lab))
    assert.equal(5, lab.sim:now())
    assert.same({ 3, 3, 3, 2 }, { result.rounds[1].calls[1].latency, result.rounds[1].calls[2].latency,
      result.rounds[1].calls[3].latency, result.rounds[1].calls[4].latency })
    lab = overlap()
    assert(task(lab, function() return sleeping(lab) end))
    assert.equal(5, lab.sim:now())
    assert.same({ "slept", "inner", "inner", "slept" }, told(lab, #lab.log))
  end)

  it("runs them one by one in a coroutine that is no task", function()
    local lab = sim.lab { a = { calls { "ask", "", "ask", "" }, says "one", says "two", says "done" } }
    assert(task(lab, function()
      return coroutine.wrap(function()
        return lab.client:run_tools("Go", { ask = tool(function() return assert(lab.client:chat "inner").text end) })
      end)()
    end))
    assert.equal(4, lab.sim:now())
    assert.same({ "one", "two" }, told(lab, 4))
  end)

  it("numbers a given idempotency key, and keeps the other options", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, calls { "f", "{}" }, says "x" } }
    local options = { headers = { ["X-A"] = "1" }, tags = 7 }
    local f = { f = tool(function() return "" end) }
    local result = assert(lab.client:run_tools("Go", f, options))
    local keys = {}
    for i, entry in ipairs(lab.log) do
      keys[i] = entry.request.headers["idempotency-key"]
      assert.equal("1", entry.request.headers["x-a"])
      assert.equal(keys[i], entry.request.headers["x-request-id"])
    end
    assert.is_true(keys[1] ~= keys[2] and keys[2] ~= keys[3])
    assert.equal(7, result.tags)
    for _, given in ipairs { { idempotency_key = "k" }, { headers = { ["Idempotency-Key"] = "k" } } } do
      lab = sim.lab { a = { calls { "f", "{}" }, calls { "f", "{}" }, says "x" } }
      assert(lab.client:run_tools("Go", f, given))
      assert.same({ "k", "k-round2", "k-round3" }, { lab.log[1].request.headers["idempotency-key"],
        lab.log[2].request.headers["idempotency-key"], lab.log[3].request.headers["idempotency-key"] })
    end
  end)

  local allowed = { type = "allowed_tools", allowed_tools = { mode = "required", tools = {} } }
  for name, case in pairs {
    required = { "required", "auto" }, any = { { type = "any" }, "auto" }, auto = { "auto", "auto" },
    ["one tool"] = { { type = "function", ["function"] = { name = "f" } }, "auto" },
    ["some tools"] = { allowed, { type = "allowed_tools", allowed_tools = { mode = "auto", tools = {} } } },
    none = { { type = "none" }, { type = "none" } },
  } do
    it("lets a tool_choice of " .. name .. " force the first round alone", function()
      local lab = sim.lab { a = { calls { "f", "{}" }, says "x" } }
      assert(lab.client:run_tools({ messages = { { role = "user", content = "x" } }, tool_choice = case[1] },
        { f = tool(function() return "" end) }))
      assert.same(case[1], asked(lab, 1).tool_choice)
      assert.same(case[2], asked(lab, 2).tool_choice)
    end)
  end

  it("has answers judged by validate, not calls", function()
    local lab = sim.lab({ a = { calls { "f", "{}" }, says "bad", says "good" } }, { retry = { base_delay = 1 } })
    local seen = {}
    local result = assert(lab.client:run_tools("Go", { f = tool(function() return "" end) }, {
      validate = function(answer)
        seen[#seen + 1] = answer.text
        return answer.text == "good"
      end,
    }))
    assert.same({ "bad", "good" }, seen)
    assert.same({ "good", 2 }, { result.text, #result.rounds })
  end)

  it("shows each call to on_tool", function()
    local lab = sim.lab { a = { calls { "slow", "{}", "fast", '{"x":1}', "none", '{"y":2}' }, says "x" } }
    local seen = {}
    assert(lab.client:run_tools("Go", {
      slow = tool(function() surefoot.sleep(1) return nil, "no" end), fast = tool(function() return "yes" end),
    }, { on_tool = function(...) seen[#seen + 1] = { n = select("#", ...), ... } end }))
    assert.same({ n = 4, "fast", { x = 1 }, "yes" }, seen[1])
    assert.same({ n = 4, "none", { y = 2 }, nil, 'there is no tool "none"; there are fast, slow' }, seen[2])
    assert.same({ n = 4, "slow", {}, nil, "no" }, seen[3])
  end)

  it("throws what on_tool throws, and leaves nothing running", function()
    for _, inside in ipairs { false, true } do
      local lab = sim.lab { a = calls { "slow", "{}", "fast", "{}" } }
      local slept
      local function go()
        lab.client:run_tools("Go", {
          fast = tool(function() return "yes" end),
          slow = tool(function() slept = { surefoot.sleep(100) } return "" end),
        }, { on_tool = function() error("mine", 0) end })
      end
      if inside then
        local problem
        lab.sim:spawn(function() problem = select(2, guard.call(go)) end)
        lab.sim:run()
        assert.equal("mine", problem)
      else
        assert.error_matches(go, "^mine$")
      end
      assert.is_nil(slept[1])
      assert.equal(1, lab.sim:now())
    end
  end)

  it("leaves calls of the request's own tools to the caller", function()
    local lab = sim.lab { a = { calls { "theirs", "{}", "ours", "{}" }, says "x" } }
    local request = { messages = { { role = "user", content = "Go" } },
      tools = { { type = "function", ["function"] = { name = "theirs", parameters = NOTHING } } } }
    local tools = { ours = tool(function() return "ran" end) }
    local result = assert(lab.client:run_tools(request, tools))
    assert.equal(1, #lab.log)
    assert.equal("call_1", result.pending_calls[1].id)
    assert.equal(1, #result.pending_calls)
    assert.same({ role = "tool", tool_call_id = "call_2", content = "ran" }, result.messages[3])
    request.messages = result.messages
    request.messages[4] = { role = "tool", tool_call_id = "call_1", content = "mine" }
    assert.equal("x", assert(lab.client:run_tools(request, tools)).text)
    assert.same({ "ran", "mine" }, told(lab, 2))
    lab = sim.lab { a = calls { "theirs", "{}" } }
    request.messages = { { role = "user", content = "Go" } }
    assert.equal(1, #assert(lab.client:run_tools(request, {})).pending_calls)
  end)
end)

describe("run_tools with tools that wait, and then throw,", function()
  after_each(sim.settled)

  it("tells the model of errors, and throws the observer's", function()
    local tools = {
      boom = tool(function() surefoot.sleep(1) error "boom" end),
      fine = tool(function() surefoot.sleep(2) return "" end),
    }
    for _, inside in ipairs { false, true } do
      local lab = sim.lab { a = { calls { "boom", "{}", "fine", "{}" }, says "x" } }
      local result, names = nil, {}
      local function go()
        result = assert(lab.client:run_tools("Go", tools, { on_tool = function(name) names[#names + 1] = name end }))
      end
      if inside then
        task(lab, go)
      else
        go()
      end
      assert.same({ '{"error":"boom"}', "" }, told(lab, 2))
      assert.same({ 1, 2 }, { result.rounds[1].calls[1].latency, result.rounds[1].calls[2].latency })
      assert.same({ "boom", "fine" }, names)
    end
    local lab = sim.lab { a = calls { "fine", "{}", "fine", "{}" } }
    assert.error_matches(function()
      lab.client:run_tools("Go", tools, { on_tool = function() error("mine", 0) end })
    end, "^mine$")
  end)

  it("ends when a tool throws that it was cancelled", function()
    local lab = sim.lab { a = calls { "stop", "{}", "slow", "{}" } }
    local canceller = surefoot.canceller()
    canceller:cancel()
    local _, err = lab.client:run_tools("Go", {
      stop = tool(function() error(select(2, lab.client:chat("x", { cancel = canceller }))) end),
      slow = tool(function() surefoot.sleep(100) return "" end),
    })
    assert.same({ "cancelled", 1 }, { err.kind, lab.sim:now() })
  end)
end)

describe("a tool's arguments", function()
  after_each(sim.settled)

  for text, expected in pairs {
    [""] = {}, [" "] = {}, ["{}"] = {}, [' {"a":[1,{"b":null}]}'] = { a = { 1, { b = json.null } } },
  } do
    it(("are read: %q"):format(text), function()
      local lab = sim.lab { a = { calls { "f", text }, says "x" } }
      local seen
      assert(lab.client:run_tools("Go", { f = tool(function(arguments) seen = arguments return "" end) }))
      assert.same(expected, seen)
    end)
  end

  for text, problem in pairs {
    ["[]"] = "^the arguments are no JSON object$", ["[1]"] = "^the arguments are no JSON object$",
    ["7"] = "no JSON object$", ["null"] = "no JSON object$", ['{"a":'] = "no JSON object: .+",
    ["a city"] = "no JSON object: .+",
  } do
    it(("are the model's to correct: %q"):format(text), function()
      local lab = sim.lab { a = { calls { "f", text }, says "x" } }
      local ran = false
      local result = assert(lab.client:run_tools("Go", { f = tool(function() ran = true return "" end) }))
      assert.is_false(ran)
      assert.matches(problem, json.decode(told(lab, 2)[1]).error)
      assert.equal(text, result.rounds[1].calls[1].arguments)
      assert.is_nil(result.rounds[1].calls[1].latency)
    end)
  end

  it("may come as an object, and a call without an id", function()
    local answer = calls { "f", "" }
    answer.body.choices[1].message.tool_calls[1] = { ["function"] = { name = "f", arguments = { a = 1 } } }
    local lab = sim.lab { a = { answer, says "x" } }
    local seen
    assert(lab.client:run_tools("Go", { f = tool(function(arguments) seen = arguments return "ok" end) }))
    assert.same({ a = 1 }, seen)
    assert.same({ role = "tool", content = "ok" }, asked(lab, 2).messages[3])
  end)
end)

describe("what the model is told of", function()
  after_each(sim.settled)

  local function content(f, config)
    local lab = sim.lab({ a = { calls { "f", "{}" }, says "x" } }, config)
    local result = assert(lab.client:run_tools("Go", { f = tool(f) }))
    return told(lab, 2)[1], result.rounds[1].calls[1]
  end

  for name, case in pairs {
    ["a string"] = { function() return "plain" end, "plain" },
    ["nothing at all"] = { function() end, "null" },
    ["an empty string"] = { function() return "" end, "" },
    ["a table"] = { function() return { b = { 1, 2 }, a = surefoot.null } end, '{"a":null,"b":[1,2]}' },
    ["an empty list"] = { function() return surefoot.array {} end, "[]" },
    ["a number"] = { function() return 0.1 end, "0.1" },
    ["false"] = { function() return false end, "false" },
    ["a value beside which something stands"] = { function() return "x", "y" end, "x" },
  } do
    it(name, function()
      local text, record = content(case[1])
      assert.equal(case[2], text)
      assert.same(case[1](), record.outcome)
      assert.is_nil(record.error)
    end)
  end

  local mute = setmetatable({}, { __tostring = function() return 1 end })
  for name, case in pairs {
    ["nil and a message"] = { function() return nil, "no such city" end, "no such city" },
    ["an error"] = { function() error "boom" end, "boom" },
    ["an error of a caller"] = { function() error("boom", 2) end, "boom" },
    ["an error in an error"] = { function()
      local _, message = pcall(error, "inner", 1)
      error("/home/me/my dir/a.lua:3: outer: ./b.lua:12: " .. message .. "\nstack traceback:\n\t[C]: in ?", 0)
    end, "outer: inner" },
    ["an error of a text"] = { function() error('[string "local x = 1..."]:1: boom', 0) end, "boom" },
    ["an error in Lua"] = { function() local x = nil; return x.y end, "^attempt to index" },
    ["an empty error"] = { function() error("", 0) end, "the tool failed" },
    ["a thrown nil"] = { function() error(nil) end, "the tool failed" }, -- 5.4 makes a text of it
    ["a thrown table"] = { function() error { message = "said so" } end, "said so" },
    ["a thrown table that says nothing"] = { function() error { 1 } end, "the tool failed" },
    ["a thrown table that cannot"] = { function() error(mute) end, "the tool failed" },
    ["an error of surefoot's"] = { function()
      return nil, setmetatable({ kind = "timeout", message = "m" }, getmetatable(select(2, surefoot.simulate {
        endpoints = { a = function() return { fail = "tls" } end } }:client { retry = { max_attempts = 1 } }:chat "x")))
    end, "timeout: m" },
    ["text that is none"] = { function() return "a\255b" end,
      "the tool returned text that is no valid UTF%-8 %(byte 2%)" },
    ["a message that is no text"] = { function() return nil, "a\255b" end, "^a$" },
    ["a value that cannot be written"] = { function() return { f = print } end,
      "what the tool returned cannot be written as JSON: f: a function cannot be written as JSON" },
    ["a value that throws when written"] = { function()
      return setmetatable({}, { __pairs = function() error "hidden" end, __index = function() error "hidden" end })
    end, "cannot be written as JSON: hidden", "pairs" },
  } do
    it(name, function()
      if case[3] then
        env.need_of_lua(case[3])
      end
      local text, record = content(case[1])
      assert.matches(case[2], json.decode(text).error)
      assert.equal(json.decode(text).error, record.error)
      assert.is_nil(record.outcome)
      assert.is_nil((text:find "%.lua"))
    end)
  end

  it("an error that holds a key: not the key", function()
    local text, record = content(function() error("sk-secret-1234567890 was refused", 0) end,
      { api_key = "sk-secret-1234567890" })
    assert.equal('{"error":"[key] was refused"}', text)
    assert.equal("[key] was refused", record.error)
  end)

  it("a very long error: its beginning, between characters", function()
    local text = content(function() return nil, ("x"):rep(999) .. ("é"):rep(50000) end)
    assert.equal(('{"error":"%s..."}'):format(("x"):rep(999)), text)
  end)

  it("a tool that is unknown", function()
    local lab = sim.lab { a = { calls { "forecast", "{}" }, says "x" } }
    assert(lab.client:run_tools("Go", { weather = tool(print), time = tool(print) }))
    assert.same({ '{"error":"there is no tool \\"forecast\\"; there are time, weather"}' }, told(lab, 2))
  end)
end)

describe("a loop that ends early", function()
  after_each(sim.settled)

  local function roles(messages)
    local list = {}
    for i, message in ipairs(messages) do
      list[i] = message.role
    end
    return table.concat(list, " ")
  end

  it("because of max_rounds", function()
    local lab = sim.lab { a = calls { "f", "{}", "f", "{}" } }
    local count = 0
    local result, err = lab.client:run_tools("Go", { f = tool(function() count = count + 1 return "" end) })
    assert.is_nil(result)
    assert.same({ "rejected", "max_rounds", false, true }, { err.kind, err.code, err.retryable, err.sent })
    assert.equal("rejected: the model still calls tools after 10 rounds (max_rounds): f, f", tostring(err))
    assert.same({ 10, 18, 10 }, { #lab.log, count, #err.partial.rounds })
    assert.equal(150, err.partial.usage.total_tokens)
    assert.equal(2, #err.partial.pending_calls)
    assert.matches(" tool tool assistant$", roles(err.partial.messages))
    err = select(2, lab.client:run_tools("Go", { f = tool(print) }, { max_rounds = 1 }))
    assert.matches("after 1 round %(max_rounds%): f, f$", err.message)
  end)

  it("because a call fails", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { after = 1, status = 400 } } }
    local _, err = lab.client:run_tools("Go", { f = tool(function() return "ok" end) })
    assert.same({ "invalid_request", true, 1 }, { err.kind, err.sent, #err.attempts })
    assert.equal("user assistant tool", roles(err.partial.messages))
    assert.same({ 1, 15, 2 }, { #err.partial.rounds, err.partial.usage.total_tokens, err.partial.latency })
    assert.is_nil(err.partial.pending_calls)
    lab = sim.lab { a = { after = 1, status = 400 } }
    _, err = lab.client:run_tools("Go", { f = tool(print) })
    assert.is_nil(err.partial)
  end)

  it("because a tool's outcome cannot be sent", function()
    local lab = sim.lab({ a = { calls { "f", "{}" } } }, { json = { encode = function(value)
      assert(not value.messages or #value.messages == 1, "mine")
      return json.encode(value)
    end } })
    local _, err = lab.client:run_tools("Go", { f = tool(function() return "ok" end) })
    assert.same({ "invalid_request", true }, { err.kind, err.sent })
    assert.matches("mine", err.message)
  end)

  for _, inside in ipairs { false, true } do
    local where = inside and ", in a task" or ", outside"

    it("at its deadline, while tools run" .. where, function()
      local lab = sim.lab { a = calls { "fast", "{}", "slow", "{}" } }
      local told_so, result, err
      local function go()
        result, err = lab.client:run_tools("Go", {
          fast = tool(function() return "yes" end),
          slow = tool(function() told_so = select(2, surefoot.sleep(100)) return "late" end),
        }, { deadline = 5 })
      end
      if inside then
        lab.sim:spawn(go)
        lab.sim:run()
      else
        go()
      end
      assert.is_nil(result)
      assert.equal("deadline: the deadline of 5 s passed while tools ran", tostring(err))
      assert.same({ 5, "cancelled", true }, { lab.sim:now(), told_so.kind, err.sent })
      assert.equal("yes", err.partial.rounds[1].calls[1].outcome)
    end)
  end

  it("at its deadline, in a later round", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { fault = "hang" } } }
    local _, err = lab.client:run_tools("Go", { f = tool(function() surefoot.sleep(1) return "" end) },
      { timeout = { total = 10 } })
    assert.same({ "deadline", 10 }, { err.kind, lab.sim:now() })
    lab = sim.lab({ a = { calls { "f", "{}" }, { fault = "hang" } } }, { timeout = { total = 7 } })
    assert.equal("deadline", select(2, lab.client:run_tools("Go", { f = tool(function() return "" end) })).kind)
    assert.equal(7, lab.sim:now())
  end)

  it("at its deadline, after a tool that did not wait", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { after = 9, text = "inner" } } }
    local err
    task(lab, function()
      err = coroutine.wrap(function()
        return select(2, lab.client:run_tools("Go", { f = tool(function() return lab.client:chat("x").text end) },
          { deadline = 5 }))
      end)()
    end)
    assert.equal("deadline: the deadline of 5 s passed while tools ran", tostring(err))
    assert.equal(2, #lab.log)
    assert.equal("user assistant tool", roles(err.partial.messages))
  end)

  it("when its task is cancelled", function()
    local lab = sim.lab { a = calls { "slow", "{}", "slow", "{}" } }
    local count, err = 0, nil
    local running = lab.sim:spawn(function()
      err = select(2, lab.client:run_tools("Go", { slow = tool(function()
        local _, problem = surefoot.sleep(100)
        count = count + (problem and 1 or 0)
        return nil, "told"
      end) }))
    end)
    lab.sim:run(3)
    running:cancel()
    lab.sim:run()
    assert.same({ "cancelled", 2, 3 }, { err.kind, count, lab.sim:now() })
    assert.equal("told", err.partial.rounds[1].calls[2].error)
    assert.equal(1, #lab.log)
  end)

  it("when its task is cancelled while it asks", function()
    local lab = sim.lab { a = { calls { "f", "{}" }, { fault = "hang" } } }
    local err
    local running = lab.sim:spawn(function()
      err = select(2, lab.client:run_tools("Go", { f = tool(function() return "" end) }))
    end)
    lab.sim:run(3)
    running:cancel()
    lab.sim:run()
    assert.same({ "cancelled", 1 }, { err.kind, #err.partial.rounds })
  end)

  it("by its canceller, also from within a tool", function()
    local lab = sim.lab { a = calls { "slow", "{}", "stop", "{}" } }
    local canceller, told_so = surefoot.canceller(), nil
    local tools = {
      slow = tool(function() told_so = select(2, surefoot.sleep(100)) return "" end),
      stop = tool(function() surefoot.sleep(2) canceller:cancel() return "" end),
    }
    local _, err = lab.client:run_tools("Go", tools, { cancel = canceller })
    assert.same({ "cancelled", "its canceller was used", 3 }, { err.kind, err.message, lab.sim:now() })
    assert.equal("cancelled", told_so.kind)
    assert.equal("cancelled", select(2, lab.client:run_tools("Go", tools, { cancel = canceller })).kind)
    assert.equal(1, #lab.log)
  end)

  for name, f in pairs {
    throws = function(err) error(err) end,
    returns = function(err) return nil, err end,
  } do
    it("when a tool " .. name .. " that it was cancelled", function()
      local lab = sim.lab { a = calls { "slow", "{}", "give_up", "{}", "slow", "{}" } }
      local mine
      local slept = 0
      local _, err = lab.client:run_tools("Go", {
        slow = tool(function() slept = slept + (surefoot.sleep(100) and 1 or 0) return "" end),
        give_up = tool(function(_, context)
          local canceller = surefoot.canceller()
          canceller:cancel()
          mine = select(2, context.client:chat("x", { cancel = canceller }))
          return f(mine)
        end),
      })
      assert.same({ "cancelled", mine.message, 0, 1 }, { err.kind, err.message, slept, lab.sim:now() })
      assert.is_nil(mine.partial)
      assert.equal(1, #err.partial.rounds)
      assert.equal("give_up", err.partial.rounds[1].calls[2].name)
      assert.is_true(#err.partial.pending_calls >= 1)
    end)
  end

  it("when the client is closed by a tool", function()
    local lab = sim.lab { a = calls { "f", "{}" } }
    local _, err = lab.client:run_tools("Go", { f = tool(function() lab.client:close() return "" end) })
    assert.equal("closed", err.kind)
  end)

  it("when no endpoint has the model", function()
    local lab = sim.lab({ a = says "x" }, { endpoints = { { name = "a", models = { "other" } } } })
    assert.equal("not_found", select(2, lab.client:run_tools("Go", {})).kind)
  end)
end)

describe("run_tools refuses", function()
  local function client()
    return surefoot.simulate({ endpoints = { a = print } }):client()
  end

  local good = { f = tool(print) }
  for _, case in ipairs {
    { 7, good, nil, "request: expected a request table or a text, got 7" },
    { {}, good, nil, "messages: expected a list, got a nil" },
    { { messages = { "x" } }, good, nil, 'messages[1]: expected a message, got "x"' },
    { { messages = {}, stream = true }, good, nil,
      "stream: give it as an option: client:run_tools(request, tools, { stream = true })" },
    { { messages = {}, tools = 1 }, good, nil, "request.tools: expected a list, got 1" },
    { { messages = {}, tools = { { type = "function", ["function"] = { name = "f" } } } }, good, nil,
      'request.tools[1]: "f" is among the tools to be run already' },
    { "x", nil, nil, "tools: expected a list of tools, or a table of them by name, got a nil" },
    { "x", { f = print }, nil, "tools.f: " .. EXPECTED .. "a function: the model must be told what it does and takes" },
    { "x", { print }, nil, "tools[1]: " .. EXPECTED .. "a function: the model must be told what it does and takes" },
    { "x", { f = 1 }, nil, "tools.f: " .. EXPECTED .. "1" },
    { "x", { f = { description = "d" } }, nil,
      "tools.f.call: is required: call(arguments, context) -> a text or what JSON can hold | nil, message" },
    { "x", { f = { call = 1 } }, nil, "tools.f.call: expected a function, got 1" },
    { "x", { f = { call = print, descripton = "" } }, nil,
      'tools.f.descripton: unknown key; did you mean "description"?' },
    { "x", { f = { call = print, name = "g" } }, nil, 'tools.f.name: is "g", but the tool stands under another name' },
    { "x", { { call = print } }, nil, "tools[1].name: is required in a list of tools" },
    { "x", { { call = print, name = "a" }, { call = print, name = "a" } }, nil,
      'tools[2].name: "a" names another tool already' },
    { "x", { { call = print, name = "a b" } }, nil,
      'tools[1].name: a tool\'s name is at most 128 letters, digits, _ and -, got "a b"' },
    { "x", { ["a b"] = { call = print } }, nil,
      'tools["a b"]: a tool\'s name is at most 128 letters, digits, _ and -, got "a b"' },
    { "x", { [2] = { call = print } }, nil, "tools[2]: a name is expected as the key" },
    { "x", { f = { call = print, parameters = { city = { type = "string" } } } }, nil,
      'tools.f.parameters: expected the JSON Schema of an object: { type = "object", properties = {...} }' },
    { "x", good, { max_round = 1 }, 'max_round: unknown key; did you mean "max_rounds"?' },
    { "x", good, { max_rounds = 0 }, "max_rounds: expected a whole number from 1 to 1000, got 0" },
    { "x", good, { on_tool = 1 }, "on_tool: expected a function, got 1" },
    { "x", good, { deadline = 0 }, "deadline: expected seconds above 0 (math.huge: none), got 0" },
    { "x", good, 1, "options: expected a table, got 1" },
    { "x", good, { fallbacks = { 1 } },
      "fallbacks[1]: expected a model name, or { model =, endpoint =, request = {...} }, got 1" },
    { "\255", good, nil, "messages[1].content: invalid UTF-8 at byte 1 of 1 (0xFF)" },
  } do
    it(case[4], function()
      local ok, message = pcall(function()
        return (client():run_tools(case[1], case[2], case[3]))
      end)
      assert.is_false(ok)
      local where, what = message:match "^(.-:%d+): client:run_tools: (.*)$"
      assert.matches("tools_spec%.lua:%d+$", where)
      assert.equal(case[4], what)
    end)
  end

  it("to be called with a dot", function()
    local c = client()
    assert.error_matches(function() c.run_tools("x", {}) end, "call it with a colon")
  end)

  it("no schema that stands for an object", function()
    local c = sim.lab { a = says "x" }.client
    for _, parameters in ipairs { {}, { type = "object" }, { ["$ref"] = "#/x" }, { anyOf = { {} } } } do
      assert(c:run_tools("x", { f = { call = print, parameters = parameters } }))
    end
  end)
end)
