-- What people get wrong at a command line: each is told in one sentence that names it, and ends with 2.

local env = require "spec.support.env"
local process = require "spec.support.process"

local unpack = table.unpack or unpack

describe("Ctrl-C #once", function()
  it("while the program is being loaded is no error", function()
    local result = env.run({ "build/surefoot", "--version" }, { env = {
      LUA_INIT = [[package.preload["surefoot.binding"] = function() error "interrupted!" end]] } })
    assert.same({ 130, "", "" }, { result.status, result.stdout, result.stderr })
    result = env.run({ "build/surefoot", "--version" }, { env = {
      LUA_INIT = [[package.preload["surefoot.binding"] = function() error("no core", 0) end]] } })
    assert.same({ 1, "", "no core\n" }, { result.status, result.stdout, result.stderr })
  end)
end)

describe("a limit of open files that is too low #once", function()
  it("is told, with how to raise it", function()
    local result = env.run "exec 3>&- 4>&-; ulimit -n 5; build/surefoot chat --base-url http://127.0.0.1:9 -m m hi"
    assert.same({ 1, "", "surefoot: too many open files: raise their limit, as by `ulimit -n 1024`\n" },
      { result.status, result.stdout, result.stderr })
  end)
end)

describe("a mistake on the command line #once", function()
  local dir

  setup(function()
    dir = process.temp_dir "mistakes"
    process.write(dir .. "/c.lua", "return { base_url = 'http://127.0.0.1:9/v1', api_key = 'x', model = 'm' }")
    process.write(dir .. "/rows", '{"prompt":"a"}\n{"prompt":\n')
    process.write(dir .. "/usage", '{"a":1}\n{"b":1}\nbroken\n')
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  for _, case in ipairs {
    { "in a number", "%-%-deadline: expected a number above 0, got abc\nUsage: ", "chat", "--deadline", "abc", "x" },
    { "in a whole number", "%-%-concurrency: expected a whole number from 1 to 100000, got 1.5\nUsage: ",
      "batch", "in", "-o",
      "out", "-j", "1.5" },
    { "in how long to wait", "%-%-patience: expected a number from 0 to 86400, got 1e9\n", "batch", "in", "-o", "out",
      "--patience", "1e9" },
    { "in a sign", "%-%-calls: no number below 0 makes sense here: %-1\nUsage: surefoot bench ",
      "bench", "--calls", "-1" },
    { "in how much it costs", "%-%-days: expected a number from 0.01 on, got 0\n", "cost", "--days", "0" },
    { "in prompts that are a folder", "DIR: Is a directory\n$", "bench", "-c", "DIR/c.lua", "--prompts", "DIR" },
    { "in a prompt", "DIR/rows:2: this is no JSON\n$", "bench", "-c", "DIR/c.lua", "--prompts", "DIR/rows" },
    { "in answers that are a folder", "DIR: Is a directory\n$", "cost", "DIR" },
    { "in a row of answers", "DIR/usage:3: expected a JSON object\n$", "cost", "DIR/usage" },
    { "in a configuration that is a folder", "cannot read DIR: Is a directory\n$", "doctor", "-c", "DIR" },
    { "in a batch's input", "DIR: not a regular file", "batch", "DIR", "-o", "DIR/out", "-c", "DIR/c.lua" },
    { "in a batch's output", "DIR: Is a directory\n$", "batch", "DIR/rows", "-o", "DIR", "-c", "DIR/c.lua" },
    { "in a command that is nothing like one", 'unknown command "xyzzy"; there are chat, models, [%l, ]+\nUsage: ',
      "xyzzy" },
  } do
    it(case[1], function()
      local words = { unpack(case, 3) }
      for i, word in ipairs(words) do
        words[i] = word:gsub("DIR", dir)
      end
      local result = env.run { "build/surefoot", unpack(words) }
      local said = result.stderr:gsub(dir:gsub("%p", "%%%0"), "DIR")
      assert.same({ 2, "" }, { result.status, result.stdout }, said)
      assert.matches("^surefoot: " .. case[2], said)
    end)
  end
end)
