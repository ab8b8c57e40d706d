-- A loop that is not ours was woken to send what a submission had handed to the transport, and once more for an answer
-- that its owner had just taken: two turns of three were for nothing.
local build = require "spec.support.build"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("a call in a loop that is not ours", function()
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
      wake = function(token) assert(coroutine.resume(token.co)) end,
    }
  end)

  teardown(function()
    surefoot.use(nil)
    client:close()
    p:stop()
    build.clean()
  end)

  before_each(function()
    p:reset()
    while system.poll(fd, 0) do
      surefoot.step()
    end
  end)

  local function begin(outcome, text)
    coroutine.wrap(function()
      outcome.result, outcome.err = client:chat(text)
      outcome.over = true
    end)()
    return outcome
  end

  it("is sent without a turn", function()
    p:profile("a", { fault = "hang" })
    local outcome = begin({}, "x")
    assert.is_false(system.poll(fd, 0))
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    client:close()
    surefoot.step()
    assert.equal("closed", outcome.err.kind)
    client = surefoot.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }
  end)

  it("leaves nothing to be done when it has ended", function()
    local outcome = begin({}, "x")
    assert(process.wait_for(function()
      assert(system.poll(fd, 2 * pace), "nobody rang")
      surefoot.step()
      return outcome.over
    end))
    assert.equal("echo: x", outcome.result.text)
    assert.is_false(system.poll(fd, 0))
  end)

  it("is sent in the next turn where others were sent just before", function()
    local outcomes = {}
    for i = 1, 50 do
      outcomes[i] = begin({}, tostring(i))
    end
    for i, outcome in ipairs(outcomes) do
      while not outcome.over do
        assert(system.poll(fd, 2 * pace), "nobody rang")
        surefoot.step()
      end
      assert.equal("echo: " .. i, outcome.result.text)
    end
  end)
end)
