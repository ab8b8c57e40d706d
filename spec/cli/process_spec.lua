--- core.process: what the command line needs of the system.

local core = require "surefoot.core"
local env = require "spec.support.env"
local process = require "spec.support.process"
local socket = require "socket"

local system = core.process

-- Runs Lua in a process of its own, from the checkout; `...` is the process library.
local function run(code, ...)
  local program = "local process = require('surefoot.core').process " .. code
  return env.run { env.lua, "-l", "spec.helper", "-e", program, ... }
end

describe("process.exec", function()
  it("becomes another program, without some of its environment", function()
    local code = [[io.write "before " process.exec({ "sh", "-c", "echo $0 $KEPT-$DROPPED", "a b" }, { "DROPPED" })]]
    local result = env.run({ env.lua, "-l", "spec.helper", "-e",
      "local process = require('surefoot.core').process " .. code }, { env = { KEPT = "kept", DROPPED = "dropped" } })
    assert.same({ status = 0, stdout = "before a b kept-\n", stderr = "" }, result)
  end)

  it("says why it cannot", function()
    local ok, problem = system.exec { "./no-such-program" }
    assert.is_nil(ok)
    assert.equal("No such file or directory", problem)
    assert.has_error(function() system.exec {} end)
    assert.has_error(function() system.exec { "true", {} } end)
  end)
end)

describe("users", function()
  it("are told by name", function()
    local me = system.user()
    assert.equal(tonumber((process.capture { "id", "-u" })), me.id)
    assert.same({ id = 0, name = "root", group = "root" }, system.user "root")
    local none, problem = system.user "no-such-user"
    assert.is_nil(none)
    assert.equal("there is no such user", problem)
  end)

  it("can read what their permissions say", function()
    local dir = process.temp_dir "surefoot-process"
    finally(function() process.remove_dir(dir) end)
    process.write(dir .. "/file", "text")
    local me = system.user().name
    assert.is_true(system.can_read(dir .. "/file", me))
    assert.is_false(system.can_read(dir .. "/none", me))
    if system.user().id == 0 then
      assert.is_false(system.can_read(dir .. "/file", "nobody")) -- the folder is root's alone
      process.capture { "chmod", "711", dir }
      assert.is_true(system.can_read(dir .. "/file", "nobody"))
      process.capture { "chmod", "600", dir .. "/file" }
      assert.is_false(system.can_read(dir .. "/file", "nobody"))
    else
      assert.is_nil((system.can_read(dir .. "/file", "root")))
    end
    assert.is_nil((system.can_read(dir .. "/file", "no-such-user")))
  end)
end)

describe("folders", function()
  it("are made for their owner alone, and opened as told", function()
    local base = process.temp_dir "surefoot-process"
    finally(function() process.remove_dir(base) end)
    local made = assert(system.make_folder(base .. "/new-"))
    assert.matches("/new%-%w%w%w%w%w%w$", made)
    assert.equal("700\n", env.check { "stat", "-c", "%a", made })
    assert.is_true(system.allow(made, "711"))
    assert.equal("711\n", env.check { "stat", "-c", "%a", made })
    local none, problem = system.make_folder(base .. "/none/new-")
    assert.is_nil(none)
    assert.equal("No such file or directory", problem)
    assert.has_error(function() system.allow(made, "rwx") end)
  end)

  it("go when whoever holds them has ended, however", function()
    local made = assert(system.make_folder((os.getenv "TMPDIR" or "/tmp") .. "/surefoot-process-"))
    process.write(made .. "/file", "text")
    local pid = process.spawn { env.lua, "-l", "spec.helper", "-e", ([[
      local process, path = require("surefoot.core").process, %q
      assert(process.remove_after(path))
      io.open(path .. "/ready", "w"):close()
      process.exec { "sleep", "60" }]]):format(made) }
    assert(process.wait_for(function() return process.read(made .. "/ready") end))
    process.signal(pid, "KILL")
    assert(process.wait_for(function() return not process.read(made .. "/file") end), "it is still there")
    assert(process.wait_for(function() return env.run({ "test", "-e", made }).status ~= 0 end))
  end)

  it("are named by an absolute path", function()
    assert.has_error(function() system.remove_after "relative" end)
    assert.has_error(function() system.remove_after "/" end)
    assert.equal(env.check "pwd", system.directory() .. "\n")
  end)
end)

describe("process.can_listen", function()
  it("says whether an address is free", function()
    local held = assert(socket.bind("127.0.0.1", 0))
    local port = tostring(select(2, held:getsockname()))
    local ok, problem = system.can_listen("127.0.0.1", port)
    assert.is_nil(ok)
    assert.equal("Address already in use", problem)
    held:close()
    assert.is_true(system.can_listen("127.0.0.1", port))
    assert.is_nil((system.can_listen("203.0.113.1", port)))
    assert.is_nil((system.can_listen("host.invalid", port)))
  end)
end)

describe("a terminal", function()
  it("is told from a pipe, and knows its width", function()
    env.need("script", "bsdutils")
    local code = "local p = require('surefoot.core').process print(p.is_terminal(1), p.window(1))"
    local command = process.command { env.lua, "-l", "spec.helper", "-e", code }
    local output = env.check("script -qec " .. process.quote("stty cols 91 rows 17; " .. command) .. " /dev/null")
    assert.matches("true%s+91%s+17", output)
    local piped = run "print(process.is_terminal(1), select('#', process.window(1)))"
    assert.equal("false\t0\n", piped.stdout)
  end)
end)

describe("interrupts", function()
  it("are counted, end a wait, and are let through again", function()
    local result = run [[
      local engine = require("surefoot.core").engine()
      local pid = io.open("/proc/self/stat"):read "*n"
      local function kill(signal) -- os.execute would ignore an interrupt meanwhile
        return io.popen(("kill -%s %d"):format(signal, pid))
      end
      process.catch_interrupts(true)
      local killer, began = kill "INT", engine:now()
      while process.interrupts() == 0 do
        engine:wait(20)
      end
      killer:close()
      print(process.interrupts())
      kill "TERM":close()
      print(process.interrupts())
      print(engine:now() - began < 15)
      process.catch_interrupts(false)
      kill "TERM":close()
      print "not reached"]]
    assert.equal("1\t2\n2\t15\ntrue\n", result.stdout)
    assert.not_equal(0, result.status)
  end)
end)
