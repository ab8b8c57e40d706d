-- A libcurl of sound HTTP/2 was asked for 2 on lines without TLS, too, where nothing negotiates it: calls that came
-- together waited for the first one's connection, and some of them for its answer, to see whether it could be shared.
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local CALLS = 4

describe("on a line without TLS", function()
  local p

  setup(function()
    p = provider.start()
  end)

  teardown(function()
    p:stop()
  end)

  it("calls that come together wait for no connection but their own", function()
    leaks.close_engine()
    p:profile("a", { fault = "hang" })
    local client = surefoot.new {
      base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m", timeout = { attempt = 20 * pace },
      concurrency = { max = CALLS },
    }
    surefoot.pollfd()
    local tasks = {}
    for i = 1, CALLS do
      tasks[i] = surefoot.spawn(function()
        client:chat "x"
      end)
    end
    assert.is_table(p:wait("a", function(counters)
      surefoot.step()
      return counters.in_flight == CALLS
    end))
    for _, task in ipairs(tasks) do
      task:cancel()
    end
    client:close()
    surefoot.use(nil)
  end)
end)
