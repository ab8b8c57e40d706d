-- surefoot doctor: what it tells of lines that work and lines that do not.

local clock = require "surefoot.clock"
local json = require "surefoot.json"
local lab = require "spec.cli.lab"
local provider = require "spec.support.provider"
local screen = require "spec.cli.screen"

describe("surefoot doctor #once", function()
  local l, p

  setup(function()
    l = lab.start { tls = true }
    p = l.provider
  end)

  teardown(function()
    l:stop()
  end)

  before_each(function()
    p:reset()
    l:configure()
  end)

  it("says that all is well, and ends with 0", function()
    local result = l:run "doctor"
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.matches("^line +state +DNS +connect +TLS +first byte +key +model +clock\n"
      .. "a +well +%S+ ms +%S+ ms +%- +%S+ ms +good +there +right\n"
      .. "b +well .*\n\nAll 2 lines are well%.\n$", result.stdout)
    assert.is_nil(result.stdout:find("\27", 1, true))
  end)

  it("tells each step of a line with TLS", function()
    local result = l:run("doctor", "--base-url", p.lines.a.tls_url)
    assert.equal(1, result.status)
    assert.matches("name the CA of 127.0.0.1:%d+ in tls.ca_file", result.stdout)
    l:configure({ "a" }, ("base_url = %q, tls = { ca_file = %q }"):format(p.lines.a.tls_url, p.ca_file))
    local report = json.decode(l:run("doctor", "--json", "--base-url", p.lines.a.tls_url).stdout)
    local phases = report.endpoints[1].phases
    assert.is_true(phases.tls > 0 and phases.first_byte > 0 and phases.total >= phases.tls)
  end)

  it("tells what to change, and ends with 1", function()
    local refusing = provider.refusing()
    p:profile("a", { keys = { "sk-other" } })
    l:configure { "a", "b", refusing.url }
    local result = l:run "doctor"
    refusing:close()
    assert.equal(1, result.status)
    assert.matches("\na +fails .* refused +%- +right\n", result.stdout)
    assert.matches("\nb +well ", result.stdout)
    assert.matches("\nother +fails ", result.stdout)
    assert.matches("\n\na: .*\n  %-> check the key: it is not accepted", result.stdout)
    assert.matches("\n\nother: Failed to connect .*\n  %-> start the server", result.stdout)
    assert.matches("\n1 of 3 lines are well%.\n$", result.stdout)
    assert.is_nil(result.stdout:find("sk-test", 1, true))
  end)

  it("looks for the model, and asks it when told", function()
    local result = l:run("doctor", "--model", "sim-lrge")
    assert.equal(1, result.status)
    assert.matches("a +check .* good +not there", result.stdout)
    assert.matches("the nearest: sim%-large", result.stdout)
    p:profile("a", { by_model = { ["sim-large"] = { status = { code = 402 } } } })
    local before = p:counters("b").requests
    result = l:run("doctor", "--ask")
    assert.equal(1, result.status)
    assert.matches("\na +fails [^\n]* there +right +%-\n", result.stdout)
    assert.matches("\nb +well [^\n]* there +right +%S+ m?s\n", result.stdout)
    assert.matches("\n\na: asked a question: ", result.stdout)
    assert.equal(before + 2, p:counters("b").requests)
  end)

  it("believes an answer more than a list that is not there", function()
    p:profile("a", { sequence = { { status = { code = 404 } } } })
    l:configure { "a" }
    assert.equal(1, l:run("doctor").status)
    p:profile("a", { sequence = { { status = { code = 404 } } } })
    local result = l:run("doctor", "--ask")
    assert.same({ 0, "" }, { result.status, result.stderr }, result.stdout)
    assert.matches("\na +well [^\n]* m?s\n\nThe line is well%.\n$", result.stdout)
  end)

  it("has one verdict of a model that answers and is not listed", function()
    l:configure { "a" }
    local result = l:run("doctor", "--model", "sim-lrge", "--ask")
    assert.equal(1, result.status, result.stdout)
    assert.matches("\na +check [^\n]* not there ", result.stdout)
    assert.matches("the nearest: sim%-large", result.stdout)
    assert.matches("\nThe line is not well%.\n$", result.stdout)
  end)

  it("compares the clocks", function()
    local function date(ahead)
      return os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + ahead)
    end
    local body = '{"object":"list","data":[{"id":"sim-large"}]}'
    local raw = p:raw { { send = ("HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %d"
      .. "\r\n\r\n%s"):format(date(-600), #body, body) } }
    local result = l:run("doctor", "--base-url", raw.url)
    assert.equal(0, result.status)
    assert.matches("there +10 min %d s ahead\n", result.stdout)
    assert.matches("\nclock\n  %-> set this machine's clock: it is 10 min %d s ahead of 127", result.stdout)
    l:configure { "a", "b", raw.url }
    assert.matches("\nclock\n  %-> the clock of other is wrong, not this machine's", l:run("doctor").stdout)
  end)

  it("names the proxy", function()
    local refusing = provider.refusing()
    l:configure({ "a" }, ("proxy = 'http://user:secret@127.0.0.1:%d'"):format(refusing.port))
    local result = l:run("doctor")
    refusing:close()
    assert.equal(1, result.status)
    assert.matches("clock +proxy\na +fails .* 127.0.0.1:" .. refusing.port .. "\n", result.stdout)
    assert.matches("check host and port of `proxy`", result.stdout)
    assert.is_nil(result.stdout:find("secret", 1, true))
  end)

  it("ends with 2 where the configuration is wrong", function()
    l:configure({}, "timeout = { conect = 3 }")
    local result = l:run "doctor"
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches("conect: unknown", result.stderr)
  end)

  it("is coloured on a terminal", function()
    local shown = screen.start(l:words "doctor")
    finally(function() shown:stop() end)
    assert.equal(0, shown:wait_end())
    local text = shown:text(true)
    assert.matches("\27%[1mline ", text)
    assert.matches("a +\27%[32mwell", text)
    assert.is_nil(text:find("asking", 1, true), "the status line is still there")
  end)
end)

describe("the clock of a server", function()
  it("is read from its dates", function()
    assert.equal(784111777, clock.parse "Sun, 06 Nov 1994 08:49:37 GMT")
    assert.equal(0, clock.parse "Thu, 01 Jan 1970 00:00:00 GMT")
    assert.equal(1709208000, clock.parse "Thu, 29 Feb 2024 12:00:00 GMT")
    assert.equal(4107542400, clock.parse "Mon, 01 Mar 2100 00:00:00 GMT")
    for _, wrong in ipairs { "", "now", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nuv 1994 08:49:37 GMT" } do
      assert.is_nil(clock.parse(wrong))
    end
    assert.is_nil(clock.ahead(nil))
    assert.is_true(math.abs(clock.ahead(os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() - 90)) - 90) <= 1)
  end)
end)
