-- libcurl before 8.6 stalls other streams of an HTTP/2 connection when one of them is paused: a reader who took his
-- time held up all other calls to that line. There such a stream is not paused, and HTTP/2 is used only where it is
-- asked for.
local leaks = require "spec.support.leaks"
local pace = require "spec.support.pace"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local major, minor = require("surefoot.core").libcurl:match "^libcurl/(%d+)%.(%d+)"
local is_sound = tonumber(major) * 100 + tonumber(minor) >= 806

local BYTES = 600000

describe("a stream that nobody reads", function()
  local p

  setup(function()
    p = provider.start { tls = true, send_buffer = 65536 }
  end)

  teardown(function()
    p:stop()
  end)

  for _, version in ipairs { "2", "1.1", "auto" } do
    it("holds up no other call to its line: http_version = " .. version, function()
      leaks.close_engine() -- and with it the connections that are kept
      p:reset()
      p:profile("a", { by_model = { long = { answer = { bytes = BYTES } } } })
      local client = surefoot.new {
        base_url = p.lines.a.tls_url, api_key = "sk-test-0123456789", model = "m", tls = { ca_file = p.ca_file },
        http_version = version, timeout = { attempt = 2 * pace }, retry = { max_attempts = 1 },
      }
      local stream = assert(client:stream { model = "long", messages = { { role = "user", content = "x" } } })
      surefoot.sleep(0.3) -- what comes meanwhile is more than is held for it
      if version == "2" then
        assert.equal(is_sound, p:counters("a").bytes_out < BYTES)
      end
      for _ = 1, 5 do
        local result, err = client:chat "y"
        assert.equal("echo: y", result and result.text or tostring(err))
      end
      assert.equal((version == "1.1" or version == "auto" and not is_sound) and 2 or 1, p:counters("a").connections)
      assert.equal(BYTES, #assert(stream:result()).text)
      client:close()
    end)
  end
end)
