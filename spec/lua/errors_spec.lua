local errors = require "surefoot.errors"

describe("errors", function()
  it("print as a sentence", function()
    local err = errors.new {
      kind = "timeout", message = "first byte after 60 s", endpoint = "hk", request_id = "8f2c",
      attempts = { {}, {}, {} }, max_attempts = 5,
    }
    assert.equal("timeout: first byte after 60 s from hk (attempt 3 of 5, request 8f2c)", tostring(err))
    assert.equal("closed: the client is closed", tostring(errors.new { kind = "closed" }))
    assert.equal("say closed: no", "say " .. errors.new { kind = "closed", message = "no" })
    assert.equal("closed: no!", errors.new { kind = "closed", message = "no" } .. "!")
  end)

  it("know whether trying again later can help", function()
    assert.is_true(errors.new({ kind = "rate_limited" }).retryable)
    assert.is_false(errors.new({ kind = "unauthorized" }).retryable)
    assert.is_false(errors.new({ kind = "server", retryable = false }).retryable)
  end)

  it("are of a listed kind", function()
    assert.error_matches(function() errors.new { kind = "oops" } end, "no error kind oops")
    for _, name in ipairs(errors.names) do
      assert.is_boolean(errors.kinds[name].retryable)
    end
  end)

  it("are told from other values", function()
    assert.is_true(errors.is(errors.new { kind = "closed" }))
    assert.is_false(errors.is { kind = "closed" })
    assert.is_false(errors.is "closed")
    assert.is_false(errors.is(nil))
  end)

  it("keep what a task threw", function()
    local err = errors.thrown("boom", "stack")
    assert.equal("error", err.kind)
    assert.equal("boom", err.cause)
    assert.equal("stack", err.traceback)
    local own = errors.new { kind = "closed" }
    assert.equal(own, errors.thrown(own, "stack"))
  end)

  it("write durations as people do", function()
    assert.equal("60 s", errors.seconds(60))
    assert.equal("250 ms", errors.seconds(0.25))
    assert.equal("1.5 s", errors.seconds(1.5))
    assert.equal("0 ms", errors.seconds(0))
    assert.equal("1 s", errors.seconds(0.99999))
    assert.equal("86400 s", errors.seconds(86400))
  end)
end)

describe("a scrubber", function()
  it("replaces every secret, everywhere, also those that contain another", function()
    local secrets = { "sk-1", "sk-123%d" }
    local clean = errors.scrubber(secrets)
    assert.equal("[key] and [key], [key][key]", clean "sk-123%d and sk-1, sk-1sk-1")
    local body = { error = { message = "bad key sk-1", list = { "sk-1", 7, true } }, ["sk-1"] = 1 }
    assert.same({ error = { message = "bad key [key]", list = { "[key]", 7, true } }, ["[key]"] = 1 }, clean(body))
    assert.equal("bad key sk-1", body.error.message)
    secrets[#secrets + 1] = "later"
    assert.equal("[key]", clean "later")
  end)

  it("leaves ordinary words alone, though a key that is none is written so", function()
    local clean = errors.scrubber { "Ollama", "test", "abcd" }
    local text = "ollama: the latest test of Ollama, abcdef and xabcd"
    assert.equal(text, clean(text))
    assert.equal("[key], '[key]'", clean "abcd, 'abcd'")
  end)

  it("leaves all else alone", function()
    local body = { "x" }
    assert.equal(body, errors.scrubber {} (body))
    assert.is_nil(errors.scrubber { "a" } (nil))
  end)
end)
