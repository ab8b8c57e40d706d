-- A proxy's refusal counted as a request that may have reached the provider: the bytes of CONNECT were taken for the
-- request's.
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("a proxy that refuses the tunnel", function()
  it("leaves the request unsent", function()
    local p = provider.start()
    local refusal = "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    local proxy = p:raw { { read_until_headers = true }, { send = refusal }, { close = true } }
    local client = surefoot.new {
      base_url = "https://api.example/v1", api_key = "sk-test-0123456789", model = "m", retry = { max_attempts = 1 },
      proxy = ("http://127.0.0.1:%d"):format(proxy.port),
    }
    local _, err = client:chat "x"
    client:close()
    p:stop()
    assert.same({ "network", "connect", false }, { err.kind, err.phase, err.sent })
  end)
end)
