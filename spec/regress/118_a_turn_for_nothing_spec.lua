-- The engine rang for the news of its own turn, and nobody took that back when the news was taken: every loop turned
-- once more for nothing.
local build = require "spec.support.build"
local core = require "surefoot.core"
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local socket = require "socket"

describe("the engine's fd", function()
  local system

  setup(function()
    local path = package.cpath
    package.cpath = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;" .. path
    system = require "spec_system"
    package.cpath = path
  end)

  teardown(build.clean)

  it("is silent when the news of a turn was taken", function()
    leaks.close_engine() -- what others have left would count
    local engine = core.engine()
    local fd = engine:fd()
    local first, second = engine:timer(0.01), engine:timer(0.01)
    socket.sleep(0.02) -- both are due
    assert.is_true(system.poll(fd, 2 * pace))
    assert.equal(2, engine:step())
    assert.is_true(system.poll(fd, 0))
    assert.equal(first, engine:ready())
    assert.is_true(system.poll(fd, 0))
    assert.equal(second, engine:ready())
    assert.is_false(system.poll(fd, 0))
    local third = engine:timer(0.01)
    assert(system.poll(fd, 2 * pace), "and it never speaks again")
    engine:step()
    assert.equal(third, engine:ready())
    assert.is_false(system.poll(fd, 0))
  end)
end)
