-- What the specs of nginx rest on: one complaint is one failure, calls that a test leaves behind are its own, and few
-- files are enough.

local env = require "spec.support.env"
local lab = require "spec.nginx.lab"
local provider = require "spec.support.provider"

describe("the nginx of specs #once", function()
  it("tells of a complaint once", function()
    local p = provider.start()
    local n = lab.start(p, { locations = { ["/complain"] = "ngx.log(ngx.ERR, ngx.var.arg_x)" } })
    n:assert_clean()
    for _, word in ipairs { "one", "other" } do
      assert(n:get("/complain?x=" .. word))
      assert.has_error(function() n:assert_clean { "nothing of this" } end)
      n:assert_clean()
    end
    assert(n:get "/complain?x=last")
    assert.equal(3, #n:complaints())
    local ok, message = pcall(n.stop, n)
    assert.same({ false, true, nil }, { ok, message:find "last" ~= nil, message:find "other" })
    p:stop()
  end)

  it("ends the calls that a test has left behind", function()
    local p = provider.start()
    local n = lab.start(p, { locations = { ["/leave"] = [[require("lab").client:chat "x"]] } })
    p:profile("a", { fault = "hang" })
    local connection = n:open "/leave"
    assert(p:wait("a", function(counters) return counters.in_flight == 1 end))
    assert.error_matches(function() lab.assert_settled(n, nil, 0.1) end, "1 calls are in flight, 0 of them wait")
    p:reset()
    lab.assert_settled(n)
    assert.equal("echo: sound", n:get("/sound").body)
    connection:close()
    n:stop()
    p:stop()
  end)

  it("is content with few files, and a root that may do nothing", function()
    local program = [[
      local p = require("spec.support.provider").start()
      local n = require("spec.nginx.lab").start(p, { locations = {} })
      print(n:get("/sound").body, #p:errors())
      n:stop()
      p:stop()
    ]]
    local drop = env.check { "id", "-u" } == "0\n" and "setpriv --bounding-set=-all --inh-caps=-all " or ""
    local ran = env.run("ulimit -n 256; exec " .. drop .. env.lua .. " -l spec.helper -e '" .. program .. "'")
    assert.same({ 0, "echo: sound\t0\n", "" }, { ran.status, ran.stdout, ran.stderr })
  end)
end)
