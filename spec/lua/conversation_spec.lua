-- Conversations on the simulated network: what is remembered, what is sent, and what is refused.
local json = require "surefoot.json"
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local SSE = { ["content-type"] = "text/event-stream" }

-- A line that numbers its answers: "1 Hi" to "Hi".
local function echo(n, request)
  local last = request.json.messages[#request.json.messages]
  return { after = 1, text = n .. " " .. (type(last.content) == "string" and last.content or "parts") }
end

local function event(delta, reason)
  return "data: " .. json.encode { choices = { { index = 0, delta = delta, finish_reason = reason or json.null } } }
    .. "\n\n"
end

-- The same in two pieces, a second apart.
local function streaming(n, request)
  local said = request.json.messages[#request.json.messages].content
  return { after = 1, headers = SSE, events = {
    { at = 1, data = event { role = "assistant", content = n .. " " } }, { at = 2, data = event { content = said } },
    { at = 3, data = event({}, "stop") .. "data: [DONE]\n\n" },
  } }
end

local function calls(name)
  return { after = 1, body = { choices = { { index = 0, finish_reason = "tool_calls", message = { role = "assistant",
    content = json.null, tool_calls = { { id = "c1", type = "function",
      ["function"] = { name = name, arguments = "{}" } } } } } } } }
end

local function asked(lab, n)
  return json.decode(lab.log[n or #lab.log].request.body)
end

-- A list of messages in words: "user: Hi, assistant: 1 Hi".
local function said(messages)
  local words = {}
  for i, message in ipairs(messages) do
    words[i] = message.role .. ": " .. (type(message.content) == "string" and message.content or "-")
  end
  return table.concat(words, ", ")
end

describe("a conversation", function()
  after_each(sim.settled)

  it("remembers what was said", function()
    local lab = sim.lab { a = echo }
    local talk = lab.client:conversation()
    assert.equal("1 Hi", assert(talk:send "Hi").text)
    assert.equal("2 And?", assert(talk:send("And?", { tags = 1 })).text)
    assert.equal("user: Hi, assistant: 1 Hi, user: And?", said(asked(lab).messages))
    assert.equal("user: Hi, assistant: 1 Hi, user: And?, assistant: 2 And?", said(talk.messages))
    assert.equal("surefoot.conversation (4 messages)", tostring(talk))
  end)

  it("sends its system message and its request's fields every time", function()
    local lab = sim.lab { a = echo }
    local talk = lab.client:conversation { system = "Be\nbrief.", request = { temperature = 0, model = "other" } }
    assert(talk:send "Hi")
    talk.system = "Be long."
    assert(talk:send "Ho")
    assert.equal("system: Be\nbrief., user: Hi", said(asked(lab, 1).messages))
    assert.equal("system: Be long., user: Hi, assistant: 1 Hi, user: Ho", said(asked(lab, 2).messages))
    assert.same({ 0, "other" }, { asked(lab).temperature, asked(lab).model })
    assert.equal("user: Hi, assistant: 1 Hi, user: Ho, assistant: 2 Ho", said(talk.messages))
  end)

  it("takes a message, a list of messages, or parts", function()
    local lab = sim.lab { a = echo }
    local talk = lab.client:conversation()
    local parts = { { type = "text", text = "a" }, { type = "image_url", image_url = { url = "data:" } } }
    assert(talk:send { role = "user", content = "m", name = "Ann" })
    assert(talk:send { { role = "assistant", content = "x" }, { role = "user", content = "l" } })
    assert(talk:send(parts))
    assert.same({ role = "user", content = "m", name = "Ann" }, talk.messages[1])
    assert.same({ role = "user", content = parts }, talk.messages[6])
    assert.equal("user: m, assistant: 1 m, assistant: x, user: l, assistant: 2 l, user: -, assistant: 3 parts",
      said(talk.messages))
  end)

  it("is as it was after a failure", function()
    local lab = sim.lab { a = { { after = 1, text = "one" }, { after = 1, status = 400 },
      { after = 1, text = "two" } } }
    local talk = lab.client:conversation()
    assert(talk:send "a")
    local before = talk.messages
    local result, err = talk:send "b"
    assert.is_nil(result)
    assert.equal("invalid_request", err.kind)
    assert.equal(before, talk.messages)
    assert.equal("user: a, assistant: one", said(talk.messages))
    assert(talk:send "c")
    assert.equal("user: a, assistant: one, user: c, assistant: two", said(talk.messages))
  end)

  it("can be stored, and taken up", function()
    local lab = sim.lab { a = { calls "f", { after = 1, text = "one" }, { after = 1, text = "two" } } }
    local tools = { f = { call = function() return surefoot.array {} end } }
    local talk = lab.client:conversation { tools = tools }
    assert(talk:send "a")
    local text = assert(json.encode(talk.messages))
    local again = lab.client:conversation { messages = json.decode(text), tools = tools }
    assert(again:send "b")
    assert.equal("user: a, assistant: -, tool: [], assistant: one, user: b, assistant: two", said(again.messages))
    assert.equal(4, #talk.messages)
  end)

  it("runs tools, and remembers their outcomes", function()
    local lab = sim.lab { a = { calls "f", { after = 1, text = "one" }, calls "f", { after = 1, status = 400 } } }
    local names = {}
    local talk = lab.client:conversation { system = "S", tools = { f = { call = function() return "found" end } },
      options = { on_tool = function(name) names[#names + 1] = name end, deadline = 50 } }
    local result = assert(talk:send("a", { deadline = 60 }))
    assert.same({ "one", 2, "f" }, { result.text, #result.rounds, names[1] })
    assert.equal("user: a, assistant: -, tool: found, assistant: one", said(talk.messages))
    assert.is_nil((talk:send "b"))
    assert.equal(4, #talk.messages)
    local err = select(2, talk:send("c", { max_rounds = 1, deadline = 1.5 }))
    assert.equal("invalid_request", err.kind)
  end)

  it("lets the caller answer calls of its own tools", function()
    local lab = sim.lab { a = { calls "theirs", { after = 1, text = "thanks" } } }
    local talk = lab.client:conversation { request = { tools = { { type = "function",
      ["function"] = { name = "theirs" } } } } }
    local result = assert(talk:send "a")
    assert(talk:send { role = "tool", tool_call_id = result.pending_calls[1].id, content = "mine" })
    assert.equal("user: a, assistant: -, tool: mine, assistant: thanks", said(talk.messages))
  end)

  it("forgets the oldest turns beyond max_messages, whole ones", function()
    local lab = sim.lab { a = { { after = 1, text = "1" }, calls "f", { after = 1, text = "2" },
      { after = 1, text = "3" }, { after = 1, text = "4" } } }
    local talk = lab.client:conversation { max_messages = 5, system = "S",
      tools = { f = { call = function() return "found" end } } }
    assert(talk:send "a")
    assert(talk:send "b")
    assert.equal("user: b, assistant: -, tool: found, assistant: 2", said(talk.messages))
    assert(talk:send "c")
    assert.equal("system: S, user: b, assistant: -, tool: found, assistant: 2, user: c", said(asked(lab).messages))
    assert.equal("user: c, assistant: 3", said(talk.messages))
    talk.max_messages = 1
    assert(talk:send "d")
    assert.equal("system: S, user: d", said(asked(lab).messages))
    assert.equal("user: d, assistant: 4", said(talk.messages))
  end)

  it("forks", function()
    local lab = sim.lab { a = echo }
    local talk = lab.client:conversation { system = "S", messages = { { role = "user", content = "old" } },
      request = { temperature = 0 }, max_messages = 9 }
    local fork = talk:fork()
    assert(fork:send "x")
    fork.messages[1].content = "changed"
    fork.request.temperature = 1
    assert.equal("user: old", said(talk.messages))
    assert.same({ 0, "S", 9 }, { talk.request.temperature, fork.system, fork.max_messages })
    assert.equal("user: changed, user: x, assistant: 1 x", said(fork.messages))
    assert.is_true(getmetatable(surefoot.array {}) == getmetatable(lab.client:conversation { messages = {
      { role = "user", content = surefoot.array {} } } }:fork().messages[1].content))
  end)

  it("leaves the list alone that it was given", function()
    local lab = sim.lab { a = echo }
    local list = { { role = "user", content = "old" } }
    local talk = lab.client:conversation { messages = list }
    assert(talk:send "x")
    assert.equal(1, #list)
  end)

  it("carries on with answers that are cut", function()
    local function part(text, reason)
      return { after = 1, body = { choices = { { finish_reason = reason, message = { role = "assistant",
        content = text } } } } }
    end
    local lab = sim.lab { a = { part("One, ", "length"), part("two.", "stop") } }
    local talk = lab.client:conversation { options = { continue_on_length = 1 } }
    assert(talk:send "Count")
    assert.equal("user: Count, assistant: One, two.", said(talk.messages))
  end)
end)

describe("a conversation that streams", function()
  after_each(sim.settled)

  it("remembers an answer when it has ended whole", function()
    local lab = sim.lab { a = streaming }
    local talk = lab.client:conversation { system = "S" }
    local stream = assert(talk:stream "Hi")
    assert.equal("1 ", stream:read().text)
    assert.same({}, talk.messages)
    assert.equal("1 Hi", assert(stream:result()).text)
    assert.equal("user: Hi, assistant: 1 Hi", said(talk.messages))
    assert(assert(talk:stream "Ho"):result())
    assert.equal("system: S, user: Hi, assistant: 1 Hi, user: Ho", said(asked(lab).messages))
  end)

  it("forgets one that fails, or is left", function()
    local cut = { after = 1, headers = SSE, events = { { at = 1, data = event { content = "cut" } } } }
    local lab = sim.lab { a = { streaming(1, { json = { messages = { { content = "x" } } } }), cut,
      { after = 1, status = 400 }, { after = 1, text = "fine" } } }
    local talk = lab.client:conversation()
    assert(talk:stream "a"):close()
    assert.equal("truncated", select(2, assert(talk:stream "b"):result()).kind)
    local stream, err = talk:stream "c"
    assert.is_nil(stream)
    assert.equal("invalid_request", err.kind)
    assert.same({}, talk.messages)
    assert(talk:send "d")
    assert.equal("user: d, assistant: fine", said(talk.messages))
  end)

  it("runs tools", function()
    local lab = sim.lab { a = { calls "f", { after = 1, text = "one" } } }
    local talk = lab.client:conversation { tools = { f = { call = function() return "found" end } } }
    local outcome
    local stream = assert(talk:stream "a")
    for chunk in stream do
      outcome = chunk.tool and chunk.tool.outcome or outcome
    end
    assert.equal("found", outcome)
    assert.equal("user: a, assistant: -, tool: found, assistant: one", said(talk.messages))
  end)

  it("is free again when validate throws", function()
    local lab = sim.lab { a = function(n, request)
      return (request.json.stream and streaming or echo)(n, request)
    end }
    local talk = lab.client:conversation()
    local stream = assert(talk:stream("a", { validate = function() error("mine", 0) end }))
    assert.error_matches(function() stream:result() end, "^mine$")
    assert.error_matches(function() talk:send("a", { validate = function() error("mine", 0) end }) end, "^mine$")
    assert.same({}, talk.messages)
    assert(assert(talk:stream "b"):result())
  end)
end)

describe("one call at a time:", function()
  after_each(sim.settled)

  it("a second one throws while the first is running", function()
    local lab = sim.lab { a = echo }
    local talk, problem = lab.client:conversation(), nil
    lab.sim:spawn(function() assert(talk:send "a") end)
    lab.sim:spawn(function() problem = select(2, pcall(talk.send, talk, "b")) end)
    lab.sim:run()
    assert.matches("conversation:send: another call of this conversation is running: one at a time", problem)
    assert.equal("user: a, assistant: 1 a", said(talk.messages))
  end)

  it("an open stream counts, until it has ended, was closed, or was collected", function()
    local lab = sim.lab { a = streaming }
    local talk = lab.client:conversation()
    local stream = assert(talk:stream "a")
    local ok, message = pcall(function() return (talk:send "b") end)
    assert.is_false(ok)
    assert.matches("conversation_spec%.lua:%d+: conversation:send: another call ", message)
    assert.matches("a stream runs until it is read to its end or closed", message)
    stream:close()
    stream = assert(talk:stream "b")
    stream:result()
    stream = assert(talk:stream "c")
    assert.error_matches(function() talk:stream "d" end, "conversation:stream: another call")
    assert.equal("surefoot.stream (open)", tostring(stream))
    stream = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert(assert(talk:stream "e"):result())
    assert.equal("user: b, assistant: 2 b, user: e, assistant: 4 e", said(talk.messages))
  end)

  it("a call whose coroutine was dropped does not count", function()
    local lab = sim.lab { a = echo }
    local talk = lab.client:conversation()
    do
      local dropped = coroutine.create(function()
        talk:send("a", { validate = function() coroutine.yield() return true end })
      end)
      assert(coroutine.resume(dropped))
      assert.error_matches(function() talk:send "b" end, "another call")
    end
    collectgarbage()
    collectgarbage()
    assert(talk:send "c")
  end)
end)

describe("a conversation refuses", function()
  local function client()
    return surefoot.simulate({ endpoints = { a = echo } }):client()
  end

  for _, case in ipairs {
    { 1, "options: expected a table, got 1" },
    { { sytem = "x" }, 'sytem: unknown key; did you mean "system"?' },
    { { system = "" }, "system: expected a string that is not empty, got \"\"" },
    { { messages = { "x" } }, 'messages[1]: expected a message, { role =, content = }, got "x"' },
    { { messages = { { content = "x" } } },
      "messages[1]: expected a message, { role =, content = }, got a table without a role" },
    { { tools = { f = { description = "x" } } },
      "tools.f.call: is required: call(arguments, context) -> a text or what JSON can hold | nil, message" },
    { { request = { messages = {} } }, "request.messages: is the conversation's own" },
    { { request = { stream = true } }, "request.stream: is the conversation's own" },
    { { options = { deadlin = 1 } }, 'options.deadlin: unknown key; did you mean "deadline"?' },
    { { options = { idempotency_key = "k" } }, "options.idempotency_key: belongs to one call" },
    { { options = { stream = true } }, "options.stream: belongs to one call" },
    { { max_messages = 0 }, "max_messages: expected a whole number from 1 to 1000000, got 0" },
  } do
    it(case[2], function()
      local ok, message = pcall(function() return (client():conversation(case[1])) end)
      assert.is_false(ok)
      assert.equal(case[2], message:match "conversation_spec%.lua:%d+: client:conversation: (.*)$")
    end)
  end

  local expected = "message: expected a text, a message, a list of messages or a list of content parts, got "
  for _, case in ipairs {
    { nil, nil, expected .. "a nil" }, { 1, nil, expected .. "1" }, { {}, nil, expected .. "another table" },
    { { role = 1 }, nil, "message: expected a message, { role =, content = }, got a table without a role" },
    { { { role = "user" }, {} }, nil,
      "messages[2]: expected a message, { role =, content = }, got a table without a role" },
    { { { type = "text" }, "x" }, nil, 'parts[2]: expected a content part, { type =, ... }, got "x"' },
    { { { text = "x" } }, nil, "parts[1]: expected a content part, { type =, ... }, got a table without a type" },
    { "x", 1, "options: expected a table, got 1" },
    { "x", { deadlin = 1 }, 'deadlin: unknown key; did you mean "deadline"?' },
    { "x", { stream = true }, "stream: is no option here: there are conversation:send and conversation:stream" },
    { "\255", nil, "messages[1].content: invalid UTF-8 at byte 1 of 1 (0xFF)" },
  } do
    it("to send: " .. case[3], function()
      for _, method in ipairs { "send", "stream" } do
        local talk = client():conversation()
        local ok, message = pcall(function() return (talk[method](talk, case[1], case[2])) end)
        assert.is_false(ok)
        assert.equal(case[3], message:match("conversation_spec%.lua:%d+: conversation:" .. method .. ": (.*)$"))
      end
    end)
  end

  it("to go on with what is no history", function()
    local talk = client():conversation()
    talk.messages = "x"
    assert.error_matches(function() talk:send "x" end, 'conversation:send: messages: expected a list, .*got "x"')
    talk = client():conversation()
    talk.tools = 1
    assert.error_matches(function() talk:send "x" end, "conversation:send: tools: expected a list of tools")
  end)

  it("dots for colons", function()
    local talk = client():conversation()
    for _, method in ipairs { "send", "stream", "fork" } do
      assert.error_matches(function() talk[method] "x" end, "call it with a colon, conversation:" .. method)
    end
    assert.error_matches(function() client().conversation {} end, "call it with a colon")
  end)
end)
