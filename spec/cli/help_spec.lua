-- What the command line says of itself: help texts as they are kept in spec/cli/help (UPDATE_HELP=1 writes them anew),
-- the man page, and completion for shells.

local env = require "spec.support.env"
local process = require "spec.support.process"

local unpack = table.unpack or unpack

local FOLDER = "spec/cli/help/"

describe("surefoot's help #once", function()
  local function check(...)
    return env.check({ "build/surefoot", ... })
  end

  local function names()
    local list = {}
    for name in check("--help"):match "\nCommands:\n(.-)\n\n":gmatch "\n? *(%l+) [^\n]*" do
      list[#list + 1] = name
    end
    return list
  end

  local function compare(name, text)
    local path = FOLDER .. name .. ".txt"
    if os.getenv "UPDATE_HELP" then
      process.write(path, text)
    end
    assert.equal(process.read(path), text, path .. " (UPDATE_HELP=1 writes it anew)")
  end

  it("is as it is kept, for each command, with examples", function()
    compare("surefoot", check "--help")
    for _, name in ipairs(names()) do
      local text = check(name, "--help")
      compare(name, text)
      assert.matches("\nExamples:\n   .*" .. name, text)
      for line in text:gmatch "[^\n]+" do
        assert.is_true(#line <= 120, line)
      end
    end
  end)

  it("has all commands, and no text of one that is gone", function()
    local list, expected = names(), { "surefoot.txt" }
    for _, name in ipairs(list) do
      expected[#expected + 1] = name .. ".txt"
    end
    table.sort(expected)
    local kept = {}
    for name in env.check("LC_ALL=C ls " .. FOLDER):gmatch "[^\n]+" do
      kept[#kept + 1] = name
    end
    assert.same(expected, kept)
  end)

  it("lists each command on a line of its own, as its module sums it up", function()
    local listed = check "--help":match "\nCommands:\n(.-)\n\n"
    for _, name in ipairs(names()) do
      assert.equal(require("surefoot.cli." .. name).summary, listed:match("   " .. name .. " +([^\n]+)"))
    end
    assert.is_nil(listed:find("\n     ", 1, true), "a summary is longer than a line")
  end)

  it("tells what was meant, and ends with 2", function()
    for said, words in pairs {
      ['unknown command "gatway"; did you mean "gateway"%?\nUsage: surefoot '] = { "gatway" },
      ["unknown option '%-%-modle'"] = { "chat", "--modle", "x" },
      ["unknown option '%-%-wach'\nDid you mean '%-%-watch'%?\nUsage: surefoot status "] = { "status", "--wach" },
      ["a command is required\nUsage: surefoot "] = {},
    } do
      local result = env.run { "build/surefoot", unpack(words) }
      assert.same({ 2, "" }, { result.status, result.stdout })
      assert.matches("^surefoot: " .. said, result.stderr)
    end
  end)

  it("tells the version, and what is missing", function()
    assert.matches("^surefoot %d+%.%d+%.%d+ %(libcurl/", check "--version")
    local result = env.run({ "build/surefoot", "--help" }, { env = { LUA_INIT =
      [[package.preload.argparse = function() error "there is none" end]] } })
    assert.equal(2, result.status)
    assert.matches("^surefoot: it needs argparse %(Debian: apt install lua%-argparse; elsewhere: luarocks",
      result.stderr)
  end)

  it("is a man page", function()
    local page = check "manual"
    assert.matches('^%.TH SUREFOOT 1 "" "surefoot [%d.]+" "User Commands"\n', page)
    for _, name in ipairs(names()) do
      assert.is_truthy(page:find("\n.SS " .. name .. "\n", 1, true), name)
    end
    env.need("groff", "groff-base")
    local result = env.run("build/surefoot manual | groff -man -Tutf8 -ww -z -K utf8")
    assert.same({ 0, "" }, { result.status, result.stderr })
    local shown = env.check "build/surefoot manual | groff -man -Tascii -P-c | sed 's/.\\x08//g'"
    assert.matches("\nEXIT STATUS\n", shown)
    assert.is_truthy(shown:find("-c, --config FILE", 1, true))
  end)

  it("completes command lines", function()
    local completed = env.check { "bash", "-c", [[
      source <(build/surefoot complete bash)
      try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _surefoot; echo "${COMPREPLY[@]}"; }
      try surefoot mod
      try surefoot bench --conc
      try surefoot chat --]] .. "no-st" }
    assert.equal("models\n--concurrency\n--no-stream\n", completed)
    assert.matches("^#compdef surefoot\n", check("complete", "zsh"))
    assert.matches("complete %-c surefoot ", check("complete", "fish"))
    assert.equal(2, env.run({ "build/surefoot", "complete", "csh" }).status)
  end)
end)
