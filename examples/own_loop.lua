--- surefoot inside a loop of your own: a small scheduler around LuaSocket's select, whose coroutines wait for calls as
--- they wait for anything else. Needs luasocket.
---   lua5.4 examples/own_loop.lua [PRESET or URL] [MODEL]

local socket = require "socket"
local surefoot = require "surefoot"

local where, model = arg[1] or "openai", arg[2] or "gpt-4o-mini"
local is_url = where:find "^https?://" ~= nil
local ok, client = pcall(surefoot.new, {
  preset = not is_url and where or nil, base_url = is_url and where or nil, model = model,
  timeout = { attempt = 30, total = 60 },
})
if not ok then -- no key in the environment ...
  io.stderr:write(client, "\n")
  os.exit(2)
end

-- The loop: coroutines that may run, and those that wait for something.
local runnable, waiting, alive = {}, {}, 0

local function spawn(f)
  alive = alive + 1
  runnable[#runnable + 1] = coroutine.create(function()
    f()
    alive = alive - 1
  end)
end

-- How surefoot's calls wait in it.
surefoot.use {
  spawn = spawn,
  wait = function(token)
    waiting[token] = coroutine.running()
    coroutine.yield()
  end,
  wake = function(token)
    runnable[#runnable + 1] = waiting[token]
    waiting[token] = nil
  end,
}

-- One file descriptor stands for the whole engine, timers included.
local fd = surefoot.pollfd()
local engine = { getfd = function() return fd end, dirty = function() return false end }

local function run()
  while alive > 0 do
    while #runnable > 0 do
      assert(coroutine.resume(table.remove(runnable, 1)))
    end
    if alive > 0 then
      socket.select({ engine }, nil) -- here a real loop watches its own sockets as well
      surefoot.step()
    end
  end
end

for i = 1, 3 do
  spawn(function()
    local result, err = client:chat(("Name a river, the %d. that comes to mind."):format(i))
    print(i, result and result.text or err)
  end)
end
spawn(function()
  surefoot.sleep(0.01)
  print "meanwhile, another coroutine"
end)
run()
client:close()
