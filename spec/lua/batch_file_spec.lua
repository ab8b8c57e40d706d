local json = require "surefoot.json"
local process = require "spec.support.process"
local surefoot = require "surefoot"

describe("client:batch_file", function()
  local dir

  before_each(function()
    dir = process.temp_dir "batch"
  end)

  after_each(function()
    process.remove_dir(dir)
  end)

  local function path(name)
    return dir .. "/" .. name
  end

  local function write(name, lines)
    process.write(path(name), type(lines) == "table" and table.concat(lines, "\n") .. "\n" or lines)
  end

  -- Requests that say "1", "2" ... and are answered with the same.
  local function requests(count)
    local lines = {}
    for i = 1, count do
      lines[i] = ('{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"messages":'
        .. '[{"role":"user","content":"%d"}]}}'):format(i, i)
    end
    return lines
  end

  local function said(request)
    return request.json.messages[1].content
  end

  -- A client whose requests are answered by script(text, number, request, now); what was asked, and its keys.
  local function simulated(script, configuration)
    local asked, keys = {}, {}
    local sim = surefoot.simulate { seed = 5, endpoints = { a = function(n, request, now)
      local text = said(request)
      asked[#asked + 1] = text
      keys[text] = keys[text] or {}
      table.insert(keys[text], request.headers["idempotency-key"])
      return script and script(text, n, request, now) or { after = 1, text = text }
    end } }
    return sim:client(configuration), asked, keys, sim
  end

  local function run(client, options)
    local all = { input = path "in.jsonl", output = path "out.jsonl" }
    for key, value in pairs(options or {}) do
      all[key] = value
    end
    return client:batch_file(all)
  end

  local function rows(name)
    local list = {}
    for line in (process.read(path(name)) or ""):gmatch "[^\n]*\n" do
      list[#list + 1] = assert(json.decode(line))
    end
    return list
  end

  -- custom_id -> what it was answered, or its error's code; no row may be there twice.
  local function outcomes(...)
    local found = {}
    for _, name in ipairs { ... } do
      for _, row in ipairs(rows(name)) do
        assert.is_nil(found[row.custom_id], row.custom_id .. " is there twice")
        found[row.custom_id] = row.error ~= json.null and row.error.code or row.response.body.choices[1].message.content
      end
    end
    return found
  end

  local function expected(count)
    local list = {}
    for i = 1, count do
      list["r" .. i] = tostring(i)
    end
    return list
  end

  -- The files as a process would leave them that is killed now, in another folder.
  local function snapshot(to)
    process.capture(("mkdir -p %s && cp -p %s/*.jsonl* %s"):format(path(to), dir, path(to)))
  end

  local function in_folder(name)
    return { input = path(name .. "/in.jsonl"), output = path(name .. "/out.jsonl") }
  end

  describe("reads and writes", function()
    it("OpenAI's batch format", function()
      write("in.jsonl", requests(2))
      local client = simulated()
      local summary = assert(run(client))
      assert.same({ true, 2, 2, 0, "done" },
        { summary.complete, summary.total, summary.succeeded, summary.failed, summary.ended })
      local row = rows("out.jsonl")[1]
      assert.matches("^batch_req_%x+_1$", row.id)
      assert.equal("r1", row.custom_id)
      assert.equal(json.null, row.error)
      assert.same({ 200, "string" }, { row.response.status_code, type(row.response.request_id) })
      assert.equal("chat.completion", row.response.body.object)
      assert.is_nil(process.read(path "out.failed.jsonl"))
    end)

    it("requests, prompts and texts, with the line's number as their id", function()
      write("in.jsonl", '\239\187\191{"messages":[{"role":"user","content":"1"}],"temperature":0.5}\r\n\n'
        .. '{"prompt":"3","id":7}\n"4"\n  \n{"prompt":"last","custom_id":null}')
      local bodies = {}
      local client = simulated(function(text, _, request) bodies[text] = request.json end)
      local summary = run(client)
      assert.same({ 4, 4 }, { summary.total, summary.succeeded })
      assert.same({ ["1"] = "1", [7] = "3", ["4"] = "4", ["6"] = "last" }, outcomes "out.jsonl")
      assert.equal(0.5, bodies["1"].temperature)
      assert.is_nil(bodies["3"].id)
      assert.is_nil(bodies["3"].prompt)
    end)

    it("what failed, with its request, as an input", function()
      write("in.jsonl", { requests(1)[1], "no json", '{"custom_id":"x","url":"/v1/images","body":{}}',
        '{"custom_id":"y","method":"GET","url":"/v1/chat/completions","body":{}}', "[]",
        '{"custom_id":"bad","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"bad"}]}}' })
      local good = false
      local client, asked = simulated(function(text)
        return text == "bad" and not good and { status = 400, body = { error = { message = "too bad" } } } or nil
      end)
      local summary = run(client)
      assert.same({ 6, 1, 5, { invalid_request = 5 } },
        { summary.total, summary.succeeded, summary.failed, summary.errors })
      local by_id = {}
      for _, row in ipairs(rows "out.failed.jsonl") do
        by_id[row.custom_id] = row
      end
      assert.equal("no json", by_id["2"].line)
      assert.equal(json.null, by_id["2"].response)
      assert.matches("no JSON", by_id["2"].error.message)
      assert.matches("/v1/images", by_id.x.error.message)
      assert.matches("POST", by_id.y.error.message)
      assert.matches("expected { custom_id", by_id["5"].error.message)
      assert.same({ 400, "too bad" }, { by_id.bad.response.status_code, by_id.bad.response.body.error.message })
      assert.equal("bad", by_id.bad.body.messages[1].content)
      good = true
      summary = run(client, { input = path "out.failed.jsonl", output = path "again.jsonl" })
      assert.same({ 5, 1, 4 }, { summary.total, summary.succeeded, summary.failed })
      assert.same({ bad = "bad" }, outcomes "again.jsonl")
      assert.equal("no json", rows("again.failed.jsonl")[1].line)
      assert.same({ "1", "bad", "bad" }, asked)
    end)

    it("embeddings and responses", function()
      write("in.jsonl", { '{"custom_id":"e","url":"/v1/embeddings","body":{"model":"m","input":["a","b"]}}',
        '{"custom_id":"r","url":"/v1/responses","body":{"model":"m","input":"hi","tools":[{"type":"web_search"}]}}' })
      local seen = {}
      local sim = surefoot.simulate { seed = 1, endpoints = { a = function(_, request)
        seen[request.path] = request.json
        if request.path == "/v1/embeddings" then
          return { body = { object = "list", model = "m", usage = { prompt_tokens = 4, total_tokens = 4 },
            data = { { index = 0, embedding = { 1.5 } }, { index = 1, embedding = { 2.5 } } } } }
        end
        return { body = { id = "resp_1", object = "response", status = "completed", model = "big-m", output = { {
          type = "message", role = "assistant", content = { { type = "output_text", text = "hello" } } } },
          usage = { input_tokens = 3, output_tokens = 2, total_tokens = 5 } } }
      end } }
      local client = sim:client { endpoints = { { name = "a", models = { m = "big-m" } } } }
      local summary = run(client)
      assert.same({ 2, 9 }, { summary.succeeded, summary.tokens })
      local by_id = {}
      for _, row in ipairs(rows "out.jsonl") do
        by_id[row.custom_id] = row.response.body
      end
      assert.equal(2.5, by_id.e.data[2].embedding[1])
      assert.equal("hello", by_id.r.output[1].content[1].text)
      assert.same({ "big-m", "hi", "web_search" }, { seen["/v1/responses"].model, seen["/v1/responses"].input,
        seen["/v1/responses"].tools[1].type })
    end)

    it("answers of other providers in OpenAI's shape", function()
      write("in.jsonl", { requests(1)[1],
        '{"custom_id":"r","url":"/v1/responses","body":{"input":"hi"}}' })
      local sim = surefoot.simulate { seed = 1, endpoints = { a = function()
        return { body = { id = "msg_1", type = "message", role = "assistant", model = "c", stop_reason = "end_turn",
          content = { { type = "text", text = "bonjour" } }, usage = { input_tokens = 1, output_tokens = 2 } } }
      end } }
      local client = sim:client { endpoints = { { name = "a", provider = "anthropic" } } }
      local summary = run(client)
      assert.same({ 1, 1 }, { summary.succeeded, summary.failed })
      local body = rows("out.jsonl")[1].response.body
      assert.same({ "chat.completion", "bonjour", "stop", 3 }, { body.object, body.choices[1].message.content,
        body.choices[1].finish_reason, body.usage.total_tokens })
      assert.matches("Responses API", rows("out.failed.jsonl")[1].error.message)
    end)

    it("every answer as it came, on one line and readable", function()
      write("in.jsonl", requests(1))
      local body = '{\r\n  "id": "x", "big": 12345678901234567890, "list": [], "bad": "\255\254",\n "ok": "\195\164", '
        .. '"choices": [{"index": 0, "message": {"role": "assistant", "content": "1"}, "finish_reason": "stop"}]\n}'
      local client = simulated(function() return { body = body } end)
      run(client)
      local text = process.read(path "out.jsonl")
      assert.matches('"big": 12345678901234567890, "list": %[%], "bad": "\239\191\189\239\191\189", "ok": "\195\164"',
        (text:gsub("  +", " ")))
      assert.equal(1, select(2, text:gsub("\n", "")))
    end)
  end)

  describe("goes on", function()
    it("after a kill at any moment, with nothing lost, and nothing asked twice but what was in flight", function()
      write("in.jsonl", requests(12))
      local function script(text)
        return text == "5" and { status = 400, body = { error = { message = "no" } } } or nil
      end
      local client, _, keys = simulated(script)
      run(client, { concurrency = 3, on_progress = function(p)
        snapshot("after" .. p.done)
      end })
      local whole = expected(12)
      whole.r5 = "invalid_request"
      assert.same(whole, outcomes("out.jsonl", "out.failed.jsonl"))
      for done = 1, 12 do
        local folder = "after" .. done
        local other, asked, others_keys = simulated(script)
        local options = in_folder(folder)
        if done % 2 == 0 then -- in the middle of a row
          local file = path(folder .. "/out.jsonl")
          process.write(file, process.read(file) .. '{"id":"batch_req_0123')
        end
        local summary = run(other, options)
        assert.same({ done, 12 - done, true }, { summary.earlier, #asked, summary.complete })
        assert.same(whole, outcomes(folder .. "/out.jsonl", folder .. "/out.failed.jsonl"))
        for _, text in ipairs(asked) do -- a provider that knows the key again does not do it twice
          assert.equal(keys[text][1], others_keys[text][1])
        end
      end
    end)

    it("from a checkpoint, which need not be there", function()
      local lines = requests(40)
      table.insert(lines, 1, "")
      table.insert(lines, 20, "")
      write("in.jsonl", lines)
      local client = simulated(function(text)
        return { after = 10, text = text }
      end)
      local places = {}
      run(client, { concurrency = 2, on_progress = function(p)
        snapshot("at" .. p.done)
        places[p.done] = json.decode(process.read(path "out.jsonl.journal")).place.line
      end })
      assert.equal(0, places[2])
      assert.is_true(places[20] > 8)
      assert.is_true(places[40] > places[20])
      local other, asked = simulated()
      local summary = run(other, in_folder "at20")
      assert.same({ 20, 20, 40 }, { #asked, summary.earlier, summary.total })
      assert.same(expected(40), outcomes "at20/out.jsonl")
    end)

    it("after a power cut that left zeros behind", function()
      write("in.jsonl", requests(6))
      local client = simulated()
      run(client, { concurrency = 1, on_progress = function(p)
        if p.done == 3 then
          snapshot "cut"
        end
      end })
      local file = path "cut/out.jsonl"
      process.write(file, process.read(file) .. ("\0"):rep(500) .. 'end of a row"}\n{"id":"batch')
      local other, asked = simulated()
      assert.equal(3, run(other, in_folder "cut").earlier)
      assert.same({ "4", "5", "6" }, asked)
      assert.same(expected(6), outcomes "cut/out.jsonl")
    end)

    it("where nothing is left to do, and asks nothing", function()
      write("in.jsonl", requests(5))
      local client, asked = simulated()
      run(client)
      local before = process.read(path "out.jsonl")
      local summary = run(client)
      assert.same({ true, 5, 5, 5, 5 },
        { summary.complete, summary.earlier, summary.succeeded, summary.total, #asked })
      assert.equal(before, process.read(path "out.jsonl"))
    end)

    it("with what failed, where that is wanted", function()
      write("in.jsonl", requests(9))
      local bad = { ["2"] = true, ["3"] = true, ["8"] = true }
      local client, asked, keys = simulated(function(text)
        return bad[text] and { status = 400, body = { error = { message = "no" } } } or nil
      end)
      assert.equal(3, run(client).failed)
      assert.equal(3, run(client).failed)
      assert.equal(9, #asked)
      bad = { ["3"] = true }
      local summary = run(client, { retry_failed = true })
      assert.same({ 6, 8, 1, 9, true, 12 },
        { summary.earlier, summary.succeeded, summary.failed, summary.total, summary.complete, #asked })
      assert.same({ "r3" }, { rows("out.failed.jsonl")[1].custom_id, rows("out.failed.jsonl")[2] })
      assert.is_true(keys["2"][1] ~= keys["2"][2], "a provider that remembers the failure would repeat it")
      bad = {}
      assert.equal(0, run(client, { retry_failed = true }).failed)
      assert.is_nil(process.read(path "out.failed.jsonl"))
      assert.same(expected(9), outcomes "out.jsonl")
    end)

    it("after a kill while what failed is asked again", function()
      write("in.jsonl", requests(9))
      local is_bad = true
      local function script(text)
        return is_bad and tonumber(text) > 4 and { status = 400, body = { error = { message = "no" } } } or nil
      end
      local client = simulated(script)
      run(client)
      is_bad = false
      run(client, { retry_failed = true, concurrency = 1, on_progress = function(p)
        if p.done == 6 then
          snapshot "killed"
        end
      end })
      local other, asked = simulated(script)
      run(other, in_folder "killed")
      assert.same({ "7", "8", "9" }, asked)
      assert.same(expected(9), outcomes("killed/out.jsonl", "killed/out.failed.jsonl"))
    end)
  end)

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
        ["unknown key"] = { input = "x", output = "y", outptu = "z" },
        ["failed: is the output"] = { input = "x", output = "y", failed = "y" },
        ["idempotency_key"] = { input = "x", output = "y", idempotency_key = "z" },
        ["expected { input"] = 7,
      } do
        local ok, problem = pcall(function() client:batch_file(options) end)
        assert.is_false(ok)
        assert.matches("batch_file_spec.lua:%d+: client:batch_file: ", problem)
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
      assert.equal("unauthorized", summary.reason.kind)
      assert.is_true(#asked <= 30 + 20 + 5)
      assert.is_nil(process.read(path "out.failed.jsonl"))
      is_refused = false
      assert.is_true(run(client).complete)
      assert.same(expected(100), outcomes "out.jsonl")
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

  it("waits with what could not be sent, as long as others got through a short time ago", function()
    write("in.jsonl", requests(60))
    local client, _, _, sim = simulated(function(text, _, _, now)
      return now > 20 and now < 500 and { fail = "connect" } or { after = 5, text = text }
    end, { timeout = { total = 30 } })
    local waited = 0
    local summary = run(client, { concurrency = 5, on_progress = function(p)
      waited = waited + (p.waits and 1 or 0)
    end })
    assert.same({ true, 60, 0 }, { summary.complete, summary.succeeded, summary.failed })
    assert.is_true(waited > 0 and sim:now() > 500)
    local last
    summary = run(client, { output = path "o.jsonl", patience = 0, on_progress = function(p) last = p end })
    assert.same({ 60, 60, true }, { last.done, last.total, last.is_exact })
    assert.equal(60, summary.succeeded)
  end)

  it("tells how far it is", function()
    write("in.jsonl", requests(300))
    local first, last
    local client = simulated(nil, { prices = { simulated = { output = 1e6 } } })
    local summary = run(client, { concurrency = 7, on_progress = function(p)
      first, last = first or p, p
    end })
    assert.is_false(first.is_exact)
    assert.is_true(first.total > 200 and first.total < 400, "an estimate of " .. first.total)
    assert.same({ 300, 300, 0, 0, true },
      { last.done, last.total, last.failed, last.in_flight, last.is_exact })
    assert.same({ summary.tokens, summary.cost, summary.seconds }, { last.tokens, last.cost, last.seconds })
    assert.equal(43, summary.seconds)
    assert.is_true(summary.cost >= 300)
    assert.same({ "r300", "300" }, { last.custom_id, last.result.text })
  end)

  it("keeps to the client's concurrency, and lets rows share an answer where the client does", function()
    write("in.jsonl", requests(40))
    local client, _, _, sim = simulated(nil, { concurrency = { limit = 4 } })
    run(client, { concurrency = 30 })
    assert.same({ 4, 10 }, { client:stats().peak_in_flight, sim:now() })
    local lines = {}
    for i = 1, 10 do
      lines[i] = '{"messages":[{"role":"user","content":"same"}],"temperature":0}'
    end
    write("same.jsonl", lines)
    local shared, asked = simulated(nil, { coalesce = true })
    assert.equal(10, run(shared, { input = path "same.jsonl", output = path "o.jsonl" }).succeeded)
    assert.equal(1, #asked)
  end)
end)

describe("the lines of a file", function()
  local core = require "surefoot.binding"
  local lines = require "surefoot.batch.lines"

  local function read(text, most, offset)
    local file_path = os.tmpname()
    process.write(file_path, text)
    local file = assert(core.file(file_path, "read"))
    local reader, list = lines.new(file, most or 1e9, offset), {}
    for line in function() return reader:next() end do
      list[#list + 1] = { line, reader.number, reader.start, reader.ended, reader.cut }
    end
    file:close()
    os.remove(file_path)
    return list
  end

  it("are read one by one", function()
    assert.same({}, read "")
    assert.same({ { "", 1, 0, true, false } }, read "\n")
    assert.same({ { "a", 1, 0, true, false }, { "", 2, 2, true, false }, { "bc", 3, 3, false, false } }, read "a\n\nbc")
    assert.same({ { "bc", 1, 2, true, false } }, read("a\nbc\n", nil, 2))
  end)

  it("may be longer than a block, and are cut where they are too long", function()
    local long = ("x"):rep(700000)
    local list = read("1\n" .. long .. "\n" .. long .. "\n3")
    assert.same({ 4, long, long, 1400004, "3" }, { #list, list[2][1], list[3][1], list[4][3], list[4][1] })
    list = read("1\n" .. long .. "\n22", 300000)
    assert.same({ 3, true, "22", false }, { #list, list[2][5], list[3][1], list[3][5] })
    assert.is_true(#list[2][1] <= 300000)
  end)
end)

describe("a set of lines", function()
  local line_set = require "surefoot.batch.line_set"

  it("knows what was put into it, and so does its text", function()
    local set, known, count = line_set.new(), {}, 0
    local seed = 7
    for _ = 1, 2000 do
      seed = (seed * 16807) % 2147483647
      local line = seed % 3000 + 1
      assert.equal(not known[line], set:add(line))
      count, known[line] = known[line] and count or count + 1, true
    end
    for line = 5, 3000, 5 do
      set:remove(line)
      count, known[line] = known[line] and count - 1 or count, nil
    end
    local copy = line_set.parse(set:text())
    for line = 1, 3100 do
      assert.same({ known[line] or false, known[line] or false }, { set:has(line), copy:has(line) })
    end
    assert.same({ count, count }, { set.count, copy.count })
    local listed = 0
    for line in copy:each() do
      assert.is_true(known[line])
      listed = listed + 1
    end
    assert.equal(count, listed)
  end)

  it("is short where lines stand in a row", function()
    local set = line_set.new()
    for line = 1, 1e5 do
      set:add(line)
    end
    assert.is_true(#set:text() < 40)
    assert.equal(1e5, line_set.parse(set:text()).count)
    assert.equal(0, line_set.parse("").count)
    assert.is_nil(line_set.parse "xyz")
    assert.is_nil(line_set.parse "fffffffffffff")
  end)
end)
