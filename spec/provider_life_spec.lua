-- The simulated provider as a thing that lives: bytes by script, start and stop, several at once, and never an orphan.

local cjson = require "cjson.safe"
local http = require "spec.support.http"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("the simulated provider's #once", function()
  local p

  setup(function()
    p = provider.start()
  end)

  teardown(function()
    p:stop()
  end)

  describe("raw bytes", function()
    local OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    it("go out as scripted, one script per connection, the last for the rest", function()
      local listener = p:raw {
        { { read_request = true }, { send = "HTTP/1.1 20" }, { reset = true } },
        { { read_request = true }, { send = "\0\255 garbage\r\n\r\n" }, { close = true } },
        { { read_request = true }, { send = OK, every = 0.002, by = 1 }, { close = true } },
      }
      local function get()
        return http.request { url = listener.url, body = "question" }
      end
      local _, err, raw = get()
      assert.same({ "reset", "HTTP/1.1 20" }, { err, raw })
      _, err, raw = get()
      assert.same({ "malformed", "\0\255 garbage" }, { err, raw })
      for _ = 1, 2 do
        local response = get()
        assert.equal("hello", response.body)
        assert.is_true(response.seconds >= 0.002 * #OK * 0.9)
      end
      local counters = listener:counters()
      assert.equal(4, counters.connections)
      assert.matches("^POST /v1 HTTP/1.1\r\n.*question$", counters.requests[4])
    end)

    it("keep a connection, hang on it, and see it go", function()
      local listener = p:raw { { read_request = true }, { send = OK }, { again = true } }
      local connection = assert(http.connect("127.0.0.1", listener.port))
      for _ = 1, 2 do
        connection:send(http.format { url = listener.url })
        assert.equal("hello", connection:response().body)
      end
      connection:close()
      listener:set { { hang = true } }
      assert.equal("timeout", select(2, http.request { url = listener.url, timeout = 0.05 }))
      assert.is_table(listener:wait(function(counters)
        return counters.open == 0 and counters.aborted == 2
      end))
      listener:close()
      assert.equal("refused", select(2, http.request(listener.url)))
    end)

    it("are not needed to refuse, nor to never accept", function()
      local refusing, silent = provider.refusing(), provider.silent()
      assert.equal("refused", select(2, http.request { url = refusing.url, timeout = 2 }))
      assert.equal("timeout", select(2, http.request { url = silent.url, timeout = 0.1 }))
      refusing:close()
      silent:close()
    end)

    it("are refused when the script makes no sense", function()
      assert.has_error(function()
        p:raw { { sned = "x" } }
      end)
    end)
  end)

  describe("life", function()
    it("runs beside others, answers the bench, and leaves nothing", function()
      local other = provider.start { lines = { "a" }, workers = 2, profiles = { a = { status = { code = 418 } } } }
      assert.equal(418, http.request(other.lines.a.url .. "/models").status)
      assert.equal(200, http.request(p.lines.a.url .. "/models").status)
      local bench = http.request { url = other.lines.a.bench_url .. "/v1/chat/completions", body = "{}" }
      assert.equal(1028, #bench.body)
      assert.is_table(cjson.decode(bench.body))
      local pid, dir, url = other.pid, other.dir, other.lines.a.url
      other:stop()
      assert.is_false(process.alive(pid))
      assert.is_nil(process.read(dir .. "/nginx.conf"))
      assert.equal("refused", select(2, http.request(url .. "/models")))
    end)

    it("ends with the process that began it, however that ends", function()
      local dir = process.temp_dir "surefoot-life"
      local note = dir .. "/note"
      local program = ([[
        package.path = "./?.lua;" .. package.path
        local p = require("spec.support.provider").start()
        p:raw { { hang = true } }
        local raw = p.raw_server
        require("spec.support.process").write(%q, table.concat({ p.dir, p.pid, raw.dir, raw.pid, "" }, " "))
        require("socket").sleep(60)
      ]]):format(note)
      local pid = process.spawn({ process.which "lua5.4", "-e", program }, { stdout = dir .. "/log" })
      local folder, nginx, raw_folder, raw
      assert(process.wait_for(function()
        folder, nginx, raw_folder, raw = (process.read(note) or ""):match "^(%S+) (%d+) (%S+) (%d+) "
        return folder
      end), process.read(dir .. "/log"))
      process.signal(pid, "KILL")
      assert.is_true(process.wait_for(function()
        return not process.alive(nginx) and not process.alive(raw)
          and not process.read(folder .. "/nginx.conf") and not process.read(raw_folder .. "/port")
      end))
      process.remove_dir(dir)
    end)

    it("is run and stopped from the shell", function()
      local output, code = process.capture "spec/provider/run --lines x,y --preset regional --daemon 2>&1"
      assert.equal(0, code)
      local control = output:match "control%s+(%S+)"
      local other = assert(provider.attach(control))
      assert.same({ "x", "y" }, other.names)
      assert.equal(200, http.request(other.lines.y.url .. "/models").status)
      process.capture("spec/provider/run --stop " .. control)
      assert.is_true(process.wait_for(function()
        return not process.alive(other.pid)
      end))
    end)
  end)
end)
