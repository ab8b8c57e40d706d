-- A stream that a task dropped was collected only when the task waited for something else: the task still held the call
-- that it had waited for last.

local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("a stream that a task has read of and dropped", function()
  it("is cancelled when it is collected, while the task goes on", function()
    local p = provider.start()
    local client = surefoot.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }
    p:profile("a", { stream = { chunk_delay = 0.05 }, answer = { chunks = 200, bytes = 4000 } })
    local task
    surefoot.run(function()
      task = surefoot.spawn(function()
        local stream = assert(client:stream "x")
        assert(stream:read())
        assert(stream:read())
        stream = nil -- luacheck: ignore 311
        for _ = 1, 3 do
          collectgarbage()
        end
        return client:stats().in_flight
      end)
      assert.equal(0, task:wait())
    end)
    assert.is_true(task:done())
    client:close()
    p:stop()
  end)
end)
