-- What goes out with a request, and what never comes out: keys, in whatever way a provider plays them back.

local leaks = require "spec.support.leaks"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local surefoot = require "surefoot"

local KEY = "sk-live-51H8xkT0pS3cr3tV4lue"

-- Every string in a value, keys of tables and metatables' texts included.
local function strings(value, found, seen)
  found, seen = found or {}, seen or {}
  if type(value) == "string" then
    found[#found + 1] = value
  elseif type(value) == "table" and not seen[value] then
    seen[value] = true
    found[#found + 1] = tostring(value)
    for key, item in pairs(value) do
      strings(key, found, seen)
      strings(item, found, seen)
    end
  end
  return found
end

local function assert_silent(value, secret)
  for _, text in ipairs(strings(value)) do
    assert.is_nil(text:find(secret or KEY, 1, true), text)
  end
end

describe("a request", function()
  local p, before, client

  setup(function()
    p = provider.start { lines = { "a", "b" }, tls = true }
  end)

  teardown(function()
    p:stop()
  end)

  before_each(function()
    p:reset()
    before = leaks.begin()
    client = surefoot.new {
      endpoints = { { name = "a", url = p.lines.a.url }, { name = "b", url = p.lines.b.url, priority = 2 } },
      api_key = KEY, model = "m", retry = { base_delay = 0.001, throttled_base_delay = 0.001 },
      headers = { ["X-Team"] = "blue", ["X-Api-Token"] = "team-token-991" },
    }
  end)

  after_each(function()
    leaks.check(before, client)
    client:close()
  end)

  describe("carries", function()
    it("the key, the type, and who asks", function()
      assert(client:chat "x")
      local headers = p:counters("a").last_headers
      assert.equal("Bearer " .. KEY, headers.authorization)
      assert.equal("application/json", headers["content-type"])
      assert.equal("application/json", headers.accept)
      assert.equal("surefoot/" .. surefoot._VERSION, headers["user-agent"])
      assert.is_nil(headers.expect)
      assert.matches("gzip", headers["accept-encoding"])
    end)

    it("the client's headers, and the call's over them", function()
      assert(client:chat("x", { headers = { ["x-team"] = "red", ["X-Job"] = "7" } }))
      local headers = p:counters("a").last_headers
      assert.same({ "red", "7", "team-token-991" }, { headers["x-team"], headers["x-job"], headers["x-api-token"] })
    end)

    it("one X-Request-ID and one Idempotency-Key over all its attempts, and others in other calls", function()
      p:profile("a", { status = { code = 503 } })
      p:profile("b", { sequence = { { fault = "reset" } } })
      assert(client:chat "x")
      local a, b = p:counters "a", p:counters "b"
      local ids, keys = {}, {}
      for _, counters in ipairs { a, b } do
        for i = 1, counters.requests do
          ids[counters.request_ids[i]] = true
          keys[counters.idempotency_keys[i]] = true
        end
      end
      assert.equal(4, a.requests + b.requests)
      local id = next(ids)
      assert.matches("^%x+%-%x+%-4%x+%-[89ab]%x+%-%x+$", id)
      assert.is_nil(next(ids, id))
      assert.is_nil(next(keys, (next(keys))))
      p:profile("a", {})
      assert(client:chat "y")
      local after = p:counters("a").request_ids
      assert.not_equal(id, after[#after])
    end)

    it("the ids that the caller chose", function()
      assert(client:chat("x", { idempotency_key = "mine-1", headers = { ["X-Request-ID"] = "trace-1" } }))
      local counters = p:counters "a"
      assert.same({ { "trace-1" }, { "mine-1" } }, { counters.request_ids, counters.idempotency_keys })
    end)

    it("no header twice", function()
      local refusal = "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"
      local listener = p:raw { { read_request = true }, { send = refusal }, { close = true } }
      local other = surefoot.new {
        base_url = listener.url, api_key = KEY, model = "m", headers = { ["User-Agent"] = "mine", Accept = "a/b" },
      }
      local more = { ["Idempotency-Key"] = "k1", ["content-type"] = "application/json; charset=utf-8" }
      other:chat("x", { headers = more })
      other:close()
      local seen = {}
      for name in listener:counters().requests[1]:match("^(.-)\r\n\r\n"):gmatch "\r\n([^:]+):" do
        assert.is_nil(seen[name:lower()], name .. " is there twice")
        seen[name:lower()] = true
      end
      assert.is_true(seen.authorization and seen["user-agent"] and seen["content-type"])
      listener:close()
    end)

    it("what a function gives as the key of now", function()
      local given = 0
      local fresh = surefoot.new { base_url = p.lines.a.url, model = "m", api_key = function()
        given = given + 1
        return "sk-token-number-" .. math.ceil(given / 2)
      end }
      for _ = 1, 4 do
        assert(fresh:chat "x")
      end
      fresh:close()
      assert.same({ ["sk-token-number-1"] = 2, ["sk-token-number-2"] = 2 }, p:counters("a").keys)
    end)
  end)

  describe("refuses", function()
    for _, value in ipairs { "a\rb", "a\nb", "a\r\nX-Evil: 1", "a\0b" } do
      it(("the header value %q"):format(value), function()
        assert.has_error(function() client:chat("x", { headers = { ["X-A"] = value } }) end)
        assert.has_error(function() client:chat("x", { idempotency_key = value }) end)
        assert.has_error(function()
          surefoot.new { base_url = p.lines.a.url, api_key = KEY, model = "m", headers = { ["X-A"] = value } }
        end)
        local ok, message = pcall(surefoot.new, { base_url = p.lines.a.url, api_key = KEY .. value, model = "m" })
        assert.is_false(ok)
        assert_silent(message)
        assert.equal(0, p:counters("a").requests)
      end)
    end

    it("header names that are none", function()
      for _, name in ipairs { "", "a b", "a:b", "a\r\nb", "ä" } do
        assert.has_error(function() client:chat("x", { headers = { [name] = "v" } }) end)
      end
    end)
  end)

  describe("keeps its key to itself", function()
    local bodies = {
      ["as an error message"] = { error = { message = "Incorrect API key: " .. KEY, code = "invalid_api_key" } },
      ["as a code"] = { error = { message = "no", code = KEY, type = KEY } },
      ["in a deep place"] = { error = { message = "no" }, debug = { request = { headers = { [KEY] = { KEY } } } } },
      ["as text"] = "denied: Authorization: Bearer " .. KEY .. "\n",
      ["as a page"] = "<html><title>" .. KEY .. "</title></html>",
      ["twice"] = KEY .. KEY,
      ["in broken JSON"] = '{"error":{"message":"' .. KEY,
    }
    for how, body in pairs(bodies) do
      for _, code in ipairs { 401, 400, 500, 200 } do
        it(("when it is echoed %s with %d"):format(how, code), function()
          p:profile("a", { status = { code = code, body = body, headers = { ["X-Echo"] = KEY } } })
          p:profile("b", { status = { code = code, body = body } })
          local events = {}
          local result, err = client:chat("x", { on_event = function(...) events[#events + 1] = { ... } end })
          assert.is_nil(result)
          assert_silent(err)
          assert_silent(events)
          assert_silent(client:stats())
          assert_silent(tostring(client))
        end)
      end
    end

    it("when it is echoed in headers and the status line", function()
      local answer = "HTTP/1.1 500 %s\r\n%s: 1\r\nX-Request-Id: %s\r\nContent-Length: 0\r\n\r\n"
      local listener = p:raw { { read_request = true }, { send = answer:format(KEY, KEY, KEY) }, { close = true } }
      local other = surefoot.new { base_url = listener.url, api_key = KEY, model = "m", retry = { max_attempts = 1 } }
      local _, err = other:chat "x"
      other:close()
      listener:close()
      assert.equal("server", err.kind)
      assert_silent(err)
    end)

    it("where texts are cut", function()
      local other = surefoot.new {
        base_url = p.lines.a.url, api_key = KEY, model = "m", retry = { max_attempts = 1 }, breaker = false,
      }
      for _, place in ipairs { 40, 50, 170, 180, 190, 480, 490, 16370, 16380 } do
        for _, code in ipairs { 400, 200 } do
          local text = ("n"):rep(place) .. " " .. KEY
          for _, body in ipairs { text, { error = { message = text } }, "<html><title>" .. text } do
            p:profile("a", { status = { code = code, body = body } })
            local _, err = other:chat "x"
            assert_silent(err, KEY:sub(1, 14))
          end
        end
      end
      other:close()
    end)

    it("also other secrets: in headers, and in a proxy's URL", function()
      p:profile("a", { status = { code = 400, body = "you said team-token-991" } })
      local _, err = client:chat "x"
      assert_silent(err, "team-token-991")
      local proxied = surefoot.new {
        base_url = "https://api.example/v1", api_key = KEY, model = "m", retry = { max_attempts = 1 },
        proxy = "http://someone:pr0xy-s3cret@127.0.0.1:1",
      }
      _, err = proxied:chat "x"
      proxied:close()
      assert.equal("network", err.kind)
      assert_silent(err, "pr0xy-s3cret")
    end)

    it("from verify, too", function()
      p:profile("a", { status = { code = 401, body = { error = { message = "bad key " .. KEY } } } })
      local report = client:verify()
      assert.is_false(report.ok)
      assert.equal("unauthorized", report.endpoints[1].kind)
      assert_silent(report)
    end)

    it("from the command line and the environment of this process", function()
      assert(client:chat "x")
      for _, file in ipairs { "cmdline", "environ" } do
        local text = process.read("/proc/self/" .. file)
        assert.is_nil(text:find(KEY, 1, true))
      end
    end)
  end)
end)
