-- Where nginx lets nothing wait, a call returns at once and says so; surefoot.spawn runs apart, in a timer of nginx.

local lab = require "spec.nginx.lab"
local nginx = require "spec.support.nginx"
local process = require "spec.support.process"
local provider = require "spec.support.provider"

-- What is tried in a phase; %s is its name.
local TRY = [[
  local lab = require "lab"
  local surefoot, client = lab.surefoot, lab.client
  local began, others = surefoot.now(), client:stats().in_flight
  local noted = {}
  local function note(name, result, err)
    noted[name] = { nothing = result == nil, kind = err.kind, message = err.message, sent = err.sent }
  end
  note("chat", client:chat "refused")
  note("stream", client:stream "refused")
  note("tools", client:run_tools("refused", {}))
  note("request", client:request { method = "GET", path = "/models" })
  local ok, message = pcall(surefoot.sleep, 0.01)
  noted.sleep = { ok = ok, message = tostring(message) }
  ok, message = pcall(surefoot.run, function() end)
  noted.run = { ok = ok, message = tostring(message) }
  noted.seconds = surefoot.now() - began
  noted.in_flight = client:stats().in_flight - others
  lab.seen["%s"] = noted
]]

-- Begins a task that goes on when the phase is over.
local DETACHED = [[
  local lab = require "lab"
  local surefoot = lab.surefoot
  surefoot.spawn(function(name)
    local said = { lab.said(lab.client:chat(name)) }
    surefoot.sleep(0.01)
    local other = surefoot.spawn(function() return lab.said(lab.client:chat "beside") end)
    said[2], said[3] = lab.said(lab.client:chat "again"), other:wait()
    lab.seen.detached_%s = said
  end, "%s")
]]

local function try(phase)
  return (TRY:gsub("%%s", phase))
end

local function detached(phase)
  return (DETACHED:gsub("%%s", phase))
end

local REFUSING = { "init", "init_worker", "header_filter", "body_filter", "log" }

describe("a phase of nginx that cannot wait #once", function()
  local p, n, seen

  setup(function()
    p = provider.start()
    n = lab.start(p, {
      init = try "init", init_worker = try "init_worker" .. detached "init_worker",
      locations = {
        ["/page"] = {
          content = [[ngx.print "page"]],
          header_filter = try "header_filter" .. detached "header_filter",
          -- called twice for a page
          body_filter = try "body_filter"
            .. "if not lab.seen.once then lab.seen.once = true " .. detached "body_filter" .. " end",
          log = try "log" .. detached "log",
        },
        ["/pending"] = [[
          local lab = require "lab"
          lab.surefoot.spawn(function()
            lab.surefoot.sleep(0.2)
            lab.seen.outlived = lab.said(lab.client:chat "outlived")
          end)
          ngx.print "gone"
        ]],
        ["/failing"] = [[
          local lab = require "lab"
          lab.surefoot.spawn(function() error "of a detached task" end)
          ngx.print "x"
        ]],
        ["/failing-log"] = { content = "ngx.print 'x'", log = [[
          require("lab").surefoot.spawn(function() error "of a task of log" end)
        ]] },
      },
    })
    assert.equal("page", assert(n:get "/page").body)
    assert(lab.seen(n, "log"))
    seen = lab.ask(n, "/seen")
  end)

  teardown(function()
    n:stop { "of a detached task", "of a task of log", "stack traceback" }
    assert.same({}, p:errors())
    p:stop()
  end)

  for _, phase in ipairs(REFUSING) do
    it("refuses calls at once: " .. phase, function()
      local noted = assert(seen[phase])
      for _, what in ipairs { "chat", "stream", "tools", "request" } do
        local call = noted[what]
        assert.same({ true, "invalid_request", false }, { call.nothing, call.kind, call.sent }, what)
        assert.matches(phase, call.message, 1, true)
      end
      assert.is_false(noted.sleep.ok)
      assert.matches(phase, noted.sleep.message, 1, true)
      assert.is_false(noted.run.ok)
      assert.matches(phase, noted.run.message, 1, true)
      assert.is_true(noted.seconds < 0.05 * nginx.pace, noted.seconds)
      assert.equal(0, noted.in_flight)
    end)
  end

  for _, phase in ipairs { "init_worker", "header_filter", "body_filter", "log" } do
    it("runs what is spawned apart: " .. phase, function()
      assert.same({ "echo: " .. phase, "echo: again", "echo: beside" }, lab.seen(n, "detached_" .. phase))
    end)
  end

  it("sends nothing of what was refused", function()
    assert(lab.seen(n, "detached_log"))
    assert(lab.settled(n))
    -- three each of four phases that ran a detached task
    assert.equal(12, p:counters("a").requests)
  end)

  it("and in one that can, what is spawned is part of the request", function()
    assert.equal("gone", assert(n:get "/pending").body)
    assert.equal("echo: outlived", lab.ask(n, "/seen").outlived)
  end)

  it("tells errors of what is spawned in the log, and goes on", function()
    for _, path in ipairs { "/failing", "/failing-log" } do
      assert.equal("x", assert(n:get(path)).body)
    end
    for _, words in ipairs { "of a detached task", "of a task of log" } do
      assert(process.wait_for(function() return n:log():find(words, 1, true) end, nginx.pace), words)
    end
    assert.equal("echo: sound", assert(n:get "/sound").body)
  end)
end)
