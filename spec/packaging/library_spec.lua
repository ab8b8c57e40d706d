-- The shared object as a guest in other people's processes: it shows one symbol, brings no Lua of its own, and stays.
local env = require "spec.support.env"
local installed = require "spec.packaging.installed"
local process = require "spec.support.process"

describe("the shared object of the checkout", function()
  local core = env.build .. "/surefoot/core.so"

  it("shows the luaopen function alone", function()
    assert.same({ "luaopen_surefoot_core" }, installed.exports(core))
  end)

  it("is one for Lua 5.1 and LuaJIT, against whichever it was built #once", function()
    for _, way in ipairs { { "luajit", "lua5.1", "lua5.1" }, { "lua5.1", "luajit", "luajit2" } } do
      local built = "build/" .. way[1] .. "/?.so"
      env.need(way[2], way[3])
      if process.read((built:gsub("%?", "surefoot/core"))) then
        local program = ("package.cpath = '%s' print(require('surefoot.core').now() > 0)"):format(built)
        assert.equal("true\n", env.check({ way[2], "-e", program }, { env = { LD_BIND_NOW = "1" } }))
      end
    end
  end)

  it("leaves Lua to the host", function()
    local dynamic = installed.dynamic(core)
    assert.matches("NEEDED%)%s+Shared library: %[libcurl%.so", dynamic)
    assert.not_matches("NEEDED%)%s+Shared library: %[liblua", dynamic)
  end)

  it("stays in memory", function()
    assert.matches("FLAGS_1%)[^\n]*NODELETE", installed.dynamic(core))
  end)
end)
