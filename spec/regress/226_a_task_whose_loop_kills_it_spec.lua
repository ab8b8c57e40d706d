-- A task whose coroutine another loop had closed, removed or dropped never ended: whoever waited for it from elsewhere,
-- and the surefoot.run that it belonged to, waited for ever.

local env = require "spec.support.env"
local guard = require "surefoot.guard"
local hosts = require "surefoot.loop.hosts"
local native = require "surefoot.loop.native"
local surefoot = require "surefoot"

describe("a task that its loop kills", function()
  local had, had_hosts = {}, nil

  local function load(name, library)
    had[name] = package.loaded[name] or false
    package.loaded[name] = library
    return library
  end

  -- Another spec may have loaded another copas.
  before_each(function()
    local scheduler = native.scheduler()
    had_hosts, scheduler.hosts = scheduler.hosts, hosts.new(scheduler)
  end)

  after_each(function()
    native.scheduler().hosts = had_hosts
    for name, library in pairs(had) do
      package.loaded[name] = library or nil
    end
    had = {}
  end)

  local function turn_until(check, turn)
    local deadline = surefoot.now() + 5
    while not check() do
      assert(surefoot.now() < deadline, "somebody waits for ever")
      turn()
    end
  end

  describe("in cqueues", function()
    local before = package.loaded.cqueues
    local found, cqueues = pcall(require, "cqueues")
    package.loaded.cqueues = before
    if not found then
      it("ends", function()
        env.skip("cqueues was not found for " .. env.lua .. ": install the package lua-cqueues")
      end)
      return
    end

    -- Begins f in a controller that `kill` ends while others wait for the task elsewhere: what they are told.
    local function told(f, kill)
      load("cqueues", cqueues)
      local state, here, said = { controller = cqueues.new() }, cqueues.new(), {}
      state.controller:wrap(function()
        state.task = surefoot.spawn(function()
          state.co = setmetatable({ coroutine.running() }, { __mode = "v" })
          f()
        end)
      end)
      for _ = 1, 3 do
        assert(state.controller:step(0))
      end
      for i = 1, 2 do
        here:wrap(function() said[i] = select(2, state.task:wait()) end)
      end
      assert(here:step(0))
      kill(state)
      turn_until(function() return said[1] and said[2] end, function() assert(here:step(0.01)) end)
      here:close()
      assert.is_true(state.task:done())
      return said[1].kind .. " " .. said[2].kind
    end

    local function drop(state)
      state.controller:close()
      state.controller = nil
      for _ = 1, 4 do
        collectgarbage()
      end
    end

    it("ends as cancelled when it is dropped", function()
      assert.equal("cancelled cancelled", told(function() surefoot.sleep(1000) end, drop))
    end)

    it("ends as cancelled when it is dropped as it waits for another", function()
      local function timers()
        local count = 0
        for _ in pairs(native.scheduler().parked) do
          count = count + 1
        end
        return count
      end
      local other, before_it = nil, timers()
      assert.equal("cancelled cancelled", told(function()
        other = surefoot.spawn(surefoot.sleep, 1000)
        other:wait(500)
      end, drop))
      assert.is_true(other:done())
      assert.equal(before_it, timers())
    end)

    it("goes on when only its wait has thrown, whatever is collected", function()
      load("cqueues", cqueues)
      local controller, task, value, waits = cqueues.new(), nil, nil, nil
      controller:wrap(function()
        task = surefoot.spawn(function()
          waits = pcall(surefoot.sleep, 0.01) -- but on 5.1
          for _ = 1, 4 do
            collectgarbage()
          end
          cqueues.sleep(0.01)
          return "went on"
        end)
        value = task:wait()
      end)
      turn_until(function() return value end, function() assert(controller:step(0.01)) end)
      controller:close()
      assert.same({ "went on", env.yields_everywhere }, { value, waits })
    end)

    it("ends as cancelled when it is closed", function()
      if not coroutine.close then
        env.skip "only Lua 5.4 closes coroutines"
        return
      end
      assert.equal("cancelled cancelled", told(function() surefoot.sleep(1000) end, function(state)
        coroutine.close(state.co[1])
      end))
    end)
  end)

  describe("in copas", function()
    local copas = require "spec.loops.copas4"

    local function told(f)
      load("copas", copas)
      local victim, said, value
      copas.addthread(function()
        value = surefoot.run(function()
          local task = surefoot.spawn(function()
            victim = guard.running()
            f()
          end)
          copas.addthread(function()
            copas.pause(0.01)
            copas.removethread(victim)
          end)
          said = select(2, task:wait())
          return "the run has ended"
        end)
      end)
      turn_until(function() return value end, function() copas.step(0.01) end)
      return said.kind
    end

    it("ends as cancelled when it is removed", function()
      assert.equal("cancelled", told(function() surefoot.sleep(1000) end))
    end)

    it("ends as cancelled when it is removed as it waits by copas", function()
      assert.equal("cancelled", told(copas.pauseforever))
    end)

    it("has its functions replaced once, whatever schedulers there are", function()
      load("copas", copas)
      require "surefoot.loop.copas"({ engine = {} }, copas)
      local remove, cancel = copas.removethread, copas.cancelall
      require "surefoot.loop.copas"({ engine = {} }, copas)
      assert.equal(remove, copas.removethread)
      assert.equal(cancel, copas.cancelall)
    end)
  end)
end)
