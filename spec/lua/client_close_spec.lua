-- How a client ends, on the simulated network.
local surefoot = require "surefoot"

-- A client whose one line answers after so long.
local function answering(after, config)
  local sim = surefoot.simulate { seed = 7, endpoints = { a = function() return { after = after, text = "x" } end } }
  return sim:client(config), sim
end

describe("client:close", function()
  it("ends what is in flight, and refuses what comes after", function()
    local client, sim = answering(5)
    local outcome
    sim:spawn(function() outcome = { client:chat "x" } end)
    sim:run(1)
    client:close()
    sim:run()
    assert.equal("closed", outcome[2].kind)
    assert.equal(1, sim:now())
    for _, method in ipairs { "chat", "models", "verify", "warm" } do
      local result, err = client[method](client, method == "chat" and "x" or nil)
      local kind = err and err.kind or result.endpoints[1].kind
      assert.equal("closed", kind, method)
    end
    local _, err = client:request { path = "/x" }
    assert.equal("closed: the client is closed", tostring(err))
    local outcomes = client:batch { "x", "y" }
    assert.equal("closed", outcomes[2].error.kind)
    client:close()
    assert.equal(1, client:stats().attempts)
  end)

  it("drains, at most so long", function()
    local client, sim = answering(5)
    local outcome, closed_at
    sim:spawn(function() outcome = { client:chat "x" } end)
    sim:spawn(function()
      surefoot.sleep(1)
      client:close { drain = 60 }
      closed_at = sim:now()
    end)
    sim:spawn(function()
      surefoot.sleep(2)
      local _, err = client:chat "y"
      assert.equal("closed", err.kind)
    end)
    sim:run()
    assert.equal("x", outcome[1].text)
    assert.equal(5, closed_at)
    client, sim = answering(500, { timeout = { total = math.huge, attempt = math.huge } })
    sim:spawn(function() outcome = { client:chat "x" } end)
    sim:spawn(function()
      client:close { drain = 7 }
      closed_at = sim:now()
    end)
    sim:run()
    assert.equal("closed", outcome[2].kind)
    assert.equal(7, closed_at)
  end)
end)
