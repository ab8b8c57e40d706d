local policy = require "surefoot.policy"
local virtual = require "spec.policy.virtual"

describe("concurrency limiter", function()
  local world, limiter

  local function make(options)
    world = virtual.world(100)
    limiter = policy.concurrency_limiter(virtual.with(world, options))
  end

  local function acquire(count)
    local slots = {}
    for i = 1, count do
      slots[i] = assert(limiter:acquire())
    end
    return slots
  end

  it("holds at most its limit, and remembers the peak", function()
    make { limit = 3 }
    local slots = acquire(3)
    assert.is_nil(limiter:acquire())
    assert.are.same({ 3, 3, 3 }, { limiter:limit(), limiter:in_flight(), limiter:peak() })
    slots[1]:release "ok"
    assert.are.equal(2, limiter:in_flight())
    assert.is_userdata(limiter:acquire())
    assert.are.equal(3, limiter:peak())
  end)

  it("V-BH1 a second release is a no-op", function()
    make { limit = 2 }
    local slots = acquire(2)
    slots[1]:release()
    slots[1]:release "dropped"
    slots[1]:release()
    assert.are.equal(1, limiter:in_flight())
  end)

  it("V-CL1 V-CL4 grows while the limit is used", function()
    make { limit = 20, adaptive = true, max = 200 }
    acquire(10)[1]:release "ok"
    assert.are.equal(21, limiter:limit())
    make { limit = 20, adaptive = true, max = 200 }
    acquire(9)[1]:release "ok"
    assert.are.equal(20, limiter:limit())
  end)

  it("V-CL2 shrinks by a tenth on a drop", function()
    make { limit = 30, adaptive = true }
    limiter:acquire():release "dropped"
    assert.are.equal(27, limiter:limit())
  end)

  it("V-CL3 stays within its bounds", function()
    make { limit = 21, adaptive = true, max = 21 }
    acquire(21)[1]:release "ok"
    assert.are.equal(21, limiter:limit())
    make { limit = 100, adaptive = true, min = 5, max = 21 }
    assert.are.equal(21, limiter:limit())
    for _ = 1, 100 do
      local slot = limiter:acquire()
      world.now = world.now + 1
      slot:release "dropped"
    end
    assert.are.equal(5, limiter:limit())
  end)

  it("V-CL13 shrinks 10 9 8 7, and 1 stays 1", function()
    make { limit = 10, adaptive = true }
    for _, wanted in ipairs { 9, 8, 7 } do
      local slot = limiter:acquire()
      world.now = world.now + 1
      slot:release "dropped"
      assert.are.equal(wanted, limiter:limit())
    end
    make { limit = 1, adaptive = true }
    limiter:acquire():release "dropped"
    assert.are.equal(1, limiter:limit())
    make { limit = 10, adaptive = true }
    local slot = limiter:acquire()
    world.now = world.now + 1
    slot:release "ok"
    assert.are.equal(10, limiter:limit()) -- not used, not raised
  end)

  it("changes once per round trip: a drop of an older attempt says nothing new", function()
    make { limit = 20, adaptive = true }
    local slots = acquire(20)
    world.now = world.now + 2
    for i = 1, 6 do
      slots[i]:release "dropped"
      world.now = world.now + 0.01
    end
    assert.are.equal(18, limiter:limit())
    for i = 7, 20 do
      slots[i]:release "ok" -- began before the cut
    end
    assert.are.equal(18, limiter:limit())
    slots = acquire(18)
    world.now = world.now + 2
    for i = 1, 18 do
      slots[i]:release "ok"
    end
    assert.are.equal(19, limiter:limit())
  end)

  it("does not move when the slots are ignored, or the limit is fixed", function()
    make { limit = 20, adaptive = true }
    acquire(20)[1]:release "ignored"
    assert.are.equal(20, limiter:limit())
    make { limit = 20 }
    local slots = acquire(20)
    slots[1]:release "dropped"
    slots[2]:release "ok"
    assert.are.equal(20, limiter:limit())
  end)

  it("gets a collected slot back, without learning from it", function()
    make { limit = 20, adaptive = true }
    acquire(20)
    collectgarbage()
    collectgarbage()
    assert.are.same({ 0, 20 }, { limiter:in_flight(), limiter:limit() })
  end)

  it("refuses words it does not know, and keeps the slot", function()
    make { limit = 1 }
    local slot = limiter:acquire()
    local ok, message = pcall(slot.release, slot, "okay")
    assert.is_false(ok)
    assert.matches('one of "ignored" "ok" "dropped" expected, got "okay"', message, 1, true)
    assert.has_error(function() slot:release(true) end)
    assert.are.equal(1, limiter:in_flight())
  end)

  it("counts what is out, whatever happens", function()
    local random = virtual.generator(4)
    make { limit = 8, adaptive = true, max = 16 }
    local held, words = {}, { "ok", "dropped", "ignored" }
    for _ = 1, 5000 do
      world.now = world.now + random() * 0.2 - 0.05
      if random() < 0.55 then
        local slot = limiter:acquire()
        assert.are.equal(#held < limiter:limit(), slot ~= nil)
        held[#held + 1] = slot
      elseif #held > 0 then
        table.remove(held, random(#held)):release(words[random(3)])
      end
      assert.are.equal(#held, limiter:in_flight())
      assert.is_true(limiter:limit() >= 1 and limiter:limit() <= 16)
    end
  end)
end)
