-- On the main thread task:wait() turned surefoot's own loop alone. A task that another loop runs stood still: the wait
-- never ended, or said that every task waits for another.

local env = require "spec.support.env"
local neovim = require "spec.loops.neovim_program"
local process = require "spec.support.process"
local surefoot = require "surefoot"

describe("waiting on the main thread for a task of another loop", function()
  local folder

  setup(function() folder = process.temp_dir "surefoot-main-thread" end)
  teardown(function() process.remove_dir(folder) end)

  it("is refused where that cannot be turned", function()
    local ready = {}
    surefoot.use { wait = coroutine.yield, wake = function() end, spawn = function(f) ready[1] = f end }
    local task = surefoot.spawn(function() return "ran" end)
    local ok, problem = pcall(task.wait, task)
    surefoot.use(nil)
    assert.is_false(ok)
    assert.matches("task:wait: another loop runs the task, and stands still while this waits", problem, 1, true)
    coroutine.wrap(ready[1])()
    assert.equal("ran", task:wait())
  end)

  -- In a process of its own: it would wait for ever, and luv takes every coroutine for its own.
  local function play(program)
    local path = folder .. "/program.lua"
    process.write(path, program)
    local ended = env.run { "timeout", "-k", "1", "20", env.lua, "-l", "spec.helper", path }
    return ended.stdout .. ended.stderr
  end

  it("turns luv's", function()
    if play('print(pcall(require, "luv"))'):find "^false" then
      env.skip("luv was not found for " .. env.lua .. ": install the package lua-luv")
      return
    end
    assert.equal("woken\ntimeout\nslow\nerror\nrefused\n1 2\nnone can go on\n", play [[
      local uv, surefoot = require "luv", require "surefoot"
      local function sleeper(seconds, value)
        return surefoot.spawn(function()
          surefoot.sleep(seconds)
          return value
        end)
      end
      local others = sleeper(0.3)
      print(sleeper(0.02, "woken"):wait())
      local slow = sleeper(0.1, "slow")
      print(select(2, slow:wait(0.02)).kind)
      print(slow:wait(10))
      print(select(2, surefoot.spawn(function()
        surefoot.sleep(0.01)
        error "boom"
      end):wait()).kind)
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        print(select(2, pcall(slow.wait, sleeper(0))):match "a callback of libuv must not wait" and "refused")
      end)
      others:wait()
      local client = surefoot.all { function() return 1 end, function() return sleeper(0.01, 2):wait() end }
      print(client[1][1] .. " " .. client[2][1])
      local stuck = surefoot.spawn(coroutine.yield)
      print(select(2, pcall(stuck.wait, stuck)):match "none of them can go on" and "none can go on")
    ]])
  end)

  it("turns Neovim's, with what is scheduled #once", function()
    neovim.need()
    local report = neovim.run(folder, "http://127.0.0.1:1/v1", [[
      local function sleeper(seconds, value)
        return surefoot.spawn(function()
          surefoot.sleep(seconds)
          return value
        end)
      end
      local other = sleeper(1000)
      report.value = sleeper(0.02, "woken"):wait()
      local slow = sleeper(0.3, "slow")
      report.kind = select(2, slow:wait(0.02)).kind
      report.slow = slow:wait(10)
      report.thrown = select(2, surefoot.spawn(error, "boom"):wait()).kind
      finish()
    ]])
    assert.is_true(report.is_whole, report.stderr)
    assert.same({ "woken", "timeout", "slow", "error" }, { report.value, report.kind, report.slow, report.thrown })
  end)
end)
