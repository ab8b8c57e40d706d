-- The simulated provider is itself tried: each fault is seen from outside, by a client that tells how an answer ended.

local cjson = require "cjson.safe"
local http = require "spec.support.http"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"

local p

local function ask(line, request, headers, timeout)
  local path = "/chat/completions"
  request = request or {}
  if request.path then
    path, request.path = request.path, nil
  end
  request.model = request.model or "sim-large"
  request.messages = request.messages or { { role = "user", content = "ping 42" } }
  return http.request {
    url = p.lines[line].url .. path, body = cjson.encode(request), headers = headers, timeout = timeout or 5,
  }
end

local function said(response)
  return cjson.decode(response.body).choices[1].message.content
end

-- The events of a stream as { name, data } and the text that they add up to.
local function events_of(response)
  local events, parts = {}, {}
  for block in (response.body:gsub("\r\n", "\n")):gmatch "(.-)\n\n" do
    local data = block:match "data: ?(.*)$"
    if data then
      local value = data ~= "[DONE]" and cjson.decode(data) or nil
      events[#events + 1] = { name = block:match "event: ?([^\n]+)", data = data, value = value }
      local delta = value and value.choices and value.choices[1] and value.choices[1].delta or value and value.delta
      local text = delta and (delta.content or delta.text)
      parts[#parts + 1] = text ~= cjson.null and text or nil
    end
  end
  return events, table.concat(parts)
end

local function curl(options)
  local words = { "curl", "-sS", "--max-time", "5" }
  for _, word in ipairs(options) do
    words[#words + 1] = word
  end
  return process.capture(process.command(words) .. " 2>&1")
end

describe("the simulated provider #once", function()
  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
  end)

  teardown(function()
    local errors = p:errors()
    p:stop()
    assert.same({}, errors)
  end)

  before_each(function()
    p:reset()
  end)

  describe("answers", function()
    it("echoes the last user message, says which line answered and what it cost", function()
      local response = ask("b", { messages = {
        { role = "system", content = "be brief" },
        { role = "user", content = { { type = "text", text = "ping " }, { type = "text", text = "42" } } },
      } })
      local body = cjson.decode(response.body)
      assert.equal(200, response.status)
      assert.equal("echo: ping 42", body.choices[1].message.content)
      assert.equal("stop", body.choices[1].finish_reason)
      assert.equal("b", body.system_fingerprint)
      assert.same({ prompt_tokens = 4, completion_tokens = 4, total_tokens = 8 }, body.usage)
      assert.matches("^req_b_%d+$", response.headers["x-request-id"])
    end)

    it("streams the same answer, with usage when asked for", function()
      local response = ask("a", { stream = true, stream_options = { include_usage = true } })
      local events, text = events_of(response)
      assert.equal("chunked", response.ended)
      assert.matches("^text/event%-stream", response.headers["content-type"])
      assert.equal("echo: ping 42", text)
      assert.equal("assistant", events[1].value.choices[1].delta.role)
      assert.equal("stop", events[#events - 2].value.choices[1].finish_reason)
      assert.matches('"choices":%[%]', events[#events - 1].data)
      assert.equal(4, events[#events - 1].value.usage.completion_tokens)
      assert.equal("[DONE]", events[#events].data)
    end)

    it("speaks Anthropic's messages, whole and streamed", function()
      local response = ask("a", { path = "/messages", max_tokens = 100 })
      local body = cjson.decode(response.body)
      assert.equal("echo: ping 42", body.content[1].text)
      assert.equal("end_turn", body.stop_reason)
      local events, text = events_of(ask("a", { path = "/messages", max_tokens = 100, stream = true }))
      local names = {}
      for i, event in ipairs(events) do
        names[i] = event.name
        assert.equal(event.name, event.value.type)
      end
      assert.equal("echo: ping 42", text)
      assert.equal("message_start content_block_start ping content_block_delta", table.concat(names, " ", 1, 4))
      assert.equal("content_block_stop message_delta message_stop", table.concat(names, " ", #names - 2))
    end)

    it("stops at max_tokens and goes on where an assistant's turn ends", function()
      local first = cjson.decode(ask("a", { max_tokens = 2 }).body).choices[1]
      assert.equal("length", first.finish_reason)
      assert.equal("echo: pi", first.message.content)
      local rest = ask("a", { messages = {
        { role = "user", content = "ping 42" }, { role = "assistant", content = "echo: pi" },
      } })
      assert.equal("ng 42", said(rest))
    end)

    it("calls the tool that the user names", function()
      local tools = { { type = "function", ["function"] = { name = "weather" } } }
      local request = { tools = tools, messages = { { role = "user", content = "call tool weather" } } }
      local choice = cjson.decode(ask("a", request).body).choices[1]
      assert.equal("tool_calls", choice.finish_reason)
      assert.equal("weather", choice.message.tool_calls[1]["function"].name)
      request.stream = true
      local arguments = {}
      for _, event in ipairs((events_of(ask("a", request)))) do
        local delta = event.value and event.value.choices[1].delta
        arguments[#arguments + 1] = delta and delta.tool_calls and delta.tool_calls[1]["function"].arguments
      end
      assert.same({ echo = "call tool weather" }, cjson.decode(table.concat(arguments)))
    end)

    it("lists models and makes the same vector of the same text", function()
      local models = cjson.decode(http.request(p.lines.a.url .. "/models").body)
      assert.equal("sim-large", models.data[1].id)
      local body = cjson.encode { model = "sim-embed", input = { "one", "two" }, dimensions = 4 }
      local one = http.request { url = p.lines.a.url .. "/embeddings", body = body }
      local two = http.request { url = p.lines.b.url .. "/embeddings", body = body }
      local vectors = cjson.decode(one.body).data
      assert.equal(4, #vectors[2].embedding)
      assert.same(vectors, cjson.decode(two.body).data)
      assert.are_not.same(vectors[1].embedding, vectors[2].embedding)
    end)

    it("refuses what a provider refuses", function()
      p:profile("a", { keys = { "sk-good" }, models = { "sim-large" }, bad_keys = { ["sk-empty"] = { code = 402 } } })
      local wrong = ask("a", nil, { Authorization = "Bearer sk-wrong" })
      assert.equal(401, wrong.status)
      assert.equal("invalid_api_key", cjson.decode(wrong.body).error.code)
      assert.equal(401, ask("a").status)
      assert.equal(402, ask("a", nil, { Authorization = "Bearer sk-empty" }).status)
      assert.equal(200, ask("a", nil, { Authorization = "Bearer sk-good" }).status)
      assert.equal(404, ask("a", { model = "other" }, { ["x-api-key"] = "sk-good" }).status)
      assert.equal(404, http.request(p.lines.b.url .. "/nothing").status)
      assert.equal(400, http.request { url = p.lines.b.url .. "/chat/completions", body = "{" }.status)
    end)

    it("is as long as asked for, gzipped when asked for", function()
      p:profile("a", { answer = { bytes = 300000 } })
      local text = said(ask("a"))
      assert.equal(300000, #text)
      assert.matches("^echo: ping 42 .* %[end%]$", text)
      p:profile("a", { answer = { bytes = 300000, gzip = true } })
      local response = ask("a")
      assert.equal("gzip", response.headers["content-encoding"])
      assert.is_true(#response.body < 10000)
      local unpacked, code = curl { "--compressed", "-d", '{"messages":[{"role":"user","content":"ping 42"}]}',
        p.lines.a.url .. "/chat/completions" }
      assert.equal(0, code)
      assert.equal(text, said { body = unpacked })
    end)
  end)

  describe("faults", function()
    local function broken(fault, request, timeout)
      p:profile("a", { fault = fault })
      return ask("a", request, nil, timeout)
    end

    it("resets and closes without a word, and the two differ", function()
      assert.equal("reset", select(2, broken "reset"))
      assert.equal("cut", select(2, broken "close"))
      assert.same({ reset = 1, close = 1 }, p:counters("a").faults)
      assert.same({}, p:counters("a").status)
    end)

    it("cuts and resets a body that was promised longer", function()
      local cut = broken "truncate"
      assert.equal("cut", cut.ended)
      assert.is_true(#cut.body < tonumber(cut.headers["content-length"]))
      assert.equal("reset", broken("reset_midway").ended)
    end)

    it("hangs until the client leaves, and knows that it left", function()
      assert.equal("timeout", select(2, broken("hang", nil, 0.1)))
      assert.is_table(p:wait("a", function(counters)
        return counters.aborted == 1 and counters.in_flight == 0
      end))
      assert.equal("timeout", broken("stall", nil, 0.1).ended)
      assert.is_table(p:wait("a", function(counters)
        return counters.aborted == 2
      end))
    end)

    it("sends JSON that is short or wrong, in a whole frame", function()
      for _, fault in ipairs { "short_json", "malformed" } do
        local response = broken(fault)
        assert.equal("length", response.ended)
        assert.is_nil(cjson.decode(response.body))
      end
    end)

    it("sends a page, nothing, an error as a success, a wrong length", function()
      local page = broken "html"
      assert.equal("text/html", page.headers["content-type"])
      assert.equal(200, page.status)
      assert.matches("^<!DOCTYPE html>", page.body)
      assert.equal("", broken("empty").body)
      assert.equal("Overloaded", cjson.decode(broken("error_200").body).error.message)
      assert.equal("extra", broken("wrong_length").ended)
    end)

    it("sends without end", function()
      p:profile("a", { fault = "huge", answer = { huge_bytes = 3000000 } })
      local response = ask "a"
      assert.equal("chunked", response.ended)
      assert.equal(3000000, #cjson.decode(response.body).id)
    end)

    it("answers any status with any body and headers", function()
      local headers = { ["Content-Type"] = "text/plain", ["X-A"] = "b" }
      p:profile("a", { status = { code = 529, body = "busy", headers = headers } })
      local response = ask "a"
      assert.equal(529, response.status)
      assert.equal("busy", response.body)
      assert.equal("text/plain", response.headers["content-type"])
      assert.equal("b", response.headers["x-a"])
      p:profile("a", { status = { code = 503 } })
      local error_body = cjson.decode(ask("a", { path = "/messages", max_tokens = 1 }).body)
      assert.equal("api_error", error_body.error.type)
      assert.same({ ["529"] = 1, ["503"] = 1 }, p:counters("a").status)
    end)

    it("plays a sequence once, then the rest of the profile", function()
      local sequence = { { status = { code = 503 } }, { fault = "close" }, {} }
      p:profile("a", { answer = { text = "well" }, sequence = sequence })
      assert.equal(503, ask("a").status)
      assert.equal("cut", select(2, ask "a"))
      assert.equal("echo: ping 42", said(ask "a"))
      assert.equal("well", said(ask "a"))
      assert.equal("well", said(ask "a"))
    end)

    it("treats models differently when told to", function()
      p:profile("a", { by_model = { big = { status = { code = 529 } } } })
      assert.equal(529, ask("a", { model = "big" }).status)
      assert.equal(200, ask("a", { model = "small" }).status)
    end)

    it("refuses a profile with a field that it does not know", function()
      assert.has_error(function()
        p:profile("a", { fautl = "hang" })
      end)
      assert.has_error(function()
        p:profile("a", { sequence = { { faults = { hagn = 1 } } } })
      end)
    end)
  end)

  describe("streams", function()
    local function stream(settings, timeout)
      p:profile("a", { stream = settings, answer = { chunks = 6 } })
      local response = ask("a", { stream = true }, nil, timeout)
      return response, events_of(response)
    end

    it("are cut, reset, stalled or ended after n pieces", function()
      local whole = select(3, stream {})
      local cut, _, text = stream { cut_after = 3 }
      assert.equal("cut", cut.ended)
      assert.equal(whole:sub(1, #text), text)
      assert.is_true(#text > 0 and #text < #whole)
      assert.equal("reset", (stream { reset_after = 3 }).ended)
      assert.equal("timeout", (stream({ stall_after = 3 }, 0.1)).ended)
      local ended, _, same = stream { end_after = 3 }
      assert.equal("chunked", ended.ended)
      assert.equal(text, same)
      assert.equal("", (select(3, stream { cut_after = 0 })))
    end)

    it("go wrong inside", function()
      local _, events = stream { error_after = 2 }
      assert.equal("Overloaded", events[#events].value.error.message)
      local response, broken = stream { malformed_after = 2 }
      assert.equal("chunked", response.ended)
      assert.equal("[DONE]", broken[#broken].data)
      local bad = 0
      for i = 1, #broken - 1 do
        bad = bad + (broken[i].value and 0 or 1)
      end
      assert.equal(1, bad)
      local _, undone, text = stream { no_done = true, no_finish = true }
      assert.equal("echo: ping 42", text)
      assert.equal(cjson.null, undone[#undone].value.choices[1].finish_reason)
    end)

    it("come in pieces, with CRLF and comments", function()
      local response, _, text = stream { split = 7, crlf = true, comments = true }
      assert.matches(": ping\r\n\r\ndata: ", response.body)
      assert.equal("echo: ping 42", text)
    end)

    it("keep the first token waiting, and the others", function()
      local response = stream { first_token_delay = 0.1, chunk_delay = 0.02 }
      assert.is_true(response.seconds >= 0.1 + 5 * 0.02 - 0.02)
    end)

    it("end early by the faults of chance, too", function()
      p:profile("a", { fault = "truncate" })
      local response = ask("a", { stream = true })
      assert.equal("cut", response.ended)
      assert.is_true(#select(2, events_of(response)) > 0)
    end)
  end)

  describe("time", function()
    it("waits before the headers, before the body, and between bytes", function()
      p:profile("a", { delay = 0.1 })
      assert.is_true(ask("a").seconds >= 0.09)
      p:profile("a", { first_byte_delay = 0.2 })
      local late = ask "a"
      assert.equal(#late.head + 4, late.arrivals[1].bytes)
      assert.is_true(late.seconds >= 0.19)
      p:profile("a", { trickle = { bytes = 50, every = 0.01 } })
      local slow = ask "a"
      assert.equal("length", slow.ended)
      assert.is_true(slow.seconds >= math.floor(#slow.body / 50) * 0.009)
    end)

    it("draws latencies and faults as the calibrated table says", function()
      local program = [[
        package.path = "spec/provider/?.lua;" .. package.path
        local draw, presets, profile = require "sim.draw", require "sim.presets", require "sim.profile"
        for _, name in ipairs { "overseas", "regional" } do
          local all, sum = {}, 0
          for n = 1, 100000 do
            all[n] = draw.latency(presets[name].latency, 7, n)
            sum = sum + all[n]
          end
          table.sort(all)
          print(sum / #all, all[#all / 2], all[#all * 0.99])
        end
        local faults, seen = profile.compile(profile.expand { preset = "overseas" }).fault_table, {}
        for n = 1, 100000 do
          local name, code = draw.fault(faults, 7, n)
          name = code or name or "none"
          seen[name] = (seen[name] or 0) + 1
        end
        print(seen.hang / 1e5, seen.reset / 1e5, seen[503] / 1e5, seen.none / 1e5)
      ]]
      local output, code = process.capture { "luajit", "-e", program }
      assert.equal(0, code)
      local values = {}
      for value in output:gmatch "%S+" do
        values[#values + 1] = tonumber(value)
      end
      for i, expected in ipairs { 0.4825, 0.3672, 2.310, 0.0408, 0.0365, 0.1214, 0.082, 0.009, 0.010, 0.873 } do
        assert.is_true(math.abs(values[i] / expected - 1) < 0.06, ("%d: %g, not %g"):format(i, values[i], expected))
      end
    end)

    it("meets the same chance again from the same seed", function()
      local function outcomes(seed)
        p:profile("a", { preset = "overseas", scale = 0.0001, seed = seed, hang_for = 0 })
        local list = {}
        for i = 1, 120 do
          local response, err = ask "a"
          list[i] = response and response.status .. response.ended .. #response.body:gsub("%d+", "") or err
        end
        return table.concat(list, " ")
      end
      local first = outcomes(3)
      assert.equal(first, outcomes(3))
      assert.are_not.equal(first, outcomes(4))
      assert.is_true(p:counters("a").faults.hang > 0)
    end)
  end)

  describe("limits", function()
    it("lets the burst pass and says when to come again, in any form", function()
      local forms = {
        seconds = { "retry-after", "^%d+$" }, fraction = { "retry-after", "^%d+%.%d+$" },
        ms = { "retry-after-ms", "^%d+$" }, ["x-ms"] = { "x-ms-retry-after-ms", "^%d+$" },
        date = { "retry-after", "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$" },
        rfc850 = { "retry-after", "^%a+day, %d%d%-%a%a%a%-%d%d %d%d:%d%d:%d%d GMT$" },
        asctime = { "retry-after", "^%a%a%a %a%a%a [ %d]%d %d%d:%d%d:%d%d %d%d%d%d$" },
        soon = { "retry-after", "^soon$" },
      }
      for form, expected in pairs(forms) do
        p:profile("a", { rate = { per_second = 0.1, burst = 2, retry_after = form } })
        assert.equal(200, ask("a").status)
        assert.equal(200, ask("a").status)
        local response = ask "a"
        assert.equal(429, response.status)
        assert.matches(expected[2], response.headers[expected[1]] or form .. ": no header")
      end
      p:profile("a", { rate = { per_second = 0.1, burst = 0, retry_after = "body", wait = 1.5 } })
      local response = ask "a"
      assert.is_nil(response.headers["retry-after"])
      assert.matches("try again in 1%.500s", response.body)
    end)

    it("refills the bucket, and slides the window", function()
      p:profile("a", { rate = { per_second = 20, burst = 1 } })
      assert.equal(200, ask("a").status)
      assert.is_true(process.wait_for(function()
        return ask("a").status == 200
      end))
      p:profile("b", { rate = { per_second = 20, window = 0.2, retry_after = "ms" } })
      local passed, wait = 0
      repeat
        local response = ask "b"
        passed = passed + (response.status == 200 and 1 or 0)
        wait = tonumber(response.headers["retry-after-ms"])
      until wait
      assert.equal(4, passed)
      assert.is_true(wait > 0 and wait <= 200)
      assert.is_true(process.wait_for(function()
        return ask("b").status == 200
      end))
    end)

    it("tells what is left, as either provider does", function()
      p:profile("a", { rate = { per_second = 5, tokens_per_minute = 6000, ratelimit_headers = true } })
      local headers = ask("a", { max_tokens = 1000 }).headers
      assert.equal("5", headers["x-ratelimit-limit-requests"])
      assert.equal("4", headers["x-ratelimit-remaining-requests"])
      assert.equal("6000", headers["x-ratelimit-limit-tokens"])
      assert.is_true(tonumber(headers["x-ratelimit-remaining-tokens"]) < 5000)
      assert.matches("^%d+m?s$", headers["x-ratelimit-reset-requests"])
      headers = ask("a", { path = "/messages", max_tokens = 10 }).headers
      assert.equal("5", headers["anthropic-ratelimit-requests-limit"])
      assert.matches("^%d+%-%d+%-%d+T%d+:%d+:%d+Z$", headers["anthropic-ratelimit-tokens-reset"])
      assert.equal(429, ask("a", { max_tokens = 100000 }).status)
    end)

    it("tells what is left of a window, and when all of it will be", function()
      p:profile("a", { rate = { per_second = 3, window = 1, ratelimit_headers = true } })
      local told = {}
      for i = 1, 4 do
        local headers = ask("a").headers
        assert.equal("3", headers["x-ratelimit-limit-requests"])
        told[i] = headers["x-ratelimit-remaining-requests"]
        local reset = headers["x-ratelimit-reset-requests"]
        local milliseconds = tonumber(reset:match "^(%d+)ms$") or 1000 * tonumber(reset:match "^([%d.]+)s$")
        assert.is_true(milliseconds > 500 and milliseconds <= 1000, reset)
      end
      assert.same({ "2", "1", "0", "0" }, told)
      socket.sleep(1.01)
      assert.equal("2", ask("a").headers["x-ratelimit-remaining-requests"])
    end)
  end)

  describe("counters", function()
    it("keep ids, keys, headers, the body, connections and how many at once", function()
      local url = p.lines.a.url .. "/chat/completions"
      local host, port = http.split(url)
      local connection = assert(http.connect(host, port))
      for i = 1, 2 do
        connection:send(http.format { url = url, body = '{"messages":[]}', headers = {
          ["X-Request-ID"] = "id-" .. i, ["Idempotency-Key"] = "key-" .. i, Authorization = "Bearer sk-1",
        } })
        assert.equal(200, connection:response().status)
      end
      connection:close()
      local counters = p:counters "a"
      assert.equal(2, counters.requests)
      assert.equal(1, counters.connections)
      assert.equal(0, counters.in_flight)
      assert.equal(1, counters.peak)
      assert.same({ "id-1", "id-2" }, counters.request_ids)
      assert.same({ "key-1", "key-2" }, counters.idempotency_keys)
      assert.same({ ["sk-1"] = 2 }, counters.keys)
      assert.equal("Bearer sk-1", counters.last_headers.authorization)
      assert.equal('{"messages":[]}', counters.last_body)
      assert.same({ ["200"] = 2 }, counters.status)
      assert.is_true(counters.bytes_in > 300 and counters.bytes_out > 300)
      assert.equal(0, p:counters("b").requests)
    end)

    it("remember the last thousand only, and forget at a reset", function()
      local url = p.lines.b.url .. "/models"
      local host, port = http.split(url)
      local connection = assert(http.connect(host, port))
      for i = 1, 1010 do
        connection:send(http.format { url = url, headers = { ["X-Request-ID"] = tostring(i) } })
        assert.equal(200, connection:response().status)
      end
      connection:close()
      local ids = p:counters("b").request_ids
      assert.equal(1000, #ids)
      assert.equal("11", ids[1])
      assert.equal("1010", ids[1000])
      p:reset()
      assert.equal(0, p:counters("b").requests)
      assert.same({}, p:counters("b").request_ids)
    end)

    it("do not count a request that began before the reset", function()
      p:profile("a", { fault = "hang" })
      local host, port = http.split(p.lines.a.url)
      local connection = assert(http.connect(host, port))
      connection:send(http.format { url = p.lines.a.url .. "/models" })
      assert.is_table(p:wait("a", function(counters)
        return counters.in_flight == 1
      end))
      p:reset "a"
      connection:close()
      assert.equal(200, ask("a").status)
      assert.is_table(p:wait("a", function(counters)
        return counters.requests == 1 and counters.in_flight == 0 and counters.aborted == 0
      end))
    end)
  end)

  describe("TLS and HTTP/2", function()
    local has_curl = process.which "curl"
    local version = has_curl and process.capture { "curl", "--version" } or ""
    local function curl_it(name, test)
      if version:find "HTTP2" then
        return it(name, test)
      end
      pending(name .. ": skipped, no curl with HTTP/2 here")
    end

    local body = '{"messages":[{"role":"user","content":"over tls"}]}'
    local function over_tls(options)
      options[#options + 1] = "--cacert"
      options[#options + 1] = p.ca_file
      options[#options + 1] = p.lines.a.tls_url .. "/chat/completions"
      return curl(options)
    end

    curl_it("serve both protocols under the provider's own CA", function()
      for protocol, option in pairs { ["2"] = "--http2", ["1.1"] = "--http1.1" } do
        local output = over_tls { option, "-d", body, "-w", "\n%{http_version}" }
        assert.equal("echo: over tls", said { body = output:match "^[^\n]+" })
        assert.matches("\n" .. protocol:gsub("%.", "%%.") .. "$", output)
        assert.equal(body, p:counters("a").last_body)
      end
      local _, code = curl { p.lines.a.tls_url .. "/models" }
      assert.equal(60, code)
    end)

    curl_it("stream, fail and notice who leaves over HTTP/2 too", function()
      local output = over_tls { "--http2", "-d", body:gsub("^{", '{"stream":true,', 1) }
      assert.equal("echo: over tls", (select(2, events_of { body = output })))
      p:profile("a", { fault = "reset" })
      assert.equal(92, (select(2, over_tls { "--http2", "-d", body })))
      p:profile("a", { fault = "truncate" })
      assert.equal(92, (select(2, over_tls { "--http2", "-d", body })))
      p:profile("a", { fault = "hang" })
      assert.equal(28, (select(2, over_tls { "--http2", "-d", body, "--max-time", "0.3" })))
      assert.is_table(p:wait("a", function(counters)
        return counters.aborted == 1 and counters.last_headers["content-type"]
      end))
    end)
  end)
end)
