-- A server that has said all before it read the request: what was left of the body was sent from memory let go.
local leaks = require "spec.support.leaks"
local raw = require "spec.support.raw"
local surefoot = require "surefoot"

local ANSWER = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
local EVENTS = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

describe("a stream that is done before its request was sent", function()
  it("leaves nothing that is still being sent", function()
    local helper = raw.start()
    local listener = helper:listen { { read = 1000 }, { send = ANSWER .. ("%x\r\n%s\r\n"):format(#EVENTS, EVENTS) },
      { wait = 0.2 }, { read = 100000000 } }
    local before = leaks.begin()
    local client = surefoot.new { base_url = listener.url, model = "m", retry = { max_attempts = 1 } }
    for _ = 1, 3 do
      local stream, err = client:stream { messages = { { role = "user", content = ("x"):rep(8 * 2 ^ 20) } } }
      local result = assert(stream, err):result()
      assert.equal("Hi", result.text)
      stream, result = nil, nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      surefoot.run(function() surefoot.sleep(0.3) end)
    end
    leaks.check(before, client)
    client:close()
    helper:stop()
  end)
end)
