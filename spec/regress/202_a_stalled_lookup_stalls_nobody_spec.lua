-- libcurl waits for its resolver's thread when a handle is taken away, unless CURLOPT_QUICK_EXIT is set on every one: a
-- cancel, a timeout or a close during a slow name lookup held up everything for as long as the lookup took.
local build = require "spec.support.build"
local env = require "spec.support.env"
local process = require "spec.support.process"

local PROGRAM = [[
  local surefoot = require "surefoot"
  local function new()
    return surefoot.new { base_url = "https://api.slow.invalid/v1", api_key = "sk-test-0123456789", model = "m",
      retry = { max_attempts = 1 }, timeout = { connect = 0.1 } }
  end
  local function timed(what, f)
    local began = surefoot.now()
    f()
    local took = surefoot.now() - began
    assert(took < 2, what .. " took " .. took)
  end
  timed("a timeout", function() assert(select(2, new():chat "x").phase == "connect") end)
  timed("a cancel", function()
    surefoot.run(function()
      local task = surefoot.spawn(function() new():chat "x" end)
      surefoot.sleep(0.02)
      task:cancel()
    end)
  end)
  timed("a close", function()
    local client = new()
    surefoot.run(function()
      surefoot.spawn(function() client:chat "x" end)
      surefoot.sleep(0.02)
      client:close()
    end)
  end)
  timed("closing the engine", function()
    surefoot.pollfd()
    surefoot.spawn(function() new():chat "x" end)
    surefoot.step()
    require("surefoot.core").engine():close()
  end)
]]

describe("a name lookup that stalls #once", function()
  teardown(build.clean)

  it("stalls nothing that takes its call away", function()
    if env.sanitized then
      return -- two libraries that must both be loaded first
    end
    local slow = build.library "spec/integration/slow_names.c"
    local path = build.folder() .. "/program.lua"
    process.write(path, PROGRAM)
    local result = env.run({ "timeout", "20", env.lua, "-l", "spec.helper", path }, { env = { LD_PRELOAD = slow } })
    assert.same({ status = 0, stdout = "", stderr = "" }, result)
  end)
end)
