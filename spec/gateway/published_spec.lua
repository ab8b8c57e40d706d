-- The gateway's numbers in a real nginx: what workers count is told by all of them, and outlives them.
local env = require "spec.support.env"
local exposition = require "spec.lua.exposition"
local json = require "surefoot.json"
local nginx = require "spec.support.nginx"
local written = require "surefoot.gateway.nginx"
local process = require "spec.support.process"

-- A gateway without calls: requests are counted, nothing is asked.
local GATEWAY = [[
  local gateway = {
    client = require("surefoot").new { base_url = "http://127.0.0.1:9/v1", provider = "openai" },
    tally = require("surefoot.gateway.tally").new(), started_at = os.time(), config = {},
  }
  return gateway]]

local LOCATIONS = {
  ["= /ask"] = [[
    local tally = require("counted").tally
    tally:began()
    while ngx.var.arg_held and not ngx.shared.held:get "go" do
      ngx.sleep(0.01)
    end
    tally:ended { operation = "chat", model = "m", status = 200, stream = false, seconds = 0.2, attempts = 1 }
    ngx.print(ngx.worker.pid())]],
  ["= /go"] = [[
    ngx.shared.held:set("go", true)
    ngx.print "ok"]],
  ["= /metrics"] = [[ngx.print((require("surefoot.gateway.metrics").text(require "counted")))]],
  ["= /status.json"] = [[
    local document = require("surefoot.gateway.status").document(require "counted")
    ngx.print((require("surefoot.json").encode(document)))]],
}

describe("a gateway's numbers in nginx #once", function()
  local server

  before_each(function()
    env.need("nginx", "nginx")
    server = nginx.start {
      workers = 3, modules = { counted = GATEWAY },
      http = "lua_shared_dict surefoot_gateway 4m; lua_shared_dict held 1m;",
      locations = LOCATIONS,
      init = [[require "counted"]], init_worker = [[require("surefoot.gateway.metrics").start(require "counted")]],
      listen = "reuseport",
    }
  end)

  after_each(function()
    server:stop { "exited on signal 9" }
  end)

  local function told()
    local families = exposition.parse(server:get("/metrics").body)
    return exposition.value(families, "surefoot_gateway_requests_total", { http_response_status_code = "200" }) or 0,
      exposition.value(families, "surefoot_gateway_workers"),
      exposition.value(families, "surefoot_gateway_requests_in_flight")
  end

  local function ask(n)
    local by_worker = {}
    for _ = 1, n do
      local pid = tonumber(server:get("/ask").body)
      by_worker[pid] = (by_worker[pid] or 0) + 1
    end
    return by_worker
  end

  -- Until all workers have published, and whichever answers tells the same.
  local function settled(count)
    return process.wait_for(function()
      for _ = 1, 12 do
        if told() ~= count then
          return nil
        end
      end
      return true
    end, 10)
  end

  it("are the same whichever worker is asked, and survive a kill, a reload, and who outlives that", function()
    local pids = {}
    for pid in pairs(ask(60)) do
      pids[#pids + 1] = pid
    end
    assert.is_true(#pids > 1, "several workers served")
    assert.is_true(settled(60))
    assert.equal(3, (select(2, told())))

    process.signal(pids[1], "KILL")
    assert(process.wait_for(function() return #server:workers() == 3 and not process.alive(pids[1]) end, 5))
    for _ = 1, 10 do
      assert.equal(60, (told()))
    end
    ask(10)

    local connection = server:open "/ask?held=1"
    assert(process.wait_for(function() return select(3, told()) == 1 end, 10))
    local old = server:reload()
    assert.equal(1, (select(3, told())), "it still goes on")
    assert.equal(200, server:get("/go").status)
    assert.equal(200, connection:response().status)
    connection:close()
    assert.is_number(server:gone(old, 10))
    assert.is_true(settled(71))
    assert(process.wait_for(function()
      local _, workers, in_flight = told()
      return workers == 3 and in_flight == 0
    end, 10))
    local document = assert(json.decode(server:get("/status.json").body))
    assert.same({ 71, 3, 71 }, { document.requests.total, document.workers, document.requests.recent.answered })
  end)
end)

describe("a worker that is told to go #once", function()
  local dir, server

  before_each(function()
    env.need("nginx", "nginx")
    dir = process.temp_dir "surefoot-leaves"
    process.write(dir .. "/config.lua",
      [[return { base_url = "http://127.0.0.1:9/v1", provider = "openai", shared = false, gateway = {} }]])
    local text = written.write { config = dir .. "/config.lua", listen = "127.0.0.1:8080", directory = dir }
    server = nginx.start {
      http = "lua_shared_dict surefoot_gateway 4m;\n" .. (text:match "exit_worker_by_lua_block {.-\n  }" or ""),
      locations = { ["= /beat"] = [[
        local dict = ngx.shared.surefoot_gateway
        for _, name in ipairs(dict:get_keys(0)) do
          if name:find("beat:" .. ngx.var.arg_pid .. "-", 1, true) then
            ngx.print(dict:get(name))
          end
        end]] },
      init = ([[require("surefoot.gateway").load(%q, "127.0.0.1:8080")]]):format(dir .. "/config.lua"),
      init_worker = [[require("surefoot.gateway").start()]],
    }
  end)

  after_each(function()
    server:stop()
    process.remove_dir(dir)
  end)

  it("says farewell, so that its numbers are folded at once", function()
    local pid = server:workers()[1]
    assert.is_true(tonumber(server:get("/beat?pid=" .. pid).body) > 0)
    assert.is_number(server:gone(server:reload(), 10))
    local beat = server:get("/beat?pid=" .. pid).body
    assert.is_true(beat == "-1" or beat == "", "marked as gone, or folded already: " .. beat)
  end)
end)
