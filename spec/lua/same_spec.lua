-- Which calls ask the same, so that they may share one, and which are always their own.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local slow = { after = 1, text = "ok" }

local function ask(text, more)
  local request = { messages = { { role = "user", content = text or "Hi" } }, temperature = 0 }
  for key, value in pairs(more or {}) do
    request[key] = value
  end
  return request
end

local function lab_of(line, config)
  config = config or {}
  if config.coalesce == nil then
    config.coalesce = true
  end
  return sim.lab({ a = line or slow }, config)
end

describe("coalescing", function()
  after_each(sim.settled)

  -- Two calls at once: what they ask, with which options, on a client of which configuration; how many attempts.
  local text = "Hi"
  local function chat(request, options)
    return function(client) return client:chat(request, options) end
  end
  local never = function() return true end
  local two_ways = ask(text, { top_p = 1, user = "u", n = 1 })
  local built_otherwise = {}
  for _, name in ipairs { "user", "n", "temperature", "junk", "top_p", "messages" } do
    built_otherwise[name] = two_ways[name]
  end
  local embed = function(client) return client:embeddings { input = "x", model = "e" } end
  local models = function(client) return client:models() end
  local get = function(client) return client:request { path = "/files?after=1" } end
  local cases = {
    { "temperature 0", 1, chat(ask()), chat(ask()) },
    { "the same request built in another order", 1, chat(two_ways), chat(built_otherwise) },
    { "a seed", 1, chat { messages = {}, seed = 7 }, chat { messages = {}, seed = 7 } },
    { "embeddings", 1, embed, embed },
    { "models", 1, models, models },
    { "a GET", 1, get, get },
    { "other tags, deadline, canceller and estimate", 1, chat(ask(), { tags = 1, deadline = 9, estimate = 5 }),
      chat(ask(), { tags = 2, deadline = 8, cancel = surefoot.canceller() }) },
    { "the same key and headers", 1, chat(ask(), { idempotency_key = "k", headers = { a = "1", b = "2" } }),
      chat(ask(), { idempotency_key = "k", headers = { b = "2", a = "1" } }) },
    { "the same options", 1, chat(ask(), { priority = "low", timeout = { attempt = 7, idle = math.huge } }),
      chat(ask(), { priority = "low", timeout = { idle = math.huge, attempt = 7 } }) },
    { "sampled answers, where that is asked for", 1, chat "Hi", chat "Hi", { sampled = true } },
    { "the call's word", 1, chat(ask(), { coalesce = true }), chat(ask(), { coalesce = true }), false },
    { "sampled answers", 2, chat "Hi", chat "Hi" },
    { "a temperature above 0", 2, chat(ask(text, { temperature = 0.1 })), chat(ask(text, { temperature = 0.1 })) },
    { "other messages", 2, chat(ask "a"), chat(ask "b") },
    { "another model", 2, chat(ask(text, { model = "a" })), chat(ask(text, { model = "b" })) },
    { "another header", 2, chat(ask(), { headers = { a = "1" } }), chat(ask(), { headers = { a = "2" } }) },
    { "another idempotency key", 2, chat(ask(), { idempotency_key = "a" }), chat(ask(), { idempotency_key = "b" }) },
    { "a key and none", 2, chat(ask(), { idempotency_key = "a" }), chat(ask()) },
    { "another priority", 2, chat(ask(), { priority = "high" }), chat(ask()) },
    { "other timeouts of phases", 2, chat(ask(), { timeout = { attempt = 7 } }), chat(ask()) },
    { "another hedging", 2, chat(ask(), { hedge = { max = 2 } }), chat(ask(), { hedge = { max = 3 } }) },
    { "other fallbacks", 2, chat(ask(), { fallbacks = { { model = "b", request = { top_p = 0 } } } }),
      chat(ask(), { fallbacks = { { model = "b", request = { top_p = 1 } } } }) },
    { "validate", 2, chat(ask(), { validate = never }), chat(ask(), { validate = never }) },
    { "on_event", 2, chat(ask(), { on_event = never }), chat(ask(), { on_event = never }) },
    { "the call's own word against it", 2, chat(ask(), { coalesce = false }), chat(ask()) },
    { "another path", 2, get, function(client) return client:request { path = "/files?after=2" } end },
    { "a header of a GET", 2, get, function(client)
      return client:request { path = "/files?after=1", headers = { a = "1" } }
    end },
    { "a POST", 2, function(client) return client:request { path = "/x", json = { 1 } } end,
      function(client) return client:request { path = "/x", json = { 1 } } end },
    { "streams", 2, function(client) return client:stream(ask()):result() end,
      function(client) return client:stream(ask()):result() end },
    { "chat, switched off", 2, chat(ask()), chat(ask()), { chat = false } },
    { "embeddings, switched off", 2, embed, embed, { embeddings = false } },
    { "GET, switched off", 2, get, get, { get = false } },
    { "calls of a client that was not asked", 2, chat(ask()), chat(ask()), false },
  }
  local body = { choices = { { message = { content = "ok" }, finish_reason = "stop" } },
    data = { { embedding = { 1 }, id = "m" } } }
  for _, case in ipairs(cases) do
    it((case[2] == 1 and "is for %s" or "is not for %s"):format(case[1]), function()
      local lab = lab_of({ after = 1, body = body }, { coalesce = case[5] })
      local ended = 0
      for i = 3, 4 do
        lab.sim:spawn(function()
          assert(case[i](lab.client))
          ended = ended + 1
        end)
      end
      lab.sim:run()
      assert.same({ case[2], 2 }, { #lab.log, ended })
    end)
  end

  it("is not for an answer that goes into a file", function()
    local lab, path = lab_of { after = 1, body = "bytes" }, os.tmpname()
    for i = 1, 2 do
      lab.sim:spawn(function()
        assert.equal(5, assert(lab.client:request { path = "/x", output = { file = path .. i } }).bytes)
        os.remove(path .. i)
      end)
    end
    lab.sim:run()
    os.remove(path)
    assert.equal(2, #lab.log)
  end)

  it("is not for events, which one alone may take", function()
    local same = require "surefoot.client.same"
    local lab = lab_of()
    for streams, kind in pairs { [true] = "nil", [false] = "string" } do
      local job = lab.client:chat_job(ask(), nil)
      job.work = { name = "chat", streams = streams }
      assert.equal(kind, type(same.key(job)))
    end
  end)

  it("is for one client alone", function()
    local lab = lab_of()
    local other = lab:another { coalesce = true }
    lab:start(nil, ask())
    lab:start(nil, ask(), other)
    lab.sim:run()
    assert.equal(2, #lab.log)
  end)

  it("is of verify's no business", function()
    local lab = lab_of { after = 1, body = { data = {} } }
    for _ = 1, 2 do
      lab.sim:spawn(function() assert.is_true(lab.client:verify().ok) end)
    end
    lab.sim:run()
    assert.equal(2, #lab.log)
  end)

  it("refuses what it does not know", function()
    local s = surefoot.simulate { endpoints = { a = function() return slow end } }
    assert.error_matches(function() s:client { coalesce = { chats = true } } end,
      'coalesce.chats: unknown key; did you mean "chat"?', nil, true)
    assert.error_matches(function() s:client { coalesce = "x" } end, "coalesce: expected a table", nil, true)
    assert.error_matches(function() s:client({}):chat("x", { coalesce = {} }) end,
      "coalesce: expected true or false, got a table", nil, true)
  end)
end)
