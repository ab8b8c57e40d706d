-- What callers are told of failures.

local errors = require "surefoot.errors"
local failures = require "surefoot.gateway.errors"

describe("a caller of the gateway is told", function()
  local function told(fields)
    fields.kind = "too_large"
    local failure = failures.of(errors.new(fields))
    return { failure.status, failure.code, failure.message }
  end

  it("whose it was that is too large", function()
    assert.same({ 502, "upstream_too_large", "the upstream's answer breaks a limit of this gateway "
      .. "(limits.response_bytes): the body is too large" }, told { message = "the body is too large", sent = true })
    for _, message in ipairs { "the headers are too large", "an event is larger than limits.event_bytes" } do
      assert.same({ 502, "upstream_too_large", "the upstream's answer breaks a limit of this gateway: " .. message },
        told { message = message, sent = true, status = 200 })
    end
    assert.same({ 413, "request_too_large", "no" }, told { message = "no", sent = true, status = 413 })
    assert.same({ 413, "request_too_large", "no" }, -- said in a stream
      told { message = "no", sent = true, status = 200, code = "request_too_large" })
    assert.same({ 413, "request_too_large", "no" }, told { message = "no", sent = false })
    assert.equal(413, failures.own("too_large", "the body is larger").status)
  end)
end)
