-- Answers that are no JSON: bytes of any value, in memory or straight into a file, and content codings, sound and
-- damaged.

local env = require "spec.support.env"
local pace = require "spec.support.pace"
local process = require "spec.support.process"
local scene = require "spec.support.scene"
local surefoot = require "surefoot"

local KEY = "sk-test-0123456789"
local ways = {
  ["over HTTP"] = { "url" }, ["over TLS"] = { "tls_url", "1.1" }, ["over HTTP/2"] = { "tls_url", "2" },
}

describe("answers", function()
  local p, client_of = scene.of { lines = { "a", "b" }, tls = true }
  local dir, path

  setup(function()
    dir = process.temp_dir "surefoot-downloads"
    path = dir .. "/answer"
  end)

  teardown(function()
    process.remove_dir(dir)
  end)

  local function listing()
    return (process.capture { "ls", "-A", dir }:gsub("%s+$", ""))
  end

  after_each(function()
    process.capture("rm -rf " .. process.quote(dir) .. "/*")
  end)

  local function new(config)
    config = config or {}
    config.base_url = config.base_url or p.lines.a.url
    config.api_key, config.model = KEY, "m"
    config.retry = config.retry or { base_delay = 0.01, throttled_base_delay = 0.01 }
    return client_of(config)
  end

  local function md5_of(file)
    return (process.capture { "md5sum", file }:match "^%x+")
  end

  local function speech(output, more)
    local request = { path = "/audio/speech?bytes=300000", json = { model = "tts", input = "Hello", voice = "a" } }
    request.output = output and { file = output }
    for key, value in pairs(more or {}) do
      request[key] = value
    end
    return request
  end

  for how, way in pairs(ways) do
    describe(how, function()
      local function client_on()
        return new { base_url = p.lines.a[way[1]], tls = { ca_file = p.ca_file }, http_version = way[2] }
      end

      it("of any bytes come as they are", function()
        local reply = assert(client_on():request(speech()))
        assert.equal("audio/mpeg", reply.headers["content-type"])
        assert.is_truthy(reply.raw:find("\0", 1, true))
        assert.equal(300000, #reply.raw)
        assert.is_true(rawequal(reply.raw, reply.body) or reply.raw == reply.body)
        process.write(path, reply.raw)
        assert.equal(reply.headers["x-sim-md5"], md5_of(path))
      end)

      it("come into a file", function()
        for _ = 1, 2 do
          local reply = assert(client_on():request(speech(path)))
          assert.same({ path, 300000, 200 }, { reply.file, reply.bytes, reply.status })
          assert.is_nil(reply.body)
          assert.is_nil(reply.raw)
          assert.equal(reply.headers["x-sim-md5"], md5_of(path))
          assert.equal("answer", listing())
        end
        assert.equal("identity", p:counters("a").last_headers["accept-encoding"])
      end)

      it("that are cut are asked for again, and only the whole one is kept", function()
        p:profile("a", { sequence = {
          { fault = "truncate" }, { fault = "reset_midway" }, { status = { code = 503 } },
        } })
        local reply = assert(client_on():request(speech(path)))
        assert.same({ 4, "truncated", 300000 }, { #reply.attempts, reply.attempts[1].kind, reply.bytes })
        assert.equal(reply.headers["x-sim-md5"], md5_of(path))
        assert.equal("answer", listing())
      end)
    end)
  end

  describe("into a file", function()
    it("leave nothing when they fail, and what was there as it was", function()
      process.write(path, "what was there")
      p:profile("a", { fault = "truncate" })
      local _, err = new():request(speech(path))
      assert.equal("truncated", err.kind)
      p:profile("a", { status = { code = 400, body = { error = { message = "no such voice" } } } })
      _, err = new():request(speech(path))
      assert.same({ "invalid_request", 400, "no such voice" }, { err.kind, err.status, err.message })
      assert.equal("no such voice", err.body.error.message)
      p:profile("a", { fault = "stall" })
      _, err = new({ timeout = { idle = 0.1 * pace }, retry = { max_attempts = 1 } }):request(speech(path))
      assert.equal("timeout", err.kind)
      _, err = new():request(speech(path), { deadline = 0.1 * pace })
      assert.equal("deadline", err.kind)
      assert.same({ "answer", "what was there" }, { listing(), process.read(path) })
    end)

    it("leave nothing when they are cancelled", function()
      p:profile("a", { fault = "stall" })
      local during, err
      surefoot.run(function()
        local client = new()
        local task = surefoot.spawn(function()
          err = select(2, client:request(speech(path)))
        end)
        surefoot.sleep(0.1 * pace)
        during = listing()
        task:cancel()
        task:wait()
      end)
      assert.same({ "cancelled", "answer.part", "" }, { err.kind, during, listing() })
    end)

    it("may be larger than limits.response_bytes, and than memory", function()
      p:profile("a", { answer = { bytes = 100 * 2 ^ 20 } })
      local client = new { limits = { response_bytes = 1024 }, timeout = { attempt = 600, total = 600 } }
      local function memory(field)
        return tonumber(process.read("/proc/self/status"):match(field .. ":%s*(%d+) kB"))
      end
      assert(client:request(speech(path)))
      collectgarbage()
      process.write("/proc/self/clear_refs", "5") -- the peak begins anew
      local resident = memory "VmRSS"
      local reply = assert(client:request(speech(path, { path = "/audio/speech" })))
      assert.equal(100 * 2 ^ 20, reply.bytes)
      local peak = memory "VmHWM"
      assert.is_true(peak - resident < 8 * 1024 * pace, ("%d kB, %d kB before"):format(peak, resident))
      assert.equal(reply.headers["x-sim-md5"], md5_of(path))
      local _, err = client:request(speech())
      assert.equal("too_large", err.kind)
    end)

    it("of places that will not do fail before anything is sent", function()
      process.capture { "mkdir", path }
      for place, why in pairs {
        [path] = "Is a directory", [dir .. "/no/where"] = "No such file", ["/dev/null"] = "not a regular file",
      } do
        local _, err = new():request(speech(place))
        assert.same({ "invalid_request", false, 0 }, { err.kind, err.sent, #err.attempts })
        assert.matches("the output's file: " .. why, err.message)
      end
      assert.equal(0, p:counters("a").requests)
    end)

    it("fail when there is no room, and the line is not to blame", function()
      local program = dir .. "/full.lua"
      process.write(program, [[
        local surefoot = require "surefoot"
        local client = surefoot.new { base_url = arg[1], api_key = "sk-test-0123456789", model = "m" }
        local _, err = client:request { path = "/audio/speech?bytes=900000", json = { input = "x" },
          output = { file = arg[2] } }
        print(err.kind, err.retryable, #err.attempts, err.message)
        print(client:stats().endpoints[err.endpoint].breaker, io.open(arg[2] .. ".part"))
      ]])
      local output = env.check(("trap '' XFSZ; ulimit -f 200; exec %s -l spec.helper %s %s %s"):format(env.lua, program,
        p.lines.a.url, path), { env = { ASAN_OPTIONS = "detect_leaks=0" } })
      assert.matches("^invalid_request\tfalse\t1\tthe output's file: File too large: ", output)
      assert.matches("\nclosed\tnil", output)
    end)

    it("fail when their place was taken meanwhile", function()
      p:profile("a", { delay = 0.2 * pace })
      local err
      local client = new()
      surefoot.run(function()
        surefoot.spawn(function()
          err = select(2, client:request(speech(path)))
        end)
        surefoot.sleep(0.05 * pace)
        process.capture { "mkdir", path }
      end)
      assert.same({ "invalid_request", 1, "answer" }, { err.kind, #err.attempts, listing() })
      assert.matches("Is a directory", err.message)
    end)

    it("are one at a time", function()
      p:profile("a", { delay = 0.1 * pace })
      local client, results = new(), {}
      surefoot.run(function()
        for i = 1, 2 do
          surefoot.spawn(function()
            results[i] = { client:request(speech(path)) }
          end)
        end
      end)
      assert.equal(300000, results[1][1].bytes)
      assert.matches("another answer is being written to it", results[2][2].message)
      assert.equal("answer", listing())
    end)

    it("are shown to validate before they are in their place", function()
      local seen = {}
      local reply = assert(new():request(speech(path), { validate = function(result)
        seen[#seen + 1] = #process.read(result.file) .. " " .. listing()
        return #seen == 2, "once more"
      end }))
      assert.same({ "300000 answer.part", "300000 answer.part" }, seen)
      assert.same({ path, 2, "rejected" }, { reply.file, #reply.attempts, reply.attempts[1].kind })
    end)

    it("may be empty", function()
      local listener = p:raw { { read_request = true }, { send = "HTTP/1.1 204 No Content\r\n\r\n" }, { again = true } }
      local reply = assert(new({ base_url = listener.url }):request { path = "/x", output = { file = path } })
      assert.same({ 204, 0, "" }, { reply.status, reply.bytes, process.read(path) })
      listener:close()
    end)
  end)

  describe("with a content coding", function()
    local plain, zipped, long

    setup(function()
      process.capture(("seq 1 20000 > %s/plain; gzip -9 -n -c %s/plain > %s/zipped"):format(dir, dir, dir))
      plain, zipped = process.read(dir .. "/plain"), process.read(dir .. "/zipped")
      process.capture(("head -c 100M /dev/zero | gzip -1 -n > %s/long"):format(dir))
      long = process.read(dir .. "/long")
      process.capture("rm " .. process.quote(dir) .. "/*")
    end)

    -- What comes of an answer of these bytes.
    local function answer(body, coding, config, output, kind)
      local listener = p:raw {
        { read_request = true }, { send = ("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Encoding: %s\r\n"
          .. "Content-Length: %d\r\n\r\n"):format(kind or "text/plain", coding, #body) .. body }, { again = true },
      }
      config = config or {}
      config.base_url, config.retry = listener.url, { max_attempts = 1 }
      local reply, err = new(config):request { path = "/x", output = output and { file = output } }
      listener:close()
      return reply, err
    end

    it("are decoded, in memory and in files", function()
      for _, coding in ipairs { "gzip", "deflate" } do
        p:profile("a", { answer = { bytes = 100000, encoding = coding } })
        local client = new()
        local text = assert(client:chat "x").text
        assert.equal(100000, #text)
        local reply = assert(client:request {
          path = "/chat/completions", json = { messages = { { role = "user", content = "x" } }, model = "m" },
          output = { file = path },
        })
        assert.equal(reply.bytes, #process.read(path))
        assert.is_truthy(process.read(path):find(text, 1, true))
      end
      assert.equal(plain, assert(answer(zipped, "gzip")).body)
    end)

    it("that is damaged are malformed", function()
      for what, body in pairs {
        ["within"] = zipped:sub(1, 500) .. ("\255"):rep(20) .. zipped:sub(521), ["no gzip"] = "hello, hello, hello",
        ["checksum"] = zipped:sub(1, -9) .. "1234" .. zipped:sub(-4), ["length"] = zipped:sub(1, -5) .. "1234",
        ["behind"] = zipped .. "and more",
      } do
        local _, err = answer(body, "gzip")
        assert.equal("malformed", err and err.kind, what)
        _, err = answer(body, "gzip", nil, path)
        assert.same({ "malformed", "" }, { err and err.kind, listing() }, what)
      end
      local _, err = answer(plain, "rot13")
      assert.equal("malformed", err.kind)
    end)

    it("that ends early are truncated where they are a document", function()
      process.write(dir .. "/json", '{"list":[' .. plain:gsub("\n", ","):sub(1, -2) .. "]}")
      local body = process.capture(("gzip -9 -n -c %s/json"):format(dir))
      assert.equal(20000, #assert(answer(body, "gzip", nil, nil, "application/json")).body.list)
      local _, err = answer(body:sub(1, math.floor(#body / 2)), "gzip", nil, nil, "application/json")
      assert.equal("truncated", err.kind)
    end)

    it("are bounded by what they hold, not by what is sent", function()
      assert.is_true(#long < 600000)
      local function memory(field)
        return tonumber(process.read("/proc/self/status"):match(field .. ":%s*(%d+) kB"))
      end
      answer(zipped, "gzip")
      collectgarbage()
      process.write("/proc/self/clear_refs", "5")
      local resident = memory "VmRSS"
      local _, err = answer(long, "gzip", { limits = { response_bytes = 2 ^ 20 } })
      assert.same({ "too_large", false, 1 }, { err.kind, err.retryable, #err.attempts })
      assert.is_true(memory "VmHWM" - resident < 12 * 1024 * pace)
      assert.equal(plain, assert(answer(zipped, "gzip", { limits = { response_bytes = #plain } })).body)
      _, err = answer(zipped, "gzip", { limits = { response_bytes = #plain - 1 } })
      assert.equal("too_large", err.kind)
    end)
  end)
end)
