-- What happens to workers: reloads, exits, kills, a master that tried calls before it forked. Calls are answered or
-- fail at once, the next worker is as good as the last, and nothing stays behind.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"
local usage = require "spec.support.usage"

local CHAT = [[local lab = require "lab" lab.tell(lab.client:chat(ngx.var.arg_x or "x"))]]

describe("a worker of nginx #once", function()
  local p, n, allowed

  setup(function()
    p = provider.start { lines = { "a", "b" } }
  end)

  teardown(function()
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
    allowed = nil
  end)

  after_each(function()
    local made = n
    n = nil
    if made then
      made:stop(allowed)
    end
  end)

  local function start(options)
    options.locations = options.locations or {}
    options.locations["/chat"] = options.locations["/chat"] or CHAT
    n = lab.start(p, options)
    return n
  end

  local function get(path)
    local response = assert(n:get(path))
    assert.equal(200, response.status, response.body)
    return response.body
  end

  it("is replaced under load, twice, and nothing is lost", function()
    start { workers = 2 }
    p:profile("a", { latency = { median = 0.02, sigma = 0.7 }, answer = { chunks = 4 } })
    local crowd = surefoot.new {
      base_url = n.url, api_key = "k", model = "m", retry = { max_attempts = 1 }, keepalive = { idle = 0 },
      breaker = false, concurrency = { limit = 30 },
    }
    local good, bad, gone = 0, {}, {}
    local done = false
    surefoot.run(function()
      for worker = 1, 30 do
        surefoot.spawn(function()
          local i = 0
          while not done do
            i = i + 1
            local x = worker .. "-" .. i
            local reply, err = crowd:request { method = "GET", path = "/chat?x=" .. x }
            if reply and reply.raw == "echo: " .. x then
              good = good + 1
            else
              bad[#bad + 1] = tostring(reply and reply.raw or err)
            end
          end
        end)
      end
      for _ = 1, 2 do
        local from = good
        repeat surefoot.sleep(0.01) until good >= from + 150
        local old = n:workers()
        process.signal(n.pid, "HUP")
        local began = surefoot.now()
        local function left()
          local count = 0
          for _, pid in ipairs(old) do
            count = count + (process.alive(pid) and 1 or 0)
          end
          return count
        end
        repeat surefoot.sleep(0.01) until left() == 0 or surefoot.now() - began > 5 * nginx.pace
        gone[#gone + 1] = surefoot.now() - began
      end
      local from = good
      repeat surefoot.sleep(0.01) until good >= from + 150
      done = true
    end)
    crowd:close()
    assert.same({}, bad)
    assert.is_true(good >= 450, good)
    for _, seconds in ipairs(gone) do
      assert.is_true(seconds < 2 * nginx.pace, seconds)
    end
  end)

  it("finishes its calls before it leaves, and leaves soon after", function()
    start { locations = {
      -- begins its call when the worker is on its way out
      ["/late"] = [[
        while not ngx.worker.exiting() do
          ngx.sleep(0.01)
        end
        ]] .. CHAT,
      ["/spawned"] = [[
        while not ngx.worker.exiting() do
          ngx.sleep(0.01)
        end
        local lab, said = require "lab", nil
        local task = lab.surefoot.spawn(function() return lab.said(lab.client:chat "spawned") end)
        ngx.print((task:wait()))
      ]],
    } }
    assert.equal("echo: x", get "/chat")
    p:profile("a", { delay = 0.7 })
    local slow = n:open("/chat?x=slow", { Connection = "close" })
    local late = n:open("/late?x=late", { Connection = "close" })
    local spawned = n:open("/spawned", { Connection = "close" })
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    local old = n:reload()
    for name, connection in pairs { slow = slow, late = late, spawned = spawned } do
      local response = assert(connection:response())
      assert.same({ 200, "echo: " .. name }, { response.status, response.body })
      connection:close()
    end
    assert.is_true(assert(n:gone(old)) < 1.2 * nginx.pace)
    p:reset()
    assert.equal("echo: x", get "/chat")
  end)

  it("does not outlive its time for leaving", function()
    start { shutdown_timeout = "300ms" }
    allowed = { "surefoot: the dispatcher ended: closed" }
    p:profile("a", { fault = "hang" })
    local connection = n:open "/chat"
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    local old = n:reload()
    assert.is_true(assert(n:gone(old, 2 * nginx.pace), "the old worker is still there") < 1.5 * nginx.pace)
    connection:close()
    assert(p:wait("a", function(counters) return counters.in_flight == 0 end))
  end)

  for _, signal in ipairs { "TERM", "KILL" } do
    it("ended by SIG" .. signal .. " in mid-call is replaced at once, and leaves no file behind", function()
      local temporary = process.temp_dir "surefoot-sockets"
      finally(function() process.remove_dir(temporary) end)
      start { env = { TMPDIR = temporary } }
      allowed = { "exited on signal 9" }
      assert.equal("echo: x", get "/chat")
      p:profile("a", { fault = "hang" })
      local connections = {}
      for i = 1, 5 do
        connections[i] = n:open "/chat"
      end
      assert(p:wait("a", function(counters) return counters.in_flight == 5 end))
      local old = n:workers()
      process.signal(old[1], signal)
      n:renewed(old)
      assert.is_number(n:gone(old))
      assert(p:wait("a", function(counters) return counters.in_flight == 0 end))
      p:reset()
      assert.equal("echo: x", get "/chat")
      assert.equal("", (process.capture { "ls", "-A", temporary }))
      for i = 1, 5 do
        connections[i]:close()
      end
    end)
  end

  it("owes nothing to a master that tried calls, and made an engine", function()
    start { workers = 3, init = [[
      local lab = require "lab"
      lab.seen.chat = lab.said(lab.client:chat "x")
      lab.surefoot.pollfd()
      lab.surefoot.step()
    ]], locations = {
      ["/who"] = [[local lab = require "lab" ngx.print(ngx.worker.pid(), " ", lab.said(lab.client:chat "who"))]],
    } }
    assert.matches("^invalid_request: .*init", lab.ask(n, "/seen").chat)
    p:profile("a", { delay = 0.01 })
    local seen, count = {}, 0
    assert(process.wait_for(function()
      for _ = 1, 20 do
        local pid, said = get "/who":match "^(%d+) (.*)$"
        assert.equal("echo: who", said)
        count = count + (seen[pid] and 0 or 1)
        seen[pid] = true
      end
      return count == 3
    end, 10 * nginx.pace))
    assert.equal(1, usage.threads(n.pid))
    local old = n:reload()
    assert.equal("echo: x", get "/chat")
    assert.is_number(n:gone(old))
  end)
end)
