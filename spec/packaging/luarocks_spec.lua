-- The rockspec, without a network: made in a copy of the sources, then packed, served and installed like a release.
local env = require "spec.support.env"
local installed = require "spec.packaging.installed"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local ROCKSPEC = "rockspec/surefoot-scm-1.rockspec"

-- Debian's lua-cjson and lua-argparse stand in for the rocks.
local CONFIG = [[
rocks_provided = { ["lua-cjson"] = "2.1.0-1", ["argparse"] = "0.7.1-1" }
]]

describe("the rockspec", function()
  it("lists every C source, and nothing else", function()
    local listed = {}
    for name in process.read(ROCKSPEC):gmatch '"(csrc/[^"]+)"' do
      listed[#listed + 1] = name
    end
    local found = {}
    for name in env.check("LC_ALL=C ls csrc/*/*.c"):gmatch "[^\n]+" do
      found[#found + 1] = name
    end
    assert.same(found, listed, "`make rockspec` brings the list up to date")
  end)
end)

describe("luarocks #once", function()
  local dir, line

  local function luarocks(words, cwd)
    local argv = { "luarocks", "--lua-version=5.4" }
    for _, word in ipairs(words) do
      argv[#argv + 1] = word
    end
    return env.check(argv, { cwd = cwd, env = { LUAROCKS_CONFIG = dir .. "/config.lua", HOME = dir } })
  end

  -- A clean copy: LuaRocks compiles beside the sources.
  local function copy_sources(to)
    env.check { "mkdir", "-p", to }
    env.check(("cp -R csrc lua rockspec LICENSE CHANGELOG.md %s && find %s -name '*.o' -delete"):format(to, to))
    return to
  end

  setup(function()
    line = provider.start { lines = { "a" } }
    dir = process.temp_dir "surefoot-rocks"
    process.write(dir .. "/config.lua", CONFIG)
  end)

  teardown(function()
    line:stop()
    process.remove_dir(dir)
  end)

  it("makes a surefoot that works", function()
    env.need("luarocks", "luarocks")
    local tree = dir .. "/made"
    local output = luarocks({ "--tree=" .. tree, "make", ROCKSPEC }, copy_sources(dir .. "/copy"))
    assert.matches("surefoot scm%-1 is now installed", output)
    installed.answers(tree, "lua5.4", "5.4", line.lines.a.url)
    assert.same(installed.files "lua", installed.files(tree .. "/share/lua/5.4"))
    assert.same({ "luaopen_surefoot_core" }, installed.exports(installed.core(tree, "5.4")))
    installed.program_works(tree .. "/bin/surefoot", tree, "5.4")
  end)

  it("packs a release that a server hands out and that installs", function()
    env.need("luarocks", "luarocks")
    local version = require "surefoot.version"
    local name = "surefoot-" .. version
    local server, tree = dir .. "/server", dir .. "/installed"
    copy_sources(dir .. "/" .. name)
    env.check({ "mkdir", "server" }, { cwd = dir })
    env.check({ "tar", "czf", name .. ".tar.gz", name }, { cwd = dir })

    local text = process.read(ROCKSPEC):gsub('version = "scm%-1"', ('version = "%s-1"'):format(version))
    text = text:gsub('url = "[^"]+"', ('url = "file://%s/%s.tar.gz"'):format(dir, name))
    process.write(("%s/%s-1.rockspec"):format(server, name), text)

    luarocks({ "pack", name .. "-1.rockspec" }, server)
    env.check({ "luarocks-admin", "--lua-version=5.4", "make_manifest", "." }, { cwd = server, env = { HOME = dir } })
    luarocks({ "--tree=" .. tree, "install", "--only-server=" .. server, "surefoot" }, dir)
    installed.answers(tree, "lua5.4", "5.4", line.lines.a.url)
  end)
end)
