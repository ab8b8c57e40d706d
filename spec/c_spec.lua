-- The tests in C (spec/*/*_test.c), built by make beside the core: each program is one test here, and says which of its
-- own failed.
local env = require "spec.support.env"

if env.build ~= "build/lua5.4" and not env.sanitized then
  return -- the same code again
end

describe("in C,", function()
  for source in io.popen("LC_ALL=C ls spec/*/*_test.c"):lines() do
    local name = source:match "^spec/(.*)%.c$"
    it(name .. " passes", function()
      local result = env.run { "timeout", "120", env.build .. "/test/" .. name }
      assert(result.status == 0, ("status %d\n%s%s"):format(result.status, result.stdout, result.stderr))
    end)
  end
end)
