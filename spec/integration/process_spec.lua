-- What a process may do around surefoot: fork, start others, get signals, wait for a stalled name server, hold two Lua
-- states, end in the midst of calls. Each case is a program of its own.

local build = require "spec.support.build"
local env = require "spec.support.env"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local HEAD = [[
  local surefoot, system = require "surefoot", require "spec_system"
  local provider = require "spec.support.provider"
  local p = assert(provider.attach(arg[1]))
  local function new(config)
    config.api_key, config.model, config.tls = "sk-test-0123456789", "m", { ca_file = p.ca_file }
    return surefoot.new(config)
  end
  local function arrived(count)
    assert(p:wait("a", function(c) surefoot.step() return c.in_flight == count end))
  end
  -- Runs f in a child; the child ends at once, with 0 when f did not throw.
  local function child(f)
    local pid = system.fork()
    if pid > 0 then
      return pid
    end
    local ok, err = xpcall(f, debug.traceback)
    if not ok then
      io.stderr:write("child: ", tostring(err), "\n")
    end
    system.exit(ok and 0 or 1)
  end
]]

describe("a process", function()
  local p, library

  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
    library = build.library "spec/integration/spec_system.c"
  end)

  teardown(function()
    p:stop()
    build.clean()
  end)

  before_each(function()
    p:reset()
  end)

  -- Runs a program; it must end by itself with the status expected and without complaints.
  local function run(code, options)
    options = options or {}
    local path = build.folder() .. "/program.lua"
    process.write(path, HEAD .. code)
    local environment = { LUA_CPATH = library:match "^(.*)/" .. "/?.so;;" }
    for name, value in pairs(options.env or {}) do
      environment[name] = value
    end
    local words = { "timeout", "-k", "1", "30", env.lua, "-l", "spec.helper", path, p.control_url }
    for _, word in ipairs(options) do
      words[#words + 1] = word
    end
    local result = env.run(words, { env = environment })
    assert.equal("", result.stderr)
    assert.equal(options.status or 0, result.status, result.stdout)
    return result.stdout
  end

  describe("that forks", function()
    local transports = {
      { "HTTP/1.1", "url", "1.1" }, { "TLS", "tls_url", "1.1" }, { "HTTP/2", "tls_url", "2" },
    }
    local endings = {
      ["works on in the child"] = [[
        for i = 1, 3 do
          tasks[i]:wait(5)
          assert(errs[i].kind == "closed", tostring(errs[i]))
        end
        assert(client:stats().in_flight == 0)
        for _ = 1, 3 do
          assert(assert(client:chat "child").text == "echo: child")
        end
      ]],
      ["closes the client in the child"] = "client:close()",
      ["ends the child's state"] = "client, tasks = nil, nil collectgarbage() os.exit(0, true)",
      ["cancels in the child"] = "for i = 1, 3 do tasks[i]:cancel() end surefoot.step()",
      ["closes the engine in the child"] = "require('surefoot.core').engine():close()",
      ["asks for numbers in the child"] = "client:stats() surefoot.pollfd() surefoot.step()",
      ["sweeps in the child"] = "client, tasks, errs = nil, nil, nil collectgarbage() collectgarbage()",
      ["does nothing in the child"] = "",
    }

    for ending, code in pairs(endings) do
      for _, transport in ipairs(transports) do
        it(("in mid-flight over %s, and %s, loses nothing"):format(transport[1], ending), function()
          p:profile("a", { delay = 0.1 })
          run(([[
            local client = new { base_url = p.lines.a.%s, http_version = "%s" }
            surefoot.pollfd()
            local tasks, results, errs = {}, {}, {}
            for i = 1, 3 do
              tasks[i] = surefoot.spawn(function() results[i], errs[i] = client:chat("parent" .. i) end)
            end
            arrived(3)
            p:profile("a", {})
            local pid = child(function() %s end)
            local status = system.wait(pid)
            assert(status == 0, status)
            for i = 1, 3 do
              tasks[i]:wait(5)
              assert(results[i] and results[i].text == "echo: parent" .. i, tostring(errs[i]))
            end
            assert(client:chat "after")
            local counters = p:counters "a"
            assert(counters.aborted == 0, counters.aborted)
          ]]):format(transport[2], transport[3], code), {
            env = { ASAN_OPTIONS = "detect_leaks=0" }, -- a child leaves the parent's handles of libcurl alone
          })
        end)
      end
    end

    it("with kept connections leaves them to the parent", function()
      run [[
        for _, url in ipairs { "url", "tls_url" } do
          p:reset()
          local client = new { base_url = p.lines.a[url] }
          assert(client:chat "warm")
          for _ = 1, 2 do
            assert(system.wait(child(function() assert(client:chat "child") end)) == 0)
            assert(assert(client:chat "parent").text == "echo: parent")
          end
          local counters = p:counters "a"
          assert(counters.requests == 5 and counters.connections == 3, counters.connections)
        end
      ]]
    end)

    it("before the first call has an engine in each", function()
      run [[
        local client = new { base_url = p.lines.a.url }
        local pids = {}
        for i = 1, 3 do
          pids[i] = child(function() assert(assert(client:chat("child" .. i)).text == "echo: child" .. i) end)
        end
        assert(assert(client:chat "parent").text == "echo: parent")
        for i = 1, 3 do
          assert(system.wait(pids[i]) == 0)
        end
        assert(p:counters("a").requests == 4)
      ]]
    end)

    it("twice in a row works at every level", function()
      run [[
        local client = new { base_url = p.lines.a.tls_url }
        assert(client:chat "one")
        assert(system.wait(child(function()
          assert(client:chat "two")
          assert(system.wait(child(function() assert(client:chat "three") end)) == 0)
          assert(client:chat "four")
        end)) == 0)
        assert(client:chat "five")
        assert(p:counters("a").requests == 5)
      ]]
    end)

    it("draws other random numbers and ids in each", function()
      p:profile("a", { status = { code = 503 } })
      run [[
        local client = new { base_url = p.lines.a.url, retry = { max_attempts = 1 } }
        local backoff = require("surefoot.policy").backoff { base_delay = 60, max_delay = 60 }
        backoff:delay(1)
        client:chat "x"
        local path = os.tmpname()
        local function note()
          client:chat "x"
          local file = assert(io.open(path, "a"))
          file:write(("%.17g\n"):format(backoff:delay(1)))
          file:close()
        end
        for _ = 1, 3 do
          assert(system.wait(child(note)) == 0)
        end
        note()
        local seen, count = {}, 0
        for line in io.lines(path) do
          assert(not seen[line], "the same random number twice")
          seen[line], count = true, count + 1
        end
        os.remove(path)
        for _, id in ipairs(p:counters("a").request_ids) do
          assert(not seen[id], "the same id twice")
          seen[id], count = true, count + 1
        end
        assert(count == 9, count)
      ]]
    end)

    it("keeps to its own files: the child's engine closes none of the parent's, nor of others", function()
      run [[
        local client = new { base_url = p.lines.a.url }
        assert(client:chat "x")
        local file = assert(io.open(arg[0], "r"))
        assert(system.wait(child(function()
          assert(client:chat "y")
          require("surefoot.core").engine():close()
          assert(file:seek "set" == 0 and file:read "*l")
        end)) == 0)
        assert(file:seek "set" == 0 and file:read "*l")
        assert(client:chat "z")
      ]]
    end)
  end)

  it("that starts others hands them no connections", function()
    p:profile("a", { fault = "hang" })
    run [[
      for _, url in ipairs { p.lines.a.url, p.lines.a.tls_url } do
        local client = new { base_url = url }
        surefoot.pollfd()
        local task = surefoot.spawn(function() client:chat "x" end)
        p:wait("a", function(c) surefoot.step() return c.in_flight == 1 end)
        local pipe = io.popen "ls -l /proc/self/fd && cat /proc/net/tcp"
        local listing = pipe:read "*a"
        pipe:close()
        assert(not listing:find "anon_inode", listing)
        for inode in listing:gmatch "socket:%[(%d+)%]" do -- libcurl's own, between its threads, may be there
          assert(not listing:find(" " .. inode .. " ", 1, true), listing)
        end
        task:cancel()
        task:wait()
        client:close()
        p:reset()
        p:profile("a", { fault = "hang" })
      end
    ]]
  end)

  it("that gets signals all the time loses no answer", function()
    p:profile("a", { delay = 0.05 })
    run [[
      local client = new { base_url = p.lines.a.url }
      assert(client:chat "warm")
      system.tick(0.001)
      for i = 1, 5 do
        assert(assert(client:chat("x" .. i)).text == "echo: x" .. i)
      end
      local requests = {}
      for i = 1, 50 do requests[i] = "x" .. i end
      local outcomes, summary = client:batch(requests)
      assert(summary.succeeded == 50, tostring(outcomes[1].error))
      local slept = surefoot.now()
      surefoot.sleep(0.1)
      slept = surefoot.now() - slept
      assert(slept >= 0.1 and slept < 0.5, slept)
      assert(system.tick(0) > 50)
    ]]
  end)

  it("whose peer resets while it sends lives on", function()
    run [[
      local listener = p:raw { { read_until_headers = true }, { reset = true } }
      local client = new { base_url = listener.url, retry = { max_attempts = 1 } }
      for _ = 1, 3 do
        local _, err = client:chat(("x"):rep(8000000))
        assert(err.kind == "network", tostring(err))
      end
      p.raw_server:stop()
    ]]
  end)

  it("is not stalled by a stalled name server", function()
    if env.sanitized then
      return -- two libraries that must both be loaded first
    end
    local slow = build.library "spec/integration/slow_names.c"
    local output = run([[
      local began = surefoot.now()
      local stuck = new {
        base_url = "https://api.slow.invalid/v1", timeout = { connect = 0.6 }, retry = { max_attempts = 1 },
      }
      local lively = new { base_url = p.lines.a.url }
      local err, took
      surefoot.run(function()
        local task = surefoot.spawn(function()
          local from = surefoot.now()
          err = select(2, stuck:chat "x")
          took = surefoot.now() - from
        end)
        local calls, worst = 0, 0
        while not task:done() do
          local result = assert(lively:chat "y")
          calls, worst = calls + 1, math.max(worst, result.latency)
        end
        assert(calls > 5 and worst < 0.5, calls .. " calls, the slowest in " .. worst)
      end)
      assert(err.kind == "timeout" and err.phase == "connect" and not err.sent, tostring(err))
      assert(took >= 0.6 and took < 1.2, took)
      stuck:close()
      require("surefoot.core").engine():close()
      print(surefoot.now() - began)
    ]], { env = { LD_PRELOAD = slow } })
    assert.is_true(tonumber(output) < 2, "took " .. output)
  end)

  describe("that ends in the midst of calls", function()
    local endings = {
      ["by os.exit"] = { "os.exit(3)", 3 },
      ["by os.exit, closing the state"] = { "os.exit(4, true)", 4 },
      ["at the end of the program"] = { "", 0 },
      ["after its client was dropped"] = { "client = nil collectgarbage()", 0 },
      ["after the engine was closed"] = { "require('surefoot.core').engine():close()", 0 },
      ["inside a task"] = { "surefoot.run(function() client:chat 'done' os.exit(5, true) end)", 5 },
    }
    for how, ending in pairs(endings) do
      it(how .. " ends well", function()
        p:profile("a", { by_model = { m = { fault = "hang" } } })
        p:profile("a", { fault = "hang" })
        run([[
          local client = new { base_url = p.lines.a.url }
          local other = new { base_url = p.lines.a.tls_url, http_version = "2" }
          surefoot.pollfd()
          for i = 1, 5 do
            surefoot.spawn(function() client:chat("x" .. i) end)
            surefoot.spawn(function() other:chat("x" .. i) end)
            surefoot.spawn(function() surefoot.sleep(100) end)
          end
          arrived(10)
          p:profile("a", {})
        ]] .. ending[1], { status = ending[2] })
      end)
    end
  end)

  for _, how in ipairs { "finish", "abandon" } do
    it("may hold two Lua states that both make calls (" .. how .. ")", function()
      if env.sanitized then
        return -- the host would have to be built with them, too
      end
      p:profile("a", { delay = 0.05 })
      local host = build.program "spec/integration/two_states.c"
      local result = env.run { "timeout", "20", host, p.lines.a.url, how }
      assert.same({ status = 0, stdout = "done\n", stderr = "" }, result)
      if how == "finish" then
        assert.equal(11, p:counters("a").requests)
      end
    end)
  end

  it("may load surefoot twice", function()
    run [[
      local client = new { base_url = p.lines.a.url }
      assert(client:chat "x")
      for name in pairs(package.loaded) do
        if name:find "^surefoot" then
          package.loaded[name] = nil
        end
      end
      local again = require "surefoot"
      assert(again ~= surefoot)
      local second = again.new { base_url = p.lines.a.url, api_key = "sk-test-0123456789", model = "m" }
      assert(second:chat "y")
      assert(client:chat "z")
      assert(p:counters("a").requests == 3)
    ]]
  end)

  it("may hold a thousand clients", function()
    run [[
      local clients = {}
      for i = 1, 1000 do
        clients[i] = new { base_url = p.lines[i % 2 == 0 and "a" or "b"].url, concurrency = { limit = 2 } }
      end
      local good = 0
      surefoot.run(function()
        for i = 1, 1000 do
          surefoot.spawn(function()
            if assert(clients[i]:chat("x" .. i)).text == "echo: x" .. i then
              good = good + 1
            end
          end)
          if i % 50 == 0 then surefoot.sleep(0.001) end
        end
      end)
      assert(good == 1000, good)
      for i = 1, 1000 do
        if i % 2 == 0 then
          clients[i]:close()
        end
        clients[i] = nil
      end
      collectgarbage()
      collectgarbage()
    ]]
    assert.same({ 500, 500 }, { p:counters("a").requests, p:counters("b").requests })
  end)
end)
