-- Hooks, tasks and what is protected may wait in every home, also on Lua 5.1, which cannot yield across pcall.
local env = require "spec.support.env"
local provider = require "spec.support.provider"

describe("hooks that wait", function()
  local p

  setup(function() p = provider.start { profiles = { a = { delay = 0.005 } } } end)
  teardown(function() p:stop() end)

  for _, home in ipairs { "native", "cqueues", "copas", "luv" } do
    it("do so in the home " .. home, function()
      if home ~= "native" and env.run({ env.lua, "-e", "require '" .. home .. "'" }).status ~= 0 then
        env.skip(("%s was not found for %s: install the package lua-%s"):format(home, env.lua, home))
      end
      local result = env.run { "timeout", "30", env.lua, "-l", "spec.helper", "spec/loops/hooks_program.lua", home,
        p.control_url }
      assert.same({ status = 0, stderr = "", stdout = table.concat({
        "echo: validated", "of validate", "error: of a task", "echo: a stream", "echo: one of two, error: of the other",
        "attempt to yield across", "3 ended, 0 in flight", "done", "",
      }, "\n") }, result)
    end)
  end
end)
