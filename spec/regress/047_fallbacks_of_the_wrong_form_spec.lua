--- What a fallback replaces in the request was not looked at: texts for messages were sent, and what JSON cannot hold
--- ended as an error that named no reason.

local surefoot = require "surefoot"
local sim = require "spec.support.sim"

local PARENT = {}
PARENT.inner = PARENT

local REFUSED = {
  { { messages = "hi" }, '.messages: expected a list of messages, got "hi"' },
  { { messages = { "hi" } }, '.messages[1]: expected a message (a table), got "hi"' },
  { { tools = { f = {} } }, ".tools: expected a list of tools, got a table with names" },
  { { response_format = 5 }, '.response_format: expected a table like { type = "json_object" }, got 5' },
  { { stream = true }, ".stream: whether there is a stream is the caller's to say" },
  { { model = "p" }, '.model: is not asked for: fallbacks[2].model is "o"' },
  { { "temperature" }, "[1]: expected a field of the request, by its name" },
  { { temperature = 0 / 0 }, ".temperature: NaN is no JSON number" },
  { { tools = { { type = "function", f = print } } }, ".tools[1].f: a function cannot be written as JSON" },
  { { metadata = PARENT }, ".metadata.inner: contains itself" },
}

describe("a fallback whose request has the wrong form is refused", function()
  after_each(sim.settled)

  for _, row in ipairs(REFUSED) do
    local message = "fallbacks[2].request" .. row[2]

    it("when the client is made, and by a call: " .. message, function()
      local fallbacks = { "n", { model = "o", request = row[1] } }
      local lab = sim.lab { a = { { status = 500 }, { text = "x" } } }
      local ok, problem = pcall(surefoot.new, { base_url = "https://localhost:9/v1", api_key = "k", model = "m",
        fallbacks = fallbacks })
      assert.is_false(ok)
      assert.is_truthy(problem:find("surefoot.new: " .. message, 1, true), problem)
      ok, problem = pcall(lab.client.chat, lab.client, "Hi", { fallbacks = fallbacks })
      assert.is_false(ok)
      assert.is_truthy(problem:find("client:chat: " .. message, 1, true), problem)
      assert.equal(0, #lab.log)
    end)
  end

  it("but not one that only an encoder of the user's can write", function()
    local encode = function() return "{}" end
    local lab = sim.lab({ a = { { status = 404 }, { text = "x" } } }, { json = { encode = encode },
      fallbacks = { { model = "n", request = { temperature = print } } } })
    assert.equal("x", assert(lab.client:chat "Hi").text)
  end)

  it("nor what may be left out", function()
    local null = surefoot.null
    local lab = sim.lab({ a = { { status = 404 }, { text = "x" } } }, { fallbacks = { { model = "n",
      request = { messages = null, model = "n", tools = {}, response_format = null, temperature = 0 } } } })
    assert.equal("x", assert(lab.client:chat { messages = { { role = "user", content = "Hi" } } }).text)
  end)
end)
