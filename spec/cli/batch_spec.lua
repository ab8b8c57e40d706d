-- surefoot batch as a process: killed, interrupted, out of room; and what it shows.

local env = require "spec.support.env"
local json = require "surefoot.json"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

describe("surefoot batch #once", function()
  local p, dir

  setup(function()
    p = provider.start { lines = { "a" } }
  end)

  teardown(function()
    p:stop()
  end)

  before_each(function()
    dir = process.temp_dir "batch"
    p:reset()
    process.write(dir .. "/main.lua", 'os.exit(require("surefoot.cli").main(arg), true)')
    process.write(dir .. "/config.lua", ("return { base_url = %q, api_key = 'sk-test-0123456789', model = 'm', "
      .. "concurrency = { limit = 10 }, prices = { m = { output = 1e6 } } }"):format(p.lines.a.url))
  end)

  after_each(function()
    process.remove_dir(dir)
  end)

  local function path(name)
    return dir .. "/" .. name
  end

  -- Rows of which every fiftieth asks for a model that refuses.
  local function write_input(count)
    p:profile("a", { delay = 0.01 * pace, by_model = { bad = { status = { code = 400 } } } })
    local lines = {}
    for i = 1, count do
      lines[i] = ('{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","messages":'
        .. '[{"role":"user","content":"question %d"}]}}\n'):format(i, i % 50 == 7 and "bad" or "m", i)
    end
    process.write(path "in.jsonl", table.concat(lines))
  end

  local function words(...)
    return { env.lua, "-l", "spec.helper", path "main.lua", "batch", path "in.jsonl", "-o", path "out.jsonl",
      "--config", path "config.lua", ... }
  end

  local function run(...)
    return env.run(words(...))
  end

  -- Begins one; its exit code will be in the file "code".
  local function begin(...)
    local line = process.command(words(...)) .. " >%s 2>%s & echo $! >%s; wait $!; echo $? >%s"
    process.spawn { "sh", "-c", line:format(path "stdout", path "stderr", path "pid", path "code") }
    return process.wait_for(function()
      return tonumber((process.read(path "pid") or ""):match "%d+")
    end)
  end

  local function ended()
    return process.wait_for(function()
      return tonumber((process.read(path "code") or ""):match "%d+")
    end, 30)
  end

  local function lines_in(name)
    return select(2, (process.read(path(name)) or ""):gsub("\n", ""))
  end

  -- Each row of the input must be in one of the files, once, with its own answer.
  local function check_rows(count)
    local found = {}
    for _, name in ipairs { "out.jsonl", "out.failed.jsonl" } do
      for line in (process.read(path(name)) or ""):gmatch "[^\n]*\n?" do
        local row = line ~= "" and assert(json.decode(line), line)
        if row then
          assert.is_nil(found[row.custom_id], row.custom_id .. " is there twice")
          found[row.custom_id] = name == "out.jsonl" and row.response.body.choices[1].message.content or row.error.code
        end
      end
    end
    for i = 1, count do
      assert.equal(i % 50 == 7 and "invalid_request" or "echo: question " .. i, found["r" .. i], "row " .. i)
      found["r" .. i] = nil
    end
    assert.same({}, found)
  end

  it("loses nothing when it is killed, and asks twice only what was in flight", function()
    write_input(300)
    p:profile("a", { delay = 0.04 * pace, by_model = { bad = { status = { code = 400 } } } })
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 3 do
      local enough = lines_in "out.jsonl" + math.random(5, 40)
      local pid = begin()
      assert(process.wait_for(function() return lines_in "out.jsonl" >= enough end, 30), "it does not go on")
      process.signal(pid, "KILL")
      assert.equal(137, ended())
      os.remove(path "code")
      os.remove(path "pid")
    end
    local done = lines_in "out.jsonl" + lines_in "out.failed.jsonl"
    assert.is_true(done < 300, "it was over before it was killed")
    local result = run "--json"
    assert.equal(1, result.status, result.stderr)
    local summary = json.decode(result.stdout)
    assert.same({ true, 300, 294, 6 }, { summary.complete, summary.total, summary.succeeded, summary.failed })
    check_rows(300)
    local asked, twice = {}, 0
    for _, key in ipairs(p:counters("a").idempotency_keys) do
      twice, asked[key] = twice + (asked[key] and 1 or 0), true
    end
    assert.is_true(twice <= 3 * 10, ("%d asked twice (seed %d)"):format(twice, seed))
  end)

  it("ends with what is in flight on Ctrl-C, at once on the second, and goes on", function()
    write_input(200)
    p:profile("a", { delay = 0.05 * pace, by_model = { bad = { status = { code = 400 } } } })
    local pid = begin "--json"
    assert(process.wait_for(function() return lines_in "out.jsonl" >= 20 end, 30))
    process.signal(pid, "INT")
    assert.equal(130, ended())
    local summary = json.decode(process.read(path "stdout"))
    assert.same({ "stopped", false }, { summary.ended, summary.complete })
    assert.equal(summary.succeeded + summary.failed, p:counters("a").requests)
    assert.matches("finishing", process.read(path "stderr"))

    p:profile("a", { fault = "hang" })
    local before = p:counters("a").requests
    os.remove(path "code")
    os.remove(path "pid")
    pid = begin()
    assert(p:wait("a", function(c) return c.requests == before + 10 end, 30))
    process.signal(pid, "INT")
    assert(process.wait_for(function() return (process.read(path "stderr") or ""):find "finishing" end, 10))
    assert.is_nil(process.read(path "code"))
    process.signal(pid, "INT")
    assert.equal(130, ended())
    assert.matches("Cancelled; the same command goes on", process.read(path "stdout"))
    assert.equal(summary.succeeded, lines_in "out.jsonl")

    write_input(200)
    p:profile("a", { by_model = { bad = { status = { code = 400 } } } })
    local result = run()
    assert.matches("was written to since", result.stderr)
    assert.matches("%-%-accept%-changed%-input", result.stderr)
    assert.equal(2, result.status)
    assert.equal(1, run("--accept-changed-input").status)
    check_rows(200)
  end)

  it("tells by its exit code how it went", function()
    local result = run()
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches("surefoot: .*in.jsonl: No such file", result.stderr)
    write_input(60)
    result = run("--give-up-after", "0.5")
    assert.equal(2, result.status)
    assert.matches("surefoot: %-%-give%-up%-after: expected a whole number", result.stderr)
    result = run()
    assert.equal(1, result.status)
    assert.matches("58 rows answered, 2 failed\n60 rows in .* tokens, %$%d+%.%d+\n"
      .. "Failures of this run: 2 invalid_request\nWhat failed is in %S+out.failed.jsonl; %-%-retry%-failed",
      result.stdout)
    p:profile("a", {})
    result = run "--retry-failed"
    assert.equal(0, result.status)
    assert.matches("60 rows answered, 0 failed %(58 before this run%)\n2 rows in", result.stdout)
    p:profile("a", { bad_keys = { ["sk-test-0123456789"] = { code = 401 } } })
    result = run("-o", path "other.jsonl")
    assert.equal(1, result.status)
    assert.matches("gave up, since one row after the other failed: unauthorized", result.stderr)
    assert.is_nil(result.stderr:find("sk-test", 1, true))
  end)

  it("leaves whole rows where there is no more room, and goes on when there is", function()
    write_input(100)
    local result = env.run("trap '' XFSZ; ulimit -f 20; exec " .. process.command(words()),
      { env = { ASAN_OPTIONS = "detect_leaks=0" } })
    assert.equal(1, result.status)
    assert.matches("surefoot: .*out.jsonl: File too large", result.stderr)
    assert.matches("rows answered, %d failed, a?b?o?u?t? ?%d[%d,]* open", result.stdout)
    assert.matches("\n$", process.read(path "out.jsonl"))
    assert.is_true(lines_in "out.jsonl" > 10)
    assert.equal(1, run().status)
    check_rows(100)
  end)

  it("leaves the files to the one that has them", function()
    write_input(100)
    p:profile("a", { fault = "hang" })
    local pid = begin()
    assert(p:wait("a", function(c) return c.requests == 10 end, 30))
    local result = run()
    assert.equal(2, result.status)
    assert.matches("out.jsonl: another batch is writing it", result.stderr)
    process.signal(pid, "KILL")
    ended()
    write_input(100)
    assert.equal(1, run("--accept-changed-input").status)
    check_rows(100)
  end)

  it("gives up after its patience where no line can be reached, and leaves all for the next time", function()
    write_input(30)
    local result = run("--base-url", "http://127.0.0.1:1", "--patience", "1")
    assert.equal(1, result.status, result.stdout)
    assert.matches("^%-%-patience 1%.0 s is shorter than a circuit stays open %(5%.0 s, breaker%.recovery_timeout%): "
      .. "when all are, the batch gives up before a line is tried again\n", result.stderr)
    assert.matches("\nsurefoot: gave up, since no row could be sent for %d+%.?%d* s %(%-%-patience%): network: ",
      result.stderr)
    assert.matches("^0 rows answered, 0 failed, about 3%d open\n$", result.stdout)
    result = run("--patience", "6")
    assert.same({ 1, "" }, { result.status, result.stderr })
    check_rows(30)
  end)

  it("ends on Ctrl-C while all rows wait", function()
    write_input(30)
    local pid = begin("--base-url", "http://127.0.0.1:1")
    assert(process.wait_for(function() return process.read(path "out.jsonl.journal") end, 20))
    process.signal(pid, "INT")
    assert.equal(130, ended())
    assert.matches("Stopped; the same command goes on", process.read(path "stdout"))
  end)

  it("shows a bar on a terminal", function()
    env.need("tmux", "tmux")
    write_input(100)
    p:profile("a", { delay = 0.05 * pace })
    local socket = path "tmux"
    local command = process.command(words()) .. "; echo code $?; sleep 60"
    finally(function()
      process.capture { "tmux", "-S", socket, "kill-server" }
    end)
    process.capture { "tmux", "-S", socket, "-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "20", "-c", ".",
      "LC_ALL=C " .. command }
    local function screen()
      return (process.capture { "tmux", "-S", socket, "capture-pane", "-p" })
    end
    local shown = process.wait_for(function()
      local text = screen()
      return text:find "tokens" and text
    end, 20)
    assert.matches("^%[#*%.+%] +%d+ %%  %d+ of ~?%d+, [^\n]*%d tokens, %$%d", shown or screen())
    process.capture { "tmux", "-S", socket, "send-keys", "C-c" }
    assert(process.wait_for(function() return screen():find "code 130" end, 20), screen())
    assert.is_nil(screen():find("%", 1, true), "the bar is still there")
    assert.matches("Stopped; the same command goes on where it was.", screen())
  end)
end)

describe("the display of surefoot batch", function()
  local batch = require "surefoot.cli.batch"
  local terminals = require "surefoot.cli.terminal"

  -- What is written while rows are done: each state is { seconds to wait, done, more }.
  local function shown(is_tty, states)
    local out, err = io.tmpfile(), io.tmpfile()
    local terminal = terminals.new(out, err, { error_is_tty = is_tty, width = 100, environment = function(name)
      return name == "NO_COLOR" and "1" or nil
    end })
    local sim = surefoot.simulate { seed = 1, endpoints = { a = function() end } }
    sim:spawn(function()
      local display = batch.display(terminal)
      display:draw()
      for _, state in ipairs(states) do
        surefoot.sleep(state[1])
        local progress = state[2] and { done = state[2], total = 12000, is_exact = false, in_flight = 3, tokens = 34567,
          cost = 0, failed = 0 }
        for key, value in pairs(state[3] or {}) do
          progress[key] = value
        end
        display.latest = progress
        display:draw()
      end
    end)
    sim:run()
    err:seek "set"
    local text = err:read "*a"
    out:close()
    err:close()
    return text
  end

  it("is a line every ten seconds where there is no terminal", function()
    local states = {}
    for second = 1, 25 do
      states[second] = { 1, second * 100 }
    end
    assert.equal("1,000 of ~12,000, 100/s, 1 min 50 s left, 35k tokens\n"
      .. "2,000 of ~12,000, 100/s, 1 min 40 s left, 35k tokens\n", shown(false, states))
  end)

  it("says that there is no answer yet", function()
    assert.equal("no answer yet, 10 s\n0 of ~12,000, 35k tokens\n", shown(false, { { 10 }, { 10, 0 } }))
    assert.matches("no answer yet, 3%.0 s$", (shown(true, { { 3 } })))
  end)

  it("says what fails, what it costs, and why nothing moves", function()
    assert.equal("1,000 of 12,000, 7 failed, 35k tokens, $0.0123\n", shown(false, { { 10, 1000, {
      is_exact = true, failed = 7, cost = 0.01234 } } }))
    assert.equal("10 of ~12,000, waiting: circuit_open, 2.5M tokens\n", shown(false, { { 10, 10, {
      waits = true, error = { kind = "circuit_open" }, tokens = 2.5e6 } } }))
  end)

  it("is a bar on a terminal", function()
    assert.matches("%[#+%.+%]  25 %%  3,000 of ~12,000, 35k tokens$", (shown(true, { { 1, 3000 } })))
    assert.matches("%[#+%] 100 %%  12,000 of ~12,000, 9000/s, 35k tokens$",
      (shown(true, { { 1, 3000 }, { 1, 12000 } })))
  end)
end)
