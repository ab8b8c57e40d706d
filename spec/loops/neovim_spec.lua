-- Calls in Neovim: coroutines wait by its loop and go on where its API is open; while the main thread waits, it turns.

local neovim = require "spec.loops.neovim_program"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("Neovim #once", function()
  local p, folder

  setup(function()
    p = provider.start { lines = { "a" } }
    folder = process.temp_dir "surefoot-neovim"
  end)

  teardown(function()
    p:stop()
    process.remove_dir(folder)
  end)

  before_each(function() p:reset() end)

  local function run(code, options)
    neovim.need()
    local report = neovim.run(folder, p.lines.a.url, code, options)
    assert.is_true(report.is_whole, report.stderr)
    assert.equal(0, report.status, report.stderr)
    return report
  end

  local function run_quietly(code)
    local report = run(code)
    assert.equal("", (report.messages:gsub("%s", "")))
    assert.equal("", report.stderr)
    return report
  end

  it("wakes coroutines in the order of their answers, where its API is open", function()
    p:profile("a", { by_model = { slow = { delay = 0.15 }, medium = { delay = 0.1 }, quick = { delay = 0.05 } } })
    local report = run_quietly [[
      local client = new()
      report.order, report.fast = {}, false
      watch_gaps()
      for _, model in ipairs { "slow", "medium", "quick" } do
        coroutine.wrap(function()
          local result = assert(client:chat { model = model, messages = { { role = "user", content = model } } })
          report.fast = report.fast or vim.in_fast_event()
          api.nvim_buf_set_lines(0, 0, 0, true, { result.text })
          if model == "slow" then
            report.lines, report.gap = api.nvim_buf_get_lines(0, 0, -1, true), gap
            finish()
          end
        end)()
      end
      report.library = package.loaded.luv == uv
    ]]
    assert.same({ "echo: slow", "echo: medium", "echo: quick", "" }, report.lines)
    assert.is_false(report.fast)
    assert.is_true(report.library)
    assert.is_true(report.gap < 100 * pace, report.gap)
  end)

  it("turns its loop while the main thread waits, and keeps what is scheduled for later", function()
    p:profile("a", { delay = 0.2 })
    local report = run_quietly [[
      local client, scheduled, ticks, woken = new(), false, 0, nil
      uv.new_timer():start(10, 10, function() ticks = ticks + 1 end)
      vim.schedule(function() scheduled = true end)
      coroutine.wrap(function() woken = assert(client:chat("other")).text end)()
      report.text = assert(client:chat "main").text
      report.ticks, report.scheduled, report.woken = ticks, scheduled, woken ~= nil
      report.ran = surefoot.run(function()
        local one = surefoot.spawn(function() return assert(client:chat "one").text end)
        return assert(client:chat "two").text .. one:wait() .. tostring(vim.in_fast_event())
      end)
      report.slept, report.both = surefoot.sleep(0.01), #surefoot.all {
        function() return client:chat "l" end, function() return client:chat "r" end,
      }
      local pieces = {}
      for chunk in assert(client:stream "in pieces"):chunks() do
        pieces[#pieces + 1] = chunk.text
      end
      report.pieces = table.concat(pieces)
      report.woken_by_then = woken ~= nil
      after(50, function()
        report.finally = woken
        finish()
      end)
    ]]
    assert.equal("echo: main", report.text)
    assert.is_true(report.ticks >= 10 / pace, report.ticks)
    assert.is_false(report.scheduled or report.woken or report.woken_by_then)
    assert.equal("echo: twoecho: onefalse", report.ran)
    assert.same({ true, 2, "echo: in pieces" }, { report.slept, report.both, report.pieces })
    assert.equal("echo: other", report.finally)
  end)

  it("refuses to wait in a fast event, but for coroutines that begin there", function()
    local report = run_quietly [[
      local client = new()
      uv.new_timer():start(0, 0, function()
        local result, err = client:chat "x"
        report.kind, report.message = err.kind, err.message
        report.throws = select(2, pcall(surefoot.sleep, 1))
        coroutine.wrap(function()
          report.began_fast = vim.in_fast_event()
          report.text = assert(client:chat "y").text
          report.went_on_fast = vim.in_fast_event()
          finish()
        end)()
      end)
    ]]
    assert.equal("invalid_request", report.kind)
    assert.matches("callback of libuv must not wait in Neovim", report.message)
    assert.matches("^surefoot.sleep: a callback of libuv must not wait in Neovim", report.throws)
    assert.same({ true, "echo: y", false }, { report.began_fast, report.text, report.went_on_fast })
  end)

  it("runs tasks of the main thread, of coroutines, and of callbacks", function()
    p:profile("a", { delay = 0.05 })
    local report = run_quietly [[
      local client, done = new(), 0
      report.texts = {}
      local function task(word)
        return surefoot.spawn(function()
          surefoot.sleep(0.01)
          local both = surefoot.all { function() return client:chat(word) end, function() return client:chat "r" end }
          report.texts[word] = both[1][1].text
          done = done + 1
          if done == 4 then
            finish()
          end
        end)
      end
      task "main"
      coroutine.wrap(function()
        task("coroutine"):wait()
        report.ran = surefoot.run(function() return client:chat("run").text end)
        task "after"
      end)()
      uv.new_timer():start(0, 0, function() task "callback" end)
      local cancelled = task "cancelled"
      cancelled:cancel()
    ]]
    assert.same({ main = "echo: main", coroutine = "echo: coroutine", after = "echo: after",
      callback = "echo: callback" }, report.texts)
    assert.equal("echo: run", report.ran)
  end)

  it("shows what coroutines throw, each, and goes on with the others", function()
    p:profile("a", { delay = 0.05 })
    local report = run [[
      local client = new()
      local function one(word, then_what)
        coroutine.wrap(function()
          assert(client:chat(word))
          then_what()
        end)()
      end
      one("a", function() error "the first" end)
      one("b", function() error "the second" end)
      one("c", function() after(100, finish) end)
      surefoot.spawn(function()
        assert(client:chat "d")
        error { "no text" }
      end)
    ]]
    assert.matches("Error executing vim.schedule lua callback: .-program.lua:%d+: the first", report.messages)
    assert.matches("Error executing vim.schedule lua callback: .-program.lua:%d+: the second", report.messages)
    assert.matches("Error executing vim.schedule lua callback: table: ", report.messages)
  end)

  it("throws on Ctrl-C while the main thread waits; coroutines wait on", function()
    p:profile("a", { by_model = { hangs = { fault = "hang" }, slow = { delay = 0.4 } } })
    local report = run(([[
      local words = { "nvim", "--embed", "--headless", "-n", "-u", "NONE", "-i", "NONE" }
      local channel = vim.fn.jobstart(words, { rpc = true })
      local function remote(code) return vim.rpcrequest(channel, "nvim_exec_lua", code, {}) end
      remote(%q)
      for _, call in ipairs { "client:chat(hangs)", "surefoot.run(function() client:chat(hangs) end)",
        "client:stream(hangs)" } do
        remote "coroutine.wrap(function() woken = assert(client:chat(slow)).text end)()"
        vim.rpcnotify(channel, "nvim_exec_lua", "ok, problem = pcall(function() " .. call .. " end) ended = true", {})
        vim.wait(150)
        vim.rpcrequest(channel, "nvim_get_api_info") -- its loop turns
        vim.rpcnotify(channel, "nvim_input", "<C-c>")
        report[call] = remote "return { tostring(ok), tostring(problem), tostring(woken) }"
        vim.wait(3000, function() return remote "return woken" ~= vim.NIL end)
        report.woken = remote "local text = woken woken = nil return text"
      end
      remote "for _ = 1, 3 do collectgarbage() end surefoot.step()"
      report.in_flight = remote "return client:stats().in_flight"
      report.usual = remote "return client:chat('well').text"
      vim.fn.jobstop(channel)
      finish()
    ]]):format [[
      package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path
      package.cpath = "./build/luajit/?.so;" .. package.cpath
      surefoot = require "surefoot"
      client = surefoot.new { base_url = os.getenv "SPEC_URL", api_key = os.getenv "SPEC_KEY", model = "m" }
      hangs = { model = "hangs", messages = { { role = "user", content = "x" } } }
      slow = { model = "slow", messages = { { role = "user", content = "x" } } }
    ]])
    for _, call in ipairs { "client:chat(hangs)", "surefoot.run(function() client:chat(hangs) end)",
      "client:stream(hangs)" } do
      assert.same({ "false", "Keyboard interrupt", "nil" }, report[call], call)
    end
    assert.equal("echo: x", report.woken)
    assert.equal("echo: well", report.usual)
    assert.equal(0, report.in_flight)
    assert(p:wait("a", function(c) return c.aborted == 3 end))
  end)

  it("does nothing while fifty calls wait", function()
    p:profile("a", { fault = "hang" })
    local report = run_quietly [[
      local client, canceller, over = new(), surefoot.canceller(), 0
      for i = 1, 50 do
        coroutine.wrap(function()
          client:chat("x", { cancel = canceller, deadline = 60 })
          over = over + 1
          if over == 50 then
            finish()
          end
        end)()
      end
      after(400, function() -- libcurl looks once more 200 ms after it began to connect
        local from = os.clock()
        after(500, function()
          report.cost = os.clock() - from
          canceller:cancel()
        end)
      end)
    ]]
    assert.is_true(report.cost < 0.02, ("%g s of CPU"):format(report.cost))
    assert(p:wait("a", function(c) return c.aborted == 50 end))
  end)

  it("makes a thousand calls, 32 at a time, and stays awake", function()
    local report = run_quietly [[
      local client, begun, done = new(), 0, 0
      watch_gaps()
      for _ = 1, 32 do
        coroutine.wrap(function()
          while begun < 1000 do
            begun = begun + 1
            local word = "x" .. begun
            assert(assert(client:chat(word)).text == "echo: " .. word)
            done = done + 1
          end
          if done == 1000 and not report.done then
            report.done, report.gap = done, gap
            finish()
          end
        end)()
      end
    ]]
    assert.equal(1000, report.done)
    assert.is_true(report.gap < 100 * pace, report.gap)
  end)

  it("quits at once in the midst of calls", function()
    p:profile("a", { fault = "hang" })
    local began = os.time()
    local report = run_quietly [[
      local client = new()
      for i = 1, 3 do
        coroutine.wrap(function() client:chat "x" end)()
      end
      after(100, finish)
    ]]
    assert.is_true(os.time() - began <= 3, report.stderr)
    assert(p:wait("a", function(c) return c.requests == 3 and c.in_flight == 0 end))
    assert.is_nil((process.read(folder .. "/nvim.log") or ""):match "[^\n]*uv_loop_close[^\n]*")
  end)
end)
