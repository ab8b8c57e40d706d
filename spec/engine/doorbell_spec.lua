-- core.doorbell as Lua sees it: rung for, misused, closed, collected, out of memory. The rest is in doorbell_test.c.
local core = require "surefoot.core"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local unix = require "socket.unix"

local function threads()
  return tonumber((process.read "/proc/self/status"):match "Threads:%s*(%d+)")
end

local function connected(bell)
  local line = assert((unix.stream or unix)())
  assert(line:connect(bell:path()))
  line:settimeout(2 * pace)
  return line
end

describe("core.doorbell", function()
  local engine

  before_each(function()
    engine = core.engine()
  end)

  it("rings when the engine has work, each time that it was armed", function()
    local bell = assert(core.doorbell(engine))
    local line = connected(bell)
    assert.is_true(bell:attach())
    for _ = 1, 3 do
      local timer = engine:timer(0.005)
      local id
      repeat
        assert.equal("!", line:receive(1))
        engine:step()
        id = engine:ready()
        assert.is_true(bell:arm())
      until id
      assert.equal(timer, id)
    end
    bell:close()
    assert.equal("closed", select(2, line:receive(1)))
    line:close()
  end)

  it("says what is not there", function()
    local bell = assert(core.doorbell(engine))
    assert.matches("^/.*/surefoot%-......./?bell$", bell:path())
    local ok, problem = bell:attach()
    assert.is_nil(ok)
    assert.matches("not connected", problem)
    ok, problem = bell:arm()
    assert.is_nil(ok)
    assert.matches("not connected", problem)
    bell:close()
    bell:close()
    assert.error_matches(function() bell:arm() end, "the doorbell is closed")
    assert.error_matches(function() bell:path() end, "the doorbell is closed")
    assert.error_matches(function() core.doorbell() end, "surefoot.engine expected")
    assert.error_matches(function() core.doorbell(core.simulation(1)) end, "a simulation has no fd")
  end)

  it("ends when nobody holds it", function()
    local before = threads()
    local bell = assert(core.doorbell(engine))
    local line = connected(bell)
    assert(bell:attach())
    assert.equal(before + 1, threads())
    bell = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal("closed", select(2, line:receive(1)))
    line:close()
    assert(process.wait_for(function() return threads() == before end, pace))
  end)

  it("may be refused memory", function()
    if not core.fail_allocation then
      return
    end
    core.fail_allocation(1)
    local bell, problem = core.doorbell(engine)
    assert.is_nil(bell)
    assert.matches("memory", problem)
  end)
end)
