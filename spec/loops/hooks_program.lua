-- What waits in hooks, as a program: INTERPRETER -l spec.helper spec/loops/hooks_program.lua HOME CONTROL_URL. Prints
-- what came of it, a line each.
local guard = require "surefoot.guard"
local surefoot = require "surefoot"

local p = assert(require("spec.support.provider").attach(arg[2]))
local client = surefoot.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }

local function play(say)
  local result = assert(client:chat("validated", { validate = function()
    surefoot.sleep(0.005)
    return client:chat "inner"
  end }))
  say(result.text)
  say(tostring(select(2, guard.call(client.chat, client, "x", { validate = function()
    assert(client:chat "inner")
    error("of validate", 0)
  end }))))
  local task = surefoot.spawn(function()
    assert(client:chat "task")
    error("of a task", 0)
  end)
  say(tostring(select(2, task:wait())))
  say(assert(assert(client:stream("a stream", { validate = function() return client:chat "inner" end })):result()).text)
  local both = surefoot.all {
    function() return client:chat("one of two").text end,
    function() error("of the other", 0) end,
  }
  say(both[1][1] .. ", " .. tostring(both[2]))
end

-- A wait that throws, since there is no yielding in a function that string.gsub calls, holds up nobody.
local function stumble(say)
  local ended = 0
  local function broken()
    return not pcall(string.gsub, "x", "x", function() client:chat("broken", { deadline = 600 }) end)
  end
  local function work(f, count)
    surefoot.spawn(function()
      for i = 1, count do
        assert(assert(client:chat(f and f() and "broken" .. i or "well" .. i)).text)
      end
      ended = ended + 1
    end)
  end
  work(nil, 3)
  work(broken, 1)
  work(nil, 3)
  local dying = surefoot.spawn(function() return ("x"):gsub("x", function() client:chat "dies of it" end) end)
  say(tostring(select(2, dying:wait())):match "attempt to yield across")
  while ended < 3 do
    assert(client:chat "others")
  end
  say(ended .. " ended, " .. client:stats().in_flight .. " in flight")
end

local homes = {
  native = function(f) surefoot.run(f) end,
  cqueues = function(f)
    local controller = require("cqueues").new()
    controller:wrap(f)
    assert(controller:loop())
  end,
  copas = function(f)
    local copas = require "copas"
    copas.addthread(f)
    copas.loop()
  end,
  luv = function(f)
    local uv = require "luv"
    assert(coroutine.resume(coroutine.create(f)))
    uv.run()
  end,
}

homes[arg[1]](function()
  play(print)
  stumble(print)
  if arg[1] == "copas" then -- before 4 it turns for ever
    print "done"
    os.exit(0)
  end
end)
print "done"
