-- On a kept connection a call can get as far as its end inside the submission; nothing then made the engine's fd
-- readable, and a loop that only watches it waited for ever. The same for what a cancel has ended: whoever makes news
-- outside of step() must ring.
local build = require "spec.support.build"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("news made outside of a step", function()
  local p, client, system, fd

  setup(function()
    p = provider.start()
    local path = package.cpath
    package.cpath = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;" .. path
    system = require "spec_system"
    package.cpath = path
    client = surefoot.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }
    assert(client:chat "warm")
    fd = surefoot.pollfd()
    surefoot.use {
      wait = function(token)
        token.co = coroutine.running()
        coroutine.yield()
      end,
      wake = function(token)
        if token.co and coroutine.status(token.co) == "suspended" then
          assert(coroutine.resume(token.co))
        end
      end,
    }
  end)

  teardown(function()
    surefoot.use(nil)
    client:close()
    p:stop()
    build.clean()
  end)

  -- A coroutine of a loop that is not ours: whatever it does, it does outside of a step.
  local function begin(options, with)
    local outcome = {}
    coroutine.wrap(function()
      outcome.result, outcome.err = (with or client):chat("x", options)
      outcome.over = true
    end)()
    return outcome
  end

  -- Steps only when the fd says so.
  local function finish(outcome)
    while not outcome.over do
      assert(system.poll(fd, 2 * pace), "nobody rang")
      surefoot.step()
    end
    return outcome
  end

  it("rings: a call on a kept connection", function()
    for _ = 1, 20 do
      assert.equal("echo: x", finish(begin()).result.text)
    end
  end)

  it("rings: a cancelled call", function()
    p:profile("a", { fault = "hang" })
    local canceller = surefoot.canceller()
    local outcome = begin { cancel = canceller }
    assert(p:wait("a", function(counters)
      surefoot.step()
      return counters.in_flight == 1
    end))
    while system.poll(fd, 0) do
      surefoot.step()
    end
    canceller:cancel()
    assert.equal("cancelled", finish(outcome).err.kind)
    p:reset()
  end)

  it("rings: a task that is begun after a loop threw in the step", function()
    local narrow = surefoot.new {
      base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m", concurrency = { limit = 1 },
    }
    p:profile("a", { fault = "hang" })
    local canceller, count = surefoot.canceller(), 0
    surefoot.use {
      wait = function(token)
        token.co = coroutine.running()
        coroutine.yield()
      end,
      wake = function(token)
        count = count + 1
        if count == 1 then
          assert(coroutine.resume(token.co))
        elseif count == 2 then
          error("the loop is gone", 0)
        end
      end,
    }
    begin(nil, narrow)
    begin({ cancel = canceller }, narrow) -- waits for a place: its end gives the transport nothing to do
    while system.poll(fd, 0) do
      surefoot.step()
    end
    coroutine.wrap(function()
      surefoot.sleep(0)
      canceller:cancel()
    end)()
    local thrown
    repeat
      assert(system.poll(fd, 2 * pace), "nobody rang")
      local ok, problem = pcall(surefoot.step)
      thrown = not ok and problem
    until thrown
    assert.equal("the loop is gone", thrown)
    surefoot.use(nil)
    local ran = false
    surefoot.spawn(function() ran = true end)
    assert(system.poll(fd, 0), "nobody rang")
    surefoot.step()
    assert.is_true(ran)
    narrow:close()
    p:reset()
  end)
end)
