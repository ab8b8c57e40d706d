-- Tools on the simulated network: running them, and telling the model.
local answers = require "spec.lua.tools.answers"
local guard = require "surefoot.guard"
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local NOTHING, calls, says, tool, asked = answers.NOTHING, answers.calls, answers.says, answers.tool, answers.asked
local told, task = answers.told, answers.task

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
