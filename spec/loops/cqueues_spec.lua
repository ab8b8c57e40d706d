-- Calls in coroutines of cqueues' controllers: they wait by them, the controllers go on, and end by themselves.

local build = require "spec.support.build"
local env = require "spec.support.env"
local native = require "surefoot.loop.native"
local owned = require "spec.loops.owned"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local function library()
  local had = package.loaded.cqueues
  local ok, cqueues = pcall(require, "cqueues")
  package.loaded.cqueues = had -- the other specs' coroutines are not its own
  return ok and cqueues or nil
end

describe("cqueues", function()
  local p, controller
  local cqueues = library()

  if not cqueues then
    it("waits", function()
      env.skip("cqueues was not found for " .. tostring(env.lua) .. ": install the package lua-cqueues")
    end)
    return
  end

  setup(function() p = provider.start { lines = { "a" } } end)
  teardown(function() p:stop() end)

  -- What its coroutines throw, until it is empty.
  local function run(one)
    local errors, deadline = {}, surefoot.now() + 20 * pace
    repeat
      local ok, message = one:loop(deadline - surefoot.now())
      errors[#errors + 1] = not ok and tostring(message) or nil
      assert(surefoot.now() < deadline, "the loop did not end")
    until ok and one:empty()
    return table.concat(errors, "\n")
  end

  local home = {}

  function home.enter()
    package.loaded.cqueues = cqueues
    controller = cqueues.new()
  end

  function home.leave()
    package.loaded.cqueues = nil
    controller:close()
  end

  function home.spawn(f)
    controller:wrap(f)
  end

  function home.run()
    return run(controller)
  end

  function home.tick()
    cqueues.sleep(0.01)
  end

  local it_here = owned.describe(it, home, function() return p end)

  -- n coroutines of a controller that wait, each for a call that never answers.
  local function wait_in_vain(one, n, ask)
    p:profile("a", { fault = "hang" })
    for _ = 1, n do
      one:wrap(function()
        local me = one -- holds what holds it
        ask()
        error("it went on in " .. tostring(me))
      end)
    end
    local deadline = surefoot.now() + 5 * pace
    while p:counters("a").in_flight < n do
      assert(surefoot.now() < deadline)
      assert(one:step(0.01))
    end
  end

  local function aborted(n)
    for _ = 1, 50 do
      collectgarbage()
      if p:wait("a", function(c) return c.aborted == n and c.in_flight == 0 end, 0.05) then
        return true
      end
    end
  end

  it_here("waits in several controllers that turn by turns", function(client)
    p:profile("a", { delay = 0.02 })
    local list, texts = {}, {}
    for i = 1, 3 do
      list[i] = cqueues.new()
      for j = 1, 4 do
        list[i]:wrap(function()
          for k = 1, 3 do
            local text = assert(client:chat(i .. j .. k)).text
            texts[#texts + 1] = text
          end
        end)
      end
    end
    local deadline = surefoot.now() + 5 * pace
    while not (list[1]:empty() and list[2]:empty() and list[3]:empty()) do
      assert(surefoot.now() < deadline, "a wake-up was lost")
      for i = 1, 3 do
        assert(list[i]:step(i == 1 and 0.001 or 0))
      end
    end
    assert.equal(36, #texts)
    for i = 1, 3 do
      list[i]:close()
    end
  end)

  it_here("waits in controllers inside of controllers", function(client)
    p:profile("a", { by_model = { slow = { delay = 0.1 }, quick = { delay = 0.02 } } })
    local order, ended = {}, 0
    local function ask(label, model)
      assert(client:chat { model = model, messages = { { role = "user", content = label } } })
      order[#order + 1] = label
    end
    local function nest(one, depth)
      one:wrap(ask, depth .. " slow", "slow")
      one:wrap(ask, depth .. " quick", "quick")
      if depth < 3 then
        one:wrap(function()
          local inner = cqueues.new()
          nest(inner, depth + 1)
          assert(inner:loop())
          inner:close()
          ended = ended + 1
        end)
      end
    end
    nest(controller, 1)
    assert.equal("", home.run())
    local quick, slow = { order[1], order[2], order[3] }, { order[4], order[5], order[6] }
    table.sort(quick)
    table.sort(slow)
    assert.same({ "1 quick", "2 quick", "3 quick" }, quick)
    assert.same({ "1 slow", "2 slow", "3 slow" }, slow)
    assert.equal(2, ended)
  end)

  for _, way in ipairs { "closed", "collected" } do
    it_here("gives up what the coroutines of a controller that is " .. way .. " wait for", function(client)
      local asks = {
        function() client:chat "x" end,
        function() client:stream "x" end,
        function() surefoot.spawn(function() client:chat "x" end) cqueues.sleep(60) end,
        function() surefoot.run(function() client:chat "x" end) end,
      }
      for _, ask in ipairs(asks) do
        p:reset()
        local one, kind = cqueues.new(), nil
        wait_in_vain(one, 3, ask)
        if way == "closed" then
          one:close()
        end
        one = nil
        controller:wrap(function() kind = select(2, client:chat("y", { deadline = 0.1 })).kind end)
        assert.equal("", home.run())
        assert.same({ true, nil, "deadline" }, { aborted(4), one, kind })
      end
    end)
  end

  it_here("polls again after somebody has cancelled its file descriptor", function(client)
    p:profile("a", { delay = 0.1 })
    local text
    controller:wrap(function() text = assert(client:chat "x").text end)
    controller:wrap(function()
      for _ = 1, 3 do
        cqueues.sleep(0.01)
        cqueues.cancel(surefoot.pollfd())
      end
    end)
    assert.equal("", home.run())
    native.scheduler().foreign = false
    assert.equal("echo: x", text)
  end)

  it_here("goes on in a forked child, and in its parent", function()
    local path = build.folder() .. "/cqueues_program.lua"
    process.write(path, ([[
      local cqueues, surefoot, system = require "cqueues", require "surefoot", require "spec_system"
      local client = surefoot.new { base_url = %q, api_key = "sk-test", model = "m" }
      local function ask(word)
        local controller = cqueues.new()
        controller:wrap(function() io.write(assert(client:chat(word)).text, "\n") io.flush() end)
        assert(controller:loop())
      end
      ask "before"
      local pid = system.fork()
      if pid == 0 then
        ask "child"
        system.exit(0)
      end
      assert(system.wait(pid) == 0)
      ask "after"
    ]]):format(p.lines.a.url))
    local places = build.library("spec/integration/spec_system.c"):match "^(.*)/" .. "/?.so;;"
    local result = env.run({ "timeout", "30", env.lua, "-l", "spec.helper", path }, { env = { LUA_CPATH = places } })
    build.clean()
    assert.equal("", result.stderr)
    assert.equal("echo: before\necho: child\necho: after\n", result.stdout)
    assert.equal(0, result.status)
  end)

  it("has an example", function()
    p:reset()
    p:profile("a", { delay = 0.1, answer = { chunks = 5 } })
    local command = { "timeout", "30", env.lua, "-l", "spec.helper", "examples/cqueues.lua", p.lines.a.url, "m" }
    local result = env.run(command)
    assert.equal(0, result.status, result.stderr)
    for _, what in ipairs { "a river", "a mountain", "a lake" } do
      assert.matches(("Name %s.\n  echo: Name %s.\n"):format(what, what), result.stdout)
    end
    assert.matches("\n  echo: Tell a story of three sentences. %(%d+ pieces%)\n", result.stdout)
    assert.matches("^%d%.%d s, %d under way\n", result.stderr)
    assert.equal(4, p:counters("a").peak)
    p:profile("a", { fault = "hang" })
    command[2] = "--signal=INT"
    table.insert(command, 3, tostring(0.5 * pace))
    result = env.run(command)
    local _, cancelled = result.stdout:gsub("  cancelled: ", "")
    assert.equal(4, cancelled, result.stderr)
  end)
end)
