-- client:request on the simulated network: what goes out, what comes back, and what it is taken for.
local any_request = require "surefoot.client.request"
local json = require "surefoot.json"
local process = require "spec.support.process"
local surefoot = require "surefoot"

-- A client and what its one endpoint saw.
local function recording(script, config)
  local seen = {}
  local sim = surefoot.simulate { seed = 7, endpoints = { a = function(n, request, now)
    seen[n] = request
    return script(n, request, now)
  end } }
  return sim:client(config), seen, sim
end

local function nothing()
  return { body = {} }
end

describe("client:request", function()
  local dir, path

  setup(function()
    dir = process.temp_dir "surefoot-request"
    path = dir .. "/sound.mp3"
    process.write(path, "sound\0of\255music")
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  it("asks for a moderation", function()
    local answer = {
      id = "modr-1", model = "omni-moderation-latest",
      results = { { flagged = true, categories = { violence = true }, category_scores = { violence = 0.98 } } },
    }
    local client, seen = recording(function(n)
      return n == 1 and { status = 503 } or { body = answer }
    end)
    local request = { model = "omni-moderation-latest", input = "x" }
    local reply = assert(client:request { path = "/moderations", json = request })
    assert.is_true(reply.body.results[1].flagged)
    assert.equal(0.98, reply.body.results[1].category_scores.violence)
    assert.same({ "POST", "/v1/moderations", "application/json" },
      { seen[2].method, seen[2].path, seen[2].headers["content-type"] })
    assert.same(request, seen[2].json)
    assert.same({ 2, "a" }, { #reply.attempts, reply.endpoint })
  end)

  it("sends files, the same ones on every attempt", function()
    local client, seen = recording(function(n)
      return n == 1 and { status = 503 } or n == 2 and { fault = "reset" } or { body = {} }
    end)
    local headers = { ["Content-Type"] = "a/b" }
    assert(client:request { path = "/files", body = { file = path }, method = "PUT", headers = headers })
    for i = 1, 3 do
      assert.same({ "PUT", "sound\0of\255music", "a/b" },
        { seen[i].method, seen[i].body, seen[i].headers["content-type"] })
    end
  end)

  it("sends forms, with a boundary of their own", function()
    local client, seen = recording(nothing)
    for _ = 1, 2 do
      assert(client:request { path = "/audio/transcriptions", multipart = {
        { name = "model", value = "whisper-1" }, { name = "file", file = path, content_type = "audio/mpeg" },
      } })
    end
    for i = 1, 2 do
      local boundary = seen[i].headers["content-type"]:match "^multipart/form%-data; boundary=(surefoot%-[%x%-]+)$"
      assert.equal(table.concat({
        "--" .. boundary, 'Content-Disposition: form-data; name="model"', "", "whisper-1",
        "--" .. boundary, 'Content-Disposition: form-data; name="file"; filename="sound.mp3"',
        "Content-Type: audio/mpeg", "", "sound\0of\255music", "--" .. boundary .. "--", "",
      }, "\r\n"), seen[i].body)
      assert.is_true(#boundary <= 70)
    end
    local real = surefoot.new { base_url = "http://127.0.0.1:1", api_key = "key", model = "m" }
    local jobs, form = {}, { path = "/x", multipart = { { name = "a", value = "b" } } }
    for i = 1, 2 do
      jobs[i] = any_request.job(real, form, {}).headers:match "boundary=surefoot%-(%S+)"
      assert.equal(36, #jobs[i])
    end
    assert.not_equal(jobs[1], jobs[2])
    real:close()
  end)

  it("ends when a file changes between two attempts", function()
    local changing = dir .. "/changing"
    process.write(changing, "one")
    local client = recording(function(n)
      process.write(changing, "another")
      return n == 1 and { status = 503 } or { body = {} }
    end)
    local _, err = client:request { path = "/files", body = { file = changing } }
    assert.equal("invalid_request", err.kind)
    assert.matches("changed since the request was made: " .. changing:gsub("%p", "%%%0"), err.message)
  end)

  it("writes answers into files", function()
    local output = dir .. "/output"
    local client, seen = recording(function(n)
      return ({
        { fault = "cut", body = "hal" }, { body = "the whole", headers = { ["content-type"] = "audio/mpeg" } },
        { status = 429, body = { error = { message = "later" } } },
      })[n] or { status = 400, body = { error = { message = "never" } } }
    end)
    local reply = assert(client:request { path = "/audio/speech", json = {}, output = { file = output } })
    assert.same({ output, 9, "the whole", 2 }, { reply.file, reply.bytes, process.read(output), #reply.attempts })
    assert.same({ "*/*", "identity" }, { seen[2].headers.accept, seen[2].headers["accept-encoding"] })
    local _, err = client:request { path = "/audio/speech", json = {}, output = { file = output } }
    assert.same({ "invalid_request", "never", "the whole" }, { err.kind, err.message, process.read(output) })
    assert.is_nil(io.open(output .. ".part"))
  end)

  it("takes the text of a document for tokens, and bytes of files for none", function()
    local client = recording(nothing)
    local function estimate(request, options)
      request.path = "/x"
      return any_request.job(client, request, options or {}).estimate
    end
    local document = { input = ("word "):rep(100) }
    assert.equal(math.ceil(#json.encode(document) / 4) + 256, estimate { json = document })
    document.max_tokens = 7
    assert.equal(math.ceil(#json.encode(document) / 4) + 7, estimate { json = document })
    assert.equal(256, estimate {})
    assert.equal(256, estimate { body = { file = path } })
    assert.equal(256, estimate { multipart = { { name = "a", data = ("x"):rep(1e6), filename = "b" } } })
    assert.equal(12, estimate({ body = { file = path } }, { estimate = 12 }))
    client = recording(nothing, { rate = { tokens_per_minute = 1e6, estimate = 5 } })
    assert.equal(5, estimate { multipart = { { name = "a", file = path } } })
  end)

  for message, request in pairs {
    ["multipart: give one of json, body and multipart"] = { json = {}, multipart = { { name = "a", value = "b" } } },
    ["multipart: is empty"] = { multipart = {} },
    ["multipart[1].name: is required: of the field"] = { multipart = { { value = "b" } } },
    ['multipart[1].filname: unknown key; did you mean "filename"?'] = { multipart = { { name = "a", filname = "b" } } },
    ["multipart[1].content_type: contains a line break"] = {
      multipart = { { name = "a", value = "b", content_type = "a/b\r\nx: y" } },
    },
    ["multipart[2]: expected one of value, data and file"] = {
      multipart = { { name = "a", value = "b" }, { name = "c", data = "d", file = "e" } },
    },
    ["headers.content-type: is set by surefoot itself with multipart"] = {
      multipart = { { name = "a", value = "b" } }, headers = { ["Content-Type"] = "multipart/form-data" },
    },
    ["body: expected a string, or a table"] = { body = { path = "x" } },
    ["output.file: is required"] = { output = {} },
    ["output: expected a table, got \"x\""] = { output = "x" },
  } do
    it("throws: " .. message, function()
      local client, seen = recording(nothing)
      request.path = "/x"
      local ok, problem = pcall(function() client:request(request) end)
      assert.is_false(ok)
      assert.is_truthy(problem:find("client:request: " .. message, 1, true), problem)
      assert.equal(0, #seen)
    end)
  end
end)
