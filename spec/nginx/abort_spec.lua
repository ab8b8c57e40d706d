-- A client of nginx that leaves takes its calls with it: the provider stops working for nobody, and no slot stays
-- taken, whether the handler asked to be told (ngx.on_abort) or was ended by nginx without a word.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local socket = require "socket"

local LIMIT = 20
local ON_PURPOSE = { "on purpose" }

local WAYS = {
  ["in a plain call"] = [[lab.tell(client:chat "x")]],
  ["in a stream"] = [[
    local stream = assert(client:stream(streamed))
    for chunk in stream:chunks() do
      ngx.print(chunk.text)
      ngx.flush(true)
    end
  ]],
  ["in a stream that it does not read"] = [[
    local stream = assert(client:stream(streamed))
    stream:read()
    ngx.sleep(100)
    stream:close()
  ]],
  ["in light threads"] = [[
    local threads = {}
    for i = 1, 5 do
      threads[i] = ngx.thread.spawn(function() return client:chat "x" end)
    end
    for i = 1, 5 do
      ngx.thread.wait(threads[i])
    end
  ]],
  ["in surefoot.all"] = [[
    surefoot.all { function() return client:chat "x" end, function() return client:chat "y" end }
  ]],
  ["in surefoot.run"] = [[
    surefoot.run(function()
      surefoot.spawn(function() return client:chat "x" end)
      surefoot.spawn(function() return client:chat "y" end)
      surefoot.sleep(100)
    end)
  ]],
  ["in a batch"] = [[client:batch { "x", "y", "z" }]],
  ["in tools"] = [[client:run_tools("x", {})]],
  ["in a coroutine"] = [[coroutine.wrap(function() client:chat "x" end)()]],
  ["in the access phase"] = { access = [[client:chat "x"]] },
}

-- Other ways in which nginx ends a thread that waits.
local ENDS = {
  ["ngx.thread.kill"] = [[
    local thread = ngx.thread.spawn(function() return client:chat "x" end)
    surefoot.sleep(0.05)
    assert(ngx.thread.kill(thread))
    ngx.print "ended"
  ]],
  ["ngx.exit"] = [[
    ngx.thread.spawn(function() return client:chat "x" end)
    surefoot.sleep(0.05)
    ngx.print "ended"
    ngx.exit(200)
  ]],
  ["ngx.exec"] = [[
    ngx.thread.spawn(function() return client:chat "x" end)
    surefoot.sleep(0.05)
    ngx.exec "/ended"
  ]],
  ["an error"] = [[
    ngx.thread.spawn(function() return client:chat "x" end)
    surefoot.sleep(0.05)
    error "on purpose"
  ]],
}

local CALLS_OF_WAYS = 18

local HEAD = [[
  local lab = require "lab"
  local surefoot, client = lab.surefoot, lab.client
  local streamed = { model = "streamed", messages = { { role = "user", content = "x" } } }
]]

describe("a client that leaves #once", function()
  local p, n
  local paths = {}

  setup(function()
    p = provider.start()
    local locations = {
      ["/chat"] = HEAD .. [[lab.tell(client:chat "x")]],
      ["/told"] = HEAD .. [[
        local canceller = surefoot.canceller()
        assert(ngx.on_abort(function() canceller:cancel() end))
        lab.seen.told = lab.said(client:chat("x", { cancel = canceller }))
        ngx.exit(499)
      ]],
      ["/patient"] = { content = HEAD .. [[lab.seen.patient = lab.said(client:chat "x")]],
        more = "lua_check_client_abort off;" },
      ["/backoff"] = HEAD .. [[
        lab.unwell = lab.unwell or lab.new { base_url = "{{url}}", retry = { base_delay = 30, jitter = "none" } }
        lab.unwell:chat "x"
      ]],
      ["/unwell"] = HEAD .. [[ngx.print(lab.unwell:stats().in_flight)]],
    }
    locations["/backoff"] = locations["/backoff"]:gsub("{{url}}", p.lines.a.url)
    for _, list in ipairs { WAYS, ENDS } do
      for what, code in pairs(list) do
        paths[what] = "/" .. what:gsub("[^%w]", "-")
        locations[paths[what]] = type(code) == "table" and { access = HEAD .. code.access } or HEAD .. code
      end
    end
    locations["/ended"] = [[ngx.print "ended"]]
    n = lab.start(p, { config = ("concurrency = { limit = %d }"):format(LIMIT), locations = locations })
  end)

  teardown(function()
    n:stop(ON_PURPOSE)
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
  end)

  after_each(function()
    lab.assert_settled(n, ON_PURPOSE)
    p:reset()
    n:assert_clean(ON_PURPOSE)
    assert.equal("echo: sound", assert(n:get "/sound").body)
  end)

  local function idle(seconds)
    return p:wait("a", function(counters) return counters.in_flight == 0 end, seconds)
  end

  it("is noticed within 1.5 s though its handler is not told: in every way to wait", function()
    p:profile("a", { delay = 20, by_model = { streamed = {
      answer = { bytes = 10000, chunks = 1000 }, stream = { chunk_delay = 0.02 },
    } } })
    local connections = {}
    for what in pairs(WAYS) do
      connections[#connections + 1] = n:open(paths[what])
    end
    assert(p:wait("a", function(counters) return counters.in_flight == CALLS_OF_WAYS end))
    for _, connection in ipairs(connections) do
      connection:close()
    end
    assert.is_table(idle(1.5 * nginx.pace), "the provider still works for nobody")
    assert.equal(CALLS_OF_WAYS, p:counters("a").aborted)
  end)

  it("and whatever else ends a thread that waits: its call ends with it", function()
    p:profile("a", { fault = "hang" })
    local connections, count = {}, 0
    for what in pairs(ENDS) do
      connections[what], count = n:open(paths[what], { Connection = "close" }), count + 1
    end
    for what, connection in pairs(connections) do
      assert.equal(what == "an error" and 500 or 200, assert(connection:response()).status, what)
      connection:close()
    end
    assert.is_table(idle(1.5 * nginx.pace), "the provider still works for nobody")
    local counters = p:counters "a"
    assert.same({ count, count }, { counters.requests, counters.aborted })
  end)

  it("is noticed while its call waits for its turn", function()
    p:profile("a", { fault = "hang" })
    local connections = {}
    for i = 1, 2 * LIMIT do
      connections[i] = n:open "/chat"
    end
    -- nginx never tells of a client that had left before its request was read
    assert(process.wait_for(function() return lab.ask(n, "/stats").queue == LIMIT end))
    assert(p:wait("a", function(counters) return counters.in_flight == LIMIT end))
    for i = 1, 2 * LIMIT do
      connections[i]:close()
    end
    assert.is_table(idle(1.5 * nginx.pace))
    assert.is_true(lab.settled(n))
    assert.is_true(p:counters("a").requests <= 2 * LIMIT)
  end)

  it("is noticed while its call waits to be repeated", function()
    p:profile("a", { status = { code = 503 } })
    local connection = n:open "/backoff"
    assert(p:wait("a", function(counters) return counters.requests == 1 end))
    connection:close()
    local function unwell()
      return assert(n:get "/unwell").body
    end
    assert.equal("1", unwell())
    local began = socket.gettime()
    repeat
      socket.sleep(0.02)
    until unwell() == "0" or socket.gettime() - began > 1.5 * nginx.pace
    assert.equal("0", unwell())
    assert.equal(1, p:counters("a").requests)
  end)

  it("is noticed at once where its handler asked to be told", function()
    p:profile("a", { fault = "hang" })
    local connection = n:open "/told"
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    connection:close()
    assert.is_table(idle(0.3 * nginx.pace))
    assert.matches("^cancelled: ", lab.seen(n, "told"))
  end)

  it("is noticed while it is written to, and does not read", function()
    p:profile("a", { by_model = { streamed = { answer = { bytes = 30e6 } } } })
    local connection = n:open(paths["in a stream"])
    local sent
    assert(process.wait_for(function()
      local before = sent
      socket.sleep(0.1)
      sent = p:counters("a").bytes_out
      return sent > 0 and sent == before
    end, 5 * nginx.pace), "the provider is not held up")
    connection:close()
    assert.is_table(idle(1.5 * nginx.pace), "the provider still works for nobody")
  end)

  it("changes nothing where nginx shall not look", function()
    p:profile("a", { delay = 0.3 })
    local connection = n:open "/patient"
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    connection:close()
    assert.equal("echo: x", lab.seen(n, "patient"))
    assert.equal(0, p:counters("a").aborted)
  end)

  it("a hundred times at random moments costs no slot", function()
    local random = 7
    local function draw()
      random = (random * 16807) % 2147483647
      return random / 2147483647
    end
    p:profile("a", {
      latency = { median = 0.03, sigma = 1 }, answer = { chunks = 20 }, stream = { chunk_delay = 0.005 },
    })
    local ways = { "/chat", "/told", paths["in a stream"], paths["in light threads"], paths["in surefoot.all"] }
    local open, opened = {}, 0
    repeat
      if opened < 100 then
        opened = opened + 1
        open[#open + 1] = { at = socket.gettime() + draw() * 0.15, n:open(ways[1 + math.floor(draw() * #ways)]) }
      end
      for i = #open, 1, -1 do
        if socket.gettime() >= open[i].at then
          open[i][1]:close()
          table.remove(open, i)
        end
      end
      socket.sleep(0.004)
    until opened == 100 and #open == 0
    assert.is_table(idle(1.5 * nginx.pace))
    assert.is_true(lab.settled(n))
    p:reset()
    p:profile("a", { delay = 0.1 })
    local connections = {}
    for i = 1, LIMIT do
      connections[i] = n:open("/chat", { Connection = "close" })
    end
    assert(p:wait("a", function(counters) return counters.in_flight == LIMIT end), "slots are lost")
    for i = 1, LIMIT do
      assert.equal("echo: x", assert(connections[i]:response()).body)
      connections[i]:close()
    end
  end)
end)
