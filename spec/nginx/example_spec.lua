-- The example for nginx and OpenResty does what its head says.

local example = require "spec.nginx.example"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("examples/openresty #once", function()
  local p, n

  setup(function()
    p = provider.start()
    n = example.start(p)
    assert(p:wait("a", function(counters) return counters.connections == 1 end)) -- it is warm before anybody calls
  end)

  teardown(function()
    n:stop { "rude: echo: ", "unauthorized: ", "truncated: " }
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  it("answers a question", function()
    assert.equal("echo: Why?\n", assert(n:get("/chat", { body = "Why?" })).body)
    local long = ("a long question "):rep(6000)
    local said = assert(n:get("/chat", { body = long })).body
    assert.is_true(said == "echo: " .. long .. "\n", said:sub(1, 80))
  end)

  it("says what went wrong", function()
    p:profile("a", { status = { code = 401 } })
    local response = assert(n:get("/chat", { body = "Why?" }))
    assert.same({ 502, "unauthorized\n" }, { response.status, response.body })
  end)

  it("streams as it comes, and breaks off what was cut", function()
    p:profile("a", { answer = { chunks = 5 }, stream = { chunk_delay = 0.05 } })
    local response = assert(n:get("/stream", { body = "piece by piece" }))
    assert.same({ "echo: piece by piece", "chunked" }, { response.body, response.ended })
    assert.is_true(#response.arrivals >= 5)
    p:profile("a", { answer = { chunks = 10 }, stream = { cut_after = 5 } })
    response = assert(n:get("/stream", { body = "0123456789" }))
    assert.equal("cut", response.ended)
    assert.matches("^echo: ", response.body)
  end)

  it("cancels when the reader leaves", function()
    p:profile("a", { answer = { chunks = 100 }, stream = { chunk_delay = 0.05 } })
    local connection = n:open "/stream"
    assert(connection:take_until "\r\n\r\n")
    connection:close()
    assert(p:wait("a", function(counters) return counters.aborted == 1 end, nginx.pace))
  end)

  it("looks at a page afterwards", function()
    assert.equal("thank you\n", assert(n:get("/audited", { body = "good morning" })).body)
    assert(process.wait_for(function()
      return n:log():find("rude: echo: Is this rude? Yes or no: good morning", 1, true)
    end, 5 * nginx.pace))
  end)
end)
