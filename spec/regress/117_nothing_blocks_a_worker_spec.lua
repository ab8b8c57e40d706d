-- Where nginx lets nothing wait, task:wait blocked the whole worker, for ever where it was given no time, and
-- surefoot.all, batch and each failed in making coroutines that nginx does not allow there.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local provider = require "spec.support.provider"

local TRY = [[
  local lab = require "lab"
  local surefoot, client = lab.surefoot, lab.client
  local seen, began = {}, surefoot.now()
  local task = surefoot.spawn(function() return "spawned" end)
  local ok, problem = pcall(task.wait, task, 1)
  seen.wait = { ok = ok, problem = tostring(problem) }
  local outcomes = surefoot.all { function() return "at once" end, function() return client:chat "x" end }
  seen.all = { outcomes[1][1], lab.said(nil, outcomes[2][2]) }
  local _, summary = client:batch { "x", "y" }
  seen.batch = summary.errors
  seen.each = {}
  for i, _, err in client:each { "x", "y" } do
    seen.each[i] = err.kind
  end
  seen.seconds = surefoot.now() - began
  lab.seen.log = seen
]]

describe("where nginx lets nothing wait #once", function()
  local p, n

  setup(function()
    p = provider.start()
    n = lab.start(p, { locations = { ["/page"] = { content = "ngx.print 'page'", log = TRY } } })
  end)

  teardown(function()
    n:stop()
    p:stop()
  end)

  it("nothing blocks the worker", function()
    assert.equal("page", assert(n:get "/page").body)
    local seen = assert(lab.seen(n, "log"))
    assert.is_false(seen.wait.ok)
    assert.matches("task:wait: nothing can wait in nginx's log phase", seen.wait.problem, 1, true)
    assert.equal("at once", seen.all[1])
    assert.matches("^invalid_request: nothing can wait", seen.all[2])
    assert.same({ invalid_request = 2 }, seen.batch)
    assert.same({ "invalid_request", "invalid_request" }, seen.each)
    assert.is_true(seen.seconds < 0.1 * nginx.pace, seen.seconds)
    assert.equal(0, p:counters("a").requests)
  end)
end)
