-- libcurl keeps as many idle connections as CURLMOPT_MAXCONNECTS says. Below the number of calls that run at once each
-- wave closed what the next one needed, at twice the cost in processor time.
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local CROWD = 150

describe("a crowd of calls #once", function()
  it("finds its connections again", function()
    local p = provider.start { lines = { "a", "b" } }
    p:profile("a", { delay = 0.1 })
    p:profile("b", { delay = 0.1 })
    local clients = {}
    for _, name in ipairs { "a", "b" } do -- the larger one may come second
      clients[#clients + 1] = surefoot.new { base_url = p.lines[name].url, api_key = "sk-test-0123456789", model = "m",
        concurrency = { limit = name == "a" and 20 or CROWD } }
    end
    local client = clients[2]
    for _ = 1, 3 do
      surefoot.run(function()
        for _ = 1, CROWD do
          surefoot.spawn(function() assert(client:chat "x") end)
        end
      end)
    end
    local counters = p:counters "b"
    assert.same({ 3 * CROWD, CROWD, CROWD }, { counters.requests, counters.peak, counters.connections })
    clients[1]:close()
    client:close()
    p:stop()
  end)
end)
