-- Virtual keys in an nginx of several workers: what a key may do holds for all of them together, a killed worker holds
-- nothing, and callers are told what is in the way.

local lab = require "spec.gateway.lab"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local CONFIG = [[{
  base_url = "%s", model = "m", api_key = "sk-upstream-0123456789", http_version = "1.1", shared = "%s",
  breaker = false, prices = { m = { input = 10000, output = 10000 } },
  gateway = { keys = {
    { name = "fast", key = "sk-fast-0123456789", rate = { requests_per_second = 50, burst = 5 }, models = { "m*" } },
    { name = "few", key = "sk-few-0123456789", concurrency = 3 },
    { name = "poor", key = "sk-poor-0123456789", budget = { limit = 0.5, per = "total" } },
  } },
}]]

describe("virtual keys of three workers #once", function()
  local p, n, open
  local name = ("keys-spec-%d"):format(process.self())

  setup(function()
    p = provider.start { lines = { "a" } }
    n = lab.start(CONFIG:format(p.lines.a.url, name), { workers = 3 })
  end)

  teardown(function()
    process.capture("rm -f /dev/shm/surefoot-*-" .. name)
    n:stop { "exited on signal 9", "cache manager" }
    p:stop()
  end)

  before_each(function()
    p:reset()
    open = {}
  end)

  after_each(function()
    for _, connection in ipairs(open) do
      connection:close()
    end
  end)

  local function ask(key, more, timeout)
    local headers = { Authorization = "Bearer " .. key }
    return lab.ask(n, "/v1/chat/completions", lab.question("hello", more), headers, timeout)
  end

  local function caller(key)
    return surefoot.new {
      base_url = n.url .. "/v1", api_key = key, model = "m", retry = { max_attempts = 1 }, breaker = false,
      keepalive = { idle = 0 }, concurrency = { limit = 8 },
    }
  end

  it("turn away whom they do not know, and models that are not theirs", function()
    for _, key in ipairs { "sk-unknown-0123456789", "sk-upstream-0123456789", "fast", "" } do
      assert.equal(401, ask(key).status)
    end
    assert.equal(401, lab.ask(n, "/v1/chat/completions", lab.question()).status)
    assert.equal(200, ask("sk-fast-0123456789").status)
    assert.equal(403, ask("sk-fast-0123456789", { model = "other" }).status)
    assert.equal(1, p:counters("a").requests)
  end)

  it("are bound by one rate", function()
    local client, admitted, refused, began = caller "sk-fast-0123456789", 0, 0, surefoot.now()
    surefoot.run(function()
      for _ = 1, 8 do
        surefoot.spawn(function()
          while surefoot.now() < began + 0.6 do
            local result, err = client:chat "hello"
            admitted = admitted + (result and 1 or 0)
            if err then
              assert.same({ "rate_limited", "rate_limit_exceeded" }, { err.kind, err.code })
              assert.is_true(err.retry_after > 0)
              refused = refused + 1
              surefoot.sleep(0.002)
            end
          end
        end)
      end
    end)
    client:close()
    local most = 5 + 50 * (surefoot.now() - began)
    assert.is_true(admitted <= most, ("%d were let in, at most %s may be"):format(admitted, most))
    assert.is_true(admitted > 5 and refused > 0, ("%d let in, %d refused"):format(admitted, refused))
    assert.equal(admitted, p:counters("a").requests)
  end)

  it("hold nothing of workers that were killed", function()
    local function fill()
      p:reset()
      p:profile("a", { fault = "hang" })
      for i = 1, 3 do
        open[#open + 1] = lab.open(n, "/v1/chat/completions", lab.question(), {
          Authorization = "Bearer sk-few-0123456789", ["Content-Type"] = "application/json",
        })
        assert(p:wait("a", function(c) return c.requests == i end, 5 * pace))
      end
    end
    fill()
    local response = ask "sk-few-0123456789"
    assert.equal(429, response.status)
    assert.is_truthy(response.json.error.message:find("may have 3 requests at a time", 1, true))
    for _, worker in ipairs(n:workers()) do
      process.signal(worker, "KILL")
    end
    p:profile("a", {})
    assert(lab.wait_for(function() return ask("sk-few-0123456789", nil, 2 * pace).status == 200 end, 10 * pace))
    fill()
    assert.equal(429, ask("sk-few-0123456789").status)
  end)

  it("spend one budget, and no more than was in flight beyond it", function()
    local spent, response = 0, ask "sk-poor-0123456789"
    while response.status == 200 and spent < 5 do
      spent = spent + response.json.usage.total_tokens / 100 -- 10000 dollars per million tokens
      response = ask "sk-poor-0123456789"
    end
    assert.equal(429, response.status)
    assert.is_true(spent > 0.499, spent)
    assert.same({ "insufficient_quota", "budget_spent" }, { response.json.error.type, response.json.error.code })
    assert.is_truthy(response.json.error.message:find("budget of 0.5 dollars", 1, true))
    assert.equal(429, ask("sk-poor-0123456789").status)
    assert.equal(200, ask("sk-few-0123456789").status)
  end)
end)
