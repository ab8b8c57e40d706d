-- What OpenAI's format writes: the caller's fields as they are, but for those that only other formats have a place for,
-- and names that not every server knows.

local json = require "surefoot.json"
local openai = require "surefoot.provider.openai"

local codec = json.new()

local function written(request, quirks)
  local _, path, _, body = openai.operations.chat.encode(request, { model = "m", traits = { quirks = quirks } }, codec)
  assert.equal("/chat/completions", path)
  return json.decode(body)
end

describe("a chat request in OpenAI's format", function()
  it("leaves out what messages have for other formats", function()
    local request = { messages = {
      { role = "user", content = "a" },
      { role = "assistant", content = "b", native = { provider = "anthropic", items = {} } },
      { role = "tool", tool_call_id = "1", content = "c", is_error = true },
    } }
    local body = written(request)
    assert.same({ { role = "user", content = "a" }, { role = "assistant", content = "b" },
      { role = "tool", tool_call_id = "1", content = "c" } }, body.messages)
    assert.is_true(request.messages[3].is_error) -- the caller's own is not written to
    assert.is_table(request.messages[2].native)
  end)

  it("bounds the answer by its old name where a server knows no other", function()
    local request = { messages = {}, max_completion_tokens = 9 }
    assert.same({ 9 }, { written(request).max_completion_tokens, written(request).max_tokens })
    local body = written(request, { max_tokens = true })
    assert.same({ nil, 9 }, { body.max_completion_tokens, body.max_tokens })
    local both = { messages = {}, max_completion_tokens = 9, max_tokens = 5 }
    assert.equal(5, written(both, { max_tokens = true }).max_tokens)
    assert.equal(9, request.max_completion_tokens)
  end)
end)
