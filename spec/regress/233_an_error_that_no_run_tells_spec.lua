-- The error of a task that nobody waited for was kept for the next surefoot.run or step: where none came, the program
-- ended as if all had been well.
local env = require "spec.support.env"

local function run(program)
  return env.run { env.lua, "-l", "spec.helper", "-e", 'local surefoot = require "surefoot"\n' .. program }
end

describe("the error of a task that nobody waits for", function()
  it("is told when the program ends, if no run was there to throw it", function()
    local result = run [[
      surefoot.spawn(function() error "lost" end)
      surefoot.spawn(function() error "seen" end):wait()
    ]]
    assert.equal(0, result.status)
    assert.matches("^surefoot: a task that nobody waited for threw: [^\n]*lost\nstack traceback:", result.stderr)
    assert.is_nil(result.stderr:find("seen", 1, true))
  end)

  it("is told once where a run throws it, or somebody has waited after all", function()
    local result = run [[
      surefoot.spawn(function() error "lost" end)
      print(pcall(surefoot.run, function() end))
      local late = surefoot.spawn(function() error "late" end)
      surefoot.spawn(function() end):wait()
      print(late:done(), late:wait())
    ]]
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.matches("false.*lost.*true\tnil\terror: .*late", result.stdout)
  end)
end)
