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
      page = counted("page", { after = 1, body = "<html>hello</html>" }),
      down = counted("down", { after = 1, status = 503 }),
      away = function() return { fail = "connect", after = 1 } end,
    } }
    local client = sim:client { preset = "openai", api_key = "nope-1",
      endpoints = { "good", "key", "page", "down", "away" } }
    local report = client:verify()
    assert.is_false(report.ok)
    local kinds = {}
    for i, entry in ipairs(report.endpoints) do
      kinds[i] = entry.endpoint .. ":" .. (entry.ok and "ok" or entry.kind)
    end
    assert.same({ "good:ok", "key:unauthorized", "page:malformed", "down:overloaded", "away:network" }, kinds)
    assert.same({ total = 1, first_byte = 1 }, report.endpoints[1].phases)
    assert.equal("Incorrect API key: [key] (its keys begin with sk-, this one does not)", report.endpoints[2].message)
    assert.same({ good = 1, key = 1, page = 1, down = 1 }, counts)
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
