-- Faults of the gateway's own, and of the nginx that it is in.

local lab = require "spec.gateway.lab"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

describe("a gateway with a fault of its own #once", function()
  local BREAKS = [[
    local inbound, relay = require "surefoot.gateway.inbound", require "surefoot.gateway.relay"
    local options_of, job, chat = inbound.options_of, relay.job, require "surefoot.dialect.chat"
    inbound.options_of = function(exchange)
      assert(not ngx.var.http_x_break, "broken before the answer")
      return options_of(exchange)
    end
    relay.job = function(...)
      return job(...), ngx.var.http_x_break_job and nil .. "broken in the job"
    end
    local events = chat.events
    chat.events = function(context)
      local writer = events(context)
      local chunk, count = writer.chunk, 0
      writer.chunk = function(...)
        count = count + 1
        assert(count < 3, "broken in the answer")
        return chunk(...)
      end
      return writer
    end
    package.loaded.the_gateway = require("surefoot.gateway").new {
      base_url = "%s", api_key = "sk-upstream", http_version = "1.1", provider = "anthropic",
    }
  ]]
  local p, n

  setup(function()
    p = provider.start()
    n = lab.start("", { init = BREAKS:format(p.lines.a.url) })
  end)

  teardown(function()
    n:stop { "broken before the answer", "attempt to concatenate a nil value", "broken in the answer" }
    assert.same({}, p:errors())
    p:stop()
  end)

  local function in_flight()
    return lab.ask(n, "/metrics").body:match "\nsurefoot_gateway_requests_in_flight (%d+)"
  end

  it("says so, and counts it", function()
    for _, header in ipairs { "x-break", "x-break-job" } do
      local response = lab.ask(n, "/v1/chat/completions", lab.question(), { [header] = "1" })
      assert.same({ 500, "internal_error" }, { response.status, response.json and response.json.error.code },
        response.body)
      assert.is_nil(response.body:find("broken", 1, true))
      assert.is_nil(response.body:find("attempt", 1, true))
      assert.is_true(#response.headers["x-request-id"] > 10)
      assert.equal("0", in_flight())
    end
  end)

  it("tells its caller what is wrong with the request, as no fault", function()
    for _, wrong in ipairs { { messages = "hello" }, { messages = { { role = "user", content = 5 } } } } do
      local response = lab.ask(n, "/v1/chat/completions", { model = "m", messages = wrong.messages })
      assert.same({ 400, "invalid_request" }, { response.status, response.json.error.code }, response.body)
      assert.matches("^messages", response.json.error.message)
    end
  end)

  it("breaks a stream off, and lets go of the provider", function()
    p:profile("a", { answer = { chunks = 50, chunk_delay = 0.05 } })
    local response = lab.ask(n, "/v1/chat/completions", lab.question("hello", { stream = true }))
    assert.not_equal("chunked", response.ended)
    assert.is_nil(response.body:find("[DONE]", 1, true))
    assert(lab.at_rest(p, "a"))
    assert.equal("0", in_flight())
  end)
end)

describe("a gateway that nginx does not tell who leaves #once", function()
  it("serves, and says so once", function()
    local p = provider.start()
    local n = lab.start(([[{ base_url = "%s", api_key = "sk-upstream", provider = "openai" }]]):format(p.lines.a.url),
      { check_client_abort = false })
    for _ = 1, 3 do
      assert.equal(200, lab.ask(n, "/v1/chat/completions", lab.question()).status)
    end
    local complaints = n:complaints()
    n:stop { "lua_check_client_abort" }
    p:stop()
    assert.equal(1, #complaints, table.concat(complaints, "\n"))
    assert.matches("%[warn%].*callers that leave are not noticed.*lua_check_client_abort is off", complaints[1])
  end)
end)

describe("a gateway in an nginx that an earlier version configured #once", function()
  it("answers, and says once that the log tells less", function()
    local p = provider.start()
    local path, shared = process.temp_dir() .. "/config.lua", ("faults-spec-%d"):format(process.self())
    process.write(path, ([[return { base_url = %q, api_key = "sk-upstream", http_version = "1.1", shared = %q }]])
      :format(p.lines.a.url, shared))
    local n = lab.start("", {
      init = ("require('surefoot.gateway').load(%q, '127.0.0.1:1')"):format(path),
      init_worker = "require('surefoot.gateway').start()",
      locations = { ["/"] = {
        content = "require('surefoot.gateway').serve()", log = "require('surefoot.gateway').log()",
      } },
    })
    for _ = 1, 3 do
      assert.equal(200, lab.ask(n, "/v1/chat/completions", lab.question()).status)
    end
    local warned = n:complaints {}
    n:stop { "the access log tells nothing of calls" }
    process.remove_dir((path:match "^(.*)/"))
    process.capture(("rm -f /dev/shm/surefoot-*-%s"):format(shared))
    assert.equal(1, #warned)
    assert.same({}, p:errors())
    p:stop()
  end)
end)
