-- Calls in nginx's workers: wherever a handler may wait, they wait without holding anybody up; elsewhere they say so.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local provider = require "spec.support.provider"
local socket = require "socket"

local LOCATIONS = {}

-- The same three calls in every phase that may wait.
local THREE = [[
  local lab = require "lab"
  local said = { lab.said(lab.client:chat(ngx.var.arg_x)) }
  local stream, err = lab.client:stream(ngx.var.arg_x)
  said[2] = stream and "" or lab.said(nil, err)
  for chunk in stream:chunks() do
    said[2] = said[2] .. (chunk.text or "")
  end
  said[3] = lab.said(lab.client:run_tools("call tool add", { add = {
    parameters = { type = "object", properties = { n = { type = "integer" } }, required = { "n" } },
    call = function(arguments)
      lab.surefoot.sleep(0.001)
      return { sum = arguments.n + 2 }
    end,
  } }))
]]
LOCATIONS["/content"] = THREE .. "ngx.print(table.concat(said, '|'))"
local SHOW = "ngx.print(table.concat(ngx.ctx.said, '|'))"
LOCATIONS["/access"] = { access = THREE .. "ngx.ctx.said = said", content = SHOW }
LOCATIONS["/rewrite"] = { rewrite = THREE .. "ngx.ctx.said = said", content = SHOW }
LOCATIONS["/timer"] = ([[
  local x = ngx.var.arg_x
  assert(ngx.timer.at(0, function()
    %s
    require("lab").seen.timer = table.concat(said, '|')
  end))
]]):format((THREE:gsub("ngx%.var%.arg_x", "x")))

LOCATIONS["/refuse"] = { access = [[
  local lab = require "lab"
  local result, err = lab.client:chat("x", { deadline = 0.1 })
  if not result then
    return ngx.exit(503)
  end
]], content = "ngx.print 'let in'" }

LOCATIONS["/threads"] = [[
  local lab, said = require "lab", {}
  for i = 1, 50 do
    said[i] = ngx.thread.spawn(function() return lab.said(lab.client:chat("x" .. i)) end)
  end
  for i = 1, 50 do
    local ok, text = ngx.thread.wait(said[i])
    ngx.say(text)
  end
]]

LOCATIONS["/coroutines"] = [[
  local lab = require "lab"
  local generate = coroutine.wrap(function()
    for i = 1, 3 do
      coroutine.yield(lab.said(lab.client:chat("x" .. i)))
    end
  end)
  local inner = coroutine.create(function()
    local deeper = coroutine.create(function() return lab.said(lab.client:chat "deep") end)
    return select(2, coroutine.resume(deeper))
  end)
  ngx.print(generate(), "|", generate(), "|", generate(), "|", select(2, coroutine.resume(inner)))
]]

LOCATIONS["/run"] = [[
  local lab = require "lab"
  local surefoot, client = lab.surefoot, lab.client
  local began = surefoot.now()
  ngx.say(surefoot.run(function()
    local a = surefoot.spawn(function() return lab.said(client:chat "a") end)
    local b = surefoot.spawn(function() return lab.said(client:chat "b") end)
    return a:wait() .. "|" .. b:wait()
  end))
  local outcomes = surefoot.all {
    function() return lab.said(client:chat "c") end, function() return lab.said(client:chat "d") end,
    function() error "mine" end,
  }
  ngx.say(outcomes[1][1], "|", outcomes[2][1], "|", tostring(outcomes[3].cause):match "mine")
  local results, summary = client:batch { "e", "f", "g" }
  ngx.say(summary.succeeded, "|", results[3].result.text)
  local spawned = surefoot.spawn(function() return lab.said(client:chat "h") end)
  ngx.say(spawned:wait())
  ngx.say(surefoot.now() - began)
]]

LOCATIONS["/sleep"] = [[
  local surefoot = require "surefoot"
  local began = surefoot.now()
  surefoot.sleep(0.05)
  ngx.print(surefoot.now() - began)
]]

LOCATIONS["/kinds"] = [[
  local lab = require "lab"
  local began = lab.surefoot.now()
  local _, err = lab.client:chat("x", { deadline = tonumber(ngx.var.arg_deadline) })
  ngx.print(err and err.kind or "ok", " ", lab.surefoot.now() - began)
]]

LOCATIONS["/lines"] = [[
  local lab = require "lab"
  local client = lab.new { endpoints = { { name = "a", url = "{{a}}" }, { name = "b", url = "{{b}}", priority = 2 } },
    tls = { ca_file = "{{ca}}" } }
  local result, err = client:chat "x"
  ngx.print(result and result.endpoint .. " " .. #result.attempts or tostring(err))
  client:close()
]]

LOCATIONS["/two"] = [[
  local lab = require "lab"
  lab.second = lab.second or lab.new { base_url = "{{b}}", tls = { ca_file = "{{ca}}" } }
  local mine = ngx.thread.spawn(function() return lab.said(lab.client:chat "first") end)
  local other = lab.said(lab.second:chat "second")
  ngx.print(select(2, ngx.thread.wait(mine)), "|", other)
]]

describe("in nginx #once", function()
  local p, n

  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
    local values = { a = p.lines.a.url, b = p.lines.b.tls_url, ca = p.ca_file }
    for path, code in pairs(LOCATIONS) do
      if type(code) == "string" then
        LOCATIONS[path] = code:gsub("{{(%w+)}}", values)
      end
    end
    n = lab.start(p, { locations = LOCATIONS })
  end)

  teardown(function()
    n:stop()
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  after_each(function()
    lab.assert_settled(n)
    n:assert_clean()
  end)

  local function body(path)
    local response = assert(n:get(path))
    assert.equal(200, response.status, response.body)
    return response.body
  end

  for _, phase in ipairs { "content", "access", "rewrite" } do
    it("plain calls, streams and tools work in the phase " .. phase, function()
      for i = 1, 2 do
        local expected = ("echo: hello%d|echo: hello%d|echo: {\"sum\":2}"):format(i, i)
        assert.equal(expected, body(("/%s?x=hello%d"):format(phase, i)))
      end
    end)
  end

  it("they work in a timer", function()
    body "/timer?x=later"
    assert.equal("echo: later|echo: later|echo: {\"sum\":2}", lab.seen(n, "timer"))
  end)

  it("a handler may turn on what a call says", function()
    assert.equal("let in", body "/refuse")
    p:profile("a", { fault = "hang" })
    assert.equal(503, assert(n:get "/refuse").status)
  end)

  it("fifty light threads of a request wait at the same time", function()
    p:profile("a", { delay = 0.4 })
    local began, expected = socket.gettime(), {}
    for i = 1, 50 do
      expected[i] = "echo: x" .. i
    end
    assert.equal(table.concat(expected, "\n") .. "\n", body "/threads")
    assert.is_true(socket.gettime() - began < 2 * nginx.pace)
    assert.equal(50, p:counters("a").peak)
  end)

  it("requests wait at the same time, and hold nobody up", function()
    p:profile("a", { delay = 0.5 })
    local connections, began = {}, socket.gettime()
    for i = 1, 40 do
      connections[i] = n:open("/content?x=c" .. i, { Connection = "close" })
    end
    assert(p:wait("a", function(counters) return counters.in_flight == 40 end))
    local asked = socket.gettime()
    body "/stats"
    assert.is_true(socket.gettime() - asked < 0.1 * nginx.pace)
    for i = 1, 40 do
      assert.matches("^echo: c" .. i .. "|", assert(connections[i]:response()).body)
      connections[i]:close()
    end
    assert.is_true(socket.gettime() - began < 4 * nginx.pace) -- four calls one after another each
  end)

  it("coroutines of the user's own work, and what they yield is theirs", function()
    assert.equal("echo: x1|echo: x2|echo: x3|echo: deep", body "/coroutines")
  end)

  it("run, spawn, all and batch work in a request", function()
    p:profile("a", { delay = 0.2 })
    local lines = {}
    for line in body("/run"):gmatch "[^\n]+" do
      lines[#lines + 1] = line
    end
    local seconds = tonumber(table.remove(lines))
    assert.same({ "echo: a|echo: b", "echo: c|echo: d|mine", "3|echo: g", "echo: h" }, lines)
    assert.is_true(seconds >= 0.8 and seconds < 1.5 * nginx.pace, seconds) -- side by side in each of the four
  end)

  it("sleeps are as long as they should be", function()
    local slept = tonumber(body "/sleep")
    assert.is_true(slept >= 0.05 and slept < 0.05 + 0.1 * nginx.pace, slept)
  end)

  it("deadlines hold", function()
    p:profile("a", { fault = "hang" })
    local kind, seconds = body("/kinds?deadline=0.2"):match "^(%S+) (%S+)$"
    assert.equal("deadline", kind)
    assert.is_true(tonumber(seconds) >= 0.2 and tonumber(seconds) < 0.2 + 0.1 * nginx.pace, seconds)
    assert(p:wait("a", function(counters) return counters.in_flight == 0 and counters.aborted == 1 end, 1.5))
  end)

  it("a failing line is left for another", function()
    p:profile("a", { fault = "reset" })
    assert.equal("b 2", body "/lines")
  end)

  it("two clients work side by side in a worker", function()
    p:profile("a", { delay = 0.05 })
    for _ = 1, 3 do
      assert.equal("echo: first|echo: second", body "/two")
    end
    assert.same({ 3, 3 }, { p:counters("a").requests, p:counters("b").requests })
  end)
end)
