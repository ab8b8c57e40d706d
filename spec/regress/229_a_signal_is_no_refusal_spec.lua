-- A region that was asked for a place while a signal came (fallocate may then say EINTR) said that it was full, and
-- what should have been common stayed private; and what it had no memory for used up its room for good.

local env = require "spec.support.env"
local process = require "spec.support.process"

describe("a region whose memory is", function()
  local path, name

  setup(function()
    path, name = os.tmpname(), ("spec-regress-229-%d"):format(process.self())
  end)

  teardown(function()
    os.remove(path)
    process.capture("rm -f /dev/shm/surefoot-*-" .. name)
  end)

  -- The first of these calls is for the region itself, each later one for a place.
  local function run(error, which, code)
    env.need("strace", "strace")
    process.write(path, ([[
      local core = require "surefoot.core"
      local function share(key)
        return core.allowance { shared = %q, key = key, concurrency = 1 }
      end
    ]]):format(name) .. code)
    local result = env.run { "strace", "-o", "/dev/null", "-e", "trace=fallocate", "-e",
      ("inject=fallocate:error=%s:when=%s"):format(error, which), env.lua, "-l", "spec.helper", path }
    assert.same({ 0, "" }, { result.status, result.stderr })
  end

  it("interrupted takes what it needs all the same #once", function()
    run("EINTR", "1..4", [[
      local one, two = assert(share "a"), assert(share "a")
      assert(one:enter())
      assert(not two:enter())
    ]])
  end)

  it("refused for a while has its room when there is some again #once", function()
    run("ENOSPC", "3..4002", [[
      keeps_it_open = assert(share "first")
      for i = 1, 4000 do
        assert(not share(tostring(i)))
      end
      assert(share "a")
    ]])
  end)
end)
