-- The same calls to every format that is spoken, over real connections: whole and streamed, tools and their results,
-- structured output, refusals; and from one format to another when a line fails.

local pace = require "spec.support.pace"
local scene = require "spec.support.scene"

local formats = {
  { "openai", "url" }, { "responses", "url" }, { "anthropic", "url" }, { "gemini", "gemini_url" },
  { "azure", "azure_url" }, { "azure", "azure_url", api_version = "2024-10-21" },
}

local function name_of(row)
  return row[1] .. (row.api_version and " " .. row.api_version or "")
end

local weather = { type = "function", ["function"] = { name = "weather", description = "of a city",
  parameters = { type = "object", properties = { city = { type = "string" } }, required = { "city" } } } }

describe("the format", function()
  local p, client_of = scene.of { lines = { "a", "b" } }
  local client

  local function endpoint(row, line)
    return { name = line, url = p.lines[line][row[2]], provider = row[1], api_version = row.api_version,
      api_key = "sk-test-" .. row[1] .. "-0123456789" }
  end

  local function connect(row)
    client = client_of { endpoints = { endpoint(row, "a") }, model = "m", timeout = { total = 10 * pace },
      retry = { max_attempts = 1 } }
  end

  for _, row in ipairs(formats) do
    describe(name_of(row) .. ":", function()
      it("a whole answer", function()
        connect(row)
        local result = assert(client:chat { messages = { { role = "system", content = "Be brief." },
          { role = "user", content = "Hello" } }, max_tokens = 50, temperature = 0.5 })
        assert.equal("echo: Hello", result.text)
        assert.equal("stop", result.finish_reason)
        assert.is_false(result.usage.estimated)
        assert.is_true(result.usage.input_tokens > 0 and result.usage.output_tokens > 0)
        assert.equal("m", result.model)
        assert.equal("assistant", result.message.role)
      end)

      it("a streamed answer", function()
        p:profile("a", { answer = { chunks = 4 } })
        connect(row)
        local stream = assert(client:stream { messages = { { role = "user", content = "Hello, in pieces" } } })
        local texts = {}
        for chunk in stream:chunks() do
          texts[#texts + 1] = chunk.text
        end
        local result = assert(stream:result())
        assert.equal("echo: Hello, in pieces", table.concat(texts))
        assert.is_true(#texts > 1)
        assert.same({ "echo: Hello, in pieces", "stop", "m" }, { result.text, result.finish_reason, result.model })
        assert.is_false(result.usage.estimated)
      end)

      it("an answer that its limit cuts", function()
        connect(row)
        local request = { messages = { { role = "user", content = ("many words "):rep(50) } }, max_tokens = 5 }
        local result = assert(client:chat(request))
        assert.same({ "length", true }, { result.finish_reason, result.truncated })
        local streamed = assert(assert(client:stream(request)):result())
        assert.same({ result.text, "length", true }, { streamed.text, streamed.finish_reason, streamed.truncated })
      end)

      it("a tool that is called, and what comes of it", function()
        connect(row)
        local messages = { { role = "user", content = "call tool weather" } }
        local result = assert(client:chat { messages = messages, tools = { weather } })
        assert.equal("tool_calls", result.finish_reason)
        local call = result.tool_calls[1]
        assert.equal("weather", call["function"].name)
        assert.equal("string", type(call["function"].arguments))
        local streamed = assert(assert(client:stream { messages = messages, tools = { weather } }):result())
        assert.equal(call["function"].name, streamed.tool_calls[1]["function"].name)
        assert.equal(call["function"].arguments, streamed.tool_calls[1]["function"].arguments)
        for _, answer in ipairs { result, streamed } do
          local next_one = assert(client:chat { tools = { weather }, messages = { messages[1], answer.message,
            { role = "tool", tool_call_id = answer.tool_calls[1].id, content = "rain" },
            { role = "user", content = "Thanks" } } })
          assert.is_true(next_one.text == "echo: Thanks" or next_one.text == "echo: rain", next_one.text)
        end
      end)

      it("structured output", function()
        connect(row)
        local schema = { type = "object", properties = { city = { type = "string" } }, required = { "city" } }
        local result = assert(client:chat { messages = { { role = "user", content = "Which city?" } },
          response_format = { type = "json_schema", json_schema = { name = "place", schema = schema } } })
        assert.equal("table", type(result.parsed))
        assert.equal("string", type(result.parsed.city))
      end)

      it("a key that is refused, and a limit that is met", function()
        p:profile("a", { keys = { "another" } })
        connect(row)
        local _, err = client:chat "Hello"
        assert.same({ "unauthorized", row[1] == "gemini" and 400 or 401 }, { err.kind, err.status })
        p:profile("a", { status = { code = 429, headers = { ["retry-after"] = "7" } } })
        _, err = client:stream "Hello"
        assert.same({ "rate_limited", 429 }, { err.kind, err.status })
        assert.is_nil(tostring(err):find("sk-test", 1, true))
      end)

      it("an error inside a stream", function()
        p:profile("a", { stream = { error_after = 2 }, answer = { chunks = 6 } })
        connect(row)
        local stream = assert(client:stream "one two three four five six")
        local result, err = stream:result()
        assert.is_nil(result)
        assert.is_true(err.kind == "server" or err.kind == "overloaded", err.kind)
        assert.is_true(#err.partial.text > 0)
      end)

      it("a stream that is cut", function()
        p:profile("a", { stream = { end_after = 2 }, answer = { chunks = 6 } })
        connect(row)
        local _, err = assert(client:stream "one two three four five six"):result()
        assert.equal("truncated", err.kind)
        assert.is_true(err.partial.usage.estimated)
      end)

      it("gives way to another", function()
        p:profile("a", { fault = "reset" })
        local other = formats[row[1] == "anthropic" and 1 or 3]
        client = client_of { endpoints = { endpoint(row, "a"), endpoint(other, "b") }, model = "m",
          routing = "priority" }
        local native = { provider = "somebody", items = { { type = "thinking" } } }
        local result = assert(client:chat { messages = { { role = "user", content = "a" },
          { role = "assistant", content = "b", native = native }, { role = "user", content = "Hello" } } })
        assert.same({ "echo: Hello", "b", 2 }, { result.text, result.endpoint, #result.attempts })
        assert.equal("echo: Hello", assert(assert(client:stream "Hello"):result()).text)
      end)
    end)
  end
end)
