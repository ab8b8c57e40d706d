-- Makes `require "surefoot"` mean this checkout: lua/ and the core that was built for the running interpreter.
-- SUREFOOT_BUILD names another build folder (the one with sanitizers); SUREFOOT_GC=greedy collects all the time.
-- Also for plain programs: lua5.4 -l spec.helper program.lua
local variant = rawget(_G, "jit") and "luajit" or "lua" .. _VERSION:match "%d%.%d"
local build = os.getenv "SUREFOOT_BUILD" or "build/" .. variant

package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "./" .. build .. "/?.so;" .. package.cpath

if os.getenv "SUREFOOT_GC" == "greedy" then
  if _VERSION == "Lua 5.4" then -- whose interpreter begins in generational mode
    collectgarbage("incremental", 100, 1000, 10)
  else
    collectgarbage("setpause", 100)
    collectgarbage("setstepmul", 1000)
  end
end
