-- Runs busted under the interpreter that runs this file: `luajit spec/support/busted.lua [options]`.
-- (The `busted` script picks `lua` from the PATH first; as a named chunk the runner would not exit by itself on 5.1.)
local load = loadstring or load -- luacheck: ignore
load("require 'busted.runner' { standalone = false }", "=busted")()
