--- Messages, tools or a response_format that were a text were sent to OpenAI and its kin, left out for Gemini, and
--- refused for Anthropic in words of its own.

local sim = require "spec.support.sim"

local SAID = { { role = "user", content = "Hi" } }

local REFUSED = {
  { { messages = "hi" }, 'messages: expected a list of messages, got "hi"' },
  { { messages = 5 }, "messages: expected a list of messages, got 5" },
  { { messages = true }, "messages: expected a list of messages, got true" },
  { { messages = SAID[1] }, "messages: expected a list of messages, got a table with names" },
  { { messages = { "hi" } }, 'messages[1]: expected a message (a table), got "hi"' },
  { { messages = { SAID[1], 7 } }, "messages[2]: expected a message (a table), got 7" },
  { { messages = SAID, tools = "x" }, 'tools: expected a list of tools, got "x"' },
  { { messages = SAID, tools = { f = {} } }, "tools: expected a list of tools, got a table with names" },
  { { messages = SAID, tools = { "x" } }, 'tools[1]: expected a tool (a table), got "x"' },
  { { messages = SAID, response_format = "x" },
    'response_format: expected a table like { type = "json_object" }, got "x"' },
  { { messages = SAID, response_format = 5 },
    'response_format: expected a table like { type = "json_object" }, got 5' },
}

describe("a request of the wrong form is refused before anything is sent", function()
  after_each(sim.settled)

  for _, provider in ipairs { "openai", "anthropic", "gemini", "responses", "azure" } do
    it("in the same words: " .. provider, function()
      local lab = sim.lab({ a = { text = "x" } }, { provider = provider })
      for _, row in ipairs(REFUSED) do
        for _, method in ipairs { "chat", "stream" } do
          local ok, problem = pcall(lab.client[method], lab.client, row[1])
          assert.is_false(ok)
          assert.is_truthy(problem:find("client:" .. method .. ": " .. row[2], 1, true), problem)
        end
      end
      assert.equal(0, #lab.log)
    end)
  end

  it("at the caller's line, and in a batch at the place of the request", function()
    local lab = sim.lab { a = { text = "x" } }
    local ok, problem = pcall(function() lab.client:chat { messages = "hi" } end)
    assert.is_false(ok)
    assert.matches("046_requests_of_the_wrong_form_spec.lua:%d+: client:chat: messages: expected", problem)
    local outcomes
    lab.sim:spawn(function() outcomes = lab.client:batch { "Hi", { messages = "hi" } } end)
    lab.sim:run()
    assert.equal("x", outcomes[1].result.text)
    assert.same({ "invalid_request", false }, { outcomes[2].error.kind, outcomes[2].error.sent })
    assert.matches("messages: expected a list of messages", outcomes[2].error.message)
  end)

  it("but not what may be left out", function()
    local null = require("surefoot").null
    local lab = sim.lab { a = { text = "x" } }
    for _, request in ipairs { { messages = SAID, tools = null, response_format = null }, { input = "x" },
      { messages = SAID, tools = {} }, { messages = SAID, response_format = { type = "text" } }, { messages = {} } } do
      assert(lab.client:chat(request))
    end
  end)
end)
