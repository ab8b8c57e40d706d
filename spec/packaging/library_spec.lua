-- The shared object as a guest in other people's processes: it shows one symbol, brings no Lua of its own, and stays.
local env = require "spec.support.env"
local installed = require "spec.packaging.installed"

describe("the shared object of the checkout", function()
  local core = env.build .. "/surefoot/core.so"

  it("shows the luaopen function alone", function()
    assert.same({ "luaopen_surefoot_core" }, installed.exports(core))
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
