-- Streams of the simulated provider that break off, and go on: over HTTP/1.1, TLS and HTTP/2, in the formats whose
-- answers can be taken up, and asked anew in all of them. Nothing is shown twice, nothing is lost, nothing stays
-- behind.

local pace = require "spec.support.pace"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local SHORT = 0.15 * pace -- the phase that a fault runs into
local TEXT = "echo: six pieces of text, please"

local faults = {
  { "a cut", { cut_after = 3 }, "truncated" },
  { "a reset", { reset_after = 3 }, "truncated" },
  { "an early end", { end_after = 3, no_finish = true, no_done = true }, "truncated" },
  { "an error in-band", { error_after = 3 }, { ["OpenAI's"] = "server", ["Anthropic's"] = "overloaded" } },
  { "a broken event", { malformed_after = 3 }, "malformed" },
  { "a stall", { stall_after = 3 }, "timeout", timeout = { idle = SHORT } },
}

local transports = {
  { name = "HTTP/1.1", url = "url", version = "1.1" },
  { name = "TLS", url = "tls_url", version = "1.1" },
  { name = "HTTP/2", url = "tls_url", version = "2" },
}

-- Formats whose lines take up answers.
local formats = {
  { name = "OpenAI's", preset = "vllm", model = "m" },
  { name = "Anthropic's", preset = "anthropic", model = "claude-sonnet-4-5" },
}

describe("a stream that breaks off over", function()
  local p, client_of = scene.of { lines = { "a", "b" }, tls = true }
  local client

  local function connect(transport, lines, config)
    local endpoints = {}
    for i, name in ipairs(lines) do
      endpoints[i] = { name = name, url = p.lines[name][transport.url], priority = i }
    end
    local all = {
      endpoints = endpoints, api_key = "sk-test-0123456789", model = "m", tls = { ca_file = p.ca_file },
      http_version = transport.version, breaker = false, retry = { base_delay = 0.02 }, preset = "vllm",
      timeout = { total = 20 * pace },
    }
    for key, value in pairs(config or {}) do
      all[key] = value
    end
    client = client_of(all)
  end

  local function read(options)
    local stream, err = client:stream("six pieces of text, please", options)
    local texts = {}
    local chunk = assert(stream, err)()
    while chunk do
      texts[#texts + 1] = chunk.text
      chunk = stream()
    end
    return table.concat(texts), stream:result()
  end

  for _, transport in ipairs(transports) do
    for _, format in ipairs(formats) do
      for _, mode in ipairs { "continue", "restart" } do
        describe(("%s, in %s format (%s):"):format(transport.name, format.name, mode), function()
          for _, row in ipairs(faults) do
            it(row[1], function()
              p:profile("a", { stream = row[2], answer = { chunks = 6 } })
              p:profile("b", { answer = { chunks = 9 } })
              connect(transport, { "a", "b" }, { preset = format.preset, model = format.model })
              local shown, result, err = read { resume = mode, timeout = row.timeout }
              assert(result, err)
              assert.same({ TEXT, TEXT, TEXT, "stop", 1, "b" }, { shown, result.text, result.message.content,
                result.finish_reason, result.resumed, result.endpoint })
              local kind = type(row[3]) == "table" and row[3][format.name] or row[3]
              assert.same({ kind, "ok", mode }, { result.attempts[1].kind, result.attempts[2].kind,
                result.attempts[2].resume })
              assert.same({ 1, 1 }, { p:counters("a").requests, p:counters("b").requests })
              local told = p:counters("b").last_body:find('"assistant"', 1, true) ~= nil
              assert.equal(mode == "continue", told)
            end)
          end
        end)
      end
    end

    describe(transport.name .. ":", function()
      it("goes on with the same line, as often as it takes", function()
        local cut = { stream = { cut_after = 2 }, answer = { chunks = 6 } }
        p:profile("a", { sequence = { cut, cut, cut }, answer = { chunks = 6 } })
        connect(transport, { "a" })
        local shown, result, err = read { resume = "continue" }
        assert(result, err)
        assert.same({ TEXT, TEXT, 3, 4 }, { shown, result.text, result.resumed, p:counters("a").requests })
      end)

      it("is joined in the middle of a piece, and between any two", function()
        for chunks = 1, 12 do
          p:reset()
          p:profile("a", { stream = { cut_after = 3 }, answer = { chunks = 7 } })
          p:profile("b", { answer = { chunks = chunks } })
          connect(transport, { "a", "b" })
          local shown, result, err = read { resume = "restart" }
          assert(result, err)
          assert.same({ TEXT, TEXT }, { shown, result.text })
          client:close()
        end
      end)

      it("many at once", function()
        p:profile("a", { stream = { cut_after = 2, chunk_delay = 0.005 }, answer = { chunks = 8 } })
        p:profile("b", { stream = { chunk_delay = 0.005 }, answer = { chunks = 8 } })
        connect(transport, { "a", "b" }, { resume = "continue" })
        local odd, unseen = {}, 0
        surefoot.run(function()
          for i = 1, 30 do
            surefoot.spawn(function()
              local stream, texts = assert(client:stream("this is stream number " .. i)), {}
              local chunk = stream()
              while chunk do
                texts[#texts + 1] = chunk.text
                chunk = stream()
              end
              local result = assert(stream:result())
              local was_seen = result.attempts[2].resume ~= nil
              unseen = unseen + (was_seen and 0 or 1)
              local text, expected = table.concat(texts), "echo: this is stream number " .. i
              if text ~= expected or result.text ~= expected or result.resumed ~= (was_seen and 1 or nil) then
                odd[#odd + 1] = { text, result.text, result.resumed, result.attempts }
              end
            end)
          end
        end)
        assert.same({}, odd)
        assert.equal(30, p:counters("b").requests)
        if transport.version == "2" then
          -- libcurl gives up what it reads together with a reset: a busy machine may see nothing of a stream, and then
          -- it begins anew
          assert.is_true(p:counters("a").requests <= 60)
        else
          assert.same({ 30, 0 }, { p:counters("a").requests, unseen })
        end
      end)

      it("what cannot be joined is cancelled at the provider, and told", function()
        p:profile("a", { stream = { cut_after = 3 }, answer = { chunks = 6 } })
        p:profile("b", { answer = { text = ("another answer "):rep(100), chunks = 1000 },
          stream = { chunk_delay = 0.02 } })
        connect(transport, { "a", "b" })
        local shown, result, err = read { resume = "restart" }
        assert.is_nil(result)
        assert.same({ "truncated", shown }, { err.kind, err.partial.text })
        assert.matches("not resumed: asked anew, the answer is another one after 0 of %d+ bytes$", err.message)
        surefoot.run(function() surefoot.sleep(0.02) end)
        assert.is_truthy(p:wait("b", function(c) return c.aborted == 1 end, 5 * pace))
      end)

      it("a refused beginning leads to an answer from the beginning", function()
        p:profile("a", { stream = { cut_after = 3 }, answer = { chunks = 6 } })
        p:profile("b", { sequence = { { status = { code = 400 } } }, answer = { chunks = 9 } })
        connect(transport, { "a", "b" })
        local shown, result, err = read { resume = "auto" }
        assert(result, err)
        assert.same({ TEXT, TEXT, 1 }, { shown, result.text, result.resumed })
        assert.same({ "truncated", "invalid_request", "ok" }, { result.attempts[1].kind, result.attempts[2].kind,
          result.attempts[3].kind })
      end)

      it("a reader that leaves while it goes on is noticed by the provider", function()
        p:profile("a", { stream = { cut_after = 1 }, answer = { bytes = 10000, chunks = 1000 } })
        p:profile("b", { answer = { bytes = 10000, chunks = 1000 }, stream = { chunk_delay = 0.02 } })
        connect(transport, { "a", "b" }, { resume = "continue" })
        local stream = assert(client:stream "x")
        assert(stream:read())
        assert(stream:read())
        stream:close()
        surefoot.run(function() surefoot.sleep(0.02) end)
        assert.is_truthy(p:wait("b", function(c) return c.aborted == 1 end, 5 * pace))
        assert.equal("cancelled", select(2, stream:result()).kind)
      end)
    end)
  end

  for _, row in ipairs { { "openai", "url" }, { "responses", "url" }, { "anthropic", "url" },
    { "gemini", "gemini_url" }, { "azure", "azure_url" } } do
    it("any line is asked anew, in the format " .. row[1], function()
      p:profile("a", { stream = { cut_after = 3 }, answer = { chunks = 6 } })
      p:profile("b", { answer = { chunks = 9 } })
      local endpoints = {}
      for i, name in ipairs { "a", "b" } do
        endpoints[i] = { name = name, url = p.lines[name][row[2]], provider = row[1], priority = i }
      end
      client = client_of { endpoints = endpoints, api_key = "sk-test-0123456789", model = "m", resume = "auto" }
      local shown, result, err = read()
      assert(result, err)
      assert.same({ TEXT, TEXT, 1, "restart" }, { shown, result.text, result.resumed, result.attempts[2].resume })
    end)
  end

  it("DeepSeek is asked below /beta", function()
    local head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    local function says(text, more)
      return 'data: {"choices":[{"index":0,"delta":{"content":"' .. text .. '"}' .. (more or "") .. "}]}\n\n"
    end
    local listener = p:raw {
      { { read_request = true }, { send = head .. says "One," }, { close = true } },
      { { read_request = true }, { send = head .. says(" two.", ',"finish_reason":"stop"') .. "data: [DONE]\n\n" },
        { close = true } },
    }
    client = client_of { preset = "deepseek", base_url = listener.url, api_key = "sk-test-0123456789",
      model = "deepseek-chat", resume = "continue", retry = { base_delay = 0.02 } }
    local shown, result, err = read()
    assert(result, err)
    assert.same({ "One, two.", "One, two." }, { shown, result.text })
    local requests = listener:counters().requests
    assert.matches("^POST /v1/chat/completions ", requests[1])
    assert.matches("^POST /beta/chat/completions ", requests[2])
    assert.matches('"prefix":true', requests[2])
    listener:close()
  end)

  it("waits before the only line is asked again, and lets others run meanwhile", function()
    p:profile("a", { sequence = { { stream = { cut_after = 2 }, answer = { chunks = 6 } } }, answer = { chunks = 6 } })
    connect(transports[1], { "a" }, { retry = { base_delay = 0.2, jitter = "none" } })
    local ticks, result, took = 0, nil, nil
    surefoot.run(function()
      local task = surefoot.spawn(function()
        local began = surefoot.now()
        result = select(2, read { resume = "continue" })
        took = surefoot.now() - began
      end)
      while not task:done() do
        surefoot.sleep(0.01)
        ticks = ticks + 1
      end
    end)
    assert.equal(TEXT, result.text)
    assert.is_true(took >= 0.2)
    assert.is_true(ticks >= 10)
  end)
end)
