-- Exchanges recorded and replayed: the same answers, streams and failures, without a network and without keys.
local json = require "surefoot.json"
local process = require "spec.support.process"
local surefoot = require "surefoot"

local SECRET = "sk-secret-1234567890"
local dir, path

local function completion(text)
  return { id = "1", object = "chat.completion", model = "m-1",
    choices = { { index = 0, finish_reason = "stop", message = { role = "assistant", content = text } } },
    usage = { prompt_tokens = 3, completion_tokens = 2, total_tokens = 5 } }
end

local function event(text, finish)
  return "data: " .. json.encode { id = "1", model = "m-1",
    choices = { { index = 0, delta = { content = text }, finish_reason = finish } } } .. "\n\n"
end

-- A client on scripted lines whose exchanges are recorded.
local function recorded(scripts, config)
  local sim = surefoot.simulate { seed = 1, endpoints = scripts }
  local all = { api_key = SECRET, model = "m-1", routing = "priority", retry = { jitter = "none" } }
  for key, value in pairs(config or {}) do
    all[key] = value
  end
  return surefoot.record(sim:client(all), path), sim
end

local function echo(_, request)
  return { after = 0.25, body = completion("to " .. request.json.messages[1].content),
    headers = { ["x-request-id"] = "srv-1", ["set-cookie"] = "session=1", ["x-echo"] = request.headers.authorization } }
end

local function text_of_file()
  return process.read(path)
end

describe("surefoot.replay", function()
  before_each(function()
    dir = process.temp_dir "record"
    path = dir .. "/exchanges.jsonl"
  end)
  after_each(function() process.remove_dir(dir) end)

  it("answers as was recorded", function()
    local client = recorded { a = echo }
    local first = assert(client:chat "one")
    assert(client:chat { messages = { { role = "user", content = "two" } }, temperature = 0.5, user = "u" })
    local replayed = surefoot.replay(path)
    local again = assert(replayed:chat "one")
    assert.same({ first.text, first.usage, first.latency, "srv-1", "a", "m-1" },
      { again.text, again.usage, again.latency, again.request_id, again.endpoint, again.model })
    -- the same request, built in another order
    assert.equal("to two", assert(replayed:chat { user = "u", temperature = 0.5,
      messages = { { content = "two", role = "user" } } }).text)
  end)

  it("keeps keys and cookies out of the file", function()
    local client = recorded { a = echo }
    assert(client:chat("one " .. SECRET))
    local text = text_of_file()
    assert.is_nil(text:find(SECRET, 1, true))
    assert.is_nil(text:find("session=1", 1, true))
    assert.is_truthy(text:find("Bearer [key]", 1, true))
  end)

  it("replays streams as events, at their times", function()
    local client = recorded { a = function()
      return { after = 0.1, events = { { at = 0.2, data = event "Hello" }, { at = 0.7, data = event " there" },
        { at = 0.9, data = event("", "stop") }, { at = 0.9, data = "data: [DONE]\n\n" } } }
    end }
    local first = assert(assert(client:stream "Hi"):result())
    local replayed, sim = surefoot.replay(path)
    local stream, at, texts = assert(replayed:stream "Hi"), {}, {}
    local chunk = stream:read()
    while chunk do
      if chunk.text then
        texts[#texts + 1], at[#at + 1] = chunk.text, math.floor(sim:now() * 10 + 0.5)
      end
      chunk = stream:read()
    end
    assert.same({ "Hello", " there" }, { texts[1], texts[2] })
    assert.same({ 2, 7 }, { at[1], at[2] })
    local result = assert(stream:result())
    assert.same({ first.text, first.finish_reason, first.usage }, { result.text, result.finish_reason, result.usage })
  end)

  it("replays Anthropic's named events", function()
    local function named(document)
      return "event: " .. document.type .. "\ndata: " .. json.encode(document) .. "\n\n"
    end
    local client = recorded({ a = function()
      return { after = 0.1, events = {
        { at = 0.1, data = named { type = "message_start", message = { id = "m", type = "message", role = "assistant",
          model = "claude", content = json.array {}, usage = { input_tokens = 3, output_tokens = 1 } } } },
        { at = 0.2, data = named { type = "content_block_start", index = 0,
          content_block = { type = "text", text = "" } } },
        { at = 0.3, data = named { type = "content_block_delta", index = 0,
          delta = { type = "text_delta", text = "Bonjour" } } },
        { at = 0.4, data = named { type = "content_block_stop", index = 0 } },
        { at = 0.4, data = named { type = "message_delta", delta = { stop_reason = "end_turn" },
          usage = { output_tokens = 4 } } },
        { at = 0.4, data = named { type = "message_stop" } },
      } }
    end }, { provider = "anthropic", model = "claude" })
    local request = { messages = { { role = "user", content = "Hi" } }, max_tokens = 10 }
    assert(assert(client:stream(request)):result())
    local result = assert(assert(surefoot.replay(path):stream(request)):result())
    assert.same({ "Bonjour", "stop", 4 }, { result.text, result.finish_reason, result.usage.output_tokens })
  end)

  it("replays failures, and what came after them", function()
    local client = recorded({
      a = function(n)
        return ({ { after = 0.1, status = 503, headers = { ["retry-after"] = "1" }, body = "busy" },
          { after = 0.2, fault = "reset" }, { fail = "connect" }, { fault = "hang" } })[n]
      end,
      b = function(n) return n < 4 and { fault = "reset" } or { after = 0.1, body = completion "at last" } end,
    }, { endpoints = { { name = "a" }, { name = "b", priority = 2 } }, retry = { max_attempts = 8, jitter = "none" },
      timeout = { attempt = 5 }, breaker = false })
    local function kinds(trail)
      local list = {}
      for i, attempt in ipairs(trail) do
        list[i] = attempt.endpoint .. " " .. attempt.kind
      end
      return list
    end
    local first = assert(client:chat "Hi")
    local replayed = surefoot.replay(path, { config = { routing = "priority", timeout = { attempt = 5 },
      retry = { max_attempts = 8, jitter = "none" }, breaker = false } })
    local again = assert(replayed:chat "Hi")
    assert.same(kinds(first.attempts), kinds(again.attempts))
    assert.equal("at last", again.text)
    assert.is_true(#again.attempts > 5)
  end)

  it("gives the answers to the same request in order, the last for ever", function()
    local client = recorded { a = function(n) return { after = 0.1, body = completion("answer " .. n) } end }
    for _ = 1, 3 do
      assert(client:chat "Hi")
    end
    local replayed, texts = surefoot.replay(path), {}
    for i = 1, 5 do
      texts[i] = assert(replayed:chat "Hi").text
    end
    assert.same({ "answer 1", "answer 2", "answer 3", "answer 3", "answer 3" }, texts)
  end)

  it("says what was not recorded, and names the nearest", function()
    local client = recorded { a = echo }
    assert(client:chat "What is the capital of France?")
    assert(client:chat "Name a river.")
    local replayed = surefoot.replay(path)
    local result, err = replayed:chat "What is the capital of Franse?"
    assert.is_nil(result)
    assert.same({ "invalid_request", "not_recorded", 1 }, { err.kind, err.code, #err.attempts })
    assert.matches('holds no POST /v1/chat/completions %(m%-1%) "What is the capital of Franse%?"; the nearest is '
      .. 'POST /chat/completions %(m%-1%) "What is the capital of France%?"', err.message)
    err = select(2, replayed:embeddings { input = "x", model = "e" })
    assert.matches("nor anything else with that path", err.message)
  end)

  it("answers with the nearest where it is told to", function()
    local client = recorded { a = echo }
    assert(client:chat "What is the capital of France?")
    assert(client:chat "Name a river.")
    local replayed = surefoot.replay(path, { strict = false })
    assert.equal("to Name a river.", assert(replayed:chat "Name a rover").text)
    assert.equal("to What is the capital of France?", assert(replayed:chat "The capital of France?").text)
    assert.equal("not_recorded", select(2, replayed:models()).code)
  end)

  it("knows lists, other requests and answers that are no text", function()
    local client = recorded { a = function(_, request)
      if request.path:find "models" then
        return { body = { object = "list", data = { { id = "m-1" } } } }
      end
      return { body = "\255\0\1", headers = { ["content-type"] = "audio/mpeg" } }
    end }
    assert(client:models())
    assert(client:request { path = "/audio/speech", json = { input = "Hi" } })
    local replayed = surefoot.replay(path)
    assert.equal("m-1", assert(replayed:models())[1].id)
    assert.equal("\255\0\1", assert(replayed:request { path = "/audio/speech", json = { input = "Hi" } }).raw)
  end)

  it("takes the test's configuration, but not its network", function()
    local client = recorded({ a = echo, b = echo }, { endpoints = { { name = "a" }, { name = "b", models = { "m-2",
      big = "large" } } } })
    assert(client:chat { model = "big", messages = { { role = "user", content = "Hi" } } })
    local seen = {}
    local replayed = surefoot.replay(path, { config = {
      preset = "openai", proxy = "http://127.0.0.1:1", log = function(level) seen[level] = true end,
      prices = { big = { input = 1, output = 2 } },
      endpoints = { {}, { url = "https://elsewhere.invalid", weight = 3 } },
    } })
    local result = assert(replayed:chat { model = "big", messages = { { role = "user", content = "Hi" } } })
    assert.near((3 + 2 * 2) / 1e6, result.cost, 1e-12)
    assert.is_true(seen.debug)
  end)

  it("works inside of tasks", function()
    local client = recorded { a = echo }
    assert(client:chat "one")
    assert(client:chat "two")
    local replayed, texts = surefoot.replay(path), {}
    surefoot.run(function()
      surefoot.all {
        function() texts[1] = assert(replayed:chat "one").text end,
        function() texts[2] = assert(replayed:chat "two").text end,
      }
    end)
    assert.same({ "to one", "to two" }, texts)
  end)

  it("is only of recordings", function()
    assert.error_matches(function() surefoot.replay() end, "surefoot.replay: path: expected .*got a nil")
    assert.error_matches(function() surefoot.replay(dir .. "/none") end, "surefoot.replay: .*none: No such file")
    process.write(path, "")
    assert.error_matches(function() surefoot.replay(path) end, "the file is empty")
    process.write(path, '{"a":1}\n')
    assert.error_matches(function() surefoot.replay(path) end, ":1: this is no recording")
    process.write(path, '{"recording":1,"endpoints":[{"name":"a"}]}\nhalf')
    assert.error_matches(function() surefoot.replay(path) end, ":2: this is no recording")
  end)
end)

describe("surefoot.record", function()
  it("takes a configuration", function()
    dir = process.temp_dir "record"
    finally(function() process.remove_dir(dir) end)
    local client = surefoot.record({ base_url = "https://llm.invalid/api/v1", api_key = SECRET, model = "m" },
      dir .. "/x.jsonl")
    assert.equal("m", client.config.model)
    local header = json.decode(process.read(dir .. "/x.jsonl"))
    assert.same({ 1, "m", "llm.invalid:443", "/api/v1" }, { header.recording, header.model, header.endpoints[1].name,
      header.endpoints[1].prefix })
    client:close()
  end)

  it("says what is wrong", function()
    assert.error_matches(function() surefoot.record({ base_url = 1 }, "/tmp/x") end, "surefoot.record: base_url")
    assert.error_matches(function() surefoot.record(nil, "/tmp/x") end, "expected a client or its configuration")
    local client = surefoot.simulate { endpoints = { a = echo } }:client()
    assert.error_matches(function() surefoot.record(client, "/no/such/place") end, "surefoot.record: /no/such/place")
  end)

  it("fails loudly where it cannot write", function()
    local client = surefoot.simulate { endpoints = { a = echo } }:client()
    local opened, full = pcall(surefoot.record, client, "/dev/full")
    if opened then
      opened, full = pcall(client.chat, client, "Hi")
    end
    assert.is_false(opened)
    assert.matches("surefoot.record: /dev/full: ", tostring(full))
    assert.equal(0, client:stats().in_flight)
  end)
end)
