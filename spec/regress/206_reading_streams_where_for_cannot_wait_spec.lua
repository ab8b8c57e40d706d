-- Lua 5.1 cannot yield inside the iterator of a `for` loop: a task that reads a stream there uses read(). Everywhere
-- else both ways work.
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local can_wait = _VERSION ~= "Lua 5.1" or rawget(_G, "jit") ~= nil

describe("a task that reads a stream", function()
  local p, client

  setup(function()
    p = provider.start()
    p:profile("a", { answer = { chunks = 5 }, stream = { chunk_delay = 0.01 } })
    client = surefoot.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }
  end)

  teardown(function()
    client:close()
    p:stop()
  end)

  local function by_read()
    local stream, text = assert(client:stream "word by word"), ""
    repeat
      local chunk, err = stream:read()
      assert(not err, tostring(err))
      text = text .. (chunk and chunk.text or "")
    until not chunk
    return text
  end

  local function by_loop()
    local text = ""
    for chunk in assert(client:stream "word by word"):chunks() do
      text = text .. (chunk.text or "")
    end
    return text
  end

  it("uses read()", function()
    assert.equal("echo: word by word", surefoot.run(by_read))
  end)

  it("uses a loop where Lua can wait in it, and is told where it cannot", function()
    local ok, text = pcall(surefoot.run, by_loop)
    assert.equal(can_wait, ok)
    assert.matches(can_wait and "^echo: word by word$" or "yield across", tostring(text))
  end)

  it("uses a loop on the main thread", function()
    assert.equal("echo: word by word", by_loop())
  end)
end)
