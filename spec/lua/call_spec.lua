-- How a failure reads: what happened, where, at which attempt.
local surefoot = require "surefoot"

local function fail(script, config, options)
  local sim = surefoot.simulate { endpoints = { hk = function() return script end } }
  local _, err = sim:client(config):chat("Hi", options)
  return err
end

describe("an error", function()
  local twice = { max_attempts = 2 }
  local cases = {
    { { fault = "hang" }, { retry = twice }, nil, "timeout: attempt after 120 s from hk (attempt 2 of 2, request X)",
      "attempt" },
    { { fault = "hang" }, { retry = twice, timeout = { first_byte = 60 } }, nil,
      "timeout: first byte after 60 s from hk (attempt 2 of 2, request X)", "first_byte" },
    { { fault = "hang" }, { retry = twice }, { timeout = { first_byte = 0.25 } },
      "timeout: first byte after 250 ms from hk (attempt 2 of 2, request X)", "first_byte" },
    { { connect = 99 }, { retry = twice }, nil, "timeout: connect after 10 s from hk (attempt 2 of 2, request X)",
      "connect" },
    { { fail = "resolve" }, { retry = twice }, nil,
      "network: could not resolve host from hk (attempt 2 of 2, request X)", "connect" },
    { { fail = "tls" }, { retry = { max_attempts = 1 } }, nil,
      "tls: TLS handshake failed from hk (attempt 1 of 1, request X)", "connect" },
    { { status = 500, body = "<html>oops" }, { retry = twice }, nil,
      "server: HTTP 500 from hk (attempt 2 of 2, request X)" },
    { { status = 500 }, { retry = twice }, nil, "server: HTTP 500 from hk (attempt 2 of 2, request X)" },
    { { status = 301 }, {}, nil, "server: HTTP 301 from hk (attempt 1 of 5, request X)" },
    { {}, { retry = twice }, nil, "malformed: the answer is empty from hk (attempt 2 of 2, request X)" },
    { { status = 429, headers = { ["retry-after"] = "300" } }, {}, nil,
      "rate_limited: HTTP 429; the server asks for a longer wait than is allowed from hk (attempt 1 of 5, request X)" },
    { { text = ("x"):rep(5000) }, { limits = { response_bytes = 2000 } }, nil,
      "too_large: response body too large from hk (attempt 1 of 5, request X)" },
    { { fault = "hang" }, {}, { deadline = 3 },
      "deadline: the deadline passed while an answer was awaited (attempt 1 of 5, request X)" },
  }
  for _, case in ipairs(cases) do
    it("reads " .. case[4], function()
      local err = fail(case[1], case[2], case[3])
      assert.equal(case[4], (tostring(err):gsub("00000000%-0000%-4000%-8000%-000000000001", "X")))
      if case[5] then
        assert.equal(case[5], err.phase)
      end
      for _, attempt in ipairs(err.attempts) do
        assert.equal("hk", attempt.endpoint)
      end
    end)
  end

  it("says when to come back", function()
    local err = fail({ status = 429, headers = { ["retry-after"] = "300" } })
    assert.equal(300, err.retry_after)
    assert.is_number(err.retry_at)
  end)

  it("keeps the body, decoded where it is JSON and short where it is not", function()
    assert.same({ error = { message = "m" } }, fail({ status = 400, body = { error = { message = "m" } } }).body)
    assert.equal(16384, #fail({ status = 400, body = ("x"):rep(50000) }).body)
  end)

  it("counts as sent once a request may have left", function()
    assert.is_true(fail({ fault = "reset" }).sent)
    assert.is_false(fail({ fail = "connect" }).sent)
  end)
end)
