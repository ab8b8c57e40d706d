local surefoot = require "surefoot"

describe("client:verify", function()
  it("asks every endpoint once, at the same time", function()
    local counts = {}
    local function counted(name, script)
      return function() counts[name] = (counts[name] or 0) + 1 return script end
    end
    local sim = surefoot.simulate { endpoints = {
      good = counted("good", { after = 1, body = { data = { { id = "m" } } } }),
      key = counted("key", { after = 1, status = 401, body = { error = { message = "Incorrect API key: nope-1" } } }),
      page = counted("page", { after = 1, status = 500, body = "<html>hello</html>" }),
      down = counted("down", { after = 1, status = 503 }),
      away = function() return { fail = "connect", after = 1 } end,
    } }
    local client = sim:client { preset = "openai", api_key = "nope-1", model = "m",
      endpoints = { "good", { name = "key", url = "https://api.openai.com/v1" }, "page", "down", "away" } }
    local report = client:verify()
    assert.is_false(report.ok)
    local kinds = {}
    for i, entry in ipairs(report.endpoints) do
      kinds[i] = entry.endpoint .. ":" .. (entry.ok and "ok" or entry.kind)
    end
    assert.same({ "good:ok", "key:unauthorized", "page:server", "down:overloaded", "away:network" }, kinds)
    assert.same({ total = 1, first_byte = 1 }, report.endpoints[1].phases)
    assert.equal("Incorrect API key: [key]", report.endpoints[2].message)
    assert.equal("use a key for api.openai.com: those begin with sk-, this one does not", report.endpoints[2].advice)
    assert.matches("^check host and port", report.endpoints[5].advice)
    assert.same({ good = 1, key = 1, page = 1, down = 1 }, counts)
  end)

  it("tries where a URL may have meant to lead, at most three times, and says it", function()
    local paths = {}
    local sim = surefoot.simulate { endpoints = { a = function(_, request)
      paths[#paths + 1] = request.path
      return request.path == "/api/v1/models" and { body = { data = {} } } or { status = 404 }
    end } }
    local client = sim:client { endpoints = { { name = "a", url = "https://llm.example/chat/completions" } } }
    local entry = client:verify().endpoints[1]
    assert.equal("set the URL to https://llm.example/api/v1: that is where the API is", entry.advice)
    assert.same({ "/chat/completions/models", "/models", "/v1/models", "/api/v1/models" }, paths)
  end)

  it("asks with every key, and leaves breakers and numbers alone", function()
    local seen = {}
    local sim = surefoot.simulate { endpoints = { a = function(_, request)
      local key = request.headers.authorization
      seen[#seen + 1] = key
      return { after = 1, status = key == "Bearer sk-two" and 401 or 200, body = { data = {} } }
    end } }
    local client = sim:client { api_key = { "sk-one", "sk-two", "sk-three" }, breaker = { failure_threshold = 1 },
      rate = { requests_per_second = 0.001, burst = 1 } }
    local entry = client:verify().endpoints[1]
    table.sort(seen)
    assert.same({ "Bearer sk-one", "Bearer sk-three", "Bearer sk-two" }, seen)
    assert.same({ false, "unauthorized", true, false, true },
      { entry.ok, entry.kind, entry.keys[1].ok, entry.keys[2].ok, entry.keys[3].ok })
    assert.equal(0, client:stats().attempts)
    assert.equal("closed", client:stats().endpoints.a.breaker)
    assert.equal(3, sim:now())
  end)

  it("is content when all are well, also inside a task", function()
    local sim = surefoot.simulate { endpoints = { a = function() return { body = { data = {} } } end } }
    local client = sim:client {}
    assert.is_true(client:verify().ok)
    local report
    sim:spawn(function() report = client:verify() end)
    sim:run()
    assert.is_true(report.ok)
  end)
end)

describe("client:warm", function()
  it("is content with any answer", function()
    local sim = surefoot.simulate { endpoints = {
      a = function() return { status = 404 } end, b = function() return { fault = "hang" } end,
    } }
    local report = sim:client({}):warm()
    assert.is_true(report.endpoints[1].ok)
    assert.is_false(report.endpoints[2].ok)
  end)
end)
