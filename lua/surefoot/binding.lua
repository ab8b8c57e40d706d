--- The C core, or a message that says what is missing and what to do about it.

local found, core = pcall(require, "surefoot.core")
if found then
  return core
end

local interpreter = rawget(_G, "jit") and jit.version or _VERSION
local version = _VERSION:match "%d%.%d"
error(table.concat({
  "surefoot: its C core (surefoot.core) cannot be loaded into " .. interpreter .. ".",
  "  From LuaRocks:    luarocks install surefoot (needs a C compiler and libcurl's headers)",
  "  From a checkout:  make install LUA=" .. version .. (version == "5.1" and " (LuaJIT's, too)" or ""),
  "  libcurl:          Debian, Ubuntu: apt install libcurl4-openssl-dev; Alpine: apk add curl-dev; "
    .. "Fedora: dnf install libcurl-devel; macOS: brew install curl",
  "  A core built for another Lua version does not load: build it for this one.",
  "Lua said: " .. tostring(core),
}, "\n"), 0)
