-- What run_tools does not take.
local answers = require "spec.lua.tools.answers"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local EXPECTED, says, tool = answers.EXPECTED, answers.says, answers.tool

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
      assert.matches("refuses_spec%.lua:%d+$", where)
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
