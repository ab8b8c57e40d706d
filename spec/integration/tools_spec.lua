-- Tools, conversations and answers that are carried on, with every format that is spoken, over real connections.

local pace = require "spec.support.pace"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local formats = {
  { "openai", "url" }, { "responses", "url" }, { "anthropic", "url" }, { "gemini", "gemini_url" },
  { "azure", "azure_url" },
}

local CITY = { type = "object", properties = { city = { type = "string" } }, required = { "city" } }

describe("run_tools over", function()
  local p, client_of = scene.of { lines = { "a", "b" } }
  local client

  local function connect(row, config)
    config = config or {}
    config.endpoints = { { name = "a", url = p.lines.a[row[2]], provider = row[1], api_key = "sk-test-0123456789" } }
    config.model, config.timeout = "m", config.timeout or { total = 20 * pace }
    client = client_of(config)
  end

  local function weather(seen)
    return { description = "The weather in a city.", parameters = CITY, call = function(arguments, context)
      seen[#seen + 1] = ("%d %s"):format(context.round, type(arguments.city))
      return { celsius = 7 }
    end }
  end

  for _, row in ipairs(formats) do
    describe(row[1] .. ":", function()
      it("a tool's outcome, whole and streamed", function()
        for _, stream in ipairs { false, true } do
          connect(row)
          local seen = {}
          local tools = { weather = weather(seen) }
          local result, err = client:run_tools("Please call tool weather", tools, { stream = stream })
          if stream then
            local shown = {}
            for chunk in assert(result, err):chunks() do
              shown[#shown + 1] = chunk.tool and chunk.tool.name or chunk.text
            end
            assert.equal('weatherecho: {"celsius":7}', table.concat(shown))
            result, err = result:result()
          end
          assert(result, err)
          assert.equal('echo: {"celsius":7}', result.text)
          assert.same({ "1 string" }, seen)
          assert.same({ 2, 4, "tool" }, { #result.rounds, #result.messages, result.messages[3].role })
          assert.equal(result.usage.total_tokens,
            result.rounds[1].result.usage.total_tokens + result.rounds[2].result.usage.total_tokens)
          client:close()
        end
        connect(row)
      end)

      it("several tools at once, one of them failing", function()
        connect(row)
        local result = assert(client:run_tools({ messages = { { role = "user",
          content = "call tool weather, call tool broken, call tool weather" } } }, {
          weather = weather {}, broken = { description = "It is broken.", call = function() error "no power" end },
        }))
        local calls = result.rounds[1].calls
        assert.same({ 3, "no power" }, { #calls, calls[2].error })
        assert.matches("^echo: .*celsius", result.text)
        assert.same({ '{"celsius":7}', '{"error":"no power"}', '{"celsius":7}', 6 }, { result.messages[3].content,
          result.messages[4].content, result.messages[5].content, #result.messages })
      end)

      it("a conversation with tools, that goes on", function()
        connect(row)
        local talk = client:conversation { system = "Be brief.", tools = { weather = weather {} } }
        assert.equal('echo: {"celsius":7}', assert(talk:send "call tool weather").text)
        assert.equal("echo: Thanks", assert(talk:send "Thanks").text)
        assert.equal("echo: Bye", assert(assert(talk:stream "Bye"):result()).text)
        assert.equal(8, #talk.messages)
      end)

      it("an answer that is carried on, whole and streamed", function()
        connect(row)
        local words = ("many words "):rep(12) .. "end"
        local request = { messages = { { role = "user", content = words } }, max_tokens = 15 }
        local result = assert(client:chat(request, { continue_on_length = 9 }))
        assert.equal("echo: " .. words, result.text)
        assert.same({ 2, "stop", 3 }, { result.continued, result.finish_reason, #result.attempts })
        local stream, texts = assert(client:stream(request, { continue_on_length = 9 })), {}
        for chunk in stream:chunks() do
          texts[#texts + 1] = chunk.text
          assert.is_true(chunk.finish_reason == nil or chunk.finish_reason == "stop")
        end
        assert.equal("echo: " .. words, table.concat(texts))
        assert.same({ "echo: " .. words, 2 }, { stream:result().text, stream:result().continued })
        result = assert(client:chat(request, { continue_on_length = 1 }))
        assert.same({ 1, true, 120 }, { result.continued, result.truncated, #result.text })
      end)
    end)
  end

  it("a bad line: a round is tried again, tools are not", function()
    connect(formats[1], { retry = { base_delay = 0.01 } })
    local seen = {}
    p:profile("a", { sequence = { {}, { status = { code = 503 } }, { status = { code = 503 } } } })
    local result = assert(client:run_tools("call tool weather", { weather = weather(seen) }))
    assert.equal('echo: {"celsius":7}', result.text)
    assert.same({ 1, 1, 3 }, { #seen, #result.rounds[1].result.attempts, #result.rounds[2].result.attempts })
    local keys = p:counters("a").idempotency_keys
    assert.is_true(keys[1] ~= keys[2] and keys[2] == keys[3] and keys[3] == keys[4])
  end)

  it("a line with tools that ask it themselves, side by side", function()
    connect(formats[1])
    p:profile("a", { delay = 0.2 * pace })
    local before_all = surefoot.now()
    local result = assert(client:run_tools("call tool ask, call tool ask, call tool ask", {
      ask = { description = "Asks.", call = function(_, context)
        return assert(context.client:chat("Hello", { deadline = context.deadline })).text
      end },
    }))
    assert.equal("echo: echo: Hello", result.text)
    assert.equal("echo: Hello", result.rounds[1].calls[3].outcome)
    assert.is_true(surefoot.now() - before_all < 0.8 * pace, "they ran one after the other")
    assert.equal(3, p:counters("a").peak)
  end)

  it("a line that hangs, until the deadline; and one whose reader leaves", function()
    connect(formats[1])
    p:profile("a", { sequence = { {} }, fault = "hang" })
    local _, err = client:run_tools("call tool weather", { weather = weather {} }, { deadline = 0.3 * pace })
    assert.same({ "deadline", true, 1 }, { err.kind, err.sent, #err.partial.rounds })
    p:reset "a"
    p:profile("a", { answer = { chunks = 50, chunk_delay = 0.05 } })
    local stream = assert(client:run_tools("Hello", { weather = weather {} }, { stream = true }))
    stream:close()
    assert.is_truthy(p:wait("a", function(c) return c.aborted >= 1 end, 5))
  end)
end)
