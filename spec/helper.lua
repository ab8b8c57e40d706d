-- Makes `require "surefoot"` mean this checkout: lua/ and the core that was built for the running interpreter.
-- SUREFOOT_BUILD names another build folder (the one with sanitizers).
local build = os.getenv "SUREFOOT_BUILD" or (rawget(_G, "jit") and "build/luajit" or "build/lua5.4")

package.path = "./lua/?.lua;./lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "./" .. build .. "/?.so;" .. package.cpath
