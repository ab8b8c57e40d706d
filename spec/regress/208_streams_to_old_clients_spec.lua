-- To a client that speaks HTTP/1.0 nginx's Lua collects the whole answer for its length, and ngx.flush(true) fails: a
-- stream came at its end, and a slow reader held nobody up. lua_http10_buffering off, as in the example, mends both.
local example = require "spec.nginx.example"
local http = require "spec.support.http"
local nginx = require "spec.support.nginx"
local provider = require "spec.support.provider"

describe("a stream to a client of HTTP/1.0 #once", function()
  local p, n

  setup(function()
    p = provider.start()
    n = example.start(p)
  end)

  teardown(function()
    n:stop()
    p:stop()
  end)

  it("comes as it is said", function()
    p:profile("a", { answer = { chunks = 5 }, stream = { chunk_delay = 0.1 } })
    local connection = assert(http.connect("127.0.0.1", n.port))
    connection:send "POST /stream HTTP/1.0\r\nContent-Length: 14\r\n\r\npiece by piece"
    local response = assert(connection:response())
    connection:close()
    assert.same({ 200, "close", "echo: piece by piece" }, { response.status, response.ended, response.body })
    local first, last = response.arrivals[1].at, response.arrivals[#response.arrivals].at
    assert.is_true(last - first > 0.3 / nginx.pace, last - first)
  end)
end)
