-- copas 1 takes whatever a server's handler yields but a socket for its end, and closes the client's connection: a call
-- in a handler cut off who had asked. And LuaSocket's select, which copas waits by, takes no descriptor from 1024 on:
-- it threw out of the loop.
local core = require "surefoot.core"
local env = require "spec.support.env"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local HEAD = [[
  local copas, socket, surefoot = require "copas", require "socket", require "surefoot"
  local function new()
    return surefoot.new { base_url = arg[1], api_key = "sk-test-0123456789", model = "m" }
  end
  local function turn(done)
    local deadline = surefoot.now() + 10
    repeat
      copas.step(0.1)
      assert(surefoot.now() < deadline, "the loop stands still")
    until done()
  end
]]

describe("copas", function()
  local p

  setup(function()
    p = provider.start()
    p:profile("a", { delay = 0.05 })
  end)

  teardown(function() p:stop() end)

  local function run(code, prefix)
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    process.write(path, HEAD .. code)
    if not pcall(require, "copas") then
      env.skip("copas was not found for " .. _VERSION .. ": install the package lua-copas")
    elseif _VERSION == "Lua 5.1" and not core.main_thread then
      env.skip "this build does not know the main thread, where copas' coroutines are looked up"
    end
    local words = process.command { "timeout", "30", env.lua, "-l", "spec.helper", path, p.lines.a.url }
    return env.run((prefix or "") .. words)
  end

  it("keeps the connection of a server's client while its handler waits for a call", function()
    local result = run [[
      local client, server = new(), assert(socket.bind("127.0.0.1", 0))
      local _, port = server:getsockname()
      copas.addserver(server, function(connection)
        local word = copas.receive(connection)
        local first = assert(client:chat(word)).text
        copas.send(connection, first .. "\n" .. assert(client:chat(word .. " again")).text .. "\n")
      end)
      local said, done = {}, 0
      for i = 1, 3 do
        copas.addthread(function()
          local connection = socket.tcp()
          connection:settimeout(0)
          copas.connect(connection, "127.0.0.1", port)
          copas.send(connection, "x" .. i .. "\n")
          said[i] = tostring(copas.receive(connection)) .. "|" .. tostring(copas.receive(connection))
          done = done + 1
        end)
      end
      turn(function() return done == 3 end)
      print(table.concat(said, "\n"))
    ]]
    local expected = "echo: x1|echo: x1 again\necho: x2|echo: x2 again\necho: x3|echo: x3 again\n"
    assert.same({ status = 0, stdout = expected, stderr = "" }, result)
    assert.equal(3, p:counters("a").peak)
  end)

  it("is told at once where its select cannot watch the engine", function()
    local result = run([[
      local files = {}
      for i = 1, 1100 do
        files[i] = assert(io.open("/dev/null"))
      end
      local err
      copas.addthread(function() err = select(2, new():chat "x") end)
      turn(function() return err end)
      print(err.kind, err.message)
    ]], "ulimit -n 4096 && ")
    assert.equal("", result.stderr)
    assert.matches("^invalid_request\tcopas watches file descriptors below 1024 only", result.stdout)
  end)
end)
