-- Every fault that the provider can make, over HTTP/1.1, TLS and HTTP/2: the right answer or the right error, in time,
-- from one line, from one line that recovers, and with a second line to go to; and nothing stays behind.

local pace = require "spec.support.pace"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local major = require("surefoot.core").libcurl:match "^libcurl/(%d+)"
local passes = tonumber(major) >= 8 -- what has come of a broken HTTP/2 answer

local SHORT = 0.08 * pace -- the phase that a fault runs into

-- name, the line's profile, timeouts; then either answers = true, or kind and phase.
-- final: another attempt would be no better, so none is made.
local faults = {
  { "a delay before the headers", { delay = 0.03 }, answers = true },
  { "a delay before the first byte", { first_byte_delay = 0.03 }, answers = true },
  { "a body in small pieces", { trickle = { bytes = 40, every = 0.004 } }, answers = true },
  { "a chunked body", { answer = { chunked = true } }, answers = true },
  { "a gzipped body", { answer = { gzip = true } }, answers = true },
  { "a gzipped, chunked body", { answer = { gzip = true, chunked = true } }, answers = true },
  { "silence", { fault = "hang" }, timeout = { first_byte = SHORT }, kind = "timeout", phase = "first_byte" },
  { "silence, bounded as an attempt", { fault = "hang" }, timeout = { attempt = SHORT }, kind = "timeout",
    phase = "attempt" },
  { "silence after the headers", { first_byte_delay = 30 }, timeout = { first_byte = SHORT }, kind = "timeout",
    phase = "first_byte" },
  { "silence after half of the body", { fault = "stall" }, timeout = { idle = SHORT }, kind = "timeout",
    phase = "idle" },
  { "a body that trickles on and on", { trickle = { bytes = 1, every = 0.02 } },
    timeout = { attempt = SHORT, idle = SHORT }, kind = "timeout", phase = "attempt" },
  { "a reset without a byte", { fault = "reset" }, kind = "network", phase = "first_byte" },
  { "a close without a byte", { fault = "close" }, kind = "network", phase = "first_byte" },
  { "a close half-way", { fault = "truncate" }, kind = "truncated", phase = "idle" },
  { "a close half-way, gzipped", { fault = "truncate", answer = { gzip = true } }, kind = "truncated" },
  { "a close half-way, chunked", { fault = "truncate", answer = { chunked = true } }, kind = "truncated" },
  { "a reset half-way", { fault = "reset_midway" }, kind = "truncated", phase = "idle" },
  { "a whole frame with half a document", { fault = "short_json" }, kind = "truncated" },
  { "a document that is no JSON", { fault = "malformed" }, kind = "malformed" },
  { "a proxy's page with 200", { fault = "html" }, kind = "malformed" },
  { "an empty body with 200", { fault = "empty" }, kind = "malformed" },
  { "an error with 200", { fault = "error_200" }, kind = "server" },
  { "a wrong length", { fault = "wrong_length" }, kind = "truncated",
    h2 = not passes and { kind = "network", phase = "first_byte" } },
  { "a body without end", { fault = "huge" }, kind = "too_large", final = true },
}

local transports = {
  { name = "HTTP/1.1", url = "url", version = "1.1" },
  { name = "TLS", url = "tls_url", version = "1.1" },
  { name = "HTTP/2", url = "tls_url", version = "2", h2 = true },
}

local function with(row, more)
  for key, value in pairs(more or {}) do
    row[key] = value
  end
  return row
end

describe("over", function()
  local p, client_of = scene.of { lines = { "a", "b" }, tls = true }
  local client

  -- The slot of the one attempt at a time is free again when another call gets it at once.
  local function goes_on()
    p:reset()
    local breakers = {}
    for name, line in pairs(client:stats().endpoints) do
      breakers[name] = line.breaker
    end
    local result = assert(client:chat("once more", { deadline = 5 * pace }))
    assert.equal("echo: once more", result.text)
    assert.same({ a = "closed", b = breakers.b and "closed" }, breakers)
  end

  local function connect(transport, lines, config)
    local endpoints = {}
    for i, name in ipairs(lines) do
      endpoints[i] = { name = name, url = p.lines[name][transport.url], priority = i }
    end
    client = client_of(with({
      endpoints = endpoints, api_key = "sk-test-0123456789", model = "m", tls = { ca_file = p.ca_file },
      http_version = transport.version, concurrency = { limit = 1, queue = 0 }, limits = { response_bytes = 2 ^ 20 },
    }, config))
  end

  local function ask(row)
    local began = surefoot.now()
    local result, err = client:chat("ping " .. row[1], { timeout = row.timeout, deadline = 10 * pace })
    return result, err, surefoot.now() - began
  end

  for _, transport in ipairs(transports) do
    describe(transport.name .. ",", function()
      after_each(goes_on)

      for _, row in ipairs(faults) do
        local expected = transport.h2 and row.h2 or row

        it(row[1] .. ": one attempt", function()
          p:profile("a", row[2])
          connect(transport, { "a" }, { retry = { max_attempts = 1 } })
          local result, err, seconds = ask(row)
          if row.answers then
            assert.equal("echo: ping " .. row[1], result and result.text or tostring(err))
            assert.equal("a", result.body.system_fingerprint)
          else
            assert.is_nil(result)
            assert.equal(expected.kind, err.kind, tostring(err))
            assert.equal(expected.phase or err.phase, err.phase, tostring(err))
            assert.is_true(err.sent)
            assert.equal("a", err.endpoint)
            assert.equal(expected.kind, err.attempts[1].kind)
            assert.is_true(seconds < 2 * pace, "took " .. seconds)
            assert.is_true(not row.timeout or seconds >= SHORT * 0.99, "took " .. seconds)
          end
          assert.equal(1, p:counters("a").requests)
        end)

        if not row.answers then
          it(row[1] .. ": the line recovers", function()
            p:profile("a", { sequence = { row[2] } })
            connect(transport, { "a" }, { retry = { base_delay = 0.001, max_delay = 0.001 } })
            local result, err = ask(row)
            if row.final then
              assert.equal(expected.kind, err.kind)
              return assert.equal(1, p:counters("a").requests)
            end
            assert.equal("echo: ping " .. row[1], result and result.text or tostring(err))
            assert.same({ expected.kind, "ok" }, { result.attempts[1].kind, result.attempts[2].kind })
            local counters = p:counters "a"
            assert.equal(2, counters.requests)
            assert.equal(counters.request_ids[1], counters.request_ids[2])
            assert.equal(counters.idempotency_keys[1], counters.idempotency_keys[2])
          end)

          it(row[1] .. ": another line answers", function()
            p:profile("a", row[2])
            connect(transport, { "a", "b" }, { retry = { base_delay = 30 } })
            local result, err, seconds = ask(row)
            if row.final then
              assert.equal(expected.kind, err.kind)
              return assert.equal(0, p:counters("b").requests)
            end
            assert.equal("echo: ping " .. row[1], result and result.text or tostring(err))
            assert.equal("b", result.endpoint)
            assert.equal("b", result.body.system_fingerprint)
            assert.same({ 1, 1 }, { p:counters("a").requests, p:counters("b").requests })
            assert.equal(p:counters("a").request_ids[1], p:counters("b").request_ids[1])
            assert.equal(p:counters("a").idempotency_keys[1], p:counters("b").idempotency_keys[1])
            assert.is_true(seconds < 2 * pace, "took " .. seconds)
          end)
        end
      end
    end)
  end
end)
