-- What tools are given of the model's words, and what the model is told of theirs.
local answers = require "spec.lua.tools.answers"
local env = require "spec.support.env"
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local calls, says, tool, asked, told = answers.calls, answers.says, answers.tool, answers.asked, answers.told

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
