-- Every allocation of Lua fails in turn, in what the core does by itself with values of Lua: it throws that memory is
-- short, or succeeds, and holds nothing afterwards; nothing crashes or leaks (LeakSanitizer looks at the end).
local core = require "surefoot.core"
local failing = require "spec.hard.failing"
local leaks = require "spec.support.leaks"
local process = require "spec.support.process"

local MOST = 2000 -- allocations of one scenario

local dir = process.temp_dir "memory"
local name = ("spec-memory-%d"):format(process.self())
local path = dir .. "/journal"

local function shared()
  return assert(core.allowance {
    shared = name, key = "team-a", concurrency = 2, rate = { requests_per_second = 1e9, tokens_per_minute = 1e12 },
    budget = { limit = 1e6, per = "day" },
  })
end

local request = '{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'

local scenarios = {
  ["an allowance alone"] = function()
    local allowance = core.allowance { concurrency = 1, budget = { limit = 1, per = 60 } }
    local ticket = assert(allowance:enter(10))
    assert(not allowance:enter(10))
    assert(not allowance:peek(10))
    allowance:spend(0.1)
    ticket:leave(5, 2)
    assert(not allowance:enter(10))
    return allowance:numbers().spent > 2
  end,
  ["an allowance that is shared"] = function()
    local allowance = shared()
    local one, two = assert(allowance:enter(10)), assert(allowance:enter(10))
    assert(not allowance:enter(10))
    one:leave(5, 0.01)
    two:leave()
    return allowance:numbers().in_flight == 0
  end,
  ["an allowance that cannot be shared"] = function()
    local allowance, problem = core.allowance { shared = "a/b", key = "k" }
    return not allowance and problem ~= nil
  end,
  ["the words of a region"] = function()
    local words = assert(core.region.read(name))
    return #words.allowances == 1 and #words.spends == 1 and #core.region.list() > 0
      and core.region.unlink "no-such-region" == nil and core.region.read "no-such-region" == nil
  end,
  ["a file"] = function()
    os.remove(path)
    local file = assert(core.file(path, "append"))
    assert(file:lock())
    for i = 1, 3 do
      assert(file:append(("line %d\n"):format(i)))
    end
    local text = file:read(0, 100)
    assert(file:truncate(7) and file:sync() and file:status().size == 7)
    file:close()
    return text == "line 1\nline 2\nline 3\n" and core.file("/nowhere/at/all", "read") == nil
  end,
  ["a file that nobody closes"] = function()
    return #core.file(path, "append"):read(0, 1e6) >= 0
  end,
  ["the system"] = function()
    local system = core.process
    return system.directory() ~= nil and system.user().id ~= nil and system.user "root".name == "root"
      and system.can_read("/", "root") ~= nil and system.is_terminal(0) ~= nil
      and select("#", system.window(0)) ~= 1 and system.allow(dir, "700")
      and not system.can_listen("203.0.113.1", "1")
  end,
  ["a turn that has news"] = function()
    local engine, count = core.simulation(1), 0
    for _ = 1, 20 do
      engine:timer(0)
    end
    local ok, told = pcall(engine.turn, engine, {})
    engine:step()
    while engine:ready() do
      count = count + 1
    end
    assert(ok and told + count == 20 or not ok and count == 20, "news was lost")
    return ok or error(told, 0)
  end,
  ["texts"] = function()
    local parser = core.sse(1e6)
    local events = parser:feed "event: a\ndata: b\n\ndata: c\n\ndata: d"
    local headers = core.headers "A: 1\r\nB: 2\r\na: 3\r\n"
    return #events == 2 and headers.a == "1, 3" and core.base64_floats { 1, 2, 3, 4 } == "AACAPwAAAEAAAEBAAACAQA=="
      and core.members(request, "model", "stream") == 10 and not core.members("{", "model")
      and #core.sha256(request) == 64 and #core.unique_id() == 36 and core.is_plain { { a = { 1, 2 } } }
      and core.well_formed("a\255b", "?") == "a?b"
  end,
}

local function collect()
  collectgarbage()
  collectgarbage()
end

-- Where it was thrown does not count: this file's name speaks of memory, too.
local function is_about_memory(thrown)
  return tostring(thrown):gsub("^%S+:%d+: ", ""):find "memory" ~= nil
end

describe("memory of Lua that ends, in", function()
  setup(function()
    shared() -- makes the region
  end)

  teardown(function()
    process.remove_dir(dir)
    process.capture("rm -f /dev/shm/surefoot-*-" .. name)
  end)

  for title, scenario in pairs(scenarios) do
    it(title, function()
      assert.is_true(scenario()) -- what is made once
      collect()
      local before, n = #leaks.open_files(), 0
      local made, fine, result
      repeat
        n = n + 1
        collect() -- what the one before held
        made, fine, result = failing(n, scenario)
        assert(fine and result == true or is_about_memory(result), ("allocation %d: %s"):format(n, tostring(result)))
      until made < n or n > MOST
      assert.is_true(n <= MOST)
      collect()
      local after = leaks.open_files()
      assert(#after == before, table.concat(after, "\n"))
      assert.equal(0, shared():numbers().in_flight)
    end)
  end
end)
