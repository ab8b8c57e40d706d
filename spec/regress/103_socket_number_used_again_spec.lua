-- libcurl 7.88 closes a socket that was still connecting without telling its owner. The next socket got the same
-- number, was taken for watched already, and nobody noticed that it had connected: after one connect timeout every
-- other line seemed to time out, too.
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("after a connect timeout", function()
  local p, silent
  setup(function()
    p = provider.start { tls = true }
    silent = provider.silent()
  end)
  teardown(function()
    p:stop()
    silent:close()
  end)

  for name, url in pairs { ["a host that never accepts"] = "url", ["a handshake that never ends"] = "tls_url" } do
    it("with " .. name .. " the next connection works", function()
      local hung = name:find "handshake" and p:raw { { hang = true } } or silent
      local client = surefoot.new {
        endpoints = {
          { name = "hung", url = hung.tls_url or hung.url }, { name = "a", url = p.lines.a[url], priority = 2 },
        },
        api_key = "sk-test-0123456789", model = "m", timeout = { connect = 0.1 * pace }, tls = { ca_file = p.ca_file },
      }
      for _ = 1, 2 do
        local result, err = client:chat("x", { deadline = 5 * pace })
        assert.equal("echo: x", result and result.text or tostring(err))
        assert.equal(2, #result.attempts)
      end
      client:close()
    end)
  end
end)
