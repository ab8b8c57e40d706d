-- surefoot bench: what it counts, compares, shows and writes.

local json = require "surefoot.json"
local lab = require "spec.cli.lab"
local process = require "spec.support.process"
local screen = require "spec.cli.screen"

local unpack = table.unpack or unpack

describe("surefoot bench #once", function()
  local l, p

  setup(function()
    l = lab.start()
    p = l.provider
  end)

  teardown(function()
    l:stop()
  end)

  before_each(function()
    p:reset()
    l:configure(nil, "prices = { ['sim-large'] = { input = 1e6, output = 0 } }, retry = { base_delay = 0 }")
  end)

  it("makes the calls, and counts what came of them", function()
    p:profile("a", { rate = { per_second = 1000, burst = 10, retry_after = "seconds", wait = 60 } })
    local result = l:run("bench", "--calls", "40", "-j", "4", "--json", l:path "numbers.json")
    assert.same({ 0, "" }, { result.status, result.stderr })
    assert.matches("^ +calls +success +rate +mean +P50 +P95 +P99 +max +attempts +429 +tokens +cost\n"
      .. "surefoot +40 +100 %% +%S+/s .* %$%d", result.stdout)
    local document = json.decode(process.read(l:path "numbers.json"))
    local group = document.groups[1]
    local asked = { p:counters("a").requests, p:counters("b").requests }
    assert.same({ true, 40, 40, 40, 4, false }, { document.complete, group.calls, group.succeeded,
      group.latency.count, document.plan.concurrency, document.plan.stream })
    assert.equal(asked[1] + asked[2], group.attempts)
    assert.equal(group.attempts - 40, group.throttled)
    assert.same({ a = 40 - asked[2], b = asked[2] }, { a = group.lines.a or 0, b = group.lines.b or 0 })
    local seconds = 0
    for _, row in ipairs(group.timeline) do
      seconds = seconds + row.calls
    end
    assert.equal(40, seconds)
    assert.is_true(group.latency.p50 <= group.latency.p99 and group.latency.p99 <= group.latency.max)
  end)

  it("tells which file it could not write before it calls", function()
    for _, words in ipairs { { "--svg", "/nowhere/x.svg" }, { "--json", l.dir },
      { "--json", l:path "n.json", "--svg", l:path "no/x.svg" } } do
      local result = l:run("bench", "--calls", "1", unpack(words))
      assert.same({ 2, "" }, { result.status, result.stdout })
      assert.matches("^surefoot: [^\n]+: [%u][^\n]+\n$", result.stderr)
    end
    assert.same({ 0, 0 }, { p:counters("a").requests, p:counters("b").requests })
    assert.is_nil(process.read(l:path "n.json"))
  end)

  it("asks each line directly beside all of them", function()
    p:profile("a", { status = { code = 503 } })
    local result = l:run("bench", "--compare", "--calls", "10", "--svg", l:path "plot.svg")
    assert.equal(0, result.status)
    assert.matches("\na alone +10 +0 %% .* 1.00 ", result.stdout)
    assert.matches("\nb alone +10 +100 %% .* 1.00 ", result.stdout)
    assert.matches("\nsurefoot +10 +100 %% ", result.stdout)
    assert.matches("\na alone failed: 10 overloaded\n$", result.stdout)
    local svg = process.read(l:path "plot.svg")
    assert.matches("^<svg .*b alone, 100 %%.*surefoot, 100 %%.*</svg>\n$", svg)
    assert.is_nil(svg:find("a alone", 1, true))
  end)

  it("takes questions from a file, streams, keeps a pace, and gives JSON", function()
    process.write(l:path "questions", 'plain text\n\n{"prompt": "from a field"}\n"a string"\n'
      .. '{"messages": [{"role": "user", "content": "a request"}], "max_tokens": 3}\n')
    local result = l:run("bench", "--prompts", l:path "questions", "--stream", "--rate", "100", "--seconds", "0.2",
      "--json", "-", "--set", "temperature=0")
    assert.equal(0, result.status, result.stderr)
    local group = json.decode(result.stdout).groups[1]
    assert.equal(20, group.calls)
    assert.equal(20, group.time_to_first_token.count)
    assert.is_true(group.seconds >= 0.19)
    for name, text in pairs { ["no question"] = "\n", ["%:1: this is no JSON"] = "{", ["messages"] = "{}" } do
      process.write(l:path "questions", text)
      result = l:run("bench", "--prompts", l:path "questions")
      assert.equal(2, result.status)
      assert.matches("^surefoot: .*" .. name, result.stderr)
    end
  end)

  it("tells by its exit code how it went", function()
    l:configure({ "a" }, "retry = { max_attempts = 1 }")
    p:profile("a", { sequence = { { status = { code = 500 } } } })
    local result = l:run("bench", "--calls", "5", "-j", "1")
    assert.equal(1, result.status)
    assert.matches("surefoot +5 +80.00 %%", result.stdout)
    assert.matches("\nsurefoot failed: 1 server\n", result.stdout)
    process.write(l:path "wrong", '{"messages": [], "model": 3}')
    for _, wrong in ipairs { { "--calls", "0" }, { "--calls", "1.5" }, { "--rate", "x" }, { "--set", "n=[" },
      { "--prompts", "/nowhere" }, { "--prompts", l:path "wrong" } } do
      result = l:run("bench", "--calls", "1", table.unpack(wrong))
      assert.same({ 2, "" }, { result.status, result.stdout }, table.concat(wrong, " "))
      assert.matches("^surefoot: ", result.stderr)
      assert.is_nil(result.stderr:find("internal", 1, true), result.stderr)
    end
    p:profile("a", { status = { code = 500 } })
    result = l:run("bench", "--calls", "2", "--svg", l:path "none.svg")
    assert.equal(1, result.status)
    assert.matches("none.svg: not written: no call was answered", result.stderr)
  end)

  it("shows a table meanwhile on a terminal, and at Ctrl-C what it has", function()
    p:profile("a", { delay = 0.02 })
    local shown = screen.start(l:words("bench", "--seconds", "600", "-j", "2"))
    finally(function() shown:stop() end)
    shown:wait "of 10 min 0 s, Ctrl%-C ends it\n +calls +in flight +rate +success [^\n]*\nsurefoot +%d+ +2 "
    assert.matches("\27%[32m100 %%", shown:text(true))
    p:profile("a", { fault = "hang" })
    p:profile("b", { fault = "hang" })
    local before = p:counters("a").aborted
    shown:key "C-c"
    assert.equal(130, shown:wait_end())
    local text = shown:text()
    assert.is_nil(text:find("in flight", 1, true), text)
    assert.matches("^[^\n]-%S* +calls +success [^\n]*\nsurefoot +%d+ +100 %% ", text)
    assert(p:wait("a", function(c) return c.aborted >= before end))
  end)
end)

describe("samples", function()
  local samples = require "surefoot.cli.samples"

  it("know quantiles to half a per cent", function()
    local histogram = samples.histogram()
    for i = 1, 1000 do
      histogram:add(i / 1000)
    end
    for _, share in ipairs { 0.1, 0.5, 0.9, 0.99, 0.999 } do
      assert.is_true(math.abs(histogram:quantile(share) / share - 1) < 0.007, share)
    end
    local numbers = histogram:numbers()
    assert.same({ 1000, 1 }, { numbers.count, numbers.max })
    assert.near(0.5005, numbers.mean, 1e-9)
    assert.is_nil(samples.histogram():quantile(0.5))
    local points = histogram:cumulated()
    assert.equal(1000, points[#points][2])
    histogram:add(0)
    histogram:add(3600)
    assert.equal(3600, histogram:quantile(1))
  end)
end)
