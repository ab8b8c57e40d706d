--- The command line as a whole: its help, what is misspelt, exit codes. SUREFOOT_GOLDEN=renew writes the texts anew.

local env = require "spec.support.env"
local process = require "spec.support.process"

local GOLDEN = "spec/cli/golden/"

local function surefoot(...)
  return env.run { "build/surefoot", ... }
end

-- The commands stand for themselves, since each brings its line.
local function without_commands(text)
  return (text:gsub("\nCommands:\n.-\n\n", "\nCommands:\n   ...\n\n"))
end

local function assert_golden(name, text)
  local path = GOLDEN .. name .. ".txt"
  if os.getenv "SUREFOOT_GOLDEN" == "renew" then
    process.write(path, text)
  end
  assert.equal(process.read(path), text)
end

describe("surefoot #once", function()
  it("helps", function()
    local result = surefoot "--help"
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert_golden("surefoot", without_commands(result.stdout))
    local listed = result.stdout:match "\nCommands:\n(.-)\n\n"
    for _, name in ipairs { "gateway", "status" } do
      local command = require("surefoot.cli." .. name)
      assert.equal(command.summary, listed:match("   " .. name .. " +([^\n]+)"))
    end
    assert.is_nil(listed:find("\n    ", 1, true), "a summary is longer than a line")
  end)

  for _, name in ipairs { "gateway", "status" } do
    it("helps with " .. name, function()
      local result = surefoot(name, "--help")
      assert.same({ 0, "" }, { result.status, result.stderr })
      assert_golden(name, result.stdout)
    end)
  end

  it("tells its version", function()
    assert.matches("^surefoot %d+%.%d+%.%d+ %(libcurl/", surefoot("--version").stdout)
  end)

  it("knows what was meant", function()
    local result = surefoot "gatway"
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches('^surefoot: unknown command "gatway"; did you mean "gateway"%?\nUsage: surefoot ', result.stderr)
    result = surefoot("status", "--wach")
    assert.equal(2, result.status)
    assert.matches("^surefoot: unknown option '%-%-wach'\nDid you mean '%-%-watch'%?\nUsage: surefoot status ",
      result.stderr)
    result = surefoot()
    assert.equal(2, result.status)
    assert.matches("^surefoot: a command is required\nUsage: surefoot ", result.stderr)
  end)

  it("says what it needs", function()
    local result = env.run({ "build/surefoot", "--help" }, { env = { LUA_INIT =
      [[package.preload.argparse = function() error "there is none" end]] } })
    assert.equal(2, result.status)
    assert.matches("^surefoot: it needs argparse %(Debian: apt install lua%-argparse; elsewhere: ", result.stderr)
  end)
end)
