--- What this machine has to run a gateway: an nginx that knows Lua, a surefoot for that Lua (LuaJIT), room for
--- connections, and the environment that the workers shall see.

local process = require("surefoot.binding").process
local quote_path = require("surefoot.gateway.nginx").path
local sorted = require "surefoot.sorted"

local M = {}

local CONNECTIONS = 8192 -- of one worker, where the limit of open files allows them
local FILES = 65536 -- that a worker opens, where it may
local SPARE_FILES = 64 -- for what a worker opens beside a caller's socket and its line's

local function is_file(name)
  local file = io.open(name, "r")
  return file ~= nil and file:close()
end

local function read_all(name)
  local file = io.open(name, "rb")
  local text = file and file:read "*a" or ""
  if file then
    file:close()
  end
  return text
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- What a program says of itself; nil where it cannot be run.
local function version_of(binary)
  local pipe = io.popen(quoted(binary) .. " -V 2>&1 </dev/null", "r")
  local text = pipe and pipe:read "*a" or ""
  if pipe then
    pipe:close()
  end
  local version = text:match "version: %S-/(%d[%d.]*)"
  return version and text, version
end

local BINARIES = { "nginx", "openresty" }
local FOLDERS = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/usr/local/nginx/sbin",
  "/usr/local/openresty/nginx/sbin", "/usr/local/openresty/bin" }

-- Programs that may be an nginx, the first that a shell would find first.
local function candidates(environment)
  local named = environment "SUREFOOT_NGINX"
  if named then
    return { named }
  end
  local list, seen = {}, {}
  local function add(folder)
    for _, name in ipairs(BINARIES) do
      local file = folder .. "/" .. name
      if not seen[file] and is_file(file) then
        seen[file], list[#list + 1] = true, file
      end
    end
  end
  for folder in (environment "PATH" or ""):gmatch "[^:]+" do
    add(folder)
  end
  for _, folder in ipairs(FOLDERS) do
    add(folder)
  end
  return list
end

-- The modules that give an nginx Lua: none where it is built in, nil where there are none.
local function modules_of(about, environment)
  if about:find "lua%-nginx%-module" or about:find "ngx_lua" then
    return {}
  end
  for _, folder in ipairs {
    environment "SUREFOOT_NGINX_MODULES" or "", about:match "%-%-modules%-path=(%S+)" or "",
    "/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules",
  } do
    local lua, kit = folder .. "/ngx_http_lua_module.so", folder .. "/ndk_http_module.so"
    if folder ~= "" and is_file(lua) then
      return is_file(kit) and { kit, lua } or { lua }
    end
  end
end

local function is_before(version, major, minor, patch)
  local numbers = {}
  for number in version:gmatch "%d+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  for i, wanted in ipairs { major, minor, patch } do
    local number = numbers[i] or 0
    if number ~= wanted then
      return number < wanted
    end
  end
  return false
end

---@class surefoot.gateway.Program
---@field binary string
---@field version string
---@field modules string[]     to load
---@field arguments string[]   so that it writes nowhere before it has read its configuration

--- Finds an nginx that knows Lua.
---@param environment (fun(name: string): string?)?
---@return surefoot.gateway.Program?
---@return string? problem
function M.find(environment)
  environment = environment or os.getenv
  local without
  for _, binary in ipairs(candidates(environment)) do
    local about, version = version_of(binary)
    local modules = about and modules_of(about, environment)
    if modules then
      return { binary = binary, version = version, modules = modules,
        arguments = is_before(version, 1, 19, 5) and {} or { "-e", "stderr" } }
    end
    without = without or about and binary
  end
  local advice = "(Debian: apt install nginx libnginx-mod-http-lua lua-resty-core lua-cjson; or OpenResty); "
    .. "SUREFOOT_NGINX names another"
  return nil, without and ("%s has no Lua module %s"):format(without, advice) or "no nginx was found " .. advice
end

-- Where nginx's Lua, which is LuaJIT, finds surefoot: beside the one that runs now.
local function layouts(root)
  local list = {}
  local checkout = root:match "^(.*)/lua$"
  local prefix = root:match "^(.*)/share/lua/5%.%d$"
  if checkout then
    for _, variant in ipairs { "luajit", "lua5.1" } do
      list[#list + 1] = { lua = root, core = ("%s/build/%s"):format(checkout, variant) }
    end
  end
  if prefix then
    list[#list + 1] = { lua = prefix .. "/share/lua/5.1", core = prefix .. "/lib/lua/5.1" }
    list[#list + 1] = { lua = prefix .. "/share/lua/5.1", core = prefix .. "/lib64/lua/5.1" }
  end
  for _, base in ipairs { "/usr/local", "/usr" } do
    list[#list + 1] = { lua = base .. "/share/lua/5.1", core = base .. "/lib/lua/5.1" }
  end
  return list
end

---@class surefoot.gateway.Paths
---@field lua_path string
---@field lua_cpath string
---@field fallback_path string?  LUA_PATH, so that a configuration can require what it could here
---@field files string[]         that the workers have to be able to read

--- Where nginx's Lua will find surefoot.
---@param environment (fun(name: string): string?)?
---@return surefoot.gateway.Paths?
---@return string? problem
function M.paths(environment)
  environment = environment or os.getenv
  local here = debug.getinfo(1, "S").source:match "^@(.*)/surefoot/cli/nginx%.lua$" or "./lua"
  local root = here:sub(1, 1) == "/" and here or process.directory() .. "/" .. here:gsub("^%./", "")
  for _, one in ipairs(layouts(root)) do
    local first, core = one.lua .. "/surefoot/init.lua", one.core .. "/surefoot/core.so"
    if is_file(first) and is_file(core) then
      quote_path(one.lua, "surefoot") -- throws where it cannot be said
      quote_path(one.core, "surefoot")
      local given = environment "LUA_PATH_5_1" or environment "LUA_PATH" or ""
      local own = _VERSION == "Lua 5.1" and environment "LUA_CPATH" or environment "LUA_CPATH_5_1"
      return {
        lua_path = ("%s/?.lua;%s/?/init.lua"):format(one.lua, one.lua),
        lua_cpath = one.core .. "/?.so" .. (own and ";" .. own:gsub(";;+", ";"):gsub(";$", "") or ""),
        fallback_path = not given:find "[%c\"'\\${}]" and given:gsub(";;+", ";"):gsub("^;", "") or nil,
        files = { first, core },
      }
    end
  end
  return nil, "nginx's Lua is LuaJIT, and there is no surefoot for it: in a checkout `make` (and `make install`) makes "
    .. "it, with LuaRocks `luarocks --lua-version=5.1 install surefoot`"
end

--- How many files and connections a worker may have.
---@param limits string? text of /proc/self/limits
---@return integer? files to be asked for; nil: more are not allowed
---@return integer connections
function M.capacity(limits)
  local soft, hard = (limits or read_all "/proc/self/limits"):match "Max open files%s+(%w+)%s+(%w+)"
  local most = hard == "unlimited" and FILES or tonumber(hard) or 1024
  local files = math.min(most, FILES)
  local connections = math.max(32, math.min(CONNECTIONS, math.floor((files - SPARE_FILES) / 2)))
  return files ~= tonumber(soft) and files or nil, connections
end

-- What would lead LuaJIT to modules of another Lua, or nginx to sockets that it does not have.
local HIDDEN = { LUA_PATH = true, LUA_CPATH = true, NGINX = true }

--- Variables of the environment that nginx is started without.
---@return string[]
function M.hidden()
  return sorted(HIDDEN)
end

--- Names of the variables of the environment, for the workers to see what the configuration saw.
---@param text string? as /proc/self/environ has it
---@return string[]
function M.environment(text)
  local names, seen = {}, {}
  for entry in (text or read_all "/proc/self/environ"):gmatch "[^%z]+" do
    local name = entry:match "^([%a_][%w_]*)="
    if name and name ~= "_" and not HIDDEN[name] and not seen[name] then
      seen[name], names[#names + 1] = true, name
    end
  end
  table.sort(names)
  return names
end

return M
