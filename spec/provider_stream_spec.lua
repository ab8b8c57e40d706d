-- The faults and the paces of the simulated provider's streams, whatever the format.

local cjson = require "cjson.safe"
local http = require "spec.support.http"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"

local MEBIBYTE = 1024 * 1024

local p, line

local MESSAGES = { { role = "user", content = "ping 42" } }
local PATHS = { openai = "/chat/completions", anthropic = "/messages", responses = "/responses" }

local function url_of(api)
  if api == "gemini" then
    return line.gemini_url .. "/models/m:streamGenerateContent?alt=sse"
  end
  return line.url .. PATHS[api]
end

local function request_of(api)
  local request = { model = "m", stream = true, messages = MESSAGES, max_tokens = api == "anthropic" and 1e9 or nil }
  if api == "gemini" then
    request = { contents = { { parts = { { text = "ping 42" } } } } }
  elseif api == "responses" then
    request = { model = "m", stream = true, input = MESSAGES }
  end
  return request
end

-- Streams with these settings: the response and its events.
local function stream(settings, api, answer, timeout)
  p:profile("a", { stream = settings, answer = answer or { chunks = 4 } })
  api = api or "openai"
  local response = assert(http.request {
    url = url_of(api), body = cjson.encode(request_of(api)), timeout = timeout or 5,
  })
  return response, provider.events(response.body)
end

local function text_of(events)
  local parts = {}
  for _, event in ipairs(events) do
    local choice = event.value and event.value.choices and event.value.choices[1]
    parts[#parts + 1] = choice and choice.delta.content
  end
  return table.concat(parts)
end

local function finishes(events)
  local count = 0
  for _, event in ipairs(events) do
    local choice = event.value and event.value.choices and event.value.choices[1]
    count = count + (choice and choice.finish_reason ~= cjson.null and 1 or 0)
  end
  return count
end

-- Kilobytes that the worker has ever held.
local function peak()
  local children = process.read(("/proc/%d/task/%d/children"):format(p.pid, p.pid))
  return tonumber(process.read("/proc/" .. children:match "%d+" .. "/status"):match "VmHWM:%s*(%d+)")
end

describe("streams of the simulated provider #once", function()
  setup(function()
    p = provider.start { lines = { "a" }, tls = true, send_buffer = 65536 }
    line = p.lines.a
  end)

  teardown(function()
    local errors = p:errors()
    p:stop()
    assert.same({}, errors)
  end)

  before_each(function()
    p:reset()
  end)

  describe("wait", function()
    it("for the first token only after headers and start-up events", function()
      for api, first in pairs {
        openai = "assistant", anthropic = "message_start", responses = "content_part.added", gemini = "HTTP/1.1 200 OK",
      } do
        p:profile("a", { stream = { first_token_delay = 0.4 }, answer = { chunks = 2 } })
        local host, port, path = http.split(url_of(api))
        local connection = assert(http.connect(host, port))
        local began = socket.gettime()
        connection:send(http.format { url = ("http://%s:%d%s"):format(host, port, path),
          body = cjson.encode(request_of(api)) })
        while not connection.buffer:find(first, 1, true) do
          assert(connection:fill())
        end
        assert.is_true(socket.gettime() - began < 0.3, api)
        assert.is_nil(connection.buffer:find("echo", 1, true), api)
        assert.equal("chunked", connection:response().ended)
        assert.is_true(socket.gettime() - began >= 0.39, api)
        connection:close()
      end
    end)

    it("not in silence when told to ping", function()
      local response = stream { first_token_delay = 0.15, pings = 0.04 }
      assert.equal(3, select(2, response.body:gsub(": ping\n\n", "")))
      local _, events = stream({ first_token_delay = 0.15, pings = 0.04 }, "anthropic")
      local pings = 0
      for _, event in ipairs(events) do
        pings = pings + (event.name == "ping" and 1 or 0)
      end
      assert.equal(1 + 3, pings)
      response = stream({ stall_after = 1, pings = 0.04 }, "openai", nil, 0.3)
      assert.equal("timeout", response.ended)
      assert.is_true(select(2, response.body:gsub(": ping\n\n", "")) >= 2)
    end)
  end)

  describe("end", function()
    it("twice, without [DONE], without finish, or not at all for a while", function()
      local _, events = stream { double_finish = true }
      assert.equal(2, finishes(events))
      local response
      response, events = stream { no_done = true, open_end = 0.15 }
      assert.equal(1, finishes(events))
      assert.is_nil(response.body:find("[DONE]", 1, true))
      assert.equal("chunked", response.ended)
      assert.is_true(response.seconds >= 0.14)
      assert.is_true(response.arrivals[1].at < socket.gettime() - 0.1)
      _, events = stream({ no_done = true }, "anthropic")
      assert.equal("message_delta", events[#events].name)
      _, events = stream({ no_finish = true }, "gemini")
      assert.is_nil(events[#events].value.candidates[1].finishReason)
      assert.matches("2$", events[#events].value.candidates[1].content.parts[1].text)
      _, events = stream({ no_finish = true }, "responses")
      assert.equal("response.output_item.done", events[#events].name)
    end)

    it("with the usage in a chunk of its own, on the finish chunk, or without", function()
      local _, events = stream { usage = "last" }
      assert.matches('"choices":%[%]', events[#events - 1].data)
      assert.equal(6, events[#events - 1].value.usage.total_tokens)
      assert.equal(cjson.null, events[1].value.usage)
      _, events = stream { usage = "finish" }
      assert.equal("stop", events[#events - 1].value.choices[1].finish_reason)
      assert.equal(6, events[#events - 1].value.usage.total_tokens)
      p:profile("a", { stream = { usage = "none" } })
      local request = request_of "openai"
      request.stream_options = { include_usage = true }
      local response = http.request { url = url_of "openai", body = cjson.encode(request) }
      assert.is_nil(response.body:find("usage", 1, true))
    end)
  end)

  describe("go wrong", function()
    local function last_of(shape, after, api)
      local response, events = stream({ error_shape = shape, error_after = after }, api)
      assert.equal("chunked", response.ended)
      return events[#events], events, response
    end

    it("in the shape of any vendor", function()
      assert.equal("server_error", last_of("openai", 1).value.error.type)
      local vllm = last_of("vllm", 1).value
      assert.same({ "error", 529 }, { vllm.object, vllm.code })
      local router = last_of("openrouter", 1).value
      assert.same({ 529, "error" }, { router.error.code, router.choices[1].finish_reason })
      local anthropic = last_of("anthropic", 1)
      assert.same({ "error", "overloaded_error" }, { anthropic.name, anthropic.value.error.type })
      local bare = last_of("bare", 1)
      assert.same({ "error", "Overloaded" }, { bare.name, bare.value.message })
      assert.equal("UNAVAILABLE", last_of(nil, 1, "gemini").value.error.status)
      assert.equal("error", last_of(nil, 1, "responses").name)
      local _, events, response = last_of("raw", 1, "gemini")
      assert.equal(1, #events)
      assert.equal(503, cjson.decode(response.body:match "\n({\n.*)$").error.code)
    end)

    it("before anything, before the first token, and after some", function()
      assert.equal(1, #select(2, last_of("openai", -1)))
      assert.equal("", text_of(select(2, last_of("openai", 0))))
      local _, events = last_of("openai", 2)
      assert.equal("echo: pi", text_of(events))
    end)

    it("with the status and the body that are given", function()
      p:profile("a", { stream = { error_after = 0, error_shape = "vllm", error_status = 400 } })
      local function ask()
        local response = http.request { url = url_of "openai", body = cjson.encode(request_of "openai") }
        local events = provider.events(response.body)
        return events[#events]
      end
      assert.equal(400, ask().value.code)
      p:profile("a", { stream = { error_after = 0, error = { any = "thing" } } })
      assert.same({ any = "thing" }, ask().value)
      assert.has_error(function()
        p:profile("a", { stream = { error_shape = "none" } })
      end)
    end)
  end)

  describe("are large", function()
    it("in one event", function()
      local bytes = 10 * MEBIBYTE
      local _, events = stream { event_bytes = bytes }
      assert.equal(bytes, #events[2].data)
      assert.is_table(events[2].value)
      assert.equal("echo: ping 42", text_of(events))
    end)

    it("in bytes that come one by one", function()
      local _, events = stream { split = 1 }
      assert.equal("echo: ping 42", text_of(events))
      assert.equal("[DONE]", events[#events].data)
    end)

    it("and never held as a whole", function()
      local bytes, before = 50 * MEBIBYTE, peak()
      for api, most in pairs { openai = bytes * 1.2, anthropic = bytes * 1.2, gemini = bytes * 1.3 } do
        p:profile("a", { answer = { bytes = bytes } })
        local host, port, path = http.split(url_of(api))
        local connection, total = assert(http.connect(host, port, 20)), 0
        connection:send(http.format { url = ("http://%s:%d%s"):format(host, port, path),
          headers = { Connection = "close" }, body = cjson.encode(request_of(api)) })
        while connection:fill() do
          total = total + #connection.buffer
          connection.buffer = ""
        end
        assert.equal("cut", connection.over) -- the orderly end
        assert.is_true(total > bytes and total < most, api .. ": " .. total)
      end
      assert.is_true(peak() - before < 32 * 1024, peak() - before)
    end)
  end)

  describe("have no end", function()
    local function settled()
      local sent = 0
      return process.wait_for(function()
        local before = sent
        sent = p:counters("a").bytes_out
        socket.sleep(0.1)
        return sent > 0 and sent == before and sent
      end)
    end

    it("and stop for a client that does not read", function()
      p:profile("a", { stream = { endless = true } })
      local host, port, path = http.split(url_of "openai")
      local connection = assert(http.connect(host, port))
      connection:send(http.format { url = ("http://%s:%d%s"):format(host, port, path),
        body = cjson.encode(request_of "openai") })
      local paused = assert.is_number(settled())
      assert.is_true(paused < MEBIBYTE, paused)
      for _ = 1, 400 do
        assert(connection:fill())
        connection.buffer = ""
      end
      assert.is_true(assert.is_number(settled()) > paused)
      connection:close()
      assert.is_table(p:wait("a", function(counters)
        return counters.aborted == 1 and counters.in_flight == 0
      end))
    end)

    it("nor for one that is slow over HTTP/2, whose windows stop them too", function()
      if not (process.which "curl" and process.capture({ "curl", "--version" }):find "HTTP2") then
        return pending "skipped, no curl with HTTP/2 here"
      end
      p:profile("a", { stream = { endless = true } })
      local _, code = process.capture(process.command {
        "curl", "-sS", "--http2", "--cacert", p.ca_file, "--max-time", "1", "--limit-rate", "1k", "-o", "/dev/null",
        "-d", cjson.encode(request_of "openai"), line.tls_url .. "/chat/completions",
      } .. " 2>/dev/null")
      assert.equal(28, code)
      local counters = assert(p:wait("a", function(counters)
        return counters.aborted == 1
      end))
      assert.is_true(counters.bytes_out < MEBIBYTE, counters.bytes_out)
    end)

    it("yet are paced, cut and hurt as others", function()
      local response, events = stream({ endless = true, cut_after = 5 }, "openai", { chunk_bytes = 10 })
      assert.equal("cut", response.ended)
      assert.equal(50, #text_of(events))
      p:profile("a", { stream = { endless = true }, answer = { chunk_bytes = 10 }, fault = "reset_midway" })
      response = http.request { url = url_of "openai", body = cjson.encode(request_of "openai") }
      assert.equal("reset", response.ended)
    end)
  end)

  describe("for measuring", function()
    local function bench(path)
      return http.request { url = line.bench_url .. path, body = "{}" }
    end

    it("are of events of 195 bytes, at once or at a pace", function()
      local whole = bench "/stream?chunks=200"
      assert.equal(195 * 201 + #"data: [DONE]\n\n", #whole.body)
      for event in whole.body:gmatch "data: {.-\n\n" do
        assert.equal(195, #event)
      end
      local events = provider.events(whole.body)
      assert.equal("stop", events[201].value.choices[1].finish_reason)
      local paced = bench "/stream/5/0.03/v1/chat/completions"
      assert.equal(5 + 2, #provider.events(paced.body))
      assert.is_true(paced.seconds >= 4 * 0.03 - 0.01)
      assert.is_true(#paced.arrivals >= 5)
      assert.equal(1028, #bench("").body)
      assert.equal(0, p:counters("a").requests)
    end)
  end)
end)
