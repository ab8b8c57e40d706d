--- The C core, or a message that says what is missing and what to do about it.

local found, core = pcall(require, "surefoot.core")
if found then
  return core
end

local interpreter = rawget(_G, "jit") and jit.version or _VERSION
error(table.concat({
  "surefoot: its C core (surefoot.core) cannot be loaded into " .. interpreter .. ".",
  "  From LuaRocks:    luarocks install surefoot (needs a C compiler and libcurl's headers)",
  "  From a checkout:  make, then put build/lua5.4/?.so or build/luajit/?.so into LUA_CPATH",
  "  libcurl:          Debian, Ubuntu: apt install libcurl4-openssl-dev; Alpine: apk add curl-dev; "
    .. "Fedora: dnf install libcurl-devel; macOS: brew install curl",
  "  A core built for another Lua version does not load: build it for this one.",
  "Lua said: " .. tostring(core),
}, "\n"), 0)
