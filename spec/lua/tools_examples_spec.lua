-- The examples of tools and conversations run, and say what they promise.
local env = require "spec.support.env"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local function run(command, input)
  local line = ("%s%s -l spec.helper %s 2>&1; echo $?"):format(input and input .. " | " or "", env.lua, command)
  local pipe = assert(io.popen(line))
  local output = pipe:read "*a"
  pipe:close()
  local text, code = output:match "^(.*)\n?(%d+)\n$"
  return text, tonumber(code)
end

describe("the example", function()
  local p

  setup(function() p = provider.start { lines = { "a" } } end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  it("tool_use", function()
    local text, code = run(("examples/tool_use.lua %s m 'call tool today, call tool days_between'"):format(
      p.lines.a.url))
    assert.equal(0, code, text)
    assert.matches("  today: %d%d%d%d%-%d%d%-%d%d\n", text)
    assert.matches("  days_between: told the model: from and to: expected dates as YYYY%-MM%-DD\n", text)
    assert.matches("\necho: {\"error\".-}\n%-%- 2 rounds in %d+%.%d+ s, %d+ tokens", text)
  end)

  it("tool_use, when the provider refuses", function()
    p:profile("a", { status = { code = 401 } })
    local text, code = run(("examples/tool_use.lua %s m"):format(p.lines.a.url))
    assert.equal(1, code, text)
    assert.matches("^unauthorized: ", text)
  end)

  it("conversation, and once more from its file", function()
    local path = os.tmpname()
    os.remove(path)
    local command = ("examples/conversation.lua %s m %s"):format(p.lines.a.url, path)
    local text, code = run(command, "printf 'Hello\\nAnd more\\n'")
    assert.equal(0, code, text)
    assert.equal("echo: Hello\necho: And more\n-- 4 messages\n", text)
    assert.matches('"content":"echo: And more"', assert(process.read(path)))
    p:profile("a", { sequence = { { status = { code = 401 } } } })
    text, code = run(command, "printf 'Lost\\nKept\\n'")
    assert.equal(0, code, text)
    assert.matches("%-%- unauthorized: ", text)
    assert.matches("echo: Kept\n%-%- 6 messages\n$", text)
    os.remove(path)
  end)
end)
