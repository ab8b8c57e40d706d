--- Input that does nothing was taken without a word: unknown options of metrics, arguments of methods and constructors
--- that have none, a seed that is none. Files of certificates that are not there were told by a call that failed.

local process = require "spec.support.process"
local surefoot = require "surefoot"

local URL = "https://localhost:9/v1"

local function refusal(f, ...)
  local ok, problem = pcall(f, ...)
  assert.is_false(ok)
  return tostring(problem)
end

describe("input that does nothing is refused:", function()
  local client

  setup(function() client = surefoot.new { base_url = URL, model = "m", api_key = "k" } end)
  teardown(function() client:close() end)

  it("options that client:metrics does not know", function()
    assert.matches('client:metrics: lables: unknown key; did you mean "labels"%?$',
      refusal(client.metrics, client, { lables = {} }))
    assert.matches("client:metrics: labels: expected a table.*, got 5", refusal(client.metrics, client, { labels = 5 }))
    assert.matches("labels.a: expected a string, a number or true or false, got a table",
      refusal(client.metrics, client, { labels = { a = {} } }))
    assert.is_string(client:metrics { labels = { team = "a", shard = 5, canary = true } })
    assert.is_string(client:metrics {})
  end)

  it("arguments of methods that have none", function()
    for _, method in ipairs { "verify", "warm", "stats" } do
      assert.matches("client:" .. method .. ": takes no argument, got 5", refusal(client[method], client, 5))
      assert.matches("client:" .. method .. ": takes no argument, got a table", refusal(client[method], client, {}))
    end
    assert.is_table(client:stats(nil))
  end)

  it("arguments of constructors that have none", function()
    local policy = require "surefoot.policy"
    assert.matches("histogram%.zz: unknown key", refusal(policy.histogram, { zz = 1 }))
    assert.equal(0, policy.histogram({ clock = os.clock }):count())
    assert.matches("canceller: takes no argument, got a table", refusal(surefoot.canceller, { zz = 1 }))
    assert.equal(0, policy.histogram():count())
  end)

  it("a client of a simulation without lines, and a seed that is none", function()
    local clock = surefoot.simulate { endpoints = {} }
    assert.matches("simulation:client: endpoints: the simulation has none", refusal(clock.client, clock))
    assert.matches("surefoot.simulate: seed: expected a number.*, got \"x\"",
      refusal(surefoot.simulate, { seed = "x", endpoints = { a = print } }))
    local sim = surefoot.simulate { endpoints = { a = print } }
    assert.matches("simulation:client: expected a table, got 5", refusal(sim.client, sim, 5))
  end)

  it("options that surefoot.replay does not know", function()
    local path = os.tmpname()
    local message = refusal(surefoot.replay, path, { srtict = false })
    assert.matches('surefoot.replay: srtict: unknown key; did you mean "strict"%?$', message)
    assert.matches("expected a table, got 5", refusal(surefoot.replay, path, 5))
    os.remove(path)
  end)
end)

describe("files of certificates", function()
  local dir, pem

  setup(function()
    dir = process.temp_dir()
    pem = dir .. "/company.pem"
    local file = assert(io.open(pem, "w"))
    file:write "not empty\n"
    file:close()
  end)

  teardown(function() process.remove_dir(dir) end)

  local function refused(tls, message)
    local problem = refusal(surefoot.new, { base_url = URL, model = "m", api_key = "k", tls = tls })
    assert.is_truthy(problem:find("surefoot.new: " .. message, 1, true), problem)
  end

  for _, name in ipairs { "ca_file", "cert", "key" } do
    it("that cannot be read are told when the client is made: " .. name, function()
      local missing = dir .. "/missing.pem"
      refused({ [name] = missing }, ('tls.%s: cannot read "%s": No such file or directory'):format(name, missing))
      refused({ [name] = dir }, ('tls.%s: cannot read "%s": Is a directory'):format(name, dir))
      surefoot.new { base_url = URL, model = "m", api_key = "k", tls = { [name] = pem } }:close()
    end)
  end

  it("are told for the line that names them", function()
    local problem = refusal(surefoot.new, { model = "m", api_key = "k", tls = { ca_file = pem }, endpoints = {
      { url = URL, name = "a" }, { url = URL, name = "b", tls = { ca_file = dir .. "/b.pem" } },
    } })
    assert.is_truthy(problem:find("surefoot.new: endpoints[2].tls.ca_file: cannot read", 1, true), problem)
  end)

  it("that are empty are told", function()
    local empty = dir .. "/empty.pem"
    assert(io.open(empty, "w")):close()
    refused({ ca_file = empty }, ('tls.ca_file: "%s" is empty'):format(empty))
  end)

  it("are not asked for where nothing is sent", function()
    local sim = surefoot.simulate { endpoints = { a = function() return { text = "x" } end } }
    assert.equal("x", assert(sim:client({ tls = { ca_file = dir .. "/missing.pem" } }):chat "Hi").text)
  end)
end)
