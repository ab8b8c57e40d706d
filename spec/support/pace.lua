-- How much longer things take here than in a plain run: specs multiply their shortest waits, and their bounds, by it.
local env = require "spec.support.env"

local under_valgrind = (os.getenv "LD_PRELOAD" or ""):find "valgrind" ~= nil

return under_valgrind and 12 or (env.sanitized or os.getenv "SUREFOOT_GC") and 3 or 1
