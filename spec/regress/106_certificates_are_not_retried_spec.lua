--- A certificate that is not trusted, or a CA file that holds none, was tried five times over.

local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("a certificate that will not do", function()
  local p

  setup(function() p = provider.start { lines = { "a", "b" }, tls = true } end)
  teardown(function() p:stop() end)

  for name, tls in pairs { ["is not trusted"] = {}, ["has a CA file without any"] = { ca_file = "spec/helper.lua" } } do
    it(name .. ": one attempt", function()
      local client = surefoot.new { base_url = p.lines.a.tls_url, api_key = "sk-1", model = "m", tls = tls }
      local result, err = client:chat "x"
      assert.is_nil(result)
      assert.same({ "tls", 1, false }, { err.kind, #err.attempts, err.sent })
      client:close()
    end)
  end

  it("leaves other lines to be asked", function()
    local client = surefoot.new {
      api_key = "sk-1", model = "m", routing = "priority",
      endpoints = { { url = p.lines.a.tls_url, name = "a" }, { url = p.lines.b.url, name = "b", priority = 2 } },
    }
    assert.equal("b", assert(client:chat "x").endpoint)
    client:close()
  end)
end)
