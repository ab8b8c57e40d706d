local policy = require "surefoot.policy"

local NOW = 1696004797 -- Fri, 29 Sep 2023 16:26:37 GMT

local function after(value, options)
  options = options or {}
  options.now = options.now or NOW
  return policy.retry_after(type(value) == "table" and value or { ["Retry-After"] = value }, options)
end

describe("policy.retry_after", function()
  it("V-RA1 V-RA4 V-RA10 V-RA19 reads seconds", function()
    for text, wanted in pairs { ["20"] = 20, ["60"] = 60, ["61"] = 61, ["120"] = 120, [" 120 "] = 120,
      ["1.5"] = 1.5 } do
      assert.is_near(wanted, after(text), 1e-9)
    end
    assert.are.equal(20, after { ["retry-after"] = 20 })
  end)

  it("V-RA2 V-RA3 V-RA14 V-RA17 V-RA20 takes 0, signs, units and junk for no hint", function()
    for _, text in ipairs { "0", "-10", "inf", "nan", "", " ", "+5", "0x10", "5s", "1e3", "soon", "1.", ".5" } do
      assert.are.same({ n = 0 }, { n = 0, after(text) }, text)
    end
  end)

  it("V-RA5 V-RA12 V-RA13 says too_long above the cap", function()
    for _, text in ipairs { "121", "Fri, 29 Sep 2023 16:28:38 GMT", ("9"):rep(35) } do
      local seconds, problem = after(text)
      assert.is_nil(seconds)
      assert.are.equal("too_long", problem)
    end
    assert.are.equal(121, after("121", { cap = 600 }))
    assert.is_true(after(("9"):rep(35), { cap = math.huge }) > 1e9)
    assert.are.equal("too_long", select(2, after("5", { cap = 1 })))
  end)

  it("V-RA6 V-RA7 V-RA8 V-RA9 V-RA11 reads the three forms of a date", function()
    assert.are.equal(20, after "Fri, 29 Sep 2023 16:26:57 GMT")
    assert.are.equal(20, after "Friday, 29-Sep-23 16:26:57 GMT")
    assert.are.equal(20, after "Fri Sep 29 16:26:57 2023")
    assert.are.equal(120, after "Fri, 29 Sep 2023 16:28:37 GMT")
    assert.is_nil((after "Fri, 29 Sep 2023 16:26:37 GMT"))
    assert.is_nil((after "Fri, 29 Sep 2023 16:26:27 GMT"))
  end)

  it("V-RA15 V-RA16 takes a broken date for no hint", function()
    assert.are.same({ n = 0 }, { n = 0, after "Zun, 29 Sep 2023 16:26:27 GMT" })
    assert.are.same({ n = 0 }, { n = 0, after "Fri, 29 Sep 100000 16:26:57 GMT" })
  end)

  it("V-RA18 believes milliseconds first", function()
    assert.are.equal(1.5, after { ["retry-after-ms"] = "1500", ["retry-after"] = "9" })
    assert.are.equal(1.5, after { ["x-ms-retry-after-ms"] = "1500", ["retry-after"] = "9" })
    assert.are.equal(2, after { ["Retry-After-MS"] = "2000", ["X-MS-Retry-After-Ms"] = "1500" })
    assert.are.equal(9, after { ["retry-after-ms"] = "soon", ["retry-after"] = "9" })
    assert.are.equal(9, after { ["retry-after-ms"] = "0", ["retry-after"] = "9" })
  end)

  it("V-RA23 takes the largest of several", function()
    assert.are.equal(30, after { ["retry-after"] = { "20", "30", "x" } })
    assert.are.equal(30, after "20, 30")
    assert.are.equal(30, after { ["retry-after"] = "20", ["Retry-After"] = "30" })
  end)

  it("measures a date against the server's own clock", function()
    assert.are.equal(20, after { Date = "Fri, 29 Sep 2023 15:26:37 GMT",
      ["Retry-After"] = "Fri, 29 Sep 2023 15:26:57 GMT" })
  end)

  it("reads a body when the headers say nothing", function()
    local cases = {
      { "Requests to the API have exceeded call rate limit. Please retry after 37 seconds.", 37 },
      { "Rate limit reached. Please try again in 20s.", 20 },
      { "Please try again in 6m0s. Visit https://example.com", 360 },
      { "Please try again in 2m59.56s.", 179.56 },
      { "Please try again in 250ms.", 0.25 },
      { "try again in 1 minute and 3 seconds", 63 },
      { "Please retry in 34.074824224s.", 34.074824224 },
      { "Retry after 5", 5 },
      { '{"error":{"details":[{"retryDelay": "34s"}]}}', 34 },
      { "try again in 5 attempts", nil },
      { "try again later", nil },
      { "try again in -5s", nil },
      { "retry after 0 seconds", nil },
      { "", nil },
    }
    for _, case in ipairs(cases) do
      local seconds = policy.retry_after({}, { body = case[1], cap = 1000 })
      if case[2] then assert.is_near(case[2], seconds or -1, 1e-6) else assert.is_nil(seconds, case[1]) end
    end
    assert.are.equal(9, policy.retry_after({ ["Retry-After"] = "9" }, { body = "try again in 20s" }))
    assert.are.equal("too_long", select(2, policy.retry_after(nil, { body = "try again in 20 minutes" })))
  end)

  it("reads decoded bodies", function()
    local gemini = { error = { code = 429, status = "RESOURCE_EXHAUSTED", message = "Quota exceeded.", details = {
      { ["@type"] = "type.googleapis.com/google.rpc.Help" },
      { ["@type"] = "type.googleapis.com/google.rpc.RetryInfo", retryDelay = "34.5s" },
    } } }
    assert.are.equal(34.5, policy.retry_after({}, { body = gemini }))
    assert.are.equal(34.5, policy.retry_after({}, { body = { gemini } }))
    assert.are.equal(20, policy.retry_after({}, { body = { error = { message = "Please try again in 20s." } } }))
    assert.are.equal(7, policy.retry_after({}, { body = { error = { message = "Provider returned error",
      metadata = { raw = "slow down, retry after 7 seconds" } } } }))
    assert.is_nil(policy.retry_after({}, { body = { message = 5, error = false } }))
    assert.is_nil(policy.retry_after({}, { body = {} }))
  end)

  it("refuses what it cannot read", function()
    assert.has_error(function() policy.retry_after("Retry-After: 5") end)
    assert.has_error(function() policy.retry_after({}, { body = 5 }) end)
    assert.has_error(function() policy.retry_after({}, { cap = -1 }) end)
    assert.has_error(function() policy.retry_after({}, { limit = 5 }) end)
    assert.has_error(function() policy.retry_after({}, { now = 0 / 0 }) end)
  end)

  it("is not fooled by line breaks in a value", function()
    assert.is_nil((after { ["x-other"] = "1\r\nretry-after: 5" }))
    assert.is_nil((after { ["x-other"] = "1\nretry-after: 5", ["retry-after"] = "x\n7" }))
  end)
end)
