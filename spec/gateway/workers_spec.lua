-- Several workers are one gateway: limits hold for all of them together, a killed worker leaves nothing behind, a
-- reload loses no call, and a line that comes back is found again.

local lab = require "spec.gateway.lab"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local CONFIG = [[{
  base_url = "%s", model = "m", api_key = "sk-upstream-0123456789", http_version = "1.1", shared = "%s", %s
}]]

describe("a gateway of four workers #once", function()
  local p, n, name, count = nil, nil, nil, 0

  setup(function()
    p = provider.start { lines = { "a", "b" } }
  end)

  teardown(function()
    assert.same({}, p:errors())
    p:stop()
  end)

  before_each(function()
    p:reset()
    count = count + 1
    name = ("gateway-spec-%d-%d"):format(process.self(), count)
  end)

  local allowed
  after_each(function()
    local made, texts = n, allowed
    n, allowed = nil, nil
    process.capture(("rm -f /dev/shm/surefoot-*-%s"):format(name))
    if made then
      made:stop(texts)
    end
  end)

  local function start(more, workers)
    n = lab.start(CONFIG:format(p.lines.a.url, name, more), { workers = workers or 4 })
  end

  -- Callers who ask all the time, while `meanwhile` runs: how many calls were well, and the errors of the others.
  local function under_load(callers, request, meanwhile)
    local crowd = surefoot.new {
      base_url = n.url .. "/v1", api_key = "k", model = "m", retry = { max_attempts = 1 }, breaker = false,
      keepalive = { idle = 0 }, concurrency = { limit = callers },
    }
    local tally, bad, done = { good = 0 }, {}, false
    surefoot.run(function()
      for caller = 1, callers do
        surefoot.spawn(function()
          local i = 0
          while not done do
            i = i + 1
            local text = caller .. "-" .. i
            local result, err = request(crowd, text)
            if result and result.text == "echo: " .. text then
              tally.good = tally.good + 1
            elseif not done then
              bad[#bad + 1] = err or { kind = "wrong", message = result.text }
            end
          end
        end)
      end
      meanwhile(tally)
      done = true
    end)
    crowd:close()
    return tally.good, bad
  end

  local function chat(crowd, text)
    return crowd:chat(text)
  end

  -- Waits in a task until so many more calls were well.
  local function more(tally, wanted)
    local from = tally.good
    repeat surefoot.sleep(0.01) until tally.good >= from + wanted
  end

  it("admits no more than its rate for all of them", function()
    local rate, burst = 100, 10
    start(("rate = { requests_per_second = %d, burst = %d, adaptive = false }, breaker = false"):format(rate, burst))
    local began = surefoot.now()
    under_load(16, chat, function()
      surefoot.sleep(1)
    end)
    local seconds = surefoot.now() - began
    local asked = p:counters("a").requests
    assert.is_true(asked <= rate * seconds + burst, asked)
    assert.is_true(asked >= 0.7 * rate, asked)
  end)

  it("has at most its limit in flight, also when workers are killed", function()
    allowed = { "exited on signal 9", "cache manager" }
    start "concurrency = { limit = 4 }, breaker = false"
    p:profile("a", { delay = 0.02 })
    local killed, in_flight = 0, 0
    local good, bad = under_load(12, chat, function(tally)
      for round = 1, 3 do
        more(tally, 20)
        local workers = n:workers()
        process.signal(workers[1 + round % #workers], "KILL")
        killed = killed + 1
        more(tally, 20)
      end
    end)
    assert.is_true(good >= 120, good)
    for _, err in ipairs(bad) do -- the callers of the killed workers only
      assert.equal("network", err.kind, tostring(err))
      in_flight = in_flight + 1
    end
    assert.is_true(in_flight <= 12 * killed, in_flight)
    -- what the killed held is free again: as many as the limit run at a time, and one more never
    assert(lab.at_rest(p, "a"))
    p:reset()
    p:profile("a", { delay = 0.1 })
    under_load(12, chat, function(tally)
      more(tally, 24)
    end)
    assert.equal(4, p:counters("a").peak)
  end)

  it("is reloaded under load, and no call is lost", function()
    start "breaker = false"
    p:profile("a", { latency = { median = 0.02, sigma = 0.7 }, answer = { chunks = 4 },
      stream = { chunk_delay = 0.005 } })
    local good, bad = under_load(24, function(crowd, text)
      if #text % 2 == 0 then
        return crowd:chat(text)
      end
      local stream, err = crowd:stream(text)
      if not stream then
        return nil, err
      end
      return stream:result()
    end, function(tally)
      for _ = 1, 2 do
        more(tally, 100)
        local old = n:workers()
        process.signal(n.pid, "HUP")
        local began = surefoot.now()
        local function left()
          for _, pid in ipairs(old) do
            if process.alive(pid) then
              return true
            end
          end
        end
        repeat surefoot.sleep(0.01) until not left() or surefoot.now() - began > 10 * lab.pace
      end
      more(tally, 100)
    end)
    local told = {}
    for i, err in ipairs(bad) do
      told[i] = tostring(err)
    end
    assert.same({}, told)
    assert.is_true(good >= 300, good)
  end)

  it("opens the circuit of a line that fails for all, probes it, and is back soon after the line is", function()
    start(([[
      breaker = { recovery_timeout = 0.3, jitter = 0 }, retry = { base_delay = 0.01 },
      endpoints = { { name = "a", url = "%s" }, { name = "b", url = "%s", priority = 2 } },
    ]]):format(p.lines.a.url, p.lines.b.url))
    p:profile("a", { status = { code = 500 } })
    local asked, back
    local _, bad = under_load(8, chat, function(tally)
      more(tally, 40)
      asked = p:counters("a").requests
      more(tally, 80)
      assert.is_true(p:counters("a").requests - asked <= 8, "the circuit is not open")
      p:profile("a", {})
      local began, from = surefoot.now(), p:counters("a").status["200"] or 0
      repeat
        more(tally, 5)
      until (p:counters("a").status["200"] or 0) >= from + 20 or surefoot.now() - began > 10
      back = surefoot.now() - began
    end)
    assert.same({}, bad)
    assert.is_true(back < 10, back)
  end)

  it("slows its provider down for a caller who reads slowly", function()
    start("breaker = false", 1)
    p:profile("a", { answer = { bytes = 64 * 2 ^ 20 } })
    local connection = lab.open(n, "/v1/chat/completions", lab.question("x", { stream = true }))
    assert(connection:take_until "data: ")
    local sent = 0
    local stands = lab.wait_for(function()
      local now = p:counters("a").bytes_out
      local stood = now == sent and now > 0
      sent = now
      surefoot.sleep(0.2)
      return stood
    end, 10 * lab.pace)
    assert.is_true(stands)
    assert.is_true(sent < 32 * 2 ^ 20, sent)
    connection:close()
    assert(p:wait("a", function(c) return c.aborted == 1 end, 5 * lab.pace))
  end)
end)
