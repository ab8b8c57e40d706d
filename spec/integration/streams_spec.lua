-- Streams from the simulated provider, over HTTP/1.1, TLS and HTTP/2: every fault of theirs, before and after something
-- was shown; back-pressure, reuse of connections, leaving; and nothing stays behind.

local pace = require "spec.support.pace"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local SHORT = 0.15 * pace -- the phase that a fault runs into

-- name, what `stream` of the line's profile says; then whole = true, or the kind of error after something was shown, or
-- early: nothing is shown by this line, which ends with that kind, and the second one is asked.
local faults = {
  { "pieces", {}, whole = true },
  { "one write", { burst = true }, whole = true },
  { "single bytes", { split = 1 }, whole = true },
  { "odd cuts", { split = 7, crlf = true }, whole = true },
  { "comments between events", { comments = true }, whole = true },
  { "no [DONE]", { no_done = true }, whole = true },
  { "a slow first token", { first_token_delay = 0.05 }, whole = true },
  { "a first token that is too slow", { first_token_delay = 30 }, timeout = { first_token = SHORT },
    early = "timeout" },
  { "an error before the first token", { error_after = 0 }, early = "server" },
  { "a broken event before the first token", { malformed_after = 0 }, early = "malformed" },
  { "a cut before the first token", { cut_after = 0 }, early = "truncated" },
  { "an end before the first token", { end_after = 0, no_finish = true, no_done = true }, early = "truncated" },
  { "a cut", { cut_after = 2 }, kind = "truncated" },
  { "a reset", { reset_after = 2 }, kind = "truncated" },
  { "an early end", { end_after = 2 }, kind = "truncated" },
  { "an error in-band", { error_after = 2 }, kind = "server" },
  { "a broken event", { malformed_after = 2 }, kind = "malformed" },
  { "a stall", { stall_after = 2 }, timeout = { idle = SHORT }, kind = "timeout" },
}

local transports = {
  { name = "HTTP/1.1", url = "url", version = "1.1" },
  { name = "TLS", url = "tls_url", version = "1.1" },
  { name = "HTTP/2", url = "tls_url", version = "2" },
}

describe("streams over", function()
  local p, client_of = scene.of { lines = { "a", "b" }, tls = true }
  local client

  local function connect(transport, lines, config)
    local endpoints = {}
    for i, name in ipairs(lines) do
      endpoints[i] = { name = name, url = p.lines[name][transport.url], priority = i }
    end
    local all = {
      endpoints = endpoints, api_key = "sk-test-0123456789", model = "m", tls = { ca_file = p.ca_file },
      http_version = transport.version, breaker = false,
    }
    for key, value in pairs(config or {}) do
      all[key] = value
    end
    client = client_of(all)
  end

  local function read(stream)
    local texts = {}
    local chunk = stream()
    while chunk do
      texts[#texts + 1] = chunk.text
      chunk = stream()
    end
    return table.concat(texts), stream:result()
  end

  for _, transport in ipairs(transports) do
    describe(transport.name .. ":", function()
      for _, row in ipairs(faults) do
        it(row[1], function()
          p:profile("a", { stream = row[2], answer = { chunks = 6 } })
          connect(transport, { "a", "b" })
          local options = { timeout = row.timeout, deadline = 20 * pace }
          local stream, err = client:stream("six pieces of text, please", options)
          local shown, result, failure = read(assert(stream, err))
          if row.kind then
            assert.is_nil(result)
            assert.equal(row.kind, failure.kind)
            assert.equal("a", failure.endpoint)
            assert.is_true(#shown > 0)
            assert.equal(shown, failure.partial.text)
            assert.equal(0, p:counters("b").requests)
            return
          end
          assert(result, failure)
          assert.equal("echo: six pieces of text, please", result.text)
          assert.equal(result.text, shown)
          assert.equal("stop", result.finish_reason)
          assert.is_false(result.usage.estimated)
          assert.equal(row.early and "b" or "a", result.endpoint)
          if row.early then
            assert.equal(row.early, result.attempts[1].kind)
          end
        end)
      end

      it("many at once, one connection after another", function()
        p:profile("a", { answer = { chunks = 20 }, stream = { chunk_delay = 0.002 } })
        connect(transport, { "a" })
        local good = 0
        surefoot.run(function()
          for i = 1, 40 do
            surefoot.spawn(function()
              local shown, result = read(assert(client:stream("number " .. i)))
              if result and shown == "echo: number " .. i and result.text == shown then
                good = good + 1
              end
            end)
          end
        end)
        assert.equal(40, good)
        for _ = 1, 10 do
          assert(client:stream "again"):result()
        end
        assert.is_true(p:counters("a").connections <= 41)
      end)

      it("a reader that leaves is noticed by the provider", function()
        p:profile("a", { answer = { chunks = 1000, bytes = 10000 }, stream = { chunk_delay = 0.02 } })
        connect(transport, { "a" })
        local stream = assert(client:stream "x")
        assert(stream:read())
        stream:close()
        surefoot.run(function() surefoot.sleep(0.02) end)
        assert.is_truthy(p:wait("a", function(c) return c.aborted == 1 end, 5 * pace))
        assert(client:stream "x")
        collectgarbage()
        collectgarbage()
        surefoot.run(function() surefoot.sleep(0.02) end)
        assert.is_truthy(p:wait("a", function(c) return c.aborted == 2 end, 5 * pace))
      end)
    end)
  end

  it("a slow reader: the provider is held up, memory is bounded, nothing is lost", function()
    p:profile("a", { answer = { bytes = 20e6, chunks = 20000 } })
    connect(transports[1], { "a" }, { limits = { stream_buffer_bytes = 1024 } })
    local stream = assert(client:stream "x")
    for _ = 1, 5 do
      assert(stream:read())
    end
    surefoot.run(function() surefoot.sleep(0.2) end)
    assert.equal(1, p:counters("a").in_flight)
    assert.equal(20000000, #assert(stream:result()).text)
  end)

  it("a slow reader where a stream cannot be paused alone", function()
    p:profile("a", { answer = { bytes = 20e6, chunks = 20000 } })
    connect(transports[3], { "a" }, { limits = { stream_buffer_bytes = 200000 } })
    local stream = assert(client:stream "x")
    surefoot.run(function() surefoot.sleep(0.5 * pace) end)
    local result, err = stream:result()
    if result then -- libcurl 8.6 and later can
      assert.equal(20000000, #result.text)
    else
      assert.equal("too_large", err.kind)
      assert.matches("stream_buffer_bytes", err.message)
    end
  end)
end)
