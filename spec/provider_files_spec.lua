-- Files in and out of the simulated provider: multipart bodies, bytes that are no text, big uploads, codings.

local cjson = require "cjson.safe"
local http = require "spec.support.http"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

local MEBIBYTE = 1024 * 1024
local BOUNDARY = "----spec7MA4YWxk"

local p, line

local function md5(text)
  local path = p.dir .. "/md5"
  process.write(path, text)
  return process.capture({ "md5sum", path }):match "^%x+"
end

-- A multipart body of parts { head, body }.
local function multipart(parts)
  local out = {}
  for _, part in ipairs(parts) do
    out[#out + 1] = ("--%s\r\n%s\r\n\r\n%s\r\n"):format(BOUNDARY, part[1], part[2])
  end
  return table.concat(out) .. "--" .. BOUNDARY .. "--\r\n"
end

local function send_parts(path, body)
  return http.request {
    url = line.url .. path, body = body,
    headers = { ["Content-Type"] = "multipart/form-data; boundary=" .. BOUNDARY },
  }
end

local FILE = 'Content-Disposition: form-data; name="file"; filename="a b.mp3"\r\nContent-Type: audio/mpeg'

-- Sends a body as chunks; nil and why when the connection ends before.
local function chunked(url, body)
  local host, port, path = http.split(url)
  local connection = assert(http.connect(host, port))
  connection:send(("POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"):format(path))
  for at = 1, #body, 65536 do
    local piece = body:sub(at, at + 65535)
    local sent, err = connection:send(("%x\r\n%s\r\n"):format(#piece, piece))
    if not sent then
      return nil, err
    end
  end
  connection:send "0\r\n\r\n"
  local response, err = connection:response()
  connection:close()
  return response, err
end

describe("files of the simulated provider #once", function()
  setup(function()
    p = provider.start { lines = { "a" }, tls = true }
    line = p.lines.a
  end)

  teardown(function()
    local errors = p:errors()
    p:stop()
    assert.same({}, errors)
  end)

  before_each(function()
    p:reset()
  end)

  describe("in parts", function()
    it("are told part by part", function()
      local audio = "\0\1\2\r\n--" .. BOUNDARY:sub(1, -2) .. "\255"
      local response = send_parts("/audio/transcriptions", multipart {
        { 'Content-Disposition: form-data; name="model"', "whisper" }, { FILE, audio },
      })
      local body = cjson.decode(response.body)
      assert.equal(200, response.status)
      assert.equal("echo: a b.mp3", body.text)
      assert.same({ name = "model", bytes = 7, value = "whisper" },
        { name = body.parts[1].name, bytes = body.parts[1].bytes, value = body.parts[1].value })
      local file = body.parts[2]
      assert.same({ "file", "a b.mp3", "audio/mpeg", #audio },
        { file.name, file.filename, file.content_type, file.bytes })
      assert.equal(md5(audio), file.md5)
      assert.equal(40, #file.sha1)
      assert.is_nil(file.value)
    end)

    it("come back as files, and as plain text when that is wanted", function()
      local body = cjson.decode(send_parts("/files", multipart {
        { FILE, "{}" }, { 'Content-Disposition: form-data; name="purpose"', "batch" },
      }).body)
      assert.same({ "file", 2, "a b.mp3", "batch" }, { body.object, body.bytes, body.filename, body.purpose })
      local text = send_parts("/audio/transcriptions", multipart {
        { FILE, "x" }, { 'Content-Disposition: form-data; name="response_format"', "text" },
      })
      assert.equal("echo: a b.mp3\n", text.body)
    end)

    it("are refused when they are not what the header says", function()
      local whole = multipart { { FILE, "x" } }
      for _, body in ipairs {
        whole:sub(1, -8 - #BOUNDARY), "x" .. whole, multipart { { 'Content-Disposition: form-data; name="a"', "x" } },
        multipart { { "Content-Type: text/plain", "x" } }, "",
      } do
        assert.equal(400, send_parts("/files", body).status, body)
      end
      assert.equal(400, http.request { url = line.url .. "/files", body = whole }.status)
    end)
  end)

  describe("of bytes", function()
    local function speech(query)
      return http.request { url = line.url .. "/audio/speech" .. (query or ""), body = '{"model":"tts","input":"hi"}' }
    end

    it("are as long as the request or the profile says", function()
      local response = speech "?bytes=1000"
      assert.equal("audio/mpeg", response.headers["content-type"])
      assert.equal(1000, #response.body)
      assert.equal(md5(response.body), response.headers["x-sim-md5"])
      assert.is_truthy(response.body:find("\0", 1, true))
      p:profile("a", { answer = { bytes = 3 * MEBIBYTE } })
      assert.equal(3 * MEBIBYTE, #speech().body)
      p:profile("a", { fault = "truncate" })
      assert.equal("cut", speech().ended)
    end)
  end)

  describe("in uploads", function()
    local BODY = ("0123456789abcdef"):rep(5 * MEBIBYTE / 16)

    local function upload()
      return http.request { url = line.url .. "/upload", method = "PUT", body = BODY }
    end

    it("are counted, digested and not kept", function()
      local told = cjson.decode(upload().body)
      assert.equal(#BODY, told.bytes)
      assert.equal(md5(BODY), told.md5)
      assert.equal(tostring(#BODY), told.content_length)
      assert.is_false(told.chunked)
      told = cjson.decode(chunked(line.url .. "/upload", BODY).body)
      assert.equal(md5(BODY), told.md5)
      assert.is_true(told.chunked)
      assert.is_nil(told.content_length)
      assert.equal("", p:counters("a").last_body)
      assert.equal("", process.capture { "find", p.dir .. "/body", "-type", "f" })
    end)

    it("fail as the profile says, and then succeed", function()
      local sequence = { { status = { code = 503 } }, { upload = { reset_after = 100000 } } }
      p:profile("a", { sequence = sequence })
      assert.equal(503, upload().status)
      local response, err = upload()
      assert.is_nil(response)
      assert.is_string(err)
      assert.equal(200, upload().status)
      local counters = p:counters "a"
      assert.same({ ["503"] = 1, ["200"] = 1 }, counters.status)
      assert.equal(0, counters.in_flight)
      p:profile("a", { upload = { close_after = 100000 } })
      assert.is_nil((chunked(line.url .. "/upload", BODY)))
      p:profile("a", { keys = { "good" } })
      assert.equal(401, upload().status)
    end)

    it("are reset over HTTP/2 too", function()
      if not (process.which "curl" and process.capture({ "curl", "--version" }):find "HTTP2") then
        return pending "skipped, no curl with HTTP/2 here"
      end
      local path = p.dir .. "/body.bin"
      process.write(path, BODY)
      local function curl()
        return process.capture(process.command {
          "curl", "-sS", "--http2", "--cacert", p.ca_file, "--max-time", "5", "-T", path, line.tls_url .. "/upload",
        } .. " 2>/dev/null")
      end
      local told = cjson.decode((curl()))
      assert.same({ md5(BODY), 2 }, { told.md5, told.http_version })
      p:profile("a", { upload = { reset_after = 1000 } })
      assert.equal(92, (select(2, curl())))
    end)
  end)

  it("come in the codings of HTTP", function()
    local plain = http.request(line.url .. "/models").body
    for _, answer in ipairs { { gzip = true }, { encoding = "gzip" }, { encoding = "deflate" } } do
      p:profile("a", { answer = answer })
      local output, code = process.capture { "curl", "-sS", "--compressed", line.url .. "/models" }
      assert.equal(0, code)
      assert.equal(#plain, #output)
      local response = http.request(line.url .. "/models")
      assert.equal(answer.encoding or "gzip", response.headers["content-encoding"])
      assert.are_not.equal(plain, response.body)
    end
    assert.has_error(function()
      p:profile("a", { answer = { encoding = "br" } })
    end)
  end)
end)
