-- Bodies that are read while they are sent: files and forms, on a real provider. What arrives is what the file holds,
-- on every attempt; memory does not grow with it; no file stays open; and what is wrong with a file is said, before
-- anything is sent where it can be known.

local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local KEY = "sk-test-0123456789"
local SIZE = 2 * 2 ^ 20 + 123
local unpack = table.unpack or unpack

local function md5_of(path)
  return (process.capture { "md5sum", path }:match "^%x+")
end

-- How often this process has the file open, whatever it is called now.
local function times_open(path)
  local count = 0
  for _, name in ipairs(leaks.open_files()) do
    count = count + (name:find(path, 1, true) and 1 or 0)
  end
  return count
end

describe("an upload", function()
  local p, client_of = scene.of { lines = { "a", "b" }, tls = true }
  local dir, path, md5

  setup(function()
    dir = process.temp_dir "surefoot-uploads"
    path = dir .. "/song of mine.mp3"
    process.capture(("head -c %d /dev/urandom > %s"):format(SIZE, process.quote(path)))
    md5 = md5_of(path)
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  local function new(config)
    config = config or {}
    config.base_url = not config.endpoints and (config.base_url or p.lines.a.url) or nil
    config.api_key, config.model = KEY, "m"
    config.retry = config.retry or { base_delay = 0.01, throttled_base_delay = 0.01 }
    return client_of(config)
  end

  local function two_lines(version)
    local url = version and "tls_url" or "url"
    return new { tls = { ca_file = p.ca_file }, http_version = version, routing = "priority", endpoints = {
      { name = "a", url = p.lines.a[url] }, { name = "b", url = p.lines.b[url], priority = 2 },
    } }
  end

  local ways = {
    ["over HTTP"] = { "url" }, ["over TLS"] = { "tls_url", "1.1" }, ["over HTTP/2"] = { "tls_url", "2" },
  }
  for how, way in pairs(ways) do
    describe(how, function()
      local function client_on(more)
        local config = { base_url = p.lines.a[way[1]], tls = { ca_file = p.ca_file }, http_version = way[2] }
        for key, value in pairs(more or {}) do
          config[key] = value
        end
        return new(config)
      end

      it("of a file arrives whole, with its length, again and again", function()
        local client = client_on()
        for _, method in ipairs { "POST", "PUT", "POST" } do
          local reply = assert(client:request { method = method, path = "/upload", body = { file = path } })
          assert.same({ SIZE, md5, ("%d"):format(SIZE), false },
            { reply.body.bytes, reply.body.md5, reply.body.content_length, reply.body.chunked })
          assert.equal(way[2] == "2" and 2 or 1.1, reply.body.http_version)
          assert.is_nil(p:counters("a").last_headers.expect)
        end
        assert.equal(1, p:counters("a").connections)
        assert.equal("application/octet-stream", p:counters("a").last_headers["content-type"])
      end)

      it("of text of any size arrives whole", function()
        local client, all = client_on(), process.read(path)
        for _, size in ipairs { 0, 1, 65535, 65536, 65537, 65536 * 3, SIZE } do
          p:profile("a", { sequence = { { status = { code = 503 } } } })
          local reply = assert(client:request { path = "/upload", body = all:sub(1, size) })
          assert.same({ size, ("%d"):format(size), false, 2 },
            { reply.body.bytes, reply.body.content_length, reply.body.chunked, #reply.attempts })
          assert.equal(size == SIZE and md5 or reply.body.md5, reply.body.md5)
        end
      end)

      it("of a form arrives part by part", function()
        local sound = ("\0\1\r\n--\255"):rep(50000)
        local reply = assert(client_on():request { path = "/audio/transcriptions", multipart = {
          { name = "model", value = "whisper" }, { name = "prompt", value = "two\nlines, \"quoted\" \r\n" },
          { name = "file", file = path }, { name = "empty", value = "" },
          { name = "sound", data = sound, filename = "a.wav", content_type = "audio/wav" },
        } })
        local parts = reply.body.parts
        assert.same({ "model", "prompt", "file", "empty", "sound" },
          { parts[1].name, parts[2].name, parts[3].name, parts[4].name, parts[5].name })
        assert.same({ "whisper", "two\nlines, \"quoted\" \r\n", "" },
          { parts[1].value, parts[2].value, parts[4].value })
        assert.is_nil(parts[1].filename)
        assert.same({ "song of mine.mp3", "application/octet-stream", SIZE, md5 },
          { parts[3].filename, parts[3].content_type, parts[3].bytes, parts[3].md5 })
        assert.same({ "a.wav", "audio/wav", #sound }, { parts[5].filename, parts[5].content_type, parts[5].bytes })
        local headers = p:counters("a").last_headers
        assert.matches("^multipart/form%-data; boundary=surefoot%-", headers["content-type"])
        assert.is_true(tonumber(headers["content-length"]) > SIZE + #sound)
        assert.is_nil(headers["transfer-encoding"])
      end)

      it("is sent anew after a 503, from its beginning", function()
        p:profile("a", { sequence = { { status = { code = 503 } }, { status = { code = 429 } } } })
        local reply = assert(client_on():request { path = "/upload", body = { file = path } })
        assert.same({ md5, 3 }, { reply.body.md5, #reply.attempts })
      end)

      it("is sent anew when it was cut in its middle", function()
        for _, rule in ipairs { "reset_after", "close_after" } do
          leaks.close_engine()
          local client = client_on()
          p:profile("a", { sequence = { { upload = { [rule] = 2 ^ 19 } } } })
          local reply = assert(client:request { path = "/upload", body = { file = path } })
          assert.same({ md5, 2, "network" }, { reply.body.md5, #reply.attempts, reply.attempts[1].kind })
          p:profile("a", { sequence = { { upload = { [rule] = 2 ^ 19 } } } })
          -- as if the kept connection were to blame
          reply = assert(client:request { path = "/upload", body = { file = path } })
          assert.same({ md5, 1, true }, { reply.body.md5, #reply.attempts, reply.attempts[1].restarted })
        end
      end)

      it("goes on to another line", function()
        p:profile("a", { sequence = { { upload = { reset_after = 2 ^ 19 } } } })
        local reply = assert(two_lines(way[2]):request { path = "/upload", body = { file = path } })
        assert.same({ "b", md5, 2 }, { reply.endpoint, reply.body.md5, #reply.attempts })
      end)

      it("that is cancelled on its way closes its file", function()
        p:profile("a", { delay = 60 })
        local client, open, err = client_on(), nil, nil
        surefoot.run(function()
          local task = surefoot.spawn(function()
            err = select(2, client:request { path = "/upload", body = { file = path } })
          end)
          surefoot.sleep(0.1 * pace)
          open = times_open(path)
          task:cancel()
          task:wait()
        end)
        assert.same({ "cancelled", 1, 0 }, { err.kind, open, times_open(path) })
      end)
    end)
  end

  it("takes no more memory than a piece of it", function()
    local huge = dir .. "/huge"
    process.capture { "truncate", "-s", "200M", huge } -- sparse
    local sum = md5_of(huge)
    local client = new { timeout = { attempt = 600, total = 600 } }
    assert(client:request { path = "/upload", body = { file = path } })
    local function memory(field)
      return tonumber(process.read("/proc/self/status"):match(field .. ":%s*(%d+) kB"))
    end
    collectgarbage()
    process.write("/proc/self/clear_refs", "5") -- the peak begins anew
    local resident = memory "VmRSS"
    local reply = assert(client:request { path = "/upload", multipart = { { name = "file", file = huge } } })
    assert.is_true(reply.body.bytes > 200 * 2 ^ 20)
    local peak = memory "VmHWM"
    assert.is_true(peak - resident < 8 * 1024 * pace, ("%d kB, %d kB before"):format(peak, resident))
    reply = assert(client:request { path = "/upload", body = { file = huge } })
    assert.equal(sum, reply.body.md5)
  end)

  it("reads a path that stands for another file later as the one it was", function()
    local moving, other = dir .. "/moving", dir .. "/other"
    process.capture { "cp", path, moving }
    process.write(other, "something else")
    p:profile("a", { sequence = { { status = { code = 503 } } } })
    local reply = assert(new():request({ path = "/upload", body = { file = moving } }, { on_event = function(name)
      if name == "attempt_started" then
        os.rename(other, moving)
        os.remove(moving)
      end
    end }))
    assert.same({ md5, 2 }, { reply.body.md5, #reply.attempts })
  end)

  it("whose file changes between two attempts ends, and says so", function()
    local changing = dir .. "/changing"
    local client = new { retry = { throttled_base_delay = 0.2 * pace, jitter = "none" } }
    for _, change in ipairs { "more", "", "less than it was, and then some" } do
      process.write(changing, "what it was")
      p:reset "a"
      p:profile("a", { sequence = { { status = { code = 503 } } } })
      local err
      surefoot.run(function()
        surefoot.spawn(function()
          err = select(2, client:request { path = "/upload", body = { file = changing } })
        end)
        surefoot.sleep(0.1 * pace)
        process.write(changing, change)
      end)
      assert.same({ "invalid_request", false, 2 }, { err.kind, err.retryable, #err.attempts })
      assert.matches("changed since the request was made", err.message)
      assert.is_truthy(err.message:find(changing, 1, true))
      assert.same({ 1, 0 }, { p:counters("a").requests, times_open(changing) })
    end
  end)

  it("whose file becomes shorter on its way ends, and never counts as whole", function()
    local shrinking = dir .. "/shrinking"
    local listener = p:raw { { read_until_headers = true }, { wait = 0.2 * pace }, { hang = true } }
    process.capture { "cp", path, shrinking }
    process.capture { "truncate", "-s", "300M", shrinking }
    local client, err = new { base_url = listener.url }, nil
    surefoot.run(function()
      surefoot.spawn(function()
        err = select(2, client:request { path = "/upload", body = { file = shrinking } })
      end)
      assert(process.wait_for(function()
        surefoot.sleep(0.01)
        return listener:counters().bytes_in > 0
      end))
      process.capture { "truncate", "-s", "1M", shrinking }
    end)
    assert.same({ "invalid_request", 1 }, { err.kind, #err.attempts })
    assert.matches("became shorter while it was sent", err.message)
    listener:close()
  end)

  it("of what cannot be read fails before anything is sent", function()
    local client = new()
    local cases = {
      [dir] = "Is a directory", [dir .. "/nothing"] = "No such file", ["/dev/zero"] = "not a regular file",
      ["/proc/self/status"] = "does not tell its size",
    }
    if process.capture { "id", "-u" }:match "%d+" ~= "0" then
      process.capture { "install", "-m", "0", "/dev/null", dir .. "/closed" }
      cases[dir .. "/closed"] = "Permission denied"
    end
    for file, why in pairs(cases) do
      for _, request in ipairs { { body = { file = file } },
        { multipart = { { name = "a", file = path }, { name = "b", file = file } } } } do
        request.path = "/upload"
        local reply, err = client:request(request)
        assert.is_nil(reply)
        assert.same({ "invalid_request", false, 0 }, { err.kind, err.sent, #err.attempts })
        assert.matches(why, err.message)
        assert.is_truthy(err.message:find(file, 1, true))
      end
    end
    assert.equal(0, p:counters("a").requests)
    assert.equal(0, times_open(path))
  end)

  describe("that is answered early with 413 is too large, and not lost, when the server", function()
    local body = '{"error":{"message":"25 MB, please"}}'
    local answer = "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: " .. #body
      .. "\r\nConnection: close\r\n\r\n" .. body
    local endings = {
      ["reads on"] = { { hang = true } }, ["stops sending"] = { { half_close = true }, { hang = true } },
      ["closes at once"] = { { close = true } }, ["resets at once"] = { { reset = true } },
    }
    for what, ending in pairs(endings) do
      it(what, function()
        local listener = p:raw { { read_until_headers = true }, { send = answer }, unpack(ending) }
        local client = new { base_url = listener.url }
        for i = 1, 6 do
          local sent = i % 2 == 0 and { file = path } or process.read(path)
          local _, err = client:request { path = "/upload", body = sent }
          assert.same({ "too_large", 413 }, { err.kind, err.status })
          -- a reset takes with it what was received and not read yet: on a busy machine it is asked once more
          assert.is_true(#err.attempts == 1 or #err.attempts == 2 and what:find "at once" ~= nil, #err.attempts)
          assert.matches("25 MB, please", err.message)
        end
        listener:close()
      end)
    end
  end)

  it("goes on after what is no answer yet", function()
    local early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    local answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    local listener = p:raw { { read_until_headers = true }, { send = early, every = 0.001 }, { read_until = "the end" },
      { send = answer } }
    local client = new { base_url = listener.url }
    local reply = assert(client:request { path = "/upload", multipart = {
      { name = "a", file = path }, { name = "b", value = "the end" },
    } })
    assert.equal("ok", reply.body)
    listener:close()
  end)

  it("keeps its file open for no longer than the call", function()
    local client = new()
    p:profile("a", { delay = 0.2 * pace })
    local open = {}
    surefoot.run(function()
      for _ = 1, 3 do
        surefoot.spawn(function()
          assert(client:request { path = "/upload", body = { file = path } })
          open[#open + 1] = times_open(path)
        end)
      end
      surefoot.sleep(0.1 * pace)
      open[0] = times_open(path)
    end)
    assert.equal(3, open[0])
    assert.equal(0, open[3])
    local _, err = client:request({ path = "/upload", body = { file = path } }, { deadline = 0.05 })
    assert.same({ "deadline", 0 }, { err.kind, times_open(path) })
    client:close()
    _, err = client:request { path = "/upload", body = { file = path } }
    assert.same({ "closed", 0 }, { err.kind, times_open(path) })
  end)
end)
