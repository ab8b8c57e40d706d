-- The engine forgives a phase that ran out while the host did not call it; but the timer had forgotten by then when it
-- was due, so that nothing was ever forgiven, and a busy host counted as a slow provider.
local socket = require "socket"
local surefoot = require "surefoot"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"

describe("a host that is late", function()
  local p
  setup(function() p = provider.start() end)
  teardown(function() p:stop() end)

  it("does not count as a provider's timeout", function()
    local client = surefoot.new {
      base_url = p.lines.a.url, model = "m", timeout = { attempt = 0.1 * pace }, retry = { max_attempts = 1 },
    }
    surefoot.pollfd()
    local result, err
    local task = surefoot.spawn(function() result, err = client:chat "still here" end)
    surefoot.step() -- connecting
    socket.sleep(0.3 * pace) -- busy elsewhere
    task:wait(5 * pace)
    client:close()
    assert.equal("echo: still here", result and result.text or tostring(err))
    assert.equal(1, p:counters("a").requests)
  end)

  it("is forgiven once: what never answers ends all the same, however the host polls", function()
    p:profile("a", { fault = "hang" })
    local client = surefoot.new {
      base_url = p.lines.a.url, model = "m", timeout = { attempt = 0.05 }, retry = { max_attempts = 1 },
    }
    surefoot.pollfd()
    local err
    local task = surefoot.spawn(function() err = select(2, client:chat("gone", { deadline = 20 })) end)
    for _ = 1, 50 do
      surefoot.step()
      if task:done() then break end
      socket.sleep(0.06)
    end
    client:close()
    assert.is_true(task:done())
    assert.equal("timeout", err.kind)
  end)
end)
