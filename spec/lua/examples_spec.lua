-- The examples run, and say what they promise.
local env = require "spec.support.env"
local provider = require "spec.support.provider"

local function run(command, input, before)
  local line = ("%s%s%s -l spec.helper %s 2>&1; echo $?"):format(input and input .. " | " or "", before or "", env.lua,
    command)
  local pipe = assert(io.popen(line))
  local output = pipe:read "*a"
  pipe:close()
  local text, code = output:match "^(.*)\n?(%d+)\n$"
  return text, tonumber(code)
end

describe("the examples", function()
  local p

  setup(function() p = provider.start { lines = { "a" } } end)
  teardown(function() p:stop() end)
  before_each(function() p:reset() end)

  -- Those that talk to OpenAI unless told otherwise.
  for _, name in ipairs { "audio", "batch", "chat", "conversation", "own_loop", "stream", "structured", "tool_use",
    "verify" } do
    it(name .. ", without a key", function()
      local text, code = run(("examples/%s.lua"):format(name), nil, "env -u OPENAI_API_KEY ")
      assert.equal(2, code, text)
      assert.matches("^surefoot%.new: [^\n]*OPENAI_API_KEY is not set[^\n]*\n?$", text)
    end)
  end

  it("chat", function()
    local text, code = run(("examples/chat.lua %s m 'Hi there'"):format(p.lines.a.url))
    assert.equal(0, code, text)
    assert.matches("echo: Hi there", text)
    assert.matches("%-%- m by 127%.0%.0%.1:%d+ in %d+%.%d+ s, 1 attempt%(s%), %d+ tokens", text)
  end)

  it("chat, when the provider refuses", function()
    p:profile("a", { status = { code = 401 } })
    local text, code = run(("examples/chat.lua %s"):format(p.lines.a.url))
    assert.equal(1, code)
    assert.matches("^unauthorized: ", text)
    assert.matches("1%. 127%.0%.0%.1:%d+: unauthorized after", text)
  end)

  it("batch", function()
    local text, code = run(("examples/batch.lua %s m"):format(p.lines.a.url), "printf 'one\\ntwo\\nthree\\n'")
    assert.equal(0, code, text)
    assert.matches("3 of 3, 0 failed", text)
    assert.matches("3%. three\n   echo: three", text)
    assert.matches("3 answers in", text)
  end)

  it("audio", function()
    local file = os.tmpname()
    local text, code = run(("examples/audio.lua %s 'Hi there' %s"):format(p.lines.a.url, file))
    assert.equal(0, code, text)
    assert.matches(file .. ": 32768 bytes of audio/mpeg in %d", text)
    assert.matches("\necho: " .. file:match "[^/]*$", text)
    p:profile("a", { status = { code = 413 } })
    text, code = run(("examples/audio.lua %s 'Hi there' %s"):format(p.lines.a.url, file))
    assert.equal(1, code)
    assert.matches("^too_large: ", text)
    os.remove(file)
  end)

  it("own_loop", function()
    local text, code = run(("examples/own_loop.lua %s m"):format(p.lines.a.url))
    assert.equal(0, code, text)
    for i = 1, 3 do
      assert.matches(i .. "\techo: Name a river, the " .. i .. "%.", text)
    end
    assert.matches("meanwhile", text)
  end)

  it("stream", function()
    p:profile("a", { answer = { chunks = 5 } })
    local text, code = run(("examples/stream.lua %s m 'Hi there'"):format(p.lines.a.url))
    assert.equal(0, code, text)
    assert.matches("^echo: Hi there\n%-%- m by 127%.0%.0%.1:%d+: first words after", text)
    p:profile("a", { answer = { chunks = 5 }, stream = { cut_after = 2 } })
    text, code = run(("examples/stream.lua %s m 'Hi there'"):format(p.lines.a.url))
    assert.equal(1, code, text)
    assert.matches("truncated: the stream ended early.-; %d+ bytes had come", text)
  end)

  it("structured", function()
    p:profile("a", { answer = { text = "Ada" } })
    local text, code = run(("examples/structured.lua %s m"):format(p.lines.a.url))
    assert.equal(0, code, text)
    assert.matches("name\tAda", text)
    assert.matches("born\t%d", text)
  end)

  it("providers", function()
    local text, code = run(("examples/providers.lua Hello openai=%s anthropic=%s"):format(p.lines.a.url, p.lines.a.url))
    assert.equal(0, code, text)
    assert.matches("openai %(m, %d+ %+ %d+ tokens, first word after %d+%.%d+ s%): echo: Hello", text)
    assert.matches("anthropic %(m, %d+ %+ %d+ tokens, first word after %d+%.%d+ s%): echo: Hello", text)
  end)

  it("verify", function()
    local refusing = provider.refusing()
    local text, code = run(("examples/verify.lua %s %s"):format(p.lines.a.url, refusing.url))
    assert.equal(1, code, text)
    assert.matches("^127%.0%.0%.1:%d+: well\n  dns %d+%.%d ms, tcp .-, first byte .-, total .-, at 127.0.0.1, %d+ m",
      text)
    assert.matches(("127.0.0.1:%d: network: Failed to connect"):format(refusing.port), text)
    assert.matches("\n  %-> start the server", text)
    refusing:close()
    text, code = run(("examples/verify.lua %s"):format(p.lines.a.url))
    assert.equal(0, code, text)
    text, code = run "examples/verify.lua nobody"
    assert.equal(2, code)
    assert.matches('no preset "nobody"', text)
  end)

  it("lines", function()
    local text, code = run "examples/lines.lua"
    assert.equal(0, code, text)
    local near, far, failed = text:match "\n     2 +(%d+) +(%d+) +(%d+)"
    assert.equal("0", near)
    assert.is_true(tonumber(far) > 40)
    assert.equal("0", failed)
    assert.matches("near's circuit is closed", text)
  end)

  it("policies", function()
    local text, code = run "examples/policies.lua"
    assert.equal(0, code, text)
    assert.matches("hello, policies\t4 calls", text)
    assert.matches("request 3: wait 0%.5 s", text)
  end)
end)
