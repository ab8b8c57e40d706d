-- getrandom may be interrupted before it gives anything: an id, and with it a call, failed because of a signal that was
-- for somebody else.

local env = require "spec.support.env"

describe("an id", function()
  it("is made while signals come #once", function()
    env.need("strace", "strace")
    local result = env.run { "strace", "-o", "/dev/null", "-e", "trace=getrandom", "-e",
      "inject=getrandom:error=EINTR:when=1..10", env.lua, "-l", "spec.helper", "-e",
      [[io.write(#require("surefoot.core").unique_id())]] }
    assert.same({ 0, "36", "" }, { result.status, result.stdout, result.stderr })
  end)
end)
