-- What the core has no room for was found late: as an error of the core's, or by a call that failed as if the request
-- were wrong. The configuration says it at once, and what it lets through fits.
local sim = require "spec.support.sim"
local surefoot = require "surefoot"

local function message_of(config)
  config.api_key = "k"
  local ok, message = pcall(surefoot.new, config)
  assert.is_false(ok)
  return message
end

local function lines(count)
  local list = {}
  for i = 1, count do
    list[i] = { url = ("http://127.0.0.1:%d/v1"):format(i), name = "line " .. i }
  end
  return list
end

local function headers(prefix, count)
  local map = {}
  for i = 1, count do
    map[prefix .. i] = "v"
  end
  return map
end

describe("a configuration beyond what the core holds", function()
  after_each(sim.settled)

  it("has too many endpoints", function()
    assert.matches("surefoot%.new: endpoints: at most 256, got 257", message_of { endpoints = lines(257) })
    assert(surefoot.new { api_key = "k", model = "m", endpoints = lines(256) }):close()
  end)

  it("has too many routes", function()
    assert.matches("fallbacks: endpoints x %(1 %+ fallbacks%) may be 256, got 260",
      message_of { endpoints = lines(130), fallbacks = { "f" } })
    local named = surefoot.new { api_key = "k", model = "m", endpoints = lines(255),
      fallbacks = { { model = "f", endpoint = "line 2" } } }
    local ok, message = pcall(named.chat, named, "x", { fallbacks = { "f" } })
    assert.is_false(ok)
    assert.matches("fallbacks: endpoints x %(1 %+ fallbacks%) may be 256, got 510", message)
    named:close()
  end)

  it("has too many headers", function()
    local url = "http://127.0.0.1:1/v1"
    assert.matches("headers: at most 40 headers, got 41", message_of { base_url = url, headers = headers("x-a", 41) })
    assert.matches("endpoints%[1%]%.headers: at most 40 headers with the client's, got 60", message_of {
      headers = headers("x-a", 30), endpoints = { { url = url, headers = headers("x-b", 30) } },
    })
  end)

  it("is told by the call whose headers are too many", function()
    local lab = sim.lab { a = { text = "x" } }
    local ok, message = pcall(lab.client.chat, lab.client, "x", { headers = headers("x-c", 25) })
    assert.is_false(ok)
    assert.matches("headers: at most 24 headers, got 25", message)
  end)

  it("is one step from one whose headers all arrive", function()
    local lab = sim.lab({ a = { text = "x" } }, { api_key = "k", headers = headers("x-a", 40) })
    local request = { path = "/x", json = {}, headers = headers("x-b", 24) }
    assert(lab.client:request(request, { headers = headers("x-c", 24) }))
    local sent = lab.log[1].request.headers
    for prefix, count in pairs { ["x-a"] = 40, ["x-b"] = 24, ["x-c"] = 24 } do
      for i = 1, count do
        assert.equal("v", sent[prefix .. i])
      end
    end
    for _, name in ipairs { "accept", "content-type", "x-request-id", "idempotency-key", "authorization" } do
      assert(sent[name], name)
    end
  end)
end)
