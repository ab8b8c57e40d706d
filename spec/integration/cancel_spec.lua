-- A call that nobody wants any more reaches the provider: whoever cancels, the request there is aborted.

local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("a call in flight is taken back", function()
  local p, before, client

  setup(function()
    p = provider.start { tls = true }
  end)

  teardown(function()
    p:stop()
  end)

  -- Over TLS with HTTP/1.1 nginx takes the farewell of TLS for more input, and does not notice who has left.
  local transports = { { "HTTP/1.1", "url" }, { "HTTP/2", "tls_url", "2" } }

  for _, transport in ipairs(transports) do
    describe("over " .. transport[1], function()
      before_each(function()
        p:reset()
        p:profile("a", { fault = "hang" })
        before = leaks.begin()
        client = surefoot.new {
          base_url = p.lines.a[transport[2]], api_key = "sk-test-0123456789", model = "m",
          tls = { ca_file = p.ca_file }, http_version = transport[3],
        }
      end)

      after_each(function()
        surefoot.use(nil)
        leaks.check(before, client)
        client:close()
      end)

      -- Turns the loop until the provider has the requests.
      local function arrived(count)
        assert(p:wait("a", function(counters)
          surefoot.step()
          return counters.in_flight == count
        end))
      end

      local function aborted(count)
        local counters = p:wait("a", function(c)
          surefoot.step()
          return c.aborted >= count
        end)
        assert.is_table(counters, "the provider still works for nobody")
      end

      local function begin(options)
        surefoot.pollfd()
        local outcome = {}
        outcome.task = surefoot.spawn(function()
          outcome.result, outcome.err = client:chat("x", options)
        end)
        surefoot.step()
        return outcome
      end

      it("by a canceller, with all the calls it was given to", function()
        local canceller = surefoot.canceller()
        local one, two, other = begin { cancel = canceller }, begin { cancel = canceller }, begin()
        arrived(3)
        canceller:cancel()
        one.task:wait(5)
        two.task:wait(5)
        assert.same({ "cancelled", "cancelled", true }, { one.err.kind, two.err.kind, one.err.sent })
        if not transport[3] then -- libcurl tells of a stream when something else goes over its connection
          aborted(2)
        end
        assert.is_nil(other.err)
        other.task:cancel()
        other.task:wait(5)
        aborted(3)
        assert.equal(3, p:counters("a").requests, "nothing was tried again")
      end)

      it("by its task", function()
        local outcome = begin()
        arrived(1)
        outcome.task:cancel()
        outcome.task:wait(5)
        assert.same({ "cancelled", true, "a" }, { outcome.err.kind, outcome.err.sent, "a" })
        aborted(1)
      end)

      it("by closing the client", function()
        local one, two = begin(), begin()
        arrived(2)
        client:close()
        one.task:wait(5)
        two.task:wait(5)
        assert.same({ "closed", "closed" }, { one.err.kind, two.err.kind })
        aborted(2)
        local _, err = client:chat "x"
        assert.same({ "closed", false }, { err.kind, err.sent })
      end)

      it("by its deadline", function()
        local began = surefoot.now()
        local _, err = client:chat("x", { deadline = 0.15 * pace })
        assert.same({ "deadline", true }, { err.kind, err.sent })
        assert.is_true(surefoot.now() - began < pace)
        aborted(1)
      end)

      it("by the timeout of an attempt", function()
        local _, err = client:chat("x", { timeout = { attempt = 0.15 * pace }, deadline = 0.2 * pace })
        assert.is_truthy(err)
        aborted(1)
      end)

      it("by the collector, when its coroutine was dropped", function()
        surefoot.pollfd()
        local waiting = setmetatable({}, { __mode = "k" })
        surefoot.use {
          wait = function(token) waiting[token] = true; coroutine.yield() end,
          wake = function() end,
        }
        local co = coroutine.create(function() client:chat "x" end)
        assert(coroutine.resume(co))
        arrived(1)
        co = nil -- luacheck: ignore
        for _ = 1, 3 do
          collectgarbage()
        end
        aborted(1)
        assert.equal(0, client:stats().in_flight)
      end)

      it("by the error of a hook", function()
        p:profile("a", {})
        local ok, err = pcall(client.chat, client, "x", { validate = function() error { mine = true } end })
        assert.is_false(ok)
        assert.is_true(err.mine)
        assert.equal(0, client:stats().in_flight)
      end)

      it("before it was sent: nothing is", function()
        local busy = begin()
        arrived(1)
        local narrow = surefoot.new {
          base_url = p.lines.a[transport[2]], api_key = "sk-test-0123456789", model = "m",
          tls = { ca_file = p.ca_file }, http_version = transport[3], concurrency = { limit = 1 },
        }
        local first, second
        local one = surefoot.spawn(function() first = select(2, narrow:chat "x") end)
        local two = surefoot.spawn(function() second = select(2, narrow:chat "y") end)
        arrived(2)
        two:cancel()
        two:wait(5)
        assert.same({ "cancelled", false }, { second.kind, second.sent })
        one:cancel()
        one:wait(5)
        assert.is_true(first.sent)
        busy.task:cancel()
        busy.task:wait(5)
        aborted(2)
        assert.equal(2, p:counters("a").requests)
        narrow:close()
      end)
    end)
  end

  it("over a shared HTTP/2 connection without harm to the others", function()
    p:reset()
    p:profile("a", { delay = 0.2 })
    leaks.close_engine()
    client = surefoot.new {
      base_url = p.lines.a.tls_url, api_key = "sk-test-0123456789", model = "m", tls = { ca_file = p.ca_file },
      http_version = "2",
    }
    surefoot.pollfd()
    local results, tasks = {}, {}
    for i = 1, 10 do
      tasks[i] = surefoot.spawn(function() results[i] = client:chat("x" .. i) end)
    end
    assert(p:wait("a", function(counters)
      surefoot.step()
      return counters.in_flight == 10
    end))
    for i = 1, 10, 2 do
      tasks[i]:cancel()
    end
    for i = 1, 10 do
      tasks[i]:wait(5)
      assert.equal(i % 2 == 0 and "echo: x" .. i or nil, results[i] and results[i].text)
    end
    assert.equal("echo: y", assert(client:chat "y").text)
    assert.equal(1, p:counters("a").connections)
    client:close()
  end)
end)
