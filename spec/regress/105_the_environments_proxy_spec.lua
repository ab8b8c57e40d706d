--- With http_proxy in the environment, calls to this machine went to the proxy, and the key with them, in clear text.

local env = require "spec.support.env"
local provider = require "spec.support.provider"

describe("the environment's proxy #once", function()
  local p

  setup(function() p = provider.start { lines = { "a", "proxy" } } end)
  teardown(function() p:stop() end)

  it("is not used for loopback addresses", function()
    local program = ([[
      local surefoot = require "surefoot"
      local client = surefoot.new { base_url = %q, api_key = "sk-secret-1", model = "m" }
      print(client:chat "x" and "arrived")
    ]]):format(p.lines.a.url)
    local result = env.run({ env.lua, "-l", "spec.helper", "-e", program },
      { env = { http_proxy = "http://127.0.0.1:" .. p.lines.proxy.port, ALL_PROXY = "http://127.0.0.1:1" } })
    assert.matches("arrived", result.stdout, 1, true)
    assert.equal(1, p:counters("a").requests)
    assert.equal(0, p:counters("proxy").requests)
  end)
end)
