-- A gateway of another user that shares the same name hid what nginx had made while it tried the configuration: the
-- shared memory of the trial stayed.

local env = require "spec.support.env"
local process = require "spec.support.process"
local socket = require "socket"

describe("surefoot gateway --check #once", function()
  local dir, port, others

  setup(function()
    dir = process.temp_dir "regress-231"
    local free = assert(socket.bind("127.0.0.1", 0))
    port = select(2, free:getsockname())
    free:close()
    others = ("/dev/shm/surefoot-424242-0-gateway-127.0.0.1_%d"):format(port)
    process.write(others, "")
    process.write(dir .. "/config.lua", [[return {
      base_url = "http://127.0.0.1:1", api_key = "sk-upstream-0123456789", model = "m", gateway = {},
    }]])
  end)

  teardown(function()
    process.capture("rm -f /dev/shm/surefoot-*-gateway-127.0.0.1_" .. port)
    process.remove_dir(dir)
  end)

  it("forgets its own", function()
    local user = process.capture { "id", "-un" }:match "%S+"
    local result = env.run { "build/surefoot", "gateway", dir .. "/config.lua", "--check", "--user", user, "--listen",
      tostring(port) }
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.equal(others .. "\n", env.run("ls -d /dev/shm/surefoot-*-gateway-127.0.0.1_" .. port).stdout)
  end)
end)
