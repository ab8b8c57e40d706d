-- `make install` into a folder of its own gives a surefoot that works without the checkout.
local env = require "spec.support.env"
local installed = require "spec.packaging.installed"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("make install #once", function()
  local dir, prefix, line

  setup(function()
    line = provider.start { lines = { "a" } }
    dir = process.temp_dir "surefoot-install"
    prefix = dir .. "/opt/sure"
    env.check { "make", "install", "DESTDIR=" .. dir, "PREFIX=/opt/sure" }
  end)

  teardown(function()
    line:stop()
    process.remove_dir(dir)
  end)

  it("serves Lua 5.4", function()
    installed.answers(prefix, "lua5.4", "5.4", line.lines.a.url)
  end)

  it("serves LuaJIT", function()
    env.need("luajit", "luajit2")
    installed.answers(prefix, "luajit", "5.1", line.lines.a.url)
  end)

  it("serves Lua 5.1 by the same module", function()
    env.need("lua5.1", "lua5.1")
    installed.answers(prefix, "lua5.1", "5.1", line.lines.a.url)
  end)

  it("serves another Lua where it is told to, and that alone", function()
    env.need("lua5.3", "lua5.3")
    if env.run({ "pkg-config", "--exists", "lua5.3" }).status ~= 0 then
      env.skip "Lua's headers were not found: install the package liblua5.3-dev"
    end
    local root = process.temp_dir "surefoot-install"
    finally(function() process.remove_dir(root) end)
    env.check { "make", "install", "LUA=5.3", "DESTDIR=", "PREFIX=" .. root }
    installed.answers(root, "lua5.3", "5.3", line.lines.a.url)
    installed.program_works(root .. "/bin/surefoot", root, "5.3")
    assert.equal("5.3\n5.3\n", env.check("ls " .. root .. "/lib/lua " .. root .. "/share/lua | grep '^5'"))
  end)

  it("installs a program that finds it, wherever that is", function()
    local root = process.temp_dir "surefoot-install"
    finally(function() process.remove_dir(root) end)
    env.check { "make", "install", "LUA=5.4", "DESTDIR=", "PREFIX=" .. root }
    installed.program_works(root .. "/bin/surefoot", root, "5.4")
  end)

  it("takes a folder from where make runs", function()
    local root = process.temp_dir "surefoot-install"
    finally(function() process.remove_dir(root) end)
    local here = env.check { "pwd" }:gsub("%s+$", "")
    local relative = env.check { "realpath", "--relative-to=.", root }:gsub("%s+$", "")
    env.check { "make", "install", "LUA=5.4", "DESTDIR=", "PREFIX=" .. relative }
    assert.same(installed.files "lua", installed.files(root .. "/share/lua/5.4"))
    installed.program_works(root .. "/bin/surefoot", here .. "/" .. relative, "5.4")
  end)

  it("installs every file of the Lua layer, readable by all", function()
    assert.same(installed.files "lua", installed.files(prefix .. "/share/lua/5.4"))
    assert.equal("", env.check { "find", prefix .. "/share", "-type", "f", "!", "-perm", "644" })
  end)

  it("brings the man page and what the shells complete", function()
    local share = prefix .. "/share/"
    for words, name in pairs {
      ["manual"] = "man/man1/surefoot.1", ["complete bash"] = "bash-completion/completions/surefoot",
      ["complete zsh"] = "zsh/site-functions/_surefoot",
      ["complete fish"] = "fish/vendor_completions.d/surefoot.fish",
    } do
      assert.equal(env.check("build/surefoot " .. words), process.read(share .. name), name)
    end
  end)

  it("is undone by make uninstall, which leaves what is others'", function()
    local root = process.temp_dir "surefoot-install"
    finally(function() process.remove_dir(root) end)
    env.check { "make", "install", "LUA=5.4", "DESTDIR=", "PREFIX=" .. root }
    process.write(root .. "/share/lua/5.4/other.lua", "")
    env.check { "make", "uninstall", "LUA=5.4", "DESTDIR=", "PREFIX=" .. root }
    assert.same({ "./share/lua/5.4/other.lua" }, installed.files(root))
  end)

  it("writes nowhere else", function()
    for _, name in ipairs(installed.files(dir)) do
      assert.matches("^%./opt/sure/%l+/", name)
    end
  end)
end)
