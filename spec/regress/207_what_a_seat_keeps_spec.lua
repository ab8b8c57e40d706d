-- A semaphore of nginx keeps what was posted. Who was killed, or left, between the post and its turn left it to the
-- next one in that seat, which was woken for nothing; and a look for the dead took those for dead who had been posted
-- and not run yet: their calls were cancelled.
local nginx = require "spec.support.nginx"

local HEAD = [[
  local seats = require("surefoot.loop.nginx.seats").new()
  local function sit(token)
    return ngx.thread.spawn(function() return seats:take(token).semaphore:wait(5) end)
  end
  local function sweep()
    local found = 0
    seats:sweep(function() found = found + 1 end)
    return found
  end
]]

describe("a seat in nginx #once", function()
  local n

  setup(function()
    n = nginx.start { locations = {
      ["/left"] = HEAD .. [[
        local seat = seats:take {}
        seats.post(seat)
        seats:leave(seat)
        ngx.print(seats.taken, " taken, ", seats:take({}).semaphore:count(), " posted")
      ]],
      ["/killed"] = HEAD .. [[
        local token = {}
        local thread = sit(token)
        seats.post(token.seat)
        ngx.thread.kill(thread)
        ngx.print(sweep(), " dead, ", seats:take({}).semaphore:count(), " posted")
      ]],
      ["/alive"] = HEAD .. [[
        local posted, waiting = {}, {}
        local thread, other = sit(posted), sit(waiting)
        seats.post(posted.seat)
        ngx.print(sweep(), " dead, ", (select(2, ngx.thread.wait(thread))) and "woken" or "not woken")
        seats.post(waiting.seat)
        ngx.thread.wait(other)
      ]],
      ["/unposted"] = HEAD .. [[
        local thread = sit {}
        ngx.thread.kill(thread)
        ngx.print(sweep(), " dead, ", seats.taken, " taken")
      ]],
    } }
  end)

  teardown(function() n:stop() end)

  it("that is left has nothing in it for the next one", function()
    assert.equal("0 taken, 0 posted", assert(n:get "/left").body)
    assert.equal("1 dead, 0 posted", assert(n:get "/killed").body)
  end)

  it("is taken back from the dead alone", function()
    assert.equal("0 dead, woken", assert(n:get "/alive").body)
    assert.equal("1 dead, 0 taken", assert(n:get "/unposted").body)
  end)
end)
