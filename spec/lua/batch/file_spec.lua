-- Batches in files: what is read and written, told, and shared.
local files = require "spec.lua.batch.files"
local json = require "surefoot.json"
local process = require "spec.support.process"
local surefoot = require "surefoot"

local path, write, requests, simulated, run = files.path, files.write, files.requests, files.simulated, files.run
local rows, outcomes = files.rows, files.outcomes

describe("client:batch_file", function()
  before_each(files.begin)
  after_each(files.finish)

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

    it("nothing of a row that wants a stream, and why", function()
      write("in.jsonl", { '{"custom_id":"s","url":"/v1/chat/completions","body":{"stream":true,"messages":[]}}',
        '{"messages":[{"role":"user","content":"1"}],"stream":false,"custom_id":"w"}', '{"prompt":"2","stream":true}' })
      local client, asked = simulated()
      local summary = run(client)
      assert.same({ 1, 2, 1, true }, { summary.succeeded, summary.failed, #asked, summary.is_exact })
      for _, row in ipairs(rows "out.failed.jsonl") do
        assert.matches("^stream: a batch writes whole answers; leave it out", row.error.message:match "stream.*")
        assert.is_true(row.body.stream)
      end
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
