-- Batches in files that are refused, and every way in which one ends.
local binding = require "surefoot.binding"
local files = require "spec.lua.batch.files"
local process = require "spec.support.process"
local surefoot = require "surefoot"

local path, write, requests, simulated, run = files.path, files.write, files.requests, files.simulated, files.run
local outcomes, expected = files.outcomes, files.expected

describe("client:batch_file", function()
  before_each(files.begin)
  after_each(files.finish)

  describe("refuses", function()
    local function refused(options, client)
      local summary, err = run(client or simulated(), options)
      assert.is_nil(summary)
      assert.same({ "invalid_request", false }, { err.kind, err.sent })
      return err.message
    end

    it("an input that is none", function()
      assert.matches("in.jsonl: No such file", refused())
      assert.is_nil(process.read(path "out.jsonl"))
      assert.matches("not a regular file", refused { input = "/dev/zero" })
    end)

    it("an output that is somebody else's", function()
      write("in.jsonl", requests(1))
      write("out.jsonl", "my thesis\n")
      assert.matches("out.jsonl is not empty", refused())
      assert.equal("my thesis\n", process.read(path "out.jsonl"))
      assert.matches("is the input", refused { output = path "in.jsonl" })
      assert.matches("is the input", refused { output = path "new.jsonl", failed = path "in.jsonl" })
      assert.matches("/dev/null: not a regular file", refused { output = "/dev/null" })
      assert.matches("No such file", refused { output = path "no/where.jsonl" })
    end)

    it("an output of which nobody can tell whether it is still there", function()
      write("in.jsonl", requests(1))
      local open, asked = binding.file, 0
      finally(function() binding.file = open end)
      function binding.file(name, mode)
        if name == path "out.jsonl" and mode == "read" then
          asked = asked + 1
          assert(asked < 5, "it is asked for ever")
          return nil, "Too many open files"
        end
        return open(name, mode)
      end
      assert.matches("out.jsonl: Too many open files", refused())
    end)

    it("to go on with another input, or with one that changed", function()
      write("in.jsonl", requests(3))
      local client, asked = simulated()
      run(client)
      process.capture { "touch", "-d", "2001-01-01", path "in.jsonl" }
      assert.matches("was written to since", refused())
      write("in.jsonl", requests(5))
      assert.matches("bytes instead of", refused())
      local summary = assert(run(client, { accept_changed_input = true }))
      assert.same({ 3, 5, 5 }, { summary.earlier, summary.succeeded, #asked })
      assert.same(expected(5), outcomes "out.jsonl")
      write("in.jsonl", { '"something else"' })
      assert.matches("begins otherwise", refused { accept_changed_input = true })
      write("in.jsonl", requests(2))
      assert.matches("begins otherwise", refused { accept_changed_input = true })
      write("long.jsonl", { '"' .. ("x"):rep(70000) .. '"', '"2"', '"3"' })
      assert.is_true(run(client, { input = path "long.jsonl", output = path "o.jsonl" }).complete)
      write("long.jsonl", { '"' .. ("x"):rep(70000) .. '"' })
      assert.matches("was cut to 70003 bytes, but 70011 of it are done", refused { input = path "long.jsonl",
        output = path "o.jsonl", accept_changed_input = true })
    end)

    it("to go on where rows are gone, or not its own", function()
      write("in.jsonl", requests(3))
      local client = simulated()
      run(client)
      local text = process.read(path "out.jsonl")
      write("out.jsonl", "")
      assert.matches("has lost rows", refused())
      write("out.jsonl", text .. text:gsub("batch_req_%x+", "batch_req_00000000"))
      assert.matches("not written by this batch", refused())
      write("out.jsonl", text)
      write("out.jsonl.journal", "{}")
      assert.matches("no journal", refused())
      write("out.jsonl.journal", '{"version":1,"tag":"x","done":"","failures":""}')
      assert.matches("damaged", refused())
    end)

    it("rows that cannot be told apart, unless that is accepted", function()
      local list = requests(3)
      list[4], list[5], list[6] = '{"custom_id":"r2","prompt":"4"}', '{"prompt":"5","id":7}', '{"id":7,"prompt":"6"}'
      list[7] = requests(2)[2]
      write("in.jsonl", list)
      local client, asked = simulated()
      assert.matches('in.jsonl: rows have the same custom_id: "r2" in lines 2, 4 and 7; 7 in lines 5 and 6%. .*'
        .. "%(accept_repeated_ids%)$", refused(nil, client))
      assert.same({ 0 }, { #asked, process.read(path "out.jsonl"), process.read(path "out.jsonl.journal") })
      assert.equal(7, run(client, { accept_repeated_ids = true }).succeeded)
      write("in.jsonl", requests(2)[1] .. "\n" .. requests(2)[2])
      assert(run(client, { output = path "two.jsonl" }))
      write("in.jsonl", table.concat(list, "\n", 1, 4))
      local summary, err = run(client, { output = path "two.jsonl", accept_changed_input = true })
      assert.is_nil(summary)
      assert.matches('"r2" in lines 2 and 4', err.message)
    end)

    it("to write where another one does", function()
      write("in.jsonl", requests(3))
      local client = simulated()
      local message
      run(client, { on_progress = function()
        message = message or refused()
      end })
      assert.matches("another batch is writing it", message)
      assert.same(expected(3), outcomes "out.jsonl")
    end)

    it("what makes no sense, at the line of the caller", function()
      local client = simulated()
      for message, options in pairs {
        ["input: is required"] = { output = "x" }, ["output: is required"] = { input = "x" },
        ['outptu: unknown key; did you mean "output"?'] = { input = "x", output = "y", outptu = "z" },
        ["failed: is the output"] = { input = "x", output = "y", failed = "y" },
        ["idempotency_key"] = { input = "x", output = "y", idempotency_key = "z" },
        ["expected { input"] = 7,
      } do
        local ok, problem = pcall(function() client:batch_file(options) end)
        assert.is_false(ok)
        assert.matches("ends_spec.lua:%d+: client:batch_file: ", problem)
        assert(problem:find(message, 1, true), problem)
      end
    end)
  end)

  describe("ends", function()
    it("when it is stopped, with what is in flight", function()
      write("in.jsonl", requests(10))
      local stop = surefoot.canceller()
      local client, asked, _, sim = simulated(function(text)
        return { after = tonumber(text), text = text }
      end)
      local summary
      sim:spawn(function()
        summary = run(client, { concurrency = 4, stop = stop })
      end)
      sim:run(2.5)
      stop:cancel()
      sim:run()
      assert.same({ "stopped", false, 6, 6 }, { summary.ended, summary.complete, summary.succeeded, #asked })
      assert.equal(6 + 2, sim:now())
      assert.is_true(run(client).complete)
      assert.same(expected(10), outcomes "out.jsonl")
      assert.equal(10, #asked)
      assert.same({ "stopped", 0 }, { run(client, { stop = stop }).ended, client:stats().in_flight })
    end)

    it("with rows open that could not be sent before", function()
      write("in.jsonl", requests(10))
      local stop = surefoot.canceller()
      local client = simulated(function(text)
        return tonumber(text) > 4 and { fail = "connect" } or nil
      end, { retry = { max_attempts = 1 } })
      local summary = run(client, { concurrency = 3, stop = stop, give_up_after = 0, on_progress = function(p)
        if p.waits then
          stop:cancel()
        end
      end })
      assert.same({ "stopped", 4, 0, false }, { summary.ended, summary.succeeded, summary.failed, summary.complete })
    end)

    it("at once when it is cancelled, and its rows stay open", function()
      write("in.jsonl", requests(10))
      for _, way in ipairs { "canceller", "task" } do
        local cancel = surefoot.canceller()
        local client, _, _, sim = simulated()
        local summary
        local task = sim:spawn(function()
          summary = run(client, { concurrency = 4, cancel = cancel, output = path(way .. ".jsonl") })
        end)
        sim:run(1.5)
        if way == "task" then
          task:cancel()
        else
          cancel:cancel()
        end
        sim:run()
        assert.equal(1.5, sim:now())
        assert.same({ "cancelled", false, 4, 0 },
          { summary.ended, summary.complete, summary.succeeded, summary.failed })
        run(client, { output = path(way .. ".jsonl") })
        assert.same(expected(10), outcomes(way .. ".jsonl"))
      end
    end)

    it("when a hook fails, which is the caller's", function()
      write("in.jsonl", requests(50))
      local client, asked = simulated()
      local was_thrown = false
      local ok, problem = pcall(run, client, { concurrency = 5, on_progress = function()
        if not was_thrown then
          was_thrown = true
          error("mine", 0)
        end
      end })
      assert.same({ false, "mine", 5 }, { ok, problem, #asked })
      assert.is_true(run(client).complete)
      assert.same(expected(50), outcomes "out.jsonl")
      ok, problem = pcall(run, client, { output = path "o.jsonl", validate = function() error("mine", 0) end })
      assert.same({ false, "mine" }, { ok, problem })
    end)

    it("when nothing gets through, and leaves the rows open", function()
      write("in.jsonl", requests(100))
      local is_refused = true
      local client, asked = simulated(function(text)
        return is_refused and tonumber(text) > 30 and { status = 401, body = { error = { message = "key" } } } or nil
      end)
      local summary = run(client, { concurrency = 5 })
      assert.same({ "gave_up", 30, 0, false }, { summary.ended, summary.succeeded, summary.failed, summary.complete })
      assert.is_false(summary.is_exact)
      assert.is_true(summary.total > 80 and summary.total < 130, "an estimate of " .. summary.total)
      assert.equal("unauthorized", summary.reason.kind)
      assert.is_true(#asked <= 30 + 20 + 5)
      assert.is_nil(process.read(path "out.failed.jsonl"))
      is_refused = false
      assert.is_true(run(client).complete)
      assert.same(expected(100), outcomes "out.jsonl")
    end)

    it("when nothing could be sent for so long, with all rows open", function()
      write("in.jsonl", requests(40))
      local client, _, _, sim = simulated(function() return { fail = "connect" } end)
      local waits = 0
      local function on_progress(p)
        waits = waits + (p.waits and p.error.kind == "network" and 1 or 0)
      end
      local summary = run(client, { concurrency = 4, patience = 20, on_progress = on_progress })
      assert.same({ "gave_up", 0, 0, 20, 20, "network" }, { summary.ended, summary.succeeded, summary.failed,
        summary.silence, sim:now(), summary.reason.kind })
      assert.is_true(waits >= 3, "told " .. waits .. " times")
      client, _, _, sim = simulated(function(text, _, _, now)
        return now >= 5 and now < 200 and { fail = "connect" } or { after = 1, text = text }
      end)
      summary = run(client, { concurrency = 4, patience = 20 })
      assert.same({ "gave_up", 20, 0 }, { summary.ended, summary.succeeded, summary.failed })
      assert.is_true(sim:now() >= 25 and sim:now() < 26, "by " .. sim:now())
      assert.is_true(run(client, { patience = 300 }).complete)
      assert.same(expected(40), outcomes "out.jsonl")
    end)

    it("never for patience with what is out, or waits for its turn", function()
      write("in.jsonl", requests(4))
      local client, _, _, sim = simulated(function(text)
        return text == "1" and { after = 100, text = text } or { fail = "connect" }
      end, { retry = { max_attempts = 100 } })
      local summary = run(client, { patience = 5 })
      assert.same({ "gave_up", 1, true }, { summary.ended, summary.succeeded, sim:now() >= 100 })
      local slow = simulated(nil, { rate = { requests_per_second = 0.05, burst = 1 } })
      summary = run(slow, { patience = 5, output = path "slow.jsonl" })
      assert.same({ "done", 4 }, { summary.ended, summary.succeeded })
    end)

    it("soon when it is stopped while all wait", function()
      write("in.jsonl", requests(10))
      for _, way in ipairs { "calls", "rows", "turn", "shared" } do
        local stop = surefoot.canceller()
        local client, _, _, sim = simulated(function(text)
          return (way == "turn" or text == "1") and { after = 1, text = text } or { fail = "connect" }
        end, { coalesce = way == "shared" and { sampled = true } or nil,
          retry = way == "rows" and { max_attempts = 1 } or nil,
          rate = way == "turn" and { requests_per_second = 0.01, burst = 1 } or nil })
        local summary
        sim:spawn(function()
          summary = run(client, { concurrency = 4, stop = stop, give_up_after = 0, output = path(way .. ".jsonl") })
        end)
        sim:run(20)
        stop:cancel()
        sim:run()
        assert.equal("stopped", summary.ended)
        assert.is_true(sim:now() <= 21, way .. ": " .. sim:now())
        assert.equal(0, client:stats().in_flight)
      end
    end)

    it("with failures where others get through between them, or none is left, or it shall never give up", function()
      local function script(text)
        return tonumber(text) % 16 > 0 and { status = 401, body = { error = { message = "key" } } } or nil
      end
      local function ends(count, options)
        write("in.jsonl", requests(count))
        options.concurrency, options.output = 1, path(count .. ".jsonl")
        local client = simulated(script)
        local summary = run(client, options)
        return { summary.ended, summary.succeeded, summary.failed, summary.complete }
      end
      assert.same({ "done", 3, 47, true }, ends(50, {}))
      assert.same({ "done", 0, 15, true }, ends(15, {}))
      assert.same({ "gave_up", 0, 0, false }, ends(20, { give_up_after = 15 }))
      assert.same({ "done", 2, 38, true }, ends(40, { give_up_after = 0 }))
    end)
  end)
end)
