-- The dispatcher of nginx's workers when it lacks something, or fails: calls are answered all the same, or told.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local provider = require "spec.support.provider"
local socket = require "socket"

local LOCATIONS = {
  ["/chat"] = [[local lab = require "lab" lab.tell(lab.client:chat(ngx.var.arg_x or "x"))]],
  ["/sleep"] = [[ngx.print(tostring(require("surefoot").sleep(0.5)))]],
  -- The next turns of the engine fail.
  ["/break"] = [[
    local scheduler, left = require("surefoot.loop.native").scheduler(), tonumber(ngx.var.arg_turns)
    local step = getmetatable(scheduler).__index.step
    scheduler.step = function(self)
      if left > 0 then
        left = left - 1
        error "a turn that fails"
      end
      return step(self)
    end
  ]],
  ["/close"] = [[require("surefoot.core").engine():close()]],
}

local NO_BELL = [[
  require("surefoot.binding").doorbell = function()
    return nil, "for a spec"
  end
]]

describe("the dispatcher #once", function()
  local p, n, allowed

  setup(function()
    p = provider.start()
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
    options.locations = {}
    for path, code in pairs(LOCATIONS) do
      options.locations[path] = code
    end
    n = lab.start(p, options)
  end

  local function told(connection)
    local response = assert(connection:response())
    connection:close()
    return response.status == 200 and response.body or response.status
  end

  local function pending(delay)
    p:profile("a", { delay = delay })
    local call, sleep = n:open "/chat", n:open "/sleep"
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    return call, sleep
  end

  it("looks every millisecond where there is no doorbell, and says so once", function()
    allowed = { "no doorbell" }
    start { init_worker = NO_BELL }
    for i = 1, 3 do
      assert.equal("echo: x" .. i, assert(n:get("/chat?x=x" .. i)).body)
    end
    local call, sleep = pending(0.2)
    assert.same({ "echo: x", "true" }, { told(call), told(sleep) })
    socket.sleep(0.7) -- the next one is another
    assert.equal("echo: x", assert(n:get "/chat").body)
    assert.equal(1, select(2, n:log():gsub("no doorbell", "")))
    assert.matches("no doorbell, the engine is looked after every millisecond: for a spec", n:log(), 1, true)
  end)

  it("is done without where nginx has no timer left", function()
    allowed = { "lua_max_running_timers are not enough" }
    start { http = "lua_max_running_timers 1;", init_worker = [[ngx.timer.at(0, function() ngx.sleep(1.5) end)]] }
    local began = socket.gettime()
    assert.equal("echo: x", assert(n:get "/chat").body)
    assert.is_true(socket.gettime() - began < 0.5 * nginx.pace)
    local call, sleep = pending(0.2)
    assert.same({ "echo: x", "true" }, { told(call), told(sleep) })
    assert.is_truthy(n:log():find("not enough", 1, true))
  end)

  it("begins anew after it has failed", function()
    allowed = { "a turn that fails" }
    start {}
    local call, sleep = pending(0.4)
    assert(n:get "/break?turns=2")
    assert.same({ "echo: x", "true" }, { told(call), told(sleep) })
    assert.equal(2, select(2, n:log():gsub("the dispatcher ended: [^\n]*a turn that fails", "")))
  end)

  it("tells who waits when it fails again and again, and is tried anew later", function()
    allowed = { "a turn that fails" }
    start {}
    local call, sleep = pending(0.4)
    assert(n:get "/break?turns=3")
    assert.same({ 500, 500 }, { told(call), told(sleep) })
    assert.matches("cannot wait: [^\n]*a turn that fails", n:log())
    p:reset()
    socket.sleep(1)
    assert.equal("echo: x", assert(n:get "/chat").body)
    assert.is_true(lab.settled(n))
  end)

  it("begins anew with another engine", function()
    start {}
    for _ = 1, 2 do
      assert.equal("echo: x", assert(n:get "/chat").body)
      socket.sleep(1) -- nobody waits any more, and it has gone
      assert(n:get "/close")
    end
    assert.equal("echo: x", assert(n:get "/chat").body)
  end)
end)
