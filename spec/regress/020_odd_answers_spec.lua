--- An answer with odd values where words, numbers or tables belong made a call throw, and left it in flight: an `error`
--- that says nothing, a code that is no integer. And a count of tokens beyond all measure stopped a client's rate.

local classify = require "surefoot.classify"
local openai = require "surefoot.provider.openai"
local sim = require "spec.support.sim"

local ODD = {
  "null", "true", "0", "-1", "0.5", "450.5", "1e300", "1e400", '""', '"x"', "[]", "{}", "[null]", "[{}]", '{"text":5}',
  '[{"text":"t"}]', '"\\u0000"', "[1,2]",
}

local DOCUMENTS = {
  "%s", '{"choices":%s}', '{"choices":[%s]}', '{"choices":[{"message":%s}]}',
  '{"choices":[{"message":{"content":%s}}]}',
  '{"choices":[{"message":{"content":"x","tool_calls":%s}}]}',
  '{"choices":[{"message":{"content":"x"},"finish_reason":%s}]}',
  '{"choices":[{"message":{"content":"x"}}],"usage":%s}',
  '{"choices":[{"message":{"content":"x"}}],"usage":{"total_tokens":%s}}',
  '{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":%s,"total_tokens":1}}',
  '{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1,"prompt_tokens_details":%s}}',
  '{"choices":[{"message":{"content":"x"}}],"model":%s,"id":%s}', '{"error":%s}', '{"error":{"message":%s}}',
  '{"error":{"code":%s}}', '{"error":{"type":%s}}', '{"error":{"status":%s}}', '{"error":{"details":%s}}',
  '{"error":{"details":[{"reason":%s,"retryDelay":%s,"violations":%s}]}}',
  '{"error":{"details":[{"violations":[%s]}]}}', '{"error":{"metadata":{"raw":%s}}}', '{"error":{"innererror":%s}}',
  '{"object":"error","message":%s,"code":%s}', '{"message":%s,"detail":%s}', '[{"error":%s}]', '{"data":%s}',
  '{"data":[%s]}', '{"data":[{"embedding":%s,"index":%s},{"embedding":[1],"index":1}]}', '{"data":[{"id":%s}]}',
  '{"models":%s}',
}

local CALLS = {
  chat = function(client)
    return client:chat { messages = {}, response_format = { type = "json_object" } }
  end,
  models = function(client)
    return client:models()
  end,
  embeddings = function(client)
    return client:embeddings { input = { "a", "b" } }
  end,
  request = function(client)
    return client:request { path = "/x" }
  end,
  verify = function(client)
    return client:verify()
  end,
}

describe("an odd answer", function()
  after_each(sim.settled)

  local answer
  local function laboratory(config)
    config = config or {}
    config.breaker, config.prices = false, { m = { input = 1, output = 1 } }
    config.retry = { max_attempts = 1 }
    config.model = "m"
    return sim.lab({ a = function() return answer end }, config)
  end

  for name, make in pairs(CALLS) do
    it("never makes client:" .. name .. " throw", function()
      local client = laboratory().client
      for _, document in ipairs(DOCUMENTS) do
        for _, value in ipairs(ODD) do
          for _, status in ipairs { 200, 400, 429 } do
            answer = { after = 1, status = status, body = (document:gsub("%%s", function() return value end)) }
            local ok, result, err = pcall(make, client)
            assert.is_true(ok, answer.body .. ": " .. tostring(result))
            assert.is_true(result ~= nil or #tostring(err) > 0)
            if type(result) == "table" then
              assert(result.attempts == nil or #result.attempts == 1)
            end
          end
        end
      end
      local total = client:stats().tokens.total
      assert.is_true(total >= 0 and total < 1e9, tostring(total))
    end)
  end

  it("is malformed when it claims an error and says nothing of it", function()
    local lab = laboratory()
    for _, body in ipairs { '{"error":true}', '{"error":1}', '{"error":[]}' } do
      answer = { after = 1, body = body }
      local result, err = lab.client:chat "x"
      assert.is_nil(result)
      assert.is_true(err.kind == "malformed" or err.kind == "server", err.kind)
      assert.equal(200, err.status)
    end
    local reply = { status = 200, headers = "", body = '{"error":true}' }
    assert.equal("transient", openai.judge(reply, { error = true }).class)
  end)

  it("is an answer when its error is empty", function()
    local lab = laboratory()
    answer = { after = 1, body = '{"error":"","choices":[{"message":{"content":"well"}}]}' }
    assert.equal("well", assert(lab.client:chat "x").text)
  end)

  it("has a code whatever number that is", function()
    local function code_of(code)
      return (select(3, classify.classify(500, "", { error = { code = code, message = "m" } }, "")))
    end
    assert.equal("1302", code_of(1302))
    assert.equal("1302", code_of(1302.0))
    assert.equal("0.5", code_of(0.5))
    assert.equal("1e+300", code_of(1e300))
  end)

  it("does not put a vector at half a place", function()
    local lab = laboratory()
    answer = { after = 1, body = '{"data":[{"embedding":[1],"index":0.5},{"embedding":[2],"index":1}]}' }
    local result, err = lab.client:embeddings { input = { "a", "b" } }
    assert.is_nil(result)
    assert.equal("malformed", err.kind)
  end)

  it("cannot stop a client's rate with its count of tokens", function()
    local lab = laboratory { rate = { tokens_per_minute = 100000 } }
    answer = { after = 0.1, body = '{"choices":[{"message":{"content":"x"}}],"usage":{"total_tokens":1e400}}' }
    for _ = 1, 3 do
      local result = assert(lab.client:chat "x")
      assert.is_true(result.usage == nil or result.usage.total_tokens < 1e12)
    end
    assert.is_true(lab.sim:now() < 2)
    assert.is_nil(openai.usage { total_tokens = 2e12 })
    assert.equal(0, openai.usage { total_tokens = 1, completion_tokens = 5 }.input_tokens)
  end)

  it("ends the call even where reading it fails", function()
    local lab = laboratory()
    local decode = openai.operations.chat.decode
    openai.operations.chat.decode = function() error "a slip" end
    answer = { after = 1, text = "x" }
    local ok, result, err = pcall(lab.client.chat, lab.client, "x")
    openai.operations.chat.decode = decode
    assert.is_true(ok)
    assert.is_nil(result)
    assert.equal("malformed", err.kind)
    assert.matches("a slip", err.message)
  end)
end)
