-- core.allowance, as Lua sees it: what may be left out, what comes back when it is collected, and other processes. The
-- rules themselves: spec/share/allowance_test.c.

local core = require "surefoot.core"
local env = require "spec.support.env"
local pace = require "spec.support.pace"
local process = require "spec.support.process"

local NOON = 1774958400 -- 2026-03-31 12:00:00 UTC

local function collect()
  collectgarbage()
  collectgarbage()
end

local function fields(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, " ")
end

describe("an allowance", function()
  it("without bounds only counts", function()
    local allowance = core.allowance {}
    local tickets = {}
    for i = 1, 100 do
      tickets[i] = assert(allowance:enter(1e9))
    end
    assert.same({ in_flight = #tickets }, allowance:numbers())
  end)

  it("tells what is in the way, and for how long", function()
    local allowance = core.allowance {
      rate = { requests_per_second = 2, burst = 2, tokens_per_minute = 600, token_burst = 100 }, concurrency = 2,
    }
    local one = assert(allowance:enter(40, NOON))
    local refused, kind, retry_after, code = allowance:enter(70, NOON)
    assert.same({ nil, "rate_limited", 1, "tokens" }, { refused, kind, retry_after, code })
    local two = assert(allowance:enter(60, NOON))
    local _
    _, kind, retry_after, code = allowance:enter(0, NOON)
    assert.same({ "rate_limited", 0.5, "requests" }, { kind, retry_after, code })
    _, kind, retry_after, code = allowance:enter(1, NOON + 100)
    assert.same({ "rate_limited", nil, "concurrency" }, { kind, retry_after, code })
    one:leave(10, nil, NOON + 100)
    assert.is_true(allowance:peek(1, NOON + 100))
    two:leave(nil, nil, NOON + 100)
    assert.equal("concurrency in_flight requests_left tokens_left", fields(allowance:numbers(NOON)))
  end)

  it("may be a budget alone", function()
    local allowance = core.allowance { budget = { limit = 0.5, per = "hour" } }
    allowance:spend(0.3, NOON)
    assert.is_true(allowance:peek(0, NOON))
    local ticket = assert(allowance:enter(5, NOON))
    ticket:leave(nil, 0.25, NOON + 1)
    local _, kind, retry_after, code = allowance:peek(0, NOON + 60)
    assert.same({ "quota", 3540, "budget_spent" }, { kind, retry_after, code })
    assert.same({ in_flight = 0, limit = 0.5, spent = 0.55, resets_in = 3540 }, allowance:numbers(NOON + 60))
    assert.is_true(allowance:peek(0, NOON + 3600))
    assert.equal(0, allowance:numbers(NOON + 3600).spent)
  end)

  it("of a total never begins anew", function()
    local allowance = core.allowance { budget = { limit = 1, per = "total" } }
    allowance:spend(1, NOON)
    local _, kind, retry_after, code = allowance:enter(0, NOON + 1e9)
    assert.same({ "quota", nil, "budget_spent" }, { kind, retry_after, code })
    assert.equal("in_flight limit spent", fields(allowance:numbers(NOON)))
  end)

  it("reads the machine's clocks where none is given", function()
    local allowance = core.allowance { rate = { requests_per_second = 0.001 }, budget = { limit = 1, per = "day" } }
    assert(allowance:enter())
    local _, _, retry_after = allowance:enter()
    assert.is_true(retry_after > 900 and retry_after <= 1000, retry_after)
    local left, day = allowance:numbers().resets_in, 86400
    assert.near(day - os.time() % day, left < 2 and left + day or left, 2)
  end)

  it("settles a ticket once", function()
    local allowance = core.allowance { rate = { tokens_per_minute = 600 }, budget = { limit = 1, per = "day" } }
    local ticket = assert(allowance:enter(100, NOON))
    for _ = 1, 3 do
      ticket:leave(20, 0.1, NOON)
    end
    local numbers = allowance:numbers(NOON)
    assert.same({ 0, 580, 0.1 }, { numbers.in_flight, numbers.tokens_left, numbers.spent })
  end)

  it("gets back what was lost, as it was estimated", function()
    local allowance = core.allowance { rate = { tokens_per_minute = 600 }, concurrency = 1 }
    assert(allowance:enter(100, NOON))
    collect()
    local numbers = allowance:numbers(NOON)
    assert.same({ 0, 500 }, { numbers.in_flight, numbers.tokens_left })
    assert(allowance:enter(100, NOON))
  end)

  it("takes nothing when it refuses, however often", function()
    local allowance = core.allowance { concurrency = 1, rate = { requests_per_second = 100 } }
    local ticket = assert(allowance:enter(0, NOON))
    for _ = 1, 1000 do
      assert.is_nil((allowance:enter(0, NOON)))
    end
    collect()
    local numbers = allowance:numbers(NOON)
    assert.same({ 1, 99 }, { numbers.in_flight, numbers.requests_left })
    ticket:leave()
  end)

  it("throws on misuse", function()
    local allowance = core.allowance {}
    local function fails(message, f, ...)
      local ok, err = pcall(f, ...)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find(message, 1, true), err)
    end
    fails("a number expected, 0 or more", allowance.enter, allowance, -1)
    fails("a number expected, 0 or more", allowance.enter, allowance, 0 / 0)
    fails("number expected", allowance.spend, allowance, {})
    fails("surefoot.allowance expected", allowance.enter, {})
    fails("surefoot.ticket expected", assert(allowance:enter()).leave, allowance)
    fails("per: ", core.allowance, { budget = { limit = 1 } })
    fails("per: ", core.allowance, { budget = { limit = 1, per = "week" } })
    fails("limit: ", core.allowance, { budget = { per = "day" } })
    fails("requests_per_second: ", core.allowance, { rate = { requests_per_second = -1 } })
    fails("burst: ", core.allowance, { rate = { requests_per_second = 1, burst = 0 } })
    fails("rate: a table expected", core.allowance, { rate = 5 })
    fails("key: ", core.allowance, { shared = "spec" })
  end)
end)

describe("an allowance that is shared", function()
  local dir, name, count, running = nil, nil, 0, nil

  setup(function()
    dir = process.temp_dir "allowance"
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  before_each(function()
    count, running = count + 1, {}
    name = ("spec-allowance-%d-%d"):format(process.self(), count)
  end)

  after_each(function()
    for _, pid in ipairs(running) do
      process.stop(pid, "KILL")
    end
    process.capture("rm -f /dev/shm/surefoot-*-" .. name)
  end)

  local function share(config, key)
    config.shared, config.key = name, key or "team-a"
    return assert(core.allowance(config))
  end

  -- Runs a program beside this one: `share` and `ready` are its. Returns when it says that it is ready, or has ended.
  local function start(code)
    local path = ("%s/%d-%d"):format(dir, count, #running)
    process.write(path .. ".lua", ([[
      local core = require "surefoot.core"
      local function share(config)
        config.shared, config.key = %q, "team-a"
        return assert(core.allowance(config))
      end
      local function ready() io.stdout:write "ready" io.stdout:flush() end
    ]]):format(name) .. code)
    local pid = process.spawn({ env.lua, "-l", "spec.helper", path .. ".lua" }, { stdout = path .. ".out" })
    running[#running + 1] = pid
    assert(process.wait_for(function()
      return (process.read(path .. ".out") or "") ~= "" or not process.alive(pid)
    end, 10 * pace))
    assert.equal("ready", process.read(path .. ".out"))
    return pid, path .. ".out"
  end

  it("is one for all who say the same key", function()
    local one, two, other = share { concurrency = 1 }, share { concurrency = 1 }, share({ concurrency = 1 }, "team-b")
    local ticket = assert(one:enter())
    assert.is_nil((two:enter()))
    assert(other:enter())
    ticket:leave()
    assert(two:enter())
  end)

  it("holds nothing of a process that was killed", function()
    local allowance = share { concurrency = 2 }
    local pid = start [[
      local allowance = share { concurrency = 2 }
      held = { assert(allowance:enter()), assert(allowance:enter()) }
      ready()
      while true do io.popen("sleep 0.2"):close() end
    ]]
    assert.equal(2, allowance:numbers().in_flight)
    local _, kind, _, code = allowance:enter()
    assert.same({ "rate_limited", "concurrency" }, { kind, code })
    process.stop(pid, "KILL")
    local ticket = process.wait_for(function() return (allowance:enter()) end, 5 * pace)
    assert.is_truthy(ticket)
    assert.equal(1, allowance:numbers().in_flight)
  end)

  it("outlives the processes, with what they spent", function()
    local code = [[
      local allowance = share { budget = { limit = 1, per = "total" } }
      assert(allowance:enter()):leave(nil, 0.4)
      allowance = nil
      collectgarbage()
      ready()
    ]]
    start(code)
    start(code)
    local allowance = share { budget = { limit = 1, per = "total" } }
    assert.near(0.8, allowance:numbers().spent, 1e-9)
    start(code)
    local _, kind = allowance:enter()
    assert.equal("quota", kind)
  end)

  it("lets go of its region when the last ticket is back, in whatever order they are collected", function()
    local function is_open()
      for line in io.lines "/proc/self/maps" do
        if line:find(name, 1, true) then
          return true
        end
      end
      return false
    end
    local allowance = share { concurrency = 1 }
    local ticket = assert(allowance:enter())
    allowance = nil
    collect()
    assert.is_true(is_open())
    ticket:leave()
    ticket = nil
    collect()
    assert.is_false(is_open())
    share({ concurrency = 1 }):enter()
    collect()
    assert.is_false(is_open())
    assert.is_nil(allowance or ticket)
  end)

  it("survives a state that is closed while tickets are out", function()
    local pid, output = start [[
      local allowance = share { concurrency = 2 }
      held = { allowance:enter(), allowance:enter() }
      ready()
    ]]
    assert(process.wait_for(function() return not process.alive(pid) end, 10 * pace))
    assert.equal("ready", process.read(output))
    assert.equal(0, share({ concurrency = 2 }):numbers().in_flight)
  end)

  it("is its parent's in the child of a fork", function()
    if env.variant ~= "luajit" then
      return -- only there a program in Lua can fork
    end
    start [[
      local ffi = require "ffi"
      ffi.cdef "int fork(void); int waitpid(int, int *, int); void _exit(int);"
      local allowance = share { concurrency = 3, budget = { limit = 1, per = "total" } }
      local ticket = assert(allowance:enter())
      local child = ffi.C.fork()
      if child == 0 then
        local own = assert(allowance:enter())
        ticket:leave(0, 0.5)
        local counted = allowance:numbers().in_flight
        own:leave(0, 0.25)
        ffi.C._exit(counted == 2 and 0 or 1)
      end
      local status = ffi.new("int[1]")
      assert(ffi.C.waitpid(child, status, 0) == child and status[0] == 0)
      assert(allowance:numbers().in_flight == 1 and allowance:numbers().spent == 0.25)
      ticket:leave(0, 0.5)
      assert(allowance:numbers().in_flight == 0 and allowance:numbers().spent == 0.75)
      ready()
    ]]
  end)

  it("says why it cannot be", function()
    local allowance, problem = core.allowance { shared = "a/b", key = "k" }
    assert.is_nil(allowance)
    assert.is_truthy(problem:find("expected a name", 1, true), problem)
    allowance, problem = core.allowance { shared = name, key = ("k"):rep(1001) }
    assert.is_nil(allowance)
    assert.equal("shared: no room is left in " .. name, problem)
  end)
end)

describe("core.sha256", function()
  it("is what sha256sum says #once", function()
    local path = os.tmpname()
    for _, length in ipairs { 0, 1, 55, 56, 63, 64, 65, 1000 } do
      local text = ("\0x\255"):rep(length):sub(1, length)
      process.write(path, text)
      assert.equal(env.check({ "sha256sum", path }):match "^%x+", core.sha256(text))
    end
    os.remove(path)
  end)
end)
