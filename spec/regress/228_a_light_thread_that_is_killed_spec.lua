-- A task of nginx whose light thread was killed while it waited never ended: whoever waited for it did so for ever.

local lab = require "spec.nginx.lab"
local provider = require "spec.support.provider"

describe("a task whose light thread is killed #once", function()
  it("ends as cancelled for who waits for it", function()
    local p = provider.start()
    local n = lab.start(p, { locations = { ["/killed"] = [[
      local surefoot = require "lab".surefoot
      local thread
      local task = surefoot.spawn(function()
        thread = coroutine.running()
        surefoot.sleep(100)
      end)
      surefoot.sleep(0.05)
      assert(ngx.thread.kill(thread))
      ngx.print(select(2, task:wait(5)).kind)
    ]] } })
    assert.equal("cancelled", assert(n:get "/killed").body)
    n:stop()
    p:stop()
  end)
end)
