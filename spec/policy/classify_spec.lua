local classify = require "surefoot.classify"
local core = require "surefoot.core"
local policy = require "surefoot.policy"

local function verdict(status, body, headers)
  return { classify.classify(status, headers or "", body) }
end

local function is(wanted, status, body, headers)
  local got = verdict(status, body, headers)
  assert.are.equal(wanted, got[1] .. " " .. got[2])
  return got
end

local function openai(code, message, kind)
  return { error = { code = code, message = message or "", type = kind or "invalid_request_error", param = false } }
end

local function anthropic(kind, message)
  return { type = "error", error = { type = kind, message = message or "" }, request_id = "req_1" }
end

describe("classify", function()
  it("goes by the status when the body says nothing", function()
    local statuses = {
      ["final invalid_request"] = { 400, 405, 410, 418, 422, 501 }, ["final too_large"] = { 413 },
      ["key unauthorized"] = { 401 }, ["key quota"] = { 402 }, ["key forbidden"] = { 403 },
      ["endpoint not_found"] = { 404 }, ["endpoint server"] = { 301, 304 },
      ["transient server"] = { 408, 409, 500, 502, 504, 520, 524 }, ["throttled rate_limited"] = { 429 },
      ["overloaded overloaded"] = { 503, 529 }, ["transient malformed"] = { 0, 100, 999 },
    }
    for wanted, list in pairs(statuses) do
      for _, status in ipairs(list) do
        is(wanted, status)
        is(wanted, status, {})
        is(wanted, status, "nonsense")
        local class, kind = core.status_verdict(status)
        assert.are.equal(wanted, class .. " " .. kind)
      end
    end
    is("accept ok", 200)
    is("accept ok", 204, {})
    is("accept ok", 200, { choices = {}, error = core.null })
  end)

  it("tells an empty account from a rate", function()
    is("key quota", 429,
      openai("insufficient_quota", "You exceeded your current quota, please check your plan and billing details."))
    is("throttled rate_limited", 429, openai("rate_limit_exceeded", "Rate limit reached for requests", "requests"))
    is("key quota", 429, "quota exhausted")
    is("key quota", 400, anthropic("invalid_request_error", "Your credit balance is too low to access the API."))
    is("key quota", 402, { error = { message = "Insufficient credits", code = 402 } })
    is("key quota", 402, anthropic("billing_error"))
    is("key quota", 429, { error = { type = "exceeded_current_quota_error", message = "" } })
    is("throttled rate_limited", 429, { error = { code = "429",
      message = "Requests have exceeded call rate limit. Retry after 37 seconds." } })
  end)

  it("tells Gemini's minute from its day", function()
    local message = "You exceeded your current quota, please check your plan and billing details."
    local function gemini(id, delay)
      return { error = { code = 429, status = "RESOURCE_EXHAUSTED", message = message, details = {
        { violations = { { quotaId = id } } }, delay and { retryDelay = delay } or nil } } }
    end
    local got = is("throttled rate_limited", 429, gemini("GenerateRequestsPerMinutePerProject", "34s"))
    assert.are.equal(34, got[5])
    assert.are.equal("RESOURCE_EXHAUSTED", got[3])
    is("key quota", 429, gemini("GenerateRequestsPerDayPerProject", "34s"))
    is("key quota", 429, gemini "GenerateRequestsPerMinutePerProject")
    is("throttled rate_limited", 429, { error = { code = 429, status = "RESOURCE_EXHAUSTED",
      message = "Quota exceeded for metric x." } })
    is("throttled rate_limited", 429, { { error = { code = 429, status = "RESOURCE_EXHAUSTED", message = "" } } })
    is("key unauthorized", 400, { error = { code = 400, status = "INVALID_ARGUMENT",
      message = "API key not valid. Please pass a valid API key.",
      details = { { reason = "API_KEY_INVALID" } } } })
    is("overloaded overloaded", 503, { error = { code = 503, status = "UNAVAILABLE",
      message = "The model is overloaded." } })
    is("route context_length", 400, { error = { code = 400, status = "INVALID_ARGUMENT",
      message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)." } })
  end)

  it("finds Gemini's day in either form, its empty account, and what it cancels itself", function()
    -- google-gemini/gemini-cli issue 10925, as received
    is("key quota", 429, { { error = { code = 429, status = "RESOURCE_EXHAUSTED",
      message = "Quota exceeded for quota metric 'Gemini 2.5 Pro Requests'", details = { {
        reason = "RATE_LIMIT_EXCEEDED", metadata = { quota_limit = "Gemini25ProRequestsPerDay" } } } } } })
    is("throttled rate_limited", 429, { error = { code = 429, status = "RESOURCE_EXHAUSTED", message = "", details = { {
      reason = "RATE_LIMIT_EXCEEDED", metadata = { quota_limit = "GenerateContentRequestsPerMinutePerProject" } } } } })
    is("key quota", 429, { error = { code = 429, status = "RESOURCE_EXHAUSTED",
      message = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing." } })
    local cancelled = { error = { code = 499, status = "CANCELLED", message = "The operation was cancelled." } }
    is("transient server", 499, cancelled)
    is("transient server", nil, cancelled)
    is("final invalid_request", 499)
  end)

  it("sends a context that is too long to the next route", function()
    is("route context_length", 400, openai "context_length_exceeded")
    is("route context_length", 400, anthropic("invalid_request_error",
      "prompt is too long: 210000 tokens > 200000 maximum"))
    is("route context_length", 400, { object = "error", type = "BadRequestError", code = 400,
      message = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens" })
    is("throttled rate_limited", 429, openai("rate_limit_exceeded",
      "Request too large: reduce the length of the messages", "tokens"))
  end)

  it("ends at a content filter", function()
    is("final content_filter", 400, { error = { code = "content_filter", message = "The response was filtered",
      innererror = { code = "ResponsibleAIPolicyViolation" } } })
    is("final content_filter", 400, openai "content_policy_violation")
    is("final content_filter", 403, { error = { code = 403, message = "Your input was flagged",
      metadata = { reasons = { "violence" } } } })
  end)

  it("maps Anthropic's types, with a status and inside a stream", function()
    local types = {
      invalid_request_error = { 400, "final invalid_request" }, authentication_error = { 401, "key unauthorized" },
      billing_error = { 402, "key quota" }, permission_error = { 403, "key forbidden" },
      not_found_error = { 404, "endpoint not_found" }, request_too_large = { 413, "final too_large" },
      rate_limit_error = { 429, "throttled rate_limited" }, api_error = { 500, "transient server" },
      timeout_error = { 504, "transient server" }, overloaded_error = { 529, "overloaded overloaded" },
    }
    for name, row in pairs(types) do
      is(row[2], row[1], anthropic(name))
      is(row[2], 200, anthropic(name))
      is(row[2], nil, anthropic(name))
    end
  end)

  it("does not take OpenAI's loose types for more than they are", function()
    is("key unauthorized", 401, openai("invalid_api_key", "Incorrect API key provided"))
    is("endpoint not_found", 404, openai("model_not_found"))
    is("endpoint not_found", 404, openai(nil, "no such path"))
    is("overloaded overloaded", 503, openai(nil, "busy", "server_error"))
    is("endpoint forbidden", 403, openai "unsupported_country_region_territory")
  end)

  it("reads errors under a success status", function()
    is("throttled rate_limited", 200, { error = { code = 429, message = "slow down" } })
    is("transient server", 200, { error = { code = 502, message = "Provider returned error" } })
    is("transient server", 200, { error = "something broke" })
    is("overloaded overloaded", 200, { object = "error", message = "", code = 503 })
    is("transient server", nil, nil)
  end)

  it("reads plain messages of other servers", function()
    local got = is("transient server", 500, { detail = "boom" })
    assert.are.equal("boom", got[4])
    got = is("final invalid_request", 400, { message = "bad field" })
    assert.are.equal("bad field", got[4])
    got = is("transient server", 502, "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>")
    assert.are.equal("502 Bad Gateway", got[4])
    assert.is_nil(is("transient server", 502, "<html>no title</html>")[4])
    assert.is_nil(is("transient server", 502, "  ")[4])
    assert.are.equal("upstream reset", is("transient server", 502, "upstream reset")[4])
  end)

  it("survives bodies of any shape", function()
    for _, body in ipairs { { error = {} }, { error = { message = {}, code = {}, type = 5, details = 5,
      innererror = "x", metadata = 1 } },
      { {} }, { { error = 5 } }, { error = { details = { 1, "x", { violations = { 1, {} } } } } }, { type = "error" },
        { object = "error" } } do
      is("transient server", 500, body)
    end
  end)

  it("lets x-should-retry decide whether, and never where", function()
    is("final server", 500, nil, "x-should-retry: false")
    is("final rate_limited", 429, nil, "x-should-retry: false")
    is("transient invalid_request", 400, nil, "x-should-retry: true")
    is("key quota", 429, openai "insufficient_quota", "x-should-retry: false")
    is("key unauthorized", 401, nil, "x-should-retry: true")
    is("overloaded overloaded", 529, nil, "x-should-retry: true")
    is("accept ok", 200, nil, "x-should-retry: false")
  end)

  it("takes headers as a block or as a function", function()
    assert.are.equal(7, verdict(429, nil, "Retry-After: 7")[5])
    assert.are.equal(7, verdict(429, nil, function(name) return name == "retry-after" and "7" or nil end)[5])
    assert.are.equal(9, verdict(429, nil, function(name) return name == "retry-after" and { "7", "9" } or nil end)[5])
    assert.are.equal(20, verdict(429, openai("rate_limit_exceeded", "Please try again in 20s."))[5])
    local class = classify.classify(500)
    assert.are.equal("transient", class)
  end)

  it("gives the provider's code", function()
    assert.are.equal("invalid_api_key", verdict(401, openai "invalid_api_key")[3])
    assert.are.equal("overloaded_error", verdict(529, anthropic "overloaded_error")[3])
    assert.are.equal("502", verdict(502, { error = { code = 502 } })[3])
    assert.is_nil(verdict(500)[3])
  end)

  it("shows no key in a message", function()
    local secrets = {
      "Incorrect API key provided: sk-abcd1234efgh5678ijkl. You can find your key at https://example.com.",
      "Incorrect API key provided: sk-ab***********yz90. You can",
      "bad header Authorization: Bearer abcdefgh.secret",
      "GET /v1/models?key=AIzaSyA1234567890abcdefghijklmnop failed",
      "token 0123456789abcdef0123456789abcdef refused",
      "the key sk-ant-api03-Ab1Cd2Ef3Gh4Ij5Kl6 is not valid",
    }
    for _, text in ipairs(secrets) do
      for _, body in ipairs { { error = { message = text } }, text } do
        local message = verdict(401, body)[4]
        assert.matches("[key]", message, 1, true)
        for _, secret in ipairs { "abcd1234", "yz90", "secret", "AIzaSyA", "0123456789abcdef", "api03" } do
          assert.is_nil(message:find(secret, 1, true), message)
        end
      end
    end
  end)

  it("leaves other words of a message alone", function()
    local text = "The model `claude-sonnet-4-5-20250929` (request req_011CSHoEeqs5C35K2UUqR7Fy,"
      .. " 3f2504e0-4f89-11d3-9a0c-0305e82c3301)"
      .. " is overloaded; see https://docs.example.com/errors"
    assert.are.equal(text, verdict(503, { error = { message = text } })[4])
    assert.are.equal("one two", verdict(500, { error = { message = " one\n\ttwo " } })[4])
    assert.are.equal(500, #verdict(500, { error = { message = ("word "):rep(1000) } })[4])
  end)
end)

describe("policy.retryable", function()
  it("answers with a boolean and the kind", function()
    assert.are.same({ true, "rate_limited" }, { policy.retryable(429) })
    assert.are.same({ false, "quota" }, { policy.retryable(429, {},
      '{"error":{"code":"insufficient_quota","message":""}}') })
    assert.are.same({ false, "context_length" }, { policy.retryable(400, nil, openai "context_length_exceeded") })
    assert.are.same({ false, "server" }, { policy.retryable(500, { ["X-Should-Retry"] = "false" }) })
    assert.are.same({ true, "invalid_request" }, { policy.retryable(400, { ["X-Should-Retry"] = "true" }) })
    assert.are.same({ false, "unauthorized" }, { policy.retryable(401) })
    assert.are.same({ false, "not_found" }, { policy.retryable(404) })
    assert.are.same({ true, "overloaded" }, { policy.retryable(529, {}, "<html>") })
    assert.are.same({ true, "server" }, { policy.retryable(500, {}, '{"error": cut') })
    assert.are.same({ false, "ok" }, { policy.retryable(200) })
  end)

  it("refuses what is no status", function()
    assert.has_error(function() policy.retryable "429" end)
    assert.has_error(function() policy.retryable() end)
    assert.has_error(function() policy.retryable(0 / 0) end)
    assert.has_error(function() policy.retryable(429, "x") end)
  end)
end)
