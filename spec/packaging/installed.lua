-- What the packaging specs ask of an installed surefoot, however it was installed.
local assert = require "luassert"
local env = require "spec.support.env"
local process = require "spec.support.process"

local M = {}

---@return string this checkout
function M.checkout()
  return (process.capture { "pwd" }:gsub("%s+$", ""))
end

---@param dir string
---@return string[] files below `dir`, sorted
function M.files(dir)
  local list = {}
  for name in env.check("find . -type f | LC_ALL=C sort", { cwd = dir }):gmatch "[^\n]+" do
    list[#list + 1] = name
  end
  return list
end

---@param prefix string
---@param lua_version string
---@return string path of the core of that Lua version
function M.core(prefix, lua_version)
  return ("%s/lib/lua/%s/surefoot/core.so"):format(prefix, lua_version)
end

---Runs the first program of a user from a foreign folder, against the provider at `url`: it must load what lies under
---`prefix`, and be answered.
function M.answers(prefix, lua, lua_version, url)
  local share = ("%s/share/lua/%s/"):format(prefix, lua_version)
  local program = M.checkout() .. "/spec/packaging/first_call.lua"
  local output = env.check({ lua, program, url }, {
    cwd = prefix,
    env = {
      LUA_PATH = share .. "?.lua;" .. share .. "?/init.lua;;",
      LUA_CPATH = ("%s/lib/lua/%s/?.so;;"):format(prefix, lua_version),
    },
  })
  assert.equal(table.concat({
    share .. "surefoot/init.lua", M.core(prefix, lua_version), require "surefoot.version", "echo: ping 42", "",
  }, "\n"), output)
end

-- Tells which surefoot a program has loaded, as it ends.
local TELL = [[local exit = os.exit
os.exit = function(...)
  io.stderr:write(package.searchpath("surefoot", package.path), " ", package.searchpath("surefoot.core", package.cpath))
  exit(...)
end]]

---Runs the command line from a foreign folder, with nothing in the environment that would help: it must load what lies
---under `prefix`.
---@param program string
---@param prefix string
---@param lua_version string
function M.program_works(program, prefix, lua_version)
  local result = env.run({ "env", "-u", "LUA_PATH", "-u", "LUA_CPATH", program, "--version" },
    { cwd = prefix, env = { LUA_INIT = TELL } })
  assert.equal(0, result.status, result.stderr)
  assert.matches("^surefoot " .. require("surefoot.version"):gsub("%p", "%%%0") .. " %(libcurl", result.stdout)
  assert.equal(("%s/share/lua/%s/surefoot/init.lua %s"):format(prefix, lua_version, M.core(prefix, lua_version)),
    result.stderr)
end

---@param core string a shared object
---@return string[] names that it exports
function M.exports(core)
  local names = {}
  for name in env.check { "nm", "-D", "--defined-only", "--format=posix", core }:gmatch "(%S+) %u [^\n]*" do
    names[#names + 1] = name
  end
  return names
end

---@param core string a shared object
---@return string its dynamic section, for people
function M.dynamic(core)
  return env.check { "readelf", "-dW", core }
end

return M
