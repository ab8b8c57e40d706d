-- libcurl tells its next timeout several times in every call, and a call has deadlines of its own: setting the kernel's
-- timer each time cost a system call each. It is set only for what comes earlier than what it is set to.
local env = require "spec.support.env"
local provider = require "spec.support.provider"

local CALLS = 200

describe("the engine's timer #once", function()
  it("is not set anew by every call", function()
    env.need("strace", "strace")
    local p = provider.start()
    local program, trace = os.tmpname(), os.tmpname()
    finally(function()
      os.remove(program)
      os.remove(trace)
      p:stop()
    end)
    local file = assert(io.open(program, "w"))
    file:write(([[
      local surefoot = require "surefoot"
      local client = surefoot.new { base_url = %q, api_key = "sk-test-0123456789", model = "m" }
      surefoot.pollfd() -- from now on the fd must tell of timers, too
      for _ = 1, %d do
        assert(client:chat("x", { deadline = 20 }))
      end
    ]]):format(p.lines.a.url, CALLS))
    file:close()
    env.check({ "strace", "-f", "-qq", "-e", "trace=timerfd_settime", "-o", trace, "timeout", "30", env.lua,
      "-l", "spec.helper", program }, { env = { ASAN_OPTIONS = "detect_leaks=0" } })
    local settings = 0
    for line in io.lines(trace) do
      settings = settings + (line:find("timerfd_settime(", 1, true) and 1 or 0)
    end
    assert.is_true(settings > 0 and settings < CALLS / 10, settings .. " times in " .. CALLS .. " calls")
    assert.equal(CALLS, p:counters("a").requests)
  end)
end)
