-- One timer of the kernel stands for all that are due, libcurl's among them, and is set only for what comes earlier.
-- What it was set to has to be forgotten once it fires: else it is earlier than all that follows, and never set again.
local build = require "spec.support.build"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("after the engine's timer has fired #once", function()
  local p, system, fd, client

  setup(function()
    p = provider.start()
    local path = package.cpath
    package.cpath = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;" .. path
    system = require "spec_system"
    package.cpath = path
    client = surefoot.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }
    fd = surefoot.pollfd()
  end)

  teardown(function()
    client:close()
    p:stop()
    build.clean()
  end)

  -- Steps only when the fd says so.
  local function finish(f)
    local task = surefoot.spawn(f)
    surefoot.step()
    while not task:done() do
      assert(system.poll(fd, 2 * pace), "the timer was not set")
      surefoot.step()
    end
    return task:wait()
  end

  it("the next ones fire, whatever is due later", function()
    p:profile("a", { fault = "hang" })
    local canceller = surefoot.canceller()
    local late = surefoot.spawn(function() client:chat("x", { deadline = 100, cancel = canceller }) end)
    finish(function()
      for _ = 1, 5 do
        surefoot.sleep(0.01)
      end
      return true
    end)
    for _ = 1, 3 do
      local _, err = finish(function() return client:chat("x", { deadline = 0.1 * pace }) end)
      assert.equal("deadline", err.kind)
    end
    canceller:cancel()
    finish(function() return late:wait() end)
  end)

  it("libcurl's own fire, too", function()
    local silent = provider.silent() -- a connection that is never accepted is given up by a timer
    local stuck = surefoot.new { base_url = silent.url, api_key = "sk-test-0123456789", model = "m",
      timeout = { connect = 0.05 * pace }, retry = { max_attempts = 2, base_delay = 0.01 } }
    finish(function()
      surefoot.sleep(0.01)
      return true
    end)
    local _, err = finish(function() return stuck:chat "x" end)
    assert.same({ "timeout", "connect", 2 }, { err.kind, err.phase, #err.attempts })
    stuck:close()
    silent:close()
  end)
end)
