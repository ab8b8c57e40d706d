-- What surefoot costs a worker of nginx that has nothing to do, or only waits: nothing, or next to it. And what it does
-- not use.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"
local usage = require "spec.support.usage"

describe("a worker of nginx #once", function()
  local p, n, worker

  setup(function()
    p = provider.start { tls = true }
    n = lab.start(p, {
      config = "concurrency = { limit = 200 }",
      locations = {
        ["/chat"] = [[local lab = require "lab" lab.tell(lab.client:chat "x")]],
        ["/wait"] = [[
          local lab, threads = require "lab", {}
          for i = 1, 100 do
            threads[i] = ngx.thread.spawn(function() return lab.client:chat "x" end)
          end
          for i = 1, 100 do
            ngx.thread.wait(threads[i])
          end
        ]],
      },
      -- from here on whoever asks for the FFI gets an error; what nginx's own library needs has it already
      init = [[
        require "resty.core"
        require "ngx.semaphore"
        local function refuse() error("surefoot asked for the FFI", 0) end
        package.loaded.ffi, package.preload.ffi = nil, refuse
        require "lab"
      ]],
    })
    worker = n:workers()[1]
  end)

  teardown(function()
    n:stop()
    assert.same({}, p:errors())
    p:stop()
  end)

  local function quiet(seconds)
    local wakeups, cpu = usage.wakeups(worker), usage.cpu(worker)
    socket.sleep(seconds)
    return usage.wakeups(worker) - wakeups, usage.cpu(worker) - cpu
  end

  it("is not woken at all when no call is pending, whatever is kept open", function()
    p:profile("a", { delay = 0.05 })
    local connections = {}
    for i = 1, 20 do
      connections[i] = n:open("/chat", { Connection = "close" })
    end
    for i = 1, 20 do
      assert.equal("echo: x", assert(connections[i]:response()).body)
      connections[i]:close()
    end
    -- nginx may see the last connection's end after the thread has ended
    assert(process.wait_for(function()
      return usage.threads(worker) == 1 and quiet(0.1) == 0
    end, 3 * nginx.pace), "it does not come to rest")
    assert.equal(0, (quiet(1)))
  end)

  it("needs next to nothing while a hundred calls are pending", function()
    p:profile("a", { fault = "hang" })
    local connection = n:open "/wait"
    assert(p:wait("a", function(counters) return counters.in_flight == 100 end))
    socket.sleep(0.3) -- libcurl looks once more after it has begun to connect
    local wakeups, cpu = quiet(1)
    connection:close()
    -- about 4 wake-ups and 0.3 ms of the processor a second: the look after those that nginx has ended
    assert.is_true(wakeups <= 15, wakeups .. " wake-ups in 1 s")
    assert.is_true(cpu < 0.007 * nginx.pace, cpu .. " s of the processor in 1 s")
    assert(p:wait("a", function(counters) return counters.in_flight == 0 end))
    assert.is_true(lab.settled(n))
  end)

  it("leaves at once when it shall and has nothing to do", function()
    assert(process.wait_for(function() return usage.threads(worker) == 1 end, 2 * nginx.pace))
    local old, new = n:reload()
    assert.is_true(assert(n:gone(old)) < 0.5 * nginx.pace)
    worker = new[1]
  end)

  it("never asks for LuaJIT's FFI", function()
    p:reset()
    assert.equal("echo: x", assert(n:get "/chat").body)
    assert.is_nil(n:log():find("FFI", 1, true))
  end)
end)
