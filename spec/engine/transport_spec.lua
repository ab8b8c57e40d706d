-- What the libcurl transport costs in system calls. What it does is in transport_test.c and transport_life_test.c.
local env = require "spec.support.env"
local process = require "spec.support.process"

describe("the libcurl transport", function()
  it("calls itself by the project's version", function()
    local stated = process.read("csrc/engine/transport_curl.h"):match '#define SF_VERSION "(.-)"'
    assert.equal(require "surefoot.version", stated)
  end)

  it("makes system calls per connection, not per exchange", function()
    env.need("strace", "strace")
    local trace = os.tmpname()
    local program = (env.sanitized and "build/asan" or "build/lua5.4") .. "/test/engine/transport_life_test"
    -- 200 exchanges over 8 connections
    env.check({ "strace", "-f", "-qq", "-e", "trace=connect,epoll_ctl,timerfd_settime,rt_sigprocmask,rt_sigaction",
      "-o", trace, program, "200 exchanges" }, { env = { ASAN_OPTIONS = "detect_leaks=0" } })
    local calls = { connect = 0, epoll_ctl = 0, timerfd_settime = 0, rt_sigprocmask = 0, rt_sigaction = 0 }
    for line in io.lines(trace) do
      local name = line:match "^%d+%s+([%w_]+)%("
      if name then
        calls[name] = calls[name] + 1
      end
    end
    os.remove(trace)
    assert.equal(8, calls.connect)
    -- two at the start; per connection one to watch it for writing, one for reading, one to take it out
    assert.is_true(calls.epoll_ctl > 8 and calls.epoll_ctl <= 2 + 4 * 8, "epoll_ctl: " .. calls.epoll_ctl)
    assert.equal(0, calls.timerfd_settime)
    assert.is_true(calls.rt_sigprocmask + calls.rt_sigaction < 150, "signals: "
      .. calls.rt_sigprocmask .. " + " .. calls.rt_sigaction)
  end)
end)
